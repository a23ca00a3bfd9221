//! OpenAI's Batch API, which many servers copy: a file of calls, a job about it, and one or two files of results.
//!
//! Sources: <https://platform.openai.com/docs/guides/batch> and <https://platform.openai.com/docs/api-reference/batch>.
//! Pure.

use serde_json::{Value, json};

use super::OpenAi;
use crate::provider::answer::Answer;
use crate::provider::batch::{
    BatchCall, BatchJob, BatchLimits, BatchRequest, BatchResult, BatchState, BatchWire, body_of, listed_after, number,
    time, wrapped,
};
use crate::provider::failure::{CallError, CallErrorKind};
use crate::provider::wire::Wire;

/// What the calls of a job have as `url`, and the job as `endpoint`, whatever the base address.
const ENDPOINT: &str = "/v1/chat/completions";
/// The field of the metadata with the job's name.
const NAME: &str = "fanfold";
const BOUNDARY: &str = "fanfold-batch-9c1f0b6e5d2a4873";
/// The errors of calls that the server did not try.
const UNTRIED: [&str; 3] = ["batch_expired", "batch_cancelled", "batch_canceled"];

impl BatchWire for OpenAi {
    /// 50,000 requests and 200 MB. Some room is left for the frame of the upload.
    fn limits(&self) -> BatchLimits {
        BatchLimits { calls: 50_000, bytes: 195_000_000 }
    }

