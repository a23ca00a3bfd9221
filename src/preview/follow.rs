//! Following: reads the sources of a plan once and follows their rows through the stages. A row of a later stage is
//! known if the ledger has the answers it is made from.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use arrow_array::RecordBatch;
use tempfile::TempDir;

use super::estimate::{Recall, Render, Rendered, StageEstimate, StageRows, StageState};
use super::unknown::{Unknown, read_by};
use super::volume::{OpenCall, Sample, ask_about_unknown};
use crate::lock::{Lock, ModelFacts, Prompts, before};
use crate::models::Models;
use crate::name::Name;
use crate::plan::scan::scan;
use crate::plan::{Plan, PlanError, Selection, SourceFacts, sources_read};
use crate::random::Streams;
use crate::run::{PartTables, RunError, batch_rows, carry_out};
use crate::source::{SourceError, content};
use crate::spec::TableId;
use crate::store::{Key, PartFacts, PartWriter, Project, RunDir, StoreError, imported};

#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    pub(crate) render: Render<'a>,
    /// Whether to look up the calls of stages that no other stage reads.
    pub(crate) leaves: bool,
    /// The models, if their contexts are known.
    pub(crate) models: Option<&'a Models>,
    /// The size of the sample of calls to send, for each stage.
    pub(crate) pilot: usize,
    /// The stages whose tables are kept, with the number of their calls.
    pub(crate) kept: &'a HashMap<TableId, u64>,
    /// The project whose copies of the sources are read, if there are any.
    pub(crate) project: &'a Project,
}

pub(crate) struct Followed {
    pub(crate) plan: Plan,
    pub(crate) estimates: Vec<StageEstimate>,
    pub(crate) rendered: Vec<Rendered>,
    /// The sampled calls of each stage.
    pub(crate) pilot: Vec<(TableId, Vec<OpenCall>)>,
    /// The prompts and schemas of the stages, if they do not depend on unknown answers.
    prompts: Vec<(TableId, Prompts)>,
}

impl Followed {
    pub(crate) fn lock(&self, models: &HashMap<usize, ModelFacts>) -> Lock {
        let mut lock = before(&self.plan, models);
        for (id, prompts) in &self.prompts {
            lock.add_prompts(self.plan.spec.stage(*id).name.as_str(), prompts.clone());
        }
        lock
    }
}

pub(crate) fn follow(
    plan: Plan,
    selection: &Selection,
    recall: Option<Recall<'_>>,
    options: Options<'_>,
) -> Result<Followed, RunError> {
    let mut grids: HashMap<&Name, Rc<RefCell<HashSet<Key>>>> = HashMap::new();
    let state = |id| {
        let stage = plan.spec.stage(id);
        let streams = Streams::new(plan.spec.seed.unwrap_or_default(), &["pilot", stage.name.as_str()]);
        let pilot = (options.pilot > 0).then(|| Sample::new(options.pilot, streams.of(0)));
        let is_read = plan.spec.tables().any(|(_, table)| table.inputs().contains(&id));
        let kept = options.kept.get(&id).copied().filter(|_| !is_read);
        let asked = stage.grid.as_ref().map(|grid| grids.entry(grid).or_default().clone());
        (id, StageState { pilot, asked, ..StageState::new(stage, kept) })
    };
    let stages = plan.stages().map(state).collect();
    let mut follower = Follower { plan: &plan, recall, options, stages, retained: Retained::new(&plan)? };
    let mut facts = HashMap::new();
    for i in sources_read(&plan.spec, &plan.selected) {
        let source = plan.spec.source(i);
        let named = |error: SourceError| PlanError::Source { name: source.name.to_string(), error };
        let content = content(source.source.as_ref(), &plan.spec.folder).map_err(named)?;
        let pick = selection.pick(&plan.spec);
        let mut first = 0;
        if let Some((copy, found)) = imported(options.project, source, &content, pick) {
            for batch in copy.read(0, copy.rows(), batch_rows(&copy)).map_err(StoreError::from)? {
                let batch = batch.map_err(StoreError::from)?;
                follower.follow(i, &batch, first, &Unknown::default())?;
                first += batch.num_rows() as u64;
            }
            facts.insert(i, SourceFacts { is_fresh: true, ..found });
            continue;
        }
        let mut failed = None;
        let found = scan(source, &plan.spec.folder, content, pick, |batch| {
            let followed = follower.follow(i, &batch, first, &Unknown::default());
            first += batch.num_rows() as u64;
            followed.map_err(|error| SourceError::new(failed.insert(error).to_string()))
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        facts.insert(i, found.map_err(named)?);
    }
    follower.flush()?;
    let transformed = follower.transform()?;
    let (mut estimates, mut rendered, mut prompts, mut pilot) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, stage) in follower.stages {
        pilot.extend(stage.pilot.map(|sample| (id, sample.calls)));
        estimates.push(stage.estimate);
        rendered.extend(stage.rendered);
        prompts.extend(stage.digest.map(|digest| (id, digest.finish())));
    }
    let plan = Plan { transformed, sources: facts, ..plan };
    Ok(Followed { plan, estimates, rendered, pilot, prompts })
}

struct Follower<'a> {
    plan: &'a Plan,
    recall: Option<Recall<'a>>,
    options: Options<'a>,
    stages: BTreeMap<TableId, StageState>,
    retained: Retained,
}

