//! `fanfold run`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;

use super::exit::Exit;
use super::ledger::{damaged, failed_ledger};
use super::load::load_or_show;
use super::locking::{Keeper, Mode};
use super::plan::{self, show};
use super::status::Format;
use super::terminal::Terminal;
use super::{progress, signals, standing};
use crate::lock::{self, ModelFacts};
use crate::models::ConnectError;
use crate::plan::{Plan, Selection};
use crate::provider::CallErrorKind;
use crate::report::{preview, summary};
use crate::run::{self, MissingCall, Outcome, Progress, Recall, ReplayMode, RunError, Stop, StopReason};
use crate::spec::Spec;
use crate::store::{Project, RunDir, StoreError};

/// Runs a spec: asks what the ledger doesn't know, writes the outputs.
///
/// Run it again to go on after a stop or to try failed rows again; what is answered is never asked twice. `fanfold test`
/// says whether the tables are what the spec's tests want.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Only the first N rows of each source.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only this stage and what it reads; can be given several times.
    #[arg(long, value_name = "STAGE")]
    select: Vec<String>,
    /// Only show what would be done (the same as `fanfold plan`).
    #[arg(short = 'n', long, conflicts_with = "replay")]
    dry_run: bool,
    /// Answer the calls from this file of `fanfold ledger export`.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// What is done about a call that is not in the file.
    #[arg(long, value_enum, default_value = "only", value_name = "MODE", requires = "replay")]
    replay_mode: OnMissing,
    /// Ask everything again; the old answers stay in the ledger as history.
    #[arg(long, conflicts_with_all = ["replay", "dry_run"])]
    fresh: bool,
    /// Change nothing: refuse to start if the lock beside the spec names another spec, input or model build (exit code 5).
    #[arg(long, conflicts_with_all = ["limit", "select"])]
    locked: bool,
    /// How the numbers of the run are shown: for people on standard error, or as JSON on standard output as well.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Write the lock anew, even if a model's build is not the one that it names.
    #[arg(long, conflicts_with_all = ["locked", "limit", "select"])]
    update_lock: bool,
}

/// What is done about a call that is not in a replay file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnMissing {
    /// The run ends with exit code 6; no network, no keys, no weights.
    Only,
    /// It is asked as usual.
    Prefer,
}

