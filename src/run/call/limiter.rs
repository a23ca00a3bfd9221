//! The limiter of an endpoint: limits calls in flight and per minute, learns the server's limits from refused calls and
//! headers, and recognises outages. All stages share it. The oldest waiting call goes first.

mod adaptive;
mod bucket;
mod refusals;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::provider::{CallError, CallErrorKind, Quotas};
use crate::run::wait::{Held, WaitKind};
use crate::spec::{Concurrency, Limits};
use adaptive::Adaptive;
use bucket::Bucket;
pub(crate) use refusals::Verdict;
use refusals::{Gate, Refusals, Sent};

/// The number of consecutive failures, over all calls, that counts as an outage.
const OUTAGE: u32 = 10;
/// Fewer failures count as an outage if they last for a while and no call is in flight.
const BRIEF_OUTAGE: (u32, Duration) = (3, Duration::from_secs(2));

/// The most calls whose time-outs do not count as an outage.
const FEW: usize = 3;

#[derive(Debug)]
pub(crate) struct Limiter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    cap: Cap,
    in_flight: usize,
    min_interval: Duration,
    last_began: Option<Instant>,
    last_ended: Option<Instant>,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    models: HashMap<usize, Model>,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Model {
    refusals: Refusals,
    /// Waiting calls by age.
    queue: BTreeMap<u64, Arc<Notify>>,
    /// The last refusal, and when its call is tried again.
    refused: Option<CallError>,
    next: Option<Instant>,
    /// What the server reported as left of its limits.
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// Failures since the last reply of any call.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    count: u32,
    /// The ages of the calls if all of them are time-outs of a few calls, which may be at fault themselves.
    few: Option<[Option<u64>; FEW]>,
}

#[derive(Debug)]
enum Cap {
    Unlimited,
    Fixed(usize),
    Adaptive(Adaptive),
}

impl Failing {
    /// `timed_out` is the age of a call without a reply in time.
    fn once_more(failing: Option<Failing>, timed_out: Option<u64>, now: Instant) -> Failing {
        let Failing { since, count, few } = failing.unwrap_or(Failing { since: now, count: 0, few: Some([None; FEW]) });
        let few = few.zip(timed_out).and_then(|(mut few, age)| {
            let place = few.iter().position(|known| known.is_none_or(|known| known == age))?;
            few[place] = Some(age);
            Some(few)
        });
        Failing { since, count: count + 1, few }
    }

    fn is_many(&self) -> bool {
        self.count >= OUTAGE && self.few.is_none()
    }
}

impl State {
    fn model(&mut self, index: usize) -> &mut Model {
        self.models.get_mut(&index).expect("the limiter knows all models of its endpoint")
    }

    fn let_in(&mut self, model: usize, call: Sent, now: Instant) {
        self.failing = None;
        self.model(model).refusals.let_in(call, now);
    }

    fn most(&self) -> usize {
        match &self.cap {
            Cap::Unlimited => usize::MAX,
            Cap::Fixed(calls) => *calls,
            Cap::Adaptive(law) => law.calls(),
        }
    }

    /// Whether the endpoint has as many calls as it may have, or will have as soon as a woken call begins.
    fn is_full(&self) -> bool {
        self.in_flight >= self.most() || self.models.values().any(|model| !model.queue.is_empty())
    }

    fn epoch(&self) -> u64 {
        if let Cap::Adaptive(law) = &self.cap { law.epoch() } else { 0 }
    }

    fn gate(&mut self, model: usize, tokens: f64, now: Instant) -> Gate {
        let full = self.in_flight >= self.most();
        let paced = self.last_began.map(|last| last + self.min_interval).filter(|at| *at > now);
        let own = [&mut self.requests, &mut self.tokens].map(|bucket| bucket.as_mut()?.wait(1.0, now));
        let model = self.models.get_mut(&model).expect("the limiter knows all models of its endpoint");
        let servers = [(&mut model.requests, 1.0), (&mut model.tokens, tokens)]
            .map(|(bucket, amount)| bucket.as_mut()?.brief_wait(amount, now));
        let buckets = own.into_iter().chain(servers).flatten().map(|wait| now + wait).max();
        let (refusals, later) = (model.refusals.gate(now), buckets.max(paced));
        match (refusals, later) {
            (Gate::ClosedUntil(at), later) => Gate::ClosedUntil(later.map_or(at, |later| later.max(at))),
            (_, Some(at)) => Gate::ClosedUntil(at),
            (Gate::Open, None) if full => Gate::Full,
            (gate, None) => gate,
        }
    }

    /// Whether a call that is older than `age` waits and may begin.
    fn yields(&mut self, age: u64, now: Instant) -> bool {
        let older: Vec<usize> = self.models.iter().filter(|(_, m)| m.oldest() < age).map(|(index, _)| *index).collect();
        older.into_iter().any(|model| self.gate(model, 1.0, now) == Gate::Open)
    }

    fn wake(&self) {
        for first in self.models.values().filter_map(|model| model.queue.first_key_value()) {
            first.1.notify_one();
        }
    }

