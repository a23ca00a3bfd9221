//! A preview of a run: how many of its calls the ledger answers, and prompts as they would be sent.
//!
//! Reads the sources and the ledger, writes nothing and sends nothing. A stage that reads another stage is followed
//! through the answers that the ledger holds; its other rows wait.

mod joint;
mod said;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use tempfile::TempDir;

use super::RunError;
use super::packs::Cutter;
use super::parts::{PartTables, batch_rows};
use super::reshape::carry_out;
use super::{fresh_since, unread};
use crate::ask::{Fate, Finished, Terms, columns, fates};
use crate::lock::{Lock, ModelFacts, Outlook, PromptDigest, Prompts, before};
use crate::models::{Access, Models, asked_models};
use crate::plan::scan::scan;
use crate::plan::{Plan, PlanError, Selection, routing, select, sources_read};
use crate::prompt::{Answer, Failure, Prompt};
use crate::provider::Env;
use crate::source::{SourceError, content};
use crate::spec::{PerTable, Spec, StageSpec, TableId};
use crate::store::{Ledger, LedgerError, PartFacts, PartWriter, Project, RunDir, StoreError};
use crate::table::{Cell, Row};

pub use joint::Packs;
pub use said::Said;

/// What a run would do.
pub struct Preview {
    /// The plan.
    pub plan: Plan,
    /// For each stage that runs, what is known.
    pub stages: Vec<Known>,
    /// The prompts that were asked for.
    pub rendered: Vec<Rendered>,
    /// What its tables would be made from, as far as that is known.
    pub lock: Lock,
}

/// What is known of a stage before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Calls that the ledger answers.
    pub from_ledger: u64,
    /// Rows that will be skipped.
    pub skipped: u64,
    /// Rows that lack nothing, so that no call is needed.
    pub complete: u64,
    /// Rows whose prompts depend on answers that are not known yet.
    pub unknown: u64,
    /// Calls at most about the rows that are known, those of rows that are skipped or complete left out.
    pub calls: u64,
    /// The packs, where rows are asked about together.
    pub packs: Packs,
    /// What is said first about the rows that are known.
    pub said: Said,
}

impl Known {
    /// Adds what is said about a row of a stage that asks row by row.
    fn singles(&mut self, stage: &StageSpec, prompts: &Result<Vec<Prompt>, Failure>) {
        let singles = prompts.iter().flatten().filter(|_| !stage.packs());
        singles.for_each(|prompt| self.said.add(prompt));
    }

    /// Adds what is said about rows that are asked about together.
    fn packed(&mut self, stage: &StageSpec, together: &[(usize, Vec<Prompt>)]) {
        self.packs.add(stage, together, &mut self.said);
    }
}

/// A prompt as it would be sent.
pub struct Rendered {
    /// The stage.
    pub stage: String,
    /// The row's number, from 1.
    pub row: u64,
    /// The prompt, or why there is none.
    pub prompt: Result<Prompt, String>,
}

/// Plans `spec` and looks its calls up; renders the first `render` prompts of every stage that reads a source.
pub fn preview(
    spec: Spec,
    selection: &Selection,
    project: &Project,
    env: Env<'_>,
    render: usize,
) -> Result<Preview, RunError> {
    let ledger = open(project)?;
    let facts = unread(&spec, &select(&spec, &selection.stages)?)?;
    let plan = Plan::new(spec, selection, facts)?;
    let since = fresh_since(&RunDir::new(project.run(&plan.run_name()))).unwrap_or(i64::MIN);
    // What keeps a client from being made (an unset address) is told by `run`; here it only means: not known.
    let access = Access { env, ledger: ledger.as_ref(), recorded: None };
    let models = Models::offline(&plan.spec, &asked_models(&plan), access).ok();
    let known = models.as_ref().zip(ledger.as_ref());
    let followed = follow(plan, selection, known, Look { render, leaves: true, since })?;
    let lock = followed.lock(&models.as_ref().map(ModelFacts::all).unwrap_or_default());
    let Followed { plan, known, rendered, .. } = followed;
    let stages = plan.stages().map(|i| known[i]).collect();
    Ok(Preview { plan, stages, rendered, lock })
}

