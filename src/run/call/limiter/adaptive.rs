//! Adaptive concurrency (`max_concurrent_calls = "auto"`): finds from latencies how many calls a server processes at
//! once. Pure.
//!
//! Little's law: throughput = calls in flight / latency. A server with k slots answers faster with more calls in
//! flight, up to k. Further calls wait in its queue, and only the latency grows. So the number of calls grows as long
//! as the throughput does. It is then set to where the growth ended. Later, slightly higher and lower numbers are
//! tried. If a server refuses calls (429, 503) or becomes slow, the number of calls is lowered.

use std::time::Duration;

use tokio::time::Instant;

const MOST: usize = 1024;
/// The factor by which the throughput must grow before the number of calls is raised again.
const GROWS: f64 = 1.2;
/// The number from which a step doubles the calls instead of quadrupling them. A step costs as many calls as it tries.
const MANY: usize = 16;
/// The share of the best throughput that counts as equal to it.
const AS_GOOD: f64 = 0.95;
/// The growth of the throughput, relative to the growth of the calls, that justifies more calls.
const WORTH: f64 = 0.2;
/// The factor for the number of calls after a refused call.
const BACK_OFF: f64 = 0.7;
/// The ratio of usual to current throughput above which a server counts as slow.
const SLOW: f64 = 2.0;
/// The number of calls after which another number of calls in flight is tried.
const PATIENCE: usize = 400;
/// The least number of calls for comparing two numbers of calls in flight.
const CAREFUL: usize = 16;

/// A number of calls in flight and its throughput in calls per second.
#[derive(Clone, Copy, Debug)]
struct Level {
    calls: usize,
    throughput: f64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The number grows as long as the throughput does. Holds the last level and the one before.
    Growing(Option<Level>, Option<Level>),
    /// The growth ended between these levels; the number in between is measured.
    Confirming(Level, Level),
    /// The number is settled. Holds its throughput and the calls since then.
    Settled(f64, usize),
    Trying(Level),
}

/// Measures the calls that began since the number was set.
#[derive(Clone, Copy, Debug)]
struct Window {
    calls: usize,
    seconds: f64,
    since: Instant,
    /// Whether the first calls, which met a shorter queue, are over.
    warm: bool,
}

impl Window {
    fn new(since: Instant, warm: bool) -> Window {
        Window { calls: 0, seconds: 0.0, since, warm }
    }
}

#[derive(Debug)]
pub(crate) struct Adaptive {
    calls: usize,
    /// Incremented whenever the number is set. Calls of an earlier epoch do not count.
    epoch: u64,
    window: Window,
    phase: Phase,
    /// The largest number of calls that the server has not refused.
    ceiling: usize,
    /// Whether the next number to try is higher than the current one.
    up: bool,
}

impl Adaptive {
    pub(crate) fn new(now: Instant) -> Adaptive {
        let (window, phase) = (Window::new(now, false), Phase::Growing(None, None));
        Adaptive { calls: 1, epoch: 0, window, phase, ceiling: MOST, up: true }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Counts a call of `epoch`, answered at `now` after `latency`. The caller only passes calls at full concurrency.
    pub(crate) fn answered(&mut self, epoch: u64, latency: Duration, now: Instant) {
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
        // The latency of the first calls is too low, since they met a shorter queue. Without a queue, it is more exact
        // than the time of the slowest of these calls.
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
            Phase::Settled(usual, calls) => self.settled(usual, calls + window.calls, later, now),
            Phase::Trying(found) => self.tried(found, later, now),
        }
    }

    pub(crate) fn refused(&mut self, epoch: u64, now: Instant) {
        // Calls that are refused together count as one.
        if epoch != self.epoch {
            return;
        }
        // A server that refuses even one call is down; this tells us nothing about its capacity.
        self.ceiling = if self.calls > 1 { self.calls - 1 } else { MOST };
        let fewer = (self.calls as f64 * BACK_OFF) as usize;
        self.set(fewer, Phase::Growing(None, None), now);
    }

    fn more(&self) -> usize {
        self.calls * if self.calls < MANY { 4 } else { 2 }
    }

    fn set(&mut self, calls: usize, phase: Phase, now: Instant) {
        self.calls = calls.clamp(1, self.ceiling);
        self.epoch += 1;
        self.window = Window::new(now, false);
        self.phase = phase;
    }

    /// Decides after a second measurement, with a full queue, of a number at which the throughput did not seem to grow.
    fn grown(&mut self, before: Option<Level>, earlier: Option<Level>, level: Level, now: Instant) {
        match before {
            Some(before) if level.throughput >= before.throughput * GROWS && self.calls < self.ceiling => {
                self.set(self.more(), Phase::Growing(Some(level), Some(before)), now);
            }
            // Before the last step there was no queue. Up to the knee, the throughput grows with the calls.
            Some(before) => {
                let free = earlier.unwrap_or(before);
                let knee = level.throughput / free.throughput * free.calls as f64;
                let knee = (knee.round() as usize).clamp(free.calls, level.calls);
                self.set(knee, Phase::Confirming(before, level), now);
            }
            None => self.set(self.calls, Phase::Settled(level.throughput, 0), now),
        }
    }

    /// Decides after the measurement of the number at which the growth should have ended.
    fn confirmed(&mut self, few: Level, many: Level, level: Level, now: Instant) {
        let good = |level: &Level| level.throughput >= many.throughput * AS_GOOD;
        let found = [level, few].into_iter().find(good).unwrap_or(many);
        self.set(found.calls, Phase::Settled(found.throughput, 0), now);
    }

    fn settled(&mut self, usual: f64, calls: usize, level: Level, now: Instant) {
        if level.throughput * SLOW < usual {
            // The server has become slow, so the search starts again.
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

    /// Decides after a comparison: keeps the other number if more calls pay off, or fewer calls are as good.
    fn tried(&mut self, found: Level, level: Level, now: Instant) {
        let growth = level.calls as f64 / found.calls as f64 - 1.0;
        let better = level.throughput > found.throughput * (1.0 + WORTH * growth);
        match (better, level.calls > found.calls) {
            // Many more calls may pay off too.
            (true, true) if self.calls < self.ceiling => {
                self.set(self.more(), Phase::Growing(Some(level), Some(found)), now)
            }
            _ => {
                let kept = if better { level } else { found };
                self.set(kept.calls, Phase::Settled(kept.throughput, 0), now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
