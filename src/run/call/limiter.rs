//! The limiter of an endpoint: limits calls in flight and per minute. It pauses all calls when the server asks for it,
//! and sends one probe at a time while the server is down. All stages share it.

mod adaptive;
mod bucket;

use std::num::NonZeroU32;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::run::wait::{Held, WaitKind};
use crate::spec::{Concurrency, Limits};
use adaptive::Adaptive;
use bucket::Bucket;

/// The number of consecutive failures, over all calls, that counts as an outage.
const OUTAGE: u32 = 10;
/// The wait before the first probe of a server that is down; it doubles with each probe.
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Limiter {
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug)]
struct State {
    cap: Cap,
    in_flight: usize,
    waiting: usize,
    resume: Option<Instant>,
    paused_since: Option<Instant>,
    /// When a call last ended.
    ended: Option<Instant>,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    failures: u32,
    outage: Option<Outage>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    probe: Instant,
    wait: Duration,
}

#[derive(Debug)]
enum Cap {
    Unlimited,
    Fixed(usize),
    Adaptive(Adaptive),
}

impl State {
    fn most(&self) -> usize {
        match &self.cap {
            _ if self.outage.is_some() => 1,
            Cap::Unlimited => usize::MAX,
            Cap::Fixed(calls) => *calls,
            Cap::Adaptive(law) => law.calls(),
        }
    }

    fn epoch(&self) -> u64 {
        if let Cap::Adaptive(law) = &self.cap { law.epoch() } else { 0 }
    }

    fn resume(&mut self, now: Instant) -> Option<Instant> {
        self.resume = self.resume.filter(|at| *at > now);
        let buckets = [&mut self.requests, &mut self.tokens].into_iter().flatten();
        let wait = buckets.filter_map(|bucket| bucket.wait(now)).max();
        self.resume.max(wait.map(|wait| now + wait))
    }

    fn pause_until(&mut self, until: Instant) {
        let now = Instant::now();
        if self.resume.is_none_or(|at| at <= now) {
            self.paused_since = Some(now);
        }
        self.resume = self.resume.max(Some(until));
    }
}

#[derive(Debug)]
pub(crate) struct Turn<'a> {
    limiter: &'a Limiter,
    began: Instant,
    epoch: u64,
    full: bool,
    reserved: f64,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        let cap = match limits.max_concurrent_calls {
            None => Cap::Unlimited,
            Some(Concurrency::Calls(calls)) => Cap::Fixed(calls.get() as usize),
            Some(Concurrency::Auto) => Cap::Adaptive(Adaptive::new(now)),
        };
        let bucket = |limit: Option<NonZeroU32>| limit.map(|limit| Bucket::new(f64::from(limit.get()), now));
        let (requests, tokens) = (bucket(limits.requests_per_minute), bucket(limits.tokens_per_minute));
        let state = State {
            cap,
            in_flight: 0,
            waiting: 0,
            resume: None,
            paused_since: None,
            ended: None,
            requests,
            tokens,
            failures: 0,
            outage: None,
        };
        Limiter { state: Mutex::new(state), room: Notify::new() }
    }

    pub(crate) async fn turn(&self, tokens: u64) -> Turn<'_> {
        let mut queued = Queued { limiter: self, counted: false };
        loop {
            let room = self.room.notified();
            match self.begin(&mut queued, tokens as f64) {
                Ok(turn) => return turn,
                Err(Some(resume)) => sleep_until(resume).await,
                Err(None) => room.await,
            }
        }
    }

    /// Returns a turn if a call may begin. The error is the time to wait, or `None` to wait until another call ends.
    fn begin(&self, queued: &mut Queued<'_>, tokens: f64) -> Result<Turn<'_>, Option<Instant>> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let resume = state.resume(now);
        if resume.is_some() || state.in_flight >= state.most() {
            state.waiting += usize::from(!std::mem::replace(&mut queued.counted, true));
            return Err(resume);
        }
        state.in_flight += 1;
        state.waiting -= usize::from(std::mem::take(&mut queued.counted));
        if let Some(requests) = &mut state.requests {
            requests.spend(1.0);
        }
        if let Some(bucket) = &mut state.tokens {
            bucket.spend(tokens);
        }
        let (epoch, full) = (state.epoch(), state.in_flight >= state.most());
        if !full && state.waiting > 0 {
            self.room.notify_one();
        }
        Ok(Turn { limiter: self, began: now, epoch, full, reserved: tokens })
    }

    /// What holds back the calls that wait for a turn.
    pub(crate) fn wait(&self, now: Instant) -> Option<Held> {
        let mut state = self.state.lock();
        let until = state.resume(now);
        let held = |kind, since, until| Some(Held { kind, since, until });
        match (state.outage, state.paused_since.filter(|_| state.resume.is_some())) {
            (Some(outage), _) => held(WaitKind::Outage, outage.since, Some(outage.probe)),
            (None, Some(since)) => held(WaitKind::RateLimit, since, until),
            (None, None) if until.is_some() => held(WaitKind::RateLimit, now, until),
            (None, None) if state.waiting > 0 => held(WaitKind::Concurrency, state.ended.unwrap_or(now), None),
            (None, None) => None,
        }
    }

    /// Whether the server is down and the next probe must still wait.
    pub(crate) fn is_down(&self) -> bool {
        let now = Instant::now();
        self.state.lock().outage.is_some_and(|outage| now < outage.probe)
    }

    pub(crate) fn pause_for(&self, delay: Duration) {
        self.state.lock().pause_until(Instant::now() + delay);
    }
}

