//! The producer: reads the parts of a stage block by block, renders the prompts and answers what the ledger knows.
//!
//! Runs on a blocking thread of its own, ahead of the dispatcher by as many blocks as there is room for.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::RunError;
use super::answer::{Finished, Terms};
use super::block::{Asked, Block, Fate};
use super::calls::call_key;
use super::parts::{BLOCK_BYTES, BLOCK_ROWS, batch_rows};
use super::recent::Lookup;
use super::stage::Job;
use crate::plan::{Part, routing};
use crate::prompt::{Answer, Expect, Message, Prompt};
use crate::spec::{Order, StageSpec};
use crate::store::{Key, Sought, StoreError};
use crate::table::Row;

/// Ordinary blocks in memory beside the rows that the lanes work on.
const LOOKAHEAD: usize = 16;

/// What the producer hands on, in order.
pub enum Produced {
    /// A part begins that is made from the parts with these marks.
    Begin(Part, Vec<String>),
    /// A block with what has still to be asked. The look-up is kept until that is claimed.
    Block(Arc<Block>, Vec<Pending>, Arc<Lookup>),
    /// A part ends after so many blocks.
    End(u64, u64),
}

/// How much may be in memory, in units of a row of an ordinary block: blocks cost by rows and by bytes. Model by model a
/// whole part is in memory, so there the room is for two parts.
struct Room<'a> {
    job: &'a Job,
    by_part: bool,
    units: Arc<Semaphore>,
    /// Units of a lane's two next rows are added when the first rows show how large they are.
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
            self.units.add_permits(2 * lanes * units.div_ceil(rows));
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

