//! The batch endpoints of the scripted server: OpenAI's, Anthropic's and Gemini's.
//!
//! A job ends by its [`Course`]. Then each of its calls is answered as a chat request would be, with the header `x-batch`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::Request;
use super::{Dialect, Shared, chat};

/// How a job goes.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    /// The milliseconds until it ends.
    pub(crate) after_ms: u64,
    /// The calls that are not answered when it ends, by their place.
    pub(crate) misses: fn(usize) -> bool,
    /// The code and the message with which the whole job fails.
    pub(crate) fails: Option<(&'static str, &'static str)>,
    /// The job is made, but the connection breaks off before the answer.
    pub(crate) is_lost: bool,
    /// How often a page of HTML comes instead of the results.
    pub(crate) pages: usize,
    /// Whether a file of results of OpenAI's is not there.
    pub(crate) is_gone: bool,
}

impl Default for Course {
    fn default() -> Self {
        Course { after_ms: 0, misses: |_| false, fails: None, is_lost: false, pages: 0, is_gone: false }
    }
}

impl Course {
    /// Ends after this time.
    pub(crate) fn after(after_ms: u64) -> Course {
        Course { after_ms, ..Course::default() }
    }
}

/// A job, as the server knows it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) dialect: Dialect,
    /// The name that the client gave it; Anthropic's have none.
    pub(crate) name: String,
    /// The ids of its calls, in the order of the request.
    pub(crate) calls: Vec<String>,
    pub(crate) is_cancelled: bool,
    /// Whether the results were fetched.
    pub(crate) is_fetched: bool,
    /// When it was made.
    pub(crate) made: Instant,
    bodies: Vec<Value>,
    path: String,
    file: String,
    created: chrono::DateTime<chrono::Utc>,
    course: Course,
    results: Option<Vec<CallResult>>,
}

/// The name of a call, and the status and body of its answer, if it was answered.
type CallResult = (String, Option<(u16, Value)>);

type Script = dyn Fn(&Job, usize) -> Course + Send + Sync;

#[derive(Default)]
pub(super) struct Batches {
    state: Mutex<State>,
    pub(super) script: Option<Box<Script>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    jobs: Vec<Job>,
}

const PAGE_OF_HTML: &[u8] = b"<html><body>Please sign in.</body></html>";
/// A page of a list of jobs.
const PAGE: usize = 3;

/// What a request gets: a status and a body, or nothing if the connection breaks off.
pub(super) type Said = Option<(u16, Vec<u8>)>;

impl Batches {
    pub(super) fn jobs(&self) -> Vec<Job> {
        self.state.lock().expect("no panic while locked").jobs.clone()
    }

