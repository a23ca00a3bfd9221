//! A pipeline without a terminal: loads, plans and runs a spec. The crate's root shows an example.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::document::{Diagnostic, Document};
use crate::lock::{self, Lock, LockChange, LockFailure, LockKeeper, LockMode, ModelFacts, freshness};
use crate::models::{Access, ConnectError, Models, asked_models};
use crate::plan::{Plan, Selection, select};
use crate::preview::{Request, preview};
use crate::provider::Env;
use crate::report::columns::{self, StageColumns};
use crate::report::diagnostics;
use crate::report::findings;
use crate::report::plan::PlanReport;
use crate::report::summary::RunSummary;
use crate::report::table_files::RunFiles;
use crate::run::{self, FrozenPlan, Piloted, Progress, Recall, RunError, Stop, StopReason};
use crate::spec::load::{self, LoadError};
use crate::spec::{Spec, StageSpec};
use crate::store::{Ledger, Manifest, Project, RunDir, StageTotals, StoreError, cut_earlier, learn_all};

/// Why a pipeline did not run, or did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}", diagnostics::human(.0, .1, false, None))]
    Invalid(Vec<Diagnostic>, Document),
    #[error(transparent)]
    Lock(#[from] LockFailure),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("stopped before the first call")]
    Stopped(StopReason),
}

/// Why a pipeline could not be loaded, planned or run. The text says what is wrong.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] PipelineError);

/// Reads and checks the spec at `path`.
pub fn load(path: &Path) -> Result<Spec, Error> {
    let loaded = load::load(path).map_err(PipelineError::from)?;
    Ok(loaded.spec.ok_or(PipelineError::Invalid(loaded.problems, loaded.document))?)
}

/// Plans a run of `spec`: its stages, rows and calls, and how many of them the ledger answers. Sends and writes
/// nothing. `env` reads environment variables.
pub fn plan(spec: Spec, selection: &Selection, env: Env<'_>) -> Result<PlanReport, Error> {
    let request = Request { selection: Some(selection), ..Request::default() };
    Ok(plan_against(spec, None, request, env).map_err(PipelineError::from)?)
}

/// Plans a run of `spec`, whose lock is `lock`. Sends and writes nothing.
pub(crate) fn plan_against(
    spec: Spec,
    lock: Option<Lock>,
    request: Request<'_>,
    env: Env<'_>,
) -> Result<PlanReport, RunError> {
    let project = Project::of(&spec.folder);
    let known = lock.as_ref().map(Lock::builds).unwrap_or_default();
    let preview = preview(spec, request, &project, Access { env, ledger: None, known: &known })?;
    let stages = freshness(&preview.plan, &preview.outlooks(), &preview.lock, lock, &project);
    let is_kept: Vec<bool> = stages.iter().map(|stage| stage.is_kept && !request.fresh).collect();
    let forecast = preview.forecast(&project, &is_kept)?;
    let batches = Ledger::open_batches_at(&project.ledger()).map_err(StoreError::from)?;
    Ok(PlanReport { preview, stages, forecast, batches })
}

/// Sends up to `most` calls of the run, drawn from those that the ledger does not answer, and records them.
pub(crate) async fn pilot(
    spec: Spec,
    lock: Option<Lock>,
    (selection, most): (&Selection, usize),
    env: Env<'_>,
    stop: Stop,
) -> Result<Piloted, PipelineError> {
    let project = Project::of(&spec.folder);
    project.create().map_err(RunError::from)?;
    let _sharing = project.share().map_err(RunError::from)?;
    learn_all(&project).map_err(RunError::from)?;
    let ledger = Ledger::open(&project.ledger()).map_err(StoreError::from).map_err(RunError::from)?;
    let known = lock.as_ref().map(Lock::builds).unwrap_or_default();
    let access = Access { env, ledger: Some(&ledger), known: &known };
    let request = Request { selection: Some(selection), pilot: most, ..Request::default() };
    let mut preview = preview(spec, request, &project, access)?;
    let calls = preview.take_pilot(most);
    if calls.is_empty() {
        return Ok(Piloted::default());
    }
    let plan = preview.plan;
    let asked = asked_models(&plan);
    let models = tokio::select! {
        models = Models::connect(&plan.spec, &asked, access) => models?,
        () = stop.draining() => {
            return Err(PipelineError::Stopped(stop.reason().unwrap_or(StopReason::Interrupted)));
        }
    };
    Ok(run::pilot(Arc::new(plan), models, &project, calls, stop).await?)
}