/// The whole of `plan` with its sources read, and the lock that a run would start with if these were its models. Prompts that
/// depend on answers are made from the answers of the builds that `lock` names.
pub fn now(plan: Plan, models: Option<Models>, lock: &Lock, project: &Project) -> Result<(Plan, Lock), RunError> {
    let facts = models.as_ref().map(ModelFacts::all).unwrap_or_default();
    let ledger = open(project)?;
    let models = models.map(|mut models| {
        models.set_builds(|model| lock.build(model));
        models
    });
    let known = models.as_ref().zip(ledger.as_ref());
    let followed = follow(plan, &Selection::default(), known, Look { render: 0, leaves: false, since: i64::MIN })?;
    let now = followed.lock(&facts);
    Ok((followed.plan, now))
}

/// The project's ledger, if it has one.
fn open(project: &Project) -> Result<Option<Ledger>, StoreError> {
    let path = project.ledger();
    Ok(if path.exists() { Some(Ledger::open(&path)?) } else { None })
}

impl Preview {
    /// What is known of the calls of each stage that runs.
    pub fn outlooks(&self) -> Vec<Outlook> {
        let outlook = |(at, known): (usize, &Known)| Outlook {
            calls: self.calls(at),
            from_ledger: known.from_ledger,
            unknown: known.unknown,
        };
        self.stages.iter().enumerate().map(outlook).collect()
    }

    /// Calls at most that the `at`-th stage that runs makes, as far as its rows are known.
    pub fn calls(&self, at: usize) -> u64 {
        let (Some(stage), known) = (self.plan.stages().nth(at), self.stages[at]) else { return 0 };
        let stage = self.plan.spec.stage(stage);
        let each = stage.width() as u64 * stage.stage.info.most_prompts;
        match stage.packs() {
            true => (known.packs.count + known.unknown.div_ceil(stage.rows_per_prompt)) * each,
            false => known.calls + known.unknown * each,
        }
    }
}

/// The plan of the first rows, and the first `most` prompts of every stage that can be rendered without answers. No ledger
/// is opened.
pub fn prompts(spec: Spec, selection: &Selection, most: usize) -> Result<(Plan, Vec<Rendered>), RunError> {
    let facts = unread(&spec, &select(&spec, &selection.stages)?)?;
    let plan = Plan::new(spec, selection, facts)?;
    let followed = follow(plan, selection, None, Look { render: most, leaves: false, since: i64::MIN })?;
    Ok((followed.plan, followed.rendered))
}

/// What is wanted of the rows.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// How many prompts of each stage are kept.
    pub render: usize,
    /// Whether the calls of stages that no other stage reads are looked up too.
    pub leaves: bool,
    /// The moment before which an answer is history, in milliseconds since 1970.
    pub since: i64,
}

/// A plan whose rows have been followed through the stages.
pub(super) struct Followed {
    /// The plan, its sources counted.
    pub plan: Plan,
    /// What is known, by stage.
    known: PerTable<Known>,
    rendered: Vec<Rendered>,
    /// The prompts and the schemas by stage; none where they depend on answers that are not known.
    prompts: PerTable<Option<Prompts>>,
}

impl Followed {
    /// The lock that a run would start with; `models` by index in the spec.
    fn lock(&self, models: &HashMap<usize, ModelFacts>) -> Lock {
        let mut lock = before(&self.plan, models);
        for i in self.plan.stages() {
            if let Some(prompts) = &self.prompts[i] {
                lock.add_prompts(self.plan.spec.stage(i).name.as_str(), prompts.clone());
            }
        }
        lock
    }
}

/// Reads the sources of `plan` once and follows their rows through the stages, by the answers that the ledger holds.
pub(super) fn follow(
    plan: Plan,
    selection: &Selection,
    known: Option<(&Models, &Ledger)>,
    look: Look,
) -> Result<Followed, RunError> {
    let mut looker = Looker {
        stages: PerTable::new(&plan.spec, |_| Known::default()),
        digests: PerTable::new(&plan.spec, |_| Some(PromptDigest::default())),
        rendered: Vec::new(),
        kept: Kept::new(&plan)?,
        cutters: PerTable::new(&plan.spec, |(_, table)| table.as_stage().map(|stage| (Cutter::new(stage), 0))),
        known,
        plan: &plan,
        look,
    };
    let mut facts = HashMap::new();
    for i in sources_read(&plan.spec, &plan.selected) {
        let source = plan.spec.source(i);
        let named = |error: SourceError| PlanError::Source { name: source.name.to_string(), error };
        let content = content(source.source.as_ref(), &plan.spec.folder).map_err(named)?;
        let mut first = 0;
        let found = scan(source, &plan.spec.folder, content, selection.limit, |batch| {
            looker.follow(i, &batch, first)?;
            first += batch.num_rows() as u64;
            Ok::<_, Failed>(())
        });
        let found = found.map_err(|failed| match failed {
            Failed::Source(error) => RunError::Plan(named(error)),
            Failed::Store(error) => error.into(),
        })?;
        facts.insert(i, found);
    }
    looker.flush()?;
    let reshaped = looker.reshape()?;
    let Looker { stages: known, mut rendered, digests, .. } = looker;
    rendered.sort_by_key(|r| (plan.spec.stages().position(|(_, s)| s.name.as_str() == r.stage), r.row));
    let prompts = digests.map(|digest| digest.map(PromptDigest::finish));
    let plan = Plan { reshaped, ..Plan::new(plan.spec, selection, facts)? };
    Ok(Followed { plan, known, rendered, prompts })
}

