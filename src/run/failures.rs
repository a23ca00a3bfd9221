//! Failures of one kind: counts them by message, and names the first rows.

use std::collections::BTreeMap;

use crate::store::{ErrorKind, ErrorMessage};

/// The largest number of rows that are named for a message.
const NAMED: usize = 5;
/// The largest number of messages with their own count. Further ones count as the last.
const MESSAGES: usize = 20;

/// The failed calls of one kind. Messages that differ only in numbers count as one.
#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeMap<String, Alike>);

#[derive(Debug, Default)]
struct Alike {
    count: u64,
    /// The first rows by number, with the position of the row's first failed call, the row's name and the message.
    first: BTreeMap<i64, (usize, String, String)>,
}

impl Failures {
    /// Counts a failed call; `row` is the number and name of its row, `place` its position in the row.
    pub(crate) fn add(&mut self, row: (i64, String), place: usize, message: &str) {
        let mut class: String = message.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
        if self.0.len() == MESSAGES && !self.0.contains_key(&class) {
            class = self.0.last_key_value().map_or(class, |(last, _)| last.clone());
        }
        self.0.entry(class).or_default().add(row, place, message);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.values().map(|alike| alike.count).sum()
    }

    pub(crate) fn entry(&self) -> ErrorKind {
        let mut messages: Vec<(i64, ErrorMessage)> = self.0.values().filter_map(Alike::entry).collect();
        messages.sort_by_key(|(first, message)| (std::cmp::Reverse(message.count), *first));
        let mut first: Vec<_> = self.0.values().flat_map(|alike| &alike.first).collect();
        first.sort_by_key(|(number, (place, ..))| (**number, *place));
        first.dedup_by_key(|(number, _)| *number);
        ErrorKind {
            count: self.count(),
            rows: first.iter().take(NAMED).map(|(_, (_, row, _))| row.clone()).collect(),
            message: first.first().map(|(_, (.., message))| message.clone()).unwrap_or_default(),
            messages: if messages.len() > 1 { messages.into_iter().map(|(_, m)| m).collect() } else { Vec::new() },
        }
    }
}

impl Alike {
    fn add(&mut self, (number, row): (i64, String), place: usize, message: &str) {
        self.count += 1;
        // Most rows come after those that are named.
        let full = self.first.len() == NAMED && self.first.last_key_value().is_some_and(|(last, _)| number > *last);
        if full || self.first.get(&number).is_some_and(|(known, ..)| *known <= place) {
            return;
        }
        self.first.insert(number, (place, row, message.to_owned()));
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
    }

    /// The number of the first row, and the entry.
    fn entry(&self) -> Option<(i64, ErrorMessage)> {
        let (number, (.., message)) = self.first.first_key_value()?;
        let rows = self.first.values().map(|(_, row, _)| row.clone()).collect();
        Some((*number, ErrorMessage { count: self.count, rows, message: message.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(failures: &[(i64, usize, &str)]) -> ErrorKind {
        let mut all = Failures::default();
        failures.iter().for_each(|(number, place, text)| all.add((*number, format!("k{number}")), *place, text));
        all.entry()
    }

    #[test]
    fn the_first_rows_of_a_kind_are_named_in_any_order() {
        let expected = ErrorKind {
            count: 16,
            rows: ["k1", "k2", "k3", "k4", "k5"].map(str::to_owned).to_vec(),
            message: "1.0".to_owned(),
            messages: Vec::new(),
        };
        for order in [[1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1], [5, 1, 8, 2, 7, 3, 6, 4]] {
            let both = |number: &i64| [1, 0].map(|place| (*number, place, format!("{number}.{place}")));
            let all: Vec<_> = order.iter().flat_map(both).collect();
            let all: Vec<_> = all.iter().map(|(number, place, text)| (*number, *place, text.as_str())).collect();
            assert_eq!(entry(&all), expected);
        }
    }

    #[test]
    fn each_message_has_its_own_count_and_rows() {
        let mut failures = vec![(4, 0, "too long: 12"), (2, 0, "no JSON"), (9, 0, "too long: 7"), (9, 1, "no JSON")];
        failures.push((11, 0, "too long: 8"));
        let found = entry(&failures);
        let said = |m: &ErrorMessage| (m.count, m.rows.join(" "), m.message.clone());
        let expected =
            [(3, "k4 k9 k11".to_owned(), "too long: 12".to_owned()), (2, "k2 k9".to_owned(), "no JSON".to_owned())];
        assert_eq!(found.messages.iter().map(said).collect::<Vec<_>>(), expected);
        assert_eq!((found.count, found.rows.join(" "), found.message), (5, "k2 k4 k9 k11".into(), "no JSON".into()));
        // Many messages need bounded memory, and none is lost.
        let texts: Vec<String> = (0..100).map(|i| "x".repeat(i)).collect();
        let many: Vec<_> = texts.iter().enumerate().map(|(i, text)| (i as i64, 0, text.as_str())).collect();
        let found = entry(&many);
        assert_eq!((found.count, found.messages.len()), (100, MESSAGES));
        assert_eq!(found.messages.iter().map(|m| m.count).sum::<u64>(), 100);
    }
}
