//! Retries: decides whether and when a call is tried again. A pure function of the attempt and the error.
//!
//! Other waits:
//! - `limiter/refusals.rs` - after refused calls and while a server is down
//! - `provider/failure.rs` - the cap on `Retry-After` (`LONGEST_WAIT`)

use std::time::Duration;

use crate::provider::{CallError, CallErrorKind};

/// The wait after the first failed attempt; it doubles after each further one.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest time for all attempts of a call, and for a server that lets no call in.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Again(Duration),
    GiveUp,
    /// Stop the run: all other rows would fail too.
    StopRun,
}

/// A call's own wait after its `attempt`th failure, counted from 1; `jitter` is from 0 to 1.
pub(crate) fn own_wait(attempt: u32, jitter: f64) -> Duration {
    FIRST.saturating_mul(1 << (attempt.max(1) - 1).min(10)).min(LONGEST).mul_f64(0.5 + jitter)
}

/// Decides after an error of a call that the server did not refuse. `attempt` counts from 1, without refused ones. `spent`
/// is the time since the first began, `last` allows no more failed attempts. `Retry-After` is a lower bound.
pub(crate) fn next(error: &CallError, attempt: u32, last: bool, spent: Duration, jitter: f64) -> Next {
    let floor = match &error.kind {
        CallErrorKind::Unauthorized
        | CallErrorKind::UnknownModel
        | CallErrorKind::QuotaExhausted
        | CallErrorKind::Tls => {
            return Next::StopRun;
        }
        CallErrorKind::Rejected | CallErrorKind::ContextTooLong | CallErrorKind::Refused => return Next::GiveUp,
        CallErrorKind::RateLimited { retry_after }
        | CallErrorKind::Unavailable { retry_after }
        | CallErrorKind::ServerError { retry_after } => retry_after.unwrap_or_default(),
        CallErrorKind::Lost
        | CallErrorKind::TooManyOpenFiles
        | CallErrorKind::Timeout
        | CallErrorKind::Truncated
        | CallErrorKind::Malformed => Duration::ZERO,
    };
    let own = own_wait(attempt, jitter);
    let delay = if floor.is_zero() { own } else { floor + own.min(floor.max(FIRST)) };
    if last || spent + delay > PATIENCE { Next::GiveUp } else { Next::Again(delay) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(kind: CallErrorKind, attempt: u32) -> Next {
        next(&CallError { kind, message: String::new() }, attempt, attempt >= 3, Duration::ZERO, 0.5)
    }

    #[test]
    fn waits_grow_and_end() {
        let again = |ms| Next::Again(Duration::from_millis(ms));
        assert_eq!(after(CallErrorKind::Timeout, 1), again(500));
        assert_eq!(after(CallErrorKind::Malformed, 2), again(1000));
        assert_eq!(after(CallErrorKind::Timeout, 3), Next::GiveUp);
        assert_eq!((own_wait(6, 0.5), own_wait(7, 0.5), own_wait(99, 0.5)), (16 * SECOND, LONGEST, LONGEST));
        assert_eq!((own_wait(1, 0.0), own_wait(1, 1.0)), (SECOND / 4, SECOND * 3 / 4));
    }

    #[test]
    fn retry_after_is_a_floor_with_jitter_above() {
        let failed = |secs| CallErrorKind::ServerError { retry_after: Some(secs * SECOND) };
        for attempt in [1, 2] {
            let Next::Again(delay) = after(failed(7), attempt) else { panic!("no retry") };
            assert!(delay > 7 * SECOND && delay <= 14 * SECOND, "{delay:?}");
        }
        assert_eq!(after(failed(3600), 1), Next::GiveUp);
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
