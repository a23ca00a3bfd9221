//! Preparing: reads the sources, makes the plan, acquires the locks and finds the run's folder. Sends nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::batch::has_batches;
use super::error::RunError;
use super::job::PartChoice;
use super::parts::PartTables;
use super::pinned::builds_of_workers;
use super::replay::{Replay, ReplayMode};
use super::spending::of_workers;
use super::transform;
use crate::models::{Access, ConnectError, KnownBuild, Models, asked_models};
use crate::object::Bucket;
use crate::output::check;
use crate::plan::{Plan, PlanError, Selected, Selection, SourceFacts, select, sources_read};
use crate::provider::Env;
use crate::source::content;
use crate::spec::{Spec, TableId};
use crate::store::{
    Hold, Ledger, Manifest, Project, RunDir, SharedDir, Since, StoreError, WorkerTotals, collect, earlier, import,
    learn_all, reply_limits,
};
use crate::table::files::{clean, folder_of};

/// The recorded answers that a run uses.
#[derive(Clone, Copy, Debug, Default)]
pub enum Recall<'a> {
    #[default]
    Ledger,
    /// Use no recorded answers; ask everything again.
    Fresh,
    Replay(&'a Path, ReplayMode),
}

/// A run that can start: all inputs are read, locked and checked, and nothing has been sent.
pub(crate) struct Ready {
    pub(crate) plan: Arc<Plan>,
    pub(crate) dir: RunDir,
    pub(crate) replay: Option<Arc<Replay>>,
    pub(super) fresh: bool,
    /// Whether the outputs that this run replaces are kept.
    pub(crate) keep_replaced: bool,
    pub(super) project: Project,
    pub(super) tables: HashMap<TableId, PartTables>,
    pub(super) choice: PartChoice,
    /// Whether the run does not wait for batches.
    pub(super) leaves_batches: bool,
    /// The stages that were named on the command line.
    pub(super) stages: Vec<String>,
    /// The manifest of the run that this one continues.
    pub(super) earlier: Option<Manifest>,
    /// What the workers of the run have sent.
    pub(super) workers: Option<WorkerTotals>,
    _locks: Vec<Hold>,
}

impl Ready {
    /// Sends batches, and ends without waiting for them.
    pub(crate) fn leave_batches(&mut self) {
        self.leaves_batches = true;
    }

    /// Keeps committed parts with failed rows too. They are complete: the workers of a cluster have made them.
    pub(crate) fn keep_failed(&mut self) {
        self.choice = PartChoice::Missing;
    }

    /// Whether batches with calls to the models that the run asks are at its providers.
    pub(crate) fn has_batches(&self, env: Env<'_>) -> Result<bool, StoreError> {
        let spec = &self.plan.spec;
        let models: Vec<String> =
            asked_models(&self.plan).into_iter().map(|model| spec.model(model).1.model.id.clone()).collect();
        Ok(has_batches(spec, &models, &self.project.ledger(), env)?)
    }

    /// Connects the models that the run asks; `locked` are the builds in the lock. Sends nothing if only recorded calls
    /// are replayed.
    pub(crate) async fn connect(&self, locked: Vec<KnownBuild>, env: Env<'_>) -> Result<Models, ConnectError> {
        let (spec, asked) = (&self.plan.spec, asked_models(&self.plan));
        let limits = reply_limits(&self.project, self.replay.as_ref().map(|replay| replay.file()));
        let mut known = self.replay.as_ref().map(|replay| KnownBuild::all_of_replay(replay.file())).unwrap_or_default();
        if self.replay.as_ref().is_some_and(|replay| replay.is_only()) {
            let mut models = Models::offline(spec, &asked, Access { env, ledger: None, known: &known })?;
            models.use_shorter(&limits);
            return Ok(models);
        }
        known.extend(locked);
        let stages: Vec<&str> = self.plan.stages().map(|id| spec.stage(id).name.as_str()).collect();
        known.extend(builds_of_workers(&self.dir, &stages));
        known.extend(Manifest::read(&self.dir).iter().flat_map(KnownBuild::all_of_run));
        let ledger = Ledger::open(&self.project.ledger())?;
        let mut models = Models::connect(spec, &asked, Access { env, ledger: Some(&ledger), known: &known }).await?;
        models.use_shorter(&limits);
        Ok(models)
    }
}

