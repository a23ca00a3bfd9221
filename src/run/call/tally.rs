//! The tally of a call: sums up its attempts and makes the record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::request::CallRequest;
use crate::ask::probabilities;
use crate::models::Target;
use crate::prompt::{Failure, FurtherTry, Message, Prompt, thoughts};
use crate::provider::{CallError, Finish, Reply};
use crate::run::batch::Judging;
use crate::run::progress::StageProgress;
use crate::spec::CallTokens;
use crate::store::{Notes, Record, STOPPED};

#[derive(Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) failure: Failure,
    pub(crate) reply: Option<Reply>,
}

impl From<CallError> for FailedAttempt {
    fn from(error: CallError) -> Self {
        FailedAttempt { failure: error.into(), reply: None }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// When the first request was sent. Time spent in our own queue does not count against the time limit.
    started: Option<Instant>,
    pub(crate) attempts: u32,
    /// Failed attempts that count towards `max_attempts`.
    pub(crate) counted: u32,
    /// Requests whose form the server refused.
    pub(crate) reshaped: u32,
    pub(crate) notes: Notes,
    /// Why the replies so far can't be used.
    pub(crate) reasons: Vec<String>,
    tokens: CallTokens,
    tries: Vec<Value>,
    /// The messages that follow the tries of an earlier run.
    pub(crate) resumed: Option<Vec<Message>>,
    /// Why an earlier run gave the call up, before it was stopped while it asked the fallback models.
    pub(crate) given_up: Option<Failure>,
    /// The attempts of earlier runs.
    earlier: u32,
    /// Whether the last request went in a batch.
    is_last_batched: bool,
    /// The reply of a batch that is not judged yet.
    pub(crate) judging: Option<Arc<Judging>>,
}

impl Tally {
    /// The tally of a call that an earlier run stopped between two tries.
    pub(crate) fn of_stopped(stopped: &Record, prompt: &Prompt) -> Tally {
        let tries = stopped.tries.as_deref().and_then(|tries| serde_json::from_str(tries).ok()).unwrap_or_default();
        let mut tally = Tally {
            attempts: stopped.attempts,
            earlier: stopped.attempts,
            notes: Notes { batch: stopped.notes.batch, ..Notes::default() },
            tokens: stopped.tokens(),
            tries,
            ..Tally::default()
        };
        // The conversation about a shortened prompt begins anew.
        if stopped.notes.left_out.is_some() {
            return tally;
        }
        // What follows its last reply are failures of fallback models.
        let last = tally.tries.iter().rfind(|attempt| attempt["reply"].is_string());
        tally.given_up =
            last.filter(|last| last["then"].is_null()).and_then(|last| last["error"].as_str()).map(Failure::read);
        for attempt in &tally.tries {
            let (Some(reply), Some(error)) = (attempt["reply"].as_str(), attempt["error"].as_str()) else { continue };
            if attempt["then"].is_null() {
                continue;
            }
            let again = prompt.again(&prompt.messages, reply, &Failure::read(error), &tally.reasons);
            tally.reasons.push(again.reason);
            tally.resumed = Some(again.messages);
            tally.counted += 1;
        }
        tally
    }

    /// Whether there is a reply to keep that no earlier run has recorded, or a batch has ended without one: the next run
    /// must not take the error from its results again.
    pub(crate) fn has_news(&self) -> bool {
        self.attempts > self.earlier
            && (self.was_batched() || self.tries.iter().any(|attempt| attempt["reply"].is_string()))
    }

    /// Whether the last request went in a batch, with the whole prompt. The conversation about a shortened one begins anew.
    pub(crate) fn was_batched(&self) -> bool {
        self.is_last_batched && self.notes.left_out.is_none()
    }

    /// The record of a call that ends between two tries, because the run does. The tries of the record that continues it
    /// begin with the same ones, and with the mark that the run ended.
    pub(crate) fn record_of_stopped(mut self, request: &CallRequest<'_>, target: &Target) -> Record {
        self.tries.push(json!({ "reply": null, "error": STOPPED }));
        self.record_between_tries(request, target)
    }

    /// The record of a call before its next try, in case this process is killed. The record after it replaces it.
    pub(crate) fn record_between_tries(&self, request: &CallRequest<'_>, target: &Target) -> Record {
        Record { error: Some(STOPPED.to_owned()), ..self.clone().record(request, target, None, None) }
    }

