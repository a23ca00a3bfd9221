//! Specs: what the author wrote, checked. `Document` in, [`Spec`] or **all** the problems out.
//!
//! [`check`](Spec::check) has three steps:
//!
//! - `secret` takes literal keys out of the document;
//! - `read` decodes the tables of the document, by the structs in `language` and by the registries;
//! - `resolve` looks names up and binds each table to the columns of its inputs, with one file for each kind of table.
//!
//! A new field of a table is a field of its struct with a doc comment; a new kind is a row of a registry. [`schema`] is
//! the language as a JSON Schema. Checking reads the headers of sources and the prompt files; it opens no connection and
//! writes nothing.

mod assertions;
mod assumed;
mod columns;
mod examples;
mod graph;
mod language;
mod limits;
pub(crate) mod load;
mod meaning;
mod models;
mod outputs;
mod paths;
mod pipeline;
mod read;
mod resolve;
pub(crate) mod schema;
mod secret;
mod stage_checks;
mod stages;
mod table;

use crate::document::{Diagnostic, Document, Problems};

pub(crate) use columns::Form;
pub(crate) use language::{Order, Overflow, Repair};
pub(crate) use limits::{Budget, Concurrency, Limits, OnOutage, Price};
pub use pipeline::Spec;
pub(crate) use pipeline::{ModelSpec, OutputSpec, PerTable, TableFormat, TestSpec};
pub(crate) use table::{SourceSpec, StageSpec, TableId, TableSpec, TransformSpec};

pub(crate) use crate::table::Guard;

impl Spec {
    /// Checks `document`; there is no spec if a problem is an error. Literal API keys are blotted out of the document.
    pub(crate) fn check(document: &mut Document, folder: &std::path::Path) -> (Option<Spec>, Vec<Diagnostic>) {
        let mut problems = Problems::default();
        secret::find(document, &mut problems);
        let spec = read::read(document, &mut problems).map(|raw| resolve::resolve(raw, folder, &mut problems));
        let broken = problems.iter().any(Diagnostic::is_error);
        (spec.filter(|_| !broken), problems.into_iter().collect())
    }
}
