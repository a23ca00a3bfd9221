//! Attempts: sends a call to one model until it is answered or fails for good.
//!
//! [`outcome`] decides what to do after an attempt; the loop here carries it out.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::admission::{Admission, Ended};
use super::context::{Shortening, too_long};
use super::endpoint::ModelState;
use super::first_answer::{Alike, Pass, alike};
use super::form::advised;
use super::limiter::Verdict;
use super::outcome::{Outcome, SendError, Situation, outcome};
use super::request::CallRequest;
use super::structured_output::{StructuredOutput, Turn};
use super::tally::{FailedAttempt, Tally};
use super::texts::Texts;
use crate::models::Target;
use crate::prompt::{Answer, Failure, FailureKind, Message, Pack};
use crate::provider::{BatchRetries, Call, CallError, CallErrorKind, Encoded, Finish, Model, Refusal, Reply};
use crate::run::batch::{Batches, Outcome as BatchOutcome};
use crate::run::progress::StageProgress;
use crate::run::recorder::Recorder;
use crate::run::stop::{First, StopReason};
use crate::spec::{Overflow, Repair};

/// How often a call is sent in a further batch because a batch ended without it.
const MOST_MISSED: u32 = 3;

pub(crate) struct Attempts<'a> {
    pub(crate) admission: &'a Admission,
    pub(crate) recorder: &'a Recorder,
    pub(crate) target: &'a Target,
    pub(crate) request: CallRequest<'a>,
    pub(crate) progress: &'a StageProgress,
}

