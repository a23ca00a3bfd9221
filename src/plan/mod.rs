//! Plans: what will happen, decided before it does. Data only; a plan costs reading the sources once.
//!
//! A [`Plan`] is a spec with the rows counted, the stages selected and the parts frozen: part `k` of a stage is the same
//! range of rows whatever the number of lanes or machines. [`scan`] reads a source for it, [`draw`] shows it, [`routing`] says
//! who answers a row.

pub mod draw;
pub mod routing;
pub mod scan;

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::source::SourceError;
use crate::spec::{Input, Spec};

/// What may be asked for on top of the spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these stages and what they read; empty: all.
    pub stages: Vec<String>,
    /// Only so many rows of each source.
    pub limit: Option<u64>,
}

/// What will happen.
#[derive(Debug)]
pub struct Plan {
    /// The checked spec.
    pub spec: Spec,
    /// The hash of everything in the spec that can change a table, in hex.
    pub spec_hash: String,
    /// What runs.
    pub selected: Selected,
    /// The rows and the content of each source that is read.
    pub sources: Vec<Option<SourceFacts>>,
    /// The rows of each reshape, where they are known before the run.
    pub reshaped: Vec<Option<u64>>,
    /// The limit on rows, if there is one.
    pub limit: Option<u64>,
}

/// Which stages run, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Of those that ask models.
    pub stages: Vec<bool>,
    /// Of the reshapes.
    pub reshapes: Vec<bool>,
}

impl Selected {
    /// None at all.
    pub fn none(spec: &Spec) -> Self {
        Selected { stages: vec![false; spec.stages.len()], reshapes: vec![false; spec.reshapes.len()] }
    }

    /// Whether all run.
    pub fn is_whole(&self) -> bool {
        self.stages.iter().chain(&self.reshapes).all(|selected| *selected)
    }

    /// Whether an input is made, as far as that is said here: sources are read for who reads them.
    pub fn has(&self, input: Input) -> bool {
        match input {
            Input::Source(_) => true,
            Input::Stage(i) => self.stages[i],
            Input::Reshape(i) => self.reshapes[i],
        }
    }
}

/// What was found in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFacts {
    /// Its rows, after the limit.
    pub rows: u64,
    /// The hash of its files and of how they are read, in hex.
    pub content: String,
    /// The hash of its rows as they were read, in hex: the same for files that say the same.
    pub values: String,
}

/// Why there is no plan, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A source can't be read.
    #[error("source `{name}`: {error}")]
    Source {
        /// The source.
        name: String,
        /// Why.
        error: SourceError,
    },
    /// A stage was selected that isn't there.
    #[error("there is no stage `{name}`")]
    UnknownStage {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        near: Option<String>,
    },
}

/// One part of a stage: a range of the rows of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub number: u64,
    /// The first row of the input, from 0.
    pub start: u64,
    /// How many rows of the input.
    pub rows: u64,
}

impl Plan {
    /// Plans `spec` for sources that were found to be as `facts` says (by index; only the sources that are read).
    pub fn new(spec: Spec, selection: &Selection, facts: HashMap<usize, SourceFacts>) -> Result<Plan, PlanError> {
        let selected = select(&spec, &selection.stages)?;
        let sources = (0..spec.sources.len()).map(|i| facts.get(&i).cloned()).collect();
        let spec_hash = blake3::hash(spec.meaning().to_string().as_bytes()).to_hex().to_string();
        let reshaped = vec![None; spec.reshapes.len()];
        Ok(Plan { spec, spec_hash, selected, sources, reshaped, limit: selection.limit })
    }

