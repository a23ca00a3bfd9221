//! The engine: executes a prepared plan with one driver per stage.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use indexmap::IndexMap;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::batch::{BatchWait, Batches};
use super::builds::{Builds, Occasion};
use super::call::{Admission, BudgetMeter, Cost, Counts, Endpoints};
use super::calls::Calls;
use super::error::RunError;
use super::job::Job;
use super::parts::Parts;
use super::prepare::{Ready, fresh_since};
use super::progress::Progress;
use super::recorder::Recorder;
use super::replay::Replay;
use super::spending::earlier_if_limited;
use super::stop::{Stop, StopReason};
use super::wait::Waits;
use super::{dispatch, outputs, transform};
use crate::lock::{self, Lock, ModelFacts};
use crate::models::{BuildChange, Models};
use crate::plan::{Plan, RowChoice};
use crate::spec::{StageSpec, TableId};
use crate::store::{
    self, Attempt, CallSpan, Leases, Ledger, Manifest, RefusalTotals, RunDir, SharedDir, Since, State, StoreError,
};

/// The time between two looks at what holds back calls.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) manifest: Manifest,
    pub(crate) stopped: Option<StopReason>,
    /// The lock of the run, perhaps with changed settings. `None` unless the run finished with all rows of all stages.
    pub(crate) lock: Option<Lock>,
}

pub(crate) async fn run(
    mut ready: Ready,
    models: Models,
    progress: Arc<Progress>,
    stop: Stop,
) -> Result<Outcome, RunError> {
    let before = ready.plan.has_all_rows().then(|| lock::before(&ready.plan, &ModelFacts::all(&models)));
    let mut manifest = begin(&ready, &models, before.as_ref().filter(|_| ready.plan.is_whole()))?;
    let inputs = parts(&mut ready);
    let Ready { plan, dir, replay, project, keep_replaced, .. } = &ready;
    let ledger = match replay.as_ref().filter(|replay| replay.is_only()) {
        Some(replay) => replay.no_ledger(),
        None => project.ledger(),
    };
    let is_replay = replay.as_ref().is_some_and(|replay| replay.is_only());
    let budget = match is_replay {
        true => BudgetMeter::new(plan.spec.budget, Cost::default()),
        false => BudgetMeter::new(plan.spec.budget, earlier_if_limited(&plan.spec, &ledger)?),
    };
    let (fresh_since, attempt) = (fresh_since(&manifest), Attempt::default());
    let waits = if ready.leaves_batches { BatchWait::None } else { BatchWait::Long };
    let records = Records { ledger, fresh_since, attempt, replay: replay.clone(), batches: Some(waits) };
    let session = Session::start(plan, models, budget, records, (&progress, &stop))?;
    let drivers = start(&ready, &inputs, session.calls.clone(), (&progress, &stop));
    let ended = session.end(drivers, dir, (&progress, &stop)).await?;
    let Ended { refusals, changes, builds, .. } = ended;
    manifest.refusals = refusals;
    manifest.workers = ready.workers;
    if !is_replay {
        manifest.models.iter_mut().for_each(|(name, model)| model.unchecked = builds.unchecked(name));
    }
    manifest.stages = plan.stages().map(|i| (plan.spec.stage(i).name.to_string(), progress.totals(i))).collect();
    if let Some(error) = ended.failed {
        end(&ready, &mut manifest, State::Stopped)?;
        return Err(error);
    }
    if let Some(replay) = replay.as_ref().filter(|replay| replay.is_incomplete()) {
        let (count, first) = replay.missing();
        stop.drain(StopReason::NotRecorded { count, first });
    }
    let stopped = if changes.is_empty() { stop.reason() } else { Some(StopReason::BuildChanged(changes)) };
    let mut lock = None;
    if stopped.is_none() {
        let (plan, dir, keep) = (plan.clone(), dir.clone(), *keep_replaced);
        let written = tokio::task::spawn_blocking(move || outputs::write(&plan, &dir, &inputs, before, keep));
        (manifest.outputs, lock) = written.await.map_err(|e| RunError::Died(e.to_string()))??;
        manifest.lock = lock.as_ref().filter(|_| ready.plan.is_whole()).map(Lock::to_json);
    }
    end(&ready, &mut manifest, if stopped.is_none() { State::Done } else { State::Stopped })?;
    Ok(Outcome { manifest, stopped, lock })
}