impl Run {
    /// The whole of a spec, answered from a replay file alone.
    pub fn replay(spec: &Path, file: &Path) -> Self {
        let (spec, replay) = (spec.to_owned(), Some(file.to_owned()));
        Run {
            spec,
            replay,
            replay_mode: OnMissing::Only,
            limit: None,
            select: Vec::new(),
            dry_run: false,
            locked: false,
            update_lock: false,
            fresh: false,
            format: Format::Human,
        }
    }

    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        let selection = Selection { stages: self.select.clone(), limit: self.limit };
        if self.dry_run {
            let lock = standing::lock_of(&self.spec, terminal);
            let format = if self.format == Format::Json { plan::Format::Json } else { plan::Format::Human };
            return show(spec, &selection, lock, 0, format, terminal);
        }
        let keeper = match Keeper::open(&self.spec, self.mode(), terminal) {
            Ok(keeper) => keeper,
            Err(exit) => return exit,
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                terminal.error(&format!("threads can't be started: {error}"), None);
                return Exit::Environment;
            }
        };
        let exit = runtime.block_on(self.carry_out(spec, selection, &keeper, terminal));
        // Calls that were dropped may still wait for their sockets; nobody needs to wait for them.
        runtime.shutdown_background();
        exit
    }

    /// What the run may do about the lock.
    fn mode(&self) -> Mode {
        match (self.locked, self.update_lock, self.limit.is_some() || !self.select.is_empty()) {
            (true, ..) => Mode::Locked,
            (_, true, _) => Mode::Update,
            (_, _, true) => Mode::Aside,
            _ => Mode::Follow,
        }
    }

    async fn carry_out(&self, spec: Spec, selection: Selection, keeper: &Keeper, terminal: &Terminal) -> Exit {
        let started = Instant::now();
        let project = Project::of(&spec.folder);
        let allowed: Vec<_> = spec.stages().map(|(_, s)| (s.name.to_string(), s.max_failed)).collect();
        let mode = match self.replay_mode {
            OnMissing::Only => ReplayMode::Only,
            OnMissing::Prefer => ReplayMode::Prefer,
        };
        let recall = match self.replay.as_deref() {
            Some(file) => Recall::Replay(file, mode),
            None if self.fresh => Recall::Fresh,
            None => Recall::Ledger,
        };
        let ready = match run::prepare(spec, &selection, project.clone(), recall) {
            Ok(ready) => ready,
            Err(error) => return failed(&error, terminal),
        };
        let env = |name: &str| std::env::var(name).ok();
        let models = ready.connect(&env);
        let stop = Stop::default();
        let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
        let models = tokio::select! {
            models = models => models,
            () = stop.draining() => {
                terminal.note("stopped before the first call");
                return stopped_code(&stop.reason().unwrap_or(StopReason::Interrupted));
            }
        };
        let models = match models {
            Ok(models) => models,
            Err(error) => return no_models(&error, terminal),
        };
        if let Err(exit) = keeper.check(&lock::before(&ready.plan, &ModelFacts::all(&models)), terminal) {
            return exit;
        }
        for i in ready.plan.stages() {
            let stage = ready.plan.spec.stage(i);
            let models = stage.model_names.join(", ");
            let known = ready.plan.rows(stage.input).zip(ready.plan.calls(i));
            terminal.note(&match known {
                Some((rows, calls)) => {
                    let (rows, calls) = (summary::count(rows, "row"), summary::count(calls, "call"));
                    let most = if stage.packs() { "at best" } else { "at most" };
                    format!("{}: {rows}, {most} {calls} of {models}", stage.name)
                }
                None => format!("{}: rows that depend on answers, asked of {models}", stage.name),
            });
        }
        let (plan, folder) = (ready.plan.clone(), ready.dir.clone());
        let counters = Arc::new(Progress::new(&ready.plan));
        let shown = tokio::spawn(progress::show(counters.clone(), models.preparing(), *terminal));
        let outcome = run::run(ready, models, counters, stop).await;
        shown.abort();
        signals.abort();
        let _ = shown.await;
        match outcome {
            Err(error) => failed(&error, terminal),
            Ok(outcome) => {
                let calls = folder.calls();
                let (elapsed, calls) = (started.elapsed(), calls.display().to_string());
                let text = summary::summary(&outcome.manifest, elapsed, &calls);
                terminal.note(text.trim_end());
                if self.format == Format::Json {
                    let numbers = summary::summary_json(&outcome.manifest, elapsed, &calls);
                    terminal.json(&format!("{numbers:#}\n"));
                }
                if outcome.stopped.is_none() {
                    first_rows(&plan, &folder, terminal);
                }
                self.ended(&outcome, &allowed, keeper, terminal)
            }
        }
    }

    /// Says why it stopped, if it did, and how to go on.
    fn ended(
        &self,
        outcome: &Outcome,
        allowed: &[(String, Option<crate::spec::MaxFailed>)],
        keeper: &Keeper,
        terminal: &Terminal,
    ) -> Exit {
        let again = self.again();
        if let Some(StopReason::NotRecorded { count, first }) = &outcome.stopped {
            return self.not_recorded(*count, first, terminal);
        }
        if let Some(reason) = &outcome.stopped {
            let why = match reason {
                StopReason::Interrupted | StopReason::Terminated => "stopped".to_owned(),
                StopReason::TooManyFailed { stage, failed, allowed } => {
                    format!(
                        "stopped: {failed} rows of stage `{stage}` failed, more than the {allowed} that `max_failed` allows"
                    )
                }
                StopReason::Environment { model, error } => {
                    terminal.error(&format!("model `{model}`: {}", error.message), hint(&error.kind));
                    "stopped".to_owned()
                }
                StopReason::BudgetSpent { what } => {
                    format!("stopped: the next call might take more `{what}` than the budget has left")
                }
                StopReason::Failed | StopReason::NotRecorded { .. } => {
                    terminal.error("a part of the engine failed", None);
                    "stopped".to_owned()
                }
            };
            terminal.note(&format!("{why}; every finished call is kept. To go on: {again}"));
            return stopped_code(reason);
        }
        let mut exit = keeper.end(outcome.lock.as_ref(), terminal);
        for (name, totals) in &outcome.manifest.stages {
            let most = allowed.iter().find(|(stage, _)| stage == name).and_then(|(_, most)| *most);
            if exit == Exit::Ok && totals.counts.failed > most.map_or(0, |most| most.of(totals.rows)) {
                exit = Exit::Failed;
            }
        }
        if outcome.manifest.stages.values().any(|totals| totals.counts.failed > 0) {
            terminal.note(&format!("to try the failed rows again: {again}"));
        }
        exit
    }

    /// Says which calls a replay lacked.
    fn not_recorded(&self, count: u64, first: &[MissingCall], terminal: &Terminal) -> Exit {
        let file = self.replay.as_deref().unwrap_or(Path::new("")).display().to_string();
        let calls = summary::count(count, "call");
        terminal.error(
            &format!("{file}: {calls} of this run {} not in it", if count == 1 { "is" } else { "are" }),
            Some("the spec or its rows are not those of the recorded run; `--replay-mode prefer` asks for what is missing"),
        );
        for MissingCall { stage, row, model } in first {
            terminal.note(&format!("  row {row}, stage {stage}, model {model}"));
        }
        if count > first.len() as u64 {
            terminal.note(&format!("  and {} more", summary::number(count - first.len() as u64)));
        }
        terminal.note("no table was written");
        Exit::NotRecorded
    }

    /// The command that goes on.
    fn again(&self) -> String {
        let mut command = format!("fanfold run {}", self.spec.display());
        for stage in &self.select {
            command.push_str(&format!(" --select {stage}"));
        }
        if let Some(limit) = self.limit {
            command.push_str(&format!(" --limit {limit}"));
        }
        if let Some(file) = &self.replay {
            let mode = if self.replay_mode == OnMissing::Prefer { " --replay-mode prefer" } else { "" };
            command.push_str(&format!(" --replay {}{mode}", file.display()));
        }
        for (flag, set) in [(" --locked", self.locked), (" --update-lock", self.update_lock)] {
            command.push_str(if set { flag } else { "" });
        }
        command
    }
}

