//! The engine: the only concurrent code. A [`Plan`] and connected models in, committed parts and outputs out.
//!
//! [`run`] starts one driver per stage ([`drive`](stage)): a blocking producer reads the stage's parts block by block,
//! renders the prompts and looks their keys up in the ledger; a dispatcher sends what is missing, as many at once as the
//! stage has lanes; an assembler puts finished blocks in order and commits the parts. All calls go through one door,
//! [`calls`]; every answer is committed to the ledger before it counts ([`recorder`]). How a call is tried stands in
//! [`attempts`]: what fits into a context [`context`]'s, in which form the server is asked
//! [`structured_output`]', when to try again [`retry`]'s, whose turn it is [`limiter`]'s (calls at once, fixed or [`adaptive`], and [`bucket`]s
//! per minute), what may be spent [`budget`]'s, both asked for in [`admission`]; the [`tally`] makes the record. Rows that are asked about together go their way
//! in [`packs`]. What their tables were made from in
//! [`locking`], how often each label was given in [`labels`]; what makes a table of tables is carried out in [`reshape`].
//! Progress is counters that anyone may read ([`progress`]).
//!
//! Recorded calls may come from a [`replay`] file instead.
//!
//! Nothing here prints. A run is stopped by [`Stop`]: first it drains, then it aborts.

pub mod admission;
mod assemble;
mod attempts;
mod block;
pub mod budget;
mod calls;
mod calls_table;
mod context;
pub mod endpoint;
mod labels;
mod limiter;
mod outcome;
mod packs;
mod parts;
pub mod preview;
mod produce;
pub mod progress;
mod recent;
mod recorder;
mod replay;
mod request;
mod reshape;
mod retry;
mod stage;
mod stop;
mod structured_output;
mod tally;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use indexmap::IndexMap;
use tokio::task::JoinSet;

use crate::lock::{self, Lock, ModelFacts, PromptDigest};
use crate::models::{Access, ConnectError, Models, asked_models};
use crate::plan::{Plan, PlanError, Selected, Selection, SourceFacts, select, sources_read};
use crate::provider::Env;
use crate::source::content;
use crate::spec::{Spec, TableId};
use crate::store::{
    Hold, Ledger, Manifest, OutputFacts, Project, ReshapeEntry, RunDir, SourceEntry, StageShape, StageTotals, State,
    StoreError, import, write_output,
};
use crate::table::parquet::{TableError, clean};

pub use progress::Progress;
pub use replay::{MissingCall, Replay, ReplayMode};
pub use stop::{Stop, StopReason};

use admission::Admission;
use budget::BudgetMeter;
use calls::Calls;
use endpoint::Endpoints;
use parts::{PartTables, Parts};
use recorder::Recorder;

/// Why a run could not go on at all. What a single row meets is never an error here.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The disk, the ledger, a lock or a source.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table can't be made of others.
    #[error("stage `{stage}`: {message}")]
    Reshape {
        /// The stage.
        stage: String,
        /// Why.
        message: String,
    },
    /// A bug: a task of the engine died.
    #[error("a task of the engine died: {0}")]
    Died(String),
}

/// Which of the answers that are there already count for a run.
#[derive(Clone, Copy, Debug, Default)]
pub enum Recall<'a> {
    /// Those of the ledger.
    #[default]
    Ledger,
    /// None from before now: everything is asked again.
    Fresh,
    /// Those of a replay file.
    Replay(&'a Path, ReplayMode),
}

/// A run that can start: everything is read, locked and checked; nothing has been sent.
pub struct Ready {
    /// What will happen.
    pub plan: Arc<Plan>,
    /// The run's folder.
    pub dir: RunDir,
    /// The recorded calls that it is answered from.
    pub replay: Option<Arc<Replay>>,
    /// Whether everything is asked again.
    fresh: bool,
    project: Project,
    /// The tables that are there before the first call.
    tables: HashMap<TableId, PartTables>,
    _locks: Vec<Hold>,
}