    fn outage(&self, now: Instant) -> Option<Duration> {
        let lasts = |failing: &Failing| now.duration_since(failing.since);
        let brief = |failing: &Failing| {
            let lasts = failing.count >= BRIEF_OUTAGE.0 && lasts(failing) >= BRIEF_OUTAGE.1;
            self.in_flight <= 1 && lasts && failing.few.is_none()
        };
        self.failing.as_ref().filter(|failing| failing.is_many() || brief(failing)).map(lasts)
    }
}

impl Model {
    fn oldest(&self) -> u64 {
        self.queue.first_key_value().map_or(u64::MAX, |(age, _)| *age)
    }
}

#[derive(Debug)]
pub(crate) struct Turn<'a> {
    limiter: &'a Limiter,
    model: usize,
    sent: Sent,
    epoch: u64,
    full: bool,
    tokens: f64,
    /// Whether it is still open what the server did with the call.
    is_open: bool,
}

impl Limiter {
    /// `models` are the models of the endpoint, with the most calls that the stages send to each at once.
    pub(crate) fn new(limits: &Limits, models: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let now = Instant::now();
        let cap = match limits.max_concurrent_calls {
            None => Cap::Unlimited,
            Some(Concurrency::Calls(calls)) => Cap::Fixed(calls.get() as usize),
            Some(Concurrency::Auto) => Cap::Adaptive(Adaptive::new(now)),
        };
        let bucket = |limit: Option<NonZeroU32>, most: &dyn Fn(f64) -> f64| {
            let limit = f64::from(limit?.get());
            Some(Bucket::new(limit, most(limit), now))
        };
        let burst = limits.burst.map_or(1.0, |burst| f64::from(burst.get()));
        let model = |lanes| {
            let (refusals, queue) = (Refusals::new(lanes), BTreeMap::new());
            Model { refusals, queue, refused: None, next: None, requests: None, tokens: None }
        };
        let state = State {
            cap,
            in_flight: 0,
            min_interval: limits.min_interval.map(|interval| interval.0).unwrap_or_default(),
            last_began: None,
            last_ended: None,
            requests: bucket(limits.requests_per_minute, &|_| burst),
            // A server may count tokens by the second as well as by the minute.
            tokens: bucket(limits.tokens_per_minute, &|limit| limit / 60.0),
            models: models.into_iter().map(|(index, lanes)| (index, model(lanes))).collect(),
            failing: None,
        };
        Limiter { state: Mutex::new(state) }
    }

    /// Waits for a turn. Of two waiting calls, the one with the lower `age` goes first.
    pub(crate) async fn turn(&self, model: usize, age: u64, tokens: u64) -> Turn<'_> {
        let queued = Queued { limiter: self, model, age, woken: Arc::new(Notify::new()) };
        loop {
            match self.begin(&queued, tokens as f64) {
                Ok(turn) => return turn,
                Err(Some(resume)) => tokio::select! {
                    () = sleep_until(resume) => {}
                    () = queued.woken.notified() => {}
                },
                Err(None) => queued.woken.notified().await,
            }
        }
    }

    /// Returns a turn if a call may begin. The error is the time to wait, or `None` to wait until another call ends.
    fn begin(&self, queued: &Queued<'_>, tokens: f64) -> Result<Turn<'_>, Option<Instant>> {
        let mut state = self.state.lock();
        let (now, model) = (Instant::now(), queued.model);
        let gate = state.gate(model, tokens, now);
        if gate != Gate::Open || state.yields(queued.age, now) {
            state.model(model).queue.insert(queued.age, queued.woken.clone());
            return Err(if let Gate::ClosedUntil(at) = gate { Some(at) } else { None });
        }
        state.in_flight += 1;
        state.last_began = Some(now);
        let State { requests: own_requests, tokens: own_tokens, models, .. } = &mut *state;
        let at = models.get_mut(&model).expect("the limiter knows all models of its endpoint");
        for bucket in [own_requests, &mut at.requests].into_iter().flatten() {
            bucket.spend(1.0);
        }
        for bucket in [own_tokens, &mut at.tokens].into_iter().flatten() {
            bucket.spend(tokens);
        }
        at.queue.remove(&queued.age);
        let sent = at.refusals.send(queued.age, now);
        let (epoch, full) = (state.epoch(), state.is_full());
        state.wake();
        Ok(Turn { limiter: self, model, sent, epoch, full, tokens, is_open: true })
    }

    /// Until when the server lets no call in, if that is longer than the patience, and what it said.
    pub(crate) fn closed_until(&self, model: usize) -> Option<(Instant, CallError)> {
        let mut state = self.state.lock();
        let model = state.model(model);
        model.refusals.beyond(Instant::now()).zip(model.refused.clone())
    }

    /// What holds back the calls to a model that wait for a turn, or for their next attempt.
    pub(crate) fn wait(&self, model: usize, now: Instant) -> Option<Held> {
        let mut state = self.state.lock();
        let closed = match state.gate(model, 1.0, now) {
            Gate::ClosedUntil(at) => Some(at),
            Gate::Open | Gate::Full => None,
        };
        let (outage, ended) = (state.outage(now), state.last_ended);
        let Model { refusals, queue, next, .. } = state.model(model);
        let until = closed.or(next.filter(|next| *next > now));
        let (kind, since, until) = match (outage, refusals.refusing_since()) {
            (Some(lasted), _) => (WaitKind::Outage, now - lasted, until),
            (None, Some(since)) if until.is_some() => (WaitKind::RateLimit, since, until),
            _ if queue.is_empty() => return None,
            _ if closed.is_some() => (WaitKind::RateLimit, now, closed),
            _ => (WaitKind::Concurrency, ended.unwrap_or(now), None),
        };
        Some(Held { kind, since, until })
    }

    /// Whether the server is down and the next probe must still wait.
    pub(crate) fn is_down(&self, model: usize) -> bool {
        let (mut state, now) = (self.state.lock(), Instant::now());
        state.outage(now).is_some() && matches!(state.gate(model, 0.0, now), Gate::ClosedUntil(_))
    }
}

