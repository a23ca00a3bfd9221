//! Sources: where rows come from. One of the doors to the outside (data files).
//!
//! A [`Source`] reads Arrow batches; it knows the table line and what stands below it, nothing of prompts or models.
//! To add one: a file with a type that implements [`Source`], a `mod` line, a row in [`SOURCES`].

use std::fmt;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

/// Rows at most in one batch.
pub const BATCH_ROWS: usize = 1024;
/// Bytes of text, about, at which a batch ends early, so that long texts don't fill the memory.
pub const BATCH_BYTES: usize = 4 << 20;

/// Why a source can't be read, in words for its owner: names the file, and row, line and byte where there are some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// The whole sentence.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

/// The batches of a source, in order; ends after the first error.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, SourceError>> + Send>;

/// Where rows come from.
pub trait Source: Send + Sync + fmt::Debug {
    /// Its columns, read from as little of it as possible (the header of a CSV).
    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError>;

    /// All its rows, in order; batches have at most [`BATCH_ROWS`] rows and all the same schema as [`Source::schema`].
    fn read(&self, folder: &Path) -> Result<Batches, SourceError>;

    /// The files it reads, in order; `folder` is the spec's folder.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError>;

    /// The column that identifies a row; `None`: the row number.
    fn key(&self) -> Option<&str>;

    /// The paths as written in the spec, with the field that holds each (for the check that they stay in the project).
    fn paths(&self) -> Vec<(&'static str, String)>;

    /// Everything that decides what is read, as canonical JSON (for the hash of the spec's meaning).
    fn meaning(&self) -> serde_json::Value;
}