/// The recorded calls that drivers use, and where they record new ones.
pub(super) struct Records {
    pub(super) ledger: PathBuf,
    pub(super) fresh_since: Option<Since>,
    pub(super) attempt: Attempt,
    pub(super) replay: Option<Arc<Replay>>,
    /// How long batches are waited for; `None` if every call is sent at once.
    pub(super) batches: Option<BatchWait>,
}

/// What all drivers share, from the first call to the last record.
pub(super) struct Session {
    pub(super) calls: Arc<Calls>,
    recorder: Recorder,
    builds: Arc<Builds>,
    ledger: PathBuf,
    watcher: JoinHandle<()>,
}

/// What a session leaves.
pub(super) struct Ended {
    pub(super) failed: Option<RunError>,
    pub(super) refusals: IndexMap<String, RefusalTotals>,
    pub(super) changes: Vec<BuildChange>,
    pub(super) builds: Arc<Builds>,
}

impl Session {
    pub(super) fn start(
        plan: &Plan,
        models: Models,
        budget: BudgetMeter,
        Records { ledger, fresh_since, attempt, replay, batches }: Records,
        (progress, stop): (&Arc<Progress>, &Stop),
    ) -> Result<Session, RunError> {
        let may_all_fail = |stage: &StageSpec| stage.may_all_fail(plan.rows(stage.input));
        let endpoints = Endpoints::new(&plan.spec, &models, may_all_fail);
        let mut admission = Admission::new(&models, budget, endpoints, stop.clone());
        if let Some(waits) = batches {
            admission.set_batches(Batches::new(&ledger, fresh_since, stop.clone(), waits), &models);
        }
        let builds = admission.builds.clone();
        let recorder = Recorder::start(ledger.clone(), fresh_since, builds.clone(), stop.clone(), attempt)?;
        let calls = Arc::new(Calls::new(models, admission, (recorder.clone(), Leases::of(&ledger)), replay));
        let watcher = tokio::spawn(watch(Arc::downgrade(&calls), progress.clone(), stop.clone()));
        Ok(Session { calls, recorder, builds, ledger, watcher })
    }

    /// Waits for the drivers and the last records. Withdraws the answers of models whose builds have changed.
    pub(super) async fn end(
        self,
        drivers: JoinSet<Result<(), RunError>>,
        dir: &RunDir,
        (progress, stop): (&Arc<Progress>, &Stop),
    ) -> Result<Ended, RunError> {
        let Session { calls, recorder, builds, ledger, watcher } = self;
        let failed = first_error(drivers, stop).await;
        watcher.abort();
        if let Some((first, failure)) = calls.failed_alike() {
            stop.drain(StopReason::FailedAlike { first, failure });
        }
        let left = match calls.batches() {
            Some(batches) => batches.end().await,
            None => 0,
        };
        if left > 0 {
            stop.drain(StopReason::Left { calls: left });
        }
        let refusals = refusals(&calls, &progress.waits());
        drop(calls);
        let closed = recorder.close().await;
        tokio::select! {
            _ = builds.confirm(Occasion::End) => {}
            () = stop.aborted() => {}
        }
        let changes = withdraw(builds.clone(), ledger, dir.clone()).await?;
        Ok(Ended { failed: failed.or(closed.err().map(RunError::from)), refusals, changes, builds })
    }
}

async fn withdraw(builds: Arc<Builds>, ledger: PathBuf, dir: RunDir) -> Result<Vec<BuildChange>, RunError> {
    let withdrawn = tokio::task::spawn_blocking(move || builds.withdraw(&ledger, &dir));
    Ok(withdrawn.await.map_err(|e| RunError::Died(e.to_string()))??)
}