/// The level of structured output of a request, and the request.
type LevelAndForm<'a> = (usize, &'a (dyn Fn() -> Encoded + Sync));

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
        let mut conversation =
            Conversation { prompt: Cow::Borrowed(&self.request.prompt.messages), again: tally.resumed.take() };
        let mut shortening = Shortening::default();
        let ModelState { first_answer, pending, .. } = self.admission.endpoints.of(self.target);
        let (age, _pending) = (self.admission.age(), pending.begin());
        loop {
            let messages = conversation.again.as_deref().unwrap_or(&conversation.prompt);
            // A call of a batch has neither its lane nor a permission. It takes the lane first, as other calls do.
            match self.goes_in_batch(tally) || self.level_in_batch(tally).await.is_some() {
                true => pass.step_back(),
                false => {
                    self.admission.stop.unless_draining(self.request.lane.take_back()).await?;
                    self.admission.stop.unless_draining(pass.wait()).await?;
                }
            }
            let sent = tally.requests();
            let result = self.send(messages, age, tally).await?;
            let situation = self.situation(&conversation.prompt, tally);
            match outcome(result, &situation) {
                Outcome::Answer { reply, answer, repaired } => {
                    tally.notes.repaired = repaired;
                    // The items of a pack are read later, unless they are evidence now.
                    if self.request.prompt.pack.is_none() || tally.judging.is_some() && self.has_items(&reply) {
                        first_answer.answered();
                    }
                    tally.judging = None;
                    return Some(Ok((reply, answer)));
                }
                Outcome::Retry { failed, delay, counts, again } => {
                    match counts {
                        true => self.count(pass, &failed, tally.requests() - sent),
                        false => pass.step_back(),
                    }
                    let goes_on = self.goes_on(tally);
                    tally.counted += u32::from(counts);
                    let is_kept = failed.reply.is_some() || tally.was_batched();
                    tally.note(failed);
                    if let Some(again) = again {
                        let seed = self.model(tally.reasons.len() + 1).sampling.seed;
                        conversation.again = Some(tally.again(again, seed));
                    }
                    goes_on?;
                    if is_kept {
                        self.keep(tally).await?;
                    }
                    self.wait(delay, pass).await?;
                }
                Outcome::Shorten(failed) => {
                    let Some((prompt, left_out)) = self.shorter(&mut shortening) else {
                        return self.give_up(pass, failed, tally, sent);
                    };
                    conversation = Conversation { prompt: Cow::Owned(prompt), again: None };
                    tally.notes.left_out = Some(left_out);
                    tally.judging = None;
                    tally.note(failed);
                }
                Outcome::GiveUp(failed) => return self.give_up(pass, failed, tally, sent),
                Outcome::StopRun(error) => {
                    self.admission.stop.drain(StopReason::Environment { model: self.target.name.clone(), error });
                    return None;
                }
            }
        }
    }

    /// Whether the reply to a pack answers one of its rows.
    fn has_items(&self, reply: &Reply) -> bool {
        let is_lenient = self.request.terms.repair == Repair::Lenient;
        let read = |pack: &Pack| pack.read(&reply.text, is_lenient).iter().any(|item| item.answer.is_ok());
        reply.finish == Finish::Stop && self.request.prompt.pack.as_deref().is_some_and(read)
    }

    /// Records the tries so far, so that the run after a kill does not pay them again, nor take the error of a batch from
    /// its results again. Returns `None` if the run stops.
    async fn keep(&self, tally: &Tally) -> Option<()> {
        let record = Arc::new(tally.record_between_tries(&self.request, self.target));
        self.recorder.record(record, [self.request.model; 2]).await.map(drop)
    }

    /// The end of a call that fails for good. Returns `None` if it stops the run.
    fn give_up<T>(
        &self,
        pass: &mut Pass<'_>,
        failed: FailedAttempt,
        tally: &mut Tally,
        sent: u32,
    ) -> Option<Result<T, FailedAttempt>> {
        self.count(pass, &failed, tally.requests() - sent);
        if self.goes_on(tally).is_none() {
            tally.note(failed);
            return None;
        }
        Some(Err(failed))
    }

    /// Counts a failed attempt before the model's first answer.
    fn count(&self, pass: &mut Pass<'_>, failed: &FailedAttempt, requests: u32) {
        if self.request.prompt.pack.is_none() || !may_be_too_large(&failed.failure) {
            pass.failed(&failed.failure, requests);
        }
    }

    /// Ends the judgement of a reply. Returns `None` if no call of the model is expected to be answered, so that the run
    /// stops.
    fn goes_on(&self, tally: &mut Tally) -> Option<()> {
        tally.judging = None;
        let ModelState { first_answer, .. } = self.admission.endpoints.of(self.target);
        let hopeless = first_answer.hopeless().filter(|_| self.admission.endpoints.depend_on(self.target));
        let Some(Alike { failure, requests: count, .. }) = hopeless else { return Some(()) };
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
            // Texts of one request are tried again together.
            jitter: if self.request.prompt.expect.is_vector() { 0.5 } else { rand::random() },
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

    /// Asks for the vector of a text, in one request with others.
    async fn send_text(&self, messages: &[Message], age: u64, tally: &mut Tally) -> Option<Result<Reply, SendError>> {
        let model = self.model(0);
        let call = Call { model: &model, messages, schema: None };
        let most = self.request.terms.texts;
        let texts = Texts { admission: self.admission, target: self.target, progress: self.progress, most };
        tally.begin();
        let result = texts.ask(&call, age).await?;
        if let Ok(reply) = &result {
            tally.count(reply, self.progress);
        }
        Some(result)
    }

    /// Makes one attempt. Returns `None` if the run stops before the attempt begins.
    async fn send(&self, messages: &[Message], age: u64, tally: &mut Tally) -> Option<Result<Reply, SendError>> {
        if self.request.prompt.expect.is_vector() {
            return self.send_text(messages, age, tally).await;
        }
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
                Err(failed) if failed.is_of_call() && forms.learn(form, &failed.error, prompt, &model) => {
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
        let Some(schema) = call.schema.filter(|_| state.levels() > 0) else {
            return self.request(call, (0, &|| provider.encode(call)), (age, tally)).await;
        };
        let (known, in_batch) = (state.known(schema), self.level_in_batch(tally).await);
        let level = in_batch.or(known).unwrap_or(0);
        let relaxed = || provider.encode_relaxed(call, level).filter(|_| level > 0);
        let form = relaxed().map(|(_, form)| form);
        let encode = || relaxed().map_or_else(|| provider.encode(call), |(sent, _)| sent);
        let result = self.request(call, (level, &encode), (age, tally)).await?;
        let rejected = match result {
            Err(failed)
                if failed.error.kind == CallErrorKind::Rejected
                    && failed.is_of_call()
                    && known.is_none()
                    && Refusal::of(&failed.error).is_none()
                    && provider.may_relax(&failed.error) =>
            {
                failed
            }
            result => {
                if result.is_ok() {
                    // Earlier versions did not mark the level of a call of a batch.
                    if in_batch != Some(0) {
                        state.answered(schema, level);
                    }
                    tally.notes.structured_output = form.map(str::to_owned);
                }
                return Some(result);
            }
        };
        // The server may be rejecting the structured output.
        tally.judging = None;
        let turn = self.search(state).await?;
        if state.is_unavoidable(&rejected.error) {
            return Some(Err(rejected));
        }
        // Calls that know the form need no turn: in batches, each would wait for the one before it.
        let mut turn = state.known(schema).is_none().then_some(turn);
        let (mut next, mut are_alike) = (1, true);
        let is_unavoidable = loop {
            // One call finds out the form. Those that know it may go in a batch.
            let (known, in_batch) = (state.known(schema), self.level_in_batch(tally).await);
            let level = in_batch.filter(|level| *level > 0).or(known).unwrap_or(next);
            if level < next && in_batch.is_none() {
                // Other calls are answered in a form in which this one was rejected.
                break false;
            }
            next = known.map_or(next.max(level + 1), |_| usize::MAX);
            let Some((encoded, form)) = provider.encode_relaxed(call, level) else { break are_alike };
            let encode = || encoded.clone();
            let sent = match known.is_none() && in_batch.is_none() {
                true => self.request_now(call, encode(), (age, tally)).await?,
                false => {
                    // It may take hours.
                    turn = None;
                    self.request(call, (in_batch.unwrap_or(level), &encode), (age, tally)).await?
                }
            };
            match sent {
                Err(failed) if failed.error.kind == CallErrorKind::Rejected && failed.is_of_call() => {
                    are_alike &= alike(&failed.error.into(), &rejected.error.clone().into());
                    if turn.is_none() && state.known(schema).is_none() {
                        turn = Some(self.search(state).await?);
                    }
                }
                Err(failed) => return Some(Err(failed)),
                Ok(reply) => {
                    state.answered(schema, level);
                    tally.notes.structured_output = Some(form.to_owned());
                    tally.note(rejected.error.into());
                    return Some(Ok(reply));
                }
            }
        };
        if is_unavoidable {
            state.unavoidable(&rejected.error);
        }
        Some(Err(rejected))
    }

    /// The turn to find out a form. The lane comes before it, as for all calls, so that none waits for the other.
    async fn search<'s>(&self, state: &'s StructuredOutput) -> Option<Turn<'s, ()>> {
        self.admission.stop.unless_draining(self.request.lane.take_back()).await?;
        Some(state.search().await)
    }

    /// Sends a request at once or in a batch.
    async fn request(
        &self,
        call: &Call<'_>,
        sent: LevelAndForm<'_>,
        (age, tally): (u64, &mut Tally),
    ) -> Option<Result<Reply, SendError>> {
        match self.goes_in_batch(tally) || self.level_in_batch(tally).await.is_some() {
            true => self.request_in_batch(call, sent, (age, tally)).await,
            false => self.request_now(call, sent.1(), (age, tally)).await,
        }
    }

    fn batches(&self) -> Option<&Batches> {
        self.admission.batches.as_ref().filter(|_| !self.request.prompt.expect.is_vector())
    }

    /// Whether the next request goes in a batch: the first one about a row, until a failed attempt counts, or all.
    fn goes_in_batch(&self, tally: &Tally) -> bool {
        let sends = self.batches().is_some_and(Batches::sends);
        let retries = self.target.batch.filter(|_| sends);
        retries.is_some_and(|retries| retries == BatchRetries::Batched || self.request.is_first && tally.counted == 0)
    }

    /// The level of structured output at which an earlier process has sent the next request in a batch, if it has: its reply
    /// is there or will be.
    async fn level_in_batch(&self, tally: &Tally) -> Option<usize> {
        let levels = self.admission.endpoints.of(self.target).structured_output.levels();
        // A call that goes in a batch is found there by its id; only an earlier run can have sent it at another level.
        let batches = self.batches().filter(|batches| batches.had_open() || !self.goes_in_batch(tally))?;
        batches.first(self.target, (0..=levels).map(|level| self.batch_id(tally, level)).collect()).await
    }

    /// The id of the next request in a job. It is the same when the attempts before it are repeated.
    fn batch_id(&self, tally: &Tally, level: usize) -> String {
        let key = self.request.key;
        match (tally.attempts, level) {
            (0, 0) => key.to_string(),
            (attempts, 0) => format!("{key}-{attempts}"),
            (attempts, level) => format!("{key}-{attempts}-{level}"),
        }
    }

    async fn request_in_batch(
        &self,
        call: &Call<'_>,
        (level, encode): LevelAndForm<'_>,
        (age, tally): (u64, &mut Tally),
    ) -> Option<Result<Reply, SendError>> {
        let (batches, unjudged) = (self.batches()?, &self.admission.endpoints.of(self.target).first_answer.unjudged);
        let id = self.batch_id(tally, level);
        let mut missed = 0;
        loop {
            let encoded = encode();
            // A lane that waits for the budget would hold up the rows without which no batch is sent. It stays free until a
            // request outside of batches, so that all replies of a batch are judged at once.
            self.request.lane.let_go();
            let admitted = self.admission.admit_to_batch(self.target, call, &encoded).await?;
            let outcome = batches.ask((self.target, unjudged), (id.clone(), self.request.key), encoded).await?;
            match &outcome {
                BatchOutcome::Reply { reply, .. } => {
                    if let Ok(reply) = reply.as_ref() {
                        self.progress.spent(admitted.answered(reply).usd);
                    }
                }
                BatchOutcome::Missing | BatchOutcome::Refused => admitted.release(),
                BatchOutcome::Left => admitted.left(),
                BatchOutcome::Failed(_) => {}
            }
            let (error, verdict) = match outcome {
                BatchOutcome::Reply { reply, judging } => {
                    tally.judging = Some(Arc::new(judging));
                    tally.count_batched(reply.as_ref().as_ref().ok(), self.progress);
                    match *reply {
                        Ok(reply) => return Some(Ok(reply)),
                        Err(error) => (of_item(error), None),
                    }
                }
                BatchOutcome::Missing | BatchOutcome::Refused if !self.goes_in_batch(tally) => {
                    self.admission.stop.unless_draining(self.request.lane.take_back()).await?;
                    return self.request_now(call, encode(), (age, tally)).await;
                }
                BatchOutcome::Missing if missed < MOST_MISSED => {
                    missed += 1;
                    continue;
                }
                BatchOutcome::Refused => continue,
                BatchOutcome::Missing => {
                    let message = format!("{} batches ended without a reply to the call", MOST_MISSED + 1);
                    (CallError::new(CallErrorKind::Timeout, message), Some(Verdict::GiveUp))
                }
                BatchOutcome::Failed(error) => (error, Some(Verdict::Beyond)),
                BatchOutcome::Left => return None,
            };
            return Some(Err(SendError { error, ended: Ended { verdict, outage: None } }));
        }
    }

    async fn request_now(
        &self,
        call: &Call<'_>,
        encoded: Encoded,
        (age, tally): (u64, &mut Tally),
    ) -> Option<Result<Reply, SendError>> {
        let admitted = match self.admission.admit(self.target, call, &encoded, (age, Some(self.request.lane))).await? {
            Ok(admitted) => admitted,
            Err(error) => {
                let ended = Ended { verdict: None, outage: Some(Duration::ZERO) };
                return Some(Err(SendError { error, ended }));
            }
        };
        let _sending = self.request.lane.sending().await;
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

/// The error of one call of a batch. That the key, the model or the account was refused when the provider came to this call
/// does not stop the run: the next try shows whether it still is.
fn of_item(error: CallError) -> CallError {
    let kind = match error.kind {
        CallErrorKind::Unauthorized | CallErrorKind::UnknownModel | CallErrorKind::QuotaExhausted => {
            CallErrorKind::ServerError { retry_after: None }
        }
        kind => kind,
    };
    CallError { kind, ..error }
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
