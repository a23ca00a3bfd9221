//! Retries: decides whether and when a call is tried again. A pure function of the attempt and the error.
//!
//! Other waits:
//! - `limiter` - probes of a server that is down (`FIRST_PROBE`, `LAST_PROBE`)
//! - `provider/failure.rs` - the cap on `Retry-After` (`LONGEST_WAIT`)
//! - `bench/measure.rs` - the pause after a rate limit (`PAUSE`)

use std::time::Duration;

use crate::provider::{CallError, CallErrorKind};

/// The wait after the first failed attempt; it doubles after each further one.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest time for all attempts of a call.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Try again after `delay`. All calls to the endpoint wait for `pause`. A rate limit does not count as a failed
    /// attempt.
    Again {
        delay: Duration,
        pause: Option<Duration>,
        counts: bool,
    },
    GiveUp,
    /// Stop the run: all other rows would fail too.
    StopRun,
}

/// `attempt` counts from 1, `spent` is the time since the first began, `last` allows no more failed attempts.
/// `Retry-After` is a lower bound. Rate limits do not count as failed attempts; only [`PATIENCE`] bounds them.
pub(crate) fn next(error: &CallError, attempt: u32, last: bool, spent: Duration, jitter: f64) -> Next {
    let (floor, counts, pauses) = match &error.kind {
        CallErrorKind::Unauthorized | CallErrorKind::UnknownModel | CallErrorKind::QuotaExhausted => {
            return Next::StopRun;
        }
        CallErrorKind::Rejected | CallErrorKind::ContextTooLong | CallErrorKind::Refused => return Next::GiveUp,
        CallErrorKind::RateLimited { retry_after } => (retry_after.unwrap_or_default(), false, true),
        CallErrorKind::Unavailable { retry_after } | CallErrorKind::ServerError { retry_after } => {
            (retry_after.unwrap_or_default(), true, retry_after.is_some())
        }
        CallErrorKind::TooManyOpenFiles => (Duration::ZERO, false, false),
        CallErrorKind::Timeout | CallErrorKind::Truncated | CallErrorKind::Malformed => (Duration::ZERO, true, false),
    };
    if counts && last {
        return Next::GiveUp;
    }
    let doubled = FIRST.saturating_mul(1 << (attempt - 1).min(10)).min(LONGEST);
    let own = doubled.mul_f64(0.5 + jitter);
    let delay = if floor.is_zero() { own } else { floor + own.min(floor.max(FIRST)) };
    // Other calls, which were not refused, may continue as soon as the server allows.
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
    fn too_many_open_files_are_not_an_attempt() {
        let again = Next::Again { delay: Duration::from_millis(500), pause: None, counts: false };
        assert_eq!(after(CallErrorKind::TooManyOpenFiles, 1), again);
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
