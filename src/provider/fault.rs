//! Faults: what servers say in the body of a failed call, in the shapes that are in use, and its class.
//!
//! The class comes from the status and from code fields. Words are looked at in one place, [`Fault::is_too_long`],
//! where Ollama and vLLM give nothing else. Pure; both dialects use it.

use serde_json::Value;

use super::failure::snippet;
use super::{Answer, CallError, CallErrorKind};

/// What a server said about a failed call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fault {
    /// Its words, or the beginning of a body that is no JSON.
    pub message: String,
    /// `error.code`, where it is text, such as `insufficient_quota`.
    code: Option<String>,
    /// `error.type`, such as `invalid_request_error`.
    kind: Option<String>,
    /// `error.code`, where it is an HTTP status.
    status: Option<u16>,
}

impl Fault {
    /// Reads a body: `{"error": {message, type, code}}` (OpenAI, llama.cpp), `{"error": "text"}` (Ollama; the text can
    /// be a JSON document of its own), `{"message", "type", "code"}` (older vLLM), `{"detail": ...}` (FastAPI), or
    /// anything.
    pub fn of_body(body: &[u8]) -> Self {
        let fault = serde_json::from_slice::<Value>(body).ok().and_then(|value| Fault::of_value(&value));
        fault.unwrap_or_else(|| Fault { message: snippet(body), ..Fault::default() })
    }

    /// Reads the fault out of a JSON document, if there is one in it.
    pub fn of_value(value: &Value) -> Option<Self> {
        let inner = match value.get("error").filter(|error| !error.is_null()) {
            Some(Value::String(text)) => return Some(Fault::of_text(text)),
            Some(object) => object,
            None => value,
        };
        let message =
            ["message", "error", "detail"].iter().find_map(|field| inner.get(field).filter(|said| !said.is_null()))?;
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        let code = inner.get("code");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let status = code.and_then(number).and_then(|n| u16::try_from(n).ok()).filter(|n| (400..600).contains(n));
        Some(Fault { message, code: text(code), kind: text(inner.get("type")), status })
    }

    fn of_text(text: &str) -> Self {
        let nested = text.find('{').and_then(|start| serde_json::from_str::<Value>(&text[start..]).ok());
        let nested = nested.as_ref().filter(|value| value.get("error").is_some_and(Value::is_object));
        match nested.and_then(Fault::of_value) {
            Some(fault) => fault,
            None => Fault { message: text.to_owned(), ..Fault::default() },
        }
    }

    /// Whether `error.code` or `error.type` is this word.
    pub fn says(&self, word: &str) -> bool {
        self.code.as_deref() == Some(word) || self.kind.as_deref() == Some(word)
    }

    /// Whether the prompt did not fit. OpenAI and llama.cpp have a code for it; Ollama ("the input length exceeds the
    /// context length") and vLLM ("This model's maximum context length is …") only say it.
    fn is_too_long(&self) -> bool {
        ["context_length_exceeded", "exceed_context_size_error", "string_above_max_length"].iter().any(|c| self.says(c))
            || [
                "input length exceeds the context length",
                "maximum context length",
                "exceeds the available context size",
            ]
            .iter()
            .any(|words| self.message.contains(words))
    }

    /// The class of the fault. In a body that came with status 200 the status inside counts; without one, it is taken
    /// for an outage behind a gateway, which may pass.
    pub fn class(&self, answer: Answer<'_>) -> CallErrorKind {
        let status = if answer.is_success() { self.status.unwrap_or(502) } else { answer.status };
        let spent = ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"];
        if spent.iter().any(|code| self.says(code)) {
            CallErrorKind::QuotaExhausted
        } else if status != 429 && self.is_too_long() {
            CallErrorKind::ContextTooLong
        } else if self.says("model_not_found") {
            CallErrorKind::UnknownModel
        } else if self.says("content_filter") || self.says("content_policy_violation") {
            CallErrorKind::Refused
        } else {
            CallErrorKind::of_status(status, answer.retry_after)
        }
    }

    /// The fault as an error of its class, in the server's words.
    pub fn error(self, answer: Answer<'_>) -> CallError {
        let message = match answer.is_success() {
            true => self.message.clone(),
            false => format!("{} (status {})", self.message, answer.status),
        };
        CallError::raw(self.class(answer), message)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use CallErrorKind as K;

    use super::*;

    fn class(status: u16, body: &str) -> CallErrorKind {
        let answer = Answer { status, retry_after: Some(Duration::from_secs(2)), body: body.as_bytes() };
        Fault::of_body(answer.body).class(answer)
    }

    #[test]
    fn faults_are_classed_by_status_and_code() {
        let wait = Some(Duration::from_secs(2));
        let cases = [
            (
                401,
                r#"{"error":{"message":"bad key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
                K::Unauthorized,
            ),
            (403, r#"{"detail":"no"}"#, K::Unauthorized),
            (404, r#"{"error":{"message":"x","code":"model_not_found"}}"#, K::UnknownModel),
            (400, r#"{"error":{"message":"x","code":"model_not_found"}}"#, K::UnknownModel),
            (
                429,
                r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
                K::RateLimited { retry_after: wait },
            ),
            (429, r#"{"error":{"message":"pay","type":"insufficient_quota","code":null}}"#, K::QuotaExhausted),
            (400, r#"{"error":{"message":"long","code":"context_length_exceeded"}}"#, K::ContextTooLong),
            (
                400,
                r#"{"error":{"code":400,"message":"long","type":"exceed_context_size_error","n_ctx":512}}"#,
                K::ContextTooLong,
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 9","type":"BadRequestError","code":400}"#,
                K::ContextTooLong,
            ),
            (400, r#"{"error":{"message":"bad schema","type":"invalid_request_error"}}"#, K::Rejected),
            (422, r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#, K::Rejected),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                K::Unavailable { retry_after: wait },
            ),
            (502, "<html>Bad Gateway</html>", K::Unavailable { retry_after: wait }),
            (529, "", K::Unavailable { retry_after: wait }),
            (200, r#"{"error":{"message":"upstream is busy","code":429}}"#, K::RateLimited { retry_after: wait }),
            (200, r#"{"error":{"message":"upstream broke"}}"#, K::Unavailable { retry_after: wait }),
        ];
        for (status, body, want) in cases {
            assert_eq!(class(status, body), want, "{status} {body}");
        }
    }

    #[test]
    fn a_fault_inside_a_text_is_found() {
        let body =
            r#"{"error":"{\"error\":{\"code\":400,\"message\":\"too big\",\"type\":\"exceed_context_size_error\"}}"}"#;
        assert_eq!(Fault::of_body(body.as_bytes()).message, "too big");
        assert_eq!(class(400, body), K::ContextTooLong);
        assert_eq!(Fault::of_body(br#"{"error":"plain {text}"}"#).message, "plain {text}");
        assert_eq!(Fault::of_body(br#"{"error":null,"choices":[]}"#).message, r#"{"error":null,"choices":[]}"#);
    }
}
