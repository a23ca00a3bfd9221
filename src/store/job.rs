//! Jobs: the name of the work that an engine does for a run, while it may be active.

use serde::{Deserialize, Serialize};

/// The job of an engine that makes the parts of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveJob {
    /// `slurm`, `ray` or `local`.
    pub(crate) engine: String,
    /// The names that the engine gave.
    pub(crate) ids: Vec<String>,
    /// As RFC 3339.
    pub(crate) submitted_at: String,
}
