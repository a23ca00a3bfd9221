//! Answers: the server's response to one request, which is read as JSON.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::failure::{CallError, CallErrorKind, is_event_stream, snippet};
use super::stream::{events, trimmed};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// The status is never a redirect.
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: &'a [u8],
}

/// The body of a failed call as one document. The events of a stream are a list.
pub(super) fn document(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(trimmed(body)).ok().or_else(|| events(body).map(Value::Array))
}

impl<'a> Answer<'a> {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The reply of a server that streams although it was not asked to: `join` makes one reply of its events.
    pub(super) fn joined(self, join: fn(Vec<Value>) -> Option<Value>) -> Option<Vec<u8>> {
        let joined = events(self.body).and_then(join)?;
        Some(joined.to_string().into_bytes())
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.status, 404 | 405 | 501)
    }

    /// A body that ends too early is `Truncated`; any other fault is `Malformed`.
    pub(crate) fn json<T: Deserialize<'a>>(&self) -> Result<T, CallError> {
        serde_json::from_slice(trimmed(self.body)).map_err(|e| {
            let start = snippet(self.body);
            if is_event_stream(&start) {
                let message = format!("the server sent an event stream, which was not asked for: {start}");
                return CallError::raw(CallErrorKind::Malformed, message);
            }
            let (kind, what) = match e.is_eof() {
                true => (CallErrorKind::Truncated, "ends too early"),
                false => (CallErrorKind::Malformed, "is not what the protocol says"),
            };
            // The message contains only positions, because serde's own message could quote a row.
            let place = format!("line {}, column {}", e.line(), e.column());
            CallError::raw(kind, format!("the reply {what} ({place}): {start}"))
        })
    }

    pub(super) fn reply<T: Deserialize<'a>>(
        self,
        error: fn(&T) -> Option<&Value>,
        failed: fn(Answer<'_>) -> CallError,
    ) -> Result<T, CallError> {
        if !self.is_success() {
            return Err(failed(self));
        }
        let reply = self.json()?;
        match error(&reply) {
            None | Some(Value::Null) => Ok(reply),
            Some(_) => Err(failed(self)),
        }
    }

    pub(super) fn list<T: Deserialize<'a>>(
        page: Option<Answer<'a>>,
        failed: fn(Answer<'_>) -> CallError,
    ) -> Result<Option<T>, CallError> {
        match page.filter(|page| !page.is_missing()) {
            None => Ok(None),
            Some(page) if page.is_success() => Ok(page.json().ok()),
            Some(page) => Err(failed(page)),
        }
    }
}
