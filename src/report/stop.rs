//! Texts about a run that stopped before its end.

use chrono::{DateTime, TimeZone, Utc};

use super::text::{count, duration};
use crate::prompt::{Failure, FailureKind};
use crate::run::First;

/// When the server lets calls in again, in the time zone of `now`, and its own words.
pub(crate) fn limited_until<Z: TimeZone>(until: DateTime<Utc>, now: DateTime<Z>, words: &str) -> String
where
    Z::Offset: std::fmt::Display,
{
    let wait = duration((until - now.to_utc()).to_std().unwrap_or_default());
    let until = until.with_timezone(&now.timezone());
    let format = if until.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    format!("the server lets no call in until {} (in {wait}): {words}", until.format(format))
}

pub(crate) fn alike_message(first: &First, failure: &Failure) -> String {
    let of = match first {
        First::Requests { model, .. } => format!("model `{model}`"),
        First::Rows { stage, .. } => format!("stage `{stage}`"),
    };
    format!("{of}: {failure}")
}

/// Why the run stopped, for the line about its continuation.
pub(crate) fn alike(first: &First) -> String {
    let failed = match first {
        First::Requests { count: n, .. } => count((*n).into(), "request"),
        First::Rows { count: n, .. } => count((*n).into(), "row"),
    };
    format!("stopped: nothing was answered, and {failed} failed with this error")
}

/// What to change when all first requests or rows failed with an error of this kind.
pub(crate) fn alike_help(kind: FailureKind, first: &First) -> Option<String> {
    let all = match first {
        First::Requests { .. } => "; to ask every row all the same, write `max_failed = \"100%\"` in the stage",
        First::Rows { .. } => "",
    };
    Some(format!("{}{all}", change(kind)?))
}

/// What to change in the spec so that calls do not fail with an error of this kind.
pub(crate) fn change(kind: FailureKind) -> Option<&'static str> {
    Some(match kind {
        FailureKind::Template | FailureKind::When | FailureKind::Value => "correct the stage in the spec",
        FailureKind::Rejected => "change what the server rejects: a setting of the model, `extra`, or the output",
        FailureKind::ServerError => "check the `base_url` of the provider, the model's settings and the server's log",
        FailureKind::Malformed => "check the `base_url` of the provider, and whether the model can follow the prompt",
        FailureKind::Truncated => "raise `max_tokens`, or ask for a shorter answer",
        FailureKind::ContextTooLong => {
            "raise `num_ctx` or `context_tokens`, split the texts, or write `overflow = \"truncate_middle\"` in the stage"
        }
        FailureKind::Timeout => "raise `timeout_secs` of the provider, or ask for shorter answers",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_limit_is_a_time_of_day_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-28T14:40:00+01:00").unwrap();
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        assert_eq!(
            limited_until(at("2026-11-28T17:00:00Z"), now, "slow down"),
            "the server lets no call in until 18:00 (in 3 h 20 min): slow down"
        );
        assert_eq!(
            limited_until(at("2026-12-03T07:58:00Z"), now, "try again in 114h18m0s"),
            "the server lets no call in until 2026-12-03 08:58 (in 4 d 18 h): try again in 114h18m0s"
        );
        assert!(limited_until(at("2026-11-28T10:00:00Z"), now, "x").contains("(in 0 s)"), "a time in the past");
    }

    #[test]
    fn equal_failures_are_counted_with_what_to_change() {
        let requests = First::Requests { model: "llama".to_owned(), count: 7 };
        let failure = FailureKind::Truncated.because("the reply was cut off after 5 tokens");
        assert_eq!(
            alike_message(&requests, &failure),
            "model `llama`: truncated: the reply was cut off after 5 tokens"
        );
        assert_eq!(alike(&requests), "stopped: nothing was answered, and 7 requests failed with this error");
        let help = alike_help(failure.kind, &requests).unwrap_or_default();
        assert!(help.contains("max_tokens") && help.contains("max_failed"), "{help}");
        let rows = First::Rows { stage: "tone".to_owned(), count: 1 };
        assert_eq!(alike(&rows), "stopped: nothing was answered, and 1 row failed with this error");
        assert!(alike_help(FailureKind::Template, &rows).is_some_and(|help| !help.contains("max_failed")));
    }
}
