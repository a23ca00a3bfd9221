//! Specs: checks a `Document` and returns a [`Spec`] or **all** its problems.
//!
//! [`check`](Spec::check) has three steps:
//!
//! - `secret` removes literal keys from the document, and `spelling` rewrites other words for its fields;
//! - `read` decodes the tables of the document, by the structs in `language` and by the registries;
//! - `resolve` looks names up and binds each table to the columns of its inputs, with one file for each kind of table.
//!
//! To add a field to a table, add it to the struct with a doc comment. To add a kind, add a row to a registry.
//! [`schema`] is the language as a JSON Schema. Checking reads the headers of sources and the prompt files. It opens no
//! connection and writes nothing.

mod abilities;
mod assertions;
mod assumed;
mod columns;
mod contexts;
mod correction_file;
mod corrections;
mod examples;
mod format;
mod graph;
mod grid;
mod language;
mod limits;
pub(crate) mod load;
mod meaning;
mod models;
mod origins;
mod outputs;
mod paths;
mod pipeline;
mod prices;
mod read;
mod repeatability;
mod resolve;
pub(crate) mod schema;
mod secret;
mod sheets;
mod spelling;
mod stability;
mod stage_checks;
mod stages;
mod suffixes;
mod table;
mod tokens;
mod universes;
mod usage;

use std::collections::HashMap;

use arrow_schema::SchemaRef;
use stability::Wording;

use crate::document::{Diagnostic, Document, Problems, Value};

pub(crate) use columns::{ColumnRole, Form};
pub(crate) use corrections::{CorrectedCell, Correction};
pub(crate) use format::TableFormat;
pub(crate) use language::{ClusterTable, KubernetesTable, Order, Overflow, Repair};
#[cfg(test)]
pub(crate) use limits::Interval;
pub(crate) use limits::{Budget, Concurrency, Limits, OnOutage, Spending};
pub use pipeline::Spec;
pub(crate) use pipeline::{ModelSpec, OutputSpec, SheetSpec, TestSpec};
pub(crate) use prices::{CallTokens, ListedPrice, Price};
pub(crate) use read::stage_of;
pub(crate) use stability::{ANSWERS, Paraphrased, Paraphrases, Unwritten, lock_of};
pub(crate) use table::{SourceSpec, StageSpec, TableId, TableSpec, TransformSpec};

pub(crate) use crate::table::Guard;

/// What is known of a spec before it is checked.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    /// The columns of sources whose rows were imported before, by name. They are not read from their files.
    pub(crate) columns: HashMap<String, SchemaRef>,
    /// The wordings that models have written.
    pub(crate) paraphrases: Paraphrases,
}

impl Spec {
    /// Checks `document`. Returns no spec if a problem is an error. Masks literal API keys in the document.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check(document: &mut Document, folder: &std::path::Path) -> (Option<Spec>, Vec<Diagnostic>) {
        Spec::check_frozen(document, folder, &Frozen::default())
    }

    /// The same, with what is known before.
    fn check_frozen(
        document: &mut Document,
        folder: &std::path::Path,
        frozen: &Frozen,
    ) -> (Option<Spec>, Vec<Diagnostic>) {
        let mut problems = Problems::default();
        secret::find(document, &mut problems);
        spelling::rewrite(&mut document.root, &mut problems);
        let outside = document.root.get("allow_outside").is_some_and(|node| node.value == Value::Bool(true));
        let read = paths::reader(folder, outside);
        let wording = Wording { document, read: &read, paraphrases: &frozen.paraphrases };
        let raw = read::read(document, &wording, &mut problems);
        let spec = raw.map(|raw| resolve::resolve(raw, folder, frozen, &mut problems));
        let broken = problems.iter().any(Diagnostic::is_error);
        let spec = spec.filter(|_| !broken).map(|spec| Spec { file: (&document.name).into(), ..spec });
        (spec, problems.into_iter().collect())
    }
}
