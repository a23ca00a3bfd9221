//! The producer: reads the parts of a stage block by block, renders the prompts and answers what the ledger knows.
//!
//! Runs on a blocking thread of its own, ahead of the dispatcher by as many blocks as there is room for.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::RunError;
use super::block::{Asked, Block};
use super::packs::{Cutter, Filled, Group, Site, Stepped, audited};
use super::parts::{BLOCK_BYTES, BLOCK_ROWS, Slice, batch_rows};
use super::recent::Lookup;
use super::stage::Job;
use crate::ask::{Fate, Finished, Terms};
use crate::plan::{Part, routing};
use crate::prompt::{Answer, Expect, Failure, FailureKind, Message, Prompt};
use crate::spec::{Order, StageSpec};
use crate::store::{CallRef, Key, StoreError};
use crate::table::Row;

/// Ordinary blocks in memory beside the rows that the lanes work on.
const LOOKAHEAD: usize = 16;

/// What the producer hands on, in order.
pub enum Produced {
    /// A part begins that is made from the parts with these marks.
    Begin(Part, Vec<String>),
    /// A block with what has still to be asked. The look-up is kept until that is claimed.
    Block(Arc<Block>, Vec<Task>, Arc<Lookup>),
    /// A part ends after so many blocks.
    End(u64, u64),
}

/// How much may be in memory, in units of a row of an ordinary block: blocks cost by rows and by bytes. Model by model a
/// whole part is in memory, so there the room is for two parts.
struct Room<'a> {
    job: &'a Job,
    by_part: bool,
    units: Arc<Semaphore>,
    /// Units of a lane's two next rows, or packs, are added when the first rows show how large they are.
    lanes: Option<usize>,
    part: Option<Arc<OwnedSemaphorePermit>>,
}

impl<'a> Room<'a> {
    fn new(job: &'a Job) -> Self {
        let by_part = job.order() == Order::ModelMajor;
        let units = Arc::new(Semaphore::new(if by_part { 2 } else { LOOKAHEAD * BLOCK_ROWS }));
        Room { job, by_part, units, lanes: Some(job.lanes()), part: None }
    }

    /// Lets go of the part before.
    fn begin_part(&mut self, handle: &Handle) {
        self.part = None;
        if self.by_part {
            self.part = self.wait(handle, 1);
        }
    }

    /// Room for a block of `input`; none when the run stops.
    fn take(&mut self, handle: &Handle, input: &RecordBatch) -> Option<Arc<OwnedSemaphorePermit>> {
        if self.by_part {
            return self.part.clone();
        }
        let rows = input.num_rows();
        let bytes = input.get_array_memory_size();
        let units = rows.max(bytes * BLOCK_ROWS / BLOCK_BYTES).clamp(1, LOOKAHEAD * BLOCK_ROWS);
        if let Some(lanes) = self.lanes.take() {
            let pack = self.job.stage().rows_per_prompt as usize;
            self.units.add_permits(2 * lanes * pack.min(rows) * units.div_ceil(rows));
        }
        self.wait(handle, units as u32)
    }

    fn wait(&self, handle: &Handle, units: u32) -> Option<Arc<OwnedSemaphorePermit>> {
        handle.block_on(async {
            tokio::select! {
                biased;
                () = self.job.stop.draining() => None,
                room = self.units.clone().acquire_many_owned(units) => room.ok().map(Arc::new),
            }
        })
    }
}

/// What a lane does at a time.
pub enum Task {
    /// One slot.
    One(Pending),
    /// Slots that are asked together.
    Several(Group),
}

/// A slot of a block that has something to ask.
pub struct Pending {
    /// Whether its answers are only compared with those that stand in the slot.
    pub audit: bool,
    /// The slot.
    pub slot: usize,
    /// The row in the block.
    pub row: usize,
    /// The model's place in the stage's list.
    pub model: usize,
    /// Which of the replicates it is, from 0.
    pub replicate: u64,
    /// What has been asked and answered.
    pub asked: Vec<Asked>,
    /// What is to be asked now, with what is known of it.
    pub round: Vec<Question>,
}