    /// The requests in a form that the server takes.
    pub(crate) fn requests(&self) -> u32 {
        self.attempts - self.reshaped
    }

    pub(crate) fn begin(&mut self) {
        self.attempts += 1;
        self.is_last_batched = false;
        self.started.get_or_insert_with(Instant::now);
    }

    pub(crate) fn count(&mut self, reply: &Reply, progress: &StageProgress) {
        let tokens = CallTokens {
            prompt: reply.prompt_tokens.unwrap_or(0),
            cached: reply.cached_tokens,
            cache_writes: reply.cache_writes,
            reply: reply.completion_tokens.unwrap_or(0),
        };
        self.tokens = self.tokens.plus(tokens);
        progress.tokens(tokens, reply.thoughts.tokens.unwrap_or(0));
    }

    /// Counts a request that went in a batch. The time in a batch does not count against the time limit.
    pub(crate) fn count_batched(&mut self, reply: Option<&Reply>, progress: &StageProgress) {
        self.attempts += 1;
        self.is_last_batched = true;
        let Some(reply) = reply else { return };
        self.count(reply, progress);
        let batch = self.notes.batch.get_or_insert_default();
        batch.prompt += reply.prompt_tokens.unwrap_or(0);
        batch.completion += reply.completion_tokens.unwrap_or(0);
    }

    pub(crate) fn note(&mut self, failed: FailedAttempt) {
        let reply = failed.reply.map(|reply| reply.text);
        self.tries.push(json!({ "reply": reply, "error": failed.failure.to_string() }));
    }

    /// Records what is sent after the last failed attempt. Returns the messages.
    pub(crate) fn again(&mut self, again: FurtherTry, seed: Option<u64>) -> Vec<Message> {
        if let Some(last) = self.tries.last_mut() {
            last["then"] = json!({ "said": again.said, "seed": seed });
        }
        self.reasons.push(again.reason);
        again.messages
    }

    pub(crate) fn spent(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    pub(crate) fn record(
        mut self,
        request: &CallRequest<'_>,
        target: &Target,
        reply: Option<&Reply>,
        failure: Option<&Failure>,
    ) -> Record {
        let finish = match reply.map(|reply| &reply.finish) {
            Some(Finish::Stop) => "stop",
            Some(Finish::Length) => "length",
            Some(Finish::ContentFilter) => "content_filter",
            Some(Finish::Other(other)) => other,
            None => "",
        };
        self.notes.count_cache(self.tokens);
        let thought = |reply: &Reply| reply.thoughts.text.clone().or_else(|| thoughts(&reply.text));
        self.notes.reasoning = reply.and_then(thought);
        self.notes.reasoning_tokens = reply.and_then(|reply| reply.thoughts.tokens).filter(|tokens| *tokens > 0);
        Record {
            key: request.key,
            model: target.model.id.clone(),
            reply: reply.map(|reply| reply.text.clone()).unwrap_or_default(),
            finish: finish.to_owned(),
            prompt_tokens: self.tokens.prompt,
            completion_tokens: self.tokens.reply,
            latency_ms: milliseconds(self.spent()),
            attempts: self.attempts,
            build: reply.and_then(|reply| reply.build.clone()),
            error: failure.map(Failure::to_string),
            probabilities: reply.and_then(|reply| probabilities(reply, request.prompt)),
            tries: self.tries(),
            notes: self.notes,
            at: Some(now()),
        }
    }

    pub(crate) fn record_of_fallback(self, request: &CallRequest<'_>, name: &str, answer: &Record) -> Record {
        let tokens = self.tokens.plus(answer.tokens());
        let mut notes = Notes { fallback: Some(name.to_owned()), ..answer.notes.clone() };
        notes.count_cache(tokens);
        Record {
            key: request.key,
            prompt_tokens: tokens.prompt,
            completion_tokens: tokens.reply,
            latency_ms: milliseconds(self.spent()),
            attempts: self.attempts + answer.attempts,
            tries: self.tries(),
            notes,
            at: Some(now()),
            ..answer.clone()
        }
    }

    fn tries(&self) -> Option<String> {
        (!self.tries.is_empty()).then(|| Value::Array(self.tries.clone()).to_string())
    }
}

/// The current time in milliseconds since 1970.
fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// A duration in milliseconds, rounded to the microsecond.
fn milliseconds(spent: Duration) -> f64 {
    (spent.as_secs_f64() * 1e6).round() / 1e3
}
