//! The command `fanfold run`.

use std::path::{Path, PathBuf};

use chrono::Local;
use serde_json::json;

use super::batches::left;
use super::diff::Diff;
use super::error::advice;
use super::load::{load_again, load_lock, load_spec_with};
use super::on::{Made, OnArguments};
use super::output::write_json;
use super::plan::{PlanFormat, show};
use super::recorded::{add_recorded, replay_of_clone};
use super::runtime::{self, block_on, env};
use super::selection::SelectionArguments;
use super::serve::Live;
use super::signals::{self, stopped};
use super::terminal::{Notes, typed};
use super::{Exit, Failure, OutputFormat, Terminal, only_spec, progress};
use crate::inventory::check_files;
use crate::lock::{Drift, LockChange, LockFailure, LockMode};
use crate::models::BuildChange;
use crate::pipeline::{self, Options, PipelineError, Ready, Report, Started};
use crate::plan::Selection;
use crate::preview::Request;
use crate::report::drift;
use crate::report::money::{cost_and_time, limit_reached, question, warnings};
use crate::report::preview::first_rows;
use crate::report::stop::{alike, alike_help, alike_message, limited_until};
use crate::report::summary::{announcements, missing_calls, start_event};
use crate::report::text::{count, number};
use crate::report::wait::line;
use crate::run::{MissingCall, Recall, ReplayMode, Stop, StopReason};
use crate::spec::{Budget, Spec, Unwritten, load};

/// Runs a pipeline: reuses the answers that are recorded, asks (and pays) for the others, and writes the outputs.
///
/// Run it again to continue a stopped run or to retry failed rows. Finished calls are never repeated. `fanfold test`
/// checks the tables against the tests of the spec.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Run {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    #[command(flatten)]
    selected: SelectionArguments,
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
    #[arg(long, conflicts_with_all = ["some_rows", "select", "set", "source"])]
    locked: bool,
    /// Format of the summary: text on standard error, or in addition JSON on standard output.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
    /// Send N calls, drawn at random from those to send, record them, show the plan with what they cost, and stop.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    #[arg(conflicts_with_all = ["replay", "dry_run", "fresh", "locked", "update_lock"])]
    pilot: Option<u64>,
    /// Do not ask before calls that cost more than `confirm_above` of the budget.
    #[arg(short, long)]
    yes: bool,
    /// Write nothing but errors to standard error.
    #[arg(short, long, conflicts_with_all = ["verbose", "log"])]
    quiet: bool,
    /// Show the whole summary, also of a run that sent nothing.
    #[arg(short, long, conflicts_with = "log")]
    verbose: bool,
    /// Show progress, failures and the report at an address of this machine, until Ctrl-C [default: a free port].
    #[arg(long, value_name = "PORT", num_args = 0..=1, conflicts_with_all = ["dry_run", "pilot"])]
    serve: Option<Option<u16>>,
    /// Open the page of `--serve` in the browser.
    #[arg(long, requires = "serve")]
    open: bool,
    /// Rewrite the lock, even if a model build differs from it.
    #[arg(long, conflicts_with_all = ["locked", "some_rows", "select", "set", "source"])]
    update_lock: bool,
    #[command(flatten)]
    on: OnArguments,
}

impl Run {
    pub(crate) fn of(spec: PathBuf, selected: SelectionArguments, yes: bool) -> Self {
        Run { spec, selected, yes, ..Run::default() }
    }

    pub(crate) fn replay(spec: &Path, file: &Path) -> Self {
        Run { spec: spec.to_owned(), replay: Some(file.to_owned()), ..Run::default() }
    }

