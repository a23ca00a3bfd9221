//! Reshapes: tables to a table, without a model. Pure, like stages: the engine hands over the rows and writes what comes back.
//!
//! A [`ReshapeConfig`] is what the spec says, a [`Reshape`] the same bound to the columns of what it reads, its [`Work`] one
//! pass over the rows. To add one: a file with these, and a row in [`RESHAPES`].

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use serde_json::Value;

use crate::document::{Path, Problems};
use crate::registry::Kind;
use crate::table::Guard;

/// The kinds of reshapes.
pub static RESHAPES: &[Kind<Box<dyn ReshapeConfig>>] = &[super::split::KIND, super::join::KIND];

/// A table that is read.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its columns.
    pub schema: &'a SchemaRef,
    /// The column that identifies a row.
    pub key: Option<usize>,
    /// For each column, what tells that it holds no answer although it should.
    pub guards: &'a [Vec<Guard>],
}

/// Where a reshape is bound.
pub struct ReshapeSite<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it stands in the document.
    pub path: &'a Path,
    /// The tables that it reads, in the order of [`ReshapeConfig::inputs`].
    pub inputs: &'a [Given<'a>],
    /// Reads a text file named in the spec; the error is a sentence.
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
}

/// A reshape as the spec says it.
pub trait ReshapeConfig: Send + Sync + fmt::Debug {
    /// The tables that it reads, each with the field that names it.
    fn inputs(&self) -> Vec<(&'static str, &str)>;

    /// Binds it to the columns of these tables; reports every problem, and gives nothing if one of them is an error.
    fn bind(&self, site: &ReshapeSite<'_>, problems: &mut Problems) -> Option<Arc<dyn Reshape>>;
}

/// Tables to a table.
pub trait Reshape: Send + Sync + fmt::Debug {
    /// Its columns.
    fn schema(&self) -> &SchemaRef;

    /// For each of its columns the table (by its place) and the column that its cells come from as they are; none for those
    /// that it makes.
    fn origins(&self) -> Vec<Option<(usize, usize)>>;

    /// The column that identifies a row.
    fn key(&self) -> Option<usize>;

    /// How many columns at its end are for the stage that reads it only, and no part of that one's table.
    fn hidden(&self) -> usize {
        0
    }

    /// Begins a pass. The tables are handed over one after the other, in their order.
    fn start(&self) -> Box<dyn Work + '_>;

    /// Everything of it that can change a cell, as JSON.
    fn meaning(&self) -> Value;
}

/// A pass over the rows. Errors are sentences.
pub trait Work {
    /// Takes the next rows of table `input`; gives what they make at once.
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, String>;

    /// The rows that remain when all have been taken.
    fn finish(&mut self) -> Result<Vec<RecordBatch>, String>;
}

/// The index of the column `name` of a table, which stands at `place`; reports one that isn't there.
pub fn column(given: &Given<'_>, place: Path, name: &str, problems: &mut Problems) -> Option<usize> {
    let index = given.schema.index_of(name).ok();
    if index.is_none() {
        let columns = given.schema.fields().iter().map(|f| f.name().as_str());
        problems
            .error("unknown-column", place, format!("`{}` has no column `{name}`", given.name))
            .meant(crate::name::nearest(name, columns));
    }
    index
}

/// A schema of these fields, each nullable and named once; reports names that come twice.
pub fn schema(fields: Vec<Field>, site: &Path, problems: &mut Problems) -> Option<SchemaRef> {
    for (i, field) in fields.iter().enumerate() {
        if fields[..i].iter().any(|other| other.name() == field.name()) {
            let message = format!("this stage writes the column `{}` twice", field.name());
            problems.error("duplicate-column", site.clone(), message).help("give the stage another name");
            return None;
        }
    }
    Some(Arc::new(Schema::new(fields.into_iter().map(|f| f.with_nullable(true)).collect::<Vec<_>>())))
}