/// A replay has its own folder, which begins empty, so its tables depend only on the file.
pub(crate) fn prepare(
    spec: Spec,
    selection: &Selection,
    project: Project,
    recall: Recall<'_>,
) -> Result<Ready, RunError> {
    project.create()?;
    let reading = project.read_tables()?;
    let selected = select(&spec, &selection.stages)?;
    let mut tables = HashMap::new();
    let mut facts = HashMap::new();
    for i in sources_read(&spec, &selected) {
        let source = spec.source(i);
        let pick = selection.pick(&spec);
        let (table, found) = import(&project, source.name.as_str(), source, &spec.folder, pick)?;
        tables.insert(i, PartTables { id: found.content.clone(), table });
        facts.insert(i, found);
    }
    let mut plan = Plan::new(spec, selection, facts)?;
    let dir = folder(&plan, &project, matches!(recall, Recall::Replay(..)));
    let mut locks = vec![reading, project.share()?, project.lock(dir.root(), "this run's folder")?];
    project.check_no_workers(dir.root())?;
    for i in plan.outputs() {
        let output = &plan.spec.outputs[i];
        check(output, &plan.spec.folder)?;
        if let Some(address) = output.address() {
            // Before anything is paid.
            Bucket::open(&address.folder()).and_then(|bucket| bucket.check()).map_err(StoreError::from)?;
        }
        locks.push(project.lock(&output.file, &output.path)?);
        clean(folder_of(&output.file), Some(&output.file));
    }
    collect(&dir, &project)?;
    learn_all(&project)?;
    let workers = of_workers(&plan.spec, &SharedDir::of(&dir).sent()?);
    dir.clean();
    let fresh = matches!(recall, Recall::Fresh);
    let earlier = if fresh { None } else { earlier(&project, &dir) };
    let replay = match recall {
        Recall::Ledger | Recall::Fresh => None,
        Recall::Replay(file, mode) => {
            dir.remove()?;
            Some(Arc::new(Replay::load(file, mode, &dir)?))
        }
    };
    transform::carry_out_known(&mut plan, &dir, &mut tables)?;
    plan.check_outputs()?;
    let plan = Arc::new(plan);
    let (choice, stages) = (PartChoice::All, selection.stages.clone());
    Ok(Ready {
        plan,
        dir,
        replay,
        fresh,
        keep_replaced: fresh,
        project,
        tables,
        choice,
        leaves_batches: false,
        stages,
        earlier,
        workers,
        _locks: locks,
    })
}

pub(crate) fn folder(plan: &Plan, project: &Project, replay: bool) -> RunDir {
    let suffix = if replay { "-replay" } else { "" };
    RunDir::new(project.run(&format!("{}{suffix}", plan.run_name())))
}

/// The folder of the run, or in a clone that of its replay.
pub(crate) fn run_or_replay(plan: &Plan, project: &Project) -> RunDir {
    let [run, replay] = [false, true].map(|replay| folder(plan, project, replay));
    if Manifest::read(&run).is_none() && Manifest::read(&replay).is_some() { replay } else { run }
}

pub(crate) fn current(spec: Spec, project: &Project) -> Result<RunDir, RunError> {
    Ok(folder(&uncounted(spec)?, project, false))
}

/// The plan of the whole run of `spec` over its current sources, without row counts. Enough to find the run's folder.
pub(crate) fn uncounted(spec: Spec) -> Result<Plan, RunError> {
    let whole = Selection::default();
    let facts = unread(&spec, &select(&spec, &whole.stages)?)?;
    Ok(Plan::new(spec, &whole, facts)?)
}

/// The content hashes of the sources that the selected stages read, without their rows. Enough for the run's name.
pub(crate) fn unread(spec: &Spec, selected: &Selected) -> Result<HashMap<TableId, SourceFacts>, PlanError> {
    let mut facts = HashMap::new();
    for i in sources_read(spec, selected) {
        let source = spec.source(i);
        let content = content(source.source.as_ref(), &spec.folder)
            .map_err(|error| PlanError::Source { name: source.name.to_string(), error })?;
        facts.insert(i, SourceFacts { content, ..SourceFacts::default() });
    }
    Ok(facts)
}

/// If the run in `dir` asks everything again, the moment since when answers count.
pub(crate) fn fresh_since(manifest: &Manifest) -> Option<Since> {
    manifest.fresh_after.map(Since::after).or(manifest.fresh_since_ms.map(Since::time))
}
