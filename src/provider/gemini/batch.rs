//! Gemini's Batch API, with the calls inside the request. A job is an operation, and its results are a part of it.
//!
//! Sources: <https://ai.google.dev/gemini-api/docs/batch-api> and <https://ai.google.dev/api/batch-api>. Pure.

use serde_json::{Value, json};

use super::{Gemini, resource};
use crate::provider::answer::Answer;
use crate::provider::batch::{
    BatchCall, BatchJob, BatchLimits, BatchRequest, BatchResult, BatchState, BatchWire, Lines, body_of, list, number,
    time, wrapped,
};
use crate::provider::failure::{CallError, CallErrorKind};
use crate::provider::wire::Wire;

impl BatchWire for Gemini {
    /// 20 MB for a request. No number of calls is documented.
    fn limits(&self) -> BatchLimits {
        BatchLimits { calls: 50_000, bytes: 19_000_000 }
    }

    fn entry(&self, call: &BatchCall) -> Vec<u8> {
        wrapped(r#"{"request":"#, body_of(call), &format!(r#","metadata":{{"key":"{}"}}}}"#, call.id))
    }

    fn create(&self, name: &str, model: &str, _: Option<&str>, entries: &[Vec<u8>]) -> BatchRequest {
        let path = format!("{}:batchGenerateContent", resource(model));
        let before = format!(r#"{{"batch":{{"displayName":"{name}","inputConfig":{{"requests":{{"requests":"#);
        BatchRequest::post(path, wrapped(&before, &list(entries), "}}}}"))
    }

    fn look(&self, job: &str) -> BatchRequest {
        BatchRequest::get(format!("v1beta/{job}"))
    }

    fn cancel(&self, job: &str) -> BatchRequest {
        BatchRequest::post(format!("v1beta/{job}:cancel"), "{}")
    }

    fn list(&self, after: Option<&str>) -> BatchRequest {
        let after = after.map(|token| format!("&pageToken={token}")).unwrap_or_default();
        BatchRequest { query: Some(format!("pageSize=100{after}")), ..BatchRequest::get("v1beta/batches") }
    }

    fn listed(&self, page: &Value) -> (Vec<BatchJob>, Option<String>) {
        let jobs = page["operations"].as_array().into_iter().flatten().filter_map(|job| self.job(job)).collect();
        (jobs, page["nextPageToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned))
    }

    fn job(&self, value: &Value) -> Option<BatchJob> {
        let id = value["name"].as_str()?.to_owned();
        let about = &value["metadata"];
        let word = about["state"].as_str().unwrap_or_default();
        let word = word.trim_start_matches("BATCH_STATE_").trim_start_matches("JOB_STATE_").to_ascii_lowercase();
        let is_done = value["done"] == true;
        let state = match word.as_str() {
            "succeeded" | "expired" => BatchState::Ended,
            "cancelled" => BatchState::Cancelled,
            "failed" => BatchState::Failed(failed(&value["error"])),
            _ if is_done && value["error"].is_object() => BatchState::Failed(failed(&value["error"])),
            _ if is_done => BatchState::Ended,
            _ => BatchState::Running,
        };
        let count = |name: &str| number(&about["batchStats"][name]);
        let results = if state == BatchState::Running { Vec::new() } else { vec![format!("v1beta/{id}")] };
        Some(BatchJob {
            id,
            state,
            word,
            done: count("successfulRequestCount") + count("failedRequestCount"),
            total: count("requestCount"),
            answered: count("successfulRequestCount"),
            marks: about["displayName"].as_str().map(str::to_owned).into_iter().collect(),
            created: time(&about["createTime"]),
            results,
        })
    }

    fn lines(&self) -> Option<Lines> {
        Some(results)
    }

    fn read(&self, line: &[u8]) -> Option<BatchResult> {
        let mut line: Value = serde_json::from_slice(line).ok()?;
        let id = line["metadata"]["key"].as_str().or(line["key"].as_str())?.to_owned();
        let (status, body) = match line["error"].is_object() {
            false => (200, line["response"].take()),
            true => match status(&line["error"]) {
                // The call was cancelled.
                499 => return Some((id, None)),
                status => (status, json!({ "error": line["error"] })),
            },
        };
        if body.is_null() {
            return Some((id, None));
        }
        let body = body.to_string();
        Some((id, Some(self.decode(Answer { status, retry_after: None, body: body.as_bytes() }))))
    }
}

/// The results inside an operation, one a line.
fn results(operation: &[u8]) -> Vec<u8> {
    let whole: Value = serde_json::from_slice(operation).unwrap_or_default();
    let places = ["/response/inlinedResponses", "/metadata/output/inlinedResponses"];
    let list = places.iter().filter_map(|place| whole.pointer(place));
    let found = list.filter_map(|list| list.as_array().or_else(|| list["inlinedResponses"].as_array())).next();
    let lines = found.into_iter().flatten().flat_map(|result| [result.to_string(), "\n".to_owned()]);
    lines.collect::<String>().into_bytes()
}

/// The status of a reply with this error, whose code may be one of gRPC. Source:
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.
fn status(error: &Value) -> u16 {
    match number(&error["code"]) {
        1 => 499,
        4 => 504,
        5 => 404,
        7 => 403,
        8 => 429,
        2 | 13 | 15 => 500,
        14 => 503,
        16 => 401,
        code @ 400..=599 => code as u16,
        _ => 400,
    }
}

fn failed(error: &Value) -> CallError {
    let said = error["message"].as_str().unwrap_or("the server does not say why");
    let kind = match status(error) {
        404 => CallErrorKind::Rejected,
        status => CallErrorKind::of_status(status, None),
    };
    CallError::new(kind, format!("the batch failed: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::structured_output::StructuredOutput;

    const WIRE: Gemini = Gemini { structured_output: StructuredOutput::JsonSchema };

    #[test]
    fn the_calls_are_in_the_request_for_their_model() {
        let call = crate::provider::Encoded { body: b"m\n{\"contents\":[]}".to_vec(), unsent: 2, keyed: 2 };
        let entry = WIRE.entry(&BatchCall { id: "a1".to_owned(), call });
        let request = WIRE.create("fanfold-1", "gemini-2.5-flash", None, &[entry]);
        assert_eq!(request.path, "v1beta/models/gemini-2.5-flash:batchGenerateContent");
        let calls = json!([{"request": {"contents": []}, "metadata": {"key": "a1"}}]);
        let expected = json!({"batch": {"displayName": "fanfold-1", "inputConfig": {"requests": {"requests": calls}}}});
        assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), expected);
    }

    #[test]
    fn an_operation_has_its_state_and_its_results() {
        let operation = json!({
            "name": "batches/123", "done": true,
            "metadata": {"displayName": "fanfold-1", "state": "BATCH_STATE_SUCCEEDED", "createTime": "2026-11-28T10:00:00Z",
                         "batchStats": {"requestCount": "3", "successfulRequestCount": "2", "failedRequestCount": "1"}},
            "response": {"inlinedResponses": {"inlinedResponses": [{"metadata": {"key": "b"}}, {"metadata": {"key": "a"}}]}},
        });
        let job = WIRE.job(&operation).unwrap();
        assert_eq!((job.state, job.word.as_str(), job.done, job.total), (BatchState::Ended, "succeeded", 3, 3));
        assert_eq!((job.marks, job.results), (vec!["fanfold-1".to_owned()], vec!["v1beta/batches/123".to_owned()]));
        assert_eq!(
            results(operation.to_string().as_bytes()),
            b"{\"metadata\":{\"key\":\"b\"}}\n{\"metadata\":{\"key\":\"a\"}}\n"
        );
        let state = |metadata: Value| WIRE.job(&json!({"name": "batches/1", "metadata": metadata})).unwrap().state;
        assert_eq!(state(json!({"state": "BATCH_STATE_PENDING"})), BatchState::Running);
        assert_eq!(state(json!({"state": "BATCH_STATE_EXPIRED"})), BatchState::Ended);
        assert_eq!(state(json!({"state": "BATCH_STATE_CANCELLED"})), BatchState::Cancelled);
        assert!(matches!(state(json!({"state": "BATCH_STATE_FAILED"})), BatchState::Failed(_)));
    }

    #[test]
    fn a_line_is_a_reply_an_error_or_a_call_that_was_not_tried() {
        let read = |line: Value| WIRE.read(line.to_string().as_bytes()).unwrap().1;
        let reply = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]});
        let key = json!({"key": "a"});
        assert_eq!(read(json!({"metadata": key, "response": reply})).unwrap().unwrap().text, "x");
        let kind = |code: u16| {
            read(json!({"metadata": key, "error": {"code": code, "message": "no"}})).unwrap().unwrap_err().kind
        };
        assert_eq!((kind(3), kind(400)), (CallErrorKind::Rejected, CallErrorKind::Rejected));
        assert!(matches!((kind(8), kind(13)), (CallErrorKind::RateLimited { .. }, CallErrorKind::ServerError { .. })));
        assert_eq!(read(json!({"metadata": key, "error": {"code": 1}})), None);
        assert_eq!(read(json!({"metadata": key})), None);
    }
}
