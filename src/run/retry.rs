//! Trying again: whether and when, as a pure function of the attempt and the error.

use std::time::Duration;

use crate::provider::{CallError, CallErrorKind};

/// The wait after the first failed attempt; doubled after each further one.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait of our own choosing.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest that one call may go on being tried.
pub const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What to do after a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait so long, then try again.
    Again {
        /// How long.
        delay: Duration,
        /// How long the whole endpoint should wait, if it should.
        pause: Option<Duration>,
        /// Whether this was a failed attempt; a rate limit is none.
        counts: bool,
    },
    /// The row fails.
    GiveUp,
    /// No other row would fare better: stop the run.
    StopRun,
}

/// What to do after attempt `attempt` (from 1) ended in `error`, `spent` after the first began; `last`: no further failed
/// attempt is allowed.
/// `jitter` is a random number from 0 to 1 that keeps many waiting calls apart.
///
/// A server that says when to come back (`Retry-After`) is believed: its time is a floor. A rate limit is no failed
/// attempt, only the patience bounds it.
pub fn next(error: &CallError, attempt: u32, last: bool, spent: Duration, jitter: f64) -> Next {
    let (floor, counts, pauses) = match &error.kind {
        CallErrorKind::Unauthorized | CallErrorKind::UnknownModel | CallErrorKind::QuotaExhausted => {
            return Next::StopRun;
        }
        CallErrorKind::Rejected | CallErrorKind::ContextTooLong | CallErrorKind::Refused => return Next::GiveUp,
        CallErrorKind::RateLimited { retry_after } => (retry_after.unwrap_or_default(), false, true),
        CallErrorKind::Unavailable { retry_after } | CallErrorKind::ServerError { retry_after } => {
            (retry_after.unwrap_or_default(), true, retry_after.is_some())
        }
        CallErrorKind::Timeout | CallErrorKind::Truncated | CallErrorKind::Malformed => (Duration::ZERO, true, false),
    };
    if counts && last {
        return Next::GiveUp;
    }
    let doubled = FIRST.saturating_mul(1 << (attempt - 1).min(10)).min(LONGEST);
    let own = doubled.mul_f64(0.5 + jitter);
    let delay = if floor.is_zero() { own } else { floor + own.min(floor.max(FIRST)) };
    // Who was not turned away may go on as soon as the server says.
    let pause = pauses.then_some(if floor.is_zero() { delay } else { floor });
    if spent + delay > PATIENCE { Next::GiveUp } else { Next::Again { delay, pause, counts } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kind: CallErrorKind, attempt: u32) -> Next {
        next(&CallError { kind, message: String::new() }, attempt, attempt >= 3, Duration::ZERO, 0.5)
    }

    #[test]
    fn waits_grow_and_end() {
        let down = || CallErrorKind::Unavailable { retry_after: None };
        let again = |ms| Next::Again { delay: Duration::from_millis(ms), pause: None, counts: true };
        assert_eq!(after(down(), 1), again(500));
        assert_eq!(after(down(), 2), again(1000));
        assert_eq!(after(down(), 3), Next::GiveUp);
        assert_eq!(after(CallErrorKind::Timeout, 2), again(1000));
    }

    #[test]
    fn retry_after_is_a_floor_with_jitter_above() {
        let limited = |secs| CallErrorKind::RateLimited { retry_after: Some(Duration::from_secs(secs)) };
        for attempt in [1, 5, 9] {
            let Next::Again { delay, pause, counts: false } = after(limited(7), attempt) else { panic!("no retry") };
            assert_eq!(pause, Some(Duration::from_secs(7)), "all wait for as long as the server says");
            assert!(delay > Duration::from_secs(7) && delay <= Duration::from_secs(14), "{delay:?}");
        }
        assert_eq!(after(limited(3600), 1), Next::GiveUp);
    }

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        for kind in [CallErrorKind::Unauthorized, CallErrorKind::UnknownModel, CallErrorKind::QuotaExhausted] {
            assert_eq!(after(kind, 1), Next::StopRun);
        }
        for kind in [CallErrorKind::Rejected, CallErrorKind::ContextTooLong, CallErrorKind::Refused] {
            assert_eq!(after(kind, 1), Next::GiveUp);
        }
    }
}
