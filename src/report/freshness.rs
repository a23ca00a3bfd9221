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

/// What has changed since the table was written and which file is missing, in few words.
pub(crate) fn why(stage: &Freshness) -> String {
    let (changed, missing) = changed_and_missing(stage);
    [changed, missing].concat().join(", ")
}

/// The same as parts of a sentence.
pub(crate) fn reasons(stage: &Freshness) -> String {
    let (changed, missing) = changed_and_missing(stage);
    let changed = if changed.is_empty() { String::new() } else { format!("; changed: {}", changed.join(", ")) };
    missing.iter().fold(changed, |text, word| format!("{text}; {word}"))
}

fn changed_and_missing(stage: &Freshness) -> (Vec<String>, Vec<String>) {
    let (mut words, mut missing): (Vec<String>, Vec<String>) = Default::default();
    for facet in stage.why.iter().map(|drift| drift.facet.as_str()) {
        let mut parts = facet.splitn(3, '.');
        let (table, name, field) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let word = match table {
            Some("stages") if name == stage.name => field.to_owned(),
            Some("stages" | "reshapes") => format!("stage {name}"),
            Some("sources") => format!("source {name}"),
            Some("models") => format!("model {name}"),
            Some("outputs") => {
                missing.push(format!("no file of output {name}"));
                continue;
            }
            _ => "call format".to_owned(),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    missing.dedup();
    (words, missing)
}

pub(crate) fn as_json(stage: &Freshness) -> Value {
    json!({
        "state": word(stage.state), "why": stage.why,
        "calls_to_send": stage.to_send,
        "from_ledger": stage.outlook.from_ledger, "not_known_yet": stage.outlook.unknown,
    })
}
