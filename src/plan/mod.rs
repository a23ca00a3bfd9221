//! Plans: the work of a run as data, computed before the run by reading the sources once.
//!
//! A [`Plan`] is a spec with counted rows, selected stages and fixed parts: part `k` of a stage is the same range of
//! rows for any number of lanes or machines. [`scan`] reads a source, and [`routing`] selects the models of a row.

mod partial;
pub(crate) mod routing;
mod rows;
pub(crate) mod scan;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

pub use rows::RowChoice;
pub(crate) use rows::RowPick;

use crate::source::{Import, SourceError};
use crate::spec::{Spec, TableId, TableSpec};

/// The part of a spec that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these stages and the tables that they read. Empty means all stages.
    pub stages: Vec<String>,
    pub rows: RowChoice,
    /// The settings of the spec that were changed for this run, such as `models.small.temperature=0.7`.
    pub set: Vec<String>,
}

impl Selection {
    /// Whether all rows and all stages run.
    pub(crate) fn is_whole(&self, spec: &Spec) -> bool {
        let is_changed = self.rows != RowChoice::All || !self.set.is_empty();
        !is_changed && select(spec, &self.stages).is_ok_and(|selected| selected.is_whole())
    }

    /// The chosen rows of each source of `spec`.
    pub(crate) fn pick(&self, spec: &Spec) -> RowPick {
        RowPick::new(self.rows, spec)
    }
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// The spec. The outputs of a partial run have other names than in the document.
    pub(crate) spec: Spec,
    pub(crate) spec_hash: String,
    pub(crate) selected: Selected,
    pub(crate) sources: HashMap<TableId, SourceFacts>,
    /// The number of rows of each transform for which it is known before the run.
    pub(crate) transformed: HashMap<TableId, u64>,
    pub(crate) rows: RowChoice,
    pub(crate) set: Vec<String>,
}

/// The tables that are made. Sources are always selected, but a source is read only if a selected table reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    tables: HashSet<TableId>,
    /// The number of all tables.
    of: usize,
}

impl Selected {
    pub(crate) fn none(spec: &Spec) -> Self {
        Selected { tables: spec.sources().map(|(id, _)| id).collect(), of: spec.tables().count() }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.tables.len() == self.of
    }

