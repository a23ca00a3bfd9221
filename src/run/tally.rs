//! The tally of a call: what its attempts add up to, and the record that they make.

use std::time::{Duration, Instant};

use super::connect::Target;
use super::progress::StageProgress;
use crate::ask::probabilities;
use crate::prompt::{Failure, Prompt};
use crate::provider::{Finish, Reply};
use crate::store::{Key, Notes, Record};

/// An attempt without an answer.
#[derive(Debug)]
pub struct FailedAttempt {
    pub failure: Failure,
    /// The reply that can't be used, if there was one.
    pub reply: Option<Reply>,
}

/// What the attempts at a call add up to.
#[derive(Default)]
pub struct Tally {
    /// When the first attempt had its turn: time in our own queue is nobody's patience.
    pub started: Option<Instant>,
    /// Requests that were sent.
    pub attempts: u32,
    /// Attempts that count towards `max_attempts`; a rate limit is no failed attempt.
    pub counted: u32,
    /// How the answer comes about.
    pub notes: Notes,
    prompt_tokens: u64,
    completion_tokens: u64,
    tries: Vec<serde_json::Value>,
}

impl Tally {
    /// Counts a reply.
    pub fn count(&mut self, reply: &Reply, progress: &StageProgress) {
        let (prompt, completion) = (reply.prompt_tokens.unwrap_or(0), reply.completion_tokens.unwrap_or(0));
        self.prompt_tokens += prompt;
        self.completion_tokens += completion;
        progress.tokens(prompt, completion);
    }

    /// Keeps an attempt that gave no answer.
    pub fn note(&mut self, failed: FailedAttempt) {
        let reply = failed.reply.map(|r| r.text);
        let error = failed.failure.to_string();
        self.tries.push(serde_json::json!({ "reply": reply, "error": error }));
    }

    /// How long it has taken.
    pub fn spent(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// The record of the call for `prompt` with its last reply.
    pub fn record(
        self,
        key: Key,
        target: &Target,
        prompt: &Prompt,
        reply: Option<&Reply>,
        error: Option<&Failure>,
    ) -> Record {
        let spent = self.spent();
        let finish = match reply.map(|r| &r.finish) {
            Some(Finish::Stop) => "stop",
            Some(Finish::Length) => "length",
            Some(Finish::ContentFilter) => "content_filter",
            Some(Finish::Other(other)) => other,
            None => "",
        };
        Record {
            key,
            model: target.model.id.clone(),
            reply: reply.map(|r| r.text.clone()).unwrap_or_default(),
            finish: finish.to_owned(),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            latency_ms: milliseconds(spent),
            attempts: self.attempts,
            build: reply.and_then(|r| r.build.clone()),
            error: error.map(Failure::to_string),
            probabilities: reply.and_then(|reply| probabilities(reply, prompt)),
            tries: self.tries(),
            notes: self.notes,
        }
    }

    /// The record of a call that the model `name` answered in the place of the one that was asked: its own record `other`,
    /// after the attempts here.
    pub fn stood_in(self, key: Key, name: &str, other: &Record) -> Record {
        Record {
            key,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            latency_ms: milliseconds(self.spent()),
            attempts: self.attempts + other.attempts,
            tries: self.tries(),
            notes: Notes { fallback: Some(name.to_owned()), ..other.notes.clone() },
            ..other.clone()
        }
    }

    fn tries(&self) -> Option<String> {
        (!self.tries.is_empty()).then(|| serde_json::Value::Array(self.tries.clone()).to_string())
    }
}

fn milliseconds(spent: Duration) -> f64 {
    (spent.as_secs_f64() * 1e6).round() / 1e3
}
