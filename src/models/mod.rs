//! Models: the models that a spec asks, with their clients and builds.

mod build;
mod connect;
mod target;

pub(crate) use build::{BuildChange, KnownBuild, differences};
pub(crate) use connect::{Access, ConnectError, Models, asked_models};
pub(crate) use target::Target;