    pub(crate) fn has(&self, table: TableId) -> bool {
        self.tables.contains(&table)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceFacts {
    pub(crate) rows: u64,
    /// The hash of the source's files and of its settings, in hex.
    pub(crate) content: String,
    /// The hash of the source's rows, in hex. Different files with the same rows have the same hash.
    pub(crate) values: String,
    /// `None` if the rows were not read.
    pub(crate) import: Option<Import>,
    /// Whether this run read the files. Otherwise it uses the copy of an earlier import.
    pub(crate) is_fresh: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("source `{name}`: {error}")]
    Source { name: String, error: SourceError },
    #[error("there is no stage `{name}`")]
    UnknownStage { name: String, near: Option<String> },
    #[error("a run of some rows or stages would write `{path}`, which this spec reads or writes itself")]
    Taken { path: String },
    #[error("`{path}` would have {rows} rows; its format holds {most}")]
    TooManyRows { path: String, rows: u64, most: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number of the part, from 0.
    pub(crate) number: u64,
    /// The first row of the input, from 0.
    pub(crate) start: u64,
    pub(crate) rows: u64,
}

impl Plan {
    pub(crate) fn new(
        mut spec: Spec,
        selection: &Selection,
        facts: HashMap<TableId, SourceFacts>,
    ) -> Result<Plan, PlanError> {
        let selected = select(&spec, &selection.stages)?;
        let spec_hash = spec.hash();
        let stages = if selected.is_whole() { &[] } else { selection.stages.as_slice() };
        if let Some(mark) = partial::mark(stages, selection.rows, &selection.set) {
            partial::rename_outputs(&mut spec, &mark).map_err(|path| PlanError::Taken { path })?;
        }
        if !selection.rows.keeps_numbers() {
            spec.leave_out_numbered_corrections();
        }
        let (rows, set) = (selection.rows, selection.set.clone());
        let plan = Plan { spec, spec_hash, selected, sources: facts, transformed: HashMap::new(), rows, set };
        plan.check_outputs()?;
        plan.check_columns()?;
        Ok(plan)
    }

    /// Refuses a run that reads a column with cells that cannot be read.
    fn check_columns(&self) -> Result<(), PlanError> {
        for (id, source) in self.spec.sources() {
            let unreadable = self.sources.get(&id).and_then(|facts| facts.import.as_ref()).map(|i| &i.unreadable);
            for column in unreadable.into_iter().flatten() {
                let Ok(index) = source.relation.schema.index_of(&column.column) else { continue };
                let is_made = |table| self.selected.has(table);
                let Some(reader) = self.spec.reader_of((id, index), &is_made, self.outputs()) else { continue };
                let more = if column.cells > 1 { format!(" ({} cells in all)", column.cells) } else { String::new() };
                let error = SourceError::new(format!("{}{more}; {reader} reads `{}`", column.first, column.column));
                let error = SourceError { help: column.help.clone(), ..error };
                return Err(PlanError::Source { name: source.name.to_string(), error });
            }
        }
        Ok(())
    }

    /// Refuses an output with more rows than its format holds. Rows that are not known yet are not counted.
    pub(crate) fn check_outputs(&self) -> Result<(), PlanError> {
        for output in self.outputs().map(|i| &self.spec.outputs[i]).filter(|output| !output.codebook) {
            let (rows, most) = (self.rows(output.input).unwrap_or(0), output.format.most_rows().unwrap_or(u64::MAX));
            if rows > most {
                return Err(PlanError::TooManyRows { path: output.path.clone(), rows, most });
            }
        }
        Ok(())
    }

    /// Returns the stages that run, each after its input.
    pub(crate) fn stages(&self) -> impl Iterator<Item = TableId> + '_ {
        self.spec.stages().map(|(id, _)| id).filter(|id| self.selected.has(*id))
    }

    pub(crate) fn transforms(&self) -> impl Iterator<Item = TableId> + '_ {
        self.spec.transforms().map(|(id, _)| id).filter(|id| self.selected.has(*id))
    }