impl Ready {
    /// Connects the models that the run asks. Nothing is sent for a replay of recorded calls only.
    pub async fn connect(&self, env: Env<'_>) -> Result<Models, ConnectError> {
        let (spec, asked) = (&self.plan.spec, asked_models(&self.plan));
        let recorded = self.replay.as_ref().map(|replay| replay.file());
        if self.replay.as_ref().is_some_and(|replay| replay.is_only()) {
            return Models::offline(spec, &asked, Access { env, ledger: None, recorded });
        }
        let ledger = Ledger::open(&self.project.ledger())?;
        Models::connect(spec, &asked, Access { env, ledger: Some(&ledger), recorded }).await
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What it did.
    pub manifest: Manifest,
    /// Why it stopped early, if it did.
    pub stopped: Option<StopReason>,
    /// What its tables are made from and what they are, if it ended and ran all rows of all stages.
    pub lock: Option<Lock>,
}

/// Reads the sources, freezes the plan, takes the locks and loads the replay file. A replay has a folder of its own, which
/// begins empty: its tables rest on nothing but the file.
pub fn prepare(spec: Spec, selection: &Selection, project: Project, recall: Recall<'_>) -> Result<Ready, RunError> {
    project.create()?;
    let selected = select(&spec, &selection.stages)?;
    let mut tables = HashMap::new();
    let mut facts = HashMap::new();
    for i in sources_read(&spec, &selected) {
        let source = spec.source(i);
        let (table, found) = import(&project, source.name.as_str(), source, &spec.folder, selection.limit)?;
        tables.insert(i, PartTables { id: found.content.clone(), table });
        facts.insert(i, found);
    }
    let mut plan = Plan::new(spec, selection, facts)?;
    let dir = folder(&plan, &project, matches!(recall, Recall::Replay(..)));
    let mut locks = vec![project.share()?, project.lock(dir.root(), "this run's folder")?];
    for i in plan.outputs() {
        let output = &plan.spec.outputs[i];
        locks.push(project.lock(&output.file, &output.path)?);
        clean(output.file.parent().unwrap_or(Path::new(".")), Some(&output.file));
    }
    dir.clean();
    let replay = match recall {
        Recall::Ledger | Recall::Fresh => None,
        Recall::Replay(file, mode) => {
            dir.remove()?;
            Some(Arc::new(Replay::load(file, mode, &dir)?))
        }
    };
    reshape::carry_out_known(&mut plan, &dir, &mut tables)?;
    let fresh = matches!(recall, Recall::Fresh);
    Ok(Ready { plan: Arc::new(plan), dir, replay, fresh, project, tables, _locks: locks })
}

/// The folder of the run of a plan, or of its replay.
pub fn folder(plan: &Plan, project: &Project, replay: bool) -> RunDir {
    let suffix = if replay { "-replay" } else { "" };
    RunDir::new(project.run(&format!("{}{suffix}", plan.run_name())))
}

/// The folder of the run of the whole of `spec` over its sources as they are now.
pub fn current(spec: Spec, project: &Project) -> Result<RunDir, RunError> {
    Ok(folder(&uncounted(spec)?, project, false))
}

/// The plan of the whole of `spec` over its sources as they are now, whose rows are not counted: enough to find a run.
pub fn uncounted(spec: Spec) -> Result<Plan, RunError> {
    let whole = Selection::default();
    let facts = unread(&spec, &select(&spec, &whole.stages)?)?;
    Ok(Plan::new(spec, &whole, facts)?)
}

/// What a run's name says of the sources that the selected stages read: their content, without their rows.
pub fn unread(spec: &Spec, selected: &Selected) -> Result<HashMap<TableId, SourceFacts>, PlanError> {
    let mut facts = HashMap::new();
    for i in sources_read(spec, selected) {
        let source = spec.source(i);
        let content = content(source.source.as_ref(), &spec.folder)
            .map_err(|error| PlanError::Source { name: source.name.to_string(), error })?;
        facts.insert(i, SourceFacts { rows: 0, content, values: String::new() });
    }
    Ok(facts)
}

/// Carries out a plan: answers every row from the ledger or by calls, commits the parts, writes the outputs.
pub async fn run(ready: Ready, models: Models, progress: Arc<Progress>, stop: Stop) -> Result<Outcome, RunError> {
    let Ready { plan, dir, replay, fresh, project, tables, _locks } = ready;
    let mut manifest = Manifest::start(&plan.spec.name, &plan.spec_hash, &plan.identity());
    describe(&mut manifest, &plan, &models);
    manifest.replay = replay.as_ref().map(|replay| replay.path().display().to_string());
    let before = plan.is_whole().then(|| lock::before(&plan, &ModelFacts::all(&models)));
    // The moment stays with the run, so that it goes on after a stop and does not begin again.
    manifest.fresh_since_ms = if fresh { Some(moment().await) } else { fresh_since(&dir) };
    manifest.lock = before.as_ref().map(Lock::to_json);
    manifest.write(&dir)?;
    if fresh {
        dir.remove_parts(plan.spec.stages().map(|(_, stage)| stage.name.as_str()))?;
    }
    let ledger = match replay.as_ref().filter(|replay| replay.is_only()) {
        Some(replay) => replay.no_ledger(),
        None => project.ledger(),
    };
    let recorder = Recorder::start(ledger, manifest.fresh_since_ms, stop.clone())?;
    let admission = Admission {
        budget: BudgetMeter::new(plan.spec.budget),
        endpoints: Endpoints::new(&plan.spec, &models),
        stop: stop.clone(),
    };
    let calls = Arc::new(Calls::new(models, admission, recorder.clone(), replay.clone()));
    let inputs: HashMap<TableId, Arc<Parts>> = plan
        .stages()
        .map(|i| {
            let stage = plan.spec.stage(i);
            (i, Arc::new(Parts::new(stage.chunk_size * stage.answers.fold())))
        })
        .chain(plan.reshapes().map(|i| (i, Arc::new(Parts::new(0)))))
        .chain(tables.into_iter().map(|(input, table)| (input, Arc::new(Parts::whole(table)))))
        .collect();
    let mut drivers = JoinSet::new();
    for i in plan.reshapes().filter(|i| !plan.reshaped.contains_key(i)) {
        drivers.spawn(reshape::drive(plan.clone(), i, dir.clone(), inputs.clone(), stop.clone()));
    }
    for i in plan.stages() {
        let job = stage::Job {
            plan: plan.clone(),
            id: i,
            dir: dir.clone(),
            input: inputs[&plan.spec.stage(i).input].clone(),
            output: inputs[&i].clone(),
            calls: calls.clone(),
            progress: progress.clone(),
            stop: stop.clone(),
        };
        drivers.spawn(stage::drive(job));
    }
    let mut first_error = None;
    while let Some(ended) = drivers.join_next().await {
        let error = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(died) => RunError::Died(died.to_string()),
        };
        stop.drain(StopReason::Failed);
        first_error.get_or_insert(error);
    }
    drop(calls);
    let closed = recorder.close().await;
    manifest.stages = plan.stages().map(|i| (plan.spec.stage(i).name.to_string(), progress.totals(i))).collect();
    if let Some(error) = first_error.or(closed.err().map(RunError::from)) {
        manifest.end(State::Stopped);
        manifest.write(&dir)?;
        return Err(error);
    }
    if let Some(replay) = replay.filter(|replay| replay.is_incomplete()) {
        let (count, first) = replay.missing();
        stop.drain(StopReason::NotRecorded { count, first });
    }
    let stopped = stop.reason();
    let mut lock = None;
    if stopped.is_none() {
        let (plan, inputs, dir) = (plan.clone(), inputs.clone(), dir.clone());
        let written = tokio::task::spawn_blocking(move || write_tables(&plan, &dir, &inputs, before));
        (manifest.outputs, lock) = written.await.map_err(|e| RunError::Died(e.to_string()))??;
        manifest.lock = lock.as_ref().map(Lock::to_json);
    }
    manifest.end(if stopped.is_none() { State::Done } else { State::Stopped });
    manifest.write(&dir)?;
    Ok(Outcome { manifest, stopped, lock })
}

