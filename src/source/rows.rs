//! The trait of sources: columns and rows, read as Arrow batches.

use std::fmt;
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;

use super::batches::Batches;
use super::error::SourceError;
use super::population::Population;

/// Where rows come from.
pub trait Source: Send + Sync + fmt::Debug {
    /// Takes the spec's seed, for what it draws; a source that draws nothing has no use for it.
    fn seed(&mut self, _: Option<u64>) {}

    /// Its columns, read from as little of it as possible (the header of a CSV).
    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError>;

    /// All its rows, in order; batches have at most [`BATCH_ROWS`](super::batches::BATCH_ROWS) rows and all the same schema as [`Source::schema`].
    fn read(&self, folder: &Path) -> Result<Batches, SourceError>;

    /// The files it reads, in order; `folder` is the spec's folder.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError>;

    /// The column that identifies a row; `None`: the row number.
    fn key(&self) -> Option<&str>;

    /// The paths as written in the spec, with the field that holds each (for the check that they stay in the project).
    fn paths(&self) -> Vec<(&'static str, String)>;

    /// Everything that decides what is read, as canonical JSON (for the hash of the spec's meaning).
    fn meaning(&self) -> serde_json::Value;

    /// The population, if it makes its rows up.
    fn population(&self) -> Option<&Population> {
        None
    }
}
