//! Attempts: how one call is tried until it is answered or given up, and by whom in its place.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::admission::admit;
use super::calls::{Calls, Wanted};
use super::connect::Target;
use super::context::{Shortening, too_long};
use super::progress::StageProgress;
use super::retry::{self, Next};
use super::stop::StopReason;
use super::tally::{FailedAttempt, Tally};
use crate::ask::{Terms, usable};
use crate::prompt::{Answer, Failure, FailureKind, Message};
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Finish, Reply};
use crate::spec::{OnOutage, Overflow};
use crate::store::Record;

/// Failures of a pack that smaller ones may not meet, and the other models needn't be asked for.
const OF_SIZE: [FailureKind; 4] =
    [FailureKind::ContextTooLong, FailureKind::Rejected, FailureKind::Timeout, FailureKind::Refused];

/// An attempt without a reply.
struct Failed {
    error: CallError,
    /// For how long the server has been down, if it is.
    outage: Option<Duration>,
}

/// What comes after an attempt.
enum Step {
    /// There is an answer.
    Done(Reply, Answer),
    /// Another attempt, perhaps after a while.
    Again(FailedAttempt, Duration),
    /// No further attempt would help.
    GiveUp(FailedAttempt),
    /// The run stops.
    Stop,
}

/// What is said to the model: the prompt, shortened if it must be, and what was said since about replies that are none.
struct Conversation<'a> {
    prompt: Cow<'a, [Message]>,
    again: Option<Vec<Message>>,
    shortening: Shortening,
}

impl Conversation<'_> {
    fn messages(&self) -> &[Message] {
        self.again.as_deref().unwrap_or(&self.prompt)
    }
}

fn failure(error: CallError) -> FailedAttempt {
    FailedAttempt { failure: error.into(), reply: None }
}

