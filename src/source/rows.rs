//! The trait of sources: columns and rows, read as Arrow batches.

use std::fmt;
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;

use super::batches::{Batches, SourceError};
use super::population::Population;
use super::reading::{Changes, Reading};
use super::settings::File;
use super::settings::codes::CodingSheet;

pub(crate) trait Source: Send + Sync + fmt::Debug {
    /// Sets the spec's seed, for sources that draw at random. Returns whether the source has no other seed.
    fn seed(&mut self, _: Option<u64>) -> bool {
        false
    }

    /// The columns, read from as little of the source as possible (the header of a CSV).
    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError>;

    /// The columns without the fields that name a column which is not there. By default the same as [`Source::schema`].
    fn columns_found(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        self.schema(folder)
    }

    /// All rows, in order, in batches of at most [`BATCH_ROWS`](super::batches::BATCH_ROWS) rows.
    fn read(&self, folder: &Path) -> Result<Batches, SourceError> {
        self.read_counting(folder, &Changes::default())
    }

    /// The same, and counts what is replaced.
    fn read_counting(&self, folder: &Path, changes: &Changes) -> Result<Batches, SourceError>;

    /// How the files are read, according to their first rows. Files that are read alike are one entry.
    fn readings(&self, _: &Path) -> Result<Vec<Reading>, SourceError> {
        Ok(Vec::new())
    }

    /// The files, in order; `folder` is the spec's folder.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError>;

    /// What the rows contain of a file's name. `None` if it does not matter; a file that can't be read is an error then.
    fn identity(&self, _folder: &Path, _file: &Path) -> Option<String> {
        None
    }

    /// The column that identifies a row; `None` for the row number.
    fn key(&self) -> Option<&str>;

    /// The paths as written in the spec, each with its field, for the check that they are inside the project.
    fn paths(&self) -> Vec<(&'static str, String)>;

    /// Every setting that affects the rows, as canonical JSON, for the hash of the spec's meaning.
    fn meaning(&self) -> serde_json::Value;

    /// Makes this the source of a sheet that people fill, if it reads files of rows.
    fn fill_sheet(&mut self, _: &CodingSheet) {}

    /// The settings of the sheet that people fill, if this is its source.
    fn sheet(&self) -> Option<&File> {
        None
    }

    fn population(&self) -> Option<&Population> {
        None
    }
}