    /// Answers a request about batches; `None` for another request.
    pub(super) fn answer(&self, request: &Request, shared: &Shared) -> Option<Said> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let value = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
        let is_post = request.method == "POST";
        let said = |value: Value| Some(Some((200, value.to_string().into_bytes())));
        if path == "/v1/files" && is_post {
            return said(self.upload(request));
        }
        if let Some(id) = path.strip_prefix("/v1/files/").and_then(|rest| rest.strip_suffix("/content")) {
            return Some(Some((200, self.content(id, shared)?)));
        }
        let (dialect, rest) = if let Some(rest) = path.strip_prefix("/v1/batches") {
            (Dialect::OpenAi, rest)
        } else if let Some(rest) = path.strip_prefix("/v1/messages/batches") {
            (Dialect::Anthropic, rest)
        } else if let Some(rest) = path.strip_prefix("/v1beta/batches") {
            (Dialect::Gemini, rest)
        } else if let Some(path) = path.strip_suffix(":batchGenerateContent") {
            return Some(self.create(Dialect::Gemini, &format!("{path}:generateContent"), value()));
        } else {
            return None;
        };
        match (is_post, rest.trim_start_matches('/')) {
            (true, "") => Some(self.create(dialect, "", value())),
            (false, "") => said(self.list(dialect, query, shared)),
            (true, rest) => {
                let id = rest.trim_end_matches("/cancel").trim_end_matches(":cancel");
                said(self.about(id, shared, |job| job.is_cancelled = job.results.is_none())?)
            }
            (false, rest) => match rest.strip_suffix("/results") {
                Some(id) => Some(Some((200, self.results(id, shared)))),
                None => match self.about(rest, shared, |_| {}) {
                    Some(value) => said(value),
                    None => Some(Some((404, br#"{"error":{"message":"no such batch"}}"#.to_vec()))),
                },
            },
        }
    }

    fn upload(&self, request: &Request) -> Value {
        let body = String::from_utf8_lossy(&request.body);
        assert!(body.contains("name=\"purpose\"\r\n\r\nbatch\r\n"), "the purpose is missing");
        let file = body.split("name=\"file\"").nth(1).and_then(|part| part.split_once("\r\n\r\n")).expect("a file").1;
        let file = &file[..file.rfind("\r\n--").expect("an end")];
        let mut state = self.state.lock().expect("no panic while locked");
        let id = format!("file-{}", state.files.len());
        state.files.insert(id.clone(), file.as_bytes().to_vec());
        json!({"id": id, "object": "file", "purpose": "batch", "bytes": file.len()})
    }

    fn create(&self, dialect: Dialect, path: &str, body: Value) -> Said {
        let mut state = self.state.lock().expect("no panic while locked");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let file = text(&body["input_file_id"]);
        let (entries, name): (Vec<Value>, String) = match dialect {
            Dialect::OpenAi => {
                assert_eq!(
                    (&body["endpoint"], &body["completion_window"]),
                    (&json!("/v1/chat/completions"), &json!("24h"))
                );
                let lines = String::from_utf8_lossy(&state.files[&file]).into_owned();
                let lines = lines.lines().filter(|line| !line.is_empty());
                (
                    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect(),
                    text(&body["metadata"]["fanfold"]),
                )
            }
            Dialect::Anthropic => (body["requests"].as_array().expect("requests").clone(), String::new()),
            _ => {
                let requests = body.pointer("/batch/inputConfig/requests/requests").and_then(Value::as_array);
                (requests.expect("requests").clone(), text(&body["batch"]["displayName"]))
            }
        };
        let call = |entry: &Value| match dialect {
            Dialect::OpenAi => (text(&entry["custom_id"]), entry["body"].clone()),
            Dialect::Anthropic => (text(&entry["custom_id"]), entry["params"].clone()),
            _ => (text(&entry["metadata"]["key"]), entry["request"].clone()),
        };
        let (calls, bodies): (Vec<String>, Vec<Value>) = entries.iter().map(call).unzip();
        let path = match dialect {
            Dialect::OpenAi => "/v1/chat/completions",
            Dialect::Anthropic => "/v1/messages",
            _ => path,
        };
        let number = state.jobs.len();
        let id = if dialect == Dialect::Gemini { format!("batches/{number}") } else { format!("batch-{number}") };
        let mut job = Job {
            id,
            dialect,
            name,
            calls,
            is_cancelled: false,
            is_fetched: false,
            made: Instant::now(),
            bodies,
            path: path.to_owned(),
            file,
            created: chrono::Utc::now(),
            course: Course::default(),
            results: None,
        };
        job.course = self.script.as_ref().map_or_else(Course::default, |script| script(&job, number));
        let lost = job.course.is_lost;
        let said = job.about();
        state.jobs.push(job);
        (!lost).then(|| (200, said.to_string().into_bytes()))
    }

    fn about(&self, id: &str, shared: &Shared, change: impl Fn(&mut Job)) -> Option<Value> {
        let mut state = self.state.lock().expect("no panic while locked");
        let job = state.jobs.iter_mut().find(|job| job.id.trim_start_matches("batches/") == id)?;
        job.go_on(shared);
        change(job);
        job.go_on(shared);
        job.is_fetched |= job.dialect == Dialect::Gemini && job.results.is_some();
        Some(job.about())
    }

    fn list(&self, dialect: Dialect, query: &str, shared: &Shared) -> Value {
        let mut state = self.state.lock().expect("no panic while locked");
        state.jobs.iter_mut().for_each(|job| job.go_on(shared));
        let jobs: Vec<&Job> = state.jobs.iter().rev().filter(|job| job.dialect == dialect).collect();
        let field = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let after = field("after").or(field("after_id")).or(field("pageToken"));
        let start =
            after.map_or(0, |id| jobs.iter().position(|job| job.id == id).map_or(jobs.len(), |place| place + 1));
        let page: Vec<&&Job> = jobs.iter().skip(start).take(PAGE).collect();
        let more = start + page.len() < jobs.len();
        let last = page.last().map(|job| job.id.clone()).unwrap_or_default();
        let listed: Vec<Value> = page.iter().map(|job| job.about()).collect();
        match dialect {
            Dialect::Gemini => {
                json!({"operations": listed, "nextPageToken": if more { last } else { String::new() }})
            }
            _ => json!({"data": listed, "has_more": more, "last_id": last}),
        }
    }

    /// The lines of a file of OpenAI's: answers or errors, from the last call to the first.
    fn content(&self, id: &str, shared: &Shared) -> Option<Vec<u8>> {
        let (kind, id) = id.split_once('-')?;
        let mut state = self.state.lock().expect("no panic while locked");
        let job = state.jobs.iter_mut().find(|job| job.id == id)?;
        job.go_on(shared);
        if job.course.is_gone {
            return None;
        }
        if job.shows_page() {
            return Some(PAGE_OF_HTML.to_vec());
        }
        job.is_fetched = true;
        let expired = json!({"code": "batch_expired", "message": "This request could not be executed in time."});
        let lines = job.results.iter().flatten().rev().filter_map(|(id, result)| match (kind, result) {
            ("errors", None) => Some(json!({"id": "x", "custom_id": id, "response": null, "error": expired})),
            (_, None) => None,
            (kind, Some((status, body))) if (kind == "output") == (*status == 200) => {
                let response = json!({"status_code": status, "request_id": "r", "body": body});
                Some(json!({"id": "x", "custom_id": id, "response": response, "error": null}))
            }
            _ => None,
        });
        Some(lines.map(|line| format!("{line}\n")).collect::<String>().into_bytes())
    }

    /// Anthropic's results, from the last call to the first.
    fn results(&self, id: &str, shared: &Shared) -> Vec<u8> {
        let mut state = self.state.lock().expect("no panic while locked");
        let Some(job) = state.jobs.iter_mut().find(|job| job.id == id) else { return Vec::new() };
        job.go_on(shared);
        if job.shows_page() {
            return PAGE_OF_HTML.to_vec();
        }
        job.is_fetched = true;
        let untried = if job.is_cancelled { "canceled" } else { "expired" };
        let lines = job.results.iter().flatten().rev().map(|(id, result)| {
            let result = match result {
                None => json!({"type": untried}),
                Some((200, body)) => json!({"type": "succeeded", "message": body}),
                Some((status, body)) => {
                    let kind = if *status >= 500 { "api_error" } else { "invalid_request_error" };
                    let error = json!({"type": kind, "message": body["error"]["message"]});
                    json!({"type": "errored", "error": {"type": "error", "error": error}})
                }
            };
            format!("{}\n", json!({"custom_id": id, "result": result}))
        });
        lines.collect::<String>().into_bytes()
    }
}

impl Job {
    /// Whether a page comes instead of the results this time.
    fn shows_page(&mut self) -> bool {
        let left = self.course.pages;
        self.course.pages = left.saturating_sub(1);
        left > 0
    }

    /// The calls that have an answer.
    pub(crate) fn answered(&self) -> impl Iterator<Item = &String> {
        let answered = self.results.iter().flatten().filter(|(_, result)| result.is_some());
        answered.map(|(id, _)| id)
    }

    /// Answers the calls when it is time.
    fn go_on(&mut self, shared: &Shared) {
        let is_due = self.made.elapsed() >= Duration::from_millis(self.course.after_ms) || self.is_cancelled;
        if self.results.is_some() || !is_due {
            return;
        }
        if self.course.fails.is_some() {
            self.results = Some(Vec::new());
            return;
        }
        let answered = |place: usize| !(self.course.misses)(place) && (!self.is_cancelled || place.is_multiple_of(2));
        let results = self.calls.iter().zip(&self.bodies).enumerate().map(|(place, (id, body))| {
            let result = answered(place).then(|| self.ask(body, shared)).flatten();
            (id.clone(), result)
        });
        self.results = Some(results.collect());
    }

    fn ask(&self, body: &Value, shared: &Shared) -> Option<(u16, Value)> {
        let headers = vec![("x-batch".to_owned(), self.id.clone())];
        let body = body.to_string().into_bytes();
        let request = Request { method: "POST".to_owned(), path: self.path.clone(), headers, body };
        let mut reply = Vec::new();
        chat(self.dialect, &request, shared, &mut reply).ok()?;
        let reply = String::from_utf8_lossy(&reply).into_owned();
        let (head, body) = reply.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_else(|_| json!({"error": {"message": body}}))))
    }

