//! Adaptive concurrency (`max_concurrent_calls = "auto"`): how many calls a server answers at once, found out from how long
//! they take. Pure: it is told of every call and says how many may be in flight.
//!
//! Little's law ties the three: throughput = calls in flight / latency. A server with k slots answers faster the more calls
//! it gets until k are in flight; from there on they wait in its queue, and only the latency grows. So the number
//! grows while the throughput grows with it, then is set where the growth ended, and from time to time another one, a little
//! higher or lower, is tried. A server that says that it has too much (429, 503), or that becomes slow, gets less.

use std::time::Duration;

use tokio::time::Instant;

/// The most calls in flight that are tried.
const MOST: usize = 1024;
/// Growth of the throughput, for a doubled number of calls, at which the number grows again.
const GROWS: f64 = 1.2;
/// From so many calls on the number is doubled, below it is quadrupled: a growth costs as many calls as it tries.
const MANY: usize = 16;
/// The share of the best throughput that is as good as it.
const AS_GOOD: f64 = 0.95;
/// The share of the growth of the calls that the throughput must grow with, for more calls to be worth it.
const WORTH: f64 = 0.2;
/// What is left of the number after a server had too much.
const BACK_OFF: f64 = 0.7;
/// How many times its usual latency a slow server takes.
const SLOW: f64 = 2.0;
/// Calls at one number until another is tried: trying costs.
const PATIENCE: usize = 400;
/// Calls at least by which a number is judged that is tried against another.
const CAREFUL: usize = 16;

/// A number of calls in flight and the throughput that came of it, in calls per second.
#[derive(Clone, Copy, Debug)]
struct Level {
    calls: usize,
    throughput: f64,
}

/// What is being found out.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The number grows as long as the throughput does; the last number and the one before it.
    Growing(Option<Level>, Option<Level>),
    /// Where the growth ended, as far as these numbers tell: too few or just enough, and too many.
    Confirming(Level, Level),
    /// The number has been found, with this throughput, and has stood for so many calls.
    Settled(f64, usize),
    /// Another number is tried against this one.
    Trying(Level),
}

/// Some calls that began since the number was set.
#[derive(Clone, Copy, Debug)]
struct Window {
    calls: usize,
    seconds: f64,
    since: Instant,
    /// Whether the first calls, which found a short queue, have been passed over.
    warm: bool,
}

impl Window {
    fn new(since: Instant, warm: bool) -> Window {
        Window { calls: 0, seconds: 0.0, since, warm }
    }
}

/// How many calls an endpoint gets at once.
#[derive(Debug)]
pub struct Adaptive {
    calls: usize,
    /// Raised whenever the number is set, so that calls which began before don't count.
    epoch: u64,
    window: Window,
    phase: Phase,
    /// The largest number that was not too much, as far as the server said.
    ceiling: usize,
    /// Whether the next number to try is a higher one.
    up: bool,
}

impl Adaptive {
    /// Starts with one call.
    pub fn new(now: Instant) -> Adaptive {
        let (window, phase) = (Window::new(now, false), Phase::Growing(None, None));
        Adaptive { calls: 1, epoch: 0, window, phase, ceiling: MOST, up: true }
    }

    /// How many calls may be in flight.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// What a call that begins now is to be told when it ends.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A call that began in `epoch` was answered at `now`, after `latency`. All calls that may be in flight must have been,
    /// or nothing is learnt from it.
    pub fn answered(&mut self, epoch: u64, latency: Duration, now: Instant) {
        if epoch != self.epoch {
            return;
        }
        self.window.calls += 1;
        self.window.seconds += latency.as_secs_f64();
        let careful = matches!(self.phase, Phase::Trying(_)) || matches!(self.phase, Phase::Settled(_, PATIENCE..));
        let enough = match (self.window.warm, careful) {
            (false, _) => self.calls,
            (true, false) => (self.calls / 4).max(8),
            (true, true) => (4 * self.calls).max(CAREFUL),
        };
        if self.window.calls < enough {
            return;
        }
        let window = std::mem::replace(&mut self.window, Window::new(now, true));
        let level = |throughput: f64| Level { calls: self.calls, throughput };
        // The first calls found a short queue, so that their latency says too little of it; but while there is none, it says
        // more than how long the slowest of them took.
        let first = level(window.calls as f64 / now.duration_since(window.since).as_secs_f64().max(1e-9));
        let later = level(self.calls as f64 * window.calls as f64 / window.seconds.max(1e-9));
        match self.phase {
            Phase::Growing(before, _) if !window.warm => {
                if before.is_none_or(|before| first.throughput >= before.throughput * GROWS)
                    && self.calls < self.ceiling
                {
                    self.set(self.more(), Phase::Growing(Some(later), before), now);
                }
            }
            _ if !window.warm => {}
            Phase::Growing(before, earlier) => self.grown(before, earlier, later, now),
            Phase::Confirming(few, many) => self.confirmed(few, many, later, now),
            Phase::Settled(usual, calls) => self.stood(usual, calls + window.calls, later, now),
            Phase::Trying(found) => self.tried(found, later, now),
        }
    }