    /// Runs without a report. Returns `None` if the run finished and its tables are those of the lock.
    pub(crate) fn quietly(self, terminal: &Terminal) -> Result<(), Failure> {
        let spec = load_spec_with(&self.spec, &self.selected.changes(&self.spec), terminal)?;
        let (report, _) = self.execute(spec, self.recall(), None, None)?;
        match (&report.stopped, &report.lock) {
            (Some(reason), _) => Err(self.stopped(reason, &report.plan.spec.budget)),
            (None, Err(failure)) => Err(self.not_locked(failure, &report, terminal)),
            (None, Ok(_)) => Ok(()),
        }
    }

    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let notes = if self.quiet { Notes::None } else { terminal.notes };
        let terminal = Terminal { notes, ..*terminal };
        let mut live = None;
        let ended = self.start(&terminal, &mut live);
        if notes != Notes::Json && live.is_none() {
            return ended;
        }
        let why = match &ended {
            Err(failure) => failure.text(),
            Ok(Exit::Failed) => format!("more rows failed than `max_failed` allows. To retry them: {}", self.retry()),
            Ok(_) => String::new(),
        };
        let exit = ended.unwrap_or_else(|failure| failure.show(&terminal));
        if notes == Notes::Json {
            terminal.event(json!({ "event": "end", "exit": exit as u8 }));
        }
        live.map_or(Ok(()), |live| live.end(exit, why, &terminal))?;
        Ok(exit)
    }

    /// Runs. Sets `live` if the run is shown in the browser.
    fn start(&self, terminal: &Terminal, live: &mut Option<Live>) -> Result<Exit, Failure> {
        runtime::check()?;
        if self.fresh && self.on.on.is_some() {
            let message = "workers can't ask everything again: the ledger would keep the earlier answers, not theirs";
            let help = "leave out `--on`; or run it with `--on` in a copy of the folder without `.fanfold`";
            return Err(Failure::new(Exit::Spec, message).help(help));
        }
        let selection = self.selected.selection(&self.spec);
        if let Some(on) = self.on.on.filter(|_| self.dry_run) {
            let spec = load_spec_with(&self.spec, &self.selected.changes(&self.spec), terminal)?;
            return self.on.show_script(on, &self.prepare(spec, self.recall())?, &self.spec, terminal);
        }
        if self.dry_run {
            let json = self.format == OutputFormat::Json;
            let format = if json { PlanFormat::Json } else { PlanFormat::Human };
            return show(&self.spec, Request { selection: Some(&selection), ..Request::default() }, format, terminal);
        }
        if let Some(calls) = self.pilot {
            return self.send_pilot(&selection, calls, terminal);
        }
        let mut spec = self.load_worded(terminal)?;
        *live = self.serve.map(|port| Live::start((&spec, &self.spec), port, self.open, terminal)).transpose()?;
        // A missing model does no harm if every answer is recorded.
        let notes = check_files(&spec, &env).into_iter().filter(|problem| problem.rule == "unused-modelfile");
        notes.for_each(|note| terminal.note(&format!("note: {}", note.message)));
        if matches!(self.recall(), Recall::Ledger) {
            if let Some(file) = replay_of_clone(&spec)? {
                let shown = file.display();
                terminal.note(&format!("{shown} has the calls of this spec: they are not sent again"));
                let (report, waits) =
                    self.execute(spec, Recall::Replay(&file, ReplayMode::Only), Some(terminal), live.as_ref())?;
                let Some(StopReason::NotRecorded { count: missing, .. }) = &report.stopped else {
                    return self.show(&report, &waits, terminal);
                };
                let missing = count(*missing, "call");
                spec = load_again(&self.spec, &self.selected.changes(&self.spec))?;
                add_recorded(&spec, terminal)?;
                let cost = self.cost(&selection, terminal)?;
                terminal.note(&format!("{shown} lacks {missing} of this run, which are sent: {cost}"));
            }
            add_recorded(&spec, terminal)?;
        }
        if !self.is_confirmed(spec.budget.confirm_above, &selection, terminal)? {
            terminal.note("nothing was sent");
            return Ok(Exit::Budget);
        }
        if let Some(on) = self.on.on {
            let changes = self.selected.changes(&self.spec);
            let prepare = || {
                let spec = load::load_with(&self.spec, &changes)?.spec;
                self.prepare(spec.ok_or(PipelineError::Stopped(StopReason::Failed))?, self.recall())
            };
            if self.on.make_parts(on, &self.spec, prepare, terminal)? == Made::Left {
                return Ok(Exit::Ok);
            }
        }
        let (report, waits) = self.execute(spec, self.recall(), Some(terminal), live.as_ref())?;
        self.show(&report, &waits, terminal)
    }

    /// Loads the spec. Lets models write the wordings of prompts that it lacks.
    fn load_worded(&self, terminal: &Terminal) -> Result<Spec, Failure> {
        let changes = self.selected.changes(&self.spec);
        let spec = load_spec_with(&self.spec, &changes, terminal)?;
        if spec.unwritten.is_empty() || self.locked || matches!(self.recall(), Recall::Replay(_, ReplayMode::Only)) {
            return Ok(spec);
        }
        for Unwritten { stage, model, n, .. } in &spec.unwritten {
            terminal.note(&format!("`{model}` writes {} of the prompt for `{stage}`", count(*n as u64, "wording")));
        }
        let (budget, stop) = (spec.budget, Stop::default());
        let written = block_on(async {
            let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
            let written = pipeline::paraphrase(spec, &self.spec, &env, stop.clone()).await;
            signals.abort();
            Ok(written)
        })?;
        match written {
            Err(PipelineError::Stopped(reason)) => Err(self.stopped(&reason, &budget)),
            written => {
                written?;
                load_again(&self.spec, &changes)
            }
        }
    }

    fn prepare(&self, spec: Spec, recall: Recall<'_>) -> Result<Ready, PipelineError> {
        let selection = self.selected.selection(&self.spec);
        Ready::new(spec, &self.spec, &Options { selection, recall, lock: self.lock_mode() })
    }

    fn recall(&self) -> Recall<'_> {
        match self.replay.as_deref() {
            Some(file) => Recall::Replay(file, self.replay_mode),
            None if self.fresh => Recall::Fresh,
            None => Recall::Ledger,
        }
    }

    /// What the calls that are not recorded will cost.
    fn cost(&self, selection: &Selection, terminal: &Terminal) -> Result<String, Failure> {
        let request = Request { selection: Some(selection), ..Request::default() };
        let (spec, lock) =
            (load_again(&self.spec, &self.selected.changes(&self.spec))?, load_lock(&self.spec, terminal));
        Ok(cost_and_time(&pipeline::plan_against(spec, lock, request, &env)?.forecast.amounts()))
    }

    /// Runs, and shows the progress on `terminal`. Also returns what held back calls at the end.
    fn execute(
        &self,
        spec: Spec,
        recall: Recall<'_>,
        terminal: Option<&Terminal>,
        live: Option<&Live>,
    ) -> Result<(Report, Vec<String>), Failure> {
        let mut ready = self.prepare(spec, recall)?;
        if self.on.on.is_some() {
            ready.keep_failed();
        }
        if self.on.leaves_batches() {
            if ready.spec().endpoints.values().all(|endpoint| endpoint.endpoint.batch().is_none()) {
                let help = "add `--on`, or `batch = true` to a provider";
                return Err(
                    Failure::new(Exit::Spec, "`--detach` leaves workers or batches, and this run has none").help(help)
                );
            }
            ready.leave_batches();
        }
        match terminal {
            Some(terminal) => block_on(watched(ready, terminal, live)),
            None => block_on(async { Ok((ready.run(&env, Stop::default(), |_| {}).await?, Vec::new())) }),
        }
    }

    /// Asks whether to send calls that are expected to cost more than `most` US dollars, if there is a terminal.
    fn is_confirmed(&self, most: Option<f64>, selection: &Selection, terminal: &Terminal) -> Result<bool, Failure> {
        let Some(most) = most.filter(|_| terminal.can_ask() && !self.yes) else { return Ok(true) };
        if self.replay.is_some() && self.replay_mode == ReplayMode::Only {
            return Ok(true);
        }
        let request = Request { selection: Some(selection), fresh: self.fresh, ..Request::default() };
        let spec = load_spec_with(&self.spec, &self.selected.changes(&self.spec), terminal)?;
        let plan = pipeline::plan_against(spec, load_lock(&self.spec, terminal), request, &env)?;
        let Some(question) = question(&plan.forecast.amounts(), most) else { return Ok(true) };
        warnings(&plan.forecast, &plan.preview.plan.spec.budget).iter().for_each(|line| terminal.note(line));
        Ok(terminal.ask(&question))
    }

    fn send_pilot(&self, selection: &Selection, calls: u64, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = self.load_worded(terminal)?;
        let budget = spec.budget;
        let lock = load_lock(&self.spec, terminal);
        let stop = Stop::default();
        let piloted = block_on(async {
            let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
            let piloted = pipeline::pilot(spec, lock, (selection, calls as usize), &env, stop.clone()).await;
            signals.abort();
            Ok(piloted?)
        })?;
        let sent = piloted.answered + piloted.failed.len() as u64;
        let failed = piloted
            .failed
            .first()
            .map_or(String::new(), |first| format!(", {} failed: {first}", number(piloted.failed.len() as u64)));
        let left = match piloted.left {
            0 => String::new(),
            left => format!(", {} in a batch that has not ended", count(left, "call")),
        };
        let more = match piloted.requests > sent {
            true => format!(", with {} in all", count(piloted.requests, "request")),
            false => String::new(),
        };
        terminal.note(&format!("pilot: {} sent{more}{failed}{left}", count(sent, "call")));
        if let Some(reason) = &piloted.stopped {
            return Err(self.stopped(reason, &budget));
        }
        let json = self.format == OutputFormat::Json;
        let format = if json { PlanFormat::Json } else { PlanFormat::Human };
        show(&self.spec, Request { selection: Some(selection), ..Request::default() }, format, terminal)?;
        Ok(if piloted.answered == 0 && sent > 0 { Exit::Failed } else { Exit::Ok })
    }

    fn lock_mode(&self) -> LockMode {
        match (self.locked, self.update_lock) {
            (true, _) => LockMode::Locked,
            (_, true) => LockMode::Update,
            _ => LockMode::Follow,
        }
    }

    fn show(&self, report: &Report, waits: &[String], terminal: &Terminal) -> Result<Exit, Failure> {
        let is_quiet = report.summary.is_quiet() && !self.verbose;
        terminal.note(report.summary.text(self.verbose).trim_end());
        if self.format == OutputFormat::Json {
            write_json(&report.summary, terminal);
        }
        if let Some(reason) = &report.stopped {
            if matches!(reason, StopReason::Interrupted | StopReason::Terminated) {
                waits.iter().for_each(|wait| terminal.note(&format!("when it was stopped: {wait}")));
            }
            left(&report.plan.spec, &self.spec, terminal);
            return Err(self.stopped(reason, &report.plan.spec.budget));
        }
        if !is_quiet {
            let rows = first_rows(&report.plan, &report.folder, terminal.width());
            rows.iter().for_each(|rows| terminal.note(rows));
        }
        if report.has_failed_rows() {
            terminal.note(&format!("to retry the failed rows: {}", self.retry()));
        }
        let files = || report.summary.files().iter().for_each(|file| terminal.note(file));
        let lock = report.lock.as_ref().inspect_err(|_| files());
        match lock.map_err(|failure| self.not_locked(failure, report, terminal))? {
            LockChange::Unchanged => {}
            LockChange::Reported(path, changed) => {
                let lines = drift::lines(changed, "  ");
                terminal.note(&format!(
                    "{} still holds, but not all is as it was:\n{}",
                    path.display(),
                    lines.trim_end()
                ));
            }
            LockChange::Ignored(path) => {
                let ran = self.selected.words(&self.spec);
                if report.summary.manifest.stages.values().all(|totals| totals.rows == 0) {
                    terminal.note("warning: no source has these rows");
                }
                terminal.note(&format!(
                    "{ran}: the outputs have their own names; the outputs of full runs and {} are not written",
                    path.display()
                ));
            }
            LockChange::Created(path) => terminal.note(&format!("wrote {}", path.display())),
            LockChange::Updated(path, drift) => {
                let lines = if self.verbose { drift::lines(drift, "  ") } else { drift::grouped(drift, "  ") };
                terminal.note(&format!("updated {}:\n{}", path.display(), lines.trim_end()));
            }
        }
        files();
        if self.serve.is_none() && report.has_rows_to_code() {
            terminal.note(&format!("to code in the browser: fanfold report {} --serve", typed(&self.spec)));
        }
        if !report.has_too_many_failed_rows() {
            return Ok(Exit::Ok);
        }
        if self.quiet {
            let help = format!("to retry them: {}", self.retry());
            terminal.error("more rows failed than `max_failed` allows", Some(&help));
        }
        Ok(Exit::Failed)
    }

    /// The failure of the lock, after the differences between the tables and the files that they replaced.
    fn not_locked(&self, failure: &LockFailure, report: &Report, terminal: &Terminal) -> Failure {
        if !matches!(failure, LockFailure::Tables { .. }) {
            return failure.into();
        }
        for (before, now) in &report.summary.replaced {
            if let Ok(report) = Diff::between(before, now, terminal) {
                terminal.note(report.to_string().trim_end());
            }
        }
        Failure::from(failure).help(format!(
            "the lock has only hashes; to see which answers changed, make the recorded tables with `fanfold run {} --replay \
             FILE`, and compare them with `fanfold diff`",
            typed(&self.spec)
        ))
    }

    fn stopped(&self, reason: &StopReason, budget: &Budget) -> Failure {
        let failure = |message: String| Failure::new(stopped(reason), message);
        let (why, failure) = match reason {
            StopReason::NotRecorded { count, first } => return self.not_recorded(*count, first),
            StopReason::Left { calls } => {
                let left = count(*calls, "call");
                return Failure::shown(stopped(reason))
                    .note(format!("left {left} in batches. To go on: {}", self.again()));
            }
            StopReason::BuildChanged(changes) => return self.build_changed(changes),
            StopReason::Environment { model, error } => {
                let failure = failure(format!("model `{model}`: {}", error.message)).help_if(advice(&error.kind));
                ("stopped".to_owned(), failure)
            }
            StopReason::Failed => ("stopped".to_owned(), failure("a part of the engine failed".to_owned())),
            StopReason::LimitedUntil { model, until, error } => {
                let message = format!("model `{model}`: {}", limited_until(*until, Local::now(), &error.message));
                ("stopped".to_owned(), failure(message).help("run the same command again then"))
            }
            StopReason::FailedAlike { first, failure: error } => {
                let help = alike_help(error.kind, first);
                (alike(first), failure(alike_message(first, error)).help_if(help))
            }
            StopReason::BudgetSpent { limit } => {
                let failure = Failure::shown(stopped(reason));
                let raised = if limit.of_all_runs {
                    format!("raise `budget.total.{}`, then ", limit.what)
                } else {
                    String::new()
                };
                let why = limit_reached(*limit, budget);
                return failure
                    .note(format!("{why}; every finished call is kept. To continue: {raised}{}", self.again()));
            }
            reason => (stopped_by(reason), Failure::shown(stopped(reason))),
        };
        failure.note(format!("{why}; every finished call is kept. To continue: {}", self.again()))
    }

    fn not_recorded(&self, total: u64, first: &[MissingCall]) -> Failure {
        let file = self.replay.as_deref().unwrap_or(Path::new("")).display();
        let message = format!("{file} lacks {} of this run", count(total, "call"));
        let spec = self.spec.display();
        Failure::new(Exit::NotRecorded, message)
            .help(format!(
                "use the spec and the rows of the recorded run, or send the missing calls and save them: fanfold run {spec} \
                 --replay {file} --replay-mode prefer, then fanfold ledger export {spec} -o {file}"
            ))
            .about_stage(first.first().map(|call| call.stage.clone()))
            .note(missing_calls(total, first))
    }

    /// The command that asks about failed rows again. A replay that sends nothing would only repeat the failures.
    fn retry(&self) -> String {
        match self.replay_mode {
            ReplayMode::Only if self.replay.is_some() => format!("{} --replay-mode prefer", self.again()),
            _ => self.again(),
        }
    }

    fn build_changed(&self, changes: &[BuildChange]) -> Failure {
        let lines = changes.iter().map(|change| {
            let (model, retired) = (&change.model, count(change.retired as u64, "answer"));
            let drift: Vec<Drift> = change.facets().into_iter().map(|facet| Drift::of_build(model, facet)).collect();
            let changed = "changed on its server during the run; not used";
            format!("model `{model}` {changed}: {retired} since the last check\n{}", drift::lines(&drift, "  "))
        });
        let (spec, again) = (self.spec.display(), self.again());
        Failure::new(Exit::Lock, lines.collect::<String>().trim_end())
            .help(format!(
                "to ask the new build about all rows: fanfold run {spec} --update-lock\nto keep the earlier answers: \
                 restore the old build, then {again}"
            ))
            .note("no table was written; every answer before the last check is kept")
    }

    fn again(&self) -> String {
        let mut command = format!("fanfold run {}", typed(&self.spec));
        command.push_str(&self.selected.typed());
        if let Some(file) = &self.replay {
            let mode = if self.replay_mode == ReplayMode::Prefer { " --replay-mode prefer" } else { "" };
            command.push_str(&format!(" --replay {}{mode}", typed(file)));
        }
        command.push_str(&self.on.typed());
        for (flag, set) in [(" --locked", self.locked), (" --update-lock", self.update_lock)] {
            command.push_str(if set { flag } else { "" });
        }
        command
    }
}

