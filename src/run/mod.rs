//! The engine: runs a plan with connected models, and writes parts and outputs. Most concurrent code is here.
//!
//! The path of a row: [`parts`] -> [`produce`] -> `ask::Task` -> [`look_up`], or [`dispatch`] -> [`calls`] -> [`call`]
//! -> provider -> `ask::Task` -> [`finish`] -> [`assemble`].
//!
//! Nothing here prints.

mod assemble;
mod batch;
mod block;
mod block_size;
mod builds;
pub(crate) mod call;
mod calls;
mod changes;
mod dispatch;
mod engine;
mod error;
mod failures;
mod finish;
mod frozen;
mod job;
mod label_counts;
mod lane;
mod look_up;
mod memory;
mod outputs;
mod paraphrase;
mod parts;
mod pilot;
mod pinned;
mod prepare;
mod produce;
pub(crate) mod progress;
mod recent;
mod recorder;
mod replay;
mod spending;
mod stop;
mod task;
mod transform;
mod under_way;
mod vector_lengths;
pub(crate) mod wait;

pub(crate) use batch::{Standing, standing};
pub(crate) use call::{Cost, SpentLimit};
pub(crate) use engine::run;
pub(crate) use error::RunError;
pub(crate) use frozen::{FrozenPlan, FrozenTable, freeze, thaw};
pub(crate) use job::WorkerId;
pub(crate) use paraphrase::paraphrase;
pub(crate) use parts::{PartTables, batch_rows};
pub(crate) use pilot::{PilotCall, Piloted, pilot};
pub use prepare::Recall;
pub(crate) use prepare::{Ready, current, folder, fresh_since, prepare, run_or_replay, uncounted, unread};
pub(crate) use progress::Progress;
pub(crate) use replay::MissingCall;
pub use replay::ReplayMode;
pub(crate) use spending::earlier_cost;
pub(crate) use stop::{First, Stop, StopReason};
pub(crate) use task::{Share, TaskError, Worked, check, work};
pub(crate) use transform::carry_out;
