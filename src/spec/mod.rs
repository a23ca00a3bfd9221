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
pub mod load;
mod meaning;
mod models;
mod outputs;
mod paths;
mod read;
mod resolve;
pub mod schema;
mod secret;
mod stages;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::document::{Diagnostic, Document, Problems};
use crate::name::Name;
use crate::provider::{Endpoint, Model};

pub use assertions::TestSpec;
pub use columns::{Answers, Form, Relation};
pub use limits::{Budget, Concurrency, Limits, OnOutage, Price};
pub use outputs::Format;
pub use read::{Audit, Layout, Order, Overflow, Repair};
pub use table::{PerTable, ReshapeSpec, SourceSpec, StageSpec, TableId, TableSpec};

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
    /// The tables; see [`Spec::tables`].
    tables: Vec<TableSpec>,
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

/// A file to write.
#[derive(Debug)]
pub struct OutputSpec {
    /// What it holds.
    pub input: TableId,
    /// Where it goes, as the spec says.
    pub path: String,
    /// Where it goes.
    pub file: PathBuf,
    /// How it is written.
    pub format: Format,
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

    /// The name and the model of index `model`.
    pub fn model(&self, model: usize) -> (&Name, &ModelSpec) {
        self.models.get_index(model).expect("model indices are made from this table")
    }
}
