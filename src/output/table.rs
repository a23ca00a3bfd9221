//! The table that an output writes, and the error of a file that cannot be written.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use arrow_array::{RecordBatch, RecordBatchOptions, new_null_array};

use crate::spec::{OutputSpec, Spec};
use crate::store::{SheetFacts, StoreError};
use crate::table::files::{folder_of, new_file, persist, persist_new};
use crate::table::parquet::TableError;

pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch, TableError>> + 'a>;

/// The hash of the prompts of each stage.
pub(crate) type PromptHashes = HashMap<String, String>;

/// An output with the table that it writes.
pub(crate) struct Output<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) output: &'a OutputSpec,
    /// Facts about the run, for formats with metadata.
    pub(crate) facts: Vec<(String, String)>,
    /// For a codebook.
    pub(crate) prompts: &'a PromptHashes,
    /// Reads all rows of the input. Some writers read them more than once.
    pub(crate) read: &'a dyn Fn() -> Batches<'a>,
}

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) columns: usize,
    /// What the file holds differently, because its format cannot hold it; sentences.
    pub(crate) notes: Vec<String>,
    /// For a sheet that people fill.
    pub(crate) sheet: Option<SheetFacts>,
}

impl Output<'_> {
    /// The rows with the columns of the file. Those that people fill are empty.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<RecordBatch, StoreError>> {
        (self.read)().map(|batch| {
            let batch = batch?.project(&self.output.columns).map_err(|error| self.broken(error))?;
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let mut columns = batch.columns().to_vec();
            let empty = self.output.schema.fields().iter().skip(columns.len());
            columns.extend(empty.map(|field| new_null_array(field.data_type(), batch.num_rows())));
            let named = RecordBatch::try_new_with_options(self.output.schema.clone(), columns, &rows);
            named.map_err(|error| self.broken(error))
        })
    }

    /// Writes the file under a temporary name and renames it when it is complete. A sheet that people fill is never replaced.
    pub(super) fn whole<T>(&self, write: impl FnOnce(&File) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let folder = folder_of(&self.output.file);
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let file = new_file(&self.output.file).map_err(|error| self.io(error))?;
        let written = write(file.as_file())?;
        match self.output.sheet {
            Some(_) => persist_new(file, &self.output.file),
            None => persist(file, &self.output.file),
        }
        .map_err(|error| self.io(error))?;
        Ok(written)
    }

    pub(super) fn path(&self) -> &Path {
        &self.output.file
    }

    pub(super) fn io(&self, error: std::io::Error) -> StoreError {
        StoreError::Io { path: self.path().to_owned(), error }
    }

    pub(super) fn broken(&self, error: impl std::fmt::Display) -> StoreError {
        StoreError::Output { path: self.path().to_owned(), reason: error.to_string() }
    }
}

/// A sentence about the texts of a column that its format cannot hold whole; `longest` is a number with its unit.
pub(super) fn cut_note(column: &str, cut: u64, longest: &str) -> Option<String> {
    match cut {
        0 => None,
        1 => Some(format!("`{column}`: 1 text is cut after {longest}")),
        _ => Some(format!("`{column}`: {cut} texts are cut after {longest}")),
    }
}
