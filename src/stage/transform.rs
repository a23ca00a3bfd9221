//! Transforms: stages that call no model and derive a table from other tables.
//!
//! A [`TransformConfig`] is the stage as written in the spec. Binding it to the columns of its input tables makes a
//! [`Transform`], whose [`Pass`] processes the rows. The engine passes the rows in and writes the returned rows.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use serde_json::Value;

use super::view::View;
use super::wordings::Wordings;
use crate::document::{Path, Problems};
use crate::table::{self, Guard};

#[derive(Clone, Copy, Debug)]
pub(crate) struct InputTable<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) key: Option<usize>,
    /// For each column, the guards that show that an answer is missing.
    pub(crate) guards: &'a [Vec<Guard>],
    /// The origin of each column. Empty if the table is unknown.
    pub(crate) origins: &'a [ColumnOrigin],
}

/// Where the values of a column were made first. Columns with the same place are copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnOrigin {
    /// The number of the table and of its column.
    pub(crate) place: (usize, usize),
    /// The place of the column that identifies a row of that table.
    pub(crate) key: Option<(usize, usize)>,
}

impl InputTable<'_> {
    pub(crate) fn column(&self, at: Path, name: &str, problems: &mut Problems) -> Option<usize> {
        table::column(self.schema, name, &format!("`{}`", self.name), at, problems)
    }
}

/// What to type in the source of the column `name` so that it has a type, such as `number`.
pub(crate) fn declaration(name: &str, kind: &str) -> String {
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let key = if is_bare { name.to_owned() } else { format!("{name:?}") };
    format!("`types.{key} = \"{kind}\"`")
}

pub(crate) struct TransformContext<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a Path,
    /// The tables that the transform reads, in the order of [`TransformConfig::inputs`].
    pub(crate) inputs: &'a [InputTable<'a>],
    /// The seed of the spec, or 0.
    pub(crate) seed: u64,
    /// Reads a text file named in the spec; the error is a sentence.
    pub(crate) read: &'a dyn Fn(&str) -> Result<String, String>,
}

pub(crate) trait TransformConfig: Send + Sync + fmt::Debug {
    /// Returns the tables that the transform reads, each with the field that names it.
    fn inputs(&self) -> Vec<(&'static str, &str)>;

    /// Binds the transform to the columns of its inputs. Reports every problem. Returns `None` after an error.
    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform>;

    /// The tables that the stage makes beside its own, as the parts of their names after the stage's.
    fn parts(&self) -> &'static [&'static str] {
        &[]
    }

    /// Binds one of these tables. It reads the first input only. Called when the stage itself is bound without errors.
    fn bind_part(&self, _part: &str, _context: &TransformContext<'_>) -> Option<Transform> {
        None
    }

    /// Returns what to ask again, for a stage that repeats another stage. Such a stage is not bound.
    fn repeats(&self) -> Option<Repeats<'_>> {
        None
    }

    /// Returns how to ask another stage with several wordings. Such a stage is bound to the table of their answers.
    fn wordings(&self) -> Option<Wordings<'_>> {
        None
    }
}

pub(crate) struct Repeats<'a> {
    pub(crate) stage: &'a str,
    pub(crate) rows: NonZeroU32,
}

impl<C: TransformConfig + 'static> From<C> for Box<dyn TransformConfig> {
    fn from(config: C) -> Self {
        Box::new(config)
    }
}

#[derive(Debug)]
pub(crate) struct Transform {
    pub(crate) info: TransformInfo,
    pub(crate) work: Box<dyn Work>,
}

#[derive(Debug)]
pub(crate) struct TransformInfo {
    pub(crate) kind: &'static str,
    pub(crate) schema: SchemaRef,
    /// For each column, the positions of the input table and of the column that it copies. `None` for new columns.
    pub(crate) origins: Vec<Option<(usize, usize)>>,
    /// The columns that decide something, by the position of their table in the inputs. Copied columns are not among them.
    pub(crate) reads: Vec<(usize, usize)>,
    pub(crate) key: Option<usize>,
    /// The number of columns at the end that only the stage reading this table sees.
    pub(crate) hidden: usize,
    /// Everything that can change a cell, as JSON. It is hashed: its bytes must not change.
    pub(crate) meaning: Value,
}

pub(crate) trait Work: Send + Sync + fmt::Debug {
    /// Starts a pass over the rows of all inputs, one input after the other in their order.
    fn start(&self) -> Box<dyn Pass + '_>;

    /// Returns what the report page shows of the table.
    fn views(&self) -> Vec<View> {
        Vec::new()
    }

    /// Whether the table shows how good answers are on the test part of a split.
    fn looks_at_test(&self) -> bool {
        false
    }

    /// The column of `input` whose values a column has, if the table has the rows of all inputs, one input after the
    /// other.
    fn stacked(&self, _input: usize, _column: usize) -> Option<usize> {
        None
    }

    /// Columns that equal a column of an input without being its copy, such as the keys of a join. Each is followed by
    /// the positions of the input and of its column.
    fn matched(&self) -> Vec<(usize, (usize, usize))> {
        Vec::new()
    }

    /// New columns of the table, each with a column of it without which a row has no value there.
    fn rests_on(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }
}

/// A pass over the rows.
pub(crate) trait Pass {
    /// Processes the next rows of table `input` and returns the rows that are complete.
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError>;

    /// Returns the remaining rows after the last input row.
    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        Ok(Vec::new())
    }
}

/// Why the rows of a table can't be processed: a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The field of the stage that it is about.
    pub(crate) field: Option<&'static str>,
}

impl From<String> for DataError {
    fn from(message: String) -> Self {
        DataError { message, help: None, field: None }
    }
}

impl DataError {
    pub(crate) fn at(field: &'static str, message: impl Into<String>) -> Self {
        DataError { field: Some(field), ..DataError::from(message.into()) }
    }

    /// The same, at `field` if it is about no other field.
    pub(crate) fn or_at(self, field: &'static str) -> Self {
        DataError { field: self.field.or(Some(field)), ..self }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        DataError { help: Some(help.into()), ..self }
    }

    /// The message and the help.
    #[cfg(test)]
    pub(crate) fn words(self) -> String {
        self.message + &self.help.map(|help| format!(" ({help})")).unwrap_or_default()
    }
}

pub(crate) fn sentence(error: ArrowError) -> String {
    error.to_string()
}

/// Returns a schema of these fields, all nullable. Reports duplicate names.
pub(crate) fn schema(fields: Vec<Field>, site: &Path, problems: &mut Problems) -> Option<SchemaRef> {
    for (i, field) in fields.iter().enumerate() {
        if fields[..i].iter().any(|other| other.name() == field.name()) {
            let message = format!("this stage writes the column `{}` twice", field.name());
            problems.error("duplicate-column", site.clone(), message).help("give the stage another name");
            return None;
        }
    }
    Some(Arc::new(Schema::new(fields.into_iter().map(|f| f.with_nullable(true)).collect::<Vec<_>>())))
}
