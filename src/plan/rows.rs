//! The rows of each source that a run reads: all of them, or some for a try.

use std::collections::{BTreeSet, HashSet};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use serde::{Deserialize, Serialize};

use crate::random::Streams;
use crate::source::SourceError;
use crate::spec::Spec;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowChoice {
    #[default]
    All,
    First(u64),
    /// A number of rows, drawn by the seed of the spec. A larger sample contains the smaller one.
    Sample(u64),
    /// The rows from one number to another, both included, counted from 1.
    Range(u64, u64),
}

impl RowChoice {
    /// The mark in the names of files, such as `sample-20`. `None` for all rows.
    pub(crate) fn mark(self) -> Option<String> {
        Some(match self {
            RowChoice::All => return None,
            RowChoice::First(rows) => format!("limit-{rows}"),
            RowChoice::Sample(rows) => format!("sample-{rows}"),
            RowChoice::Range(first, u64::MAX) => format!("rows-{first}-end"),
            RowChoice::Range(first, last) => format!("rows-{first}-{last}"),
        })
    }

    /// Whether a chosen row has the number that it has among all rows.
    pub(crate) fn keeps_numbers(self) -> bool {
        !matches!(self, RowChoice::Sample(_) | RowChoice::Range(2.., _))
    }

    /// The most rows at the start of a source, if no later row is read.
    pub(crate) fn limit(self) -> Option<u64> {
        if let RowChoice::First(rows) = self { Some(rows) } else { None }
    }
}

/// A choice of rows with the seed that draws a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowPick {
    pub(crate) choice: RowChoice,
    pub(crate) seed: u64,
}

impl RowPick {
    pub(crate) fn new(choice: RowChoice, spec: &Spec) -> RowPick {
        RowPick { choice, seed: spec.seed.unwrap_or_default() }
    }

    /// The name of the rows in the project's folder of sources. `None` for all rows.
    pub(crate) fn file_mark(self) -> Option<String> {
        match self.choice {
            RowChoice::First(rows) => Some(rows.to_string()),
            RowChoice::Sample(rows) => Some(format!("sample-{rows}-{}", self.seed)),
            other => other.mark(),
        }
    }
}

/// Draws the rows with the smallest random numbers. The number of a row depends on the seed and on its identity.
pub(super) struct Drawing {
    streams: Streams,
    size: usize,
    /// The drawn rows so far: the random number and the number of the row.
    drawn: BTreeSet<(u64, u64)>,
}

impl Drawing {
    pub(super) fn new(seed: u64, size: u64) -> Drawing {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Drawing { streams: Streams::new(seed, &["run", "sample"]), size, drawn: BTreeSet::new() }
    }

    /// Offers the row `number`, from 0. `identity` is the hash of its key, or else its number.
    pub(super) fn offer(&mut self, identity: u64, number: u64) {
        self.drawn.insert((self.streams.of(identity).below(u64::MAX), number));
        if self.drawn.len() > self.size {
            self.drawn.pop_last();
        }
    }

    pub(super) fn rows(self) -> HashSet<u64> {
        self.drawn.into_iter().map(|(_, number)| number).collect()
    }
}

/// The chosen rows of a source, in its order.
pub(super) enum Chosen {
    /// The rows from the first number up to, but not including, the second, from 0.
    Span(u64, u64),
    Drawn(HashSet<u64>),
}

impl Chosen {
    /// Whether no row from `number` on is chosen.
    pub(super) fn ends_before(&self, number: u64) -> bool {
        matches!(self, Chosen::Span(_, end) if *end <= number)
    }

    /// The chosen rows of `batch`, whose first row has the number `first`.
    pub(super) fn of(&self, batch: &RecordBatch, first: u64) -> Result<RecordBatch, SourceError> {
        let rows = batch.num_rows() as u64;
        match self {
            Chosen::Span(start, end) => {
                let start = start.saturating_sub(first).min(rows);
                let end = end.saturating_sub(first).clamp(start, rows);
                Ok(batch.slice(start as usize, (end - start) as usize))
            }
            Chosen::Drawn(drawn) => {
                let mask: Vec<bool> = (first..first + rows).map(|number| drawn.contains(&number)).collect();
                filter_record_batch(batch, &BooleanArray::from(mask))
                    .map_err(|error| SourceError::new(error.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, size: u64, identities: impl Iterator<Item = u64>) -> BTreeSet<u64> {
        let mut drawing = Drawing::new(seed, size);
        identities.enumerate().for_each(|(number, identity)| drawing.offer(identity, number as u64));
        drawing.rows().into_iter().collect()
    }

    #[test]
    fn a_sample_depends_on_the_seed_and_on_the_rows() {
        let small = drawn(1, 20, 0..1000);
        assert_eq!(small.len(), 20);
        assert_eq!(small, drawn(1, 20, 0..1000));
        assert_ne!(small, drawn(2, 20, 0..1000));
        assert!(small.is_subset(&drawn(1, 50, 0..1000)), "a larger sample contains the smaller one");
        assert_eq!(drawn(1, 20, 0..5).len(), 5);
        let moved: BTreeSet<u64> = drawn(1, 20, (0..1000).rev()).into_iter().map(|number| 999 - number).collect();
        assert_eq!(moved, small, "a row is drawn by its identity, wherever it is");
    }

    #[test]
    fn marks_name_the_choice() {
        let mark = |choice: RowChoice| choice.mark().unwrap_or_default();
        assert_eq!(mark(RowChoice::All), "");
        assert_eq!(mark(RowChoice::First(5)), "limit-5");
        assert_eq!(mark(RowChoice::Sample(20)), "sample-20");
        assert_eq!(mark(RowChoice::Range(100, 200)), "rows-100-200");
        assert_eq!(mark(RowChoice::Range(100, u64::MAX)), "rows-100-end");
        let file = |choice| RowPick { choice, seed: 7 }.file_mark();
        assert_eq!(file(RowChoice::First(5)).as_deref(), Some("5"), "the name in older projects");
        assert_eq!(file(RowChoice::Sample(20)).as_deref(), Some("sample-20-7"));
    }
}
