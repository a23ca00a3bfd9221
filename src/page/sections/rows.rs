//! The section on rows: how many of each stage are answered, skipped and failed.

use serde_json::{Value, json};

use super::super::Subject;
use super::super::chart::{Bar, Bars, Chart, Tone, Unit};
use super::super::content::{Block, Figure, Grid, Section};
use crate::report::text::number;
use crate::store::{Manifest, StageTotals};

const FAILED: &str = "failed";
const NOT_REACHED: &str = "not reached";

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let stages = &subject.manifest.stages;
    if stages.is_empty() {
        return Ok(None);
    }
    let parts = parts(subject.manifest);
    let counts = |totals: &StageTotals| parts.iter().map(|part| rows_of(totals, part)).collect::<Vec<u64>>();
    let bar = |(name, totals): (&String, &StageTotals)| Bar {
        label: name.clone(),
        values: counts(totals).into_iter().map(|rows| rows as f64).collect(),
        text: number(totals.rows),
    };
    let row = |(name, totals): (&String, &StageTotals)| {
        [json!(name), json!(totals.rows)].into_iter().chain(counts(totals).into_iter().map(Value::from)).collect()
    };
    let columns: Vec<&str> = ["stage", "rows"].into_iter().chain(parts.iter().map(String::as_str)).collect();
    let figure = Figure {
        title: "Rows of each stage".to_owned(),
        numbers: Grid::new(&columns, stages.iter().map(row).collect()),
        chart: Chart::Bars(Bars {
            tones: parts.iter().map(|part| tone(part)).collect(),
            ..Bars::new(Unit::Count, parts.clone(), stages.iter().map(bar).collect())
        }),
        note: Some(
            "Each row is in one part. A skipped row lacks what the prompts need, or its condition is false.".to_owned(),
        ),
    };
    Ok(Some(Section { id: "rows".to_owned(), title: "Rows".to_owned(), blocks: vec![Block::Figure(figure)] }))
}

fn tone(part: &str) -> Tone {
    match part {
        NOT_REACHED => Tone::Missing,
        part if part.starts_with(FAILED) => Tone::Failed,
        _ => Tone::Plain,
    }
}

/// The kinds of failures of a stage, if each failed row has one failed call. Otherwise the calls do not add up to rows.
fn kinds(totals: &StageTotals) -> Option<Vec<(String, u64)>> {
    let kinds: Vec<(String, u64)> =
        totals.errors.iter().map(|(kind, error)| (format!("{FAILED}: {kind}"), error.count)).collect();
    (kinds.iter().map(|(_, count)| count).sum::<u64>() == totals.counts.failed).then_some(kinds)
}

/// The parts of the bars of all stages.
fn parts(manifest: &Manifest) -> Vec<String> {
    let mut parts = ["answered", "skipped"].map(str::to_owned).to_vec();
    for totals in manifest.stages.values() {
        let of_stage = match kinds(totals) {
            Some(kinds) => kinds.into_iter().map(|(kind, _)| kind).collect(),
            None => vec![FAILED.to_owned()],
        };
        for part in of_stage {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    let is_open = |totals: &StageTotals| rows_of(totals, NOT_REACHED) > 0;
    parts.extend(manifest.stages.values().any(is_open).then(|| NOT_REACHED.to_owned()));
    parts
}

fn rows_of(totals: &StageTotals, part: &str) -> u64 {
    match part {
        "answered" => totals.counts.answered,
        "skipped" => totals.counts.skipped,
        NOT_REACHED => totals.rows.saturating_sub(totals.counts.total()),
        FAILED => {
            if kinds(totals).is_none() {
                totals.counts.failed
            } else {
                0
            }
        }
        kind => kinds(totals).into_iter().flatten().find(|(name, _)| name == kind).map_or(0, |(_, count)| count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ErrorKind, RowCounts};

    fn totals(failed: u64, errors: &[(&str, u64)]) -> StageTotals {
        let error = |count| ErrorKind { count, rows: Vec::new(), message: String::new(), messages: Vec::new() };
        StageTotals {
            rows: 10,
            counts: RowCounts { answered: 5, failed, skipped: 1 },
            errors: errors.iter().map(|(kind, count)| ((*kind).to_owned(), error(*count))).collect(),
            ..StageTotals::default()
        }
    }

    #[test]
    fn parts_add_up_to_the_rows() {
        let mut manifest = Manifest::start("p", "h", "r");
        manifest.stages.insert("a".into(), totals(3, &[("timeout", 2), ("refused", 1)]));
        // Two models failed on some rows, so that there are more failed calls than failed rows.
        manifest.stages.insert("b".into(), totals(3, &[("timeout", 5)]));
        manifest.stages.insert("c".into(), totals(4, &[("refused", 4)]));
        let parts = parts(&manifest);
        assert_eq!(parts, ["answered", "skipped", "failed: timeout", "failed: refused", "failed", "not reached"]);
        let counts = |stage: &str| parts.iter().map(|part| rows_of(&manifest.stages[stage], part)).collect::<Vec<_>>();
        assert_eq!(counts("a"), [5, 1, 2, 1, 0, 1]);
        assert_eq!(counts("b"), [5, 1, 0, 0, 3, 1]);
        assert_eq!(counts("c"), [5, 1, 0, 4, 0, 0]);
    }
}
