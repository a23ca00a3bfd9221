//! The logic of one row, without concurrency: call keys, answers, output columns.

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
