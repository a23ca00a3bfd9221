//! Models that run in the process, on the CPU: GGUF files without a server.

mod endpoint;
#[cfg(feature = "embedded")]
mod inference;
pub(crate) mod weights;

pub(super) use endpoint::Embedded;