    /// The stages that run, each after its input.
    pub fn stages(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.spec.stages.len()).filter(|i| self.selected.stages[*i])
    }

    /// The reshapes that run, each after what it reads.
    pub fn reshapes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.spec.reshapes.len()).filter(|i| self.selected.reshapes[*i])
    }

    /// The outputs that are written, by index.
    pub fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        let runs = |input: Input| match input {
            Input::Source(i) => self.sources[i].is_some(),
            made => self.selected.has(made),
        };
        (0..self.spec.outputs.len()).filter(move |i| runs(self.spec.outputs[*i].input))
    }

    /// Rows of an input, where they are known before the run: those of a reshape of answers are not.
    pub fn rows(&self, input: Input) -> Option<u64> {
        match input {
            Input::Source(i) => Some(self.sources[i].as_ref().map_or(0, |s| s.rows)),
            Input::Stage(i) => {
                let stage = &self.spec.stages[i];
                Some(self.rows(stage.input)? * stage.answers.fold())
            }
            Input::Reshape(i) => self.reshaped[i],
        }
    }

    /// The parts of stage `stage`, whose input has so many rows.
    pub fn parts(&self, stage: usize, rows: u64) -> impl Iterator<Item = Part> + use<> {
        let size = self.spec.stages[stage].chunk_size;
        (0..rows.div_ceil(size)).map(move |number| {
            let start = number * size;
            Part { number, start, rows: size.min(rows - start) }
        })
    }

    /// Calls at most that a stage makes when nothing is skipped, where its rows are known; where rows are asked about together,
    /// when every answer comes back as it should.
    pub fn calls(&self, stage: usize) -> Option<u64> {
        let stage = &self.spec.stages[stage];
        let packs = self.rows(stage.input)?.div_ceil(stage.rows_per_prompt);
        Some(packs * stage.width() as u64 * stage.stage.most_prompts())
    }

    /// The name of the run's folder: what decides which parts there are. Another plan is another folder.
    pub fn run_name(&self) -> String {
        let chunks: Vec<u64> = self.spec.stages.iter().map(|s| s.chunk_size).collect();
        let mut identity = self.of();
        identity["chunks"] = json!(chunks);
        self.named(identity)
    }

    /// The identity of the run: the same however it is cut into parts, so that its tables can name it.
    pub fn identity(&self) -> String {
        self.named(self.of())
    }

    fn of(&self) -> Value {
        let mut of = json!({
            "spec": self.spec_hash, "sources": self.contents(), "limit": self.limit, "selected": self.selected.stages,
        });
        if !self.selected.reshapes.is_empty() {
            of["reshapes"] = json!(self.selected.reshapes);
        }
        of
    }

    /// Whether all rows of all stages are run.
    pub fn is_whole(&self) -> bool {
        self.limit.is_none() && self.selected.is_whole()
    }

    fn contents(&self) -> Vec<Option<&str>> {
        self.sources.iter().map(|s| s.as_ref().map(|s| s.content.as_str())).collect()
    }

    fn named(&self, identity: Value) -> String {
        let hash = blake3::hash(identity.to_string().as_bytes()).to_hex();
        format!("{}-{}", self.spec.name, &hash[..12])
    }
}

/// Which stages run: those named and all that they read.
pub fn select(spec: &Spec, names: &[String]) -> Result<Selected, PlanError> {
    let all = names.is_empty();
    let mut selected = Selected::none(spec);
    if all {
        selected.stages.fill(true);
        selected.reshapes.fill(true);
    }
    for name in names {
        let stage = spec.stages.iter().position(|s| s.name.as_str() == name).map(Input::Stage);
        let reshape = || spec.reshapes.iter().position(|r| r.name == *name).map(Input::Reshape);
        let Some(named) = stage.or_else(reshape) else {
            let stages = spec.stages.iter().map(|s| s.name.as_str());
            let near = crate::name::nearest(name, stages.chain(spec.reshapes.iter().map(|r| r.name.as_str())));
            return Err(PlanError::UnknownStage { name: name.clone(), near: near.map(str::to_owned) });
        };
        for input in spec.upstream(named) {
            match input {
                Input::Source(_) => {}
                Input::Stage(i) => selected.stages[i] = true,
                Input::Reshape(i) => selected.reshapes[i] = true,
            }
        }
    }
    Ok(selected)
}

/// The sources that the selected stages and their outputs read, by index.
pub fn sources_read(spec: &Spec, selected: &Selected) -> Vec<usize> {
    let stages = (0..spec.stages.len()).map(Input::Stage);
    let made = stages.chain((0..spec.reshapes.len()).map(Input::Reshape)).filter(|made| selected.has(*made));
    let outputs = spec.outputs.values().filter(|_| selected.is_whole()).map(|o| o.input);
    let read = made.flat_map(|made| spec.inputs(made).to_vec()).chain(outputs);
    let mut sources: Vec<usize> = read
        .filter_map(|input| match input {
            Input::Source(i) => Some(i),
            Input::Stage(_) | Input::Reshape(_) => None,
        })
        .collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}