    /// A call that began in `epoch` was turned away at `now` because the server had too much.
    pub fn refused(&mut self, epoch: u64, now: Instant) {
        // Those that were turned away together are one sign.
        if epoch != self.epoch {
            return;
        }
        // Who has too much of one call is down, which says nothing of how much it can do.
        self.ceiling = if self.calls > 1 { self.calls - 1 } else { MOST };
        let fewer = (self.calls as f64 * BACK_OFF) as usize;
        self.set(fewer, Phase::Growing(None, None), now);
    }

    /// The next number of a growth.
    fn more(&self) -> usize {
        self.calls * if self.calls < MANY { 4 } else { 2 }
    }

    fn set(&mut self, calls: usize, phase: Phase, now: Instant) {
        self.calls = calls.clamp(1, self.ceiling);
        self.epoch += 1;
        self.window = Window::new(now, false);
        self.phase = phase;
    }

    /// The throughput didn't seem to grow with the number, and was measured again with a full queue.
    fn grown(&mut self, before: Option<Level>, earlier: Option<Level>, level: Level, now: Instant) {
        match before {
            Some(before) if level.throughput >= before.throughput * GROWS && self.calls < self.ceiling => {
                self.set(self.more(), Phase::Growing(Some(level), Some(before)), now);
            }
            // Before the last growth there was no queue yet: as long as there is none, the throughput goes with the calls.
            Some(before) => {
                let free = earlier.unwrap_or(before);
                let knee = level.throughput / free.throughput * free.calls as f64;
                let knee = (knee.round() as usize).clamp(free.calls, level.calls);
                self.set(knee, Phase::Confirming(before, level), now);
            }
            None => self.set(self.calls, Phase::Settled(level.throughput, 0), now),
        }
    }

    /// The number at which the growth should have ended gives so much.
    fn confirmed(&mut self, few: Level, many: Level, level: Level, now: Instant) {
        let good = |level: &Level| level.throughput >= many.throughput * AS_GOOD;
        let found = [level, few].into_iter().find(good).unwrap_or(many);
        self.set(found.calls, Phase::Settled(found.throughput, 0), now);
    }

    /// Another window at the number that was found.
    fn stood(&mut self, usual: f64, calls: usize, level: Level, now: Instant) {
        if level.throughput * SLOW < usual {
            // It has become slow for everyone: what was known of it holds no more.
            self.set(1, Phase::Growing(None, None), now);
        } else if calls < PATIENCE {
            self.phase = Phase::Settled(usual, calls);
        } else {
            let step = self.calls.div_ceil(10);
            let other = if self.up { self.calls + step } else { self.calls.saturating_sub(step).max(1) };
            self.up = !self.up;
            self.ceiling = self.ceiling.max(other.min(MOST));
            self.set(other, Phase::Trying(level), now);
        }
    }

    /// A number was tried: kept if more calls are worth it, or fewer do as well.
    fn tried(&mut self, found: Level, level: Level, now: Instant) {
        let growth = level.calls as f64 / found.calls as f64 - 1.0;
        let better = level.throughput > found.throughput * (1.0 + WORTH * growth);
        match (better, level.calls > found.calls) {
            // More is worth it: perhaps much more.
            (true, true) if self.calls < self.ceiling => {
                self.set(self.more(), Phase::Growing(Some(level), Some(found)), now)
            }
            (true, _) => self.set(level.calls, Phase::Settled(level.throughput, 0), now),
            (false, _) => self.set(found.calls, Phase::Settled(found.throughput, 0), now),
        }
    }
}

#[cfg(test)]
mod tests;
