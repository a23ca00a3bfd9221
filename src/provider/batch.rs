//! Batches: jobs of many calls, which a server answers within a day at a lower price.
//!
//! A dialect is a [`BatchWire`] of pure functions; [`BatchClient`] sends what it encodes. Each call of a job has an id
//! that the client makes. The server repeats it beside the reply, whose place in the results means nothing.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use super::address::Address;
use super::answer::Answer;
use super::call::{Encoded, Reply};
use super::failure::{CallError, CallErrorKind};
use super::fault::Fault;
use super::http::{Http, Received, Transfer};

/// The deadline for sending a job, and for the results of one.
const TRANSFER: Duration = Duration::from_secs(3600);
/// A job with its results may be one document.
const LONGEST: usize = 1 << 30;
const LOOK: Duration = Duration::from_secs(120);
/// The most pages of a list of jobs that are read. The newest jobs come first.
const PAGES: usize = 10;

/// A call of a job.
#[derive(Debug)]
pub(crate) struct BatchCall {
    /// At most 64 letters, digits, `-` and `_`.
    pub(crate) id: String,
    pub(crate) call: Encoded,
}

/// The most of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    pub(crate) calls: usize,
    pub(crate) bytes: usize,
}

/// A job as the server describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BatchJob {
    pub(crate) id: String,
    pub(crate) state: BatchState,
    /// The server's word for the state.
    pub(crate) word: String,
    /// The calls that have ended, and all calls; 0 if they are not counted.
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// The calls that have a reply; 0 if they are not counted.
    pub(crate) answered: u64,
    /// The name that the client gave the job, or the file with its calls.
    pub(super) marks: Vec<String>,
    /// In milliseconds since 1970.
    pub(super) created: Option<i64>,
    /// The pages with the results, which exist when the job has ended.
    pub(super) results: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BatchState {
    Running,
    /// Some calls may have no reply.
    Ended,
    Cancelled,
    /// No call has a reply.
    Failed(CallError),
}

/// What the client knows about a job whose id it does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostJob<'a> {
    pub(crate) name: &'a str,
    pub(crate) file: Option<&'a str>,
    pub(crate) calls: u64,
    /// The time in milliseconds since 1970.
    pub(crate) created: i64,
    /// The jobs that belong to other names.
    pub(crate) known: &'a [String],
}

/// A request: its path below the base address, its query and its body.
#[derive(Debug, Default, PartialEq)]
pub(super) struct BatchRequest {
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) body: Vec<u8>,
    /// The type of the body, if it is not JSON.
    pub(super) content_type: Option<String>,
}

impl BatchRequest {
    pub(super) fn get(path: impl Into<String>) -> Self {
        BatchRequest { path: path.into(), ..BatchRequest::default() }
    }

    pub(super) fn post(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        BatchRequest { path: path.into(), body: body.into(), ..BatchRequest::default() }
    }
}

/// One result: the id of its call, and the reply. Without a reply, the call was not answered and may be sent again.
pub(crate) type BatchResult = (String, Option<Result<Reply, CallError>>);

/// Makes lines of a document.
pub(super) type Lines = fn(&[u8]) -> Vec<u8>;

pub(super) trait BatchWire: Send + Sync {
    fn limits(&self) -> BatchLimits;

    /// The bytes that a call adds to a job.
    fn entry(&self, call: &BatchCall) -> Vec<u8>;

    /// The request that uploads the file with the calls, if the protocol has one.
    fn upload(&self, _name: &str, _entries: &[Vec<u8>]) -> Option<BatchRequest> {
        None
    }

    /// The request that makes a job of the uploaded file, or of the calls. All are to the same model.
    fn create(&self, name: &str, model: &str, file: Option<&str>, entries: &[Vec<u8>]) -> BatchRequest;

    fn look(&self, job: &str) -> BatchRequest;

    fn cancel(&self, job: &str) -> BatchRequest;