    pub(crate) fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        let runs = |input: TableId| match self.spec.table(input) {
            TableSpec::Source(_) => self.sources.contains_key(&input),
            _ => self.selected.has(input),
        };
        (0..self.spec.outputs.len()).filter(move |i| runs(self.spec.outputs[*i].input))
    }

    /// Returns the number of rows of a table, if known before the run. A transform of answers has no known number.
    pub(crate) fn rows(&self, table: TableId) -> Option<u64> {
        match self.spec.table(table) {
            TableSpec::Source(_) => Some(self.sources.get(&table).map_or(0, |facts| facts.rows)),
            TableSpec::Stage(stage) => Some(self.rows(stage.input)? * stage.answers.fold()),
            // The table of a grid has the rows of all universes.
            TableSpec::Transform(transform) if self.spec.first_universe(table).is_some() => {
                transform.inputs.iter().map(|universe| self.rows(*universe)).sum()
            }
            TableSpec::Transform(_) => self.transformed.get(&table).copied(),
        }
    }

    pub(crate) fn parts(&self, stage: TableId, rows: u64) -> impl Iterator<Item = Part> + use<> {
        let size = self.spec.stage(stage).chunk_size;
        (0..rows.div_ceil(size)).map(move |number| {
            let start = number * size;
            Part { number, start, rows: size.min(rows - start) }
        })
    }

    /// Returns the most calls of a stage, if no row is skipped and all answers are valid. `None` for unknown rows.
    pub(crate) fn calls(&self, stage: TableId) -> Option<u64> {
        let stage = self.spec.stage(stage);
        let packs = self.rows(stage.input)?.div_ceil(stage.rows_per_prompt);
        Some(packs * stage.width() as u64 * stage.stage.info.most_prompts)
    }

    /// Returns the name of the run's folder. It depends on everything that decides the parts.
    pub(crate) fn run_name(&self) -> String {
        let chunks: Vec<u64> = self.spec.stages().map(|(_, stage)| stage.chunk_size).collect();
        let mut identity = self.of();
        identity["chunks"] = json!(chunks);
        self.named(identity)
    }

    /// Returns the identity of the run. It does not depend on the size of the parts, so that tables can contain it.
    pub(crate) fn identity(&self) -> String {
        self.named(self.of())
    }

    fn of(&self) -> Value {
        let sources: Vec<Option<&str>> =
            self.spec.sources().map(|(id, _)| self.sources.get(&id).map(|facts| facts.content.as_str())).collect();
        let stages: Vec<bool> = self.spec.stages().map(|(id, _)| self.selected.has(id)).collect();
        let transforms: Vec<bool> = self.spec.transforms().map(|(id, _)| self.selected.has(id)).collect();
        let limit = self.rows.limit();
        let mut of = json!({ "spec": self.spec_hash, "sources": sources, "limit": limit, "selected": stages });
        if limit.is_none() && self.rows != RowChoice::All {
            of["rows"] = json!(self.rows);
        }
        if !self.set.is_empty() {
            of["set"] = json!(self.set);
        }
        // Earlier versions put them on other rows.
        let mut corrections = self.spec.stages().filter_map(|(_, stage)| stage.corrections.as_ref());
        if corrections.any(|corrections| corrections.are_left_out) {
            of["corrections"] = json!("left out");
        }
        if !transforms.is_empty() {
            of["reshapes"] = json!(transforms);
        }
        of
    }

    /// Whether it is the spec as it is written, with all rows and stages.
    pub(crate) fn is_whole(&self) -> bool {
        self.set.is_empty() && self.has_all_rows()
    }

    /// Whether all rows and stages run, perhaps with changed settings.
    pub(crate) fn has_all_rows(&self) -> bool {
        self.rows == RowChoice::All && self.selected.is_whole()
    }

    fn named(&self, identity: Value) -> String {
        let hash = blake3::hash(identity.to_string().as_bytes()).to_hex();
        format!("{}-{}", self.spec.name, &hash[..12])
    }
}

/// Selects the stages called `names` and all tables that they read. Without names, selects all stages.
pub(crate) fn select(spec: &Spec, names: &[String]) -> Result<Selected, PlanError> {
    let mut selected = Selected::none(spec);
    if names.is_empty() {
        selected.tables.extend(spec.tables().map(|(id, _)| id));
    }
    for name in names {
        let mut made = spec.tables().filter(|(_, table)| table.as_source().is_none());
        let Some((named, _)) = made.find(|(_, table)| table.name() == name) else {
            // Stages that ask models come first, since the first of several equally near names is suggested.
            let stages = spec.stages().map(|(_, stage)| stage.name.as_str());
            let near = crate::name::nearest(name, stages.chain(spec.transforms().map(|(_, r)| r.name.as_str())));
            return Err(PlanError::UnknownStage { name: name.clone(), near: near.map(str::to_owned) });
        };
        selected.tables.extend(spec.upstream(named));
    }
    Ok(selected)
}

/// Returns the sources that the selected stages and their outputs read, in the order of the document.
pub(crate) fn sources_read(spec: &Spec, selected: &Selected) -> Vec<TableId> {
    let made = spec.tables().filter(|(id, _)| selected.has(*id)).flat_map(|(_, table)| table.inputs());
    let outputs = spec.outputs.values().filter(|_| selected.is_whole()).map(|o| &o.input);
    let read: HashSet<&TableId> = made.chain(outputs).collect();
    spec.sources().map(|(id, _)| id).filter(|id| read.contains(id)).collect()
}
