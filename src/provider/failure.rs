//! Failed calls, classified by what the caller should do, with messages that are safe to show.
//!
//! Every [`CallError`] that leaves this folder has passed [`safe`]. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::prompt::{Failure, FailureKind};

/// The limit in characters.
pub(crate) const LONGEST_MESSAGE: usize = 300;

/// A year.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub(crate) struct CallError {
    pub(crate) kind: CallErrorKind,
    /// At most 300 characters, without control characters, URL queries or keys.
    pub(crate) message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallErrorKind {
    /// Wait at least as long as the server's Retry-After, then try again.
    RateLimited { retry_after: Option<Duration> },
    /// The server is down or busy (refused, reset, 502, 503): try again later.
    Unavailable { retry_after: Option<Duration> },
    /// The connection was lost within the reply: try again.
    Lost,
    /// The server failed at this request (500): try again.
    ServerError { retry_after: Option<Duration> },
    /// This process, or the system, may open no more connections now: try again later.
    TooManyOpenFiles,
    /// A deadline passed: try again later.
    Timeout,
    /// The key is missing, wrong or not allowed (401, 403): stop the run.
    Unauthorized,
    /// No TLS connection, mostly because of a certificate that is not trusted: stop the run.
    Tls,
    /// The server does not have the model: stop the run.
    UnknownModel,
    /// The quota is used up (not a rate that recovers): stop the run.
    QuotaExhausted,
    /// The server refuses this request (other 4xx): the row fails.
    Rejected,
    /// The prompt is longer than the model's context: the row fails.
    ContextTooLong,
    /// The provider withheld the reply or the model refused: the row fails.
    Refused,
    /// The reply was cut off (`finish = length`, or a body that ended early).
    Truncated,
    /// The reply does not follow the protocol.
    Malformed,
}

impl CallError {
    pub(crate) fn new(kind: CallErrorKind, message: impl AsRef<str>) -> Self {
        CallError::raw(kind, message.as_ref()).cleaned(None)
    }

    /// Keeps the server's own words; the caller of a wire cleans them with [`CallError::cleaned`].
    pub(super) fn raw(kind: CallErrorKind, message: impl Into<String>) -> Self {
        CallError { kind, message: message.into() }
    }

    pub(super) fn cleaned<'a>(self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        CallError { message: safe(&self.message, keys), ..self }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        error.kind.failure().because(error.message)
    }
}

impl CallErrorKind {
    pub(crate) fn failure(&self) -> FailureKind {
        match self {
            CallErrorKind::RateLimited { .. } => FailureKind::RateLimited,
            CallErrorKind::Unavailable { .. } | CallErrorKind::Lost | CallErrorKind::TooManyOpenFiles => {
                FailureKind::Unavailable
            }
            CallErrorKind::ServerError { .. } => FailureKind::ServerError,
            CallErrorKind::Timeout => FailureKind::Timeout,
            CallErrorKind::Unauthorized => FailureKind::Unauthorized,
            CallErrorKind::Tls => FailureKind::Tls,
            CallErrorKind::UnknownModel => FailureKind::UnknownModel,
            CallErrorKind::QuotaExhausted => FailureKind::QuotaExhausted,
            CallErrorKind::Rejected => FailureKind::Rejected,
            CallErrorKind::ContextTooLong => FailureKind::ContextTooLong,
            CallErrorKind::Refused => FailureKind::Refused,
            CallErrorKind::Truncated => FailureKind::Truncated,
            CallErrorKind::Malformed => FailureKind::Malformed,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.failure().name()
    }

    /// Follows RFC 9110, 15. 402 is a quota, 409 and 425 are temporary, 501 is not, 52x are Anthropic's and
    /// Cloudflare's.
    pub(crate) fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            401 | 403 => CallErrorKind::Unauthorized,
            402 => CallErrorKind::QuotaExhausted,
            404 => CallErrorKind::UnknownModel,
            408 => CallErrorKind::Timeout,
            409 | 425 => CallErrorKind::Unavailable { retry_after },
            429 => CallErrorKind::RateLimited { retry_after },
            501 => CallErrorKind::Rejected,
            500 => CallErrorKind::ServerError { retry_after },
            502..=599 => CallErrorKind::Unavailable { retry_after },
            _ => CallErrorKind::Rejected,
        }
    }
}

/// Replaces the keys before the cut, so that no half of a key remains.
pub(super) fn safe<'a>(text: &str, keys: impl IntoIterator<Item = &'a str>) -> String {
    let keys: Vec<&str> = keys.into_iter().filter(|key| !key.is_empty()).collect();
    let mut clean = String::with_capacity(text.len().min(4 * LONGEST_MESSAGE));
    // Twice the limit plus the keys' length is enough for a message; the rest of a 16 MiB page is not read.
    let enough = 2 * LONGEST_MESSAGE + keys.iter().map(|key| key.chars().count()).sum::<usize>();
    let mut gap = false;
    for c in text.chars().filter(|c| !hidden(*c) || c.is_whitespace()).take(16 * enough) {
        if c.is_whitespace() {
            gap = !clean.is_empty();
        } else {
            if gap {
                clean.push(' ');
            }
            gap = false;
            clean.push(c);
        }
    }
    let clean = keys.iter().fold(clean, |clean, key| clean.replace(key, "[key]"));
    match clean.char_indices().nth(LONGEST_MESSAGE) {
        None => clean,
        Some(_) => clean.chars().take(LONGEST_MESSAGE - 1).chain(['…']).collect(),
    }
}

fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

pub(super) fn snippet(body: &[u8]) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(4000)]);
    let start = start.trim_start_matches('\u{FEFF}').trim();
    let lower = start.get(..15).unwrap_or(start).to_ascii_lowercase();
    if start.is_empty() {
        "an empty body".to_owned()
    } else if lower.starts_with("<!doctype") || lower.starts_with("<html") {
        title(start).map_or("an HTML page".to_owned(), |title| format!("an HTML page, `{title}`"))
    } else {
        start.to_owned()
    }
}

fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let title = page[start..start + lower[start..].find("</title")?].trim();
    (!title.is_empty()).then_some(title)
}

/// Whether a body is a stream of server-sent events.
pub(super) fn is_event_stream(body: &str) -> bool {
    let start = body.trim_start_matches('\u{FEFF}').trim_start();
    ["data:", "event:", "id:", "retry:", ": ", ":\n", ":\r"].iter().any(|field| start.starts_with(field))
}

/// Reads `retry-after-ms` (OpenAI), else `Retry-After` (RFC 9110, 10.2.3). At most a year; `None` if it is invalid.
pub(super) fn retry_after(millis: Option<&str>, after: Option<&str>, now: DateTime<Utc>) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    let seconds = match (millis.and_then(number), after) {
        (Some(millis), _) => millis / 1000.0,
        (None, Some(after)) => match number(after) {
            Some(seconds) => seconds,
            None => {
                let then = DateTime::parse_from_rfc2822(after.trim()).ok()?;
                // The date has a resolution of a second.
                (then.with_timezone(&Utc) - now).as_seconds_f64().ceil().max(0.0)
            }
        },
        (None, None) => return None,
    };
    Some(believed(seconds))
}

/// Returns at most a year; `seconds` must not be negative.
pub(super) fn believed(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_safe_to_show() {
        assert_eq!(safe("a\u{1b}]0;x\u{7}\r\n  b\u{0}c\u{202e}", None), "a]0;x bc");
        assert_eq!(safe("bad key sk-CANARY-1 here", Some("sk-CANARY-1")), "bad key [key] here");
        assert_eq!(safe("sk-\u{0}CANARY-1", Some("sk-CANARY-1")), "[key]");
        let long = safe(&"ä".repeat(1000), None);
        assert_eq!(long.chars().count(), LONGEST_MESSAGE);
        assert!(long.ends_with('…'));
        let edge = format!("{}sk-CANARY-1", "x".repeat(LONGEST_MESSAGE - 4));
        assert!(!safe(&edge, Some("sk-CANARY-1")).contains("sk-"));
    }

    #[test]
    fn bodies_are_named_in_short() {
        assert_eq!(snippet(b" \n"), "an empty body");
        assert_eq!(snippet(b"<!DOCTYPE html><p>"), "an HTML page");
        let page = b"<html>\n<HEAD><Title lang=en> Log in to the proxy</TITLE></HEAD>";
        assert_eq!(snippet(page), "an HTML page, `Log in to the proxy`");
        for unfinished in ["<html><title>x", "<html><title", "<html><title></title>"] {
            assert_eq!(snippet(unfinished.as_bytes()), "an HTML page");
        }
        assert_eq!(snippet(b"\xff\xfeoops"), "\u{fffd}\u{fffd}oops");
        assert_eq!(snippet(&[b'x'; 5000]).len(), 4000);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T12:00:00Z").unwrap().with_timezone(&Utc);
        let wait = |text| retry_after(None, Some(text), now);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(wait("Sat, 21 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        let within = now + chrono::TimeDelta::milliseconds(29_700);
        let rounded = retry_after(None, Some("Sat, 21 Nov 2026 12:00:30 GMT"), within);
        assert_eq!(rounded, Some(Duration::from_secs(1)), "a wait is never rounded down to none");
        assert_eq!(wait("Sat, 21 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("99999999999999999999"), Some(LONGEST_WAIT));
        for garbage in ["", "soon", "-1", "NaN", "inf", "21 Nov"] {
            assert_eq!(wait(garbage), None, "{garbage}");
        }
        assert_eq!(retry_after(Some("250"), Some("9"), now), Some(Duration::from_millis(250)));
        assert_eq!(retry_after(Some("x"), Some("9"), now), Some(Duration::from_secs(9)));
        assert_eq!(retry_after(None, None, now), None);
    }

    #[test]
    fn statuses_have_classes() {
        use CallErrorKind as K;
        let of = |status| K::of_status(status, None);
        assert_eq!((of(401), of(403), of(402)), (K::Unauthorized, K::Unauthorized, K::QuotaExhausted));
        assert_eq!((of(400), of(413), of(422), of(501)), (K::Rejected, K::Rejected, K::Rejected, K::Rejected));
        assert_eq!(of(500), K::ServerError { retry_after: None });
        for status in [409, 502, 503, 504, 529] {
            assert_eq!(of(status), K::Unavailable { retry_after: None });
        }
        let wait = Some(Duration::from_secs(3));
        assert_eq!(K::of_status(429, wait), K::RateLimited { retry_after: wait });
        assert_eq!(of(408), K::Timeout);
    }
}
