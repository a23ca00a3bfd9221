//! Tasks: make parts of a frozen plan in a separate process. A task may be killed, repeated and doubled.
//!
//! The worker's calls go to its journal in the shared folder. Its ledger is a scratch file that only finds answers.

use std::collections::HashMap;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::call::BudgetMeter;
use super::dispatch;
use super::engine::{Ended, Records, Session};
use super::error::RunError;
use super::frozen::{FrozenPlan, Thawed};
use super::job::{Job, PartChoice, WorkerId};
use super::parts::{PartTables, Parts};
use super::pinned::pin;
use super::progress::Progress;
use super::spending::earlier_cost;
use super::stop::{Stop, StopReason};
use super::transform;
use crate::models::{Access, ConnectError, Models};
use crate::plan::Plan;
use crate::provider::Env;
use crate::spec::{TableId, TableSpec};
use crate::store::{Attempt, Entry, Known, Ledger, Retired, RunDir, SharedDir, StageTotals, StoreError, retired};

/// Why a task could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl From<StoreError> for TaskError {
    fn from(error: StoreError) -> Self {
        TaskError::Run(error.into())
    }
}

/// The parts of a table that a process makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Part(u64),
    /// The parts that a worker claims, until none is left.
    Worker(WorkerId),
}

/// What a task did.
#[derive(Debug)]
pub(crate) struct Worked {
    pub(crate) stopped: Option<StopReason>,
    /// `None` for a table without models.
    pub(crate) totals: Option<StageTotals>,
    /// The calls of earlier attempts that were found.
    pub(crate) recalled: u64,
}

/// Makes the part or the share of the table called `name`.
pub(crate) async fn work(
    thawed: Thawed,
    name: &str,
    share: Share,
    env: Env<'_>,
    (stop, started): (Stop, impl FnOnce(Arc<Progress>)),
) -> Result<Worked, TaskError> {
    let Thawed { mut plan, dir, shared, frozen, mut tables } = thawed;
    let found = plan.spec.tables().find(|(id, table)| table.name() == name && plan.selected.has(*id));
    let id = match found {
        Some((id, table)) if table.as_source().is_none() => id,
        _ => return Err(RunError::Frozen(format!("the plan makes no table `{name}`")).into()),
    };
    load_upstream(&mut plan, id, &dir, &mut tables)?;
    if plan.spec.table(id).as_transform().is_some() {
        tokio::task::spawn_blocking(move || make_table(&plan, id, &dir, &tables))
            .await
            .map_err(|error| RunError::Died(error.to_string()))??;
        shared.finish(name, 0)?;
        return Ok(Worked { stopped: None, totals: None, recalled: 0 });
    }
    divide_limits(&mut plan, &frozen, share);
    let scratch = Scratch::new()?;
    let mut ledger = Ledger::open(&scratch.ledger()).map_err(StoreError::from)?;
    for [server, model, build] in &frozen.builds {
        ledger.remember_build(server, model, build).map_err(StoreError::from)?;
    }
    let has_budget = plan.spec.budget.total.is_some();
    let (worker, recalled) = recall(&shared, (name, share), has_budget, &mut ledger)?;
    let spent = earlier_cost(&plan.spec, &ledger).map_err(StoreError::from)?;
    let budget = BudgetMeter::new(plan.spec.budget, spent);
    let asked = models_of(&plan, id);
    let mut models = Models::connect(&plan.spec, &asked, Access { env, ledger: Some(&ledger), known: &[] }).await?;
    models.use_shorter(&frozen.limits);
    pin(&shared, name, &models)?;
    let mut journal = shared.start_journal(&worker)?;
    let builds = ledger.builds().map_err(StoreError::from)?;
    journal.append(builds.into_iter().map(Entry::Build)).map_err(StoreError::io(shared.root()))?;
    let known = Known::open(shared.root())?;
    known.forget_continued(&ledger)?;
    drop(ledger);
    let attempt = Attempt { journal: Some(journal), known: Some(known) };
    let records = Records { ledger: scratch.ledger(), fresh_since: None, attempt, replay: None, batches: None };
    let plan = Arc::new(plan);
    let progress = Arc::new(Progress::new(&plan));
    started(progress.clone());
    let session = Session::start(&plan, models, budget, records, (&progress, &stop))?;
    let (size, input) = sizes(&plan, id, &tables);
    let job = Job {
        plan: plan.clone(),
        id,
        dir: dir.clone(),
        input: Arc::new(input),
        output: Arc::new(Parts::new(size)),
        calls: session.calls.clone(),
        progress: progress.clone(),
        stop: stop.clone(),
        choice: match share {
            Share::Part(number) => PartChoice::One(number),
            Share::Worker(worker) => PartChoice::Claimed { worker, shared: shared.clone() },
        },
    };
    let mut drivers = JoinSet::new();
    drivers.spawn(dispatch::drive(job));
    let Ended { failed, changes, .. } = session.end(drivers, &dir, (&progress, &stop)).await?;
    if !changes.is_empty() {
        withdraw(&shared, &worker, &scratch)?;
    }
    let stopped = if changes.is_empty() { stop.reason() } else { Some(StopReason::BuildChanged(changes)) };
    if let (Share::Worker(worker), None, None) = (share, &failed, &stopped) {
        shared.finish(name, worker.number)?;
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Worked { stopped, totals: Some(progress.totals(id)), recalled }),
    }
}