/// A slot of a block that has something to ask.
pub struct Pending {
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
    for part in job.plan.parts(job.index, rows) {
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
        if let Some(kept) = committed.filter(|c| c.facts.failed == 0 && c.facts.inputs == marks) {
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
        for slice in slices {
            let batches =
                slice.table.read(slice.start, slice.rows, batch_rows(&slice.table)).map_err(StoreError::from)?;
            for batch in batches {
                for input in pieces(stage, &batch.map_err(StoreError::from)?) {
                    let Some(room) = room.take(&handle, &input) else { return Ok(()) };
                    let rows = input.num_rows() as u64;
                    let produced = block(job, part.number, blocks, row, input, room)?;
                    if job.stop.is_draining() || out.blocking_send(produced).is_err() {
                        return Ok(());
                    }
                    row += rows;
                    blocks += 1;
                }
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

/// What the answers depend on beside the rows: for each model its build and how it is asked. Parts that were made with
/// another one are made anew.
fn fingerprints(job: &Job) -> Vec<String> {
    let stage = job.stage();
    let messages = vec![Message::user(stage.stage.meaning().to_string())];
    let schema = Some(Arc::new(serde_json::json!({ "type": "object" })));
    let probe = Prompt { messages, expect: Arc::new(Expect::Text), schema, respondent: None };
    stage.models.iter().map(|model| call_key(job.calls.target(*model), &probe, 0).to_string()).collect()
}

/// The batch in pieces whose prompts, judged by the first row's, are about as large as a block may be.
fn pieces(stage: &StageSpec, batch: &RecordBatch) -> Vec<RecordBatch> {
    let first = stage.stage.prompts(Row::new(batch, 0, 0), &[]).unwrap_or_default();
    let bytes: usize = first.iter().flat_map(|p| &p.messages).map(|m| m.content.len()).sum();
    let rows = (BLOCK_BYTES / bytes.max(1)).clamp(1, batch.num_rows());
    (0..batch.num_rows()).step_by(rows).map(|at| batch.slice(at, rows.min(batch.num_rows() - at))).collect()
}

/// Makes a block of `input` and answers what the ledger knows.
fn block(
    job: &Job,
    part: u64,
    index: u64,
    first_row: u64,
    input: RecordBatch,
    room: Arc<OwnedSemaphorePermit>,
) -> Result<Produced, StoreError> {
    let lookup = Arc::new(job.calls.recorder().lookup());
    let block = Block::new(part, index, first_row, input, job.stage(), room);
    let mut open = first_round(job, &block);
    let mut missing = Vec::new();
    let only = job.calls.replay().filter(|replay| replay.is_only());
    while !open.is_empty() {
        look_up(job, &block, &mut open)?;
        let mut next = Vec::new();
        for pending in open {
            match (pending.known(), only) {
                (Known::All, _) => next.extend(go_on(job, &block, pending)),
                (Known::Failure, _) => end(job, &block, pending, None),
                (Known::Some, None) => missing.push(pending),
                (Known::Some, Some(replay)) => {
                    let model = &job.stage().model_names[pending.model];
                    replay.missed(&job.plan, job.index, named(job, &block, pending.row), model);
                    end(job, &block, pending, Some(UNRECORDED.to_owned()));
                }
            }
        }
        open = next;
    }
    missing.sort_by_key(|p| p.slot);
    block.set_open(missing.len());
    Ok(Produced::Block(Arc::new(block), missing, lookup))
}

/// Why a row of a replay has no answer.
const UNRECORDED: &str = "missing: the replay file has no answer to it";

/// Looks a round of questions up: in the replay file, if there is one, then in the ledger. Answers of the ledger that
/// don't fit what is asked are retired.
pub fn look_up(job: &Job, block: &Block, open: &mut [Pending]) -> Result<(), StoreError> {
    if let Some(replay) = job.calls.replay() {
        let stage = job.stage();
        let sought: Vec<Sought<'_>> = open
            .iter()
            .flat_map(|p| p.round.iter().map(move |q| (p, q.key)))
            .map(|(p, key)| {
                let row = (block.first_row as usize + p.row + 1) as i64;
                Sought { key, stage: stage.name.as_str(), row, model: &stage.model_names[p.model] }
            })
            .collect();
        let found = replay.find(&sought)?;
        for ((question, terms), record) in questions_of(job, open).zip(found) {
            let finished = record.map(|record| Finished::shared(Arc::new(record), &question.prompt, &terms));
            // A call that failed then is asked now, unless nothing may be.
            question.known = finished.filter(|finished| replay.is_only() || finished.answer.is_ok());
        }
        if replay.is_only() {
            return Ok(());
        }
    }
    let mut open: Vec<_> = questions_of(job, open).filter(|(question, _)| question.known.is_none()).collect();
    let keys: Vec<Key> = open.iter().map(|(question, _)| question.key).collect();
    let mut unfit = Vec::new();
    for ((question, terms), record) in open.iter_mut().zip(job.calls.find(&keys)?) {
        let Some(record) = record else { continue };
        question.known = Finished::known(Arc::new(record), &question.prompt, terms);
        if question.known.is_none() {
            unfit.push(question.key);
        }
    }
    Ok(job.calls.recorder().retire(&unfit)?)
}

/// The questions of the rounds with what passes for an answer to each.
fn questions_of<'a>(job: &'a Job, open: &'a mut [Pending]) -> impl Iterator<Item = (&'a mut Question, Terms<'a>)> {
    open.iter_mut().flat_map(|pending| {
        let stage = job.stage();
        let terms = Terms::new(stage, job.calls.target(stage.models[pending.model]));
        pending.round.iter_mut().map(move |question| (question, terms))
    })
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
fn end(job: &Job, block: &Block, pending: Pending, mut failure: Option<String>) {
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
    fill(job, block, pending.slot, asked, failure);
}

/// The number of a row of the block, from 1, and its name in messages.
fn named(job: &Job, block: &Block, row: usize) -> (i64, String) {
    let (number, key) = block.row_name(job.plan.spec.relation(job.stage().input).key, row);
    (number, key.unwrap_or_else(|| number.to_string()))
}

/// What is to be asked first about each row and model; rows with nothing to ask are filled.
fn first_round(job: &Job, block: &Block) -> Vec<Pending> {
    let stage = job.stage();
    let width = stage.width();
    let mut open = Vec::new();
    for row in 0..block.input.num_rows() {
        let prompts = match &block.fates[row] {
            Fate::Skipped => {
                job.progress().skipped();
                continue;
            }
            Fate::Failed(failure) => Err(failure.clone()),
            Fate::Asked => stage.stage.prompts(block.row(row), &[]),
        };
        let prompts = match prompts {
            Ok(prompts) if !prompts.is_empty() => prompts.into_iter().map(Arc::new).collect::<Vec<_>>(),
            other => {
                let failure = other.err();
                (0..width).for_each(|place| fill(job, block, row * width + place, Vec::new(), failure.clone()));
                continue;
            }
        };
        let models = routing::models_for(stage, block.first_row + row as u64);
        for place in 0..width {
            let model = models.start + place % models.len();
            let replicate = (place / models.len()) as u64;
            let round = questions(job, model, replicate, &prompts);
            open.push(Pending { slot: row * width + place, row, model, replicate, asked: Vec::new(), round });
        }
    }
    open
}

fn questions(job: &Job, model: usize, replicate: u64, prompts: &[Arc<Prompt>]) -> Vec<Question> {
    let target = job.calls.target(job.stage().models[model]);
    let key = |prompt: &Prompt| call_key(target, prompt, replicate);
    prompts.iter().map(|prompt| Question { key: key(prompt), prompt: prompt.clone(), known: None }).collect()
}

/// Goes on after a round of answers: fills the slot if there is nothing more to ask, else gives the next round.
pub fn advance(job: &Job, block: &Block, mut pending: Pending) -> Option<Pending> {
    match job.stage().stage.prompts(block.row(pending.row), &answers(&pending.asked)) {
        Ok(prompts) if !prompts.is_empty() => {
            let prompts: Vec<Arc<Prompt>> = prompts.into_iter().map(Arc::new).collect();
            pending.round = questions(job, pending.model, pending.replicate, &prompts);
            Some(pending)
        }
        other => {
            fill(job, block, pending.slot, pending.asked, other.err());
            None
        }
    }
}

/// Fills a slot, counts its error, and its row if that was the last.
pub fn fill(job: &Job, block: &Block, slot: usize, asked: Vec<Asked>, failure: Option<String>) {
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
