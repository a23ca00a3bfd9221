//! Packs: how answers to several rows in one prompt differ from answers to the same rows alone.

use serde_json::json;

use super::blocks::{figure, named};
use crate::page::chart::{Axis, Chart, Dot, DotRow, Dots, Unit};
use crate::page::content::Block;
use crate::report::text::{count, figure as short};
use crate::store::Audit;

pub(super) fn blocks(stage: &str, audit: &Audit) -> Vec<Block> {
    if audit.compared == 0 {
        return Vec::new();
    }
    let (mut rows, mut numbers) = (Vec::new(), Vec::new());
    for (column, compared) in &audit.columns {
        for (label, discord) in &compared.labels {
            let dot = |series, n: u64| Dot { series, at: n as f64, interval: None };
            let dots = vec![dot(0, discord.single_only), dot(1, discord.packed_only)];
            rows.push(DotRow { label: format!("{column} · {label}"), dots });
            let counts = [discord.single_only, discord.packed_only].map(|n| json!(n));
            let own = [json!(column), json!(label)];
            let p = [json!(discord.p_value), json!(compared.differ)];
            numbers.push(own.into_iter().chain(counts).chain(p).collect());
        }
    }
    let mut blocks = Vec::new();
    if !rows.is_empty() {
        let axis = Axis::new("Rows", Unit::Count);
        let series = ["only alone", "only in a pack"].map(str::to_owned).to_vec();
        let chart = Chart::Dots(Dots { axis, series, rows, marks: Vec::new() });
        let columns = ["column", "label", "only alone", "only in a pack", "McNemar's p", "rows that differ"];
        let note = format!(
            "{} asked both ways. Each row counts where only one of both answers has the label. McNemar's exact test \
             compares the two counts.",
            count(audit.compared, "row")
        );
        blocks.push(figure(format!("Packs of {stage}"), chart, named(&columns, numbers), Some(note)));
    }
    if let Some((alone, packed)) = audit.single.mean().zip(audit.packed.mean()) {
        let text = format!("A row alone needs {} tokens, and a row in a pack {} tokens.", short(alone), short(packed));
        blocks.push(Block::text(text));
    }
    blocks
}
