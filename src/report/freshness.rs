//! The state of a stage as words and as JSON.

use serde_json::{Value, json};

use super::numbers::count;
use crate::lock::{Freshness, StageState};

pub fn word(state: StageState) -> &'static str {
    match state {
        StageState::NeverRun => "never run",
        StageState::Running => "running",
        StageState::Stopped => "stopped",
        StageState::Stale => "stale",
        StageState::Done => "done",
    }
}

/// The state and the calls to send, in a line.
pub fn words(stage: &Freshness) -> String {
    if !stage.is_counted {
        return format!("{}: its calls depend on answers that are not known yet", word(stage.state));
    }
    let most = if stage.unknown > 0 { "at most " } else { "" };
    format!("{}: a run would send {most}{}", word(stage.state), count(stage.to_send, "call"))
}

pub fn as_json(stage: &Freshness) -> Value {
    json!({
        "state": word(stage.state), "why": stage.why,
        "calls_to_send": stage.is_counted.then_some(stage.to_send),
        "from_ledger": stage.from_ledger, "not_known_yet": stage.unknown,
    })
}
