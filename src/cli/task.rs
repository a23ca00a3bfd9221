//! The command `fanfold task`.

use std::path::PathBuf;
use std::time::Duration;

use chrono::Local;

use super::runtime::{block_on, env};
use super::signals::{self, stopped};
use super::{Exit, Failure, Terminal, progress};
use crate::report::stop::{alike_message, limited_until};
use crate::report::text::{count, number};
use crate::run::{RunError, Share, Stop, StopReason, TaskError, Worked, WorkerId, check, thaw, work};
use crate::store::{Project, WorkerRun};

/// Makes a part of a run that `fanfold run --on` has frozen. Engines such as Slurm call it; it may be repeated.
///
/// A committed part sends nothing. Otherwise its rows are answered from what earlier attempts have recorded, then by calls.
#[derive(Debug, clap::Args)]
pub(crate) struct Task {
    /// The folder of the run, or its address on an object store.
    run: PathBuf,
    /// The stage.
    stage: String,
    /// The number of the part, from 0.
    #[arg(required_unless_present_any = ["worker", "check"], conflicts_with_all = ["worker", "check"])]
    part: Option<u64>,
    /// Make the parts of this worker, from 0, and then those that no worker has begun.
    #[arg(long, value_name = "NUMBER")]
    worker: Option<u64>,
    /// Only connect the models of the stage from this machine, and send nothing.
    #[arg(long, conflicts_with = "worker")]
    check: bool,
    /// Wait for parts of other workers that are not committed yet.
    #[arg(long, conflicts_with = "check")]
    wait: bool,
    /// The folder of the run of the command that started this one. Stop as after a signal when standard input ends, which
    /// is when that command ends, and keep others out of the folder until then.
    #[arg(long, value_name = "FOLDER", hide = true)]
    child_of: Option<PathBuf>,
    /// Write nothing but errors to standard error.
    #[arg(short, long, conflicts_with = "log")]
    quiet: bool,
}

/// The time between two looks for the parts of other workers.
const PAUSE: Duration = Duration::from_secs(3);

impl Task {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let run = WorkerRun::open(&self.run)?;
        if self.check {
            return self.connect(&run, terminal);
        }
        let _held = self.child_of.as_deref().map(Project::hold_as_worker).transpose()?;
        let share = match (self.part, self.worker.unwrap_or_default()) {
            (Some(part), _) => Share::Part(part),
            (None, number) => Share::Worker(WorkerId { number, of: thaw(&run)?.frozen.workers.into() }),
        };
        if let Share::Worker(WorkerId { number, of }) = share
            && number >= of
        {
            let message = format!("there is no worker {number}: the plan has workers 0 to {}", of - 1);
            return Err(Failure::new(Exit::Spec, message));
        }
        let worked = block_on(async {
            let stop = Stop::default();
            let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
            if self.child_of.is_some() {
                signals::watch_input(stop.clone(), *terminal);
            }
            let worked = loop {
                match self.make(&run, share, &stop, terminal).await {
                    Err(TaskError::Run(RunError::MissingPart { .. })) if self.wait && !stop.is_draining() => {
                        let _ = stop.unless_draining(tokio::time::sleep(PAUSE)).await;
                    }
                    worked => break worked,
                }
            };
            signals.abort();
            Ok(worked?)
        })?;
        if let Some(totals) = worked.totals.filter(|_| !self.quiet) {
            let (sent, known) = (count(totals.attempts, "request"), number(worked.recalled));
            terminal.note(&format!("{}: {sent} sent, {known} of earlier attempts found", self.stage));
        }
        worked.stopped.map_or(Ok(Exit::Ok), |reason| Err(failure(&reason)))
    }

    async fn make(&self, run: &WorkerRun, share: Share, stop: &Stop, terminal: &Terminal) -> Result<Worked, TaskError> {
        let mut shown = None;
        let started = |progress| {
            if !self.quiet {
                shown = Some(tokio::spawn(progress::show(progress, || None, *terminal)));
            }
        };
        let worked = work(thaw(run)?, &self.stage, share, &env, (stop.clone(), started)).await;
        if let Some(shown) = shown {
            shown.abort();
            let _ = shown.await;
        }
        worked
    }

    /// Connects the models of the stage from this machine.
    fn connect(&self, run: &WorkerRun, terminal: &Terminal) -> Result<Exit, Failure> {
        let thawed = thaw(run)?;
        let models = block_on(async { Ok(check(thawed, &self.stage, &env).await?) });
        let note = "nothing was sent; compute nodes often have no way out: start a server in `cluster.before`, or ask for access";
        models.map_err(|failure: Failure| failure.note(note))?.iter().for_each(|model| terminal.note(model));
        Ok(Exit::Ok)
    }
}

fn failure(reason: &StopReason) -> Failure {
    let message = match reason {
        StopReason::Interrupted | StopReason::Terminated => "stopped; every finished call is kept".to_owned(),
        StopReason::TooManyFailed { stage, failed, allowed } => {
            format!("{failed} rows of stage `{stage}` failed, more than the {allowed} that `max_failed` allows")
        }
        StopReason::Environment { model, error } => format!("model `{model}`: {}", error.message),
        StopReason::LimitedUntil { model, until, error } => {
            format!("model `{model}`: {}", limited_until(*until, Local::now(), &error.message))
        }
        StopReason::FailedAlike { first, failure } => alike_message(first, failure),
        StopReason::BudgetSpent { limit } => format!("this worker has spent its share of `budget.{}`", limit.what),
        StopReason::BuildChanged(changes) => {
            let names: Vec<String> = changes.iter().map(|change| format!("`{}`", change.model)).collect();
            format!("model {} changed on its server", names.join(", "))
        }
        StopReason::NotRecorded { .. } | StopReason::Left { .. } | StopReason::Failed => {
            "a part of the engine failed".to_owned()
        }
    };
    Failure::new(stopped(reason), message)
}