    /// A page of the list of jobs, the newest first; `after` is what the page before it said.
    fn list(&self, after: Option<&str>) -> BatchRequest;

    /// The jobs of a page, and where the next page begins.
    fn listed(&self, page: &Value) -> (Vec<BatchJob>, Option<String>);

    fn job(&self, value: &Value) -> Option<BatchJob>;

    /// Whether a job of the list is the lost one.
    fn is_it(&self, job: &BatchJob, lost: LostJob<'_>) -> bool {
        job.marks.iter().any(|mark| mark == lost.name || Some(mark.as_str()) == lost.file)
    }

    /// The results of a page as lines, if a page is one document.
    fn lines(&self) -> Option<Lines> {
        None
    }

    fn read(&self, line: &[u8]) -> Option<BatchResult>;
}

/// The batch endpoint of a server.
pub(crate) struct BatchClient<'a> {
    pub(super) wire: &'a dyn BatchWire,
    pub(super) http: &'a Http,
    pub(super) address: &'a Address,
    pub(super) unreachable: String,
}

impl BatchClient<'_> {
    pub(crate) fn limits(&self) -> BatchLimits {
        self.wire.limits()
    }

    pub(crate) fn entry(&self, call: &BatchCall) -> Vec<u8> {
        self.wire.entry(call)
    }

    /// Uploads the calls. Returns the id of the file; `None` if the protocol has no files.
    pub(crate) async fn upload(&self, name: &str, entries: &[Vec<u8>]) -> Result<Option<String>, CallError> {
        let Some(request) = self.wire.upload(name, entries) else { return Ok(None) };
        let answer: Value = self.ask(request, TRANSFER).await?;
        match answer["id"].as_str() {
            Some(id) => Ok(Some(id.to_owned())),
            None => Err(self.unreadable("an uploaded file")),
        }
    }

    pub(crate) async fn create(
        &self,
        (name, model): (&str, &str),
        file: Option<&str>,
        entries: &[Vec<u8>],
    ) -> Result<BatchJob, CallError> {
        let answer = self.ask(self.wire.create(name, model, file, entries), TRANSFER).await?;
        self.wire.job(&answer).ok_or_else(|| self.unreadable("a new batch"))
    }

    /// The present state of a job; `None` if the server does not know it.
    pub(crate) async fn look(&self, job: &str) -> Result<Option<BatchJob>, CallError> {
        let received = self.exchange(self.wire.look(job), LOOK).await?;
        if received.answer().is_missing() {
            return Ok(None);
        }
        let answer = self.json(&received)?;
        self.wire.job(&answer).map(Some).ok_or_else(|| self.unreadable("a batch"))
    }

    pub(crate) async fn cancel(&self, job: &str) -> Result<(), CallError> {
        self.ask(self.wire.cancel(job), LOOK).await.map(drop)
    }

    /// Looks for a job whose id is not known.
    pub(crate) async fn find(&self, lost: LostJob<'_>) -> Result<Option<BatchJob>, CallError> {
        let mut after = None;
        for _ in 0..PAGES {
            let page = self.ask(self.wire.list(after.as_deref()), LOOK).await?;
            let (jobs, next) = self.wire.listed(&page);
            let mut jobs = jobs.into_iter().filter(|job| !lost.known.contains(&job.id));
            if let Some(found) = jobs.find(|job| self.wire.is_it(job, lost)) {
                return Ok(Some(found));
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(None)
    }

    /// Writes the results of a job, one a line.
    pub(crate) async fn download(&self, job: &BatchJob, out: &mut (dyn Write + Send)) -> Result<(), CallError> {
        for page in &job.results {
            let unreachable = || self.unreachable.clone();
            let mut body =
                self.http.body(self.address.join(page), TRANSFER, unreachable).await.map_err(|e| self.clean(e))?;
            let mut whole = Vec::new();
            while let Some(bytes) = body.next().await.map_err(|error| self.clean(error))? {
                match self.wire.lines() {
                    Some(_) => whole.extend_from_slice(bytes.as_ref()),
                    None => out.write_all(bytes.as_ref()).map_err(unwritten)?,
                }
            }
            let rest = self.wire.lines().map_or_else(|| b"\n".to_vec(), |lines| lines(&whole));
            out.write_all(&rest).map_err(unwritten)?;
        }
        Ok(())
    }

    /// Reads a line of the results; `None` for a line that is not one.
    pub(crate) fn read(&self, line: &[u8]) -> Option<BatchResult> {
        let (id, reply) = self.wire.read(line)?;
        Some((id, reply.map(|reply| reply.map_err(|error| self.clean(error)))))
    }

    async fn exchange(&self, request: BatchRequest, deadline: Duration) -> Result<Received, CallError> {
        let mut url = self.address.join(&request.path);
        if let Some(query) = request.query {
            let own = url.query().map(|own| format!("&{own}")).unwrap_or_default();
            url.set_query(Some(&format!("{query}{own}")));
        }
        let json = || "application/json".to_owned();
        let body = (!request.body.is_empty()).then(|| (request.content_type.unwrap_or_else(json), request.body));
        let request = Transfer { url, body, deadline, most: LONGEST };
        self.http.transfer(request, || self.unreachable.clone()).await.map_err(|error| self.clean(error))
    }

    fn clean(&self, error: CallError) -> CallError {
        self.http.clean(error)
    }

    async fn ask(&self, request: BatchRequest, deadline: Duration) -> Result<Value, CallError> {
        let received = self.exchange(request, deadline).await?;
        self.json(&received)
    }

    fn json(&self, received: &Received) -> Result<Value, CallError> {
        let answer = received.answer();
        let read = match answer.is_success() {
            true => answer.json(),
            false if answer.is_missing() => Err(self.missing(answer)),
            false => Err(Fault::error_of(answer)),
        };
        read.map_err(|error| self.clean(error))
    }

    fn missing(&self, answer: Answer<'_>) -> CallError {
        let said = Fault::error_of(answer);
        let message = format!("{} has no endpoint for batches ({}); leave `batch` out", self.address, said.message);
        CallError::raw(CallErrorKind::Rejected, message)
    }

    fn unreadable(&self, what: &str) -> CallError {
        let message = format!("the server's answer about {what} is not what the protocol says");
        self.clean(CallError::raw(CallErrorKind::Malformed, message))
    }
}

fn unwritten(error: std::io::Error) -> CallError {
    CallError::new(CallErrorKind::Malformed, format!("the results of a batch can't be written: {error}"))
}

/// A list in JSON of values that are JSON already.
pub(super) fn list(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut list = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 1).sum::<usize>() + 2);
    list.push(b'[');
    for (number, entry) in entries.iter().enumerate() {
        if number > 0 {
            list.push(b',');
        }
        list.extend_from_slice(entry);
    }
    list.push(b']');
    list
}

/// An object in JSON with one field whose value is JSON already.
pub(super) fn wrapped(before: &str, body: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), body, after.as_bytes()].concat()
}

/// The body of a call as it is sent.
pub(super) fn body_of(call: &BatchCall) -> &[u8] {
    &call.call.body[call.call.unsent..]
}

/// A number that may be written as a text.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// A time in milliseconds since 1970, from seconds or from RFC 3339.
pub(super) fn time(value: &Value) -> Option<i64> {
    let text = || Some(chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok()?.timestamp_millis());
    value.as_i64().map(|seconds| seconds * 1000).or_else(text)
}
/// The jobs of a page of a list whose next page begins after the last id, and this id if there is one.
pub(super) fn listed_after(page: &Value, job: impl Fn(&Value) -> Option<BatchJob>) -> (Vec<BatchJob>, Option<String>) {
    let jobs: Vec<BatchJob> = page["data"].as_array().into_iter().flatten().filter_map(job).collect();
    let next = jobs.last().map(|job| job.id.clone()).filter(|_| page["has_more"] == true);
    (jobs, next)
}