/// Writes the manifest before the first call. If the run is fresh, removes its old parts.
fn begin(ready: &Ready, models: &Models, lock: Option<&Lock>) -> Result<Manifest, RunError> {
    let Ready { plan, dir, replay, fresh, project, earlier, .. } = ready;
    let mut manifest = Manifest::start(&plan.spec.name, &plan.spec_hash, &plan.identity());
    outputs::describe(&mut manifest, plan, models);
    (manifest.limit, manifest.set) = (plan.rows.limit(), plan.set.clone());
    manifest.rows = (manifest.limit.is_none() && plan.rows != RowChoice::All).then_some(plan.rows);
    manifest.replay = replay.as_ref().map(|replay| replay.path().display().to_string());
    manifest.lock = lock.map(Lock::to_json);
    // The moment is saved with the run, so that the run continues after a stop instead of starting again.
    if *fresh {
        manifest.fresh_since_ms = Some(chrono::Utc::now().timestamp_millis());
        manifest.fresh_after =
            Some(Ledger::open(&project.ledger()).and_then(|ledger| ledger.now()).map_err(StoreError::from)?);
    } else if let Some(before) = Manifest::read(dir) {
        (manifest.fresh_since_ms, manifest.fresh_after) = (before.fresh_since_ms, before.fresh_after);
    }
    store::begin(project, dir, &mut manifest, earlier.as_ref())?;
    dir.write_spec(&plan.spec.meaning())?;
    if *fresh {
        dir.remove_parts(plan.spec.stages().map(|(_, stage)| stage.name.as_str()))?;
    }
    Ok(manifest)
}

fn end(Ready { dir, project, earlier, .. }: &Ready, manifest: &mut Manifest, state: State) -> Result<(), StoreError> {
    manifest.end(state);
    manifest.calls = CallSpan::read(dir)?;
    store::end(project, dir, manifest, earlier.as_ref())?;
    SharedDir::of(dir).forget_sent()
}

/// Looks at what holds back calls, until the run stops: its cause is then among the last waits.
async fn watch(calls: Weak<Calls>, progress: Arc<Progress>, stop: Stop) {
    while let Some(calls) = calls.upgrade().filter(|_| !stop.is_draining()) {
        let now = Instant::now();
        progress.look(calls.waits(now), now);
        drop(calls);
        tokio::time::sleep(LOOK).await;
    }
}

fn refusals(calls: &Calls, waits: &Waits) -> IndexMap<String, RefusalTotals> {
    let totals = calls.endpoints().refusals().map(|(model, Counts { refused, unavailable, .. })| {
        let waited_seconds = (waits.waited(model).as_secs_f64() * 10.0).round() / 10.0;
        (model.to_owned(), RefusalTotals { refused, unavailable, waited_seconds })
    });
    let mut totals: IndexMap<String, RefusalTotals> = totals.collect();
    totals.sort_unstable_keys();
    totals
}

fn parts(ready: &mut Ready) -> HashMap<TableId, Arc<Parts>> {
    let plan = &ready.plan;
    let stages = plan.stages().map(|i| {
        let stage = plan.spec.stage(i);
        (i, Parts::new(stage.chunk_size * stage.answers.fold()))
    });
    let transforms = plan.transforms().map(|i| (i, Parts::new(0)));
    let existing = std::mem::take(&mut ready.tables).into_iter().map(|(id, table)| (id, Parts::whole(table)));
    stages.chain(transforms).chain(existing).map(|(id, parts)| (id, Arc::new(parts))).collect()
}

fn start(
    Ready { plan, dir, choice, .. }: &Ready,
    inputs: &HashMap<TableId, Arc<Parts>>,
    calls: Arc<Calls>,
    (progress, stop): (&Arc<Progress>, &Stop),
) -> JoinSet<Result<(), RunError>> {
    let mut drivers = JoinSet::new();
    for i in plan.transforms().filter(|i| !plan.transformed.contains_key(i)) {
        drivers.spawn(transform::drive(plan.clone(), i, dir.clone(), inputs.clone(), stop.clone()));
    }
    for i in plan.stages() {
        let job = Job {
            plan: plan.clone(),
            id: i,
            dir: dir.clone(),
            input: inputs[&plan.spec.stage(i).input].clone(),
            output: inputs[&i].clone(),
            calls: calls.clone(),
            progress: progress.clone(),
            stop: stop.clone(),
            choice: choice.clone(),
        };
        drivers.spawn(dispatch::drive(job));
    }
    drivers
}

/// Waits until all drivers have ended. An error stops the others; the first error counts.
async fn first_error(mut drivers: JoinSet<Result<(), RunError>>, stop: &Stop) -> Option<RunError> {
    let mut first = None;
    while let Some(ended) = drivers.join_next().await {
        let error = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(died) => RunError::Died(died.to_string()),
        };
        stop.drain(StopReason::Failed);
        first.get_or_insert(error);
    }
    first
}
