//! Answers of OpenAI's chat protocol, from OpenAI and from similar servers. Pure.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/object> and its page of error codes.

use serde::Deserialize;
use serde_json::Value;

use super::stream;
use crate::name::{listed, nearest};
use crate::provider::answer::Answer;
use crate::provider::failure::{is_event_stream, snippet};
use crate::provider::fault::Fault;
use crate::provider::scores::{Scored, tokens};
use crate::provider::wire::endless;
use crate::provider::{Build, CallError, CallErrorKind, Finish, Model, Reply};

#[derive(Deserialize)]
struct Completion {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    system_fingerprint: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<MessageBody>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Scored>>,
}

#[derive(Deserialize)]
struct MessageBody {
    #[serde(default)]
    content: Content,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    /// DeepSeek's name.
    prompt_cache_hit_tokens: Option<u64>,
    /// Anthropic's names, from gateways.
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Usage {
    /// OpenAI's `prompt_tokens` includes the cached tokens; that of some gateways does not.
    fn cached_tokens(&self) -> u64 {
        let details = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        let read = [details, self.prompt_cache_hit_tokens, self.cache_read_input_tokens].into_iter().flatten().max();
        read.unwrap_or(0).saturating_add(self.cache_creation_input_tokens.unwrap_or(0))
    }
}

/// A string, null, or a list of parts, whose texts are joined.
#[derive(Default, Deserialize)]
#[serde(from = "Shapes")]
struct Content(String);

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Shapes {
    Text(String),
    Parts(Vec<Part>),
    Null,
}

impl From<Shapes> for Content {
    fn from(shapes: Shapes) -> Self {
        Content(match shapes {
            Shapes::Text(text) => text,
            Shapes::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
            Shapes::Null => String::new(),
        })
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
    match stream::joined(answer.body) {
        Some(body) => read(Answer { body: &body, ..answer }),
        None => read(answer),
    }
    .map_err(|error| with_hint(error, answer))
}

/// Servers answer an unknown path with an error object or a page, and with status 200.
fn with_hint(mut error: CallError, answer: Answer<'_>) -> CallError {
    let is_page = !answer.body.trim_ascii_start().starts_with(b"{") && !is_event_stream(&snippet(answer.body));
    if answer.is_success() && (is_page || matches!(error.kind, CallErrorKind::ServerError { .. })) {
        error.message = format!("{}; {CHECK_ADDRESS}", error.message);
    }
    error
}

fn read(answer: Answer<'_>) -> Result<Reply, CallError> {
    let completion = answer.reply(|completion: &Completion| completion.error.as_ref(), failed)?;
    let Some(choice) = completion.choices.and_then(|choices| choices.into_iter().next()) else {
        return Err(without_choices(answer));
    };
    let said = choice.message.unwrap_or(MessageBody { content: Content::default(), refusal: None });
    if let Some(refusal) = said.refusal.filter(|refusal| !refusal.is_empty()) {
        return Err(CallError::raw(CallErrorKind::Refused, format!("the model refused: {refusal}")));
    }
    let finish = match choice.finish_reason.as_deref() {
        Some("stop") => Finish::Stop,
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::ContentFilter,
        Some(other) => Finish::Other(other.to_owned()),
        // Only the end marker proves that the reply is complete.
        None => return Err(endless("finish_reason")),
    };
    Ok(Reply {
        text: said.content.0,
        finish,
        prompt_tokens: completion.usage.as_ref().and_then(|usage| usage.prompt_tokens),
        cached_tokens: completion.usage.as_ref().map_or(0, Usage::cached_tokens),
        completion_tokens: completion.usage.as_ref().and_then(|usage| usage.completion_tokens),
        build: completion.system_fingerprint.filter(|build| !build.is_empty()),
        probabilities: None,
        tokens: tokens(choice.logprobs.and_then(|logprobs| logprobs.content)),
        quotas: Default::default(),
    })
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
