//! Pilots: send some sampled calls and record them, without writing a table. A later run does not repeat them.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::batch::{BatchWait, Batches};
use super::builds::{Builds, Occasion};
use super::call::{Admission, BudgetMeter, CallRequest, Endpoints};
use super::calls::Calls;
use super::error::RunError;
use super::lane::Lanes;
use super::progress::Progress;
use super::recorder::Recorder;
use super::spending::earlier_if_limited;
use super::stop::{Stop, StopReason};
use crate::ask::{Respondent, Terms};
use crate::models::Models;
use crate::plan::Plan;
use crate::prompt::{Failure, Prompt};
use crate::spec::TableId;
use crate::store::{Attempt, Leases, Project};

/// A call of a stage, for a pilot.
pub(crate) struct PilotCall {
    pub(crate) stage: TableId,
    pub(crate) who: Respondent,
    pub(crate) prompt: Arc<Prompt>,
}

/// The result of a pilot.
#[derive(Debug, Default)]
pub(crate) struct Piloted {
    pub(crate) answered: u64,
    pub(crate) failed: Vec<Failure>,
    /// The requests of these calls and of those that the end of the pilot stopped.
    pub(crate) requests: u64,
    /// The calls that are in batches at providers.
    pub(crate) left: u64,
    pub(crate) stopped: Option<StopReason>,
}

/// Asks calls without a run, and records them.
pub(super) struct Asking {
    pub(super) calls: Arc<Calls>,
    pub(super) lanes: Arc<Lanes>,
    recorder: Recorder,
    builds: Arc<Builds>,
}

impl Asking {
    /// `most` is the number of calls at the same time.
    pub(super) fn start(
        plan: &Plan,
        models: Models,
        (project, most): (&Project, usize),
        stop: Stop,
    ) -> Result<Asking, RunError> {
        let ledger = project.ledger();
        let endpoints = Endpoints::new(&plan.spec, &models, |_| false);
        let budget = BudgetMeter::new(plan.spec.budget, earlier_if_limited(&plan.spec, &ledger)?);
        let mut admission = Admission::new(&models, budget, endpoints, stop.clone());
        admission.set_batches(Batches::new(&ledger, None, stop.clone(), BatchWait::Never), &models);
        let builds = admission.builds.clone();
        let leases = Leases::of(&ledger);
        let recorder = Recorder::start(ledger, None, builds.clone(), stop, Attempt::default())?;
        let calls = Arc::new(Calls::new(models, admission, (recorder.clone(), leases), None));
        Ok(Asking { calls, lanes: Lanes::new(most), recorder, builds })
    }

    /// Waits until all calls are recorded. Returns the number of those that are in batches at providers.
    pub(super) async fn close(self) -> Result<u64, RunError> {
        let left = match self.calls.batches() {
            Some(batches) => batches.end().await,
            None => 0,
        };
        drop(self.calls);
        self.recorder.close().await?;
        self.builds.confirm(Occasion::End).await;
        Ok(left)
    }
}

/// Sends `calls` and records their answers in the ledger of `project`.
pub(crate) async fn pilot(
    plan: Arc<Plan>,
    models: Models,
    project: &Project,
    calls: Vec<PilotCall>,
    stop: Stop,
) -> Result<Piloted, RunError> {
    let _shared = project.share()?;
    let progress = Arc::new(Progress::new(&plan));
    let lanes: u64 = plan.stages().map(|id| plan.spec.stage(id)).map(|s| (s.workers * s.batch_size) as u64).sum();
    let most = lanes.clamp(1, calls.len().max(1) as u64) as usize;
    let asking = Asking::start(&plan, models, (project, most), stop.clone())?;
    let mut running = JoinSet::new();
    for call in calls {
        let (plan, asked, progress) = (plan.clone(), asking.calls.clone(), progress.clone());
        let lanes = asking.lanes.clone();
        running.spawn(async move {
            let PilotCall { stage: id, who, prompt } = call;
            let stage = plan.spec.stage(id);
            let model = stage.models[who.model];
            let target = asked.target(model);
            let lane = lanes.lane().await;
            let request = CallRequest {
                model,
                replicate: who.replicate,
                prompt: &prompt,
                key: target.key(&prompt, who.replicate),
                terms: Terms::new(stage, &target.fallback, target.context_size()),
                lane: &lane,
                is_first: true,
                fallback_of: None,
            };
            let finished = asked.look_up_or_ask(request, progress.stage(id)).await?;
            Some(finished.answer.map(|_| finished.from_ledger))
        });
    }
    let mut piloted = Piloted::default();
    while let Some(ended) = running.join_next().await {
        match ended.map_err(|died| RunError::Died(died.to_string()))? {
            // Equal rows share an answer.
            Some(Ok(from_ledger)) => piloted.answered += u64::from(!from_ledger),
            Some(Err(failure)) => piloted.failed.push(failure),
            None => {}
        }
    }
    if let Some((first, failure)) = asking.calls.failed_alike() {
        stop.drain(StopReason::FailedAlike { first, failure });
    }
    piloted.left = asking.close().await?;
    piloted.requests = plan.stages().map(|id| progress.totals(id).attempts).sum();
    piloted.stopped = stop.reason();
    Ok(piloted)
}
