//! The error of a run: why it could not go on at all.

use crate::plan::PlanError;
use crate::store::StoreError;

/// Why a run could not go on at all. A failed row is not an error of the run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan can't be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The disk, the ledger, a lock or a source.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A reshape failed.
    #[error("stage `{stage}`: {message}")]
    Reshape {
        /// The stage.
        stage: String,
        /// Why.
        message: String,
    },
    /// A task of the engine panicked.
    #[error("a task of the engine died: {0}")]
    Died(String),
}
