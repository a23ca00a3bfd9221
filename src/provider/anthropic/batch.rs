//! Anthropic's Message Batches.
//!
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/batch-processing>,
//! <https://platform.claude.com/docs/en/api/messages/batches/create>,
//! <https://platform.claude.com/docs/en/api/messages/batches/list> and
//! <https://platform.claude.com/docs/en/api/messages/batches/results>. Pure.

use serde_json::{Value, json};

use super::Anthropic;
use crate::provider::answer::Answer;
use crate::provider::batch::{
    BatchCall, BatchJob, BatchLimits, BatchRequest, BatchResult, BatchState, BatchWire, LostJob, body_of, list,
    listed_after, number, time, wrapped,
};
use crate::provider::wire::Wire;

const PATH: &str = "v1/messages/batches";
/// How far the server's clock may be behind.
const SKEW_MS: i64 = 120_000;

impl BatchWire for Anthropic {
    /// 100,000 requests and 256 MB.
    fn limits(&self) -> BatchLimits {
        BatchLimits { calls: 100_000, bytes: 250_000_000 }
    }

    fn entry(&self, call: &BatchCall) -> Vec<u8> {
        wrapped(&format!(r#"{{"custom_id":"{}","params":"#, call.id), body_of(call), "}")
    }

    fn create(&self, _: &str, _: &str, _: Option<&str>, entries: &[Vec<u8>]) -> BatchRequest {
        BatchRequest::post(PATH, wrapped(r#"{"requests":"#, &list(entries), "}"))
    }

    fn look(&self, job: &str) -> BatchRequest {
        BatchRequest::get(format!("{PATH}/{job}"))
    }

    fn cancel(&self, job: &str) -> BatchRequest {
        BatchRequest::post(format!("{PATH}/{job}/cancel"), "{}")
    }

    fn list(&self, after: Option<&str>) -> BatchRequest {
        let after = after.map(|id| format!("&after_id={id}")).unwrap_or_default();
        BatchRequest { query: Some(format!("limit=100{after}")), ..BatchRequest::get(PATH) }
    }

    fn listed(&self, page: &Value) -> (Vec<BatchJob>, Option<String>) {
        listed_after(page, |job| self.job(job))
    }

    fn job(&self, value: &Value) -> Option<BatchJob> {
        let id = value["id"].as_str()?.to_owned();
        let word = value["processing_status"].as_str()?.to_owned();
        let state = match word.as_str() {
            "ended" if !value["cancel_initiated_at"].is_null() => BatchState::Cancelled,
            "ended" => BatchState::Ended,
            _ => BatchState::Running,
        };
        let count = |name: &str| number(&value["request_counts"][name]);
        let done = ["succeeded", "errored", "canceled", "expired"].into_iter().map(count).sum();
        let results = if state == BatchState::Running { Vec::new() } else { vec![format!("{PATH}/{id}/results")] };
        let created = time(&value["created_at"]);
        let (total, answered) = (done + count("processing"), count("succeeded"));
        Some(BatchJob { id, state, word, done, total, answered, marks: Vec::new(), created, results })
    }

    /// A job has no name. One of the same size that was made after the calls were ready is taken for the lost one. If it
    /// is another, its results contain none of the calls, which are then sent again.
    fn is_it(&self, job: &BatchJob, lost: LostJob<'_>) -> bool {
        job.total == lost.calls && job.created.is_some_and(|created| created >= lost.created - SKEW_MS)
    }

    fn read(&self, line: &[u8]) -> Option<BatchResult> {
        let mut line: Value = serde_json::from_slice(line).ok()?;
        let id = line["custom_id"].as_str()?.to_owned();
        let result = &mut line["result"];
        let (status, body) = match result["type"].as_str()? {
            "succeeded" => (200, result["message"].take()),
            "errored" => {
                let error = result["error"].take();
                // The error is inside an object, as in a reply; a gateway may leave that out.
                let error = if error["error"].is_object() { error } else { json!({ "type": "error", "error": error }) };
                (status(error["error"]["type"].as_str().unwrap_or_default()), error)
            }
            _ => return Some((id, None)),
        };
        let body = body.to_string();
        Some((id, Some(self.decode(Answer { status, retry_after: None, body: body.as_bytes() }))))
    }
}

/// The status of a reply with this error. Source: <https://platform.claude.com/docs/en/api/errors>.
fn status(kind: &str) -> u16 {
    match kind {
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        "api_error" => 500,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::CallErrorKind;
    use crate::provider::structured_output::SchemaOrNone;

    const WIRE: Anthropic = Anthropic { structured_output: SchemaOrNone::JsonSchema };

    /// After the example of the API reference.
    #[test]
    fn a_job_is_known_by_its_time_and_its_size() {
        let mut value = json!({
            "id": "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message_batch", "processing_status": "in_progress",
            "created_at": "2024-08-20T18:37:24.100435Z", "cancel_initiated_at": null, "results_url": null,
            "request_counts": {"processing": 100, "succeeded": 50, "errored": 30, "canceled": 10, "expired": 10},
        });
        let job = WIRE.job(&value).unwrap();
        assert_eq!((&job.state, job.done, job.total, job.results.len()), (&BatchState::Running, 100, 200, 0));
        let created = 1_724_179_044_100;
        let lost = |calls, created| LostJob { name: "x", file: None, calls, created, known: &[] };
        assert!(WIRE.is_it(&job, lost(200, created)) && WIRE.is_it(&job, lost(200, created + SKEW_MS)));
        assert!(!WIRE.is_it(&job, lost(199, created)) && !WIRE.is_it(&job, lost(200, created + SKEW_MS + 1000)));
        value["processing_status"] = json!("ended");
        assert_eq!(WIRE.job(&value).unwrap().state, BatchState::Ended);
        value["cancel_initiated_at"] = json!("2024-08-20T18:37:24.100435Z");
        let job = WIRE.job(&value).unwrap();
        assert_eq!(job.state, BatchState::Cancelled);
        assert_eq!(job.results, ["v1/messages/batches/msgbatch_013Zva2CMHLNnXjNJJKqJ2EF/results"]);
    }

    #[test]
    fn a_line_is_a_reply_an_error_or_a_call_that_was_not_tried() {
        let read =
            |result: Value| WIRE.read(json!({"custom_id": "a", "result": result}).to_string().as_bytes()).unwrap().1;
        let message = json!({"content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn", "model": "m"});
        assert_eq!(read(json!({"type": "succeeded", "message": message})).unwrap().unwrap().text, "x");
        let error = json!({"type": "invalid_request_error", "message": "no"});
        for error in [error.clone(), json!({"type": "error", "error": error})] {
            assert_eq!(
                read(json!({"type": "errored", "error": error})).unwrap().unwrap_err().kind,
                CallErrorKind::Rejected
            );
        }
        assert_eq!((read(json!({"type": "expired"})), read(json!({"type": "canceled"}))), (None, None));
        let entries = [b"{\"custom_id\":\"a\"}".to_vec(), b"{\"custom_id\":\"b\"}".to_vec()];
        let created: Value = serde_json::from_slice(&WIRE.create("n", "m", None, &entries).body).unwrap();
        assert_eq!(created, json!({"requests": [{"custom_id": "a"}, {"custom_id": "b"}]}));
    }
}
