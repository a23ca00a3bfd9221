//! Distributions: how far the ways to measure how probable each label is are from each other.

use serde_json::json;

use super::blocks::{named, table};
use crate::page::Subject;
use crate::page::content::Block;
use crate::report::columns;
use crate::spec::TableId;

pub(super) fn blocks(subject: &Subject<'_>, id: TableId, rows: u64) -> Vec<Block> {
    let Some(found) = columns::read(subject.plan, subject.folder, id, rows) else { return Vec::new() };
    let line = |found: &crate::report::distributions::Mismatch| {
        vec![
            json!(found.question),
            json!(found.model.clone().unwrap_or_default()),
            json!(found.of.join(" and ")),
            json!(found.total_variation()),
            json!(found.jensen_shannon()),
            json!(found.other()),
            json!(found.rows),
        ]
    };
    let lines: Vec<_> = found.distributions().mismatches().map(line).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let columns =
        ["question", "model", "measures", "total variation", "Jensen-Shannon (bits)", "other likeliest label", "rows"];
    let note = "The means over the rows that have both, and the share of rows with another likeliest label. First-token \
                probabilities need not say what the answers say (Wang et al. 2024).";
    vec![table("Distributions of the answers".to_owned(), named(&columns, lines)), Block::text(note.to_owned())]
}
