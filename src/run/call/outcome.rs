//! Outcomes: decides what to do after an attempt. A pure function of the reply or error and of the call's situation.

use std::time::Duration;

use super::admission::Ended;
use super::limiter::Verdict;
use super::retry::{self, Next};
use super::tally::FailedAttempt;
use crate::ask::{ContextSize, usable};
use crate::prompt::{Answer, FailureKind, FurtherTry, Message, Prompt, has_answer};
use crate::provider::{CallError, CallErrorKind, Finish, Reply};
use crate::spec::{OnOutage, Repair};

#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) error: CallError,
    pub(crate) ended: Ended,
}

impl SendError {
    /// Whether the server refused this call, not all calls or a whole batch.
    pub(crate) fn is_of_call(&self) -> bool {
        self.ended.verdict.is_none()
    }
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// The reply is an answer; `repaired` means that its JSON had to be repaired.
    Answer {
        reply: Reply,
        answer: Answer,
        repaired: bool,
    },
    /// `counts`: whether the attempt counts towards `max_attempts`. Without `again` the same request is sent
    /// again.
    Retry {
        failed: FailedAttempt,
        delay: Duration,
        counts: bool,
        again: Option<FurtherTry>,
    },
    /// Send a shorter prompt, or fail if it can't be shortened.
    Shorten(FailedAttempt),
    GiveUp(FailedAttempt),
    /// All further calls to this model would fail too.
    StopRun(CallError),
}

pub(crate) struct Situation<'a> {
    pub(crate) prompt: &'a Prompt,
    /// The prompt, perhaps shortened, without replies to be corrected.
    pub(crate) sent: &'a [Message],
    /// Why the replies so far can't be used.
    pub(crate) reasons: &'a [String],
    pub(crate) context: ContextSize,
    pub(crate) repair: Repair,
    pub(crate) has_fallback: bool,
    pub(crate) on_outage: OnOutage,
    /// Whether the server was down when the run began and has not answered since.
    pub(crate) was_down: bool,
    pub(crate) is_last: bool,
    /// The number of this attempt, from 1, without those that do not count.
    pub(crate) attempts: u32,
    pub(crate) spent: Duration,
    /// A random number from 0 to 1.
    pub(crate) jitter: f64,
}

pub(crate) fn outcome(result: Result<Reply, SendError>, at: &Situation<'_>) -> Outcome {
    match result {
        Ok(reply) => of_reply(reply, at),
        Err(failed) => of_error(failed, at),
    }
}

fn of_reply(reply: Reply, at: &Situation<'_>) -> Outcome {
    let failure = match usable(&reply, at.prompt, at.sent, at.context, at.repair) {
        Ok((answer, repaired)) => return Outcome::Answer { reply, answer, repaired },
        // The rows of a pack are asked again in smaller packs. The reply is recorded so that it is never paid twice.
        Err(failure) if at.prompt.pack.is_some() => {
            let finish = Finish::Other(failure.kind.name().to_owned());
            return Outcome::Answer { reply: Reply { finish, ..reply }, answer: Vec::new(), repaired: false };
        }
        Err(failure) => failure,
    };
    let kind = failure.kind;
    let again = match kind {
        // The same prompt would be cut off in the same way, and a briefer answer is none either.
        FailureKind::Truncated if !has_answer(&reply.text) => None,
        // The same text has the same vector.
        _ if at.prompt.expect.is_vector() => None,
        FailureKind::Malformed | FailureKind::Truncated => {
            Some(at.prompt.again(at.sent, &reply.text, &failure, at.reasons))
        }
        _ => None,
    };
    let failed = FailedAttempt { failure, reply: Some(reply) };
    match again.filter(|_| !at.is_last) {
        Some(again) => Outcome::Retry { failed, delay: Duration::ZERO, counts: true, again: Some(again) },
        None if kind == FailureKind::ContextTooLong => Outcome::Shorten(failed),
        None => Outcome::GiveUp(failed),
    }
}