/// Lets models write the wordings that the spec at `path` lacks, and adds them to its lock.
pub(crate) async fn paraphrase(spec: Spec, path: &Path, env: Env<'_>, stop: Stop) -> Result<(), PipelineError> {
    let project = Project::of(&spec.folder);
    project.create().map_err(RunError::from)?;
    let path = Lock::path_of(path);
    let lock = Lock::read(&path).map_err(LockFailure::from)?;
    let known = lock.as_ref().map(Lock::builds).unwrap_or_default();
    let ledger = Ledger::open(&project.ledger()).map_err(StoreError::from).map_err(RunError::from)?;
    let access = Access { env, ledger: Some(&ledger), known: &known };
    let selection = Selection::default();
    let all = select(&spec, &selection.stages).map_err(RunError::from)?;
    let facts = run::unread(&spec, &all).map_err(RunError::from)?;
    let plan = Plan::new(spec, &selection, facts).map_err(RunError::from)?;
    let asked = plan.spec.unwritten.iter().filter_map(|of| plan.spec.models.get_index_of(of.model.as_str()));
    let asked: Vec<usize> =
        asked.flat_map(|model| [model].into_iter().chain(plan.spec.model(model).1.fallback.iter().copied())).collect();
    let models = tokio::select! {
        models = Models::connect(&plan.spec, &asked, access) => models?,
        () = stop.draining() => {
            return Err(PipelineError::Stopped(stop.reason().unwrap_or(StopReason::Interrupted)));
        }
    };
    let written = run::paraphrase(Arc::new(plan), models, &project, stop).await?.map_err(PipelineError::Stopped)?;
    let mut lock = lock.unwrap_or_else(|| Lock::new(""));
    lock.paraphrases.extend(written);
    Ok(lock.write(&path).map_err(LockFailure::from)?)
}

/// How to run a spec. The default runs all of it and uses the answers in the ledger.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    pub selection: Selection,
    pub recall: Recall<'a>,
    pub lock: LockMode,
}

/// Runs the spec that was loaded from `path`. `env` reads environment variables.
pub async fn run(spec: Spec, path: &Path, options: Options<'_>, env: Env<'_>) -> Result<Report, Error> {
    let mut spec = spec;
    if !spec.unwritten.is_empty() && options.lock != LockMode::Locked {
        paraphrase(spec, path, env, Stop::default()).await?;
        spec = load(path)?;
    }
    Ok(Ready::new(spec, path, &options)?.run(env, Stop::default(), |_| {}).await?)
}

/// A run that can start: its sources are read and its files are locked. Nothing has been sent.
pub(crate) struct Ready {
    ready: run::Ready,
    keeper: LockKeeper,
    created: Instant,
}

/// Describes what delays the first answer, if anything does.
pub(crate) type Preparing = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// A run that has started, for display.
pub(crate) struct Started {
    pub(crate) plan: Arc<Plan>,
    pub(crate) folder: RunDir,
    pub(crate) progress: Arc<Progress>,
    pub(crate) preparing: Preparing,
}

/// The result of a run. Its text is the summary.
pub struct Report {
    pub(crate) summary: RunSummary,
    pub(crate) plan: Arc<Plan>,
    /// The folder of the run.
    pub(crate) folder: RunDir,
    /// Why the run stopped early, if it did.
    pub(crate) stopped: Option<StopReason>,
    pub(crate) lock: Result<LockChange, LockFailure>,
}

impl Report {
    fn totals(&self) -> impl Iterator<Item = (&StageSpec, &StageTotals)> {
        let stages = self.plan.stages().map(|id| self.plan.spec.stage(id));
        stages.filter_map(|stage| Some((stage, self.summary.manifest.stages.get(stage.name.as_str())?)))
    }

    /// Whether a sheet has rows that people have not coded yet.
    pub(crate) fn has_rows_to_code(&self) -> bool {
        let sheets = self
            .plan
            .spec
            .outputs
            .iter()
            .filter(|(_, output)| output.sheet.as_ref().is_some_and(|sheet| !sheet.fill.is_empty()));
        let mut facts = sheets.filter_map(|(name, _)| self.summary.manifest.outputs.get(name.as_str()));
        facts.any(|output| output.sheet.is_some_and(|sheet| sheet.coded < output.rows))
    }

    pub fn has_failed_rows(&self) -> bool {
        self.totals().any(|(_, totals)| totals.counts.failed > 0)
    }

