//! Tables: the sources, stages and reshapes of a spec in one list, each after the tables that it reads.

use super::columns::{Answers, Relation};
use super::language::{Audit, Order, Overflow, Repair};
use crate::name::Name;
use crate::prompt::BoundCondition;
use crate::source::Source;
use crate::stage::{Stage, Transform};
use crate::table::{Guard, MaxFailed};

/// A table of a spec: the index in the list of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub(super) usize);

#[derive(Debug)]
pub enum TableSpec {
    /// Rows from outside.
    Source(SourceSpec),
    /// Rows derived from other tables without a model.
    Reshape(ReshapeSpec),
    /// The rows of another table with the answers of models.
    Stage(Box<StageSpec>),
}

#[derive(Debug)]
pub struct SourceSpec {
    pub name: Name,
    pub source: Box<dyn Source>,
    pub relation: Relation,
}

/// A reshape, bound to the tables that it reads.
#[derive(Debug)]
pub struct ReshapeSpec {
    /// The stage's name. The reshape that gathers the rows of a stage has that stage's name and `.groups`.
    pub name: String,
    /// In the order in which the reshape takes them.
    pub inputs: Vec<TableId>,
    pub reshape: Transform,
    pub relation: Relation,
}

/// A stage that asks models, bound to its input.
#[derive(Debug)]
pub struct StageSpec {
    pub name: Name,
    pub input: TableId,
    pub stage: Stage,
    pub models: Vec<usize>,
    /// The names of `models`.
    pub model_names: Vec<String>,
    pub answers: Answers,
    pub relation: Relation,
    /// How many columns of `relation`, at the beginning, come from the input.
    pub given: usize,
    /// A row for which this is false is skipped.
    pub when: Option<BoundCondition>,
    /// A row is skipped where one of these says that a column which the prompts read is missing.
    pub guards: Vec<Guard>,
    pub workers: usize,
    pub batch_size: usize,
    /// Rows per part; a multiple of `rows_per_prompt`.
    pub chunk_size: u64,
    pub rows_per_prompt: u64,
    /// The sample that is also asked row by row.
    pub audit: Option<Audit>,
    pub order: Option<Order>,
    pub max_failed: Option<MaxFailed>,
    pub max_attempts: u32,
    pub overflow: Overflow,
    pub repair: Repair,
}

impl TableSpec {
    pub fn name(&self) -> &str {
        match self {
            TableSpec::Source(source) => source.name.as_str(),
            TableSpec::Reshape(reshape) => &reshape.name,
            TableSpec::Stage(stage) => stage.name.as_str(),
        }
    }

    pub fn relation(&self) -> &Relation {
        match self {
            TableSpec::Source(source) => &source.relation,
            TableSpec::Reshape(reshape) => &reshape.relation,
            TableSpec::Stage(stage) => &stage.relation,
        }
    }

    /// The tables that it is made from.
    pub fn inputs(&self) -> &[TableId] {
        match self {
            TableSpec::Source(_) => &[],
            TableSpec::Reshape(reshape) => &reshape.inputs,
            TableSpec::Stage(stage) => std::slice::from_ref(&stage.input),
        }
    }

    pub fn as_source(&self) -> Option<&SourceSpec> {
        if let TableSpec::Source(source) = self { Some(source) } else { None }
    }

    pub fn as_reshape(&self) -> Option<&ReshapeSpec> {
        if let TableSpec::Reshape(reshape) = self { Some(reshape) } else { None }
    }

    pub fn as_stage(&self) -> Option<&StageSpec> {
        if let TableSpec::Stage(stage) = self { Some(stage) } else { None }
    }
}

impl StageSpec {
    pub fn width(&self) -> usize {
        self.answers.width()
    }

    pub fn packs(&self) -> bool {
        self.rows_per_prompt > 1
    }
}
