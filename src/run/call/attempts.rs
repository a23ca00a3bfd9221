//! Attempts: sends a call to one model until it is answered or fails for good.
//!
//! [`outcome`] decides what to do after an attempt; the loop here carries it out.

use std::borrow::Cow;
use std::time::Duration;

use super::admission::{Admission, Ended};
use super::context::{Shortening, too_long};
use super::endpoint::ModelState;
use super::first_answer::{Alike, Pass, alike};
use super::form::advised;
use super::outcome::{Outcome, SendError, Situation, outcome};
use super::request::CallRequest;
use super::tally::{FailedAttempt, Tally};
use crate::models::Target;
use crate::prompt::{Answer, Failure, FailureKind, Message};
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Model, Refusal, Reply};
use crate::run::progress::StageProgress;
use crate::run::stop::{First, StopReason};
use crate::spec::Overflow;

pub(crate) struct Attempts<'a> {
    pub(crate) admission: &'a Admission,
    pub(crate) target: &'a Target,
    pub(crate) request: CallRequest<'a>,
    pub(crate) progress: &'a StageProgress,
}

struct Conversation<'a> {
    /// The prompt, shortened if it exceeds the context.
    prompt: Cow<'a, [Message]>,
    /// The prompt with the last reply and a description of the error in that reply.
    again: Option<Vec<Message>>,
}

