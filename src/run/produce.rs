//! The producer: reads the parts of a stage block by block, makes the tasks and answers them from the ledger if it can.
//!
//! Runs on its own blocking thread, ahead of the dispatcher. Memory limits the number of blocks.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::batch::{Batches, Hold};
use super::block::{Block, BlockPlace};
use super::block_size::{pieces, row_bytes};
use super::call::alike;
use super::error::RunError;
use super::job::Job;
use super::look_up::look_up;
use super::memory::MemoryPermits;
use super::parts::{Slice, batch_rows};
use super::recent::Lookup;
use super::replay::Replay;
use super::stop::{First, StopReason};
use crate::ask::{Fate, FirstRound, Next, Replicate, SlotResult, Task, audited, probe, tasks};
use crate::plan::Part;
use crate::prompt::{Failure, FailureKind};
use crate::spec::StageSpec;
use crate::store::{CommittedPart, StoreError};
use crate::table::Cutter;

pub(crate) enum Produced {
    /// The beginning of a part, with the ids of the parts that it is made from.
    Begin(Part, Vec<String>),
    Block(ProducedBlock),
    /// The end of a group of blocks that are asked model by model. A part also ends a group.
    Group,
    /// The end of a part: its index and its number of blocks.
    End(u64, u64),
}

pub(crate) struct ProducedBlock {
    pub(crate) block: Arc<Block>,
    pub(crate) tasks: Vec<Task>,
    /// The look-up of the open questions; it ends when the last of them is claimed.
    pub(crate) lookup: Arc<Lookup>,
}

/// Produces every uncommitted part of the job's stage. Ends early if the run stops or `out` is closed.
pub(crate) fn produce(job: &Job, out: &mpsc::Sender<Produced>) -> Result<(), RunError> {
    let handle = Handle::current();
    let Some(Some(rows)) = handle.block_on(job.stop.unless_draining(job.input.total())) else { return Ok(()) };
    job.progress().expect(rows);
    job.output.expect(rows * job.stage().answers.fold());
    let audited = audited(job.stage(), job.plan.spec.seed, rows);
    let fingerprints = fingerprints(job);
    let hold = job.calls.batches().filter(|_| job.has_batches()).map(Batches::hold);
    let mut producer = Producer { job, out, memory: MemoryPermits::new(job), handle, audited, hold };
    for part in job.choice.ordered(job.plan.parts(job.id, rows)) {
        if !job.choice.claims(job.stage().name.as_str(), part.number)? {
            continue;
        }
        if !producer.part(part, &fingerprints)? {
            break;
        }
    }
    Ok(())
}

struct Producer<'a> {
    job: &'a Job,
    out: &'a mpsc::Sender<Produced>,
    memory: MemoryPermits<'a>,
    handle: Handle,
    /// The numbers, from 0, of the rows that are also asked one by one.
    audited: HashSet<u64>,
    /// Keeps batches from being sent while there are rows to read.
    hold: Option<Hold>,
}