/// A prompt with its key and its answer, if that is known.
pub struct Question {
    /// The prompt.
    pub prompt: Arc<Prompt>,
    /// Its key.
    pub key: Key,
    /// What the ledger knows.
    pub known: Option<Finished>,
}

/// A question that is looked up, with whose it is: the row in the block and the model's place in the stage's list.
pub type Seek<'a> = (&'a mut Question, usize, usize);

impl Task {
    /// The model's place in the stage's list.
    pub fn model(&self) -> usize {
        match self {
            Task::One(pending) => pending.model,
            Task::Several(group) => group.model,
        }
    }

    /// What is to be asked now.
    pub fn seeks(&mut self) -> Box<dyn Iterator<Item = Seek<'_>> + '_> {
        match self {
            Task::One(Pending { round, row, model, .. }) => {
                Box::new(round.iter_mut().map(|question| (question, *row, *model)))
            }
            Task::Several(group) => {
                let model = group.model;
                Box::new(group.wave().map(move |(question, row)| (question, row, model)))
            }
        }
    }

    /// Its place among the tasks of its block; an audit comes after what it is about.
    fn place(&self) -> (usize, bool) {
        match self {
            Task::One(pending) => (pending.slot, pending.audit),
            Task::Several(group) => (group.slot(), false),
        }
    }
}

/// The answers so far, for the stage.
pub fn answers(asked: &[Asked]) -> Vec<Answer> {
    asked.iter().filter_map(|(_, finished)| finished.answer.clone().ok()).collect()
}