fn of_error(SendError { error, ended: Ended { verdict, outage } }: SendError, at: &Situation<'_>) -> Outcome {
    let down = matches!(
        error.kind,
        CallErrorKind::Unavailable { .. } | CallErrorKind::Lost | CallErrorKind::ServerError { .. }
    );
    let lasts = |outage| at.has_fallback || at.on_outage == OnOutage::Stop || outage >= retry::PATIENCE;
    if down && at.was_down || error.kind == CallErrorKind::QuotaExhausted || outage.is_some_and(lasts) {
        return if at.has_fallback { Outcome::GiveUp(error.into()) } else { Outcome::StopRun(error) };
    }
    let again = |error: CallError, delay, counts| Outcome::Retry { failed: error.into(), delay, counts, again: None };
    match verdict {
        Some(Verdict::Wait(delay)) => return again(error, delay, false),
        Some(Verdict::GiveUp) => return Outcome::GiveUp(error.into()),
        Some(Verdict::Beyond) if at.has_fallback => return Outcome::GiveUp(error.into()),
        Some(Verdict::Beyond) => return Outcome::StopRun(error),
        // The limiter makes all calls wait. An outage does not use up the row's attempts.
        None if outage.is_some() => return again(error, Duration::ZERO, false),
        None if error.kind == CallErrorKind::TooManyOpenFiles => {
            return again(error, retry::own_wait(at.attempts, at.jitter), false);
        }
        None => {}
    }
    if error.kind == CallErrorKind::ContextTooLong {
        return Outcome::Shorten(error.into());
    }
    match retry::next(&error, at.attempts, at.is_last, at.spent, at.jitter) {
        Next::Again(delay) => again(error, delay, true),
        Next::StopRun => Outcome::StopRun(error),
        Next::GiveUp => Outcome::GiveUp(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompt::Addressee;
    use crate::prompt::Expect;

    /// The outcome of an error as a word, with a server in this situation.
    fn of(kind: CallErrorKind, outage: Option<u64>, change: impl Fn(&mut Situation<'_>)) -> &'static str {
        let ended = Ended { verdict: None, outage: outage.map(Duration::from_secs) };
        ended_with(kind, ended, change)
    }

    fn ended_with(kind: CallErrorKind, ended: Ended, change: impl Fn(&mut Situation<'_>)) -> &'static str {
        let prompt = Prompt {
            messages: Vec::new(),
            expect: Arc::new(Expect::Text),
            schema: None,
            respondent: None,
            pack: None,
            to: Addressee::Row,
        };
        let mut at = Situation {
            prompt: &prompt,
            sent: &[],
            reasons: &[],
            context: ContextSize::default(),
            repair: Repair::None,
            has_fallback: false,
            on_outage: OnOutage::Pause,
            was_down: false,
            is_last: false,
            attempts: 1,
            spent: Duration::ZERO,
            jitter: 0.5,
        };
        change(&mut at);
        let error = CallError { kind, message: String::new() };
        match outcome(Err(SendError { error, ended }), &at) {
            Outcome::Answer { .. } => "answer",
            Outcome::Retry { counts: true, .. } => "retry",
            Outcome::Retry { counts: false, .. } => "retry uncounted",
            Outcome::Shorten(_) => "shorten",
            Outcome::GiveUp(_) => "give up",
            Outcome::StopRun(_) => "stop",
        }
    }

    #[test]
    fn an_outage_is_waited_for_unless_another_model_can_answer() {
        let down = || CallErrorKind::Unavailable { retry_after: None };
        assert_eq!(of(down(), Some(1), |at| at.is_last = true), "retry uncounted");
        assert_eq!(of(CallErrorKind::Timeout, None, |_| {}), "retry");
        assert_eq!(of(CallErrorKind::Timeout, None, |at| at.is_last = true), "give up");
        assert_eq!(of(down(), Some(3600), |_| {}), "stop");
        assert_eq!(of(down(), Some(1), |at| at.on_outage = OnOutage::Stop), "stop");
        assert_eq!(of(down(), Some(1), |at| at.has_fallback = true), "give up");
        assert_eq!(of(down(), None, |at| at.was_down = true), "stop");
    }

    #[test]
    fn what_no_row_escapes_stops_the_run() {
        assert_eq!(of(CallErrorKind::Unauthorized, None, |_| {}), "stop");
        assert_eq!(of(CallErrorKind::QuotaExhausted, None, |_| {}), "stop");
        assert_eq!(of(CallErrorKind::QuotaExhausted, None, |at| at.has_fallback = true), "give up");
        assert_eq!(of(CallErrorKind::Rejected, None, |_| {}), "give up");
        assert_eq!(of(CallErrorKind::ContextTooLong, None, |at| at.is_last = true), "shorten");
    }

    #[test]
    fn a_refused_call_does_what_the_limiter_says() {
        for kind in [CallErrorKind::RateLimited { retry_after: None }, CallErrorKind::Unavailable { retry_after: None }]
        {
            let of = |verdict, change: fn(&mut Situation<'_>)| {
                ended_with(kind.clone(), Ended { verdict: Some(verdict), outage: None }, change)
            };
            assert_eq!(of(Verdict::Wait(Duration::ZERO), |at| at.is_last = true), "retry uncounted");
            assert_eq!(of(Verdict::GiveUp, |_| {}), "give up");
            assert_eq!(of(Verdict::Beyond, |_| {}), "stop");
            assert_eq!(of(Verdict::Beyond, |at| at.has_fallback = true), "give up");
        }
    }
}
