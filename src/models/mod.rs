//! Models: the models that a spec asks, with their clients and builds.

mod connect;
mod target;

pub use connect::{Access, ConnectError, Models, asked_models};
pub use target::Target;
