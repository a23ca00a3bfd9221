//! The lock of a spec: what its tables were made from and what they contain, kept in `<spec>.lock` next to the spec.
//!
//! - `file` - reads and writes the lock file
//! - `facts` - fills a lock from a plan, its models, its parts and its outputs
//! - `prompts` - hashes what a stage asks
//! - `drift` - compares the facets of two locks
//! - `freshness` - says how far each stage is and why it has to run
//! - `keeper` - checks the lock of a run before its first call and writes it at the end
//! - `verify` - checks the files of a spec against its lock
//!
//! An entry of a lock is a facet, named by its path: `sources.speeches.rows`. A facet with a changed value has drifted.
//! To add one, add a field to the types in `file` and fill it in `facts`; a field that only a run or a server can tell is
//! an `Option` without `skip_serializing_if`.

mod drift;
mod facts;
mod file;
mod freshness;
mod keeper;
mod prompts;
mod verify;

pub use drift::{Comparison, Drift, Facets};
pub use facts::{ModelFacts, before};
pub use file::{Lock, LockError};
pub use freshness::{Freshness, Outlook, StageState, freshness};
pub use keeper::{LockChange, LockFailure, LockKeeper, LockMode};
pub use prompts::{PromptDigest, Prompts};
pub use verify::{Verified, verify};

#[cfg(test)]
mod tests;
