//! The logic of one row, without concurrency: call keys, answers, output columns.
//!
//! - [`key`]: hashes what can change an answer.
//! - [`answer`]: turns replies and records into answers.
//! - [`task`]: goes through the questions of a row or a pack, round by round.
//! - [`packs`]: makes the tasks of a block.
//! - [`columns`]: decides which rows are asked, and turns answers into output columns.

mod answer;
mod columns;
mod key;
mod packs;
mod task;

pub use answer::{Finished, PackPosition, Terms, probabilities, usable};
pub use columns::{Fate, OutputSlot, columns, fates};
pub use key::{KEY_VERSION, call_key};
pub use packs::{FirstRound, audited, by_pack, tasks};
pub use task::{
    Exchange, Keys, Member, Next, Question, Respondent, SlotResult, StepResult, Task, TaskContext, answered_by, answers,
};
