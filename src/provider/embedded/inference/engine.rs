//! The engine: one thread per processor; each thread processes several calls of a model at a time.
//!
//! In a step, every call adds its next tokens to one forward pass. A new call starts from the cache of an earlier call
//! with the same beginning; this changes the speed, never the answer. Threads share only the weights and the queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;

use candle_core::IndexOp;
use parking_lot::Mutex;

use super::cache::Cache;
use super::model::Model;
use super::sequence::{Body, Sequence, Tell};
use super::transformer::Span;

const LANES: usize = 4;
const STEP: usize = 128;
/// The cache memory of a thread's calls, in bytes; a call that runs alone may exceed it.
const MEMORY: usize = 64 << 20;
const KEPT: usize = 1;
const WORTH: usize = 16;

pub(crate) type Asked = (Body, Tell);

struct Engine<'a> {
    model: &'a Model,
    waiting: Vec<Sequence>,
    active: Vec<Sequence>,
    kept: Vec<(Vec<u32>, Cache)>,
}

pub(crate) fn serve(model: &Model, queue: Receiver<Asked>) {
    let queue = Mutex::new(queue);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Candle runs small operations in the pool of the thread; a pool of one thread runs them at once.
                let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
                Engine { model, waiting: Vec::new(), active: Vec::new(), kept: Vec::new() }.work(&queue);
                drop(alone);
            });
        }
    });
}

impl Engine<'_> {
    fn work(&mut self, queue: &Mutex<Receiver<Asked>>) {
        while let Some(mut calls) = self.next(queue) {
            let worked = catch_unwind(AssertUnwindSafe(|| {
                self.waiting.extend(calls.drain(..).filter_map(|(body, tell)| Sequence::new(&body, self.model, tell)));
                self.waiting.retain(|call| !call.is_cancelled());
                self.active.retain(|call| !call.is_cancelled());
                self.admit();
                self.step();
            }));
            if worked.is_err() {
                // The panic arose in this step; the callers of its sequences see that their channels are closed.
                self.active.clear();
                self.kept.clear();
            }
        }
    }

    /// Waits if no call is in progress. Returns `None` if the queue is closed.
    fn next(&self, queue: &Mutex<Receiver<Asked>>) -> Option<Vec<Asked>> {
        if self.waiting.is_empty() && self.active.is_empty() {
            return queue.lock().recv().ok().map(|call| vec![call]);
        }
        let in_hand = self.waiting.len() + self.active.len();
        let pending: usize = self.waiting.iter().chain(&self.active).map(|call| call.pending().len()).sum();
        // Takes one call at a time, and none if the step is full, so that other threads receive calls too.
        if in_hand >= LANES || pending >= STEP {
            return Some(Vec::new());
        }
        let Some(queue) = queue.try_lock() else { return Some(Vec::new()) };
        match queue.try_recv() {
            Ok(call) => Some(vec![call]),
            Err(TryRecvError::Empty) => Some(Vec::new()),
            Err(TryRecvError::Disconnected) => None,
        }
    }

    fn admit(&mut self) {
        let room = MEMORY / self.model.transformer.token_bytes().max(1);
        let mut i = 0;
        while i < self.waiting.len() && self.active.len() < LANES {
            let taken: usize = self.active.iter().map(Sequence::most).sum();
            if !self.active.is_empty() && taken + self.waiting[i].most() > room {
                return;
            }
            match self.beginning(&self.waiting[i]) {
                Some(cache) => {
                    let mut sequence = self.waiting.remove(i);
                    sequence.cache = cache;
                    self.active.push(sequence);
                }
                None => i += 1,
            }
        }
    }

    /// Returns the cached beginning of a call; `None` if a call in progress is computing more of it.
    fn beginning(&self, call: &Sequence) -> Option<Cache> {
        let prompt = call.prompt();
        let kept = self.kept.iter().map(|(tokens, cache)| (tokens.as_slice(), cache));
        let known = self.active.iter().map(|s| (s.prompt(), &s.cache)).chain(kept);
        let usable = known.filter(|(_, cache)| cache.is_long() == call.cache.is_long());
        let alike = usable.map(|(tokens, cache)| {
            // The last token must be run again, because the scores after it are needed.
            let alike = tokens.iter().zip(&prompt[..prompt.len() - 1]).take_while(|(a, b)| a == b).count();
            (alike, alike.min(cache.len()), cache)
        });
        let (mut coming, mut there, mut best) = (0, 0, None);
        for (alike, computed, cache) in alike {
            coming = coming.max(alike);
            if computed > there {
                (there, best) = (computed, Some(cache));
            }
        }
        if coming >= there + WORTH {
            return None;
        }
        let empty = || self.model.transformer.cache(call.most());
        Some(best.map_or_else(empty, |cache| cache.prefix(there, call.most())))
    }

    fn step(&mut self) {
        if self.active.is_empty() {
            return;
        }
        let mut scores = match self.forward() {
            Ok(scores) => scores.into_iter(),
            Err(error) => {
                let message = format!("the model can't be run: {error}");
                self.active.drain(..).for_each(|call| call.fail(&message));
                return;
            }
        };
        let mut left = Vec::with_capacity(self.active.len());
        for mut sequence in std::mem::take(&mut self.active) {
            if !sequence.pending().is_empty() {
                left.push(sequence);
                continue;
            }
            match sequence.go_on(scores.next().unwrap_or_default(), self.model) {
                Ok(None) => left.push(sequence),
                Ok(Some(finish)) => {
                    self.kept.push(sequence.end(finish));
                    let spare = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..spare);
                }
                Err(message) => sequence.fail(&message),
            }
        }
        self.active = left;
    }

    /// Returns the scores of the sequences without pending tokens, in order.
    fn forward(&mut self) -> candle_core::Result<Vec<Vec<f32>>> {
        let mut budget = STEP;
        let mut spans = Vec::new();
        let mut wanted = Vec::new();
        // Replies come before prompts, so that nearly finished calls are not delayed.
        let mut shares = vec![0; self.active.len()];
        let mut order: Vec<usize> = (0..self.active.len()).collect();
        order.sort_by_key(|i| self.active[*i].pending().len());
        for i in order {
            shares[i] = self.active[i].pending().len().min(budget);
            budget -= shares[i];
        }
        for (sequence, share) in self.active.iter_mut().zip(shares).filter(|(_, share)| *share > 0) {
            wanted.push(sequence.pending().len() == share);
            let (cache, tokens) = sequence.next(share);
            spans.push(Span { cache, tokens });
        }
        let Some(scores) = self.model.transformer.forward(&mut spans, &wanted)? else { return Ok(Vec::new()) };
        (0..scores.dim(0)?).map(|row| scores.i(row)?.to_vec1()).collect()
    }
}