/// Now, in milliseconds since 1970; later than all that is recorded.
async fn moment() -> i64 {
    // Records are dated to the millisecond.
    tokio::time::sleep(Duration::from_millis(2)).await;
    chrono::Utc::now().timestamp_millis()
}

/// Since when answers count for the run in `dir`, if it was told to ask everything again.
fn fresh_since(dir: &RunDir) -> Option<i64> {
    Manifest::read(dir)?.fresh_since_ms
}

/// Writes the outputs; completes the lock around it, since its causes stand in the outputs and the outputs in it.
fn write_tables(
    plan: &Plan,
    dir: &RunDir,
    inputs: &HashMap<TableId, Arc<Parts>>,
    lock: Option<Lock>,
) -> Result<(IndexMap<String, OutputFacts>, Option<Lock>), RunError> {
    let Some(mut lock) = lock else { return Ok((write_outputs(plan, inputs, None)?, None)) };
    for i in plan.stages() {
        let stage = plan.spec.stage(i);
        let rows = inputs[&stage.input].tables().unwrap_or_default();
        lock.add_prompts(stage.name.as_str(), PromptDigest::of_rows(stage, read_all(&rows)).map_err(StoreError::from)?);
    }
    lock.add_counts(plan, dir);
    let written = write_outputs(plan, inputs, Some(lock.causes()))?;
    lock.add_outputs(plan);
    Ok((written, Some(lock)))
}

