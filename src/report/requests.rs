//! Requests in words: those of workers, further tries, and those that servers refused.

use std::time::Duration;

use super::text::{count, duration, number, usd};
use crate::store::{RefusalTotals, WorkerTotals};

/// What the workers of a run have sent.
pub(super) fn of_workers(workers: &WorkerTotals) -> String {
    let WorkerTotals { calls, attempts, prompt_tokens, completion_tokens, usd: cost } = workers;
    let retries = attempts.saturating_sub(*calls);
    let retries = if retries > 0 { format!(", {}", of_retries(retries)) } else { String::new() };
    let money = cost.map_or(String::new(), |cost| format!(", {}", usd(cost)));
    let (prompt, reply) = (number(*prompt_tokens), number(*completion_tokens));
    format!("workers: {} sent{retries}; {prompt} tokens in, {reply} out{money}", count(*calls, "call"))
}

pub(super) fn of_retries(retries: u64) -> String {
    format!("{} {}", number(retries), if retries == 1 { "retry" } else { "retries" })
}

/// The calls to a model that its server refused or could not take.
pub(super) fn refusals(totals: &RefusalTotals) -> String {
    let calls = [(totals.refused, "refused"), (totals.unavailable, "not taken, since the server was down or busy")];
    let calls = calls.into_iter().filter(|(n, _)| *n > 0).map(|(n, how)| format!("{} {how}", count(n, "call")));
    let waited = Duration::from_secs_f64(totals.waited_seconds.clamp(0.0, 1e9));
    format!("{}; {} waited", calls.collect::<Vec<_>>().join(", "), duration(waited))
}
