//! Inventories: what the servers of a spec have, and what does not fit the spec.
//!
//! - `servers` - asks each server which models it has
//! - `lints` - finds settings that a run accepts but that do not fit the servers
//!
//! Nothing is written, and no prompt is sent.

mod lints;
mod servers;

pub use lints::{Hint, hints};
pub use servers::{Lack, Need, Surveyed, survey};

#[cfg(test)]
mod tests;
