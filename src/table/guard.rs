//! Guards: detect that a row lacks an answer that it should have.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};

/// A sign that an answer is missing in a row: a call failed, or was never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Guard {
    /// The column is not null: it contains an error.
    Error(usize),
    /// The column is null or empty: it contains the text to read.
    Missing(usize),
}

impl Guard {
    pub(crate) fn error(&self) -> Option<usize> {
        match self {
            Guard::Error(column) => Some(*column),
            Guard::Missing(_) => None,
        }
    }

    pub(crate) fn column(&self) -> usize {
        let (Guard::Error(column) | Guard::Missing(column)) = *self;
        column
    }

    pub(crate) fn at(&self, column: usize) -> Guard {
        match self {
            Guard::Error(_) => Guard::Error(column),
            Guard::Missing(_) => Guard::Missing(column),
        }
    }

    /// For each row of `batch`, whether it has the sign.
    pub(crate) fn found<'a>(&self, batch: &'a RecordBatch) -> impl Fn(usize) -> bool + use<'a> {
        let column = batch.column(self.column());
        let texts = column.as_string_opt::<i32>();
        let error = self.error().is_some();
        move |row| match error {
            true => column.is_valid(row),
            false => column.is_null(row) || texts.is_some_and(|t| t.value(row).trim().is_empty()),
        }
    }
}
