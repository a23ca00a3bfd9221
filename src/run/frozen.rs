//! Frozen plans: a prepared run as files, from which any machine that sees the run's folder makes its parts.
//!
//! The rows of the sources are the copies of the import, and the spec is a copy too. So nothing that changes later
//! changes the run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::error::RunError;
use super::parts::PartTables;
use super::prepare::Ready;
use super::spending::earlier_cost;
use super::transform;
use crate::models::asked_models;
use crate::object::Address;
use crate::plan::{Plan, RowChoice, Selection, SourceFacts};
use crate::source::Import;
use crate::spec::load::load_frozen;
use crate::spec::{Frozen, Paraphrases, Spec, Spending, TableId, TableSpec};
use crate::store::{
    Ledger, Needs, Project, ReplyLimit, RunDir, SharedDir, StoreError, WorkerRun, open_table, push, reply_limits,
    write_known,
};

const FORMAT: u32 = 1;
const PLAN: &str = "plan.json";

/// The file `plan.json` of a frozen run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FrozenPlan {
    format: u32,
    fanfold: String,
    /// The file name of the spec.
    spec: String,
    /// The number of workers that share the limits.
    pub(crate) workers: u32,
    stages: Vec<String>,
    rows: RowChoice,
    set: Vec<String>,
    sources: IndexMap<String, FrozenSource>,
    #[serde(default)]
    paraphrases: Paraphrases,
    /// The `max_tokens` of earlier runs.
    pub(super) limits: Vec<ReplyLimit>,
    /// The builds that the ledger remembers.
    pub(super) builds: Vec<[String; 3]>,
    /// The number of answers that the ledger had.
    pub(crate) known: u64,
    /// What earlier runs cost, if the budget limits all runs: calls, tokens and US dollars.
    spent: (u64, u64, f64),
    pub(crate) tables: Vec<FrozenTable>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FrozenSource {
    /// The file in the project's folder of sources.
    file: PathBuf,
    rows: u64,
    content: String,
    values: String,
    import: Option<Import>,
}

/// A table that workers make, after those that it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrozenTable {
    pub(crate) name: String,
    /// Whether it asks models. Otherwise it is one task.
    pub(crate) is_stage: bool,
    /// The tables of workers that it reads.
    pub(crate) inputs: Vec<String>,
    /// `None` if the number of rows depends on earlier answers.
    pub(crate) parts: Option<u64>,
}

/// A frozen run, ready for a task.
pub(crate) struct Thawed {
    pub(crate) plan: Plan,
    pub(crate) dir: RunDir,
    pub(crate) shared: SharedDir,
    pub(crate) frozen: FrozenPlan,
    pub(super) tables: HashMap<TableId, PartTables>,
}

impl FrozenPlan {
    /// The plan in the folder of a run. `None` if the run was not frozen.
    pub(crate) fn read(shared: &SharedDir) -> Result<Option<FrozenPlan>, StoreError> {
        shared.read(PLAN)
    }

    /// What earlier runs cost.
    pub(super) fn spent(&self) -> Spending {
        let (calls, tokens, usd) = self.spent;
        Spending { calls: calls.try_into().ok(), tokens: tokens.try_into().ok(), usd: Some(usd) }
    }
}

/// Writes what the workers of a prepared run need; `file` is the spec. Removes parts with failed rows, which are made
/// again.
pub(crate) fn freeze(ready: &Ready, file: &Path, workers: u32) -> Result<FrozenPlan, RunError> {
    let Ready { plan, dir, project, tables, .. } = ready;
    let shared = SharedDir::of(dir);
    check_limits(&plan.spec, workers)?;
    for id in plan.stages() {
        let stage = plan.spec.stage(id);
        for number in 0..stage_parts(plan, id).unwrap_or_else(|| dir.count_parts(stage.name.as_str())) {
            let found = dir.committed(stage.name.as_str(), number);
            if found.is_some_and(|found| found.facts.counts.failed > 0) {
                dir.remove_part(stage.name.as_str(), number)?;
            }
        }
    }
    ["claims", "done", "logs", "models", "scripts"].into_iter().try_for_each(|name| shared.remove(name))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let copy = shared.path("spec").join(&name);
    std::fs::create_dir_all(shared.path("spec"))
        .and_then(|()| std::fs::copy(file, &copy))
        .map_err(StoreError::io(&copy))?;
    let ledger = Ledger::open(&project.ledger()).map_err(StoreError::from)?;
    let models: Vec<String> =
        asked_models(plan).into_iter().map(|model| plan.spec.model(model).1.model.id.clone()).collect();
    let known = write_known(&ledger, &models, shared.root())?;
    let spent = match plan.spec.budget.total {
        Some(_) => earlier_cost(&plan.spec, &ledger).map_err(StoreError::from)?,
        None => Default::default(),
    };
    let sources = plan.spec.sources().filter_map(|(id, source)| {
        let (facts, table) = (plan.sources.get(&id)?, tables.get(&id)?);
        let file = table.table.path().file_name()?.into();
        let SourceFacts { rows, content, values, import, .. } = facts.clone();
        Some((source.name.to_string(), FrozenSource { file, rows, content, values, import }))
    });
    let frozen = FrozenPlan {
        format: FORMAT,
        fanfold: env!("CARGO_PKG_VERSION").to_owned(),
        spec: name,
        workers,
        stages: ready.stages.clone(),
        rows: plan.rows,
        set: plan.set.clone(),
        sources: sources.collect(),
        paraphrases: plan.spec.paraphrases.clone(),
        limits: reply_limits(project, None),
        builds: ledger.builds().map_err(StoreError::from)?,
        known,
        spent: (spent.calls, spent.tokens, spent.usd),
        tables: frozen_tables(plan),
    };
    shared.write(PLAN, &frozen)?;
    match plan.spec.cluster.address() {
        Some(address) => send(ready, &frozen, &address)?,
        None => shared.forget_store()?,
    }
    Ok(frozen)
}