/// Writes what is known before the first call.
fn describe(manifest: &mut Manifest, plan: &Plan, models: &Models) {
    for (id, source) in plan.spec.sources() {
        if let Some(facts) = plan.sources.get(&id) {
            let entry = SourceEntry {
                rows: facts.rows,
                content: facts.content.clone(),
                paths: source.source.paths().into_iter().map(|(_, path)| path).collect(),
                key: source.source.key().map(str::to_owned),
            };
            manifest.sources.insert(source.name.to_string(), entry);
        }
    }
    for i in plan.reshapes() {
        let reshape = plan.spec.reshape(i);
        let relation = &reshape.relation;
        let entry = ReshapeEntry {
            kind: reshape.reshape.info.kind.to_owned(),
            inputs: reshape.inputs.iter().map(|input| plan.spec.table_name(*input).to_owned()).collect(),
            key: relation.key.map(|key| relation.schema.field(key).name().clone()),
            hidden: relation.hidden,
        };
        manifest.reshapes.insert(reshape.name.clone(), entry);
    }
    manifest.models = models.entries();
    for i in plan.stages() {
        let stage = plan.spec.stage(i);
        let totals = StageTotals { rows: plan.rows(stage.input).unwrap_or_default(), ..StageTotals::default() };
        manifest.stages.insert(stage.name.to_string(), totals);
        manifest.tables.insert(stage.name.to_string(), StageShape::of(&plan.spec, stage));
    }
}

/// Writes every output of the plan from the committed parts; `causes` is the hash of what they were made from.
fn write_outputs(
    plan: &Plan,
    inputs: &HashMap<TableId, Arc<Parts>>,
    causes: Option<String>,
) -> Result<IndexMap<String, OutputFacts>, RunError> {
    let mut written = IndexMap::new();
    for i in plan.outputs() {
        let (name, output) = plan.spec.outputs.get_index(i).expect("an index of this table");
        let schema = plan.spec.relation(output.input).schema.clone();
        let mut facts = vec![
            ("fanfold.pipeline".to_owned(), plan.spec.name.clone()),
            ("fanfold.spec_hash".to_owned(), plan.spec_hash.clone()),
            ("fanfold.run".to_owned(), plan.identity()),
        ];
        facts.extend(causes.clone().map(|causes| ("fanfold.lock".to_owned(), causes)));
        // A table of the first rows only must not pass for the whole one.
        facts.extend(plan.limit.map(|limit| ("fanfold.limit".to_owned(), limit.to_string())));
        let columns = schema.fields().len();
        let Some(tables) = inputs[&output.input].tables() else {
            return Err(RunError::Died(format!("a part of `{}` is missing", plan.spec.table_name(output.input))));
        };
        let batches = read_all(&tables);
        let rows = write_output(&output.file, output.format, schema, facts, batches)?;
        written.insert(
            name.to_string(),
            OutputFacts {
                input: plan.spec.table_name(output.input).to_owned(),
                path: output.path.clone(),
                rows,
                columns,
            },
        );
    }
    Ok(written)
}

fn read_all(tables: &[PartTables]) -> impl Iterator<Item = Result<RecordBatch, TableError>> {
    tables.iter().flat_map(|part| match part.table.read(0, part.table.rows(), parts::batch_rows(&part.table)) {
        Ok(rows) => Box::new(rows) as Box<dyn Iterator<Item = _>>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    })
}
