//! The section on failures: how many calls failed, when, and the first ones with the reply and what to change.

use serde_json::Value;

use super::super::Subject;
use super::super::calls::{FailedCall, Failures, kind_name};
use super::super::chart::{Axis, Bar, Bars, Chart, Histogram, Unit};
use super::super::content::{Block, Figure, Grid, Section};
use crate::prompt::{Failure, FailureKind};
use crate::report::stop::change;
use crate::report::text::{count, cut, moment, number};

/// The number of failed calls that are shown.
const SHOWN: usize = 5;
/// The most characters of a reply.
const REPLY: usize = 2000;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let failures = &subject.calls()?.failures;
    let counts = counts(subject, failures);
    if counts.is_empty() {
        return Ok(None);
    }
    let sum: u64 = counts.iter().map(|(_, _, calls)| calls).sum();
    let text = format!("{} failed. The first of each kind are below, with what to change.", count(sum, "call"));
    let mut blocks = vec![Block::text(text), Block::Figure(by_kind(&counts))];
    blocks.extend(over_time(failures).map(Block::Figure));
    for call in failures.first(SHOWN) {
        blocks.push(shown(call)?);
    }
    blocks.extend(counts.iter().filter(|(_, kind, _)| !failures.kinds.contains_key(kind)).map(|(stage, kind, _)| {
        let first = subject.manifest.stages[stage].errors.get(kind_name(*kind));
        let rows = first.map(|first| first.rows.join(", ")).unwrap_or_default();
        let message = first.map(|first| first.message.clone()).unwrap_or_default();
        let blocks = vec![Block::text(message), Block::text(cure(*kind).to_owned())];
        Block::Group { title: format!("{}: stage {stage}, rows {rows}", kind_name(*kind)), blocks }
    }));
    Ok(Some(Section { id: "failures".to_owned(), title: "Failures".to_owned(), blocks }))
}

/// The failures of each stage and kind: those of the calls table, and those of rows that no call was made for.
fn counts(subject: &Subject<'_>, failures: &Failures) -> Vec<(String, FailureKind, u64)> {
    let of_calls = failures.counts.iter().map(|((stage, kind), calls)| (stage.clone(), *kind, *calls));
    let mut counts: Vec<(String, FailureKind, u64)> = of_calls.collect();
    for (stage, totals) in &subject.manifest.stages {
        for (name, error) in &totals.errors {
            let kind = Failure::read(name).kind;
            if !failures.kinds.contains_key(&kind) {
                counts.push((stage.clone(), kind, error.count));
            }
        }
    }
    counts
}

fn by_kind(counts: &[(String, FailureKind, u64)]) -> Figure {
    let mut stages: Vec<String> = counts.iter().map(|(stage, ..)| stage.clone()).collect();
    stages.dedup();
    let mut kinds: Vec<(FailureKind, Vec<u64>)> = Vec::new();
    for (stage, kind, calls) in counts {
        let place = kinds.iter().position(|(other, _)| other == kind).unwrap_or_else(|| {
            kinds.push((*kind, vec![0; stages.len()]));
            kinds.len() - 1
        });
        let stage = stages.iter().position(|other| other == stage).unwrap_or(0);
        kinds[place].1[stage] += calls;
    }
    kinds.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.iter().sum::<u64>()));
    let bars = kinds.iter().map(|(kind, calls)| Bar {
        label: kind_name(*kind).to_owned(),
        values: calls.iter().map(|calls| *calls as f64).collect(),
        text: number(calls.iter().sum()),
    });
    let row = |(kind, calls): &(FailureKind, Vec<u64>)| {
        [Value::from(kind_name(*kind))].into_iter().chain(calls.iter().map(|calls| Value::from(*calls))).collect()
    };
    Figure {
        title: "Failed calls by kind".to_owned(),
        numbers: Grid {
            columns: ["kind".to_owned()].into_iter().chain(stages.clone()).collect(),
            rows: kinds.iter().map(row).collect(),
        },
        chart: Chart::Bars(Bars::new(Unit::Count, stages, bars.collect())),
        note: None,
    }
}

