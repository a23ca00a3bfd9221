//! `fanfold status`

use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::exit::Exit;
use super::load::load_or_show;
use super::run::failed;
use super::standing;
use super::terminal::Terminal;
use crate::lock::{Freshness, Lock, StageState, freshness};
use crate::plan::Selection;
use crate::report::drift;
use crate::report::summary::{count, number};
use crate::run::RunError;
use crate::run::preview::preview;
use crate::spec::Spec;
use crate::store::{Ledger, Manifest, Project, RunDir, StageTotals, StoreError};

/// Shows how each stage of a spec stands: done, stale, stopped or never run, why, and what a run would send.
///
/// Compares the spec, the inputs and the models' builds as last seen with the lock beside the spec; without one, with the
/// last run. Reads the sources, sends nothing.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// How something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object.
    Json,
}

/// How a spec stands.
struct Found {
    pipeline: String,
    folder: PathBuf,
    manifest: Option<Manifest>,
    stages: Vec<Freshness>,
    ledger: (u64, u64),
}

impl Status {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        let lock = standing::lock_of(&self.spec, terminal);
        match find(spec, lock) {
            Err(error) => failed(&error, terminal),
            Ok(found) => {
                match self.format {
                    Format::Human => terminal.text(&human(&found)),
                    Format::Json => terminal.json(&as_json(&found)),
                }
                Exit::Ok
            }
        }
    }
}

fn find(spec: Spec, lock: Option<Lock>) -> Result<Found, RunError> {
    let project = Project::of(&spec.folder);
    let preview = preview(spec, &Selection::default(), &project, &|name: &str| std::env::var(name).ok(), 0)?;
    let stages = freshness(&preview.plan, &preview.outlooks(), &preview.lock, lock, &project);
    let dir = RunDir::new(project.run(&preview.plan.run_name()));
    let ledger = match project.ledger() {
        path if path.exists() => Ledger::open(&path).and_then(|l| l.count()).map_err(StoreError::from)?,
        _ => (0, 0),
    };
    Ok(Found {
        pipeline: preview.plan.spec.name.clone(),
        folder: dir.root().to_owned(),
        manifest: Manifest::read(&dir),
        stages,
        ledger,
    })
}

impl Found {
    /// The state of the whole: that of the stage that is furthest from done.
    fn state(&self) -> StageState {
        let order = [StageState::Running, StageState::Stopped, StageState::Stale, StageState::NeverRun];
        let found = order.into_iter().find(|state| self.stages.iter().any(|s| s.state == *state));
        found.unwrap_or(StageState::Done)
    }

    fn totals(&self, stage: &str) -> Option<&StageTotals> {
        self.manifest.as_ref()?.stages.get(stage)
    }
}

fn human(found: &Found) -> String {
    let mut out = format!("pipeline {}: {}", found.pipeline, standing::word(found.state()));
    if let Some(manifest) = &found.manifest {
        let _ = write!(out, ", started {}\n  folder {}", manifest.started_at, found.folder.display());
    }
    out.push('\n');
    for stage in &found.stages {
        let _ = writeln!(out, "  stage {}", stage.name);
        if let Some(totals) = found.totals(&stage.name) {
            let done = totals.counts.total();
            let _ = writeln!(
                out,
                "    {} = {} answered + {} failed + {} skipped + {} open",
                count(totals.rows, "row"),
                number(totals.counts.answered),
                number(totals.counts.failed),
                number(totals.counts.skipped),
                number(totals.rows.saturating_sub(done)),
            );
        }
        let _ = writeln!(out, "    {}; the ledger holds {}", standing::words(stage), number(stage.from_ledger));
        out += &drift::lines(&stage.why, "      ");
    }
    let (answers, failures) = found.ledger;
    let _ = writeln!(out, "  ledger: {}, {}", count(answers, "answer"), count(failures, "failed call"));
    out
}

fn as_json(found: &Found) -> String {
    let stages = found.stages.iter().map(|stage| {
        let mut value = standing::as_json(stage);
        value["totals"] = json!(found.totals(&stage.name));
        (stage.name.clone(), value)
    });
    let value = json!({
        "schema_version": 2, "pipeline": found.pipeline, "state": standing::word(found.state()), "folder": found.folder,
        "started_at": found.manifest.as_ref().map(|m| &m.started_at),
        "stages": Value::Object(stages.collect::<Map<_, _>>()),
        "ledger": { "answers": found.ledger.0, "failed_calls": found.ledger.1 },
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}
