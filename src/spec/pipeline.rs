//! The checked spec: every name is resolved, and every template is bound to the columns that it reads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::columns::Relation;
use super::format::TableFormat;
use super::language::ClusterTable;
use super::limits::{Budget, Limits};
use super::prices::{ListedPrice, Price};
use super::stability::{Paraphrases, Unwritten};
use super::table::{SourceSpec, StageSpec, TableId, TableSpec, TransformSpec};
use crate::assertion::{Assertion, Severity};
use crate::document;
use crate::name::Name;
use crate::provider::{Endpoint, Model};
use crate::source::{File, FillColumn};

#[derive(Debug)]
pub struct Spec {
    pub(crate) name: String,
    /// The file that it was read from.
    pub(crate) file: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) seed: Option<u64>,
    pub(crate) budget: Budget,
    pub(crate) cluster: ClusterTable,
    /// The replay file that the spec names. It may not exist yet.
    pub(crate) replay: Option<PathBuf>,
    pub(crate) models: IndexMap<Name, ModelSpec>,
    pub(crate) endpoints: IndexMap<String, EndpointSpec>,
    pub(super) tables: Vec<TableSpec>,
    pub(crate) outputs: IndexMap<Name, OutputSpec>,
    pub(crate) tests: Vec<TestSpec>,
    /// The wordings of prompts that models have written, and those that they have to write before a run.
    pub(crate) paraphrases: Paraphrases,
    pub(crate) unwritten: Vec<Unwritten>,
    /// The files that the spec reads while it is checked, such as prompts.
    pub(crate) reads: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct EndpointSpec {
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) limits: Limits,
}

#[derive(Debug)]
pub(crate) struct ModelSpec {
    /// The key in [`Spec::endpoints`].
    pub(crate) endpoint: String,
    pub(crate) model: Model,
    /// The price in the spec, else the listed one.
    pub(crate) price: Option<Price>,
    /// Where the price was found, if the spec has none.
    pub(crate) listed: Option<&'static ListedPrice>,
    pub(crate) context_tokens: Option<u64>,
    /// The fallback models, as indices into [`Spec::models`].
    pub(crate) fallback: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct OutputSpec {
    pub(crate) input: TableId,
    pub(crate) path: String,
    pub(crate) file: PathBuf,
    pub(crate) format: TableFormat,
    /// Whether the file describes the columns instead of holding the rows.
    pub(crate) codebook: bool,
    /// The format of the rows; of a codebook, that of the file that it describes.
    pub(crate) holds: TableFormat,
    /// The columns of the file, as indices into the table of `input`.
    pub(crate) columns: Vec<usize>,
    /// The columns with the names and labels that they have in the file.
    pub(crate) schema: SchemaRef,
    pub(crate) missing_codes: bool,
    pub(crate) bom: bool,
    pub(crate) sheet: Option<SheetSpec>,
    /// The fields that change the file, as the spec writes them.
    pub(crate) settings: Map<String, Value>,
}

/// A sheet that people fill.
#[derive(Clone, Debug)]
pub(crate) struct SheetSpec {
    /// The column of the file with the key of the row.
    pub(crate) key: usize,
    pub(crate) fill: Vec<FillColumn>,
    /// How to read the key and the filled columns, in this order.
    pub(crate) reading: File,
}

#[derive(Debug)]
pub(crate) struct TestSpec {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) severity: Severity,
    pub(crate) table: String,
    pub(crate) input: TableId,
    /// The index into [`Spec::outputs`], if the tested table is an output.
    pub(crate) output: Option<usize>,
    pub(crate) assertion: Assertion,
    pub(crate) path: document::Path,
}

/// The tables of a spec. The accessors for one kind panic for a table of another kind.
impl Spec {
    /// Returns all tables, each after the tables that it reads. Sources come first, in the order of the document.
    pub(crate) fn tables(&self) -> impl DoubleEndedIterator<Item = (TableId, &TableSpec)> {
        self.tables.iter().enumerate().map(|(index, table)| (TableId(index), table))
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = (TableId, &SourceSpec)> {
        self.tables().filter_map(|(id, table)| Some((id, table.as_source()?)))
    }

    pub(crate) fn transforms(&self) -> impl Iterator<Item = (TableId, &TransformSpec)> {
        self.tables().filter_map(|(id, table)| Some((id, table.as_transform()?)))
    }

    pub(crate) fn stages(&self) -> impl Iterator<Item = (TableId, &StageSpec)> {
        self.tables().filter_map(|(id, table)| Some((id, table.as_stage()?)))
    }

    pub(crate) fn table(&self, id: TableId) -> &TableSpec {
        &self.tables[id.0]
    }

    pub(crate) fn source(&self, id: TableId) -> &SourceSpec {
        self.table(id).as_source().expect("the id is of a source")
    }

    pub(crate) fn transform(&self, id: TableId) -> &TransformSpec {
        self.table(id).as_transform().expect("the id is of a transform")
    }

    pub(crate) fn stage(&self, id: TableId) -> &StageSpec {
        self.table(id).as_stage().expect("the id is of a stage")
    }

    pub(crate) fn table_name(&self, id: TableId) -> &str {
        self.table(id).name()
    }

    pub(crate) fn relation(&self, id: TableId) -> &Relation {
        self.table(id).relation()
    }

    /// Returns the source, the stage or the part of a stage called `name`. Ignores tables that only a stage itself reads.
    pub(crate) fn find(&self, name: &str) -> Option<TableId> {
        let is_shown = |table: &TableSpec| {
            !name.contains('.') || table.as_transform().is_some_and(|transform| !transform.is_inner)
        };
        self.tables().find(|(_, table)| table.name() == name && is_shown(table)).map(|(id, _)| id)
    }

    /// Returns a table and all tables that it depends on, each before its readers.
    pub(crate) fn upstream(&self, of: TableId) -> Vec<TableId> {
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

    /// Leaves out the corrections that name rows by their numbers, because the rows of a run have other numbers.
    pub(crate) fn leave_out_numbered_corrections(&mut self) {
        let stages = self.tables.iter_mut().filter_map(|table| match table {
            TableSpec::Stage(stage) => Some(stage),
            _ => None,
        });
        for stage in stages.filter(|stage| stage.relation.key.is_none()) {
            stage.corrections = stage.corrections.take().map(|corrections| Arc::new(corrections.left_out()));
        }
    }

    pub(super) fn add_table(&mut self, table: TableSpec) -> TableId {
        self.tables.push(table);
        TableId(self.tables.len() - 1)
    }

    /// The first universe of a table with the universes of a grid.
    pub(crate) fn first_universe(&self, table: TableId) -> Option<&StageSpec> {
        let first = *self.table(table).as_transform()?.inputs.first()?;
        self.table(first).as_stage().filter(|stage| stage.grid.is_some())
    }

    /// The names of the models that a stage asks.
    pub(crate) fn models_of(&self, stage: &StageSpec) -> impl Iterator<Item = &str> {
        stage.models.iter().map(|model| self.model(*model).0.as_str())
    }

    pub(crate) fn model(&self, model: usize) -> (&Name, &ModelSpec) {
        self.models.get_index(model).expect("model indices are made from this table")
    }
}