    fn about(&self) -> Value {
        let has_ended = self.results.is_some();
        let all = self.calls.len();
        let count = |is: fn(&Option<(u16, Value)>) -> bool| {
            self.results.iter().flatten().filter(|(_, result)| is(result)).count()
        };
        let good = count(|result| result.as_ref().is_some_and(|(status, _)| *status == 200));
        let bad = count(|result| result.as_ref().is_some_and(|(status, _)| *status != 200));
        let untried = if has_ended { all - good - bad } else { 0 };
        let is_partial = untried > 0 && self.course.fails.is_none();
        match self.dialect {
            Dialect::OpenAi => {
                let status = match (has_ended, self.course.fails, self.is_cancelled) {
                    (false, ..) => "in_progress",
                    (_, Some(_), _) => "failed",
                    (_, _, true) => "cancelled",
                    _ if is_partial => "expired",
                    _ => "completed",
                };
                let errors = self.course.fails.map(|(code, message)| {
                    json!({"object": "list", "data": [{"code": code, "message": message, "line": null, "param": null}]})
                });
                let file = |kind: &str, there: bool| there.then(|| format!("{kind}-{}", self.id));
                json!({
                    "id": self.id, "object": "batch", "endpoint": "/v1/chat/completions", "errors": errors,
                    "input_file_id": self.file, "completion_window": "24h", "status": status,
                    "output_file_id": file("output", good > 0), "error_file_id": file("errors", bad + untried > 0 && has_ended && self.course.fails.is_none()),
                    "created_at": self.created.timestamp(), "metadata": {"fanfold": self.name},
                    "request_counts": {"total": all, "completed": good, "failed": bad},
                })
            }
            Dialect::Anthropic => {
                let waiting = if has_ended { 0 } else { all };
                let (expired, canceled) = if self.is_cancelled { (0, untried) } else { (untried, 0) };
                json!({
                    "id": self.id, "type": "message_batch",
                    "processing_status": if has_ended { "ended" } else { "in_progress" },
                    "request_counts": {"processing": waiting, "succeeded": good, "errored": bad, "canceled": canceled,
                                       "expired": expired},
                    "created_at": self.created.to_rfc3339(), "results_url": null,
                    "cancel_initiated_at": self.is_cancelled.then(|| self.created.to_rfc3339()),
                })
            }
            _ => self.operation(has_ended, good, bad),
        }
    }