/// Shows the first rows of every stage whose table was written; what can't be read is not shown.
fn first_rows(plan: &Plan, folder: &RunDir, terminal: &Terminal) {
    let mut shown = Vec::new();
    for output in plan.outputs() {
        let output = &plan.spec.outputs[output];
        let Some(stage) = plan.spec.table(output.input).as_stage() else { continue };
        let Some(part) = folder.committed(stage.name.as_str(), 0).filter(|_| !shown.contains(&output.input)) else {
            continue;
        };
        let rows = part.table.read(0, preview::ROWS, preview::ROWS as usize).ok().and_then(|mut rows| rows.next());
        let Some(Ok(rows)) = rows else { continue };
        let told = summary::count(rows.num_rows() as u64, "row");
        let table = preview::preview(&plan.spec, stage, &rows, terminal.width());
        terminal.note(&format!("\n{}, the first {told}:\n{}", output.path, table.trim_end()));
        shown.push(output.input);
    }
}

fn stopped_code(reason: &StopReason) -> Exit {
    match reason {
        StopReason::Interrupted => Exit::Interrupted,
        StopReason::Terminated => Exit::Terminated,
        StopReason::TooManyFailed { .. } => Exit::Failed,
        StopReason::BudgetSpent { .. } => Exit::Budget,
        StopReason::NotRecorded { .. } => Exit::NotRecorded,
        StopReason::Environment { .. } | StopReason::Failed => Exit::Environment,
    }
}

fn hint(kind: &CallErrorKind) -> Option<&'static str> {
    match kind {
        CallErrorKind::Unauthorized => Some("check the key in the variable that `api_key_env` names"),
        CallErrorKind::QuotaExhausted => {
            Some("the account has no quota left; once it has some again, the same run goes on from here")
        }
        CallErrorKind::Rejected => {
            Some("nothing but this was said to the first rows, so no row is likely to fare better")
        }
        CallErrorKind::Unavailable { .. } | CallErrorKind::Timeout => {
            Some("the server is down; when it answers again, the same run goes on from here")
        }
        _ => None,
    }
}

/// Shows an error of the engine.
pub fn failed(error: &RunError, terminal: &Terminal) -> Exit {
    let (help, exit) = match error {
        RunError::Plan(crate::plan::PlanError::UnknownStage { near, .. }) => {
            (near.as_ref().map(|near| format!("did you mean `{near}`?")), Exit::Spec)
        }
        RunError::Plan(crate::plan::PlanError::Source { error, .. })
        | RunError::Store(StoreError::Source { error, .. }) => (error.help.clone(), Exit::Spec),
        RunError::Store(StoreError::Locked { .. }) => (Some("wait for it, or stop it".to_owned()), Exit::Environment),
        RunError::Store(StoreError::Cleaning) => (Some("run again when it has ended".to_owned()), Exit::Environment),
        RunError::Store(error) => (damaged(error), Exit::Environment),
        RunError::Reshape { .. } => (None, Exit::Spec),
        RunError::Died(_) => (None, Exit::Environment),
    };
    terminal.error(&error.to_string(), help.as_deref());
    exit
}

/// Shows why a model can't be asked.
pub fn no_models(error: &ConnectError, terminal: &Terminal) -> Exit {
    let help = match error {
        ConnectError::Environment { help, .. } => help.as_deref(),
        ConnectError::Server { error, .. } => hint(&error.kind),
        ConnectError::Ledger(error) => return failed_ledger(error, terminal),
    };
    terminal.error(&error.to_string(), help);
    terminal.note("nothing was sent");
    Exit::Environment
}