/// Sends the frozen run to the object store of its workers.
fn send(ready: &Ready, frozen: &FrozenPlan, address: &Address) -> Result<(), RunError> {
    let Ready { plan, dir, project, .. } = ready;
    let needs = Needs {
        project,
        sources: frozen.sources.values().map(|source| source.file.clone()).collect(),
        folder: &plan.spec.folder,
        files: plan.spec.reads.iter().cloned().collect(),
        tables: plan.spec.tables().map(|(_, table)| table.name().to_owned()).collect(),
    };
    Ok(push(dir, address, &needs)?)
}

/// Refuses limits that are too small for the number of workers.
fn check_limits(spec: &Spec, workers: u32) -> Result<(), RunError> {
    for (name, endpoint) in &spec.endpoints {
        if let Err((limit, value)) = endpoint.limits.share(workers) {
            return Err(RunError::Frozen(format!(
                "{workers} workers can't share the `{limit} = {value}` of provider `{name}`: use at most {value} workers"
            )));
        }
    }
    Ok(())
}

fn stage_parts(plan: &Plan, id: TableId) -> Option<u64> {
    let rows = plan.rows(plan.spec.stage(id).input)?;
    Some(plan.parts(id, rows).count() as u64)
}

fn frozen_tables(plan: &Plan) -> Vec<FrozenTable> {
    let is_made = |id: TableId| match plan.spec.table(id) {
        TableSpec::Source(_) => false,
        TableSpec::Stage(_) => plan.selected.has(id),
        TableSpec::Transform(_) => plan.selected.has(id) && !plan.transformed.contains_key(&id),
    };
    let tables = plan.spec.tables().filter(|(id, _)| is_made(*id)).map(|(id, table)| FrozenTable {
        name: table.name().to_owned(),
        is_stage: table.as_stage().is_some(),
        inputs: table
            .inputs()
            .iter()
            .copied()
            .filter(|id| is_made(*id))
            .map(|id| plan.spec.table_name(id).to_owned())
            .collect(),
        parts: if table.as_stage().is_some() { stage_parts(plan, id) } else { Some(1) },
    });
    tables.collect()
}

/// Reads the frozen plan of a run. Needs neither the sources nor the ledger.
pub(crate) fn thaw(run: &WorkerRun) -> Result<Thawed, RunError> {
    let (dir, run) = (run.dir.clone(), run.dir.root());
    let shared = SharedDir::of(&dir);
    let lacks = || RunError::Frozen(format!("{} has no frozen plan", run.display()));
    let frozen = FrozenPlan::read(&shared)?.ok_or_else(lacks)?;
    if frozen.format > FORMAT {
        let (found, version) = (frozen.format, &frozen.fanfold);
        return Err(RunError::Frozen(format!(
            "the plan was frozen by fanfold {version} (format {found}; this one reads {FORMAT})"
        )));
    }
    let folder = run.ancestors().nth(3).ok_or_else(lacks)?;
    let project = Project::of(folder);
    let mut imported = HashMap::new();
    for (name, source) in &frozen.sources {
        imported.insert(name.clone(), open_table(&project.sources().join(&source.file)).map_err(StoreError::from)?);
    }
    let columns = imported.iter().map(|(name, table)| (name.clone(), table.schema())).collect();
    let known = Frozen { columns, paraphrases: frozen.paraphrases.clone() };
    let copy = shared.path("spec").join(&frozen.spec);
    let loaded =
        load_frozen(&copy, folder, &frozen.set, &known).map_err(|error| RunError::Frozen(error.to_string()))?;
    let problem = || loaded.problems.iter().find(|problem| problem.is_error()).map(|problem| problem.message.clone());
    let spec = loaded
        .spec
        .ok_or_else(|| RunError::Frozen(format!("the frozen spec is broken: {}", problem().unwrap_or_default())))?;
    let (mut tables, mut facts) = (HashMap::new(), HashMap::new());
    for (id, source) in spec.sources() {
        let name = source.name.as_str();
        let Some((frozen, table)) = frozen.sources.get(name).zip(imported.remove(name)) else { continue };
        tables.insert(id, PartTables { id: frozen.content.clone(), table });
        let FrozenSource { rows, content, values, import, .. } = frozen.clone();
        facts.insert(id, SourceFacts { rows, content, values, import, is_fresh: false });
    }
    let selection = Selection { stages: frozen.stages.clone(), rows: frozen.rows, set: frozen.set.clone() };
    let mut plan = Plan::new(spec, &selection, facts)?;
    if plan.run_name() != dir.name() {
        let reason = "a file that the spec names has changed, or this is another version of fanfold";
        return Err(RunError::Frozen(format!("the frozen plan is not that of {}: {reason}", dir.name())));
    }
    transform::carry_out_known(&mut plan, &dir, &mut tables)?;
    Ok(Thawed { plan, dir, shared, frozen, tables })
}
