//! A stage at work: the producer's blocks in, calls out, finished blocks to the assembler.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::RunError;
use super::assemble::{Piece, assemble};
use super::block::Block;
use super::calls::Calls;
use super::packs::Group;
use super::parts::Parts;
use super::produce::{Pending, Produced, Task, advance, fill, look_up, produce, site, take_over};
use super::progress::{Progress, StageProgress};
use super::recent::Lookup;
use super::replay::Replay;
use super::request::CallRequest;
use super::stop::{Stop, StopReason};
use crate::ask::Terms;
use crate::plan::{Plan, routing};
use crate::spec::{Order, StageSpec, TableId};
use crate::store::RunDir;

/// Everything that a stage needs to work.
#[derive(Clone)]
pub struct Job {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The stage in it.
    pub id: TableId,
    /// The run's folder.
    pub dir: RunDir,
    /// Where its rows come from.
    pub input: Arc<Parts>,
    /// Where its parts go.
    pub output: Arc<Parts>,
    /// The door to the models.
    pub calls: Arc<Calls>,
    /// The counters.
    pub progress: Arc<Progress>,
    /// The switch.
    pub stop: Stop,
}

impl Job {
    /// The stage.
    pub fn stage(&self) -> &StageSpec {
        &self.plan.spec.stage(self.id)
    }

    /// Its counters.
    pub fn progress(&self) -> &StageProgress {
        self.progress.stage(self.id)
    }

    /// Calls of this stage that may be in flight.
    pub fn lanes(&self) -> usize {
        self.stage().workers * self.stage().batch_size
    }

    /// In which order a part's calls go.
    pub fn order(&self) -> Order {
        let stage = self.stage();
        let dear = stage.models.iter().any(|m| self.calls.target(*m).holds_one_model());
        routing::order(stage, dear)
    }

    /// Counts a failed row, and stops the run when that is one too many.
    pub fn row_failed(&self) {
        let failed = self.progress().failed();
        // What is missing in a replay is told as a whole.
        if self.calls.replay().is_some_and(Replay::is_incomplete) {
            return;
        }
        let Some(most) = self.stage().max_failed else { return };
        let allowed = most.of(self.progress().rows());
        if failed > allowed {
            let stage = self.stage().name.to_string();
            self.stop.drain(StopReason::TooManyFailed { stage, failed, allowed });
        }
    }
}

/// Drives a stage until its parts are committed or the run stops.
pub async fn drive(job: Job) -> Result<(), RunError> {
    let job = Arc::new(job);
    let (out, mut produced) = mpsc::channel(2);
    let producer = tokio::task::spawn_blocking({
        let job = job.clone();
        move || produce(&job, &out)
    });
    let (pieces, rx) = mpsc::channel(64);
    let assembler = tokio::spawn(assemble(job.clone(), rx));
    let mut lanes = Lanes { job: job.clone(), free: Arc::new(Semaphore::new(job.lanes())), pieces, last_model: None };
    let model_major = job.order() == Order::ModelMajor;
    let mut waiting = Vec::new();
    while let Some(next) = produced.recv().await {
        let going = match next {
            Produced::Begin(part, marks) => lanes.pieces.send(Piece::Begin(part, marks)).await.is_ok(),
            Produced::Block(block, pending, lookup) if model_major => {
                waiting.push((block, pending, lookup));
                true
            }
            Produced::Block(block, pending, lookup) => lanes.block(&block, pending, &lookup).await,
            Produced::End(part, blocks) => {
                let going = !model_major || lanes.model_by_model(std::mem::take(&mut waiting)).await;
                going && lanes.pieces.send(Piece::End(part, blocks)).await.is_ok()
            }
        };
        if !going {
            break;
        }
    }
    drop((produced, waiting));
    let died = |e: tokio::task::JoinError| RunError::Died(e.to_string());
    let made = producer.await.map_err(died)?;
    // The assembler ends when the last call in flight has handed in its block.
    drop(lanes);
    let assembled = assembler.await.map_err(died)?;
    made.and(assembled)
}

/// A block with what is missing of it, and the look-up that said so.
type Looked = (Arc<Block>, Vec<Task>, Arc<Lookup>);
/// Something to ask about a block.
type ToAsk = (Arc<Block>, Task, Arc<Lookup>);

