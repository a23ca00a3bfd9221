//! Freshness: formats the state of a stage as text and as JSON.

use serde_json::{Value, json};

use super::text::count;
use crate::lock::{Freshness, StageState};

pub(crate) fn word(state: StageState) -> &'static str {
    match state {
        StageState::NeverRun => "never run",
        StageState::Running => "running",
        StageState::Stopped => "stopped",
        StageState::Stale => "stale",
        StageState::Done => "done",
    }
}

pub(crate) fn words(stage: &Freshness) -> String {
    let state = word(stage.state);
    let Some(to_send) = stage.to_send else {
        return format!("{state}: its calls depend on answers that are not known yet");
    };
    let most = if stage.outlook.unknown > 0 { "at most " } else { "" };
    format!("{state}: a run would send {most}{}", count(to_send, "call"))
}

/// What has changed since the table was written, in few words.
pub(crate) fn why(stage: &Freshness) -> String {
    let mut words: Vec<String> = Vec::new();
    for facet in stage.why.iter().map(|drift| drift.facet.as_str()) {
        let mut parts = facet.splitn(3, '.');
        let (table, name, field) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let word = match table {
            Some("stages") if name == stage.name => field.to_owned(),
            Some("stages" | "reshapes") => format!("stage {name}"),
            Some("sources") => format!("source {name}"),
            Some("models") => format!("model {name}"),
            Some("outputs") => format!("no file of output {name}"),
            _ => "call format".to_owned(),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(", ")
}

pub(crate) fn as_json(stage: &Freshness) -> Value {
    json!({
        "state": word(stage.state), "why": stage.why,
        "calls_to_send": stage.to_send,
        "from_ledger": stage.outlook.from_ledger, "not_known_yet": stage.outlook.unknown,
    })
}
