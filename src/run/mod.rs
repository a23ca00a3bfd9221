//! The engine: the only concurrent code. A plan and connected models in, committed parts and outputs out.
//!
//! One row's way: [`parts`] -> [`produce`] -> `ask::Task` -> [`look_up`], or [`dispatch`] -> [`calls`] -> [`call`] -> provider
//! -> `ask::Task` -> [`finish`] -> [`assemble`].
//!
//! - [`prepare`]: reads the sources, takes the locks, finds the run's folder.
//! - [`engine`]: starts a driver per stage and ends the run.
//! - [`job`]: what the producer, the dispatcher and the assembler of a stage share.
//! - [`produce`]: reads the parts of a stage block by block; [`memory`] limits how many.
//! - [`dispatch`]: sends tasks, as many at once as the stage has lanes.
//! - [`block`], [`finish`]: rows with their answers; their columns, calls and counts.
//! - [`assemble`]: puts finished blocks in order and commits the parts.
//! - [`calls`]: asks equal calls once and records them; [`recent`] knows those in flight, [`recorder`] writes the ledger.
//! - [`call`]: makes one call: limits, attempts, retries, its record.
//! - [`replay`]: answers calls from a file.
//! - [`reshape`]: makes tables from tables.
//! - [`progress`]: counters that other threads may read.
//! - [`stop`]: first drains the run, then aborts it.
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
