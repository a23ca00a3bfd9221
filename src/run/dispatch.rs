//! The dispatcher: sends the tasks of a stage to the models, at most one task per lane.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::assemble::{Piece, assemble};
use super::batch::Batches;
use super::block::Block;
use super::call::CallRequest;
use super::error::RunError;
use super::job::Job;
use super::lane::{Lane, Lanes};
use super::look_up::look_up;
use super::produce::{Produced, ProducedBlock, produce};
use super::recent::Lookup;
use super::stop::StopReason;
use crate::ask::{Next, Question, Task, Terms};
use crate::spec::Order;

pub(crate) async fn drive(job: Job) -> Result<(), RunError> {
    let job = Arc::new(job);
    let (out, mut produced) = mpsc::channel(2);
    let batches = job.calls.batches().filter(|_| job.has_batches());
    let producer = tokio::task::spawn_blocking({
        let job = job.clone();
        move || produce(&job, &out)
    });
    let (pieces, rx) = mpsc::channel(64);
    let assembler = tokio::spawn(assemble(job.clone(), rx));
    let lanes = Lanes::new(job.lanes());
    let mut dispatcher = Dispatcher { job: job.clone(), lanes, pieces, last_model: None };
    let model_major = job.order() == Order::ModelMajor;
    let mut waiting = Vec::new();
    while let Some(next) = produced.recv().await {
        let _hold = batches.map(Batches::hold);
        let going = match next {
            Produced::Begin(part, marks) => dispatcher.pieces.send(Piece::Begin(part, marks)).await.is_ok(),
            Produced::Block(block) if model_major => {
                waiting.push(block);
                true
            }
            Produced::Block(block) => dispatcher.block(block).await,
            Produced::Group => dispatcher.model_by_model(std::mem::take(&mut waiting)).await,
            Produced::End(part, blocks) => {
                let going = !model_major || dispatcher.model_by_model(std::mem::take(&mut waiting)).await;
                going && dispatcher.pieces.send(Piece::End(part, blocks)).await.is_ok()
            }
        };
        if !going {
            break;
        }
    }
    drop((produced, waiting));
    let died = |e: tokio::task::JoinError| RunError::Died(e.to_string());
    let made = producer.await.map_err(died)?;
    // The assembler ends after the last call in flight.
    drop(dispatcher);
    let assembled = assembler.await.map_err(died)?;
    job.output.close();
    made.and(assembled)
}

struct Open {
    block: Arc<Block>,
    task: Task,
    lookup: Arc<Lookup>,
}

/// A free lane runs the next task at once, of any part.
struct Dispatcher {
    job: Arc<Job>,
    lanes: Arc<Lanes>,
    pieces: mpsc::Sender<Piece>,
    last_model: Option<usize>,
}

impl Dispatcher {
    /// Sends a block's tasks, row by row. Returns `false` if the run stops.
    async fn block(&mut self, ProducedBlock { block, tasks, lookup }: ProducedBlock) -> bool {
        if block.is_done() && self.pieces.send(Piece::Block(block.clone())).await.is_err() {
            return false;
        }
        for task in tasks {
            let Some(lane) = self.lane().await else { return false };
            self.send(lane, Open { block: block.clone(), task, lookup: lookup.clone() });
        }
        true
    }

    /// Runs the tasks of one model after another. The next group begins with the last model, which is still loaded.
    async fn model_by_model(&mut self, blocks: Vec<ProducedBlock>) -> bool {
        let models = self.job.stage().models.len();
        let mut by_model: Vec<Vec<Open>> = (0..models).map(|_| Vec::new()).collect();
        for ProducedBlock { block, tasks, lookup } in blocks {
            if block.is_done() && self.pieces.send(Piece::Block(block.clone())).await.is_err() {
                return false;
            }
            for task in tasks {
                by_model[task.who.model].push(Open { block: block.clone(), task, lookup: lookup.clone() });
            }
        }
        let mut order: Vec<usize> = (0..models).filter(|m| !by_model[*m].is_empty()).collect();
        if let Some(at) = order.iter().position(|m| Some(*m) == self.last_model) {
            order[..=at].rotate_right(1);
        }
        for model in order {
            if self.last_model.is_some_and(|last| last != model) && !self.idle().await {
                return false;
            }
            self.last_model = Some(model);
            for open in std::mem::take(&mut by_model[model]) {
                let Some(lane) = self.lane().await else { return false };
                self.send(lane, open);
            }
        }
        true
    }

    /// Waits until no call of this stage is in flight. Returns `false` if the run stops.
    async fn idle(&self) -> bool {
        self.job.stop.unless_draining(self.lanes.idle()).await.is_some()
    }

    /// Waits for a free lane. Returns `None` if the run stops.
    async fn lane(&self) -> Option<Lane> {
        if self.job.stop.is_draining() {
            return None;
        }
        self.job.stop.unless_draining(self.lanes.lane()).await
    }

