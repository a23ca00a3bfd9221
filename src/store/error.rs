//! Errors of the store. Each error names the file.

use std::path::{Path, PathBuf};

use super::job::ActiveJob;
use super::ledger::LedgerError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Table(#[from] crate::table::parquet::TableError),
    #[error("source `{name}`: {error}")]
    Source { name: String, error: crate::source::SourceError },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{path}: {reason}")]
    Replay { path: PathBuf, reason: String },
    #[error("{path}: {reason}")]
    Output { path: PathBuf, reason: String },
    #[error("{path} is damaged: its checksum is wrong or missing")]
    Damaged { path: PathBuf },
    #[error("{path} is missing or damaged; it lists the answers that a finished run uses")]
    NoCalls { path: PathBuf },
    #[error("{run} contains no finished run")]
    Unfinished { run: PathBuf },
    #[error(transparent)]
    Object(#[from] crate::object::ObjectError),
    #[error("the ledger is being cleaned by `fanfold ledger gc`")]
    Cleaning,
    #[error("the ledger is in use by a run")]
    InUse,
    #[error("this run is on {} (job {})", .job.engine, .job.ids.join(", "))]
    OnCluster { run: PathBuf, job: ActiveJob },
    #[error("workers of a command that was killed are ending their calls in this run's folder")]
    Workers,
    #[error("{what} is being written by another run{holder}")]
    Locked { what: String, holder: String },
}

impl StoreError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
        move |error| StoreError::Io { path: path.to_owned(), error }
    }
}
