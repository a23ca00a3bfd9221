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
    /// Which stages run, by index.
    pub selected: Vec<bool>,
    /// The rows and the content of each source that is read.
    pub sources: Vec<Option<SourceFacts>>,
    /// The limit on rows, if there is one.
    pub limit: Option<u64>,
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
        Ok(Plan { spec, spec_hash, selected, sources, limit: selection.limit })
    }

    /// The stages that run, each after its input.
    pub fn stages(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.spec.stages.len()).filter(|i| self.selected[*i])
    }

    /// The outputs that are written, by index.
    pub fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        let runs = |input: Input| match input {
            Input::Stage(i) => self.selected[i],
            Input::Source(i) => self.sources[i].is_some(),
        };
        (0..self.spec.outputs.len()).filter(move |i| runs(self.spec.outputs[*i].input))
    }

    /// Rows of an input.
    pub fn rows(&self, input: Input) -> u64 {
        match input {
            Input::Source(i) => self.sources[i].as_ref().map_or(0, |s| s.rows),
            Input::Stage(i) => {
                let stage = &self.spec.stages[i];
                self.rows(stage.input) * stage.answers.fold()
            }
        }
    }

    /// The parts of stage `stage`.
    pub fn parts(&self, stage: usize) -> impl Iterator<Item = Part> + use<> {
        let rows = self.rows(self.spec.stages[stage].input);
        let size = self.spec.stages[stage].chunk_size;
        (0..rows.div_ceil(size)).map(move |number| {
            let start = number * size;
            Part { number, start, rows: size.min(rows - start) }
        })
    }

    /// Calls at most that a stage makes when nothing is skipped; where rows are asked about together, when every answer
    /// comes back as it should.
    pub fn calls(&self, stage: usize) -> u64 {
        let stage = &self.spec.stages[stage];
        self.rows(stage.input).div_ceil(stage.rows_per_prompt) * stage.width() as u64 * stage.stage.most_prompts()
    }

    /// The name of the run's folder: what decides which parts there are. Another plan is another folder.
    pub fn run_name(&self) -> String {
        let chunks: Vec<u64> = self.spec.stages.iter().map(|s| s.chunk_size).collect();
        self.named(json!({
            "spec": self.spec_hash, "sources": self.contents(), "limit": self.limit, "selected": self.selected,
            "chunks": chunks,
        }))
    }

    /// The identity of the run: the same however it is cut into parts, so that its tables can name it.
    pub fn identity(&self) -> String {
        self.named(json!({
            "spec": self.spec_hash, "sources": self.contents(), "limit": self.limit, "selected": self.selected,
        }))
    }

    /// Whether all rows of all stages are run.
    pub fn is_whole(&self) -> bool {
        self.limit.is_none() && self.selected.iter().all(|selected| *selected)
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
pub fn select(spec: &Spec, names: &[String]) -> Result<Vec<bool>, PlanError> {
    let mut selected = vec![names.is_empty(); spec.stages.len()];
    for name in names {
        let Some(mut stage) = spec.stages.iter().position(|s| s.name.as_str() == name) else {
            let near = crate::name::nearest(name, spec.stages.iter().map(|s| s.name.as_str()));
            return Err(PlanError::UnknownStage { name: name.clone(), near: near.map(str::to_owned) });
        };
        loop {
            selected[stage] = true;
            match spec.stages[stage].input {
                Input::Stage(input) => stage = input,
                Input::Source(_) => break,
            }
        }
    }
    Ok(selected)
}

/// The sources that the selected stages and their outputs read, by index.
pub fn sources_read(spec: &Spec, selected: &[bool]) -> Vec<usize> {
    let stages = spec.stages.iter().zip(selected).filter(|(_, selected)| **selected).map(|(s, _)| s.input);
    let all = selected.iter().all(|s| *s);
    let outputs = spec.outputs.values().filter(|_| all).map(|o| o.input);
    let mut sources: Vec<usize> = stages
        .chain(outputs)
        .filter_map(|input| match input {
            Input::Source(i) => Some(i),
            Input::Stage(_) => None,
        })
        .collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}
