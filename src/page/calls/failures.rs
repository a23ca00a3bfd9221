//! Failed calls: how many of each kind, when, and the first ones with the reply.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Timeline;
use crate::prompt::{Failure, FailureKind};
use crate::store::open_table;
use crate::table::Value;
use crate::table::parquet::TableError;

/// The most calls of a kind that are kept.
const KEPT: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) kinds: BTreeMap<FailureKind, Vec<FailedCall>>,
    /// The number of failed calls by stage and kind.
    pub(crate) counts: BTreeMap<(String, FailureKind), u64>,
    /// The failed calls that were sent, by kind.
    pub(crate) ended: Timeline,
}

#[derive(Clone, Debug)]
pub(crate) struct FailedCall {
    /// The key of the row, or `#` and its number.
    pub(crate) row: String,
    pub(crate) stage: String,
    pub(crate) model: String,
    pub(crate) failure: Failure,
    /// The file of the calls table, and the number of the row in it, from 0.
    pub(super) place: (PathBuf, u64),
}

impl Failures {
    pub(super) fn add(&mut self, at: Option<i64>, failure: Failure, call: impl FnOnce(Failure) -> FailedCall) {
        let kind = failure.kind;
        if let Some(at) = at {
            self.ended.add(at, kind_name(kind), 1.0);
        }
        let kept = self.kinds.entry(kind).or_default();
        let call = call(failure);
        *self.counts.entry((call.stage.clone(), kind)).or_default() += 1;
        if kept.len() < KEPT {
            kept.push(call);
        }
    }

    /// The first failed calls: the first of each kind, then the second of each, and so on.
    pub(crate) fn first(&self, most: usize) -> Vec<&FailedCall> {
        let rounds = (0..KEPT).flat_map(|round| self.kinds.values().filter_map(move |calls| calls.get(round)));
        rounds.take(most).collect()
    }
}

/// The kind as people read it.
pub(crate) fn kind_name(kind: FailureKind) -> &'static str {
    match kind.name() {
        "" => "other",
        name => name,
    }
}

impl FailedCall {
    /// What the model replied; in a pack, the part about the row.
    pub(crate) fn reply(&self) -> Result<Option<String>, TableError> {
        let (file, row) = &self.place;
        let table = open_table(file)?.with_columns(&["reply", "item_reply"]);
        let Some(batch) = table.read(*row, 1, 1)?.next() else { return Ok(None) };
        let batch = batch?;
        let text = |name: &str| match Value::of(batch.column_by_name(name), 0) {
            Value::Text(text) => Some(text.into_owned()),
            _ => None,
        };
        Ok(text("reply").or_else(|| text("item_reply")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failures_are_of_all_kinds() {
        let mut failures = Failures::default();
        for (i, kind) in [FailureKind::Malformed; 9].into_iter().chain([FailureKind::Timeout; 2]).enumerate() {
            failures.add(Some(i as i64), kind.because("why"), |failure| FailedCall {
                row: i.to_string(),
                stage: "tone".to_owned(),
                model: "small".to_owned(),
                failure,
                place: (PathBuf::new(), i as u64),
            });
        }
        let rows: Vec<&str> = failures.first(5).iter().map(|call| call.row.as_str()).collect();
        assert_eq!(rows, ["9", "0", "10", "1", "2"]);
        let counts: Vec<u64> = failures.counts.values().copied().collect();
        assert_eq!(counts, [2, 9]);
    }
}