/// The lanes of a stage: a free one takes the next prompt at once, whatever part it belongs to.
struct Lanes {
    job: Arc<Job>,
    free: Arc<Semaphore>,
    pieces: mpsc::Sender<Piece>,
    last_model: Option<usize>,
}

impl Lanes {
    /// Sends what is missing of a block, row by row; `false`: the run stops.
    async fn block(&mut self, block: &Arc<Block>, pending: Vec<Task>, lookup: &Arc<Lookup>) -> bool {
        if block.is_done() && self.pieces.send(Piece::Block(block.clone())).await.is_err() {
            return false;
        }
        for pending in pending {
            let Some(lane) = self.lane().await else { return false };
            self.send(lane, block, pending, lookup);
        }
        true
    }

    /// Sends what is missing of a part, one model after the other, each when the one before has ended; every second part
    /// goes through the models backwards, so that the server keeps the model it has.
    async fn model_by_model(&mut self, blocks: Vec<Looked>) -> bool {
        let models = self.job.stage().models.len();
        let mut by_model: Vec<Vec<ToAsk>> = (0..models).map(|_| Vec::new()).collect();
        for (block, pending, lookup) in blocks {
            if block.is_done() && self.pieces.send(Piece::Block(block.clone())).await.is_err() {
                return false;
            }
            for pending in pending {
                by_model[pending.model()].push((block.clone(), pending, lookup.clone()));
            }
        }
        let mut order: Vec<usize> = (0..models).filter(|m| !by_model[*m].is_empty()).collect();
        if let Some(at) = order.iter().position(|m| Some(*m) == self.last_model) {
            let kept = order.remove(at);
            order.insert(0, kept);
        }
        for model in order {
            if self.last_model.is_some_and(|last| last != model) && !self.idle().await {
                return false;
            }
            self.last_model = Some(model);
            for (block, pending, lookup) in std::mem::take(&mut by_model[model]) {
                let Some(lane) = self.lane().await else { return false };
                self.send(lane, &block, pending, &lookup);
            }
        }
        true
    }

    /// Waits until no call of this stage is in flight.
    async fn idle(&self) -> bool {
        let all = self.job.lanes() as u32;
        tokio::select! {
            all = self.free.acquire_many(all) => all.is_ok(),
            () = self.job.stop.draining() => false,
        }
    }

    /// A free lane; none when the run stops.
    async fn lane(&self) -> Option<OwnedSemaphorePermit> {
        if self.job.stop.is_draining() {
            return None;
        }
        tokio::select! {
            lane = self.free.clone().acquire_owned() => lane.ok(),
            () = self.job.stop.draining() => None,
        }
    }

    fn send(&self, lane: OwnedSemaphorePermit, block: &Arc<Block>, task: Task, lookup: &Arc<Lookup>) {
        let (job, block, pieces) = (self.job.clone(), block.clone(), self.pieces.clone());
        let (lookup, free) = (lookup.clone(), self.free.clone());
        tokio::spawn(async move {
            let alarm = job.stop.alarm();
            let answered = match task {
                Task::One(pending) => answer(&job, &block, pending, lookup, &free).await,
                Task::Several(group) => answer_all(&job, &block, group, lookup).await,
            };
            let done = answered && block.close_one();
            drop(lane);
            if done {
                // Nobody listens only when the run stops.
                let _ = pieces.send(Piece::Block(block)).await;
            }
            drop(alarm);
        });
    }
}

