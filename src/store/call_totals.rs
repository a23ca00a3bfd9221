//! Totals of recorded calls: what they cost and how long they took.

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::spec::CallTokens;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CallTotals {
    pub(crate) calls: u64,
    pub(crate) attempts: u64,
    pub(crate) prompt_tokens: u64,
    /// Those of the prompts that servers read from their caches.
    pub(crate) cached_tokens: u64,
    /// Those of the prompts that servers wrote to their caches.
    pub(crate) cache_write_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) latency_ms: f64,
    /// The calls with a latency. Those of a replay file have none.
    pub(crate) timed: u64,
}

impl CallTotals {
    pub(crate) fn add(&mut self, record: &Record) {
        self.calls += 1;
        self.attempts += u64::from(record.attempts);
        let tokens = record.tokens();
        self.prompt_tokens += tokens.prompt;
        self.cached_tokens += tokens.cached;
        self.cache_write_tokens += tokens.cache_writes;
        self.completion_tokens += tokens.reply;
        self.latency_ms += record.latency_ms;
        self.timed += u64::from(record.latency_ms > 0.0);
    }

    /// Takes away the tries of a call that was added, which an earlier run had sent already.
    pub(crate) fn without_tries(&mut self, earlier: &Record) {
        let tokens = earlier.tokens();
        for (total, less) in [
            (&mut self.attempts, earlier.attempts.into()),
            (&mut self.prompt_tokens, tokens.prompt),
            (&mut self.cached_tokens, tokens.cached),
            (&mut self.cache_write_tokens, tokens.cache_writes),
            (&mut self.completion_tokens, tokens.reply),
        ] {
            *total = total.saturating_sub(less);
        }
    }

    pub(crate) fn plus(&mut self, more: &CallTotals) {
        self.calls += more.calls;
        self.attempts += more.attempts;
        self.prompt_tokens += more.prompt_tokens;
        self.cached_tokens += more.cached_tokens;
        self.cache_write_tokens += more.cache_write_tokens;
        self.completion_tokens += more.completion_tokens;
        self.latency_ms += more.latency_ms;
        self.timed += more.timed;
    }

    pub(crate) fn tokens(&self) -> CallTokens {
        CallTokens {
            prompt: self.prompt_tokens,
            cached: self.cached_tokens,
            cache_writes: self.cache_write_tokens,
            reply: self.completion_tokens,
        }
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
