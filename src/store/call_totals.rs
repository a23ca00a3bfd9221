//! Totals of recorded calls: what they cost and how long they took.

use super::record::Record;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CallTotals {
    pub(crate) calls: u64,
    pub(crate) attempts: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) latency_ms: f64,
    /// The calls with a latency. Those of a replay file have none.
    pub(crate) timed: u64,
}

impl CallTotals {
    pub(crate) fn add(&mut self, record: &Record) {
        self.calls += 1;
        self.attempts += u64::from(record.attempts);
        self.prompt_tokens += record.prompt_tokens;
        self.completion_tokens += record.completion_tokens;
        self.latency_ms += record.latency_ms;
        self.timed += u64::from(record.latency_ms > 0.0);
    }

    /// The mean seconds of a call; `None` if no latency is known.
    pub(crate) fn seconds(&self) -> Option<f64> {
        (self.timed > 0).then(|| self.latency_ms / 1e3 / self.timed as f64)
    }

    /// The mean of a sum over the calls; `None` without calls.
    pub(crate) fn mean(&self, sum: f64) -> Option<f64> {
        (self.calls > 0).then(|| sum / self.calls as f64)
    }
}
