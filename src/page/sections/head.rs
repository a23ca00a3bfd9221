//! The first section: what ran, when, how far it came, and what it cost.

use serde_json::{Value, json};

use super::super::Subject;
use super::super::content::{Block, Check, CheckMark, Grid, Section};
use crate::lock::Lock;
use crate::report::findings;
use crate::report::summary::interval;
use crate::report::text::{count, figure, number, percent, usd};
use crate::store::{Manifest, Share, State};

/// The most models that the first sentence names.
const MODELS: usize = 4;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let manifest = subject.manifest;
    let tables = [("Models", models(manifest)), ("Sources", sources(manifest)), ("Versions", versions(subject))];
    let shown = tables.into_iter().filter(|(_, table)| !table.rows.is_empty());
    let blocks = vec![
        Block::text(story(subject)),
        Block::Checks { items: vec![state(manifest), rows(manifest), lock(subject)] },
        Block::Fold {
            title: "Models, sources and versions".to_owned(),
            blocks: shown.map(|(title, table)| Block::Table { title: title.to_owned(), table }).collect(),
        },
    ];
    Ok(Some(Section { id: "run".to_owned(), title: "Run".to_owned(), blocks }))
}

/// What the run is and what it found first, in one sentence.
pub(crate) fn lead(subject: &Subject<'_>) -> String {
    let manifest = subject.manifest;
    let sources = manifest.sources.iter().map(|(name, source)| format!("{} of {name}", count(source.rows, "row")));
    let ids: Vec<&str> = manifest.models.values().map(|model| model.model.as_str()).collect();
    let models = match ids.len() {
        0 => String::new(),
        n if n <= MODELS => format!("; {}: {}", if n == 1 { "model" } else { "models" }, ids.join(", ")),
        n => format!("; {}", count(n as u64, "model")),
    };
    let result = first_share(manifest).or_else(|| {
        let (name, lines) = findings::of_run(subject.plan, subject.folder).into_iter().next()?;
        Some(format!("{name}: {}", lines.first()?))
    });
    let result = result.map_or(String::new(), |result| format!(". {result}"));
    format!("{}{models}{result}.", sources.collect::<Vec<_>>().join(", "))
}

/// The most frequent label of the first column with labels; of a boolean, `true`.
fn first_share(manifest: &Manifest) -> Option<String> {
    let stages = manifest.stages.iter();
    let mut shares = stages.flat_map(|(stage, totals)| totals.shares.iter().map(move |share| (stage, share)));
    let (stage, (column, share)) = shares.find(|(_, (_, share))| share.of() > 0)?;
    let replicates = manifest.tables.get(stage).map_or(1, |shape| shape.replicates.max(1)) as f64;
    let (label, given) = main_label(share)?;
    let of = share.of();
    let (low, high) = interval(given, of, replicates);
    Some(format!(
        "{column} is {label} in {} of {} ({}, 95 % sampling interval {} to {})",
        number(given),
        count(of, "answer"),
        percent(given as f64 / of as f64),
        figure(100.0 * low),
        percent(high)
    ))
}

fn main_label(share: &Share) -> Option<(&str, u64)> {
    let is_boolean = share.labels.iter().map(|(label, _)| label.as_str()).eq(["true", "false"]);
    let labels = share.labels.iter().map(|(label, given)| (label.as_str(), *given));
    let mut labels = labels.take(if is_boolean { 1 } else { usize::MAX });
    let first = labels.next()?;
    Some(labels.fold(first, |most, label| if label.1 > most.1 { label } else { most }))
}

/// What the reader must know before the numbers.
pub(crate) fn notices(subject: &Subject<'_>) -> Vec<String> {
    let manifest = subject.manifest;
    let mut notices = Vec::new();
    match manifest.state {
        State::Done => {}
        State::Stopped => notices.push("This run was stopped before its end. The same command resumes it.".to_owned()),
        State::Running => {
            notices.push("This run is under way, or it was killed. The numbers are those so far.".to_owned())
        }
    }
    let is_partial = manifest.limit.is_some() || manifest.rows.is_some();
    let is_same = subject.folder.name().trim_end_matches("-replay") == subject.plan.run_name();
    match (subject.is_current, is_same || is_partial) {
        (true, true) => {}
        (true, false) => notices.push("The data have changed since this run.".to_owned()),
        (false, _) => notices.push(
            "The spec has changed since this run. The results of stages, the codebook and the data are left out."
                .to_owned(),
        ),
    }
    if is_partial {
        notices.push("This run asked only about some rows of its sources.".to_owned());
    }
    if !manifest.set.is_empty() {
        notices.push(format!("Settings were changed for this run: {}.", manifest.set.join(", ")));
    }
    let unchecked = manifest.models.iter().filter_map(|(name, model)| Some((name, model.unchecked.as_ref()?)));
    notices.extend(unchecked.map(|(name, why)| format!("Model {name}: {why}.")));
    notices
}

fn story(subject: &Subject<'_>) -> String {
    let manifest = subject.manifest;
    let stages = || manifest.stages.values();
    let run = manifest.name.clone().unwrap_or_else(|| subject.folder.name());
    let needed: u64 = stages().map(|totals| totals.needed).sum();
    let (sent, reused) = (manifest.sent(), needed.saturating_sub(manifest.sent()));
    let (prompts, replies) =
        stages().fold((0, 0), |sum, totals| (sum.0 + totals.prompt_tokens, sum.1 + totals.completion_tokens));
    let mut text = format!(
        "The run {run} of {} sent {} and reused {}. The calls that it sent had {} tokens in prompts and {} in replies.",
        manifest.pipeline,
        count(sent, "call"),
        count(reused, "recorded answer"),
        number(prompts),
        number(replies)
    );
    if let (Some(first), Some(last)) = (&manifest.calls.first, &manifest.calls.last) {
        text += &format!(" The answers are from {} to {} (UTC).", second(first), second(last));
    }
    if let Some(cost) = manifest.calls.usd {
        text += &format!(" All answers together cost {}.", usd(cost));
    }
    text
}

