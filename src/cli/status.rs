//! The command `fanfold status`.

use std::path::PathBuf;

use super::load::load_lock;
use super::runtime::env;
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, only_spec};
use crate::lock::committed_counts;
use crate::pipeline;
use crate::preview::Request;
use crate::report::colors::Palette;
use crate::report::plan::PlanReport;
use crate::report::status::{SheetStatus, StatusReport};
use crate::run::run_or_replay;
use crate::store::{Ledger, Manifest, Project, State};

/// Shows whether each stage is done, stale, stopped or was never run, why, and how many calls a run would send.
///
/// Compares the spec, the inputs and the last known model builds with the lock next to the spec, or without a lock with
/// the last run. Reads the sources, sends nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Status {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let lock = load_lock(&self.spec, terminal);
        let project = Project::of(&spec.folder);
        let PlanReport { preview, stages, batches, .. } = pipeline::plan_against(spec, lock, Request::default(), &env)?;
        let dir = run_or_replay(&preview.plan, &project);
        let (answers, failed_calls) = match project.ledger() {
            path if path.exists() => Ledger::read(&path)?.count()?,
            _ => (0, 0),
        };
        Manifest::check(&dir)?;
        let mut manifest = Manifest::read(&dir);
        if let Some(manifest) = manifest.as_mut().filter(|manifest| manifest.state != State::Done) {
            // A run that is killed leaves its counts as they were at the start.
            committed_counts(&preview.plan, &dir, &mut manifest.stages);
        }
        let replay = preview.replay.as_ref().map(|path| path.display().to_string());
        let report = StatusReport {
            replay,
            pipeline: preview.plan.spec.name.clone(),
            folder: dir.root().to_owned(),
            manifest,
            stages,
            answers,
            failed_calls,
            batches,
            sheets: SheetStatus::all(&preview.plan),
        };
        self.format.paint(&report, Palette::States, terminal);
        Ok(Exit::Ok)
    }
}