    fn entry(&self, call: &BatchCall) -> Vec<u8> {
        let before = format!(r#"{{"custom_id":"{}","method":"POST","url":"{ENDPOINT}","body":"#, call.id);
        wrapped(&before, body_of(call), "}")
    }

    /// Source: <https://platform.openai.com/docs/api-reference/files/create>.
    fn upload(&self, name: &str, entries: &[Vec<u8>]) -> Option<BatchRequest> {
        let part = |head: &str| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n");
        let mut body = format!("{}\r\nbatch\r\n", part("name=\"purpose\"")).into_bytes();
        let file = part(&format!("name=\"file\"; filename=\"{name}.jsonl\""));
        body.extend_from_slice(format!("{file}Content-Type: application/jsonl\r\n\r\n").as_bytes());
        body.reserve(entries.iter().map(|entry| entry.len() + 1).sum::<usize>() + 64);
        for entry in entries {
            body.extend_from_slice(entry);
            body.push(b'\n');
        }
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let content_type = Some(format!("multipart/form-data; boundary={BOUNDARY}"));
        Some(BatchRequest { content_type, ..BatchRequest::post("files", body) })
    }

    fn create(&self, name: &str, _: &str, file: Option<&str>, _: &[Vec<u8>]) -> BatchRequest {
        let body = json!({
            "input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": { NAME: name },
        });
        BatchRequest::post("batches", body.to_string())
    }

    fn look(&self, job: &str) -> BatchRequest {
        BatchRequest::get(format!("batches/{job}"))
    }

    fn cancel(&self, job: &str) -> BatchRequest {
        BatchRequest::post(format!("batches/{job}/cancel"), "{}")
    }

    fn list(&self, after: Option<&str>) -> BatchRequest {
        let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
        BatchRequest { query: Some(format!("limit=100{after}")), ..BatchRequest::get("batches") }
    }

    fn listed(&self, page: &Value) -> (Vec<BatchJob>, Option<String>) {
        listed_after(page, |job| self.job(job))
    }

    fn job(&self, value: &Value) -> Option<BatchJob> {
        let word = value["status"].as_str()?.to_owned();
        let state = match word.as_str() {
            "completed" | "expired" => BatchState::Ended,
            "cancelled" | "canceled" => BatchState::Cancelled,
            "failed" => BatchState::Failed(failed(&value["errors"])),
            _ => BatchState::Running,
        };
        let counts = &value["request_counts"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let marks = [&value["metadata"][NAME], &value["input_file_id"]];
        let results = [&value["output_file_id"], &value["error_file_id"]].into_iter().filter_map(text);
        Some(BatchJob {
            id: text(&value["id"])?,
            state,
            word,
            done: number(&counts["completed"]) + number(&counts["failed"]),
            total: number(&counts["total"]),
            answered: number(&counts["completed"]),
            marks: marks.into_iter().filter_map(text).collect(),
            created: time(&value["created_at"]),
            results: results.map(|file| format!("files/{file}/content")).collect(),
        })
    }

    fn read(&self, line: &[u8]) -> Option<BatchResult> {
        let line: Value = serde_json::from_slice(line).ok()?;
        let id = line["custom_id"].as_str()?.to_owned();
        let response = &line["response"];
        let code = line["error"]["code"].as_str().unwrap_or_default();
        if response["body"].is_null() && UNTRIED.contains(&code) {
            return Some((id, None));
        }
        let (status, body) = match response["body"].is_null() {
            true => (500, json!({ "error": line["error"] })),
            false => (response["status_code"].as_u64().unwrap_or(200) as u16, response["body"].clone()),
        };
        let body = body.to_string();
        Some((id, Some(self.decode(Answer { status, retry_after: None, body: body.as_bytes() }))))
    }
}

/// Why a whole job failed. The limit of tokens in the queue is one that recovers.
fn failed(errors: &Value) -> CallError {
    let first = &errors["data"][0];
    let code = first["code"].as_str().unwrap_or_default();
    let said = first["message"].as_str().unwrap_or("the server does not say why");
    let line = first["line"].as_u64().map(|line| format!(" (line {line})")).unwrap_or_default();
    let kind = match code {
        "token_limit_exceeded" | "rate_limit_exceeded" => CallErrorKind::RateLimited { retry_after: None },
        "billing_hard_limit_reached" | "insufficient_quota" => CallErrorKind::QuotaExhausted,
        _ => CallErrorKind::Rejected,
    };
    CallError::new(kind, format!("the batch failed{line}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::address::Address;
    use crate::provider::hosted::Dialect;
    use crate::provider::structured_output::StructuredOutput;

    fn wire() -> OpenAi {
        OpenAi::new(StructuredOutput::JsonSchema, &Address::parse("https://api.openai.com/v1").unwrap())
    }

    #[test]
    fn an_upload_is_a_form_with_one_line_for_each_call() {
        let call = crate::provider::Encoded { body: b"7\n{\"model\":\"m\"}".to_vec(), unsent: 2, keyed: 2 };
        let entry = wire().entry(&BatchCall { id: "a1".to_owned(), call });
        let line: Value = serde_json::from_slice(&entry).unwrap();
        let expected =
            json!({"custom_id": "a1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}});
        assert_eq!(line, expected);
        let upload = wire().upload("fanfold-1", &[entry.clone(), entry]).unwrap();
        let body = String::from_utf8(upload.body).unwrap();
        assert!(body.ends_with("--\r\n") && body.contains("name=\"purpose\"\r\n\r\nbatch\r\n"), "{body}");
        assert_eq!(body.matches("\"custom_id\":\"a1\"").count(), 2);
    }

    /// After the example of the API reference.
    #[test]
    fn a_job_has_its_state_its_files_and_its_name() {
        let value = json!({
            "id": "batch_abc123", "object": "batch", "endpoint": "/v1/chat/completions", "errors": null,
            "input_file_id": "file-abc123", "completion_window": "24h", "status": "completed",
            "output_file_id": "file-cvaTdG", "error_file_id": "file-HOWS94", "created_at": 1711471533,
            "request_counts": {"total": 100, "completed": 95, "failed": 5}, "metadata": {"fanfold": "fanfold-1"},
        });
        let job = wire().job(&value).unwrap();
        assert_eq!((job.state, job.done, job.total), (BatchState::Ended, 100, 100));
        assert_eq!(job.results, ["files/file-cvaTdG/content", "files/file-HOWS94/content"]);
        assert_eq!(
            (job.marks, job.created),
            (vec!["fanfold-1".to_owned(), "file-abc123".to_owned()], Some(1_711_471_533_000))
        );
        let state = |word: &str| wire().job(&json!({"id": "b", "status": word})).map(|job| job.state).unwrap();
        for word in ["validating", "in_progress", "finalizing", "cancelling", "a new word"] {
            assert_eq!(state(word), BatchState::Running);
        }
        assert_eq!((state("expired"), state("cancelled")), (BatchState::Ended, BatchState::Cancelled));
        let queue = json!({"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": null}]});
        let failed = wire().job(&json!({"id": "b", "status": "failed", "errors": queue})).map(|job| job.state).unwrap();
        assert!(
            matches!(failed, BatchState::Failed(CallError { kind: CallErrorKind::RateLimited { .. }, .. })),
            "{failed:?}"
        );
    }

    #[test]
    fn a_line_is_a_reply_an_error_or_a_call_that_was_not_tried() {
        let read = |line: Value| wire().read(line.to_string().as_bytes());
        let body = json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]});
        let (id, reply) =
            read(json!({"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": null})).unwrap();
        assert_eq!((id.as_str(), reply.unwrap().unwrap().text.as_str()), ("a", "x"));
        let refused = json!({"error": {"message": "bad schema", "type": "invalid_request_error"}});
        let (_, reply) = read(json!({"custom_id": "a", "response": {"status_code": 400, "body": refused}})).unwrap();
        assert_eq!(reply.unwrap().unwrap_err().kind, CallErrorKind::Rejected);
        for code in ["batch_expired", "batch_cancelled"] {
            let error = json!({"code": code, "message": "not in time"});
            assert_eq!(
                read(json!({"custom_id": "a", "response": null, "error": error})).unwrap(),
                ("a".to_owned(), None)
            );
        }
        let (_, reply) =
            read(json!({"custom_id": "a", "response": null, "error": {"code": "server_error", "message": "x"}}))
                .unwrap();
        assert!(matches!(reply.unwrap().unwrap_err().kind, CallErrorKind::ServerError { .. }));
        assert!(read(json!({"other": 1})).is_none() && wire().read(b"").is_none());
    }
}
