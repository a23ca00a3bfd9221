//! `fanfold status`

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use super::exit::Exit;
use super::load::load_or_show;
use super::run::failed;
use super::terminal::Terminal;
use crate::plan::{Plan, PlanError, Selection, SourceFacts, sources_read};
use crate::report::summary::{count, number};
use crate::run::RunError;
use crate::source::content;
use crate::spec::Spec;
use crate::store::{Ledger, Manifest, Project, RunDir, State, StoreError};

/// Shows how far the run of a spec is: per stage the rows that are answered, failed or open, and what the ledger holds.
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

/// How far a run is.
struct Found {
    pipeline: String,
    folder: PathBuf,
    state: &'static str,
    manifest: Option<Manifest>,
    ledger: (u64, u64),
}

impl Status {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        match find(spec) {
            Err(error) => failed(&error, terminal),
            Ok(found) => {
                let text = match self.format {
                    Format::Human => human(&found),
                    Format::Json => as_json(&found),
                };
                terminal.data(&text);
                Exit::Ok
            }
        }
    }
}

fn find(spec: Spec) -> Result<Found, RunError> {
    let project = Project::of(&spec.folder);
    let mut facts = HashMap::new();
    for i in sources_read(&spec, &vec![true; spec.stages.len()]) {
        let (name, source) = spec.sources.get_index(i).expect("an index of this table");
        let content = content(source.source.as_ref(), &spec.folder)
            .map_err(|error| PlanError::Source { name: name.to_string(), error })?;
        // The run's name needs the content only, so the rows are not counted.
        facts.insert(i, SourceFacts { rows: 0, content, values: String::new() });
    }
    let plan = Plan::new(spec, &Selection::default(), facts)?;
    let dir = RunDir::new(project.run(&plan.run_name()));
    let manifest = Manifest::read(&dir);
    let state = match manifest.as_ref().map(|m| m.state) {
        None => "never run",
        Some(State::Done) => "done",
        Some(State::Stopped) => "stopped",
        Some(State::Running) if project.lock(dir.root(), "").is_ok() => "killed",
        Some(State::Running) => "running",
    };
    let ledger = match project.ledger() {
        path if path.exists() => Ledger::open(&path).and_then(|l| l.count()).map_err(StoreError::from)?,
        _ => (0, 0),
    };
    Ok(Found { pipeline: plan.spec.name.clone(), folder: dir.root().to_owned(), state, manifest, ledger })
}

fn human(found: &Found) -> String {
    let mut out = format!("pipeline {}: {}", found.pipeline, found.state);
    if let Some(manifest) = &found.manifest {
        let _ = write!(out, ", started {}", manifest.started_at);
        let _ = writeln!(out, "\n  folder {}", found.folder.display());
        for (name, totals) in &manifest.stages {
            let done = totals.answered + totals.failed + totals.skipped;
            let _ = writeln!(
                out,
                "  stage {name}: {} = {} answered + {} failed + {} skipped + {} open",
                count(totals.rows, "row"),
                number(totals.answered),
                number(totals.failed),
                number(totals.skipped),
                number(totals.rows.saturating_sub(done)),
            );
        }
    } else {
        out.push('\n');
    }
    let (answers, failures) = found.ledger;
    let _ = writeln!(out, "  ledger: {}, {}", count(answers, "answer"), count(failures, "failed call"));
    out
}

fn as_json(found: &Found) -> String {
    let stages = found.manifest.as_ref().map(|m| &m.stages);
    let value = json!({
        "schema_version": 1, "pipeline": found.pipeline, "state": found.state, "folder": found.folder,
        "started_at": found.manifest.as_ref().map(|m| &m.started_at), "stages": stages,
        "ledger": { "answers": found.ledger.0, "failed_calls": found.ledger.1 },
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}
