//! Answers of Anthropic's Messages protocol. Pure.
//!
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>,
//! <https://platform.claude.com/docs/en/api/errors>, and for tokens
//! <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>.

use serde::Deserialize;
use serde_json::Value;

use crate::provider::answer::Answer;
use crate::provider::fault::Fault;
use crate::provider::wire::{endless, unlisted, with_text};
use crate::provider::{Build, CallError, CallErrorKind, Finish, Inventory, Listed, Model, Reply};

#[derive(Deserialize)]
struct ResponseBody {
    #[serde(default)]
    content: Vec<Block>,
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
    usage: Option<Usage>,
    model: Option<String>,
    error: Option<Value>,
}

/// Only blocks of type `text` are part of the answer.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct StopDetails {
    category: Option<String>,
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Usage {
    /// `input_tokens` excludes the tokens that were written to a cache or read from one.
    fn prompt_tokens(&self) -> Option<u64> {
        let cached = [self.cache_creation_input_tokens, self.cache_read_input_tokens];
        self.input_tokens.map(|tokens| cached.into_iter().flatten().fold(tokens, u64::saturating_add))
    }
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    max_input_tokens: Option<u64>,
}

pub(super) fn decode(answer: Answer<'_>) -> Result<Reply, CallError> {
    let answered = answer.reply(|answered: &ResponseBody| answered.error.as_ref(), Fault::error_of)?;
    let texts = answered.content.iter().filter(|block| block.kind == "text");
    let text: String = texts.filter_map(|block| block.text.as_deref()).collect();
    let finish = match answered.stop_reason.as_deref() {
        Some("end_turn" | "stop_sequence") => Finish::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => return Err(refused(answered.stop_details, &text)),
        // `tool_use` and `pause_turn` need tools, which are never sent.
        Some(other) => Finish::Other(other.to_owned()),
        None => return Err(endless("stop_reason")),
    };
    with_text(Reply {
        text,
        finish,
        prompt_tokens: answered.usage.as_ref().and_then(Usage::prompt_tokens),
        completion_tokens: answered.usage.as_ref().and_then(|usage| usage.output_tokens),
        build: answered.model.filter(|model| !model.is_empty()),
        probabilities: None,
        tokens: Vec::new(),
    })
}

fn refused(details: Option<StopDetails>, text: &str) -> CallError {
    let (category, explanation) = details.map_or((None, None), |details| (details.category, details.explanation));
    let category = category.map(|category| format!(" ({category})")).unwrap_or_default();
    let said = explanation.as_deref().unwrap_or(text).trim();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    CallError::raw(CallErrorKind::Refused, format!("the model refused{category}{said}"))
}

pub(super) fn find_model(model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
    let fault = Fault::of_body(answer.body);
    if let Some(verdict) = unlisted(model, endpoint, answer, fault.says("not_found_error")) {
        return verdict;
    }
    if !answer.is_success() {
        return Err(fault.error(answer));
    }
    let digest = answer.json::<ModelEntry>().ok().map(|known| known.id).filter(|id| !id.is_empty());
    Ok(Build { digest, ..Build::default() })
}

#[derive(Deserialize)]
struct List {
    data: Vec<ModelEntry>,
    #[serde(default)]
    has_more: bool,
}

/// Source: <https://platform.claude.com/docs/en/api/models/list>. A gateway may not have this page.
pub(super) fn inventory(pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
    let page = pages.first().copied().flatten();
    let Some(List { data, has_more: more }) = Answer::list(page, Fault::error_of)? else {
        return Ok(Inventory::default());
    };
    let listed = |known: ModelEntry| Listed { id: known.id, context: known.max_input_tokens, ..Listed::default() };
    Ok(Inventory { models: data.into_iter().map(listed).collect(), more, ..Inventory::default() })
}

#[cfg(test)]
mod tests;