impl Producer<'_> {
    /// Produces a part, unless it is committed. Returns `false` if the run stops.
    fn part(&mut self, part: Part, fingerprints: &Fingerprints) -> Result<bool, RunError> {
        let job = self.job;
        job.fetch_input(part)?;
        let rows = job.stop.unless_draining(job.input.rows(part.start, part.rows));
        let rows = self.released(|| self.handle.block_on(rows));
        let Some(Some((inputs, slices))) = rows else { return Ok(false) };
        let fresh = job.calls.recorder().fresh_since().map(|since| since.to_string());
        let marked = |own: &[String]| [inputs.as_slice(), own, fresh.as_slice()].concat();
        let (marks, older) = (marked(&fingerprints.own), marked(&fingerprints.older));
        let committed = job.dir.find(job.stage().name.as_str(), part.number)?;
        let is_same = |found: &CommittedPart| found.facts.inputs == marks || found.facts.inputs == older;
        let is_complete = |found: &CommittedPart| found.facts.counts.failed == 0 || !job.choice.retries_failed();
        let kept = committed.filter(|found| is_complete(found) && is_same(found));
        if let Some(kept) = kept.filter(|kept| !self.makes_calls_again(part.number, kept)) {
            job.progress().kept(&kept.facts);
            if kept.facts.inputs != marks && (0..job.stage().models.len()).any(|model| job.has_other_servers(model)) {
                job.progress().other_servers(kept.facts.calls);
            }
            job.stage().models.iter().for_each(|model| job.calls.can_answer(*model));
            job.output.commit(part.number, kept);
            return Ok(true);
        }
        if !self.send(Produced::Begin(part, marks)) {
            return Ok(false);
        }
        self.begin_group();
        let mut place = BlockPlace { part: part.number, index: 0, first_row: part.start };
        for batch in packs(job.stage(), slices) {
            let batch = batch?;
            let row = row_bytes(job.stage(), &batch);
            for input in pieces(&batch, row, job.stage().rows_per_prompt as usize) {
                let rows = input.num_rows() as u64;
                if self.memory.ends_group(&input, row) {
                    if !self.send(Produced::Group) {
                        return Ok(false);
                    }
                    self.begin_group();
                }
                let Some(memory) = self.take_memory(&input, row) else { return Ok(false) };
                let produced = self.block(Block::new(place, input, job.stage(), memory))?;
                if job.stop.is_draining() || !self.send(Produced::Block(produced)) {
                    return Ok(false);
                }
                place.first_row += rows;
                place.index += 1;
            }
        }
        Ok(self.send(Produced::End(part.number, place.index)))
    }

    /// Waits for something that may end only after a batch.
    fn released<T>(&self, wait: impl FnOnce() -> T) -> T {
        match &self.hold {
            Some(hold) => hold.release_while(wait),
            None => wait(),
        }
    }

    fn begin_group(&mut self) {
        let (memory, handle) = (&mut self.memory, &self.handle);
        match &self.hold {
            Some(hold) => hold.release_while(|| memory.begin_group(handle)),
            None => memory.begin_group(handle),
        }
    }

    fn take_memory(&mut self, input: &RecordBatch, row: usize) -> Option<Arc<OwnedSemaphorePermit>> {
        let (memory, handle) = (&mut self.memory, &self.handle);
        match &self.hold {
            Some(hold) => hold.release_while(|| memory.take(handle, input, row)),
            None => memory.take(handle, input, row),
        }
    }

    /// Whether the calls of a committed part are missing or damaged, and the ledger may have their answers. Without
    /// them, making the part again would cost its calls.
    fn makes_calls_again(&self, part: u64, kept: &CommittedPart) -> bool {
        let job = self.job;
        let answers = || job.calls.recorder().answers().unwrap_or(0);
        !job.dir.has_calls(job.stage().name.as_str(), part) && answers() >= kept.facts.calls
    }

    fn send(&self, produced: Produced) -> bool {
        self.out.blocking_send(produced).is_ok()
    }

    fn block(&self, block: Block) -> Result<ProducedBlock, StoreError> {
        let job = self.job;
        let lookup = Arc::new(job.calls.recorder().lookup());
        let mut open = tasks(job.stage(), &job.context(&block), &mut first_rounds(job, &block), &self.audited);
        let only = job.calls.replay().filter(|replay| replay.is_only());
        let mut missing = Vec::new();
        while !open.is_empty() {
            look_up(job, &block, &mut open)?;
            let mut next = Vec::new();
            for mut task in open {
                match job.step(&block, &mut task) {
                    Next::Done => {}
                    Next::LookUp => next.push(task),
                    Next::Ask => match only {
                        None => missing.push(task),
                        Some(replay) => self.unrecorded(&block, task, replay),
                    },
                }
            }
            open = next;
        }
        missing.sort_by_key(Task::place);
        block.set_open(missing.len());
        Ok(ProducedBlock { block: Arc::new(block), tasks: missing, lookup })
    }

    fn unrecorded(&self, block: &Block, mut task: Task, replay: &Replay) {
        let (job, audit) = (self.job, task.audit);
        let row = task.open().next().map_or(0, |(_, row)| row);
        let model = &job.stage().model_names[task.who.model];
        replay.missed(&job.plan, job.id, job.row_name(block, row), model);
        let failure = FailureKind::Missing.because("the replay file has no answer to it");
        task.abandon(&failure, |slot| job.fill(block, slot, audit));
    }
}

