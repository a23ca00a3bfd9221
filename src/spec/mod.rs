//! Specs: what the author wrote, checked. `Document` in, [`Spec`] or **all** the problems out.
//!
//! [`check`](Spec::check) passes over the document in this order: literal keys (`secret`), the tables and their fields
//! (`read`), then what the names refer to (`resolve`): `models`, sources, the `graph` of the stages and the `columns` of
//! each (`stages`, with their `examples`), `outputs`, `assertions` and `paths`. [`schema`] is the same language as a JSON Schema. A new field of
//! a table is a field of its struct with a doc comment; a new kind is a row of a registry. Reads only headers of sources
//! and prompt files; no network, and nothing is written.

mod assertions;
mod columns;
mod examples;
mod graph;
mod limits;
mod models;
mod outputs;
mod paths;
mod read;
mod resolve;
pub mod schema;
mod secret;
mod stages;

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::document::{Diagnostic, Document, Problems};
use crate::name::Name;
use crate::prompt::BoundCondition;
use crate::provider::{Endpoint, Model};
use crate::source::Source;
use crate::stage::{Reshape, Stage};

pub use assertions::TestSpec;
pub use columns::{Answers, Form, Relation};
pub use limits::{Budget, Concurrency, Limits, OnOutage, Price};
pub use outputs::Format;
pub use read::{Audit, Layout, Order, Overflow, Repair};

pub use crate::table::{Guard, MaxFailed};

/// A checked pipeline spec: every name resolves, every template compiles against the columns it will see.
#[derive(Debug)]
pub struct Spec {
    /// The pipeline's name; by default the file's.
    pub name: String,
    /// The folder that the spec stands in; its paths start there.
    pub folder: PathBuf,
    /// What everything random derives from; sent to models that take a seed.
    pub seed: Option<u64>,
    /// What a run may spend.
    pub budget: Budget,
    /// The models by name.
    pub models: IndexMap<Name, ModelSpec>,
    /// The endpoints that the models use, by the name that they are called in the spec.
    pub endpoints: IndexMap<String, EndpointSpec>,
    /// The sources by name.
    pub sources: IndexMap<Name, SourceSpec>,
    /// The stages that ask models, each after its input.
    pub stages: Vec<StageSpec>,
    /// The stages that make a table of tables, each after what it reads.
    pub reshapes: Vec<ReshapeSpec>,
    /// The outputs by name.
    pub outputs: IndexMap<Name, OutputSpec>,
    /// What the tables must be.
    pub tests: Vec<TestSpec>,
}

/// An endpoint and how much may be asked of it.
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    /// What it is.
    pub endpoint: Arc<dyn Endpoint>,
    /// How much may be asked of it.
    pub limits: Limits,
}

/// A model: an endpoint, an id there and how it picks its words.
#[derive(Debug)]
pub struct ModelSpec {
    /// The key in [`Spec::endpoints`].
    pub endpoint: String,
    /// The model as the endpoint knows it.
    pub model: Model,
    /// What it costs.
    pub price: Option<Price>,
    /// Tokens that its context holds, where the spec says so.
    pub context_tokens: Option<u64>,
    /// The models that are asked in its place, as indices into [`Spec::models`].
    pub fallback: Vec<usize>,
}

/// A source with its columns.
#[derive(Debug)]
pub struct SourceSpec {
    /// What reads it.
    pub source: Box<dyn Source>,
    /// Its columns.
    pub relation: Relation,
}

/// What a stage or an output reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The source of this index.
    Source(usize),
    /// The stage of this index.
    Stage(usize),
    /// The reshape of this index.
    Reshape(usize),
}

/// A reshape, bound to what it reads.
#[derive(Debug)]
pub struct ReshapeSpec {
    /// Its name: the stage's, or for what gathers the rows of a stage that one's with `.groups`.
    pub name: String,
    /// What it reads, in the order in which it takes it.
    pub inputs: Vec<Input>,
    /// What it does.
    pub reshape: Arc<dyn Reshape>,
    /// The columns of its table.
    pub relation: Relation,
}

/// A stage, bound to its input.
#[derive(Debug)]
pub struct StageSpec {
    /// Its name.
    pub name: Name,
    /// What it reads; a stage stands before those that read it.
    pub input: Input,
    /// What it asks.
    pub stage: Arc<dyn Stage>,
    /// The models, as indices into [`Spec::models`].
    pub models: Vec<usize>,
    /// Their names in the spec.
    pub model_names: Vec<String>,
    /// Where the answers go.
    pub answers: Answers,
    /// The columns of its output.
    pub relation: Relation,
    /// How many of them, at the beginning, are its input's.
    pub given: usize,
    /// A row for which this is false is skipped.
    pub when: Option<BoundCondition>,
    /// A row where one of these says that something is missing which the prompts read, is skipped.
    pub guards: Vec<Guard>,
    /// Lanes.
    pub workers: usize,
    /// Prompts that each lane keeps in flight.
    pub batch_size: usize,
    /// Rows per part; a multiple of the rows in a prompt.
    pub chunk_size: u64,
    /// Rows that are asked about in one call.
    pub rows_per_prompt: u64,
    /// The sample that is asked one by one as well.
    pub audit: Option<Audit>,
    /// In which order the calls of a part go.
    pub order: Option<Order>,
    /// How many rows may fail.
    pub max_failed: Option<MaxFailed>,
    /// How often a call may be tried in all.
    pub max_attempts: u32,
    /// What becomes of a prompt that is longer than the model's context.
    pub overflow: Overflow,
    /// What becomes of a reply that is not quite JSON.
    pub repair: Repair,
}