impl Calls {
    /// Attempts until there is an answer or the row is given up. `None`: the run stops.
    pub(super) async fn try_until_done(
        &self,
        wanted: Wanted<'_>,
        progress: &StageProgress,
    ) -> Option<(Record, Result<Answer, Failure>)> {
        let prompt = wanted.prompt;
        let target = self.models.target(wanted.model);
        let mut tally = Tally::default();
        let mut said =
            Conversation { prompt: Cow::Borrowed(&prompt.messages), again: None, shortening: Shortening::default() };
        let given_up = loop {
            match self.step(&wanted, target, &mut said, &mut tally, progress).await? {
                Step::Done(reply, answer) => {
                    let record = tally.record(wanted.key, target, wanted.prompt, Some(&reply), None);
                    return Some((record, Ok(answer)));
                }
                Step::Again(failure, delay) => {
                    tally.note(failure);
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(delay) => {}
                        () = self.stop.draining() => return None,
                    }
                }
                Step::GiveUp(failure) => break failure,
                Step::Stop => return None,
            }
        };
        self.stand_in(wanted, target, given_up, tally, progress).await
    }

    /// One attempt and what comes after it. `None`: the run stops before it began.
    async fn step(
        &self,
        wanted: &Wanted<'_>,
        target: &Target,
        said: &mut Conversation<'_>,
        tally: &mut Tally,
        progress: &StageProgress,
    ) -> Option<Step> {
        if !target.fallback.is_empty() && target.endpoint.limiter.is_down() {
            let kind = CallErrorKind::Unavailable { retry_after: None };
            return Some(Step::GiveUp(failure(CallError { kind, message: "the server is down".to_owned() })));
        }
        tally.counted += 1;
        let context = target.context();
        if let Some(message) = context.and_then(|context| too_long(said.messages(), context)) {
            let failure = FailedAttempt { failure: FailureKind::ContextTooLong.because(message), reply: None };
            return Some(self.shorten(wanted, target, said, tally, failure));
        }
        let model = target.model_for(wanted.prompt, wanted.replicate);
        let call = Call { model: &model, messages: said.messages(), schema: wanted.prompt.schema.as_deref() };
        let reply = match self.attempt(target, &call, tally, progress).await? {
            Ok(reply) => reply,
            Err(failed) if failed.error.kind == CallErrorKind::ContextTooLong => {
                return Some(self.shorten(wanted, target, said, tally, failure(failed.error)));
            }
            Err(failed) => return Some(self.after(failed, tally, wanted.terms.max_attempts, target)),
        };
        tally.count(&reply, progress);
        let Failure { kind, message } = match usable(&reply, wanted.prompt, context, wanted.terms.repair) {
            Ok((answer, repaired)) => {
                tally.notes.repaired = repaired;
                return Some(Step::Done(reply, answer));
            }
            // The rows of a pack are asked again in smaller ones, and the reply is kept, so that it isn't paid twice.
            Err(unusable) if wanted.prompt.pack.is_some() => {
                let finish = Finish::Other(unusable.kind.name().to_owned());
                return Some(Step::Done(Reply { finish, ..reply }, Vec::new()));
            }
            Err(unusable) => unusable,
        };
        let last = tally.counted >= wanted.terms.max_attempts;
        let again = match kind {
            FailureKind::Malformed if !last => Some(wanted.prompt.again(&said.prompt, &reply.text, &message)),
            // The same again would mostly be cut off at the same place.
            FailureKind::Truncated if !last => Some(wanted.prompt.again_shorter(&said.prompt, &reply.text)),
            _ => None,
        };
        let failure = FailedAttempt { failure: kind.because(message), reply: Some(reply) };
        Some(match (again, kind) {
            (Some(again), _) => {
                said.again = Some(again);
                Step::Again(failure, Duration::ZERO)
            }
            (None, FailureKind::ContextTooLong) => self.shorten(wanted, target, said, tally, failure),
            (None, _) => Step::GiveUp(failure),
        })
    }

    /// Asks again with a shorter prompt, where the stage wants that.
    fn shorten(
        &self,
        wanted: &Wanted<'_>,
        target: &Target,
        said: &mut Conversation<'_>,
        tally: &mut Tally,
        failure: FailedAttempt,
    ) -> Step {
        // A pack that doesn't fit is cut between its rows.
        let shorter = (wanted.terms.overflow == Overflow::TruncateMiddle && wanted.prompt.pack.is_none())
            .then(|| said.shortening.next(&wanted.prompt.messages, target.context(), target.model.sampling.max_tokens));
        let Some((messages, left_out)) = shorter.flatten() else { return Step::GiveUp(failure) };
        said.prompt = Cow::Owned(messages);
        said.again = None;
        // Finding out what fits is no failed attempt.
        tally.counted -= 1;
        tally.notes.left_out = Some(left_out);
        Step::Again(failure, Duration::ZERO)
    }

    /// What to do after an error; a server that was down before the run began is no row's fault, nor is an outage.
    fn after(&self, failed: Failed, tally: &mut Tally, max_attempts: u32, target: &Target) -> Step {
        let Failed { error, outage } = failed;
        let stop = |error: CallError| {
            self.stop.drain(StopReason::Environment { model: target.name.clone(), error });
            Step::Stop
        };
        // Where another model may answer, one that can't is no reason to stop.
        let alone = target.fallback.is_empty();
        let unless_replaced = |error: CallError| if alone { stop(error) } else { Step::GiveUp(failure(error)) };
        let down = matches!(error.kind, CallErrorKind::Unavailable { .. } | CallErrorKind::ServerError { .. });
        if down && target.endpoint.was_down() || error.kind == CallErrorKind::QuotaExhausted {
            return unless_replaced(error);
        }
        if let Some(lasting) = outage {
            if !alone || target.endpoint.on_outage == OnOutage::Stop || lasting >= retry::PATIENCE {
                return unless_replaced(error);
            }
            // The limiter lets everyone wait; it was no failed attempt.
            tally.counted -= 1;
            return Step::Again(failure(error), Duration::ZERO);
        }
        if error.kind == CallErrorKind::Rejected && target.endpoint.rejects_all(&error.message) {
            return unless_replaced(error);
        }
        let last = tally.counted >= max_attempts;
        match retry::next(&error, tally.attempts, last, tally.spent(), rand::random::<f64>()) {
            Next::Again { delay, pause, counts } => {
                tally.counted -= u32::from(!counts);
                if let Some(pause) = pause {
                    target.endpoint.limiter.pause_for(pause);
                }
                Step::Again(failure(error), delay)
            }
            Next::StopRun => stop(error),
            Next::GiveUp => Step::GiveUp(failure(error)),
        }
    }

    /// The answer of the first fallback that has one; else the failure.
    async fn stand_in(
        &self,
        wanted: Wanted<'_>,
        target: &Target,
        given_up: FailedAttempt,
        mut tally: Tally,
        progress: &StageProgress,
    ) -> Option<(Record, Result<Answer, Failure>)> {
        let error = given_up.failure.clone();
        // Smaller packs, at last single rows, may do where this one was too much.
        let too_much = wanted.prompt.pack.is_some() && OF_SIZE.contains(&error.kind);
        if target.fallback.is_empty() || too_much {
            let record = tally.record(wanted.key, target, wanted.prompt, given_up.reply.as_ref(), Some(&error));
            return Some((record, Err(error)));
        }
        tally.note(given_up);
        for (name, model) in &target.fallback {
            let key = self.models.target(*model).key(wanted.prompt, wanted.replicate);
            let asked = Wanted { model: *model, key, terms: Terms { fallback: &[], ..wanted.terms }, ..wanted };
            let finished = self.look_up_or_ask(asked, progress).await?;
            match finished.answer {
                Ok(answer) => return Some((tally.stood_in(wanted.key, name, &finished.record), Ok(answer))),
                Err(other) => {
                    let failure = FailureKind::Fallback.because(format!("{name}: {other}"));
                    tally.note(FailedAttempt { failure, reply: None });
                }
            }
        }
        Some((tally.record(wanted.key, target, wanted.prompt, None, Some(&error)), Err(error)))
    }

    /// One attempt, when it is its turn; asks for the form of the answer in the way that the server knows. `None`: the run
    /// stops before it began.
    async fn attempt(
        &self,
        target: &Target,
        call: &Call<'_>,
        tally: &mut Tally,
        progress: &StageProgress,
    ) -> Option<Result<Reply, Failed>> {
        let Some(schema) = call.schema.filter(|_| target.has_forms) else {
            return self.request(target, call, target.provider.encode(call), tally, progress).await;
        };
        let known = target.forms.known(schema);
        if let Some(steps) = known.filter(|steps| *steps > 0) {
            return self.looser(target, call, steps, tally, progress).await?;
        }
        let failed = match self.request(target, call, target.provider.encode(call), tally, progress).await? {
            Ok(reply) => {
                if known.is_none() {
                    target.forms.answered(schema, 0);
                }
                return Some(Ok(reply));
            }
            Err(failed) if failed.error.kind == CallErrorKind::Rejected && known.is_none() => failed,
            Err(failed) => return Some(Err(failed)),
        };
        // Perhaps it is the form that the server refuses.
        let _turn = target.forms.turn().await;
        let steps = target.forms.known(schema).map_or(1..3, |steps| steps..steps + usize::from(steps > 0));
        for steps in steps {
            match self.looser(target, call, steps, tally, progress).await {
                None => break,
                Some(None) => return None,
                Some(Some(Err(other))) if other.error.kind == CallErrorKind::Rejected => {}
                Some(Some(Err(other))) => return Some(Err(other)),
                Some(Some(Ok(reply))) => {
                    target.forms.answered(schema, steps);
                    tally.note(failure(failed.error));
                    return Some(Ok(reply));
                }
            }
        }
        Some(Err(failed))
    }

    /// An attempt that asks for the form of the answer `steps` steps more loosely; `None` where there is no such form.
    async fn looser(
        &self,
        target: &Target,
        call: &Call<'_>,
        steps: usize,
        tally: &mut Tally,
        progress: &StageProgress,
    ) -> Option<Option<Result<Reply, Failed>>> {
        let (encoded, form) = target.provider.looser(call, steps)?;
        let sent = self.request(target, call, encoded, tally, progress).await;
        if matches!(sent, Some(Ok(_))) {
            tally.notes.structured_output = Some(form.to_owned());
        }
        Some(sent)
    }

    /// Sends one request, when it is its turn. `None`: the run stops before that.
    async fn request(
        &self,
        target: &Target,
        call: &Call<'_>,
        encoded: Encoded,
        tally: &mut Tally,
        progress: &StageProgress,
    ) -> Option<Result<Reply, Failed>> {
        let admitted = admit(&self.purse, &self.stop, target, call, &encoded).await?;
        tally.attempts += 1;
        tally.started.get_or_insert_with(Instant::now);
        let flight = progress.flight();
        let result = target.provider.send(encoded).await;
        drop(flight);
        let error = match result {
            Ok(reply) => {
                progress.spent(admitted.answered(&reply).usd);
                target.endpoint.is_up();
                return Some(Ok(reply));
            }
            Err(error) => error,
        };
        let outage = match error.kind {
            CallErrorKind::Unavailable { .. } | CallErrorKind::Timeout => admitted.turn.failed(),
            CallErrorKind::RateLimited { .. } => {
                admitted.turn.refused();
                None
            }
            _ => None,
        };
        Some(Err(Failed { error, outage }))
    }
}
