//! The bounds of a row: their fields, defaults and largest values.

use serde_json::{Value, json};

pub(crate) struct Bound {
    pub(crate) field: &'static str,
    pub(crate) default: u32,
    pub(crate) most: u32,
}

const fn bound(field: &'static str, default: u32, most: u32) -> Bound {
    Bound { field, default, most }
}

/// In the order of the fields of [`Bounds`].
pub(crate) const NAMES: [Bound; 7] = [
    bound("max_rounds", 10, 100),
    bound("max_calls", 100, 10_000),
    bound("max_parallel_calls", 16, 1000),
    bound("max_steps", 5_000_000, 1_000_000_000),
    bound("max_memory_mb", 256, 16_384),
    bound("max_prompt_chars", 100_000, 100_000_000),
    bound("max_output_chars", 4000, 1_000_000),
];

/// What the programs of a row may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) rounds: u64,
    pub(crate) calls: u64,
    pub(crate) parallel_calls: u64,
    pub(crate) steps: u64,
    pub(crate) memory_mb: u64,
    pub(crate) prompt_chars: u64,
    pub(crate) output_chars: u64,
}

impl Bounds {
    /// `numbers` are in the order of [`NAMES`]; missing ones have their defaults.
    pub(crate) fn new(numbers: Vec<u64>) -> Self {
        let number = |at: usize| numbers.get(at).copied().unwrap_or(NAMES[at].default.into());
        Bounds {
            rounds: number(0),
            calls: number(1),
            parallel_calls: number(2),
            steps: number(3),
            memory_mb: number(4),
            prompt_chars: number(5),
            output_chars: number(6),
        }
    }

    /// The bounds that can change an answer. How many calls are in flight changes none.
    pub(crate) fn meaning(&self) -> Value {
        json!([self.rounds, self.calls, self.steps, self.memory_mb, self.prompt_chars, self.output_chars])
    }
}