/// A call that waits for a turn. It may be dropped before its turn.
struct Queued<'a> {
    limiter: &'a Limiter,
    counted: bool,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.limiter.state.lock().waiting -= 1;
            // This call may have been notified, so it notifies the next one.
            self.limiter.room.notify_one();
        }
    }
}

impl Turn<'_> {
    /// Ends the turn with an answer; `tokens` are those of prompt and reply, as the server counted them.
    pub(crate) fn answered(mut self, tokens: Option<u64>) {
        let now = Instant::now();
        let mut state = self.limiter.state.lock();
        state.failures = 0;
        state.outage = None;
        let full = self.full || state.in_flight >= state.most();
        if let (true, Cap::Adaptive(law)) = (full, &mut state.cap) {
            law.answered(self.epoch, now.duration_since(self.began), now);
        }
        if let (Some(bucket), Some(tokens)) = (&mut state.tokens, tokens) {
            bucket.spend(tokens as f64 - self.reserved);
        }
        self.reserved = 0.0;
    }

    pub(crate) fn refused(self) {
        let now = Instant::now();
        if let Cap::Adaptive(law) = &mut self.limiter.state.lock().cap {
            law.refused(self.epoch, now);
        }
    }

    /// Ends the turn without an answer. During an outage, returns its length: all calls wait, then one probes.
    pub(crate) fn failed(self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.limiter.state.lock();
        state.failures += 1;
        if state.failures < OUTAGE {
            return None;
        }
        let outage = state.outage.unwrap_or(Outage { since: now, probe: self.began, wait: FIRST_PROBE });
        // Calls that were in flight when the outage began are not probes.
        if self.began >= outage.probe {
            let probe = now + outage.wait;
            state.pause_until(probe);
            state.outage = Some(Outage { probe, wait: (outage.wait * 2).min(LAST_PROBE), ..outage });
        }
        if let Cap::Adaptive(law) = &mut state.cap {
            law.refused(self.epoch, now);
        }
        Some(now.duration_since(outage.since))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.in_flight -= 1;
        state.ended = Some(Instant::now());
        // A call without an answer is assumed to cost no tokens.
        if let Some(bucket) = &mut state.tokens {
            bucket.spend(-self.reserved);
        }
        drop(state);
        self.limiter.room.notify_one();
    }
}

#[cfg(test)]
mod tests;