/// A call that waits for a turn. It may be dropped before its turn.
struct Queued<'a> {
    limiter: &'a Limiter,
    model: usize,
    age: u64,
    woken: Arc<Notify>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        let waited = state.models.get_mut(&self.model).is_some_and(|model| model.queue.remove(&self.age).is_some());
        if waited {
            state.wake();
        }
    }
}

impl Turn<'_> {
    /// Ends the turn with an answer; `tokens` are those of prompt and reply, as the server counted them.
    pub(crate) fn answered(mut self, tokens: Option<u64>, quotas: &Quotas) {
        let now = Instant::now();
        let mut state = self.limiter.state.lock();
        let full = self.full || state.is_full();
        if let (true, Cap::Adaptive(law)) = (full, &mut state.cap) {
            law.answered(self.epoch, now.duration_since(self.sent.at), now);
        }
        let model = state.model(self.model);
        let later = model.refusals.sent_since(self.sent) as f64;
        if let Some(quota) = &quotas.requests {
            model.requests = Bucket::of_server(quota, later, now);
        }
        if let Some(quota) = &quotas.tokens {
            model.tokens = Bucket::of_server(quota, later * self.tokens, now);
        }
        if let (Some(bucket), Some(tokens)) = (&mut state.tokens, tokens) {
            bucket.spend(tokens as f64 - self.tokens);
            self.tokens = 0.0;
        }
        self.is_open = false;
        state.let_in(self.model, self.sent, now);
    }

    /// Ends the turn of a call that the server took but did not answer.
    pub(crate) fn failed(mut self) {
        self.is_open = false;
        self.limiter.state.lock().let_in(self.model, self.sent, Instant::now());
    }

    /// Ends the turn of a refused call. Also returns how long an outage has lasted.
    pub(crate) fn refused(mut self, after: Option<Duration>, error: &CallError) -> (Verdict, Option<Duration>) {
        let now = Instant::now();
        let mut state = self.limiter.state.lock();
        self.is_open = false;
        let model = state.model(self.model);
        let (verdict, is_cut) = model.refusals.refused(self.sent, after, rand::random(), now);
        model.refused = Some(error.clone());
        model.next = if let Verdict::Wait(wait) = verdict { Some(now + wait) } else { None };
        if let (true, Cap::Adaptive(law)) = (is_cut, &mut state.cap) {
            law.refused(self.epoch, now);
        }
        // A server that says its limit is up.
        let is_up = matches!(error.kind, CallErrorKind::RateLimited { .. });
        state.failing = if is_up { None } else { Some(Failing::once_more(state.failing, None, now)) };
        (verdict, state.outage(now))
    }

    /// Ends the turn of a call whose reply was cut off. Also returns how long an outage has lasted.
    pub(crate) fn lost(self) -> (Verdict, Option<Duration>) {
        let mut state = self.limiter.state.lock();
        let verdict = state.model(self.model).refusals.cut_off(self.sent, rand::random());
        drop(state);
        (verdict, self.unanswered(None))
    }

    /// Ends the turn of a call without a reply in time. Returns how long an outage has lasted.
    pub(crate) fn timed_out(self) -> Option<Duration> {
        let age = self.sent.age;
        self.unanswered(Some(age))
    }

    fn unanswered(mut self, timed_out: Option<u64>) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.limiter.state.lock();
        let failing = Failing::once_more(state.failing, timed_out, now);
        state.failing = Some(failing);
        if failing.is_many() {
            self.is_open = false;
            state.model(self.model).refusals.unanswered(self.sent, now);
            if let Cap::Adaptive(law) = &mut state.cap {
                law.refused(self.epoch, now);
            }
        }
        state.outage(now)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.in_flight -= 1;
        state.last_ended = Some(Instant::now());
        if self.is_open {
            state.model(self.model).refusals.lost();
        }
        // A call without an answer is assumed to cost no tokens.
        if let Some(bucket) = &mut state.tokens {
            bucket.spend(-self.tokens);
        }
        state.wake();
    }
}

#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tests;