/// Connects the models of the stage called `name` from this machine, and notes their builds for the other workers.
pub(crate) async fn check(thawed: Thawed, name: &str, env: Env<'_>) -> Result<Vec<String>, TaskError> {
    let Thawed { plan, shared, .. } = thawed;
    let found = plan.spec.stages().find(|(_, stage)| stage.name.as_str() == name);
    let (id, _) = found.ok_or_else(|| RunError::Frozen(format!("the plan has no stage `{name}`")))?;
    let access = Access { env, ledger: None, known: &[] };
    let models = Models::connect(&plan.spec, &models_of(&plan, id), access).await?;
    pin(&shared, name, &models)?;
    Ok(models.iter().map(|target| format!("{}: {} answers", target.name, target.provider.endpoint())).collect())
}

/// The folder of the worker's own ledger, on its own disk. It is deleted when the task ends.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Result<Self, StoreError> {
        tempfile::tempdir().map(Scratch).map_err(StoreError::io(&std::env::temp_dir()))
    }

    fn ledger(&self) -> std::path::PathBuf {
        self.0.path().join("ledger.sqlite")
    }
}

/// Replaces the limits of the run by those of a worker. A task of one part counts what all tasks have spent.
fn divide_limits(plan: &mut Plan, frozen: &FrozenPlan, share: Share) {
    for endpoint in plan.spec.endpoints.values_mut() {
        endpoint.limits = endpoint.limits.share(frozen.workers).unwrap_or(endpoint.limits);
    }
    let workers = if let Share::Worker(worker) = share { worker.of } else { 1 };
    plan.spec.budget = plan.spec.budget.share(frozen.spent(), workers);
}

/// Opens the tables before `id` that other tasks have made, so that their rows are known.
fn load_upstream(
    plan: &mut Plan,
    id: TableId,
    dir: &RunDir,
    tables: &mut HashMap<TableId, PartTables>,
) -> Result<(), RunError> {
    for upstream in plan.transforms().filter(|other| *other != id).collect::<Vec<_>>() {
        if !tables.contains_key(&upstream) && plan.spec.upstream(id).contains(&upstream) {
            let name = plan.spec.table_name(upstream).to_owned();
            let found = dir.find(&name, 0)?.ok_or(RunError::MissingPart { table: name, part: 0 })?;
            plan.transformed.insert(upstream, found.table.rows());
            tables.insert(upstream, PartTables { id: found.facts.id, table: found.table });
        }
    }
    Ok(())
}

/// Makes the table of a transform from the committed parts of its inputs.
fn make_table(
    plan: &Plan,
    id: TableId,
    dir: &RunDir,
    tables: &HashMap<TableId, PartTables>,
) -> Result<PartTables, RunError> {
    let parts = |input: &TableId| -> Result<Vec<PartTables>, RunError> {
        let TableSpec::Stage(stage) = plan.spec.table(*input) else { return Ok(vec![tables[input].clone()]) };
        let rows = plan.rows(stage.input).unwrap_or_default();
        let part = |number: u64| {
            let table = stage.name.to_string();
            let found = dir.find(&table, number)?.ok_or(RunError::MissingPart { table, part: number })?;
            Ok(PartTables { id: found.facts.id, table: found.table })
        };
        plan.parts(*input, rows).map(|found| part(found.number)).collect()
    };
    let inputs: Vec<Vec<PartTables>> = plan.spec.transform(id).inputs.iter().map(parts).collect::<Result<_, _>>()?;
    transform::carry_out(plan, id, dir, &inputs)
}

/// Adds the calls of earlier attempts to the ledger. Returns the name of the worker and the number of calls.
fn recall(
    shared: &SharedDir,
    (stage, share): (&str, Share),
    has_budget: bool,
    ledger: &mut Ledger,
) -> Result<(String, u64), StoreError> {
    match share {
        Share::Worker(worker) => Ok((worker.name(), shared.recall(&worker.name(), ledger)?.added)),
        Share::Part(part) => {
            let name = format!("{stage}-{part}");
            let mut added = if has_budget { shared.merge(ledger)?.added } else { 0 };
            for worker in [Some(name.clone()), shared.claimed_by(stage, part)?].into_iter().flatten() {
                added += shared.recall(&worker, ledger)?.added;
            }
            Ok((name, added))
        }
    }
}

/// The models that a stage asks, and their fallbacks, by index in the spec.
fn models_of(plan: &Plan, stage: TableId) -> Vec<usize> {
    let asked = &plan.spec.stage(stage).models;
    asked.iter().flat_map(|model| [model].into_iter().chain(&plan.spec.model(*model).1.fallback)).copied().collect()
}

/// The rows of the stage's own parts, and its input. The parts of another stage appear when they are read.
fn sizes(plan: &Plan, id: TableId, tables: &HashMap<TableId, PartTables>) -> (u64, Parts) {
    let stage = plan.spec.stage(id);
    let size = |id: TableId| {
        let stage = plan.spec.stage(id);
        stage.chunk_size * stage.answers.fold()
    };
    let input = match plan.spec.table(stage.input) {
        TableSpec::Stage(_) => {
            let parts = Parts::new(size(stage.input));
            parts.expect(plan.rows(stage.input).unwrap_or_default());
            parts
        }
        _ => Parts::whole(tables[&stage.input].clone()),
    };
    (size(id), input)
}

/// Notes in a new journal that the answers of changed builds no longer count.
fn withdraw(shared: &SharedDir, worker: &str, scratch: &Scratch) -> Result<(), StoreError> {
    let keys = Ledger::open(&scratch.ledger())?.keys_retired(Retired::Changed)?;
    let mut journal = shared.start_journal(worker)?;
    let written = journal.append(retired(&keys, Retired::Changed)).and_then(|()| journal.sync()?.sync());
    written.map_err(StoreError::io(shared.root()))
}
