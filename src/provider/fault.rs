//! Faults: reads the body of a failed call in all known shapes, and classifies it.
//!
//! The class comes from the status and from code fields. Words count only if servers report nothing else; they are in
//! `words`. Pure.

mod words;

use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::Answer;
use super::failure::{CallError, CallErrorKind, believed, snippet};
use super::quota::wait_in_words;
use words::{DAILY_QUOTA, Words};

/// The fields with the message of an error, in the order of preference.
const MESSAGES: [&str; 8] =
    ["message", "msg", "detail", "error_message", "error_msg", "error_description", "title", "reason"];
/// The fields with its code as a word or a number.
const CODES: [&str; 9] =
    ["code", "type", "status", "error_code", "errorCode", "err_code", "error_type", "status_code", "statusCode"];
/// The fields with the error of another server.
const INNER: [&str; 5] = ["error", "errors", "innererror", "metadata", "raw"];
/// How deep errors are wrapped in each other at most.
const DEEPEST: usize = 6;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fault {
    pub(crate) message: String,
    codes: Vec<String>,
    /// All messages in lower case.
    text: String,
    status: Option<u16>,
    retry_after: Option<Duration>,
    /// The model's text, if the server withheld it because it misses the schema.
    generation: Option<String>,
}

/// A form of a request that a server refuses, though it takes another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The chat template has no system messages.
    SystemRole,
    /// The limit of a reply has to be sent as `max_completion_tokens`.
    MaxTokens,
    /// The server does not know the mark of what it may cache.
    CacheMark,
}

impl Refusal {
    pub(crate) fn of(error: &CallError) -> Option<Refusal> {
        match error.kind {
            CallErrorKind::Rejected | CallErrorKind::ServerError { .. } => {}
            _ => return None,
        }
        if words::wants_other_limit(&error.message) {
            Some(Refusal::MaxTokens)
        } else if words::refuses_cache_mark(&error.message) {
            Some(Refusal::CacheMark)
        } else {
            words::refuses_system_role(&error.message).then_some(Refusal::SystemRole)
        }
    }
}

