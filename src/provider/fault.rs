//! Faults: reads the body of a failed call in all known shapes, and classifies it.
//!
//! The class comes from the status and from code fields. Words count only if servers report nothing else:
//! [`Fault::is_too_long`] and [`Fault::is_spent`]. Pure.

use std::time::Duration;

use serde_json::Value;

use super::answer::Answer;
use super::failure::{CallError, CallErrorKind, believed, snippet};
use super::quota::wait_in_words;

/// Google uses the same code and wait for all limits; only the id of the quota differs.
const DAILY_QUOTA: &str = "daily_quota";

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fault {
    pub(crate) message: String,
    /// The values of `error.code`, `error.type` and `error.status`, and those of `error.details`.
    codes: Vec<String>,
    status: Option<u16>,
    retry_after: Option<Duration>,
}

impl Fault {
    /// Reads a body: `{"error": {message, type, code}}` (OpenAI, llama.cpp, Anthropic), `{"error": {message, code,
    /// status, details}}` (Google), `{"error": "text"}` (Ollama; the text can be a JSON document), `{"message", "type",
    /// "code"}` (older vLLM), `{"detail": ...}` (FastAPI), or any other body.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        let fault = serde_json::from_slice::<Value>(body).ok().and_then(|value| Fault::of_value(&value));
        fault.unwrap_or_else(|| Fault { message: snippet(body), ..Fault::default() })
    }

    pub(crate) fn of_value(value: &Value) -> Option<Self> {
        let inner = match value.get("error").filter(|error| !error.is_null()) {
            Some(Value::String(text)) => return Some(Fault::of_text(text)),
            Some(object) => object,
            None => value,
        };
        let message =
            ["message", "error", "detail"].iter().find_map(|field| inner.get(field).filter(|said| !said.is_null()))?;
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let code = inner.get("code").and_then(number).and_then(|n| u16::try_from(n).ok());
        let words = ["code", "type", "status"].iter().filter_map(|field| inner.get(field)?.as_str());
        let mut fault = Fault {
            message,
            codes: words.map(str::to_owned).collect(),
            status: code.filter(|n| (400..600).contains(n)),
            retry_after: None,
        };
        match inner.get("details") {
            Some(Value::Array(details)) => details.iter().for_each(|detail| fault.read_detail(detail)),
            Some(details) => fault.note(details.get("error_code")),
            None => {}
        }
        Some(fault)
    }

    fn note(&mut self, code: Option<&Value>) {
        self.codes.extend(code.and_then(Value::as_str).map(str::to_owned));
    }

    /// Reads Google's `google/rpc/error_details.proto`; a daily quota becomes the code [`DAILY_QUOTA`].
    fn read_detail(&mut self, detail: &Value) {
        self.note(detail.get("reason"));
        let seconds = detail.get("retryDelay").and_then(Value::as_str).and_then(|wait| wait.strip_suffix('s'));
        let seconds = seconds.and_then(|seconds| seconds.parse::<f64>().ok());
        if let Some(seconds) = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
            self.retry_after = Some(believed(seconds));
        }
        let quotas = detail.get("violations").and_then(Value::as_array).into_iter().flatten();
        if quotas.filter_map(|quota| quota.get("quotaId")?.as_str()).any(|id| id.contains("PerDay")) {
            self.codes.push(DAILY_QUOTA.to_owned());
        }
    }

    fn of_text(text: &str) -> Self {
        let nested = text.find('{').and_then(|start| serde_json::from_str::<Value>(&text[start..]).ok());
        let nested = nested.as_ref().filter(|value| value.get("error").is_some_and(Value::is_object));
        match nested.and_then(Fault::of_value) {
            Some(fault) => fault,
            None => Fault { message: text.to_owned(), ..Fault::default() },
        }
    }

    pub(crate) fn says(&self, word: &str) -> bool {
        self.codes.iter().any(|code| code == word)
    }

    fn says_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.says(word))
    }

    /// Ollama, vLLM, Anthropic and Google report this only in words, without a code.
    fn is_too_long(&self) -> bool {
        self.says_one_of(&["context_length_exceeded", "exceed_context_size_error", "string_above_max_length"])
            || [
                "input length exceeds the context length",
                "maximum context length",
                "exceeds the available context size",
                "prompt is too long",
                "exceeds the maximum number of tokens allowed",
            ]
            .iter()
            .any(|words| self.message.contains(words))
    }

    /// Source of Anthropic's words: <https://platform.claude.com/docs/en/api/rate-limits>.
    fn is_spent(&self) -> bool {
        self.says_one_of(&[
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "billing_error",
            "enforced_spend_limit_reached",
            DAILY_QUOTA,
        ]) || self.message.starts_with("You have reached your specified ") && self.message.contains("usage limits")
    }

    /// The status that an error in a reply with status 200 should have had.
    fn implied_status(&self) -> u16 {
        let by_code = if self.says_one_of(&["rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"]) {
            429
        } else if self.says_one_of(&["overloaded_error", "unavailable_error", "UNAVAILABLE"]) {
            503
        } else {
            500
        };
        self.status.unwrap_or(by_code)
    }

    pub(crate) fn class(&self, answer: Answer<'_>) -> CallErrorKind {
        let status = if answer.is_success() { self.implied_status() } else { answer.status };
        if self.is_spent() {
            CallErrorKind::QuotaExhausted
        } else if status != 429 && self.is_too_long() {
            CallErrorKind::ContextTooLong
        } else if self.says("model_not_found") {
            CallErrorKind::UnknownModel
        } else if status == 400 && self.says_one_of(&["API_KEY_INVALID", "FAILED_PRECONDITION"]) {
            CallErrorKind::Unauthorized
        } else if self.says_one_of(&["content_filter", "content_policy_violation"]) {
            CallErrorKind::Refused
        } else if status == 500 && is_about_format(&self.message) {
            CallErrorKind::Rejected
        } else {
            let said = answer.retry_after.max(self.retry_after);
            CallErrorKind::of_status(status, said.or_else(|| wait_in_words(&self.message)))
        }
    }

    pub(crate) fn error_of(answer: Answer<'_>) -> CallError {
        Fault::of_body(answer.body).error(answer)
    }

    pub(crate) fn error(self, answer: Answer<'_>) -> CallError {
        let message = match answer.is_success() {
            true => self.message.clone(),
            false => format!("{} (status {})", self.message, answer.status),
        };
        CallError::raw(self.class(answer), message)
    }
}

