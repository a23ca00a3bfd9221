//! The engine: the only concurrent code. A plan and connected models in, committed parts and outputs out.
//!
//! One row's way: [`parts`] -> [`produce`] -> `ask::Task` -> [`look_up`], or [`dispatch`] -> [`calls`] -> [`call`] -> provider
//! -> `ask::Task` -> [`finish`] -> [`assemble`].
//!
//! Nothing here prints.

mod assemble;
mod block;
pub mod call;
mod calls;
mod dispatch;
mod engine;
mod error;
mod finish;
mod job;
mod label_counts;
mod look_up;
mod memory;
mod outputs;
mod parts;
mod prepare;
mod produce;
pub mod progress;
mod recent;
mod recorder;
mod replay;
mod reshape;
mod stop;

pub use engine::{Outcome, run};
pub use error::RunError;
pub use parts::{PartTables, batch_rows};
pub use prepare::{Ready, Recall, current, folder, fresh_since, prepare, uncounted, unread};
pub use progress::Progress;
pub use replay::{MissingCall, Replay, ReplayMode};
pub use reshape::carry_out;
pub use stop::{Stop, StopReason};
