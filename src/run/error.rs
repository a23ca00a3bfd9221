//! The error of a run: why it could not continue.

use std::path::PathBuf;

use crate::plan::PlanError;
use crate::stage::DataError;
use crate::store::StoreError;

/// Why a run could not continue. A failed row is not an error of the run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("stage `{stage}`: {}", error.message)]
    Transform { spec: PathBuf, stage: String, error: DataError },
    #[error("part {part} of `{table}` is not committed yet")]
    MissingPart { table: String, part: u64 },
    #[error("stage `{stage}`: {message}")]
    Paraphrase { stage: String, message: String },
    #[error("{0}")]
    Frozen(String),
    #[error("a task of the engine died: {0}")]
    Died(String),
}