/// The first prompts of each row that is asked. Fills the slots of the other rows.
fn first_rounds(job: &Job, block: &Block) -> Vec<FirstRound> {
    let stage = job.stage();
    let (mut rounds, mut failures) = (Vec::with_capacity(block.fates.len()), Vec::new());
    for (row, fate) in block.fates.iter().enumerate() {
        let prompts = match fate {
            Fate::Skipped => {
                job.progress().skipped();
                continue;
            }
            Fate::Failed(failure) => Err(failure.clone()),
            Fate::Asked => stage.stage.ask.prompts(block.row(row), &[]),
        };
        match prompts {
            Ok(prompts) if !prompts.is_empty() => rounds.push((row, prompts.into_iter().map(Arc::new).collect())),
            other => {
                let (failure, first) = (other.err(), row * stage.width());
                failures.extend(failure.clone());
                for slot in first..first + stage.width() {
                    job.fill(block, SlotResult { slot, asked: Vec::new(), failure: failure.clone() }, false);
                }
            }
        }
    }
    if block.place.first_row == 0 && rounds.is_empty() && !stage.may_all_fail(Some(job.progress().rows())) {
        stop_if_alike(job, &failures);
    }
    rounds
}

/// Stops the run if all rows of a stage's first block failed alike before anything was asked: the spec is at fault.
fn stop_if_alike(job: &Job, failures: &[Failure]) {
    let [failure, others @ ..] = failures else { return };
    if !others.is_empty() && others.iter().all(|other| alike(failure, other)) {
        let first = First::Rows { stage: job.stage().name.to_string(), count: failures.len() as u32 };
        job.stop.drain(StopReason::FailedAlike { first, failure: failure.clone() });
    }
}

fn packs(stage: &StageSpec, slices: Vec<Slice>) -> impl Iterator<Item = Result<RecordBatch, RunError>> {
    let read = slices.into_iter().flat_map(|slice| -> Box<dyn Iterator<Item = _>> {
        match slice.table.read(slice.start, slice.rows, batch_rows(&slice.table)) {
            Ok(batches) => Box::new(batches.map(|batch| batch.map(Some).map_err(|e| StoreError::from(e).into()))),
            Err(error) => Box::new(std::iter::once(Err(StoreError::from(error).into()))),
        }
    });
    let mut cutter = Cutter::new(stage.rows_per_prompt as usize);
    read.chain([Ok(None)]).filter_map(move |batch| match batch {
        Ok(Some(batch)) => cutter.push(batch).map_err(|e| RunError::Died(e.to_string())).transpose(),
        Ok(None) => cutter.finish().map(Ok),
        Err(error) => Some(Err(error)),
    })
}

/// A hash of each model's build and settings. A part with other fingerprints is made again.
struct Fingerprints {
    own: Vec<String>,
    /// Those of earlier versions, which do not depend on the server.
    older: Vec<String>,
}

fn fingerprints(job: &Job) -> Fingerprints {
    let stage = job.stage();
    let probe = probe(stage);
    let key = |model: &usize| job.calls.target(*model).key(&probe, Replicate::default());
    let older = |model: &usize| {
        let keys = job.calls.target(*model).older_keys(&probe, Replicate::default());
        keys.last().copied().unwrap_or_else(|| key(model)).to_string()
    };
    Fingerprints {
        own: stage.models.iter().map(|model| key(model).to_string()).collect(),
        older: stage.models.iter().map(older).collect(),
    }
}
