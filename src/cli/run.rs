//! `fanfold run`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::error::{Failure, advice};
use super::exit::Exit;
use super::load::load_spec;
use super::locking::{Keeper, Mode};
use super::output::{OutputFormat, write_json};
use super::plan::{PlanFormat, show};
use super::progress;
use super::runtime::{block_on, env};
use super::signals::{self, stopped};
use super::terminal::Terminal;
use crate::lock::{self, ModelFacts};
use crate::plan::{Plan, Selection};
use crate::report::numbers::count;
use crate::report::preview::first_rows;
use crate::report::summary::{RunReport, announcements, missing_calls};
use crate::run::{self, MissingCall, Outcome, Progress, Recall, ReplayMode, Stop, StopReason};
use crate::spec::{Spec, TableId};
use crate::store::Project;

/// Runs a spec: sends the calls that the ledger cannot answer, and writes the outputs.
///
/// Run it again to continue a stopped run or to retry failed rows. Finished calls are never repeated. `fanfold test` checks
/// the tables against the tests of the spec.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Only the first N rows of each source.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only this stage and the stages it reads; may be repeated.
    #[arg(long, value_name = "STAGE")]
    select: Vec<String>,
    /// Only show what would be done, like `fanfold plan`.
    #[arg(short = 'n', long, conflicts_with = "replay")]
    dry_run: bool,
    /// Answer the calls from this file of `fanfold ledger export`.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// What to do with a call that is not in the file.
    #[arg(long, value_enum, default_value = "only", value_name = "MODE", requires = "replay")]
    replay_mode: ReplayMode,
    /// Repeat every call; the old answers stay in the ledger as history.
    #[arg(long, conflicts_with_all = ["replay", "dry_run"])]
    fresh: bool,
    /// Change nothing: refuse to start if the spec, an input or a model build differs from the lock (exit code 5).
    #[arg(long, conflicts_with_all = ["limit", "select"])]
    locked: bool,
    /// Format of the summary: text on standard error, or in addition JSON on standard output.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
    /// Rewrite the lock, even if a model build differs from it.
    #[arg(long, conflicts_with_all = ["locked", "limit", "select"])]
    update_lock: bool,
}

impl Run {
    /// The whole spec, answered only from a replay file.
    pub fn replay(spec: &Path, file: &Path) -> Self {
        Run {
            spec: spec.to_owned(),
            replay: Some(file.to_owned()),
            replay_mode: ReplayMode::Only,
            limit: None,
            select: Vec::new(),
            dry_run: false,
            locked: false,
            update_lock: false,
            fresh: false,
            format: OutputFormat::Human,
        }
    }