/// A time in RFC 3339 to the second, such as `2026-11-28 10:00:05`.
pub(super) fn second(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

fn state(manifest: &Manifest) -> Check {
    let (mark, text) = match manifest.state {
        State::Done => (CheckMark::Ok, "The run is done."),
        State::Stopped => (CheckMark::Open, "The run was stopped and can be resumed."),
        State::Running => (CheckMark::Open, "The run is under way, or it was killed."),
    };
    Check { mark, label: "State".to_owned(), text: text.to_owned() }
}

fn rows(manifest: &Manifest) -> Check {
    let (mut failed, mut open) = (0, 0);
    let line = |(name, totals): (&String, &crate::store::StageTotals)| {
        let counts = totals.counts;
        failed += counts.failed;
        let [answered, failed, skipped] = [counts.answered, counts.failed, counts.skipped].map(number);
        let rest = totals.rows.saturating_sub(counts.total());
        open += rest;
        let rest = if rest > 0 { format!(" + {} not reached", number(rest)) } else { String::new() };
        let rows = count(totals.rows, "row");
        format!("{name}: {rows} = {answered} answered + {failed} failed + {skipped} skipped{rest}")
    };
    let text = manifest.stages.iter().map(line).collect::<Vec<_>>().join("; ");
    let mark = match (failed, open) {
        (0, 0) => CheckMark::Ok,
        (0, _) => CheckMark::Open,
        _ => CheckMark::Failed,
    };
    Check {
        mark,
        label: "Rows".to_owned(),
        text: if text.is_empty() { "No stage asks models.".to_owned() } else { text },
    }
}

fn lock(subject: &Subject<'_>) -> Check {
    let (mark, text) = match (subject.lock, Lock::of_manifest(subject.manifest)) {
        (None, _) => (CheckMark::Open, "The spec has no lock.".to_owned()),
        (Some(_), None) => (CheckMark::Open, "A run of some rows or stages is not locked.".to_owned()),
        (Some(lock), Some(run)) => match lock.drift(&run).len() as u64 {
            0 => (CheckMark::Ok, "The run matches the lock.".to_owned()),
            n => {
                let verb = if n == 1 { "differs" } else { "differ" };
                (CheckMark::Failed, format!("{} of the run {verb} from the lock.", count(n, "facet")))
            }
        },
    };
    Check { mark, label: "Lock".to_owned(), text }
}

fn models(manifest: &Manifest) -> Grid {
    let row = |(name, model): (&String, &crate::store::ModelEntry)| {
        let build = &model.build;
        vec![
            json!(name),
            json!(model.model),
            json!(model.provider),
            json!(model.endpoint),
            json!(build.service.software),
            json!(build.quantization),
            json!(build.digest),
        ]
    };
    let columns = ["name", "model", "provider", "server", "software", "quantization", "build"];
    Grid::new(&columns, manifest.models.iter().map(row).collect())
}

fn sources(manifest: &Manifest) -> Grid {
    let row = |(name, source): (&String, &crate::store::SourceEntry)| {
        vec![json!(name), json!(source.rows), json!(source.paths.join(", ")), json!(source.key), json!(source.content)]
    };
    Grid::new(&["name", "rows", "files", "key", "hash"], manifest.sources.iter().map(row).collect())
}

fn versions(subject: &Subject<'_>) -> Grid {
    let manifest = subject.manifest;
    let rows = [
        ("fanfold", Some(&manifest.fanfold)),
        ("run", Some(&manifest.run).filter(|run| !run.is_empty())),
        ("hash of the spec", Some(&manifest.spec_hash)),
        ("last start (UTC)", Some(&manifest.started_at)),
        ("end (UTC)", manifest.finished_at.as_ref()),
        ("replay file", manifest.replay.as_ref()),
    ];
    let known = rows.into_iter().filter_map(|(name, value)| Some(vec![Value::from(name), json!(value?)]));
    Grid::new(&["what", "value"], known.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share<const N: usize>(labels: [(&str, u64); N]) -> Share {
        Share { labels: labels.map(|(label, given)| (label.to_owned(), given)).into_iter().collect(), null: 0 }
    }

    #[test]
    fn the_first_result_is_the_most_frequent_label_or_true() {
        assert_eq!(main_label(&share([("a", 1), ("b", 5), ("c", 5)])), Some(("b", 5)));
        assert_eq!(main_label(&share([("true", 1), ("false", 5)])), Some(("true", 1)));
        assert_eq!(main_label(&share([])), None);
    }

    #[test]
    fn failed_rows_are_marked() {
        let mut manifest = Manifest::start("p", "h", "r");
        let totals = |failed| crate::store::StageTotals {
            rows: 10,
            counts: crate::store::RowCounts { answered: 6, failed, skipped: 1 },
            ..Default::default()
        };
        manifest.stages.insert("tone".into(), totals(2));
        let check = rows(&manifest);
        let text = "tone: 10 rows = 6 answered + 2 failed + 1 skipped + 1 not reached";
        assert_eq!((check.mark, check.text.as_str()), (CheckMark::Failed, text));
        manifest.stages.insert("tone".into(), totals(0));
        assert_eq!(rows(&manifest).mark, CheckMark::Open);
    }
}
