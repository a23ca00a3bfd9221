//! Models: the models that a spec asks, with their clients and builds.
//!
//! - [`target`]: one model: its sampling and its call key for a prompt.
//! - [`connect`]: builds the models, with or without the network.

mod connect;
mod target;

pub use connect::{Access, ConnectError, Models, asked_models};
pub use target::Target;