enum Failed {
    Source(SourceError),
    Store(StoreError),
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Failed::Source(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Failed::Store(error)
    }
}

struct Looker<'a> {
    plan: &'a Plan,
    known: Option<(&'a Models, &'a Ledger)>,
    stages: PerTable<Known>,
    /// What each stage asks, as long as all of it is known.
    digests: PerTable<Option<PromptDigest>>,
    rendered: Vec<Rendered>,
    /// The tables that reshapes read.
    kept: Kept,
    look: Look,
    /// For each stage what makes its rows whole packs, and the number of the next row, from 0; none once a row is not known,
    /// since the packs behind it begin nobody knows where.
    cutters: PerTable<Option<(Cutter, u64)>>,
}

/// Tables that are kept until a reshape has read them, in a folder that goes with them.
struct Kept {
    dir: RunDir,
    /// Those of inputs that some reshape reads, as far as all their rows are known.
    open: HashMap<TableId, PartWriter>,
    _folder: Option<TempDir>,
}

impl Kept {
    fn new(plan: &Plan) -> Result<Self, RunError> {
        let folder = match plan.reshapes().next() {
            None => None,
            Some(_) => Some(tempfile::tempdir().map_err(StoreError::io(&std::env::temp_dir()))?),
        };
        let dir = RunDir::new(folder.as_ref().map(|folder| folder.path().to_owned()).unwrap_or_default());
        let mut open = HashMap::new();
        for input in plan.reshapes().flat_map(|i| &plan.spec.reshape(i).inputs) {
            if plan.spec.table(*input).as_reshape().is_none() {
                let schema = plan.spec.relation(*input).schema.clone();
                open.insert(*input, dir.write_table(plan.spec.table_name(*input), schema)?);
            }
        }
        Ok(Kept { dir, open, _folder: folder })
    }
}