    pub fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let selection = Selection { stages: self.select.clone(), limit: self.limit };
        if self.dry_run {
            let json = self.format == OutputFormat::Json;
            let format = if json { PlanFormat::Json } else { PlanFormat::Human };
            return show(&self.spec, &selection, 0, format, terminal);
        }
        let spec = load_spec(&self.spec, terminal)?;
        let keeper = Keeper::open(&self.spec, self.mode())?;
        block_on(self.carry_out(spec, selection, &keeper, terminal))
    }

    /// What the run may do to the lock.
    fn mode(&self) -> Mode {
        match (self.locked, self.update_lock, self.limit.is_some() || !self.select.is_empty()) {
            (true, ..) => Mode::Locked,
            (_, true, _) => Mode::Update,
            (_, _, true) => Mode::Aside,
            _ => Mode::Follow,
        }
    }

    async fn carry_out(
        &self,
        spec: Spec,
        selection: Selection,
        keeper: &Keeper,
        terminal: &Terminal,
    ) -> Result<Exit, Failure> {
        let started = Instant::now();
        let project = Project::of(&spec.folder);
        let recall = match self.replay.as_deref() {
            Some(file) => Recall::Replay(file, self.replay_mode),
            None if self.fresh => Recall::Fresh,
            None => Recall::Ledger,
        };
        let ready = run::prepare(spec, &selection, project, recall)?;
        let stop = Stop::default();
        let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
        let models = tokio::select! {
            models = ready.connect(&env) => models?,
            () = stop.draining() => return Ok(signals::stopped_early(&stop, terminal)),
        };
        keeper.check(&lock::before(&ready.plan, &ModelFacts::all(&models)))?;
        announcements(&ready.plan).iter().for_each(|line| terminal.note(line));
        let (plan, folder) = (ready.plan.clone(), ready.dir.clone());
        let counters = Arc::new(Progress::new(&plan));
        let shown = tokio::spawn(progress::show(counters.clone(), models.preparing(), *terminal));
        let outcome = run::run(ready, models, counters, stop).await;
        shown.abort();
        signals.abort();
        let _ = shown.await;
        let outcome = outcome?;
        let calls = folder.calls().display().to_string();
        let report = RunReport { manifest: &outcome.manifest, elapsed: started.elapsed(), calls };
        terminal.note(report.to_string().trim_end());
        if self.format == OutputFormat::Json {
            write_json(&report, terminal);
        }
        if let Some(reason) = &outcome.stopped {
            return Err(self.stopped(reason));
        }
        first_rows(&plan, &folder, terminal.width()).iter().for_each(|rows| terminal.note(rows));
        let exit = self.finished(&plan, &outcome, terminal);
        keeper.end(outcome.lock.as_ref(), terminal)?;
        Ok(exit)
    }

    /// Reports why the run stopped early, and how to continue.
    fn stopped(&self, reason: &StopReason) -> Failure {
        let failure = |message: String| Failure::new(stopped(reason), message);
        let (why, failure) = match reason {
            StopReason::NotRecorded { count, first } => return self.not_recorded(*count, first),
            StopReason::Environment { model, error } => {
                let failure = failure(format!("model `{model}`: {}", error.message)).help_if(advice(&error.kind));
                ("stopped".to_owned(), failure)
            }
            StopReason::Failed => ("stopped".to_owned(), failure("a part of the engine failed".to_owned())),
            reason => (stopped_by(reason), Failure::shown(stopped(reason))),
        };
        failure.note(format!("{why}; every finished call is kept. To continue: {}", self.again()))
    }

    /// The exit code of a finished run.
    fn finished(&self, plan: &Plan, outcome: &Outcome, terminal: &Terminal) -> Exit {
        let totals = |i: TableId| outcome.manifest.stages.get(plan.spec.stage(i).name.as_str());
        if plan.stages().filter_map(totals).any(|totals| totals.counts.failed > 0) {
            terminal.note(&format!("to retry the failed rows: {}", self.again()));
        }
        let too_many = |i: TableId| {
            let most = plan.spec.stage(i).max_failed;
            totals(i).is_some_and(|totals| totals.counts.failed > most.map_or(0, |most| most.of(totals.rows)))
        };
        if plan.stages().any(too_many) { Exit::Failed } else { Exit::Ok }
    }

    /// The calls that a replay file lacks.
    fn not_recorded(&self, total: u64, first: &[MissingCall]) -> Failure {
        let file = self.replay.as_deref().unwrap_or(Path::new("")).display();
        let message = format!("{file} lacks {} of this run", count(total, "call"));
        Failure::new(Exit::NotRecorded, message)
            .help(
                "use the spec and the rows of the recorded run, or send the missing calls with `--replay-mode prefer`",
            )
            .note(missing_calls(total, first))
    }

    /// The command that continues the run.
    fn again(&self) -> String {
        let mut command = format!("fanfold run {}", self.spec.display());
        for stage in &self.select {
            command.push_str(&format!(" --select {stage}"));
        }
        if let Some(limit) = self.limit {
            command.push_str(&format!(" --limit {limit}"));
        }
        if let Some(file) = &self.replay {
            let mode = if self.replay_mode == ReplayMode::Prefer { " --replay-mode prefer" } else { "" };
            command.push_str(&format!(" --replay {}{mode}", file.display()));
        }
        for (flag, set) in [(" --locked", self.locked), (" --update-lock", self.update_lock)] {
            command.push_str(if set { flag } else { "" });
        }
        command
    }
}

/// Why a run stopped, if nothing went wrong.
fn stopped_by(reason: &StopReason) -> String {
    match reason {
        StopReason::TooManyFailed { stage, failed, allowed } => {
            format!(
                "stopped: {failed} rows of stage `{stage}` failed, more than the {allowed} that `max_failed` allows"
            )
        }
        StopReason::BudgetSpent { what } => {
            format!("stopped: the next call might use more `{what}` than the budget has left")
        }
        _ => "stopped".to_owned(),
    }
}
