//! Output files: writes the tables of a run and their codebooks, and reads them back.
//!
//! A file appears whole or not at all, and its bytes depend only on the rows and the spec. To add a format: a variant of
//! [`TableFormat`](crate::spec::TableFormat) and a writer.

mod arrow_file;
mod codebook;
mod describe;
mod names;
mod origin;
mod read;
mod spss;
mod stata;
mod text;
mod variables;
mod workbook;

use std::fs::File;
use std::path::Path;

use arrow_array::{RecordBatch, RecordBatchOptions};

use crate::spec::{OutputSpec, Spec, TableFormat};
use crate::store::StoreError;
use crate::table::parquet::{Options, TableError, TableWriter, folder_of, new_file, persist};

pub(crate) use codebook::PromptHashes;
pub(crate) use read::read;

pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch, TableError>> + 'a>;

/// An output with the table that it writes.
pub(crate) struct Output<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) output: &'a OutputSpec,
    /// Facts about the run, for formats with metadata.
    pub(crate) facts: Vec<(String, String)>,
    /// The hashes of the prompts, for a codebook.
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
}

impl Output<'_> {
    pub(crate) fn write(&self) -> Result<Written, StoreError> {
        let OutputSpec { format, codebook, bom, .. } = *self.output;
        let columns = self.output.columns.len();
        let plain = |rows| Written { rows, columns, notes: Vec::new() };
        match format {
            _ if codebook => self.whole(|file| codebook::write(self, file)),
            TableFormat::Parquet => self.parquet().map(plain),
            TableFormat::Csv => self.whole(|file| text::csv(file, self, bom).map(plain)),
            TableFormat::Jsonl | TableFormat::Markdown => self.whole(|file| text::jsonl(file, self).map(plain)),
            TableFormat::Arrow => self.whole(|file| arrow_file::write(file, self).map(plain)),
            TableFormat::Xlsx => self.whole(|file| workbook::write(file, self)),
            TableFormat::Dta => self.whole(|file| stata::write(file, self)),
            TableFormat::Sav => self.whole(|file| spss::write(file, self)),
        }
    }

    /// The rows with the columns of the file.
    fn rows(&self) -> impl Iterator<Item = Result<RecordBatch, StoreError>> {
        (self.read)().map(|batch| {
            let batch = batch?.project(&self.output.columns).map_err(|error| self.broken(error))?;
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let named = RecordBatch::try_new_with_options(self.output.schema.clone(), batch.columns().to_vec(), &rows);
            named.map_err(|error| self.broken(error))
        })
    }

    fn parquet(&self) -> Result<u64, StoreError> {
        let options = Options { facts: self.facts.clone(), ..Options::default() };
        let mut writer = TableWriter::create(&self.output.file, self.output.schema.clone(), &options)?;
        for batch in self.rows() {
            writer.write(batch?)?;
        }
        let rows = writer.rows();
        writer.commit()?;
        Ok(rows)
    }

    /// Writes the file under a temporary name and renames it when it is complete.
    fn whole<T>(&self, write: impl FnOnce(&File) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let folder = folder_of(&self.output.file);
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let file = new_file(&self.output.file).map_err(|error| self.io(error))?;
        let written = write(file.as_file())?;
        persist(file, &self.output.file).map_err(|error| self.io(error))?;
        Ok(written)
    }

    fn path(&self) -> &Path {
        &self.output.file
    }

    fn io(&self, error: std::io::Error) -> StoreError {
        StoreError::Io { path: self.path().to_owned(), error }
    }

    fn broken(&self, error: impl std::fmt::Display) -> StoreError {
        StoreError::Output { path: self.path().to_owned(), reason: error.to_string() }
    }
}
