//! Asking: the logic of one row, without concurrency: call keys, answers, output columns.

mod answer;
mod columns;
mod corrections;
mod cut;
mod cut_off;
mod key;
mod packs;
mod task;

pub(crate) use answer::{Finished, PackPosition, Terms, probabilities, usable};
pub(crate) use columns::{Fate, OutputSlot, columns, fates};
pub(crate) use corrections::correct;
pub(crate) use cut::{ContextSize, was_cut};
pub(crate) use key::{Asked, KEY_VERSION, Replicate, call_key, probe};
pub(crate) use packs::{FirstRound, audited, by_pack, tasks};
pub(crate) use task::{
    Exchange, Keys, Next, Question, Respondent, SlotResult, Task, TaskContext, answered_by, answers, asked_model,
};
