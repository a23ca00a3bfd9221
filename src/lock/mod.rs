//! The lock of a spec: records the inputs and the contents of its tables, in `<spec>.lock` next to the spec.
//!
//! An entry of a lock is a facet, named by its path: `sources.speeches.rows`. A facet with a changed value has drifted.
//! To add one, add a field to the types in `file` and fill it in `facts`. A field that only a run or server can fill is
//! an `Option` without `skip_serializing_if`.

mod drift;
mod facts;
mod file;
mod freshness;
mod keeper;
mod prompts;

pub(crate) use drift::{Comparison, Drift};
pub(crate) use facts::{ModelFacts, before, committed_counts};
pub(crate) use file::{Lock, LockError, Looked};
pub(crate) use freshness::{Freshness, Outlook, StageState, freshness};
pub use keeper::LockMode;
pub(crate) use keeper::{LockChange, LockFailure, LockKeeper, Verified, verify};
pub(crate) use prompts::{PromptDigest, Prompts};

#[cfg(test)]
mod tests;
