//! Answers of Gemini's protocol. Pure.
//!
//! Sources: <https://ai.google.dev/api/generate-content> (`FinishReason`, `BlockReason`, `UsageMetadata`),
//! <https://ai.google.dev/api/models> and <https://ai.google.dev/gemini-api/docs/troubleshooting>.

use serde::Deserialize;
use serde_json::Value;

use crate::prompt::Token;
use crate::provider::answer::Answer;
use crate::provider::fault::Fault;
use crate::provider::wire::{endless, unlisted, with_text};
use crate::provider::{Build, CallError, CallErrorKind, Finish, Inventory, Listed, Model, Reply};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseBody {
    #[serde(default)]
    candidates: Vec<Candidate>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<Usage>,
    model_version: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
    logprobs_result: Option<LogprobsResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogprobsResult {
    #[serde(default)]
    chosen_candidates: Vec<Scored>,
    #[serde(default)]
    top_candidates: Vec<Likeliest>,
}

#[derive(Deserialize)]
struct Likeliest {
    #[serde(default)]
    candidates: Vec<Scored>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scored {
    token: String,
    log_probability: f64,
}

impl Scored {
    fn bytes(self) -> (Vec<u8>, f64) {
        (self.token.into_bytes(), self.log_probability.exp())
    }
}

impl LogprobsResult {
    fn tokens(self) -> Vec<Token> {
        let mut likeliest = self.top_candidates.into_iter();
        let tokens = self.chosen_candidates.into_iter().map(|chosen| {
            let (bytes, probability) = chosen.bytes();
            let likeliest = likeliest.next().map(|step| step.candidates.into_iter().map(Scored::bytes).collect());
            Token { bytes, probability, likeliest: likeliest.unwrap_or_default() }
        });
        tokens.collect()
    }
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

impl Usage {
    /// `candidatesTokenCount` excludes the thoughts, which are billed too.
    fn completion_tokens(&self) -> Option<u64> {
        match (self.candidates_token_count, self.thoughts_token_count) {
            (None, None) => None,
            (said, thought) => Some(said.unwrap_or(0).saturating_add(thought.unwrap_or(0))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelEntry {
    version: Option<String>,
    supported_generation_methods: Option<Vec<String>>,
}

pub(super) fn decode(answer: Answer<'_>) -> Result<Reply, CallError> {
    let answered = answer.reply(|answered: &ResponseBody| answered.error.as_ref(), Fault::error_of)?;
    let Some(candidate) = answered.candidates.into_iter().next() else {
        return Err(match answered.prompt_feedback.and_then(|feedback| feedback.block_reason) {
            Some(reason) => CallError::raw(CallErrorKind::Refused, format!("the prompt was blocked ({reason})")),
            None => CallError::raw(CallErrorKind::Malformed, "the reply has no candidates"),
        });
    };
    let finish = match candidate.finish_reason.as_deref() {
        Some("STOP") => Finish::Stop,
        Some("MAX_TOKENS") => Finish::Length,
        Some(
            reason @ ("SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
            | "IMAGE_SAFETY"),
        ) => return Err(withheld(reason, candidate.finish_message)),
        Some(other) => Finish::Other(other.to_owned()),
        None => return Err(endless("finishReason")),
    };
    let parts = candidate.content.map(|content| content.parts).unwrap_or_default();
    let said = parts.into_iter().filter(|part| !part.thought);
    with_text(Reply {
        text: said.filter_map(|part| part.text).collect(),
        finish,
        prompt_tokens: answered.usage_metadata.as_ref().and_then(|usage| usage.prompt_token_count),
        completion_tokens: answered.usage_metadata.as_ref().and_then(Usage::completion_tokens),
        build: answered.model_version.filter(|version| !version.is_empty()),
        probabilities: None,
        tokens: candidate.logprobs_result.map(LogprobsResult::tokens).unwrap_or_default(),
    })
}

fn withheld(reason: &str, message: Option<String>) -> CallError {
    let said = message.map(|message| format!(": {message}")).unwrap_or_default();
    CallError::raw(CallErrorKind::Refused, format!("the provider withheld the reply ({reason}){said}"))
}

/// The build of a model is its version. A model that does not generate text is an error.
pub(super) fn find_model(model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
    let fault = Fault::of_body(answer.body);
    if let Some(verdict) = unlisted(model, endpoint, answer, fault.says("NOT_FOUND")) {
        return verdict;
    }
    if !answer.is_success() {
        return Err(fault.error(answer));
    }
    let Ok(known) = answer.json::<ModelEntry>() else { return Ok(Build::default()) };
    let methods = known.supported_generation_methods.unwrap_or_default();
    if !methods.is_empty() && !methods.iter().any(|method| method == "generateContent") {
        let message = format!("the model `{}` on {endpoint} doesn't generate text", model.id);
        return Err(CallError::raw(CallErrorKind::UnknownModel, message));
    }
    Ok(Build { digest: known.version.filter(|version| !version.is_empty()), ..Build::default() })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    models: Vec<Entry>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    input_token_limit: Option<u64>,
    supported_generation_methods: Option<Vec<String>>,
}

/// Source: <https://ai.google.dev/api/models#method:-models.list>. A gateway may not have this page.
pub(super) fn inventory(pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
    let page = pages.first().copied().flatten();
    let Some(List { models, next_page_token }) = Answer::list(page, Fault::error_of)? else {
        return Ok(Inventory::default());
    };
    let writes = |entry: &Entry| {
        let methods = entry.supported_generation_methods.as_ref();
        methods.is_none_or(|methods| methods.iter().any(|method| method == "generateContent"))
    };
    let models = models.into_iter().filter(writes).map(|entry| {
        // Models are listed as `models/x` and called as `x`.
        let id = entry.name.strip_prefix("models/").unwrap_or(&entry.name).to_owned();
        Listed { id, context: entry.input_token_limit, ..Listed::default() }
    });
    Ok(Inventory { models: models.collect(), more: next_page_token.is_some(), ..Inventory::default() })
}

#[cfg(test)]
mod tests;