/// Produces every part of the job's stage that isn't committed yet; ends early when nobody listens any more.
pub fn produce(job: &Job, out: &mpsc::Sender<Produced>) -> Result<(), RunError> {
    let stage = job.stage();
    let handle = Handle::current();
    let mut room = Room::new(job);
    let builds = fingerprints(job);
    let Some(rows) = total(job, &handle) else { return Ok(()) };
    let sample = audited(stage, job.plan.spec.seed, rows);
    for part in job.plan.parts(job.id, rows) {
        let found = handle.block_on(async {
            tokio::select! {
                biased;
                () = job.stop.draining() => None,
                found = job.input.rows(part.start, part.rows) => Some(found),
            }
        });
        let Some((mut marks, slices)) = found else { return Ok(()) };
        marks.extend(builds.iter().cloned());
        marks.extend(job.calls.recorder().fresh_since().map(|since| format!("fresh:{since}")));
        let committed = job.dir.committed(stage.name.as_str(), part.number);
        if let Some(kept) = committed.filter(|c| c.facts.counts.failed == 0 && c.facts.inputs == marks) {
            job.progress().kept(&kept.facts);
            job.output.commit(part.number, kept);
            continue;
        }
        if out.blocking_send(Produced::Begin(part, marks)).is_err() {
            return Ok(());
        }
        room.begin_part(&handle);
        let mut row = part.start;
        let mut blocks = 0;
        for batch in packs(stage, slices) {
            for input in pieces(stage, &batch?) {
                let Some(room) = room.take(&handle, &input) else { return Ok(()) };
                let rows = input.num_rows() as u64;
                let place = (part.number, blocks, row);
                let produced = block(job, place, input, room, &sample)?;
                if job.stop.is_draining() || out.blocking_send(produced).is_err() {
                    return Ok(());
                }
                row += rows;
                blocks += 1;
            }
        }
        if out.blocking_send(Produced::End(part.number, blocks)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The rows of the stage's input, once they are known; none when the run stops before.
fn total(job: &Job, handle: &Handle) -> Option<u64> {
    let rows = handle.block_on(async {
        tokio::select! {
            biased;
            () = job.stop.draining() => None,
            rows = job.input.total() => Some(rows),
        }
    })?;
    job.progress().expect(rows);
    job.output.expect(rows * job.stage().answers.fold());
    Some(rows)
}

/// The rows of a part in batches that cut no pack; the first one begins a pack.
fn packs(stage: &StageSpec, slices: Vec<Slice>) -> impl Iterator<Item = Result<RecordBatch, RunError>> {
    let read = slices.into_iter().flat_map(|slice| -> Box<dyn Iterator<Item = _>> {
        match slice.table.read(slice.start, slice.rows, batch_rows(&slice.table)) {
            Ok(batches) => Box::new(batches.map(|batch| batch.map(Some).map_err(|e| StoreError::from(e).into()))),
            Err(error) => Box::new(std::iter::once(Err(StoreError::from(error).into()))),
        }
    });
    let mut cutter = Cutter::new(stage);
    read.chain([Ok(None)]).filter_map(move |batch| match batch {
        Ok(Some(batch)) => cutter.push(batch).map_err(|e| RunError::Died(e.to_string())).transpose(),
        Ok(None) => cutter.finish().map(Ok),
        Err(error) => Some(Err(error)),
    })
}

/// What the answers depend on beside the rows: for each model its build and how it is asked. Parts that were made with
/// another one are made anew.
fn fingerprints(job: &Job) -> Vec<String> {
    let stage = job.stage();
    let messages = vec![Message::user(stage.stage.info.meaning.to_string())];
    let schema = Some(Arc::new(serde_json::json!({ "type": "object" })));
    let probe = Prompt { messages, expect: Arc::new(Expect::Text), schema, respondent: None, pack: None };
    stage.models.iter().map(|model| job.calls.target(*model).key(&probe, 0).to_string()).collect()
}

/// The batch in pieces whose prompts, judged by the first row's, are about as large as a block may be.
fn pieces(stage: &StageSpec, batch: &RecordBatch) -> Vec<RecordBatch> {
    let first = stage.stage.ask.prompts(Row::new(batch, 0, 0), &[]).unwrap_or_default();
    let bytes: usize = first.iter().flat_map(|p| &p.messages).map(|m| m.content.len()).sum();
    let pack = stage.rows_per_prompt as usize;
    let rows = (BLOCK_BYTES / bytes.max(1)).clamp(1, batch.num_rows()).next_multiple_of(pack);
    (0..batch.num_rows()).step_by(rows).map(|at| batch.slice(at, rows.min(batch.num_rows() - at))).collect()
}

/// Makes a block of `input` and answers what the ledger knows.
fn block(
    job: &Job,
    (part, index, first_row): (u64, u64, u64),
    input: RecordBatch,
    room: Arc<OwnedSemaphorePermit>,
    sample: &HashSet<u64>,
) -> Result<Produced, StoreError> {
    let lookup = Arc::new(job.calls.recorder().lookup());
    let block = Block::new(part, index, first_row, input, job.stage(), room);
    let mut open = first_round(job, &block, sample);
    let mut missing = Vec::new();
    let only = job.calls.replay().filter(|replay| replay.is_only());
    while !open.is_empty() {
        look_up(job, &block, open.iter_mut().flat_map(Task::seeks).collect())?;
        let mut next = Vec::new();
        for mut task in open {
            let known = task.known();
            if let (Known::Some, Some(replay)) = (&known, only) {
                let model = &job.stage().model_names[task.model()];
                let row = task.seeks().find(|(question, ..)| question.known.is_none()).map_or(0, |(_, row, _)| row);
                replay.missed(&job.plan, job.id, named(job, &block, row), model);
            }
            match (task, known) {
                (task, Known::Some) if only.is_none() => missing.push(task),
                (Task::One(pending), Known::All) => next.extend(go_on(job, &block, pending).map(Task::One)),
                (Task::One(pending), Known::Failure) => end(job, &block, pending, None),
                (Task::One(pending), Known::Some) => end(job, &block, pending, Some(unrecorded())),
                (Task::Several(mut group), Known::Some) => {
                    group.end(&unrecorded()).into_iter().for_each(|filled| fill_of(job, &block, filled));
                }
                (Task::Several(mut group), _) => {
                    take_over(job, &block, group.step(site(job, &block, group.model)));
                    next.extend((!group.is_over()).then_some(Task::Several(group)));
                }
            }
        }
        open = next;
    }
    missing.sort_by_key(Task::place);
    block.set_open(missing.len());
    Ok(Produced::Block(Arc::new(block), missing, lookup))
}

/// Why a row of a replay has no answer.
fn unrecorded() -> Failure {
    FailureKind::Missing.because("the replay file has no answer to it")
}

/// Looks a round of questions up: in the replay file, if there is one, then in the ledger. Answers of the ledger that
/// don't fit what is asked are retired.
pub fn look_up(job: &Job, block: &Block, mut open: Vec<Seek<'_>>) -> Result<(), StoreError> {
    let stage = job.stage();
    let terms: Vec<Terms<'_>> =
        stage.models.iter().map(|model| Terms::new(stage, &job.calls.target(*model).fallback)).collect();
    if let Some(replay) = job.calls.replay() {
        let sought = open.iter().map(|(question, row, model)| {
            let row = (block.first_row as usize + row + 1) as i64;
            let model = &stage.model_names[*model];
            CallRef { key: question.key, stage: stage.name.as_str(), row, model }
        });
        let found = replay.find(&sought.collect::<Vec<_>>())?;
        for ((question, _, model), record) in open.iter_mut().zip(found) {
            let terms = terms[*model];
            let finished = record.map(|record| Finished::shared(Arc::new(record), &question.prompt, &terms));
            // A call that failed then is asked now, unless nothing may be.
            question.known = finished.filter(|finished| replay.is_only() || finished.answer.is_ok());
        }
        if replay.is_only() {
            return Ok(());
        }
    }
    open.retain(|(question, ..)| question.known.is_none());
    let keys: Vec<Key> = open.iter().map(|(question, ..)| question.key).collect();
    let mut unfit = Vec::new();
    for ((question, _, model), record) in open.iter_mut().zip(job.calls.find(&keys)?) {
        let Some(record) = record else { continue };
        question.known = Finished::known(Arc::new(record), &question.prompt, &terms[*model]);
        if question.known.is_none() {
            unfit.push(question.key);
        }
    }
    Ok(job.calls.recorder().retire(&unfit)?)
}

/// How much of a round is known.
enum Known {
    /// All, and all are answers.
    All,
    /// A call that failed, and all before it.
    Failure,
    /// Not enough.
    Some,
}

impl Task {
    fn known(&self) -> Known {
        match self {
            Task::One(pending) => pending.known(),
            Task::Several(group) if group.is_known() => Known::All,
            Task::Several(_) => Known::Some,
        }
    }
}

impl Pending {
    fn known(&self) -> Known {
        for question in &self.round {
            match &question.known {
                None => return Known::Some,
                Some(known) if known.answer.is_err() => return Known::Failure,
                Some(_) => {}
            }
        }
        Known::All
    }
}

/// Takes over the answers of a round, all of which are known, and goes on.
fn go_on(job: &Job, block: &Block, mut pending: Pending) -> Option<Pending> {
    for question in pending.round.drain(..) {
        if let Some(known) = question.known {
            job.progress().call(true);
            pending.asked.push((question.prompt, known));
        }
    }
    advance(job, block, pending)
}

/// Fills a slot whose round goes no further: with what is known up to the first failure, or because of `failure`.
fn end(job: &Job, block: &Block, pending: Pending, mut failure: Option<Failure>) {
    let mut asked = pending.asked;
    for question in pending.round {
        let Some(known) = question.known else { break };
        job.progress().call(true);
        let failed = known.answer.as_ref().err().cloned();
        asked.push((question.prompt, known));
        if failed.is_some() {
            failure = failed;
            break;
        }
    }
    fill(job, block, (pending.slot, pending.audit), asked, failure);
}

/// The number of a row of the block, from 1, and its name in messages.
fn named(job: &Job, block: &Block, row: usize) -> (i64, String) {
    let (number, key) = block.row_name(job.plan.spec.relation(job.stage().input).key, row);
    (number, key.unwrap_or_else(|| number.to_string()))
}

/// Where a group of the model at this place of the stage's list stands.
pub fn site<'a>(job: &'a Job, block: &'a Block, model: usize) -> Site<'a> {
    let stage = job.stage();
    let target = job.calls.target(stage.models[model]);
    Site { stage, target, input: &block.input, first_row: block.first_row }
}

/// Takes over what a step of a group came to.
pub fn take_over(job: &Job, block: &Block, stepped: Stepped) {
    job.progress().packed(stepped.sent, stepped.known, stepped.singles);
    stepped.filled.into_iter().for_each(|filled| fill_of(job, block, filled));
}

fn fill_of(job: &Job, block: &Block, filled: Filled) {
    fill(job, block, (filled.slot, false), filled.asked, filled.failure);
}

/// The prompts of a row of the block, if it is asked about; rows with nothing to ask are filled.
fn first_prompts(job: &Job, block: &Block, row: usize) -> Option<Vec<Arc<Prompt>>> {
    let stage = job.stage();
    let prompts = match &block.fates[row] {
        Fate::Skipped => {
            job.progress().skipped();
            return None;
        }
        Fate::Failed(failure) => Err(failure.clone()),
        Fate::Asked => stage.stage.ask.prompts(block.row(row), &[]),
    };
    match prompts {
        Ok(prompts) if !prompts.is_empty() => Some(prompts.into_iter().map(Arc::new).collect()),
        other => {
            let (failure, width) = (other.err(), stage.width());
            (0..width).for_each(|place| fill(job, block, (row * width + place, false), Vec::new(), failure.clone()));
            None
        }
    }
}

/// What is to be asked first about each row and model, row by row or pack by pack.
fn first_round(job: &Job, block: &Block, sample: &HashSet<u64>) -> Vec<Task> {
    let stage = job.stage();
    let width = stage.width();
    let size = stage.rows_per_prompt as usize;
    let mut open = Vec::new();
    for first in (0..block.input.num_rows()).step_by(size) {
        let models = routing::models_for(stage, block.first_row + first as u64);
        let rows = first..(first + size).min(block.input.num_rows());
        let asked: Vec<_> = rows.filter_map(|row| Some((row, first_prompts(job, block, row)?))).collect();
        for place in 0..width {
            let model = models.start + place % models.len();
            let replicate = (place / models.len()) as u64;
            let one = |row: usize, prompts: &[Arc<Prompt>], audit: bool| {
                let round = questions(job, model, replicate, prompts);
                Task::One(Pending { audit, slot: row * width + place, row, model, replicate, asked: Vec::new(), round })
            };
            if !stage.packs() {
                open.extend(asked.iter().map(|(row, prompts)| one(*row, prompts, false)));
                continue;
            }
            let slots = asked.iter().map(|(row, prompts)| (row * width + place, *row, prompts.clone())).collect();
            if !asked.is_empty() {
                open.push(Task::Several(Group::new(site(job, block, model), model, replicate, slots)));
            }
            let sampled = |row: usize| replicate == 0 && sample.contains(&(block.first_row + row as u64));
            open.extend(asked.iter().filter(|(row, _)| sampled(*row)).map(|(row, prompts)| one(*row, prompts, true)));
        }
    }
    open
}

fn questions(job: &Job, model: usize, replicate: u64, prompts: &[Arc<Prompt>]) -> Vec<Question> {
    let target = job.calls.target(job.stage().models[model]);
    let key = |prompt: &Prompt| target.key(prompt, replicate);
    prompts.iter().map(|prompt| Question { key: key(prompt), prompt: prompt.clone(), known: None }).collect()
}

/// Goes on after a round of answers: fills the slot if there is nothing more to ask, else gives the next round.
pub fn advance(job: &Job, block: &Block, mut pending: Pending) -> Option<Pending> {
    match job.stage().stage.ask.prompts(block.row(pending.row), &answers(&pending.asked)) {
        Ok(prompts) if !prompts.is_empty() => {
            let prompts: Vec<Arc<Prompt>> = prompts.into_iter().map(Arc::new).collect();
            pending.round = questions(job, pending.model, pending.replicate, &prompts);
            Some(pending)
        }
        other => {
            fill(job, block, (pending.slot, pending.audit), pending.asked, other.err());
            None
        }
    }
}

/// Fills a slot, counts its error, and its row if that was the last; of an audit it keeps what was asked.
pub fn fill(job: &Job, block: &Block, (slot, audit): (usize, bool), asked: Vec<Asked>, failure: Option<Failure>) {
    if audit {
        return block.compare(slot, asked, failure);
    }
    if let Some(failure) = &failure {
        let width = job.stage().width();
        job.progress().error(failure, named(job, block, slot / width), slot % width);
    }
    match block.fill(slot, job.stage().width(), asked, failure) {
        None => {}
        Some(false) => job.progress().answered(),
        Some(true) => job.row_failed(),
    }
}
