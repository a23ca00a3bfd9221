//! The logic of one row, without concurrency: call keys, answers, output columns.
//!
//! - [`key`]: hashes what can change an answer.
//! - [`answer`]: turns replies and records into answers.
//! - [`columns`]: decides which rows are asked, and turns answers into output columns.

mod answer;
mod columns;
mod key;

pub use answer::{Finished, PackPosition, Terms, probabilities, usable};
pub use columns::{Fate, columns, fates};
pub use key::{KEY_VERSION, call_key};
