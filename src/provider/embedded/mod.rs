//! Models that run in the process, on the CPU: GGUF files without a server.
//!
//! `weights` finds and fetches files and is always there; `inference` runs them and is the Cargo feature `embedded`.

mod endpoint;
#[cfg(feature = "embedded")]
mod inference;
pub mod weights;

pub(super) use endpoint::Embedded;
