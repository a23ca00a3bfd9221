//! The report of `fanfold runs`: lists the runs of a pipeline, and what changed from each run to the next.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::drift::data_change;
use super::settings::{SettingChange, setting_changes};
use super::text::{count, cut, figure, grid, number};
use crate::lock::Lock;
use crate::plan::RowChoice;
use crate::store::{Manifest, NamedRun, RunRecord, State};

/// The most changes that the text shows of a run.
const CHANGES: usize = 4;
/// The most lines of a change.
const LINES: usize = 3;
const INDENT: usize = 4;

pub(crate) struct RunsReport {
    pub(crate) pipeline: String,
    pub(crate) runs: Vec<ListedRun>,
    pub(crate) width: usize,
}

pub(crate) struct ListedRun {
    record: RunRecord,
    /// `None` if the folder is gone or belongs to a later run.
    kept: Option<Manifest>,
    changes: Vec<String>,
}

impl RunsReport {
    /// `kept` are the runs whose folders exist.
    pub(crate) fn new(pipeline: &str, records: Vec<RunRecord>, kept: &[NamedRun], width: usize) -> RunsReport {
        let folder = |record: &RunRecord| kept.iter().find(|run| run.dir.name() == record.folder);
        let mut runs: Vec<ListedRun> = Vec::new();
        for record in records {
            let changes = match runs.last().map(|before| &before.record) {
                Some(before) => changes((before, folder(before)), (&record, folder(&record))),
                None => how(&record),
            };
            let kept = folder(&record).filter(|run| run.name == record.name).map(|run| run.manifest.clone());
            runs.push(ListedRun { record, kept, changes });
        }
        RunsReport { pipeline: pipeline.to_owned(), runs, width }
    }
}

/// How a run differs from a usual one.
fn how(run: &RunRecord) -> Vec<String> {
    let rows = run.choice.or(run.limit.map(RowChoice::First)).unwrap_or_default();
    let rows = rows_in_words(rows).map(|rows| format!("only {rows}"));
    let replay = run.replay.as_ref().map(|file| format!("answered from {file}"));
    rows.into_iter().chain(settings_in_words(&run.set)).chain(replay).collect()
}

/// The chosen rows. `None` for all.
pub(crate) fn rows_in_words(choice: RowChoice) -> Option<String> {
    Some(match choice {
        RowChoice::All => return None,
        RowChoice::First(rows) => format!("the first {} of each source", count(rows, "row")),
        RowChoice::Sample(rows) => format!("{} of each source, drawn by the seed", count(rows, "row")),
        RowChoice::Range(first, u64::MAX) => format!("the rows of each source from row {} on", number(first)),
        RowChoice::Range(first, last) => format!("the rows {} to {} of each source", number(first), number(last)),
    })
}

/// The settings that were changed for a run. `None` without any.
pub(crate) fn settings_in_words(set: &[String]) -> Option<String> {
    (!set.is_empty())
        .then(|| format!("with {}", set.iter().map(|set| format!("`{set}`")).collect::<Vec<_>>().join(", ")))
}

fn changes(
    (old, old_run): (&RunRecord, Option<&NamedRun>),
    (new, new_run): (&RunRecord, Option<&NamedRun>),
) -> Vec<String> {
    let mut changes = how(new);
    if old.folder == new.folder && new.fresh {
        changes.push("every call again (`--fresh`)".to_owned());
    }
    let spec = |run: Option<&NamedRun>| run.and_then(|run| run.dir.read_spec());
    // A folder belongs to one spec, even if a later run uses it.
    let settings = spec(old_run).zip(spec(new_run)).map(|(old, new)| setting_changes(&old, &new));
    let lock = |run: &RunRecord| run.lock.clone().and_then(|lock| serde_json::from_value::<Lock>(lock).ok());
    let drift = lock(old).zip(lock(new)).map(|(old, new)| old.drift(&new)).unwrap_or_default();
    match &settings {
        Some(settings) => {
            // A run of some rows, or with other settings, has separate output paths.
            let is_own = |change: &&SettingChange| {
                !is_partial(old) && !is_partial(new) || !change.setting.starts_with("outputs.")
            };
            changes.extend(settings.iter().filter(is_own).map(SettingChange::words));
        }
        None if drift.iter().any(|drift| drift.facet == "spec.meaning") => changes.push("the spec".to_owned()),
        None => {}
    }
    changes.extend(drift.iter().filter_map(data_change));
    changes.dedup();
    changes
}

fn is_partial(run: &RunRecord) -> bool {
    run.limit.is_some() || run.choice.is_some() || !run.set.is_empty()
}

fn state(run: &RunRecord) -> &'static str {
    match run.state {
        State::Running => "running",
        State::Stopped => "stopped",
        State::Done => "done",
    }
}

/// A time as `2026-11-28 10:00`.
fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

impl Display for RunsReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.runs.is_empty() {
            return writeln!(f, "pipeline {} has no runs yet", self.pipeline);
        }
        let head = ["run", "started (UTC)", "state", "rows", "sent", "reused", "failed", "usd"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.runs.iter().map(|ListedRun { record: run, .. }| {
            let counts = [run.rows, run.sent, run.reused(), run.failed].map(number);
            let usd = run.usd.map_or(String::new(), figure);
            let words = [run.name.clone(), minute(&run.started_at), state(run).to_owned()];
            words.into_iter().chain(counts).chain([usd]).collect()
        }));
        let lines = grid(&rows, "", |column| column > 2);
        let mut lines = lines.lines();
        writeln!(f, "{}", lines.next().unwrap_or_default())?;
        for (line, run) in lines.zip(&self.runs) {
            writeln!(f, "{line}")?;
            let width = self.width.saturating_sub(INDENT + 2).max(20);
            for change in run.changes.iter().take(CHANGES) {
                writeln!(f, "{:INDENT$}{}", "", cut(change, LINES * width))?;
            }
            match run.changes.len().saturating_sub(CHANGES) {
                0 => {}
                more => writeln!(f, "{:INDENT$}and {more} more changes", "")?,
            }
        }
        Ok(())
    }
}

impl Serialize for RunsReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let run = |ListedRun { record: run, kept, changes }: &ListedRun| -> Value {
            json!({
                "name": run.name, "folder": run.folder, "has_tables": kept.is_some(), "state": run.state,
                "started_at": run.started_at, "finished_at": run.finished_at, "rows": run.rows, "sent": run.sent,
                "reused": run.reused(), "failed": run.failed, "usd": run.usd, "limit": run.limit,
                "chosen": run.choice, "set": run.set,
                "replay": run.replay, "fresh": run.fresh, "calls": kept.as_ref().map(|kept| &kept.calls),
                "changes": changes,
            })
        };
        let runs: Vec<Value> = self.runs.iter().map(run).collect();
        json!({ "schema_version": 1, "pipeline": self.pipeline, "runs": runs }).serialize(serializer)
    }
}