    /// Gemini's operation, with the results from the last call to the first.
    fn operation(&self, has_ended: bool, good: usize, bad: usize) -> Value {
        let state = match (has_ended, self.course.fails, self.is_cancelled) {
            (false, ..) => "RUNNING",
            (_, Some(_), _) => "FAILED",
            (_, _, true) => "CANCELLED",
            _ if good + bad < self.calls.len() => "EXPIRED",
            _ => "SUCCEEDED",
        };
        let all = self.calls.len();
        let mut operation = json!({
            "name": self.id, "done": has_ended,
            "metadata": {
                "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
                "displayName": self.name, "createTime": self.created.to_rfc3339(), "state": format!("BATCH_STATE_{state}"),
                "batchStats": {"requestCount": all.to_string(), "successfulRequestCount": good.to_string(),
                               "failedRequestCount": bad.to_string()},
            },
        });
        if let Some((_, message)) = self.course.fails.filter(|_| has_ended) {
            operation["error"] = json!({"code": 3, "message": message});
        } else if has_ended {
            let results = self.results.iter().flatten().rev().filter_map(|(id, result)| {
                let (status, body) = result.as_ref()?;
                let metadata = json!({"key": id});
                Some(match status {
                    200 => json!({"metadata": metadata, "response": body}),
                    _ => {
                        let error = json!({"code": status, "message": body["error"]["message"]});
                        json!({"metadata": metadata, "error": error})
                    }
                })
            });
            operation["response"] = json!({"inlinedResponses": {"inlinedResponses": results.collect::<Vec<_>>()}});
        }
        operation
    }
}
