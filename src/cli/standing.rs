//! How stages stand, as `status` and `plan` show it.

use std::path::Path;

use serde_json::{Value, json};

use super::terminal::Terminal;
use crate::lock::{Freshness, Lock, StageState};
use crate::report::summary::count;

/// The lock of the spec at `spec`; one that can't be read is told, and is none.
pub fn lock_of(spec: &Path, terminal: &Terminal) -> Option<Lock> {
    Lock::read(&Lock::path_of(spec)).unwrap_or_else(|error| {
        terminal.error(&error.to_string(), Some("mend it, or write a new one with `fanfold run --update-lock`"));
        None
    })
}

/// The state in a word or two.
pub fn word(state: StageState) -> &'static str {
    match state {
        StageState::NeverRun => "never run",
        StageState::Running => "running",
        StageState::Stopped => "stopped",
        StageState::Stale => "stale",
        StageState::Done => "done",
    }
}

/// The state and the calls in a line.
pub fn words(standing: &Freshness) -> String {
    if !standing.is_counted {
        return format!("{}: its calls depend on answers that are not known yet", word(standing.state));
    }
    let most = if standing.unknown > 0 { "at most " } else { "" };
    format!("{}: a run would send {most}{}", word(standing.state), count(standing.to_send, "call"))
}

/// A standing for machines.
pub fn as_json(standing: &Freshness) -> Value {
    json!({
        "state": word(standing.state), "why": standing.why,
        "calls_to_send": standing.is_counted.then_some(standing.to_send),
        "from_ledger": standing.from_ledger, "not_known_yet": standing.unknown,
    })
}
