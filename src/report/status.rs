//! The report of `fanfold status`: shows the state of a pipeline and of each stage.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::text::{count, number};
use super::{drift, freshness};
use crate::lock::{Freshness, StageState};
use crate::store::{Manifest, StageTotals};

pub(crate) struct StatusReport {
    pub(crate) pipeline: String,
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) stages: Vec<Freshness>,
    pub(crate) answers: u64,
    pub(crate) failed_calls: u64,
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
            write!(f, ", started {}\n  folder {}", manifest.started_at, self.folder.display())?;
        }
        writeln!(f)?;
        for stage in &self.stages {
            writeln!(f, "  stage {}", stage.name)?;
            if let Some(totals) = self.totals(&stage.name) {
                writeln!(
                    f,
                    "    {} = {} answered + {} failed + {} skipped + {} open",
                    count(totals.rows, "row"),
                    number(totals.counts.answered),
                    number(totals.counts.failed),
                    number(totals.counts.skipped),
                    number(totals.rows.saturating_sub(totals.counts.total())),
                )?;
            }
            let words = freshness::words(stage);
            match stage.outlook.from_ledger {
                0 if stage.is_kept => writeln!(f, "    {words}; its rows are kept")?,
                found => writeln!(f, "    {words}; the ledger holds {}", number(found))?,
            }
            f.write_str(&drift::lines(&stage.why, "      "))?;
        }
        writeln!(f, "  ledger: {}, {}", count(self.answers, "answer"), count(self.failed_calls, "failed call"))
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
            "folder": self.folder, "started_at": self.manifest.as_ref().map(|m| &m.started_at),
            "stages": Value::Object(stages.collect::<Map<_, _>>()),
            "ledger": { "answers": self.answers, "failed_calls": self.failed_calls },
        });
        value.serialize(serializer)
    }
}