/// Asks until the slot has nothing more to ask; `false`: the run stops before that. What was answered since the look-up
/// of a round began is remembered until the round's last call is claimed.
async fn answer(
    job: &Arc<Job>,
    block: &Arc<Block>,
    mut pending: Pending,
    mut lookup: Arc<Lookup>,
    free: &Arc<Semaphore>,
) -> bool {
    let stage = job.stage();
    let model = stage.models[pending.model];
    let terms = Terms::new(stage, &job.calls.target(model).fallback);
    loop {
        if stage.stage.info.at_once && pending.round.len() > 1 && !ask_at_once(job, &mut pending, &lookup, free).await {
            return false;
        }
        let mut held = Some(lookup);
        let mut left = pending.round.len();
        for question in pending.round.drain(..) {
            left -= 1;
            let finished = match question.known {
                Some(known) => known,
                None => {
                    let lookup = if left == 0 { held.take() } else { held.clone() };
                    let request = CallRequest {
                        model,
                        replicate: pending.replicate,
                        prompt: &question.prompt,
                        key: question.key,
                        terms,
                    };
                    let asked = job.calls.ask(request, lookup, job.progress());
                    let Some(finished) = asked.await else { return false };
                    finished
                }
            };
            job.progress().call(finished.from_ledger);
            let failure = finished.answer.as_ref().err().cloned();
            pending.asked.push((question.prompt, finished));
            if failure.is_some() {
                fill(job, block, (pending.slot, pending.audit), std::mem::take(&mut pending.asked), failure);
                return true;
            }
        }
        let Some(next) = advance(job, block, pending) else { return true };
        // Later rounds are few; each looks itself up. One that can't is asked.
        lookup = Arc::new(job.calls.recorder().lookup());
        let Some(Task::One(next)) = looked_up(job, block, Task::One(next)).await else { return false };
        pending = next;
    }
}

/// Asks all questions of a round, on this lane and on those that are free; `false`: the run stops before that.
async fn ask_at_once(job: &Arc<Job>, pending: &mut Pending, lookup: &Arc<Lookup>, free: &Arc<Semaphore>) -> bool {
    let (model, replicate) = (job.stage().models[pending.model], pending.replicate);
    let mut waiting: Vec<usize> =
        (0..pending.round.len()).rev().filter(|i| pending.round[*i].known.is_none()).collect();
    let mut asked = JoinSet::new();
    loop {
        while let Some(i) = waiting.last().copied() {
            // The slot's own lane takes one at a time.
            let lane = match asked.is_empty() {
                true => None,
                false => match free.clone().try_acquire_owned() {
                    Ok(lane) => Some(lane),
                    Err(_) => break,
                },
            };
            waiting.pop();
            let (job, lookup) = (job.clone(), lookup.clone());
            let (prompt, key) = (pending.round[i].prompt.clone(), pending.round[i].key);
            asked.spawn(async move {
                let terms = Terms::new(job.stage(), &job.calls.target(model).fallback);
                let request = CallRequest { model, replicate, prompt: &prompt, key, terms };
                let finished = job.calls.ask(request, Some(lookup), job.progress()).await;
                drop(lane);
                (i, finished)
            });
        }
        match asked.join_next().await {
            None => return true,
            Some(Ok((i, Some(finished)))) => pending.round[i].known = Some(finished),
            Some(_) => return false,
        }
    }
}

/// The same for slots that are asked together.
async fn answer_all(job: &Arc<Job>, block: &Arc<Block>, mut group: Group, mut lookup: Arc<Lookup>) -> bool {
    let (stage, replicate) = (job.stage(), group.replicate);
    let model = stage.models[group.model];
    let terms = Terms::new(stage, &job.calls.target(model).fallback);
    loop {
        let mut held = Some(lookup);
        let mut left = group.wave().count();
        for (question, _) in group.wave() {
            left -= 1;
            if question.known.is_some() {
                continue;
            }
            let lookup = if left == 0 { held.take() } else { held.clone() };
            let request = CallRequest { model, replicate, prompt: &question.prompt, key: question.key, terms };
            question.known = job.calls.ask(request, lookup, job.progress()).await;
            if question.known.is_none() {
                return false;
            }
        }
        take_over(job, block, group.step(site(job, block, group.model)));
        if group.is_over() {
            return true;
        }
        lookup = Arc::new(job.calls.recorder().lookup());
        let Some(Task::Several(next)) = looked_up(job, block, Task::Several(group)).await else { return false };
        group = next;
    }
}

/// A task whose next questions have been looked up; none when that died, which stops the run.
async fn looked_up(job: &Arc<Job>, block: &Arc<Block>, mut task: Task) -> Option<Task> {
    let looked = tokio::task::spawn_blocking({
        let (job, block) = (job.clone(), block.clone());
        move || {
            let _ = look_up(&job, &block, task.seeks().collect());
            task
        }
    });
    let looked = looked.await.ok();
    if looked.is_none() {
        job.stop.drain(StopReason::Failed);
    }
    looked
}