/// Runs with a display of the progress. Also returns what held back calls at the end.
async fn watched(ready: Ready, terminal: &Terminal, live: Option<&Live>) -> Result<(Report, Vec<String>), Failure> {
    let stop = Stop::default();
    let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
    let mut shown = None;
    let report = ready.run(&env, stop.clone(), |started| {
        if let Some(live) = live {
            live.begin(&started, &stop);
        }
        let Started { plan, progress, preparing, .. } = started;
        match terminal.notes {
            Notes::Json => terminal.event(start_event(&plan)),
            _ => announcements(&plan).iter().for_each(|line| terminal.note(line)),
        }
        shown = Some((progress.clone(), tokio::spawn(progress::show(progress, move || preparing(), *terminal))));
    });
    let report = report.await;
    signals.abort();
    let mut waits = Vec::new();
    if let Some((progress, shown)) = shown {
        shown.abort();
        let _ = shown.await;
        if terminal.notes == Notes::Json {
            progress::Told::default().tell(&progress, terminal);
        }
        let (last, at) = progress.waits().shown();
        waits = last.iter().map(|wait| line(wait, at)).collect();
    }
    Ok((report?, waits))
}

fn stopped_by(reason: &StopReason) -> String {
    match reason {
        StopReason::TooManyFailed { stage, failed, allowed } => {
            format!(
                "stopped: {failed} rows of stage `{stage}` failed, more than the {allowed} that `max_failed` allows"
            )
        }
        _ => "stopped".to_owned(),
    }
}
