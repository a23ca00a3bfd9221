//! Sources: where rows come from. One of the doors to the outside (data files).
//!
//! A [`Source`] reads Arrow batches; it knows the table line and what stands below it, nothing of prompts or models.
//! To add one: a file with a type that implements [`Source`], a `mod` line, a row in [`SOURCES`].
//!
//! `file` is the source for files; `matching` finds them, `text` decodes bytes, `csv`, `jsonl` and `parquet` read one
//! file each, `cell`, `inference` and `arrays` make columns. `population` is the source that makes its rows up.

mod arrays;
mod cell;
mod csv;
mod file;
mod inference;
mod jsonl;
mod matching;
mod pages;
mod parquet;
pub mod population;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

pub use cell::Type;
pub use file::{File, Format};
pub use population::Population;

use crate::registry::Kind;

/// Rows at most in one batch.
pub const BATCH_ROWS: usize = 1024;
/// Bytes of text, about, at which a batch ends early, so that long texts don't fill the memory.
pub const BATCH_BYTES: usize = 4 << 20;

/// Bytes, about, that a cell takes besides its text; they count for [`BATCH_BYTES`] where tables are wide.
const CELL_COST: usize = 8;
/// Bytes at most in one cell: a longer one is a mistake (mostly a quote that is never closed).
pub const CELL_BYTES: usize = 16 << 20;
/// Bytes at most in one row of text.
pub const ROW_BYTES: usize = 64 << 20;
/// Columns at most in one table.
pub const MOST_COLUMNS: usize = 10_000;

/// What `type = "..."` of a source can say.
pub static SOURCES: &[Kind<Box<dyn Source>>] = &[file::KIND, population::KIND];

/// Why a source can't be read, in words for its owner: names the file, and row, line and byte where there are some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// The whole sentence.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// The keys under the source's table that it is about, such as `["types", "age"]`; empty: the whole source.
    pub field: Vec<String>,
}

impl SourceError {
    /// An error about the whole source.
    pub fn new(message: impl Into<String>) -> Self {
        SourceError { message: message.into(), help: None, field: Vec::new() }
    }

    /// The same error, with what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error, with "did you mean" if there is a suggestion.
    pub fn meant(self, suggestion: Option<&str>) -> Self {
        match suggestion {
            Some(word) => self.help(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// The same error, about one field of the source's table.
    pub fn at<'a>(mut self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        self.field = keys.into_iter().map(str::to_owned).collect();
        self
    }
}

/// The batches of a source, in order; ends after the first error.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, SourceError>> + Send>;

/// Where rows come from.
pub trait Source: Send + Sync + fmt::Debug {
    /// Takes the spec's seed, for what it draws; a source that draws nothing has no use for it.
    fn seed(&mut self, _: Option<u64>) {}

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

    /// The population, if it makes its rows up.
    fn population(&self) -> Option<&Population> {
        None
    }
}

/// The version of how sources are read; another one reads them anew.
const READER_VERSION: &str = "fanfold-source-1";

/// The hash of a source's files and of how they are read, in hex.
pub fn content(source: &dyn Source, folder: &Path) -> Result<String, SourceError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(READER_VERSION.as_bytes());
    hasher.update(source.meaning().to_string().as_bytes());
    for file in source.files(folder)? {
        let cannot = |error: std::io::Error| SourceError::new(format!("{}: {error}", file.display()));
        let opened = std::fs::File::open(&file).map_err(cannot)?;
        hasher.update(b"\0file\0");
        hasher.update_reader(opened).map_err(cannot)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Reads a text file that a spec names, such as a prompt; the error is a sentence.
pub fn read_text(folder: &Path, path: &str) -> Result<String, String> {
    std::fs::read_to_string(folder.join(path)).map_err(|error| format!("`{path}` can't be read: {error}"))
}