impl Follower<'_> {
    fn state(&mut self, stage: TableId) -> &mut StageState {
        self.stages.get_mut(&stage).expect("there is a state for every stage that runs")
    }

    fn transform(&mut self) -> Result<HashMap<TableId, u64>, RunError> {
        let mut tables: HashMap<TableId, PartTables> = HashMap::new();
        let mut transformed = HashMap::new();
        for i in self.plan.transforms() {
            let transform = self.plan.spec.transform(i);
            for input in &transform.inputs {
                if let Some(writer) = self.retained.open.remove(input) {
                    let made = writer.commit(PartFacts::default())?;
                    tables.insert(*input, PartTables { id: String::new(), table: made.table });
                }
            }
            let inputs: Option<Vec<_>> =
                transform.inputs.iter().map(|input| Some(vec![tables.get(input)?.clone()])).collect();
            let Some(inputs) = inputs else {
                self.wait(i, 0);
                continue;
            };
            let made = carry_out(self.plan, i, &self.retained.dir, &inputs)?;
            transformed.insert(i, made.table.rows());
            let mut first = 0;
            let rows = made.table.read(0, made.table.rows(), batch_rows(&made.table)).map_err(StoreError::from)?;
            for batch in rows {
                let batch = batch.map_err(StoreError::from)?;
                self.follow(i, &batch, first, &Unknown::default())?;
                first += batch.num_rows() as u64;
            }
            self.flush()?;
            tables.insert(i, made);
        }
        Ok(transformed)
    }

    /// Follows `batch`, the rows of `input` from number `first` on, through the stages that read it.
    fn follow(&mut self, input: TableId, batch: &RecordBatch, first: u64, unknown: &Unknown) -> Result<(), StoreError> {
        match self.retained.open.get_mut(&input) {
            Some(writer) if unknown.is_empty() => writer.write(batch.clone())?,
            // A transform needs all cells of its rows.
            _ => drop(self.retained.open.remove(&input)),
        }
        for i in self.plan.stages() {
            let stage = self.plan.spec.stage(i);
            if stage.input != input {
                continue;
            }
            if !stage.packs() {
                self.pass(i, batch, first, unknown)?;
                continue;
            }
            let reads_unknown = unknown.rows(&read_by(stage)).is_some();
            let state = self.state(i);
            state.unread.extend(unknown.columns());
            match state.packs.as_mut().filter(|_| !reads_unknown).map(|(cutter, _)| cutter.push(batch.clone())) {
                Some(Ok(None)) => {}
                Some(Ok(Some(packs))) => self.pass_next(i, &packs)?,
                // The row number is unknown, or a column would be too long.
                None | Some(Err(_)) => self.wait_at(i, batch.num_rows() as u64),
            }
        }
        Ok(())
    }

    /// Follows the last packs, which are incomplete.
    fn flush(&mut self) -> Result<(), StoreError> {
        for i in self.plan.stages() {
            if let Some(left) = self.state(i).packs.as_mut().and_then(|(cutter, _)| cutter.finish()) {
                self.pass_next(i, &left)?;
            }
        }
        Ok(())
    }

    fn pass_next(&mut self, stage: TableId, batch: &RecordBatch) -> Result<(), StoreError> {
        let state = self.state(stage);
        let unknown = Unknown::whole(&state.unread, batch.num_rows());
        let Some((_, next)) = &mut state.packs else { return Ok(()) };
        let first = *next;
        *next += batch.num_rows() as u64;
        self.pass(stage, batch, first, &unknown)
    }

    fn pass(&mut self, stage: TableId, batch: &RecordBatch, first: u64, unknown: &Unknown) -> Result<(), StoreError> {
        let models = self.options.models;
        let rows = StageRows { stage: self.plan.spec.stage(stage), batch, first, models, unknown };
        let key = self.plan.spec.relation(rows.stage.input).key;
        let render = Render { key, ..self.options.render };
        // Without a ledger, only equal calls of universes are looked for.
        let recall = self.recall.filter(|recall| recall.ledger.is_some() || rows.stage.grid.is_some());
        let recall = recall.filter(|_| self.options.leaves || self.is_read(stage));
        let output = self.state(stage).estimate(rows, recall, render)?;
        let fold = rows.stage.answers.fold();
        match output {
            Some((output, unknown)) => self.follow(stage, &output, first * fold, &unknown)?,
            None => self.wait(stage, batch.num_rows() as u64 * fold),
        }
        Ok(())
    }

    fn wait(&mut self, input: TableId, rows: u64) {
        self.retained.open.remove(&input);
        for i in self.plan.stages() {
            let after = self.plan.spec.stage(i);
            if after.input == input {
                self.wait_at(i, rows);
            }
        }
    }

    fn wait_at(&mut self, stage: TableId, rows: u64) {
        let state = self.state(stage);
        let held = state.packs.take().and_then(|(mut cutter, _)| cutter.finish());
        let rows = rows + held.map_or(0, |held| held.num_rows() as u64);
        state.estimate.unknown += rows;
        state.digest = None;
        let spec = self.plan.spec.stage(stage);
        ask_about_unknown(&mut self.state(stage).estimate.volumes, spec, rows);
        self.wait(stage, rows * spec.answers.fold());
    }

    fn is_read(&self, stage: TableId) -> bool {
        self.plan.stages().any(|i| self.plan.spec.stage(i).input == stage)
            || self.plan.transforms().any(|i| self.plan.spec.transform(i).inputs.contains(&stage))
    }
}

/// The rows that transforms read, in a temporary folder. Dropping this removes the folder.
struct Retained {
    dir: RunDir,
    /// The inputs of transforms whose rows are all known so far.
    open: HashMap<TableId, PartWriter>,
    _folder: Option<TempDir>,
}

impl Retained {
    fn new(plan: &Plan) -> Result<Self, RunError> {
        let folder = match plan.transforms().next() {
            None => None,
            Some(_) => Some(tempfile::tempdir().map_err(StoreError::io(&std::env::temp_dir()))?),
        };
        let dir = RunDir::new(folder.as_ref().map(|folder| folder.path().to_owned()).unwrap_or_default());
        let mut open = HashMap::new();
        for input in plan.transforms().flat_map(|i| &plan.spec.transform(i).inputs) {
            if plan.spec.table(*input).as_transform().is_none() {
                let schema = plan.spec.relation(*input).schema.clone();
                open.insert(*input, dir.write_table(plan.spec.table_name(*input), schema)?);
            }
        }
        Ok(Retained { dir, open, _folder: folder })
    }
}