impl Looker<'_> {
    /// Carries out the reshapes whose inputs are known, and follows their rows; gives how many each has.
    fn reshape(&mut self) -> Result<HashMap<TableId, u64>, RunError> {
        let mut tables: HashMap<TableId, PartTables> = HashMap::new();
        let mut reshaped = HashMap::new();
        for i in self.plan.reshapes() {
            let reshape = self.plan.spec.reshape(i);
            for input in &reshape.inputs {
                if let Some(writer) = self.kept.open.remove(input) {
                    let made = writer.commit(PartFacts::default())?;
                    tables.insert(*input, PartTables { id: String::new(), table: made.table });
                }
            }
            let inputs: Option<Vec<_>> =
                reshape.inputs.iter().map(|input| Some(vec![tables.get(input)?.clone()])).collect();
            let Some(inputs) = inputs else {
                self.wait(i, 0);
                continue;
            };
            let made = carry_out(reshape, &self.kept.dir, &inputs)?;
            reshaped.insert(i, made.table.rows());
            let mut first = 0;
            let rows = made.table.read(0, made.table.rows(), batch_rows(&made.table)).map_err(StoreError::from)?;
            for batch in rows {
                let batch = batch.map_err(StoreError::from)?;
                self.follow(i, &batch, first)?;
                first += batch.num_rows() as u64;
            }
            self.flush()?;
            tables.insert(i, made);
        }
        Ok(reshaped)
    }

    /// Looks at the stages that read `input`, whose rows from `first` on are `batch`, and at those that read them.
    fn follow(&mut self, input: TableId, batch: &RecordBatch, first: u64) -> Result<(), StoreError> {
        if let Some(writer) = self.kept.open.get_mut(&input) {
            writer.write(batch.clone(), None)?;
        }
        for i in self.plan.stages() {
            if self.plan.spec.stage(i).input != input {
                continue;
            }
            if !self.plan.spec.stage(i).packs() {
                self.pass(i, batch, first)?;
                continue;
            }
            match self.cutters[i].as_mut().map(|(cutter, _)| cutter.push(batch.clone())) {
                Some(Ok(None)) => {}
                Some(Ok(Some(packs))) => self.pass_next(i, &packs)?,
                // No number, or more than a column can hold at once.
                None | Some(Err(_)) => self.wait_at(i, batch.num_rows() as u64),
            }
        }
        Ok(())
    }

    /// Looks at what is left of packs that the rows end in.
    fn flush(&mut self) -> Result<(), StoreError> {
        for i in self.plan.stages() {
            if let Some(left) = self.cutters[i].as_mut().and_then(|(cutter, _)| cutter.finish()) {
                self.pass_next(i, &left)?;
            }
        }
        Ok(())
    }

    /// Looks at the next rows of a stage that come in whole packs.
    fn pass_next(&mut self, stage: TableId, batch: &RecordBatch) -> Result<(), StoreError> {
        let Some((_, next)) = &mut self.cutters[stage] else { return Ok(()) };
        let first = *next;
        *next += batch.num_rows() as u64;
        self.pass(stage, batch, first)
    }

    /// Looks at rows of a stage, and follows what becomes of them.
    fn pass(&mut self, stage: TableId, batch: &RecordBatch, first: u64) -> Result<(), StoreError> {
        let output = self.look(stage, batch, first)?;
        let fold = self.plan.spec.stage(stage).answers.fold();
        match output {
            Some(output) => self.follow(stage, &output, first * fold)?,
            None => self.wait(stage, batch.num_rows() as u64 * fold),
        }
        Ok(())
    }

    /// Counts rows of the stages after `input` as not known yet.
    fn wait(&mut self, input: TableId, rows: u64) {
        self.kept.open.remove(&input);
        for i in self.plan.stages() {
            let after = self.plan.spec.stage(i);
            if after.input == input {
                self.wait_at(i, rows);
            }
        }
    }

    /// Counts rows of stage `stage` and of those after it as not known yet.
    fn wait_at(&mut self, stage: TableId, rows: u64) {
        let held = self.cutters[stage].take().and_then(|(mut cutter, _)| cutter.finish());
        let rows = rows + held.map_or(0, |held| held.num_rows() as u64);
        self.stages[stage].unknown += rows;
        self.digests[stage] = None;
        self.wait(stage, rows * self.plan.spec.stage(stage).answers.fold());
    }

    /// Looks at a stage; gives its rows if the ledger answers all of them.
    fn look(&mut self, index: TableId, batch: &RecordBatch, first: u64) -> Result<Option<RecordBatch>, LedgerError> {
        let stage = self.plan.spec.stage(index);
        let rows = batch.num_rows();
        let wanted = self.rendered.iter().filter(|r| r.stage == stage.name.as_str()).count();
        let mut render = self.look.render.saturating_sub(wanted);
        let mut digest = self.digests[index].take();
        let known = self.known.filter(|_| self.look.leaves || self.is_read(index));
        let mut slots = Vec::with_capacity(rows * stage.width());
        let mut who: Vec<Option<String>> = Vec::with_capacity(slots.capacity());
        let mut complete = true;
        let mut together = Vec::new();
        let fates = fates(stage, batch, first);
        for (i, fate) in fates.iter().enumerate() {
            let row = Row::new(batch, i, first);
            let most = if *fate == Fate::Asked { stage.stage.most_prompts(row) } else { 0 };
            if let Some(digest) = digest.as_mut().filter(|_| most == 0) {
                digest.unasked(fate);
            }
            if *fate != Fate::Asked {
                self.stages[index].skipped += u64::from(*fate == Fate::Skipped);
                complete &= *fate == Fate::Skipped;
                slots.extend((0..stage.width()).map(|_| stage.stage.ask.unanswered(row, &[])));
                who.extend((0..stage.width()).map(|_| None));
                continue;
            }
            if most == 0 {
                self.stages[index].complete += 1;
                let model = |place| &stage.model_names[routing::model_of(stage, row.number(), place)];
                slots.extend((0..stage.width()).map(|place| stage.stage.ask.cells(row, model(place), &[])));
                who.extend((0..stage.width()).map(|place| Some(model(place).clone())));
                continue;
            }
            self.stages[index].calls += stage.width() as u64 * most;
            let prompts = stage.stage.ask.prompts(row, &[]);
            if let Some(digest) = &mut digest {
                digest.asked(&prompts);
            }
            if render > 0 {
                render -= 1;
                self.rendered.extend(rendered(stage, row, &prompts));
            }
            self.stages[index].singles(stage, &prompts);
            if let (true, Ok(prompts)) = (stage.packs(), &prompts) {
                together.push((i, prompts.clone()));
                slots.extend((0..stage.width()).map(|_| Vec::new()));
                who.extend((0..stage.width()).map(|_| None));
                continue;
            }
            let (Some((models, ledger)), Ok(prompts)) = (known, &prompts) else {
                complete = false;
                continue;
            };
            for place in 0..stage.width() {
                let (calls, found) = answered(stage, models, (ledger, self.look.since), place, row, prompts)?;
                self.stages[index].from_ledger += calls;
                complete &= found.is_some();
                if let Some((cells, by)) = found {
                    slots.push(cells);
                    who.push(Some(by));
                }
            }
        }
        self.stages[index].packed(stage, &together);
        if let Some((models, ledger)) = known.filter(|_| !together.is_empty()) {
            let (calls, found) = joint::answered(stage, models, (ledger, self.look.since), (batch, first), &together)?;
            self.stages[index].from_ledger += calls;
            complete &= found.len() == together.len() * stage.width() && slots.len() == rows * stage.width();
            for (slot, (cells, by)) in found.into_iter().filter(|_| complete) {
                (slots[slot], who[slot]) = (cells, Some(by));
            }
        } else {
            complete &= together.is_empty();
        }
        self.digests[index] = digest;
        if !complete {
            return Ok(None);
        }
        let who: Vec<Option<&str>> = who.iter().map(Option::as_deref).collect();
        Ok(columns(stage, batch, &slots, &who, &vec![None; slots.len()]).ok())
    }

    /// Whether a stage that runs reads stage `stage`.
    fn is_read(&self, stage: TableId) -> bool {
        self.plan.stages().any(|i| self.plan.spec.stage(i).input == stage)
            || self.plan.reshapes().any(|i| self.plan.spec.reshape(i).inputs.contains(&stage))
    }
}

