//! The store: what a project keeps on disk. One of the doors to the outside (run records). Nothing here waits for models.
//!
//! Everything stands under `.fanfold/` beside the spec, which git ignores:
//!
//! ```text
//! .fanfold/
//!   ledger.sqlite             every finished call of the project      (ledger.rs)
//!   sources/<hash>.parquet    the rows of a source as they were read  (import.rs)
//!   locks/<hash>.lock         who writes which output                 (project.rs)
//!   runs/<name>-<hash>/       one plan: its parts, calls, manifest    (rundir.rs, manifest.rs)
//! ```
//!
//! and `<spec>.lock` beside the spec, which is for git (lock.rs). `output.rs` writes the tables that a run leaves, `content.rs`
//! reads them back.

mod content;
mod import;
mod ledger;
mod lock;
mod manifest;
mod output;
mod project;
mod rundir;

pub use content::{Content, read as read_output};
pub use import::import;
pub use ledger::{Key, Ledger, LedgerError, LedgerSync, Record};
pub use lock::{
    Drift, Lock, LockError, LockedBuild, LockedModel, LockedOutput, LockedSource, LockedSpec, LockedStage, LockedTool,
};
pub use manifest::{ErrorKind, Manifest, ModelFacts, OutputFacts, Share, Shares, SourceEntry, StageTotals, State};
pub use output::write as write_output;
pub use project::{Hold, Project};
pub use rundir::{CommittedPart, PartFacts, PartWriter, Replies, RunDir, calls_schema};

use std::path::PathBuf;

/// Why the store can't do its work; names the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system said no.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// A table can't be read or written.
    #[error(transparent)]
    Table(#[from] crate::table::parquet::TableError),
    /// A source can't be read.
    #[error("source `{name}`: {error}")]
    Source {
        /// The source.
        name: String,
        /// Why.
        error: crate::source::SourceError,
    },
    /// The ledger can't be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Somebody else is at it.
    #[error("{what} is being written by another run ({holder})")]
    Locked {
        /// What is locked.
        what: String,
        /// Who holds it.
        holder: String,
    },
}

impl StoreError {
    /// For `map_err`: an error of the operating system about `path`.
    pub fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
        move |error| StoreError::Io { path: path.to_owned(), error }
    }
}
