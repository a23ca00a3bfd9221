//! Changes: counts how the answers of a fresh run compare with the answers that they replace.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The changes of each model, by its name in the spec.
pub(crate) type ChangesByModel = BTreeMap<String, Changes>;

/// The numbers of calls that were made before, by what became different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes {
    pub(crate) equal: u64,
    pub(crate) different: u64,
    pub(crate) newly_failed: u64,
    pub(crate) newly_answered: u64,
}

impl Changes {
    /// Counts a call with the answers before and now. `None` is a failed call.
    pub(crate) fn count<T: PartialEq>(&mut self, before: Option<T>, now: Option<T>) {
        let count = match (before, now) {
            (Some(before), Some(now)) if before != now => &mut self.different,
            (Some(_), None) => &mut self.newly_failed,
            (None, Some(_)) => &mut self.newly_answered,
            _ => &mut self.equal,
        };
        *count += 1;
    }

    pub(crate) fn changed(self) -> u64 {
        self.different + self.newly_failed + self.newly_answered
    }

    pub(crate) fn total(self) -> u64 {
        self.equal + self.changed()
    }
}

impl AddAssign for Changes {
    fn add_assign(&mut self, more: Self) {
        self.equal += more.equal;
        self.different += more.different;
        self.newly_failed += more.newly_failed;
        self.newly_answered += more.newly_answered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_of_answers_has_one_count() {
        let mut changes = Changes::default();
        for (before, now) in
            [(Some(1), Some(1)), (None, None), (Some(1), Some(2)), (Some(1), None), (None, Some(1)), (None, Some(2))]
        {
            changes.count(before, now);
        }
        let expected = Changes { equal: 2, different: 1, newly_failed: 1, newly_answered: 2 };
        assert_eq!((changes, changes.changed(), changes.total()), (expected, 4, 6));
        changes += expected;
        assert_eq!(changes.total(), 12);
    }
}
