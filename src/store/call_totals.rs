//! Totals of recorded calls: what they cost and how long they took.

use super::record::Record;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CallTotals {
    pub(crate) calls: u64,
    pub(crate) attempts: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) latency_ms: f64,
}

impl CallTotals {
    pub(crate) fn add(&mut self, record: &Record) {
        self.calls += 1;
        self.attempts += u64::from(record.attempts);
        self.prompt_tokens += record.prompt_tokens;
        self.completion_tokens += record.completion_tokens;
        self.latency_ms += record.latency_ms;
    }

    /// The mean of a sum over the calls; `None` without calls.
    pub(crate) fn mean(&self, sum: f64) -> Option<f64> {
        (self.calls > 0).then(|| sum / self.calls as f64)
    }
}
