//! The store: what a project keeps on disk. One of the doors to the outside (run records). Nothing here waits for models.
//!
//! Everything stands under `.fanfold/` beside the spec, which git ignores:
//!
//! ```text
//! .fanfold/
//!   ledger.sqlite             every finished call of the project      (ledger.rs)
//!   sources/<hash>.parquet    the rows of a source as they were read  (import.rs)
//!   locks/<hash>.lock         who writes which output                 (project.rs)
//!   locks/ledger.lock         shared by runs, alone for gc            (project.rs)
//!   runs/<name>-<hash>/       one plan: its parts, calls, manifest    (rundir.rs, manifest.rs)
//! ```
//!
//! The lock `<spec>.lock` next to the spec, which is for git, is written by the folder `lock`. `output.rs` writes the tables that a run leaves, `content.rs`
//! reads them back, `stored.rs` reads those of earlier runs; provenance.rs finds the run that wrote one, explain.rs what
//! stands behind a row of it (spec_shape.rs). audit.rs counts what packs of rows change.
//!
//! A finished run leaves the project as a replay file (replay.rs): written by export.rs, asked by recorded.rs, merged into
//! a ledger by merge.rs. What no run uses is dropped from the ledger by gc.rs.

mod audit;
mod content;
mod counts;
mod explain;
mod export;
mod gc;
mod import;
mod ledger;
mod manifest;
mod merge;
mod notes;
mod output;
mod project;
mod provenance;
mod recorded;
mod replay;
mod rundir;
mod spec_shape;
mod stored;

pub use audit::{Audit, AuditColumn, Cost, Discord};
pub use content::{Content, read as read_output};
pub use counts::{RowCounts, Share, Shares};
pub use explain::{Explanation, Row, Wanted, explain};
pub use export::{export, shown};
pub use gc::gc;
pub use import::import;
pub use ledger::{Contents, Dropped, Key, Ledger, LedgerError, LedgerSync, ModelContents, Record, Verified};
pub use manifest::{ErrorKind, Manifest, ModelEntry, OutputFacts, ReshapeEntry, SourceEntry, StageTotals, State};
pub use merge::{Merged, merge};
pub use notes::Notes;
pub use output::write as write_output;
pub use project::{Hold, Project};
pub use provenance::{Origin, OriginError, origin};
pub use recorded::{Recorded, Sought};
pub use replay::{RecordedCall, RecordedModel, ReplayFile, Whose, replay_schema};
pub use rundir::{CommittedPart, PartFacts, PartWriter, Replies, RunDir, calls_schema};
pub use spec_shape::{AddedColumn, StageShape};
pub use stored::Stored;

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
    /// A replay file can't be used.
    #[error("{path}: {reason}")]
    Replay {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no finished run to export.
    #[error("no finished run stands in {run}")]
    Unfinished {
        /// Where it would be.
        run: PathBuf,
    },
    /// The ledger can't be shared now.
    #[error("the ledger is being cleaned by `fanfold ledger gc`")]
    Cleaning,
    /// The ledger can't be cleaned now.
    #[error("the ledger is in use by a run")]
    InUse,
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