    /// Whether more rows of a stage failed than its `max_failed` allows.
    pub fn has_too_many_failed_rows(&self) -> bool {
        self.totals().any(|(stage, totals)| {
            let allowed = stage.max_failed.map_or(0, |most| most.of(totals.rows));
            totals.counts.failed > allowed
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.summary.fmt(f)
    }
}

impl Ready {
    pub(crate) fn new(spec: Spec, path: &Path, options: &Options<'_>) -> Result<Ready, PipelineError> {
        let created = Instant::now();
        if let Some(unwritten) = spec.unwritten.first() {
            return Err(LockFailure::Unwritten(unwritten.stage.clone()).into());
        }
        let mode = match options.lock {
            LockMode::Follow if !options.selection.is_whole(&spec) => LockMode::Ignore,
            mode => mode,
        };
        let keeper = LockKeeper::open(path, mode)?;
        let project = Project::of(&spec.folder);
        let mut ready = run::prepare(spec, &options.selection, project, options.recall)?;
        ready.keep_replaced |= options.lock == LockMode::Locked;
        Ok(Ready { ready, keeper, created })
    }

    /// Freezes the run for `workers` on several machines; `path` is the spec.
    pub(crate) fn freeze(&self, path: &Path, workers: u32) -> Result<FrozenPlan, PipelineError> {
        Ok(run::freeze(&self.ready, path, workers)?)
    }

    /// Whether batches with calls to the models of the run are at their providers.
    pub(crate) fn has_batches(&self, env: Env<'_>) -> Result<bool, StoreError> {
        self.ready.has_batches(env)
    }

    /// Keeps committed parts with failed rows too, since workers have just made them.
    pub(crate) fn keep_failed(&mut self) {
        self.ready.keep_failed();
    }

    /// Sends batches, and ends without waiting for them.
    pub(crate) fn leave_batches(&mut self) {
        self.ready.leave_batches();
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.ready.plan.spec
    }

    pub(crate) fn folder(&self) -> &RunDir {
        &self.ready.dir
    }

    /// Runs to the end, or until `stop`; calls `started` before the first call.
    pub(crate) async fn run(
        self,
        env: Env<'_>,
        stop: Stop,
        started: impl FnOnce(Started),
    ) -> Result<Report, PipelineError> {
        let Ready { ready, keeper, created } = self;
        let models = tokio::select! {
            models = ready.connect(keeper.builds(), env) => models?,
            () = stop.draining() => {
                return Err(PipelineError::Stopped(stop.reason().unwrap_or(StopReason::Interrupted)));
            }
        };
        keeper.check(&lock::before(&ready.plan, &ModelFacts::all(&models)))?;
        let (plan, folder) = (ready.plan.clone(), ready.dir.clone());
        let progress = Arc::new(Progress::new(&plan));
        let preparing = Arc::new(models.preparing());
        started(Started { plan: plan.clone(), folder: folder.clone(), progress: progress.clone(), preparing });
        let outcome = run::run(ready, models, progress, stop).await?;
        if outcome.stopped.is_none() {
            let (project, folder) = (Project::of(&plan.spec.folder), folder.clone());
            // Earlier runs can be cut after the next run as well.
            let _ = tokio::task::spawn_blocking(move || cut_earlier(&project, &folder)).await;
        }
        let lock = match outcome.stopped {
            None => keeper.end(outcome.lock.as_ref()),
            Some(_) => Ok(LockChange::Unchanged),
        };
        let calls = folder.calls().display().to_string();
        let outputs = outcome.manifest.outputs.iter();
        let replaced = outputs.filter_map(|(name, output)| {
            Some((output.replaced.clone()?, plan.spec.outputs.get(name.as_str())?.file.clone()))
        });
        let replaced = replaced.collect();
        let (columns, findings) = match outcome.stopped {
            None => read(&plan, &folder, &outcome.manifest).await,
            Some(_) => Default::default(),
        };
        let summary = RunSummary {
            manifest: outcome.manifest,
            elapsed: created.elapsed(),
            calls,
            columns,
            findings,
            folder: folder.root().display().to_string(),
            files: RunFiles::new(&plan, &folder),
            lock: outcome.lock.as_ref().map(Lock::to_json),
            replaced,
        };
        Ok(Report { summary, plan, folder, stopped: outcome.stopped, lock })
    }
}

/// What the answer columns of the stages contain, and the main statistics of the methods. A table that can't be read is
/// left out.
async fn read(
    plan: &Arc<Plan>,
    folder: &RunDir,
    manifest: &Manifest,
) -> (BTreeMap<String, StageColumns>, Vec<(String, Vec<String>)>) {
    let (plan, folder) = (plan.clone(), folder.clone());
    let rows: BTreeMap<String, u64> =
        manifest.stages.iter().map(|(name, totals)| (name.clone(), totals.rows)).collect();
    let read = move || {
        let stages = plan.stages().filter_map(|id| {
            let name = plan.spec.stage(id).name.to_string();
            let columns = columns::read(&plan, &folder, id, *rows.get(&name)?)?;
            Some((name, columns))
        });
        let columns = stages.collect();
        (columns, findings::of_run(&plan, &folder))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}
