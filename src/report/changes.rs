//! Changes in the report of a fresh run: shows for each model how many answers changed.

use std::fmt::Write;

use super::text::{figure, number, percent};
use crate::stats::wilson;
use crate::store::{Changes, ChangesByModel};

/// One line per model, indented by `width` columns.
pub(crate) fn lines(changes: &ChangesByModel, width: usize) -> String {
    let mut out = String::new();
    for (model, changes) in changes.iter().filter(|(_, changes)| changes.total() > 0) {
        let (changed, total) = (changes.changed(), changes.total());
        let (low, high) = wilson(changed, total);
        let share = changed as f64 / total as f64;
        let interval = format!("{}, 95 % interval {} to {}", percent(share), figure(100.0 * low), percent(high));
        let (changed, total) = (number(changed), number(total));
        let _ =
            writeln!(out, "{:width$}{model}: {changed} of {total} answers changed ({interval}){}", "", kinds(*changes));
    }
    out
}

fn kinds(changes: Changes) -> String {
    let kinds = [
        (changes.different, "different"),
        (changes.newly_failed, "newly failed"),
        (changes.newly_answered, "newly answered"),
    ];
    let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
    let kinds: Vec<String> = kinds.map(|(count, what)| format!("{} {what}", number(count))).collect();
    if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) }
}