/// The prompts of a row as they are shown.
fn rendered(stage: &StageSpec, row: Row<'_>, prompts: &Result<Vec<Prompt>, Failure>) -> Vec<Rendered> {
    let named = |prompt| Rendered { stage: stage.name.to_string(), row: row.number() + 1, prompt };
    match prompts {
        Ok(prompts) => prompts.iter().cloned().map(Ok).map(named).collect(),
        Err(failure) => vec![named(Err(failure.to_string()))],
    }
}

/// The cells of an answer, and who gave it.
type Answered = (Vec<Cell>, String);

/// How many calls for answer `place` about a row, which is asked `first` first, the ledger answers, and the cells and who
/// answered if it answers all.
fn answered(
    stage: &StageSpec,
    models: &Models,
    (ledger, since): (&Ledger, i64),
    place: usize,
    row: Row<'_>,
    first: &[Prompt],
) -> Result<(u64, Option<Answered>), LedgerError> {
    let model = routing::model_of(stage, row.number(), place);
    let replicate = (place / stage.answers.models_per_row()) as u64;
    let target = models.target(stage.models[model]);
    let terms = Terms::new(stage, &target.fallback);
    let mut answers: Vec<Answer> = Vec::new();
    let mut who = stage.model_names[model].clone();
    let mut prompts = Cow::Borrowed(first);
    while !prompts.is_empty() {
        let keys: Vec<_> = prompts.iter().map(|p| target.key(p, replicate)).collect();
        let found = ledger.find_since(&keys, since)?;
        let mut known: Vec<Answer> = Vec::with_capacity(prompts.len());
        for (record, prompt) in found.into_iter().zip(prompts.iter()) {
            let Some(finished) = record.and_then(|r| Finished::known(Arc::new(r), prompt, &terms)) else { continue };
            if let Some(other) = &finished.record.notes.fallback {
                who = other.clone();
            }
            known.extend(finished.answer.ok());
        }
        if known.len() < prompts.len() {
            return Ok((answers.len() as u64 + known.len() as u64, None));
        }
        answers.extend(known);
        let Ok(next) = stage.stage.ask.prompts(row, &answers) else { return Ok((0, None)) };
        prompts = Cow::Owned(next);
    }
    let cells = stage.stage.ask.cells(row, &stage.model_names[model], &answers);
    Ok((answers.len() as u64, Some((cells, who))))
}
