//! The report of `fanfold status`: shows the state of a pipeline and of each stage.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::text::{count, grid, number};
use super::{batches, freshness};
use crate::lock::{Freshness, StageState};
use crate::name::Name;
use crate::output::progress;
use crate::plan::Plan;
use crate::source::Filled;
use crate::spec::OutputSpec;
use crate::store::{Batch, Manifest, StageTotals};

pub(crate) struct StatusReport {
    pub(crate) pipeline: String,
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) stages: Vec<Freshness>,
    /// The replay file whose answers count too.
    pub(crate) replay: Option<String>,
    pub(crate) answers: u64,
    pub(crate) failed_calls: u64,
    /// The batches that are at providers.
    pub(crate) batches: Vec<Batch>,
    pub(crate) sheets: Vec<SheetStatus>,
}

/// How far people have filled a sheet.
pub(crate) struct SheetStatus {
    output: String,
    path: String,
    /// `None` if the sheet does not exist yet and its rows are not known.
    rows: Option<u64>,
    filled: Filled,
    exists: bool,
    /// Why the sheet can't be read.
    error: Option<String>,
}

impl SheetStatus {
    /// The sheets of the outputs of a plan.
    pub(crate) fn all(plan: &Plan) -> Vec<SheetStatus> {
        let sheets = plan.outputs().filter_map(|i| plan.spec.outputs.get_index(i));
        let sheets = sheets.filter(|(_, output)| output.sheet.as_ref().is_some_and(|sheet| !sheet.fill.is_empty()));
        let status = |(name, output): (&Name, &OutputSpec)| {
            let found = progress(output, &plan.spec.folder);
            let exists = found.is_some();
            let error = found.as_ref().and_then(|found| found.as_ref().err()).map(|error| error.message.clone());
            let filled = found.and_then(Result::ok).unwrap_or_default();
            let rows = if exists { Some(filled.keys.len() as u64) } else { plan.rows(output.input) };
            SheetStatus { output: name.to_string(), path: output.path.clone(), rows, filled, exists, error }
        };
        sheets.map(status).collect()
    }

    fn text(&self) -> String {
        let SheetStatus { path, rows, filled, exists, error, .. } = self;
        let rows = rows.map_or("?".to_owned(), number);
        match error {
            Some(error) => format!("{path} can't be read: {error}"),
            None if !exists => format!("0 of {rows} rows coded in {path}, which the next run writes"),
            None => {
                let partly =
                    if filled.partly > 0 { format!(", {} in part", number(filled.partly)) } else { String::new() };
                format!("{} of {rows} rows coded in {path}{partly}", number(filled.coded))
            }
        }
    }

    fn json(&self) -> Value {
        json!({
            "output": self.output, "path": self.path, "exists": self.exists, "rows": self.rows,
            "coded": self.filled.coded, "partly_coded": self.filled.partly, "error": self.error,
        })
    }
}

impl StatusReport {
    /// The state of the pipeline is that of the stage furthest from done.
    fn state(&self) -> StageState {
        let order = [StageState::Running, StageState::Stopped, StageState::Stale, StageState::NeverRun];
        let found = order.into_iter().find(|state| self.stages.iter().any(|s| s.state == *state));
        found.unwrap_or(StageState::Done)
    }

    fn totals(&self, stage: &str) -> Option<&StageTotals> {
        self.manifest.as_ref()?.stages.get(stage)
    }
}

impl Display for StatusReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "pipeline {}: {}", self.pipeline, freshness::word(self.state()))?;
        if let Some(manifest) = &self.manifest {
            let name = manifest.name.as_ref().map_or(String::new(), |name| format!(", run {name}"));
            write!(f, "{name}, started {}\n  folder {}", manifest.started_at, self.folder.display())?;
        }
        writeln!(f)?;
        let rows = self.rows();
        let head = rows[0].clone();
        f.write_str(&grid(&rows, "  ", |column| !["stage", "state", "why"].contains(&head[column].as_str())))?;
        self.sheets.iter().try_for_each(|sheet| writeln!(f, "  {}", sheet.text()))?;
        if self.state() == StageState::Stale {
            writeln!(f, "  `fanfold verify` lists every difference")?;
        }
        self.batches.iter().try_for_each(|batch| writeln!(f, "  {}", batches::line(batch)))?;
        let calls = format!("{}, {}", count(self.answers, "answer"), count(self.failed_calls, "failed call"));
        let replay = self.replay.as_ref().map_or(String::new(), |file| format!("; answers also from {file}"));
        writeln!(f, "  ledger: {calls}{replay}")
    }
}

/// The columns between the state and the calls that a run would send.
const COUNTS: [&str; 5] = ["rows", "answered", "failed", "skipped", "open"];

impl StatusReport {
    fn rows(&self) -> Vec<Vec<String>> {
        let head = ["stage", "state"].into_iter().chain(COUNTS).chain(["to ask", "why"]).map(str::to_owned);
        let row = |stage: &Freshness| {
            let counts = self.totals(&stage.name).map(|totals| {
                let open = totals.rows.saturating_sub(totals.counts.total());
                [totals.rows, totals.counts.answered, totals.counts.failed, totals.counts.skipped, open].map(number)
            });
            let to_ask = match (stage.to_send, stage.outlook.unknown) {
                (None, _) => "?".to_owned(),
                (Some(calls), 0) => number(calls),
                (Some(calls), _) => format!("up to {}", number(calls)),
            };
            let words = [stage.name.clone(), freshness::word(stage.state).to_owned()];
            let counts = counts.unwrap_or_default();
            words.into_iter().chain(counts).chain([to_ask, freshness::why(stage)]).collect()
        };
        let rows: Vec<Vec<String>> = [head.collect()].into_iter().chain(self.stages.iter().map(row)).collect();
        // Counts of a run that is not there, and rows that are not skipped or open, say nothing.
        let is_shown = |column: &usize| {
            let optional = ["skipped", "open"].contains(&rows[0][*column].as_str());
            rows[1..].iter().any(|row| !(row[*column].is_empty() || optional && row[*column] == "0"))
        };
        let shown: Vec<usize> = (0..rows[0].len()).filter(is_shown).collect();
        rows.iter().map(|row| shown.iter().map(|column| row[*column].clone()).collect()).collect()
    }
}

impl Serialize for StatusReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stages = self.stages.iter().map(|stage| {
            let mut value = freshness::as_json(stage);
            value["totals"] = json!(self.totals(&stage.name));
            (stage.name.clone(), value)
        });
        let value = json!({
            "schema_version": 2, "pipeline": self.pipeline, "state": freshness::word(self.state()),
            "folder": self.folder, "replay": self.replay, "run": self.manifest.as_ref().map(|m| &m.name), "started_at": self.manifest.as_ref().map(|m| &m.started_at),
            "stages": Value::Object(stages.collect::<Map<_, _>>()),
            "sheets": self.sheets.iter().map(SheetStatus::json).collect::<Vec<_>>(),
            "batches": self.batches.iter().map(batches::value).collect::<Vec<_>>(),
            "ledger": { "answers": self.answers, "failed_calls": self.failed_calls },
        });
        value.serialize(serializer)
    }
}