impl Fault {
    /// Reads a body of any server: an error may be a text, an object or the first of a list, alone or in a field
    /// `error`, and it may wrap the error of another server.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        let fault = super::answer::document(body).and_then(|value| Fault::of_value(&value));
        fault.unwrap_or_else(|| Fault::plain(&snippet(body)))
    }

    pub(crate) fn of_value(value: &Value) -> Option<Self> {
        Fault::read(value, 0)
    }

    fn read(value: &Value, depth: usize) -> Option<Self> {
        match value {
            _ if depth > DEEPEST => None,
            Value::String(text) if !text.trim().is_empty() => Some(Fault::of_text(text, depth)),
            Value::Array(items) => {
                let mut faults = items.iter().filter_map(|item| Fault::read(item, depth + 1));
                let first = faults.next()?;
                Some(faults.take(2).fold(first, |fault, other| fault.joined(other)))
            }
            Value::Object(fields) => Fault::of_object(fields, depth),
            _ => None,
        }
    }

    fn of_object(fields: &Map<String, Value>, depth: usize) -> Option<Self> {
        let own = MESSAGES.iter().find_map(|name| Fault::read(fields.get(*name)?, depth + 1));
        let own = own.map(|fault| fault.placed(fields.get("loc")));
        let inner = INNER.iter().filter_map(|name| Fault::read(fields.get(*name)?, depth + 1));
        let code = || fields.get("code").and_then(Value::as_str).filter(|_| depth > 0).map(Fault::plain);
        let mut fault = own.into_iter().chain(inner).reduce(Fault::joined).or_else(code)?;
        for value in CODES.iter().filter_map(|name| fields.get(*name)) {
            fault.read_code(value);
        }
        match fields.get("details") {
            Some(Value::Array(details)) => details.iter().for_each(|detail| fault.read_detail(detail)),
            Some(details) => fault.note(details.get("error_code")),
            None => {}
        }
        let generation = fields.get("failed_generation").and_then(Value::as_str).map(str::to_owned);
        fault.generation = fault.generation.take().or(generation);
        Some(fault)
    }

    fn plain(text: &str) -> Self {
        Fault { message: text.to_owned(), text: text.to_lowercase(), ..Fault::default() }
    }

    /// A text may hold the error of another server as JSON.
    fn of_text(text: &str, depth: usize) -> Self {
        let plain = Fault::plain(text);
        let Some(start) = text.find('{') else { return plain };
        let document = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>().next();
        let Some(Ok(value)) = document else { return plain };
        let is_error = ["error", "message", "detail"].iter().any(|name| value.get(name).is_some());
        match Fault::read(&value, depth + 1).filter(|_| is_error) {
            Some(inner) => Fault { text: format!("{}\n{}", plain.text, inner.text), ..inner },
            None => plain,
        }
    }

    /// Says where in the request a fault is, as FastAPI does.
    fn placed(self, loc: Option<&Value>) -> Self {
        let words = loc.and_then(Value::as_array).into_iter().flatten();
        let words = words.map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
        let place: Vec<String> = words.filter(|part| part != "body").collect();
        let message = if place.is_empty() { self.message } else { format!("{}: {}", place.join("."), self.message) };
        Fault { message, ..self }
    }

    /// The fault with what another fault in the same body adds.
    fn joined(mut self, other: Fault) -> Self {
        let is_word = |message: &str| !message.trim().contains(' ');
        if is_word(&other.message) {
            self.codes.push(other.message.clone());
        } else if is_word(&self.message) {
            self.codes.push(std::mem::replace(&mut self.message, other.message.clone()));
        } else if !self.message.contains(&other.message) {
            self.message = format!("{}: {}", self.message, other.message);
        }
        self.text = format!("{}\n{}", self.text, other.text);
        self.codes.extend(other.codes);
        self.status = self.status.or(other.status);
        self.retry_after = self.retry_after.max(other.retry_after);
        self.generation = self.generation.or(other.generation);
        self
    }

    fn note(&mut self, code: Option<&Value>) {
        self.codes.extend(code.and_then(Value::as_str).map(str::to_owned));
    }

    fn read_code(&mut self, code: &Value) {
        let number = code.as_u64().or_else(|| code.as_str()?.parse().ok()).and_then(|n| u16::try_from(n).ok());
        self.status = number.filter(|n| (400..600).contains(n)).or(self.status);
        self.note(Some(code));
    }

    /// Reads Google's `google/rpc/error_details.proto`; a daily quota becomes the code [`DAILY_QUOTA`].
    fn read_detail(&mut self, detail: &Value) {
        self.note(detail.get("reason"));
        let seconds = detail.get("retryDelay").and_then(Value::as_str).and_then(|wait| wait.strip_suffix('s'));
        let seconds = seconds.and_then(|seconds| seconds.parse::<f64>().ok());
        if let Some(seconds) = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
            self.retry_after = Some(believed(seconds));
        }
        if detail.to_string().contains("PerDay") {
            self.codes.push(DAILY_QUOTA.to_owned());
        }
    }

    pub(crate) fn says(&self, word: &str) -> bool {
        self.codes.iter().any(|code| code == word)
    }

    fn says_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.says(word))
    }

    fn words(&self) -> Words<'_> {
        Words { codes: &self.codes, text: &self.text }
    }

    /// What the model wrote, if the server checked it against the schema and found that it misses it.
    pub(crate) fn unfit(&self) -> Option<&str> {
        let is_unfit = self.generation.is_some() || self.words().are_unfit();
        is_unfit.then(|| self.generation.as_deref().unwrap_or_default())
    }

    /// The status that counts: 200, 400 and 500 may hide the status of another server.
    fn status(&self, status: u16) -> u16 {
        let implied = self.status.filter(|own| *own != status).or_else(|| self.words().status());
        match (status, implied) {
            (200..300, implied) => implied.unwrap_or(500),
            (400 | 500, Some(implied @ (401 | 402 | 403 | 429 | 503 | 529))) => implied,
            _ => status,
        }
    }

    pub(crate) fn class(&self, answer: Answer<'_>) -> CallErrorKind {
        let status = self.status(answer.status);
        if self.words().are_spent() {
            CallErrorKind::QuotaExhausted
        } else if self.words().are_too_long(status) {
            CallErrorKind::ContextTooLong
        } else if self.says("model_not_found") {
            CallErrorKind::UnknownModel
        } else if status == 400 && self.says_one_of(&["API_KEY_INVALID", "FAILED_PRECONDITION"]) {
            CallErrorKind::Unauthorized
        } else if self.words().are_withheld() {
            CallErrorKind::Refused
        } else if status == 500 && is_about_format(&self.message) {
            CallErrorKind::Rejected
        } else {
            let said = answer.retry_after.max(self.retry_after);
            CallErrorKind::of_status(status, said.or_else(|| wait_in_words(&self.message)))
        }
    }

    pub(crate) fn error_of(answer: Answer<'_>) -> CallError {
        Fault::of_body(answer.body).error(answer)
    }

    pub(crate) fn error(self, answer: Answer<'_>) -> CallError {
        let message = match answer.is_success() {
            true => self.message.clone(),
            false => format!("{} (status {})", self.message, answer.status),
        };
        CallError::raw(self.class(answer), message)
    }
}

/// Whether the server can't hold a reply to a schema. Servers say so in words, and often with status 500.
pub(super) fn is_about_format(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let mut words = message.split(|c: char| !c.is_alphanumeric() && c != '_').map(|word| word.trim_end_matches('s'));
    let named = words.any(|word| ["format", "response_format", "grammar", "schema"].contains(&word))
        || ["structured output", "json mode", "guided decoding"].iter().any(|words| message.contains(words));
    let denied = ["not support", "n't support", "unsupported", "not available", "not implemented", "required for"];
    let failed = ["fail", "invalid", "can't", "cannot", "unable", "unknown", "not allowed", "disabled"];
    named && denied.iter().chain(&failed).any(|words| message.contains(words))
}

#[cfg(test)]
mod tests;
