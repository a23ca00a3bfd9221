//! Tables: the sources, stages and reshapes of a spec in one list, each after the tables that it reads.

use std::ops::{Index, IndexMut};

use super::{Answers, Audit, Order, Overflow, Relation, Repair, Spec};
use crate::name::Name;
use crate::prompt::BoundCondition;
use crate::source::Source;
use crate::stage::{Stage, Transform};
use crate::table::{Guard, MaxFailed};

/// A table of a spec: an index into [`Spec::tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(usize);

/// A table and how it is made.
#[derive(Debug)]
pub enum TableSpec {
    /// Rows from outside.
    Source(SourceSpec),
    /// Rows derived from other tables without a model.
    Reshape(ReshapeSpec),
    /// The rows of another table with the answers of models.
    Stage(StageSpec),
}

/// A source with its columns.
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
    /// Indices into [`Spec::models`].
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
    /// Lanes.
    pub workers: usize,
    /// Prompts that each lane keeps in flight.
    pub batch_size: usize,
    /// Rows per part; a multiple of `rows_per_prompt`.
    pub chunk_size: u64,
    pub rows_per_prompt: u64,
    /// The sample that is also asked row by row.
    pub audit: Option<Audit>,
    pub order: Option<Order>,
    pub max_failed: Option<MaxFailed>,
    /// Attempts of one call, the first included.
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

    /// The columns of the table.
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
    /// Answers for each row of the input.
    pub fn width(&self) -> usize {
        self.answers.width()
    }

    /// Whether one prompt asks about several rows.
    pub fn packs(&self) -> bool {
        self.rows_per_prompt > 1
    }
}

/// The tables of a spec; the accessors for one kind panic for a table of another kind.
impl Spec {
    /// All tables, each after the tables that it reads; sources come first, in the order of the document.
    pub fn tables(&self) -> impl DoubleEndedIterator<Item = (TableId, &TableSpec)> {
        self.tables.iter().enumerate().map(|(index, table)| (TableId(index), table))
    }

    pub fn sources(&self) -> impl Iterator<Item = (TableId, &SourceSpec)> {
        self.tables().filter_map(|(id, table)| Some((id, table.as_source()?)))
    }

    pub fn reshapes(&self) -> impl Iterator<Item = (TableId, &ReshapeSpec)> {
        self.tables().filter_map(|(id, table)| Some((id, table.as_reshape()?)))
    }

    /// The stages that ask models.
    pub fn stages(&self) -> impl Iterator<Item = (TableId, &StageSpec)> {
        self.tables().filter_map(|(id, table)| Some((id, table.as_stage()?)))
    }

    pub fn table(&self, id: TableId) -> &TableSpec {
        &self.tables[id.0]
    }

    pub fn source(&self, id: TableId) -> &SourceSpec {
        self.table(id).as_source().expect("the id is of a source")
    }

    pub fn reshape(&self, id: TableId) -> &ReshapeSpec {
        self.table(id).as_reshape().expect("the id is of a reshape")
    }

    pub fn stage(&self, id: TableId) -> &StageSpec {
        self.table(id).as_stage().expect("the id is of a stage")
    }

    pub fn table_name(&self, id: TableId) -> &str {
        self.table(id).name()
    }

    pub fn relation(&self, id: TableId) -> &Relation {
        self.table(id).relation()
    }

    /// The source or the stage called `name`. Not the groups of a stage: only that stage reads them.
    pub fn find(&self, name: &str) -> Option<TableId> {
        self.tables().find(|(_, table)| table.name() == name && !name.contains('.')).map(|(id, _)| id)
    }

    /// A table and all tables that it is made from, each before those that read it.
    pub fn upstream(&self, of: TableId) -> Vec<TableId> {
        let mut found: Vec<TableId> = Vec::new();
        for input in self.table(of).inputs() {
            for other in self.upstream(*input) {
                if !found.contains(&other) {
                    found.push(other);
                }
            }
        }
        found.push(of);
        found
    }

    /// Adds a table whose inputs are there.
    pub(super) fn add_table(&mut self, table: TableSpec) -> TableId {
        self.tables.push(table);
        TableId(self.tables.len() - 1)
    }
}

/// One value for each table of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerTable<T>(Vec<T>);

impl<T> PerTable<T> {
    pub fn new(spec: &Spec, value: impl FnMut((TableId, &TableSpec)) -> T) -> Self {
        PerTable(spec.tables().map(value).collect())
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub fn map<U>(self, value: impl FnMut(T) -> U) -> PerTable<U> {
        PerTable(self.0.into_iter().map(value).collect())
    }
}

impl<T> Index<TableId> for PerTable<T> {
    type Output = T;

    fn index(&self, id: TableId) -> &T {
        &self.0[id.0]
    }
}

impl<T> IndexMut<TableId> for PerTable<T> {
    fn index_mut(&mut self, id: TableId) -> &mut T {
        &mut self.0[id.0]
    }
}
