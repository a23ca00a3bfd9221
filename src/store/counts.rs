//! Counts of a stage: its rows by result, and the shares of its labels.

use std::ops::AddAssign;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The number of rows by result. For a finished stage or part, the numbers add up to all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowCounts {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Rows without a call. A text or an answer that the prompts need is missing, or the condition is false.
    pub(crate) skipped: u64,
}

impl RowCounts {
    pub(crate) fn total(self) -> u64 {
        self.answered + self.failed + self.skipped
    }
}

impl AddAssign for RowCounts {
    fn add_assign(&mut self, more: Self) {
        self.answered += more.answered;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

pub(crate) type Shares = IndexMap<String, Share>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Share {
    /// The counts of labels, in the spec's order. For booleans the labels are `true` and `false`.
    pub(crate) labels: IndexMap<String, u64>,
    /// The number of null answers.
    pub(crate) null: u64,
}

impl Share {
    pub(crate) fn of(&self) -> u64 {
        self.labels.values().sum()
    }

    pub(crate) fn add(shares: &mut Shares, more: &Shares) {
        for (column, share) in more {
            let sum = shares.entry(column.clone()).or_default();
            for (label, count) in &share.labels {
                *sum.labels.entry(label.clone()).or_default() += count;
            }
            sum.null += share.null;
        }
    }
}
