//! The limiter: one per endpoint, shared by all stages: how many calls at once and per minute, a pause for all when the
//! server asks for one, and one probe at a time while it is down.

mod adaptive;
mod bucket;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::spec::{Concurrency, Limits};
use adaptive::Adaptive;
use bucket::Bucket;

/// Failures in a row, without an answer to anyone, that are an outage.
const OUTAGE: u32 = 10;
/// The wait before the first probe of a server that is down; doubled with each.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// The longest wait between two probes.
const LAST_PROBE: Duration = Duration::from_secs(30);

/// Whose turn it is at an endpoint.
#[derive(Debug)]
pub struct Limiter {
    state: Mutex<State>,
    /// Told whenever there may be room for one more.
    room: Notify,
}

#[derive(Debug)]
struct State {
    most: Most,
    in_flight: usize,
    /// Those who wait for room.
    waiting: usize,
    resume: Option<Instant>,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Failures since the last answer.
    failures: u32,
    outage: Option<Outage>,
}

/// A server that is down.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    /// When the next probe may begin.
    probe: Instant,
    /// How long to wait if that one fails.
    wait: Duration,
}

/// How many calls may be in flight.
#[derive(Debug)]
enum Most {
    /// As many as the stages have lanes.
    Unlimited,
    Fixed(usize),
    Found(Adaptive),
}

impl State {
    /// How many calls may be in flight now.
    fn most(&self) -> usize {
        match &self.most {
            _ if self.outage.is_some() => 1,
            Most::Unlimited => usize::MAX,
            Most::Fixed(calls) => *calls,
            Most::Found(law) => law.calls(),
        }
    }

    fn epoch(&self) -> u64 {
        if let Most::Found(law) = &self.most { law.epoch() } else { 0 }
    }

    /// When the pause or the wait for an allowance ends, if there is one.
    fn resume(&mut self, now: Instant) -> Option<Instant> {
        self.resume = self.resume.filter(|at| *at > now);
        let buckets = [&mut self.requests, &mut self.tokens].into_iter().flatten();
        let wait = buckets.filter_map(|bucket| bucket.wait(now)).max();
        self.resume.max(wait.map(|wait| now + wait))
    }
}

/// The right to have one call in flight.
#[derive(Debug)]
pub struct Turn<'a> {
    limiter: &'a Limiter,
    began: Instant,
    epoch: u64,
    /// Whether others would have had to wait when it began.
    full: bool,
    /// Tokens that are reserved for it.
    reserved: f64,
}

impl Limiter {
    /// A limiter of an endpoint.
    pub fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        let most = match limits.max_concurrent_calls {
            None => Most::Unlimited,
            Some(Concurrency::Calls(calls)) => Most::Fixed(calls.get() as usize),
            Some(Concurrency::Auto) => Most::Found(Adaptive::new(now)),
        };
        let bucket = |limit: Option<std::num::NonZeroU32>| limit.map(|limit| Bucket::new(f64::from(limit.get()), now));
        let (requests, tokens) = (bucket(limits.requests_per_minute), bucket(limits.tokens_per_minute));
        let state = State { most, in_flight: 0, waiting: 0, resume: None, requests, tokens, failures: 0, outage: None };
        Limiter { state: Mutex::new(state), room: Notify::new() }
    }

    /// Waits for room, for the end of a pause and for the allowance of a call of about so many `tokens`.
    pub async fn turn(&self, tokens: u64) -> Turn<'_> {
        let mut waits = Waits { limiter: self, counted: false };
        loop {
            let room = self.room.notified();
            match self.begin(&mut waits, tokens as f64) {
                Ok(turn) => return turn,
                Err(Some(resume)) => sleep_until(resume).await,
                Err(None) => room.await,
            }
        }
    }

    /// A turn, if there is room; else when a wait for something else ends, if there is one.
    fn begin(&self, waits: &mut Waits<'_>, tokens: f64) -> Result<Turn<'_>, Option<Instant>> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let resume = state.resume(now);
        if resume.is_some() || state.in_flight >= state.most() {
            state.waiting += usize::from(!std::mem::replace(&mut waits.counted, true));
            return Err(resume);
        }
        state.in_flight += 1;
        state.waiting -= usize::from(std::mem::take(&mut waits.counted));
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

    /// Whether the server is down and it is too early to see whether it still is.
    pub fn is_down(&self) -> bool {
        let now = Instant::now();
        self.state.lock().outage.is_some_and(|outage| now < outage.probe)
    }

    /// Lets nobody start a call for `delay`.
    pub fn pause_for(&self, delay: Duration) {
        let until = Instant::now() + delay;
        let mut state = self.state.lock();
        state.resume = Some(state.resume.map_or(until, |at| at.max(until)));
    }
}

/// Someone who waits for a turn, or gives up.
struct Waits<'a> {
    limiter: &'a Limiter,
    counted: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.limiter.state.lock().waiting -= 1;
            // The room that was meant for it is somebody else's.
            self.limiter.room.notify_one();
        }
    }
}

impl Turn<'_> {
    /// The server answered, with so many tokens in all, as it counted them.
    pub fn answered(mut self, tokens: Option<u64>) {
        let now = Instant::now();
        let mut state = self.limiter.state.lock();
        state.failures = 0;
        state.outage = None;
        let full = self.full || state.in_flight >= state.most();
        if let (true, Most::Found(law)) = (full, &mut state.most) {
            law.answered(self.epoch, now.duration_since(self.began), now);
        }
        if let (Some(bucket), Some(tokens)) = (&mut state.tokens, tokens) {
            bucket.spend(tokens as f64 - self.reserved);
        }
        self.reserved = 0.0;
    }

    /// The server had too much.
    pub fn refused(self) {
        let now = Instant::now();
        if let Most::Found(law) = &mut self.limiter.state.lock().most {
            law.refused(self.epoch, now);
        }
    }

    /// The server didn't answer. While it is down, gives for how long: everyone waits, and then one asks.
    pub fn failed(self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.limiter.state.lock();
        state.failures += 1;
        if state.failures < OUTAGE {
            return None;
        }
        let outage = state.outage.unwrap_or(Outage { since: now, probe: self.began, wait: FIRST_PROBE });
        // Those that were in flight when it went down are no probes.
        if self.began >= outage.probe {
            let probe = now + outage.wait;
            state.resume = Some(state.resume.map_or(probe, |at| at.max(probe)));
            state.outage = Some(Outage { probe, wait: (outage.wait * 2).min(LAST_PROBE), ..outage });
        }
        if let Most::Found(law) = &mut state.most {
            law.refused(self.epoch, now);
        }
        Some(now.duration_since(outage.since))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.in_flight -= 1;
        // What a call without an answer cost is nothing, as far as one knows.
        if let Some(bucket) = &mut state.tokens {
            bucket.spend(-self.reserved);
        }
        drop(state);
        self.limiter.room.notify_one();
    }
}

#[cfg(test)]
mod tests;
