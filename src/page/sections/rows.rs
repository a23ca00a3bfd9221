//! The section on rows: how many of each stage are answered, skipped and failed.

use serde_json::Value;

use super::super::chart::{Bar, Bars, Chart, Unit};
use super::super::content::{Block, Figure, Grid, Section};
use super::Subject;
use crate::report::text::number;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let parts = ["answered", "skipped", "failed"];
    let (mut bars, mut rows) = (Vec::new(), Vec::new());
    for (name, stage) in &subject.manifest.stages {
        let counts = [stage.counts.answered, stage.counts.skipped, stage.counts.failed];
        let values = counts.map(|count| count as f64).to_vec();
        bars.push(Bar { label: name.clone(), values, text: number(stage.rows) });
        rows.push([Value::from(name.as_str())].into_iter().chain(counts.map(Value::from)).collect());
    }
    if bars.is_empty() {
        return Ok(None);
    }
    let columns = ["stage"].into_iter().chain(parts).map(str::to_owned).collect();
    let figure = Figure {
        title: "Rows of each stage".to_owned(),
        chart: Chart::Bars(Bars { unit: Unit::Count, parts: parts.map(str::to_owned).to_vec(), bars, centre: None }),
        numbers: Grid { columns, rows },
        note: None,
    };
    Ok(Some(Section { id: "rows".to_owned(), title: "Rows".to_owned(), blocks: vec![Block::Figure(figure)] }))
}