/// When calls failed; `None` without times.
fn over_time(failures: &Failures) -> Option<Figure> {
    let timeline = &failures.ended;
    let bins: Vec<(i64, Vec<f64>)> = timeline.bins().collect();
    let end = bins.last()?.0 as f64 + 1e3 * timeline.seconds_per_bin();
    let edges = bins.iter().map(|(start, _)| *start as f64).chain([end]).collect();
    let series = timeline.series().to_vec();
    let counts = (0..series.len()).map(|of| bins.iter().map(|(_, calls)| calls[of] as u64).collect()).collect();
    let rows = bins.iter().filter(|(_, calls)| calls.iter().any(|calls| *calls > 0.0)).map(|(start, calls)| {
        let calls = calls.iter().map(|calls| Value::from(*calls as u64));
        [Value::from(moment(*start))].into_iter().chain(calls).collect()
    });
    let numbers =
        Grid { columns: ["from (UTC)".to_owned()].into_iter().chain(series.clone()).collect(), rows: rows.collect() };
    let axis = Axis::new("time", Unit::Moment);
    Some(Figure {
        title: "Failed calls over time".to_owned(),
        chart: Chart::Histogram(Histogram { axis, edges, series, counts, marks: Vec::new() }),
        numbers,
        note: None,
    })
}

/// A failed call with its reply and what to change.
fn shown(call: &FailedCall) -> Result<Block, String> {
    let FailedCall { row, stage, model, failure, .. } = call;
    let title = format!("{}: row {row}, stage {stage}, model {model}", kind_name(failure.kind));
    let mut blocks = vec![Block::text(failure.message.clone())];
    match call.reply().map_err(|error| error.to_string())? {
        Some(reply) => {
            let title = format!("The reply{}", cut_note(&reply));
            blocks.push(Block::Code { title, text: cut(&reply, REPLY) });
        }
        None => blocks.push(Block::text("There was no reply.")),
    }
    blocks.push(Block::text(format!("What to do: {}.", cure(failure.kind))));
    Ok(Block::Group { title, blocks })
}

fn cut_note(text: &str) -> String {
    match text.chars().count() {
        all if all > REPLY => format!(", its first {REPLY} of {} characters", number(all as u64)),
        _ => String::new(),
    }
}

/// What to change so that such calls do not fail.
fn cure(kind: FailureKind) -> &'static str {
    change(kind).unwrap_or(match kind {
        FailureKind::RateLimited => "lower `max_concurrent_calls` of the provider, and run the spec again",
        FailureKind::Unavailable => "check that the server runs, and run the spec again",
        FailureKind::Unauthorized => "check the API key of the provider",
        FailureKind::Tls => "trust the server's certificate: name its file in `SSL_CERT_FILE`",
        FailureKind::UnknownModel => "check the model's id; `fanfold models list` shows what the server has",
        FailureKind::QuotaExhausted => "raise the quota at the provider, or choose another model",
        FailureKind::Refused => "read the prompt that the model refused; another model or wording may answer it",
        FailureKind::Fallback => "read why each model failed, in the message",
        FailureKind::Missing => "the replay file lacks the call; run without `--replay`",
        _ => "read the reply; `fanfold explain` shows the whole call",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_a_part_for_each_stage_and_the_largest_kind_first() {
        let of = |stage: &str, kind, calls| (stage.to_owned(), kind, calls);
        let counts = [
            of("topic", FailureKind::Malformed, 2),
            of("topic", FailureKind::Timeout, 4),
            of("tone", FailureKind::Malformed, 3),
        ];
        let Figure { chart: Chart::Bars(bars), numbers, .. } = by_kind(&counts) else { panic!("bars") };
        let shown: Vec<(&str, &[f64])> =
            bars.bars.iter().map(|bar| (bar.label.as_str(), bar.values.as_slice())).collect();
        assert_eq!(shown, [("malformed", [2.0, 3.0].as_slice()), ("timeout", [4.0, 0.0].as_slice())]);
        assert_eq!(bars.parts, ["topic", "tone"]);
        assert_eq!(numbers.rows[0], [Value::from("malformed"), 2.into(), 3.into()]);
    }

    #[test]
    fn every_kind_has_a_cure() {
        let kinds = [FailureKind::RateLimited, FailureKind::Truncated, FailureKind::Refused, FailureKind::Unnamed];
        let cures: std::collections::HashSet<&str> = kinds.map(cure).into_iter().collect();
        assert_eq!(cures.len(), kinds.len());
    }
}
