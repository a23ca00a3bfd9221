//! Inventories: list the models that the servers of a spec have, and settings that do not fit.
//!
//! Nothing is written, and no prompt is sent.

mod files;
mod lints;
mod servers;

pub(crate) use files::check_files;
pub(crate) use lints::{Hint, hints};
pub(crate) use servers::{Lack, Need, Surveyed, survey};

#[cfg(test)]
mod tests;