/// Whether the server can't hold a reply to a schema. Servers say so in words, and often with status 500.
pub(super) fn is_about_format(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let mut words = message.split(|c: char| !c.is_alphanumeric() && c != '_').map(|word| word.trim_end_matches('s'));
    let named = words.any(|word| ["format", "response_format", "grammar", "schema"].contains(&word))
        || ["structured output", "json mode", "guided decoding"].iter().any(|words| message.contains(words));
    let denied = ["not support", "n't support", "unsupported", "not available", "not implemented", "required for"];
    let failed = ["fail", "invalid", "can't", "cannot", "unable", "unknown", "not allowed", "disabled"];
    named && denied.iter().chain(&failed).any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use CallErrorKind as K;

    use super::*;

    fn class(status: u16, body: &str) -> CallErrorKind {
        let answer = Answer { status, retry_after: Some(Duration::from_secs(2)), body: body.as_bytes() };
        Fault::of_body(answer.body).class(answer)
    }

    type Case = (u16, &'static str, CallErrorKind);

    /// Statuses and bodies of OpenAI-compatible servers with their classes; `wait` is the Retry-After of each answer.
    fn openai(wait: Option<Duration>) -> Vec<Case> {
        vec![
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
            (200, r#"{"error":{"message":"busy","type":"overloaded_error"}}"#, K::Unavailable { retry_after: wait }),
            (200, r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#, K::RateLimited { retry_after: wait }),
            // An unknown path is not an outage.
            (200, r#"{"error":"Unexpected endpoint or method. (POST /x)"}"#, K::ServerError { retry_after: wait }),
            (200, r#"{"error":{"message":"upstream broke"}}"#, K::ServerError { retry_after: wait }),
            (200, r#"{"detail":"Not Found"}"#, K::ServerError { retry_after: wait }),
        ]
    }

    #[test]
    fn a_server_that_knows_no_format_rejects_the_call() {
        for message in [
            "failed to load model vocabulary required for format",
            "failed to create grammar sampler",
            "this model does not support structured outputs",
            "JSON schema conversion failed: unknown keyword",
            "Unsupported response_format",
            "guided decoding is not available on this backend",
        ] {
            let body = serde_json::json!({ "error": message }).to_string();
            assert_eq!(class(500, &body), K::Rejected, "{message}");
            assert!(matches!(class(503, &body), K::Unavailable { .. }), "{message}");
        }
        for message in ["CUDA out of memory", "failed to load the model's information", "the format"] {
            let body = serde_json::json!({ "error": message }).to_string();
            assert!(matches!(class(500, &body), K::ServerError { .. }), "{message}");
        }
    }

    /// Those of Anthropic and Gemini.
    fn hosted(wait: Option<Duration>) -> Vec<Case> {
        vec![
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"r"}"#,
                K::Unauthorized,
            ),
            (402, r#"{"type":"error","error":{"type":"billing_error","message":"pay"}}"#, K::QuotaExhausted),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#,
                K::ContextTooLong,
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified workspace API usage limits. You will regain access on 2026-12-01."}}"#,
                K::QuotaExhausted,
            ),
            (413, r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#, K::Rejected),
            (
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
                K::RateLimited { retry_after: wait },
            ),
            (
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
                K::QuotaExhausted,
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
                K::Unavailable { retry_after: wait },
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#,
                K::Unauthorized,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"no free tier here","status":"FAILED_PRECONDITION"}}"#,
                K::Unauthorized,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#,
                K::ContextTooLong,
            ),
            (400, r#"{"error":{"code":400,"message":"bad schema","status":"INVALID_ARGUMENT"}}"#, K::Rejected),
        ]
    }

    #[test]
    fn faults_are_classed_by_status_and_code() {
        let wait = Some(Duration::from_secs(2));
        for (status, body, want) in openai(wait).into_iter().chain(hosted(wait)) {
            assert_eq!(class(status, body), want, "{status} {body}");
        }
    }

    #[test]
    fn the_wait_and_the_quota_stand_in_googles_details() {
        let limited = |details: &str| {
            let head =
                r#"{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED""#;
            class(429, &format!(r#"{head},"details":[{details}]}}}}"#))
        };
        let after = |secs: f64| K::RateLimited { retry_after: Some(Duration::from_secs_f64(secs)) };
        let quota = |id: &str| {
            format!(r#"{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{id}"}}]}}"#)
        };
        let wait =
            |secs: &str| format!(r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{secs}"}}"#);
        let minute = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
        assert_eq!(limited(&format!("{minute},{}", wait("34.5s"))), after(34.5));
        let day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
        assert_eq!(limited(&format!("{day},{}", wait("36s"))), K::QuotaExhausted);
        assert_eq!(limited(&wait("1s")), after(2.0), "the header's wait is longer");
        assert_eq!(limited(&wait("999999s")), after(999999.0));
        for nonsense in ["", "s", "-5s", "NaNs", "5", "infs"] {
            assert_eq!(limited(&wait(nonsense)), after(2.0), "{nonsense}");
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
