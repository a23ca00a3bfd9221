//! Audit of packs: compares the answers to packs with the answers to the same rows asked one by one.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::stats::mcnemar;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Audit {
    pub(crate) compared: u64,
    pub(crate) failed: u64,
    pub(crate) columns: IndexMap<String, AuditColumn>,
    /// The cost of asking about the sampled rows one by one.
    pub(crate) single: Cost,
    /// The cost of asking about all rows in packs.
    pub(crate) packed: Cost,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AuditColumn {
    pub(crate) differ: u64,
    /// The comparison of each label with all others. A column of booleans has only the label `true`.
    pub(crate) labels: IndexMap<String, Discord>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Discord {
    pub(crate) packed_only: u64,
    pub(crate) single_only: u64,
    /// McNemar's exact test, two-sided: the probability of such an uneven split by chance.
    pub(crate) p_value: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) answers: u64,
    /// The number of tokens in prompts and replies.
    pub(crate) tokens: u64,
}

impl Cost {
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.tokens as f64 / self.answers as f64)
    }
}

impl Audit {
    /// Counts the two labels of a row in `column`: in a pack and alone. `None` is null; `all` are the possible labels.
    pub(crate) fn compare(&mut self, column: &str, all: &[String], packed: Option<&str>, single: Option<&str>) {
        let column = self.columns.entry(column.to_owned()).or_default();
        column.differ += u64::from(packed != single);
        for label in all {
            let discord = column.labels.entry(label.clone()).or_insert(Discord { p_value: 1.0, ..Discord::default() });
            match (packed == Some(label), single == Some(label)) {
                (true, false) => discord.packed_only += 1,
                (false, true) => discord.single_only += 1,
                _ => {}
            }
        }
    }

    pub(crate) fn add(&mut self, more: &Audit) {
        self.compared += more.compared;
        self.failed += more.failed;
        for (name, column) in &more.columns {
            let sum = self.columns.entry(name.clone()).or_default();
            sum.differ += column.differ;
            for (label, discord) in &column.labels {
                let sum = sum.labels.entry(label.clone()).or_default();
                sum.packed_only += discord.packed_only;
                sum.single_only += discord.single_only;
                sum.p_value = mcnemar(sum.packed_only, sum.single_only);
            }
        }
        for (sum, more) in [(&mut self.single, more.single), (&mut self.packed, more.packed)] {
            sum.answers += more.answers;
            sum.tokens += more.tokens;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_counted_each_against_all_others() {
        let all = ["a", "b", "c"].map(str::to_owned);
        let mut one = Audit::default();
        one.compare("x", &all, Some("a"), Some("b"));
        one.compare("x", &all, Some("a"), Some("a"));
        let mut sum = Audit::default();
        sum.add(&one);
        sum.compare("x", &all, None, Some("a"));
        let mut twice = Audit::default();
        twice.add(&sum);
        let column = &twice.columns["x"];
        let of = |label: &str| (column.labels[label].packed_only, column.labels[label].single_only);
        assert_eq!((column.differ, of("a"), of("b"), of("c")), (2, (1, 1), (0, 1), (0, 0)));
    }
}