/// A file to write.
#[derive(Debug)]
pub struct OutputSpec {
    /// What it holds.
    pub input: Input,
    /// Where it goes, as the spec says.
    pub path: String,
    /// Where it goes.
    pub file: PathBuf,
    /// How it is written.
    pub format: Format,
}

impl StageSpec {
    /// Answers for each row of the input.
    pub fn width(&self) -> usize {
        self.answers.width()
    }

    /// Whether rows are asked about together.
    pub fn packs(&self) -> bool {
        self.rows_per_prompt > 1
    }

    /// Adds to what the spec says of it how its rows are asked together, where they are.
    pub fn packing(&self, meaning: &mut Value) {
        if self.packs() {
            meaning["rows_per_prompt"] = json!(self.rows_per_prompt);
        }
        if let Some(audit) = self.audit {
            meaning["audit"] = json!(audit);
        }
    }
}

impl Spec {
    /// Checks `document`, whose paths are relative to `folder`. Problems come in the order of discovery; with an error
    /// among them there is no spec. A literal API key is blotted out of the document, so that no message shows it.
    pub fn check(document: &mut Document, folder: &std::path::Path) -> (Option<Spec>, Vec<Diagnostic>) {
        let mut problems = Problems::default();
        secret::find(document, &mut problems);
        let spec = read::read(document, &mut problems).and_then(|raw| resolve::resolve(raw, folder, &mut problems));
        let broken = problems.iter().any(Diagnostic::is_error);
        (spec.filter(|_| !broken), problems.into_iter().collect())
    }

    /// The name of an input.
    pub fn input_name(&self, input: Input) -> &str {
        match input {
            Input::Source(i) => self.sources.get_index(i).map_or("", |(name, _)| name.as_str()),
            Input::Stage(i) => self.stages[i].name.as_str(),
            Input::Reshape(i) => &self.reshapes[i].name,
        }
    }

    /// The columns of an input.
    pub fn relation(&self, input: Input) -> &Relation {
        match input {
            Input::Source(i) => &self.sources[i].relation,
            Input::Stage(i) => &self.stages[i].relation,
            Input::Reshape(i) => &self.reshapes[i].relation,
        }
    }

    /// What an input is made from.
    pub fn inputs(&self, of: Input) -> &[Input] {
        match of {
            Input::Source(_) => &[],
            Input::Stage(i) => std::slice::from_ref(&self.stages[i].input),
            Input::Reshape(i) => &self.reshapes[i].inputs,
        }
    }

    /// An input and all that it is made from, each before what is made from it.
    pub fn upstream(&self, of: Input) -> Vec<Input> {
        let mut found: Vec<Input> = Vec::new();
        for input in self.inputs(of) {
            for other in self.upstream(*input) {
                if !found.contains(&other) {
                    found.push(other);
                }
            }
        }
        found.push(of);
        found
    }

    /// The name and the model of index `model`.
    pub fn model(&self, model: usize) -> (&Name, &ModelSpec) {
        self.models.get_index(model).expect("model indices are made from this table")
    }

    /// Everything in the spec that can change a table, as canonical JSON: neither comments nor order, neither
    /// concurrency nor addresses.
    pub fn meaning(&self) -> Value {
        let models = self.models.iter().map(|(name, m)| {
            let mut meaning = json!({ "provider": self.endpoints[&m.endpoint].endpoint.kind(), "model": m.model });
            if let Some(tokens) = m.context_tokens {
                meaning["context_tokens"] = json!(tokens);
            }
            if !m.fallback.is_empty() {
                meaning["fallback"] = m.fallback.iter().map(|other| self.model(*other).0.as_str()).collect();
            }
            (name.to_string(), meaning)
        });
        let sources = self.sources.iter().map(|(name, s)| (name.to_string(), s.source.meaning()));
        let stages = self.stages.iter().map(|s| {
            let models: Vec<&str> = s.models.iter().map(|m| self.model(*m).0.as_str()).collect();
            let mut meaning = json!({
                "input": self.input_name(s.input), "models": models, "answers": s.answers.layout(),
                "max_attempts": s.max_attempts, "stage": s.stage.meaning(),
            });
            if let Some(when) = &s.when {
                meaning["when"] = json!(when.source());
            }
            if s.overflow != Overflow::default() {
                meaning["overflow"] = json!(s.overflow);
            }
            if s.repair != Repair::default() {
                meaning["repair"] = json!(s.repair);
            }
            s.packing(&mut meaning);
            if s.answers.replicates > 1 {
                meaning["replicates"] = json!(s.answers.replicates);
            }
            (s.name.to_string(), meaning)
        });
        let reshapes = self.reshapes.iter().map(|r| {
            let inputs: Vec<&str> = r.inputs.iter().map(|input| self.input_name(*input)).collect();
            (r.name.clone(), json!({ "inputs": inputs, "reshape": r.reshape.meaning() }))
        });
        let outputs = self
            .outputs
            .iter()
            .map(|(name, o)| (name.to_string(), json!({ "input": self.input_name(o.input), "path": o.path })));
        canonical(json!({
            "seed": self.seed, "models": table(models), "sources": table(sources), "stages": table(stages.chain(reshapes)),
            "outputs": table(outputs),
        }))
    }
}

/// The same value with every object sorted by key.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().map(|(k, v)| (k, canonical(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

fn table(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.collect())
}