    fn send(&self, lane: Lane, open: Open) {
        let (job, lanes, pieces) = (self.job.clone(), self.lanes.clone(), self.pieces.clone());
        tokio::spawn(async move {
            let guard = job.stop.on_panic();
            let block = open.block.clone();
            let lane = Arc::new(lane);
            let done = carry_out(&job, open, (&lane, &lanes)).await && block.close_one();
            drop(lane);
            if done {
                // The receiver is closed only when the run stops.
                let _ = pieces.send(Piece::Block(block)).await;
            }
            drop(guard);
        });
    }
}

/// Asks until a task is done. Returns `false` if the run stops.
async fn carry_out(job: &Arc<Job>, open: Open, (lane, lanes): (&Arc<Lane>, &Arc<Lanes>)) -> bool {
    let Open { block, mut task, lookup } = open;
    // Kept until the round's last question is claimed, so that answers since the look-up are remembered until then.
    let mut lookup = Some(lookup);
    loop {
        match job.step(&block, &mut task) {
            Next::Done => return true,
            Next::LookUp => {
                lookup = Some(Arc::new(job.calls.recorder().lookup()));
                let Some(found) = looked_up(job, &block, task).await else { return false };
                task = found;
            }
            Next::Ask => {
                if job.is_batched(task.who) {
                    task.ask_at_once();
                }
                let is_one = task.wave().nth(1).is_none();
                let answered = match is_one {
                    true => ask(job, &mut task, &mut lookup, lane).await,
                    false => ask_at_once(job, &mut task, lookup.take(), (lane, lanes)).await,
                };
                if !answered {
                    return false;
                }
            }
        }
    }
}

/// Asks the next question. Returns `false` if the run stops before the answer.
async fn ask(job: &Job, task: &mut Task, lookup: &mut Option<Arc<Lookup>>, lane: &Lane) -> bool {
    let Some(number) = task.wave().next() else { return false };
    let lookup = if task.open_count() == 1 { lookup.take() } else { lookup.clone() };
    let request = request(job, task.is_new(), task.question(number), lane);
    let Some(finished) = job.calls.ask(request, lookup, job.progress()).await else { return false };
    task.answer(number, finished);
    true
}

/// `is_first` is whether nothing has been answered about the row.
fn request<'a>(job: &'a Job, is_first: bool, question: &'a Question, lane: &'a Lane) -> CallRequest<'a> {
    let who = question.who;
    let model = job.stage().models[who.model];
    let target = job.calls.target(model);
    let terms = Terms::new(job.stage(), &target.fallback, target.context_size());
    let (prompt, key) = (&question.prompt, question.key);
    CallRequest { model, replicate: who.replicate, prompt, key, terms, lane, is_first, fallback_of: None }
}

/// Asks the whole wave, on the task's lane and on free ones. Returns `false` if the run stops before the last answer.
async fn ask_at_once(
    job: &Arc<Job>,
    task: &mut Task,
    lookup: Option<Arc<Lookup>>,
    (own, lanes): (&Arc<Lane>, &Arc<Lanes>),
) -> bool {
    let (is_new, is_batched) = (task.is_new(), job.is_batched(task.who));
    let mut waiting: Vec<usize> = task.wave().collect();
    waiting.reverse();
    let mut asked = JoinSet::new();
    loop {
        while let Some(number) = waiting.last().copied() {
            // The task's own lane takes one question at a time, or every question that waits for a batch.
            let lane = match asked.is_empty() || is_batched {
                true => own.clone(),
                false => match lanes.free_lane() {
                    Some(lane) => Arc::new(lane),
                    None => break,
                },
            };
            waiting.pop();
            let (job, lookup) = (job.clone(), lookup.clone());
            let Question { who, prompt, key, .. } = task.question(number);
            let question = Question::new(*who, prompt.clone(), *key);
            asked.spawn(async move {
                let finished = job.calls.ask(request(&job, is_new, &question, &lane), lookup, job.progress()).await;
                drop(lane);
                (number, finished)
            });
        }
        match asked.join_next().await {
            None => return true,
            Some(Ok((number, Some(finished)))) => task.answer(number, finished),
            Some(_) => return false,
        }
    }
}

/// The task with its questions looked up. Returns `None` if the look-up panicked, which stops the run.
async fn looked_up(job: &Arc<Job>, block: &Arc<Block>, mut task: Task) -> Option<Task> {
    let looked = tokio::task::spawn_blocking({
        let (job, block) = (job.clone(), block.clone());
        move || {
            // If the look-up fails, the questions are asked.
            let _ = look_up(&job, &block, std::slice::from_mut(&mut task));
            task
        }
    });
    let looked = looked.await.ok();
    if looked.is_none() {
        job.stop.drain(StopReason::Failed);
    }
    looked
}
