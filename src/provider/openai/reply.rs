//! Answers of OpenAI's chat protocol, from OpenAI and from similar servers. Pure.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/object> and its page of error codes.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::stream;
use crate::name::{listed, nearest};
use crate::provider::answer::{Answer, document};
use crate::provider::failure::{is_event_stream, snippet};
use crate::provider::fault::Fault;
use crate::provider::lenient::{Count, Known, Said, first_said};
use crate::provider::scores::{Scored, tokens};
use crate::provider::stream::trimmed;
use crate::provider::wire::unstated;
use crate::provider::{Build, CallError, CallErrorKind, Finish, Model, Reply, Thoughts};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Completion {
    choices: Option<Vec<Choice>>,
    usage: Known<Usage>,
    system_fingerprint: Known<String>,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    message: Option<MessageBody>,
    /// The older protocol's name of the text.
    text: Known<String>,
    logprobs: Known<Logprobs>,
    finish_reason: Known<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Scored>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageBody {
    content: Content,
    refusal: Known<String>,
    /// The names that vLLM, DeepSeek, OpenRouter, Groq and others use for the thoughts.
    reasoning_content: Said,
    reasoning: Said,
    thinking: Said,
    reasoning_details: Said,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Known<PromptDetails>,
    /// Moonshot's place.
    cached_tokens: Count,
    completion_tokens_details: Known<CompletionDetails>,
    reasoning_tokens: Count,
    /// DeepSeek's name.
    prompt_cache_hit_tokens: Count,
    /// Anthropic's names, from gateways.
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    /// OpenAI's and OpenRouter's name.
    cache_write_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

impl Usage {
    fn cached_tokens(&self) -> u64 {
        let details = self.prompt_tokens_details.0.as_ref().and_then(|details| details.cached_tokens.0);
        let own = [self.cached_tokens.0, self.prompt_cache_hit_tokens.0, self.cache_read_input_tokens.0];
        own.into_iter().chain([details]).flatten().max().unwrap_or(0)
    }

    fn cache_writes(&self) -> u64 {
        let details = self.prompt_tokens_details.0.as_ref().and_then(|details| details.cache_write_tokens.0);
        details.max(self.cache_creation_input_tokens.0).unwrap_or(0)
    }

    /// OpenAI's `prompt_tokens` includes the cached tokens. That of some gateways does not, as a count below them shows.
    fn prompt_tokens(&self) -> Option<u64> {
        let (told, cached) = (self.prompt_tokens.0?, self.cached_tokens().saturating_add(self.cache_writes()));
        Some(if told < cached { told.saturating_add(cached) } else { told })
    }

    fn thought_tokens(&self) -> Option<u64> {
        let details = self.completion_tokens_details.0.as_ref().and_then(|details| details.reasoning_tokens.0);
        details.or(self.reasoning_tokens.0)
    }

    /// The `completion_tokens` of some servers leave out the thoughts, which only their total includes.
    fn completion_tokens(&self) -> Option<u64> {
        let (prompt, said) = (self.prompt_tokens.0?, self.completion_tokens.0?);
        let thought = self.thought_tokens().unwrap_or(0);
        let with = said.saturating_add(thought);
        Some(if self.total_tokens.0 == Some(prompt.saturating_add(with)) { with } else { said })
    }
}

/// A string, null, an object, or a list of parts, whose texts are joined.
#[derive(Default, Deserialize)]
#[serde(from = "Shapes")]
struct Content {
    text: String,
    thoughts: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shapes {
    Text(String),
    Parts(Vec<Value>),
    /// Some gateways read the JSON of a reply themselves.
    Object(Map<String, Value>),
    Null,
}

impl From<Shapes> for Content {
    fn from(shapes: Shapes) -> Self {
        let text = |text: String| Content { text, thoughts: None };
        match shapes {
            Shapes::Text(said) => text(said),
            Shapes::Parts(parts) => {
                let thought = |part: &Value| {
                    part["type"].as_str().is_some_and(|kind| kind.contains("think") || kind.contains("reason"))
                };
                let (thoughts, said): (Vec<Value>, Vec<Value>) = parts.into_iter().partition(thought);
                let written = said.iter().filter_map(|part| part.as_str().or_else(|| part["text"].as_str()));
                Content { text: written.collect(), thoughts: first_said([Said::from(Value::Array(thoughts))]) }
            }
            Shapes::Object(object) => text(Value::Object(object).to_string()),
            Shapes::Null => Content::default(),
        }
    }
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

/// The end of messages about replies that a server sends when the path is wrong.
const CHECK_ADDRESS: &str = "check that `base_url` ends as the server wants it, mostly with `/v1`";

pub(super) fn decode(answer: Answer<'_>) -> Result<Reply, CallError> {
    match answer.joined(stream::joined) {
        Some(body) => read(Answer { body: &body, ..answer }),
        None => read(answer),
    }
    .map_err(|error| with_hint(error, answer))
}

/// Servers answer an unknown path with an error object or a page, and with status 200.
fn with_hint(mut error: CallError, answer: Answer<'_>) -> CallError {
    let is_page = document(answer.body).is_none()
        && !is_event_stream(&snippet(answer.body))
        && !trimmed(answer.body).starts_with(b"{");
    if answer.is_success() && (is_page || matches!(error.kind, CallErrorKind::ServerError { .. })) {
        error.message = format!("{}; {CHECK_ADDRESS}", error.message);
    }
    error
}

fn read(answer: Answer<'_>) -> Result<Reply, CallError> {
    let completion = match answer.reply(|completion: &Completion| completion.error.as_ref(), failed) {
        Ok(completion) => completion,
        Err(error) => return unfit(answer).ok_or(error),
    };
    let Some(choice) = completion.choices.and_then(|choices| choices.into_iter().next()) else {
        return Err(without_choices(answer));
    };
    if let Some(fault) = choice.error.as_ref().and_then(Fault::of_value) {
        return Err(fault.error(answer));
    }
    let said = choice.message.unwrap_or_default();
    if let Some(refusal) = said.refusal.text() {
        return Err(CallError::raw(CallErrorKind::Refused, format!("the model refused: {refusal}")));
    }
    let text = if said.content.text.is_empty() { choice.text.text().unwrap_or_default() } else { said.content.text };
    let finish = match choice.finish_reason.text().as_deref() {
        Some("stop") => Finish::Stop,
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::ContentFilter,
        Some("error") => return Err(failed_upstream()),
        Some(other) => Finish::Other(other.to_owned()),
        None => unstated(&text, "finish_reason")?,
    };
    let usage = completion.usage.0.unwrap_or_default();
    let thoughts = first_said([said.reasoning_content, said.reasoning, said.thinking, said.reasoning_details]);
    Ok(Reply {
        prompt_tokens: usage.prompt_tokens(),
        cached_tokens: usage.cached_tokens(),
        cache_writes: usage.cache_writes(),
        completion_tokens: usage.completion_tokens().or(usage.completion_tokens.0),
        build: completion.system_fingerprint.text(),
        tokens: tokens(choice.logprobs.0.and_then(|logprobs| logprobs.content)),
        thoughts: Thoughts { text: thoughts.or(said.content.thoughts), tokens: usage.thought_tokens() },
        ..Reply::new(text, finish)
    })
}

/// The text that a server withheld because it misses the schema: the row is asked again as after any unusable reply.
fn unfit(answer: Answer<'_>) -> Option<Reply> {
    let fault = Fault::of_body(answer.body);
    Some(Reply::new(fault.unfit()?, Finish::Other(Finish::UNFIT.to_owned())))
}

fn failed_upstream() -> CallError {
    CallError::raw(CallErrorKind::ServerError { retry_after: None }, "the server failed while the model wrote")
}

fn without_choices(answer: Answer<'_>) -> CallError {
    let fault = answer.json::<Value>().ok().and_then(|body| Fault::of_value(&body));
    fault.map_or_else(
        || CallError::raw(CallErrorKind::Malformed, "the reply has no choices"),
        |fault| fault.error(answer),
    )
}

/// A row cannot cause a 404: the model or the path does not exist, and the run stops.
pub(super) fn failed(answer: Answer<'_>) -> CallError {
    let fault = Fault::of_body(answer.body);
    let named = fault.says("model_not_found") || fault.says("NotFoundError");
    let mut error = fault.error(answer);
    if error.kind == CallErrorKind::UnknownModel && !named {
        error.message = format!("{}; check the model's id, and {}", error.message, &CHECK_ADDRESS["check ".len()..]);
    }
    error
}

/// A model is unknown only if the list names several others: llama.cpp answers to any name, and some have no list.
pub(super) fn find_model(model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
    let Some(Models { data }) = Answer::list(Some(answer), failed)? else { return Ok(Build::default()) };
    let ids: Vec<&str> = data.iter().map(|listed| listed.id.as_str()).collect();
    // Some servers list `models/x`, and Ollama `x:latest`; both are called with `x`.
    let served =
        |id: &&str| [Some(*id), id.rsplit('/').next(), id.strip_suffix(":latest")].contains(&Some(model.id.as_str()));
    if ids.len() <= 1 || ids.iter().any(served) {
        return Ok(Build::default());
    }
    let mut near: Vec<&str> = Vec::new();
    while let Some(id) =
        nearest(&model.id, ids.iter().copied().filter(|id| !near.contains(id))).filter(|_| near.len() < 3)
    {
        near.push(id);
    }
    let hint = match near.is_empty() {
        true => format!("it serves {} others, such as {}", ids.len(), listed(ids.iter().copied().take(3))),
        false => format!("near are {}", listed(near)),
    };
    Err(CallError::raw(
        CallErrorKind::UnknownModel,
        format!("{endpoint} doesn't serve the model `{}`; {hint}", model.id),
    ))
}

#[cfg(test)]
mod tests;