impl Attempts<'_> {
    /// Tries until there is an answer or the call fails for good. Returns `None` if the run stops.
    pub(crate) async fn until_done(
        &self,
        tally: &mut Tally,
        pass: &mut Pass<'_>,
    ) -> Option<Result<(Reply, Answer), FailedAttempt>> {
        let mut conversation = Conversation { prompt: Cow::Borrowed(&self.request.prompt.messages), again: None };
        let mut shortening = Shortening::default();
        let ModelState { first_answer, pending, .. } = self.admission.endpoints.of(self.target);
        let (age, _pending) = (self.admission.age(), pending.begin());
        loop {
            let messages = conversation.again.as_deref().unwrap_or(&conversation.prompt);
            self.admission.stop.unless_draining(pass.wait()).await?;
            let sent = tally.requests();
            let result = self.send(messages, age, tally).await?;
            let situation = self.situation(&conversation.prompt, tally);
            match outcome(result, &situation) {
                Outcome::Answer { reply, answer, repaired } => {
                    tally.notes.repaired = repaired;
                    // The items of a pack are read later.
                    if self.request.prompt.pack.is_none() {
                        first_answer.answered();
                    }
                    return Some(Ok((reply, answer)));
                }
                Outcome::Retry { failed, delay, counts, again } => {
                    match counts {
                        true => self.count(pass, &failed, tally.requests() - sent)?,
                        false => pass.step_back(),
                    }
                    tally.counted += u32::from(counts);
                    tally.note(failed);
                    if let Some(again) = again {
                        let seed = self.model(tally.reasons.len() + 1).sampling.seed;
                        conversation.again = Some(tally.again(again, seed));
                    }
                    self.wait(delay, pass).await?;
                }
                Outcome::Shorten(failed) => {
                    let Some((prompt, left_out)) = self.shorter(&mut shortening) else {
                        self.count(pass, &failed, tally.requests() - sent)?;
                        return Some(Err(failed));
                    };
                    conversation = Conversation { prompt: Cow::Owned(prompt), again: None };
                    tally.notes.left_out = Some(left_out);
                    tally.note(failed);
                }
                Outcome::GiveUp(failed) => {
                    self.count(pass, &failed, tally.requests() - sent)?;
                    return Some(Err(failed));
                }
                Outcome::StopRun(error) => {
                    self.admission.stop.drain(StopReason::Environment { model: self.target.name.clone(), error });
                    return None;
                }
            }
        }
    }

    /// Counts a failed attempt before the model's first answer. Returns `None` if it stops the run.
    fn count(&self, pass: &mut Pass<'_>, failed: &FailedAttempt, requests: u32) -> Option<()> {
        if self.request.prompt.pack.is_some() && may_be_too_large(&failed.failure) {
            return Some(());
        }
        let alike = pass.failed(&failed.failure, requests).filter(|_| self.admission.endpoints.depend_on(self.target));
        let Some(Alike { failure, requests: count, .. }) = alike else { return Some(()) };
        let first = First::Requests { model: self.target.name.clone(), count };
        self.admission.stop.drain(StopReason::FailedAlike { first, failure });
        None
    }

    /// The model with the settings for the try after `bad_replies`.
    fn model(&self, bad_replies: usize) -> Cow<'_, Model> {
        self.target.model_for(self.request.prompt, self.request.replicate, bad_replies)
    }

    fn situation<'a>(&'a self, sent: &'a [Message], tally: &'a Tally) -> Situation<'a> {
        let endpoint = &self.admission.endpoints.of(self.target).endpoint;
        Situation {
            prompt: self.request.prompt,
            sent,
            reasons: &tally.reasons,
            context: self.target.context_size(),
            repair: self.request.terms.repair,
            has_fallback: !self.target.fallback.is_empty(),
            on_outage: endpoint.on_outage,
            was_down: endpoint.was_down(),
            is_last: tally.counted + 1 >= self.request.terms.max_attempts,
            attempts: tally.counted + 1,
            spent: tally.spent(),
            jitter: rand::random(),
        }
    }

    /// Returns `None` if the run stops.
    async fn wait(&self, delay: Duration, pass: &Pass<'_>) -> Option<()> {
        let (stop, sleep) = (&self.admission.stop, tokio::time::sleep(delay));
        let is_held = pass.is_held() || self.request.fallback_of.is_some_and(|model| !model.is_over());
        match delay.is_zero() || is_held {
            // Calls on other lanes may wait for the permission, so the call keeps its lane.
            true => stop.unless_draining(sleep).await,
            false => stop.unless_draining(self.request.lane.park(sleep)).await,
        }
    }

    /// The prompt shortened once more, and the total number of characters left out.
    fn shorter(&self, shortening: &mut Shortening) -> Option<(Vec<Message>, u64)> {
        let CallRequest { prompt, terms, .. } = self.request;
        // A pack that does not fit is split between its rows.
        if terms.overflow != Overflow::TruncateMiddle || prompt.pack.is_some() {
            return None;
        }
        shortening.next(&prompt.messages, self.target.context(), self.target.model.sampling.max_tokens)
    }

    /// Makes one attempt. Returns `None` if the run stops before the attempt begins.
    async fn send(&self, messages: &[Message], age: u64, tally: &mut Tally) -> Option<Result<Reply, SendError>> {
        if let Some(message) = too_long(messages, self.target.context_size()) {
            let error = CallError { kind: CallErrorKind::ContextTooLong, message };
            return Some(Err(SendError { error, ended: Ended::default() }));
        }
        let prompt = self.request.prompt;
        let forms = &self.admission.endpoints.of(self.target).forms;
        loop {
            let form = forms.known(self.progress.shares_prompts());
            let (model, messages) = (form.model(self.model(tally.reasons.len())), form.messages(messages));
            let call = Call { model: &model, messages: &messages, schema: prompt.schema.as_deref() };
            match self.negotiate(&call, age, tally).await? {
                Err(failed) if forms.learn(form, &failed.error, prompt, &model) => {
                    tally.reshaped += 1;
                    tally.note(failed.error.into());
                }
                Err(failed) => return Some(Err(SendError { error: advised(failed.error), ..failed })),
                Ok(reply) => {
                    form.note(&mut tally.notes);
                    return Some(Ok(reply));
                }
            }
        }
    }

    async fn negotiate(&self, call: &Call<'_>, age: u64, tally: &mut Tally) -> Option<Result<Reply, SendError>> {
        let state = &self.admission.endpoints.of(self.target).structured_output;
        let provider = &self.target.provider;
        let Some(schema) = call.schema.filter(|_| state.has_levels()) else {
            return self.request(call, provider.encode(call), (age, tally)).await;
        };
        let known = state.known(schema);
        let relaxed = known.filter(|level| *level > 0).and_then(|level| provider.encode_relaxed(call, level));
        let (encoded, form) = relaxed.map_or_else(|| (provider.encode(call), None), |(sent, form)| (sent, Some(form)));
        let result = self.request(call, encoded, (age, tally)).await?;
        let rejected = match result {
            Err(failed)
                if failed.error.kind == CallErrorKind::Rejected
                    && known.is_none()
                    && Refusal::of(&failed.error).is_none()
                    && provider.may_relax(&failed.error) =>
            {
                failed
            }
            result => {
                if result.is_ok() {
                    state.answered(schema, 0);
                    tally.notes.structured_output = form.map(str::to_owned);
                }
                return Some(result);
            }
        };
        // The server may be rejecting the structured output.
        let _turn = state.search().await;
        if state.is_unavoidable(&rejected.error) {
            return Some(Err(rejected));
        }
        let mut is_unavoidable = true;
        for level in state.known(schema).map_or(1..usize::MAX, |level| level..level + level.min(1)) {
            let Some((encoded, form)) = provider.encode_relaxed(call, level) else { break };
            match self.request(call, encoded, (age, tally)).await? {
                Err(failed) if failed.error.kind == CallErrorKind::Rejected => {
                    is_unavoidable &= alike(&failed.error.into(), &rejected.error.clone().into());
                }
                Err(failed) => return Some(Err(failed)),
                Ok(reply) => {
                    state.answered(schema, level);
                    tally.notes.structured_output = Some(form.to_owned());
                    tally.note(rejected.error.into());
                    return Some(Ok(reply));
                }
            }
        }
        if is_unavoidable {
            state.unavoidable(&rejected.error);
        }
        Some(Err(rejected))
    }

    async fn request(
        &self,
        call: &Call<'_>,
        encoded: Encoded,
        (age, tally): (u64, &mut Tally),
    ) -> Option<Result<Reply, SendError>> {
        let admitted = match self.admission.admit(self.target, call, &encoded, age).await? {
            Ok(admitted) => admitted,
            Err(error) => {
                let ended = Ended { verdict: None, outage: Some(Duration::ZERO) };
                return Some(Err(SendError { error, ended }));
            }
        };
        tally.begin();
        let ModelState { sent, refusals, .. } = self.admission.endpoints.of(self.target);
        let (flight, asked) = (self.progress.flight(), sent.begin());
        let result = self.target.provider.send(encoded).await;
        flight.land();
        drop(asked);
        let result = match result {
            Ok(reply) => {
                tally.count(&reply, self.progress);
                self.progress.spent(admitted.answered(&reply).usd);
                Ok(reply)
            }
            Err(error) => {
                refusals.count(&error);
                Err(SendError { ended: admitted.failed(&error), error })
            }
        };
        self.admission.stop_if_closed(self.target);
        Some(result)
    }
}

/// Whether a smaller pack may avoid the failure.
fn may_be_too_large(failure: &Failure) -> bool {
    let is_size = |word: &&str| failure.message.to_ascii_lowercase().contains(*word);
    match failure.kind {
        FailureKind::ContextTooLong | FailureKind::Timeout | FailureKind::Truncated => true,
        FailureKind::Rejected => ["large", "long", "too many", "exceed", "limit", "maximum"].iter().any(is_size),
        _ => false,
    }
}
