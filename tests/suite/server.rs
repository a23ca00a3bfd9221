//! A model server that does as a test says: the dialects of all providers over plain sockets, and a record of it all.
//!
//! `Server::new().latency_ms(5).script(|request, attempt| Say::Text("yes".into())).start()`. Without a script it gives
//! [`answer`], a function of the model, its build, the question and the schema alone. [`Builder::ollama`] adds Ollama's
//! scheduler. With [`Builder::forward_to`] it is a proxy that only counts. Knows nothing of the project; a new kind of fault is a variant of [`Say`] and an arm in [`reply`].

mod answer;
mod batch;
mod dialect;
mod http;
mod scheduler;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use answer::{answer, hash};
use batch::Batches;
pub(crate) use batch::{Course, Job};
pub(crate) use dialect::{Dialect, embedded, vector, with_vectors};
use dialect::{about, in_dialect, wrong_key};
pub(crate) use http::read_request;
use http::{Request, forward, send};
pub(crate) use scheduler::Settings as Ollama;
use scheduler::{Scheduler, Wanted};

/// One chat request, as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its number, from 0, in the order of arrival.
    pub(crate) number: usize,
    /// The protocol.
    pub(crate) dialect: Dialect,
    /// The path, with the query if there is one.
    pub(crate) path: String,
    /// The model that was asked.
    pub(crate) model: String,
    /// Role and text of each message.
    pub(crate) messages: Vec<(String, String)>,
    /// The JSON Schema, if one was sent.
    pub(crate) schema: Option<Value>,
    /// The whole body.
    pub(crate) body: Value,
    /// What the digest of the model ended with.
    pub(crate) digest: String,
    /// The context of an Ollama, in tokens.
    pub(crate) context: Option<u64>,
    /// The headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// When it had arrived.
    pub(crate) arrived: Instant,
    /// When a good answer had been written back; `None`: not yet, or it was a failure.
    pub(crate) answered: Option<Instant>,
}

impl Asked {
    /// The first thing the user said: the same when a row is asked again with a reason.
    pub(crate) fn question(&self) -> &str {
        self.messages.iter().find(|(role, _)| role == "user").map_or("", |(_, text)| text)
    }

    /// Everything that can change the answer, as one text: two requests with the same are the same call.
    pub(crate) fn call(&self) -> String {
        let mut body = self.body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("keep_alive");
        }
        body.to_string()
    }

    /// The tokens of the prompt, as the server counts them.
    pub(crate) fn tokens(&self) -> u64 {
        self.messages.iter().map(|(_, text)| text.len().div_ceil(4) as u64).sum()
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What the server does about a request.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Answers with this text.
    Text(String),
    /// Answers with this value as its text.
    Json(Value),
    /// Answers by [`answer`].
    Default,
    /// Answers with this text, which was cut off by `max_tokens`.
    Truncated(String),
    /// Says that the reply was withheld.
    Filtered,
    /// An HTTP error (or any other status), with this Retry-After and body.
    Status { code: u16, retry_after: Option<String>, body: String },
    /// Closes the connection before it answers.
    Reset,
    /// Says nothing for this many milliseconds, then closes the connection.
    Hang(u64),
    /// Promises more bytes than it sends, then closes the connection.
    CutBody,
    /// Status 200 with these bytes.
    RawBody(Vec<u8>),
    /// Status 200 in the right dialect, without an answer in it.
    EmptyChoices,
    /// Waits this many milliseconds, then says this.
    Late(u64, Box<Say>),
    /// Says this after all models got new builds, whose digests end with this.
    Rebuilt(&'static str, Box<Say>),
}

impl Say {
    /// An HTTP error without more.
    pub(crate) fn status(code: u16) -> Say {
        Say::Status {
            code,
            retry_after: None,
            body: json!({"error": {"message": format!("status {code}")}}).to_string(),
        }
    }

    /// 429 with Retry-After.
    pub(crate) fn rate_limited(retry_after: &str) -> Say {
        Say::Status {
            code: 429,
            retry_after: Some(retry_after.to_owned()),
            body: r#"{"error":{"message":"slow down"}}"#.into(),
        }
    }
}

type Script = dyn Fn(&Asked, usize) -> Say + Send + Sync;

/// A server that is not started yet.
pub(crate) struct Builder {
    latency: Duration,
    models: Vec<String>,
    script: Option<Box<Script>>,
    upstream: Option<String>,
    keys: Vec<String>,
    ollama: Option<Ollama>,
    batches: Batches,
}

impl Builder {
    /// How each batch goes; the number counts from 0. Without this, it ends at once.
    pub(crate) fn batches(mut self, script: impl Fn(&Job, usize) -> Course + Send + Sync + 'static) -> Self {
        self.batches.script = Some(Box::new(script));
        self
    }

    /// Loads and unloads models as Ollama does, and takes that time.
    pub(crate) fn ollama(mut self, settings: Ollama) -> Self {
        self.ollama = Some(settings);
        self
    }

    /// Every answer takes at least so long.
    pub(crate) fn latency_ms(mut self, ms: u64) -> Self {
        self.latency = Duration::from_millis(ms);
        self
    }

    /// The models it has; others are 404. Without this: `llama3.2` and `mistral`.
    pub(crate) fn models(mut self, names: &[&str]) -> Self {
        self.models = names.iter().map(|&n| n.to_owned()).collect();
        self
    }

    /// What it says to each request; `attempt` counts from 1 per model and question.
    pub(crate) fn script(mut self, script: impl Fn(&Asked, usize) -> Say + Send + Sync + 'static) -> Self {
        self.script = Some(Box::new(script));
        self
    }

    /// The keys that it knows; without one of them, in the header of the dialect, nothing is answered.
    pub(crate) fn keys(mut self, keys: &[&str]) -> Self {
        self.keys = keys.iter().map(|&key| key.to_owned()).collect();
        self
    }

    /// Passes everything on to the server at this address (`http://host:port`) and its replies back.
    pub(crate) fn forward_to(mut self, address: &str) -> Self {
        self.upstream = Some(address.trim_start_matches("http://").trim_end_matches('/').to_owned());
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    pub(crate) fn start(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port");
        let shared = Arc::new(Shared {
            build: Mutex::default(),
            latency: self.latency,
            models: Mutex::new(self.models),
            scheduler: self.ollama.map(Scheduler::new),
            batches: self.batches,
            script: self.script,
            upstream: self.upstream,
            keys: self.keys,
            stopped: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let thread = Mutex::new(Some(listening(listener, &shared)));
        Server { address, shared, thread }
    }
}

/// What it says of the builds of its models beside their names.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    /// What all digests end with.
    pub(crate) digest: String,
    /// The quantisation.
    pub(crate) quantization: String,
    /// The chat template.
    pub(crate) template: String,
    /// The version of the server.
    pub(crate) version: String,
    /// The system text of the models' Modelfile; may be empty.
    pub(crate) system: String,
    /// The parameters of the models' Modelfile, one a line; may be empty.
    pub(crate) parameters: String,
}

impl Default for Build {
    fn default() -> Self {
        let (quantization, template) = ("Q4_K_M".to_owned(), "{{ .Prompt }}".to_owned());
        let (version, system, parameters) = ("0.12.0".to_owned(), String::new(), String::new());
        Build { digest: String::new(), quantization, template, version, system, parameters }
    }
}

/// What all connections share.
struct Shared {
    build: Mutex<Build>,
    latency: Duration,
    models: Mutex<Vec<String>>,
    scheduler: Option<Scheduler>,
    batches: Batches,
    script: Option<Box<Script>>,
    upstream: Option<String>,
    keys: Vec<String>,
    stopped: AtomicBool,
    seen: Mutex<Seen>,
}

/// What the server saw so far.
#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    attempts: HashMap<(String, String), usize>,
    in_flight: usize,
    max_in_flight: usize,
    switches: usize,
    streams: Vec<TcpStream>,
}

/// A running server; it stops when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Server {
    /// A server to be told what to do and started.
    #[expect(clippy::new_ret_no_self, reason = "reads well in a test: Server::new().latency_ms(5).start()")]
    pub(crate) fn new() -> Builder {
        let models = vec!["llama3.2".to_owned(), "mistral".to_owned()];
        Builder {
            latency: Duration::ZERO,
            models,
            script: None,
            upstream: None,
            keys: Vec::new(),
            ollama: None,
            batches: Batches::default(),
        }
    }

    /// Its address without a path: the `base_url` for Ollama.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `base_url` for OpenAI.
    pub(crate) fn openai_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// Every chat request so far, in the order of arrival.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen(|seen| seen.asked.clone())
    }

    /// Every batch so far, in the order of arrival.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        self.shared.batches.jobs()
    }

    /// The requests that did not come in batches.
    pub(crate) fn direct(&self) -> usize {
        self.seen(|seen| seen.asked.iter().filter(|asked| asked.header("x-batch").is_none()).count())
    }

    /// How many chat requests came.
    pub(crate) fn requests(&self) -> usize {
        self.seen(|seen| seen.asked.len())
    }

    /// How many of them this model got.
    pub(crate) fn requests_of(&self, model: &str) -> usize {
        self.seen(|seen| seen.asked.iter().filter(|a| a.model == model).count())
    }

    /// How many were answered well.
    pub(crate) fn answered(&self) -> usize {
        self.seen(|seen| seen.asked.iter().filter(|a| a.answered.is_some()).count())
    }

    /// The most requests that were being answered at one moment.
    pub(crate) fn max_in_flight(&self) -> usize {
        self.seen(|seen| seen.max_in_flight)
    }

    /// How often a request was for another model than the one before it.
    pub(crate) fn model_switches(&self) -> usize {
        self.seen(|seen| seen.switches)
    }

    /// How often each call was asked, by [`Asked::call`].
    pub(crate) fn times_asked(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for asked in self.asked() {
            *times.entry(asked.call()).or_default() += 1;
        }
        times
    }

    /// The questions of calls that were asked again although a good answer had been given before `before`.
    pub(crate) fn paid_twice(&self, before: Instant) -> Vec<String> {
        let asked = self.asked();
        let mut done: HashMap<String, Instant> = HashMap::new();
        let mut twice = Vec::new();
        for request in &asked {
            let call = request.call();
            if done.get(&call).is_some_and(|&at| at < before && at < request.arrived) {
                twice.push(request.question().to_owned());
            }
            if let Some(at) = request.answered {
                let first = done.entry(call).or_insert(at);
                *first = at.min(*first);
            }
        }
        twice
    }

    /// Waits until this many requests were answered well; returns whether it came to that within 120 seconds.
    pub(crate) fn wait_answered(&self, count: usize) -> bool {
        self.wait(|seen| seen.asked.iter().filter(|a| a.answered.is_some()).count() >= count)
    }

    /// Waits until this many requests came; returns whether it came to that within 120 seconds.
    pub(crate) fn wait_requests(&self, count: usize) -> bool {
        self.wait(|seen| seen.asked.len() >= count)
    }

    fn wait(&self, reached: impl Fn(&Seen) -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(120);
        while Instant::now() < end {
            if self.seen(&reached) {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// Replaces the builds of its models, as `ollama pull` does.
    pub(crate) fn rebuild(&self, change: impl FnOnce(&mut Build)) {
        change(&mut self.shared.build.lock().expect("no panic while locked"));
    }

    /// Removes a model, as `ollama rm` does.
    pub(crate) fn remove(&self, model: &str) {
        self.shared.models.lock().expect("no panic while locked").retain(|known| known != model);
    }

    /// The models that were loaded so far, in order, each with its context. Needs [`Builder::ollama`].
    pub(crate) fn loads(&self) -> Vec<(String, u64)> {
        self.shared.scheduler.as_ref().map(Scheduler::loads).unwrap_or_default()
    }

    /// Ends as a killed process does: connections break off, and new ones are refused.
    pub(crate) fn go_down(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees the flag.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.lock().expect("no panic while locked").take() {
            drop(thread.join());
        }
        for stream in self.shared.seen.lock().expect("no panic while locked").streams.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Starts again at the same address.
    pub(crate) fn come_back(&self) {
        let listener = TcpListener::bind(self.address).expect("the port is free again");
        self.shared.stopped.store(false, Ordering::SeqCst);
        *self.thread.lock().expect("no panic while locked") = Some(listening(listener, &self.shared));
    }

    /// Forgets what it saw; requests under way are not counted any more.
    pub(crate) fn forget(&self) {
        let mut seen = self.shared.seen.lock().expect("no panic while locked");
        let in_flight = seen.in_flight;
        seen.asked.clear();
        seen.attempts.clear();
        (seen.max_in_flight, seen.switches) = (in_flight, 0);
    }

    fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.seen.lock().expect("no panic while locked"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn listening(listener: TcpListener, shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || listen(&listener, &shared))
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        drop(stream.set_nodelay(true));
        if let Ok(copy) = stream.try_clone() {
            shared.seen.lock().expect("no panic while locked").streams.push(copy);
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            drop(converse(&stream, &shared));
            drop(stream.shutdown(Shutdown::Both));
        });
    }
}

/// Answers the requests of one connection until it ends.
fn converse(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        let path = request.path.split('?').next().unwrap_or_default();
        let dialect = Dialect::of(&request.method, path);
        if let Some((code, body)) = wrong_key(&request, path, &shared.keys) {
            send(&mut writer, code, None, body.to_string().as_bytes())?;
            continue;
        }
        if let Some(said) = shared.batches.answer(&request, shared) {
            let Some((code, body)) = said else { break };
            send(&mut writer, code, None, &body)?;
            continue;
        }
        let stays_open = match (dialect, &shared.upstream) {
            (None, Some(upstream)) => forward(upstream, &request, &mut writer)?.is_some(),
            (None, None) => {
                let models = shared.models.lock().expect("no panic while locked").clone();
                let (code, body) = match &shared.scheduler {
                    Some(scheduler) if path == "/api/ps" => (200, scheduler.ps()),
                    _ if changes(&request, path, shared) => (200, json!({"status": "success"})),
                    _ => about(&request, path, &models, &shared.build.lock().expect("no panic while locked")),
                };
                send(&mut writer, code, None, body.to_string().as_bytes())?;
                true
            }
            (Some(dialect), _) => chat(dialect, &request, shared, &mut writer)?,
        };
        if !stays_open {
            break;
        }
    }
    Ok(())
}

/// Makes, copies or deletes a model, as Ollama does, if that is asked.
fn changes(request: &Request, path: &str, shared: &Shared) -> bool {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let name = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let mut models = shared.models.lock().expect("no panic while locked");
    let new = match path {
        "/api/create" => {
            shared.build.lock().expect("no panic while locked").digest = format!("{:04x}", hash(&[&name("system")]));
            name("model")
        }
        "/api/copy" => name("destination"),
        "/api/delete" => {
            models.retain(|known| *known != name("model"));
            return true;
        }
        _ => return false,
    };
    if !models.contains(&new) {
        models.push(new);
    }
    true
}

/// Notes a chat request, does what the script says, and returns whether the connection stays open.
fn chat(dialect: Dialect, request: &Request, shared: &Shared, writer: &mut impl Write) -> std::io::Result<bool> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let (asked, attempt) = note(dialect, request, body, shared);
    let result = if let Some(upstream) = &shared.upstream {
        forward(upstream, request, writer).map(|status| (status.is_some(), status == Some(200)))
    } else if !shared
        .models
        .lock()
        .expect("no panic while locked")
        .iter()
        .any(|m| *m == asked.model || asked.model == format!("{m}:latest"))
    {
        done(shared);
        let (code, body) = dialect.error(404, &format!("model '{}' not found", asked.model));
        return send(writer, code, None, body.to_string().as_bytes()).map(|()| true);
    } else {
        let scheduler = shared.scheduler.as_ref().filter(|_| dialect == Dialect::Ollama);
        let too_long = dialect == Dialect::Ollama && asked.context.is_some_and(|context| asked.tokens() > context);
        if too_long {
            done(shared);
            let (code, body) = dialect.error(400, "the input length exceeds the context length");
            return send(writer, code, None, body.to_string().as_bytes()).map(|()| true);
        }
        let slot = match scheduler.map(|scheduler| scheduler.take(Wanted::of(&asked.body, &asked.digest))) {
            Some(None) => {
                done(shared);
                let busy = json!({"error": "server busy, please try again.  maximum pending requests exceeded"});
                return send(writer, 503, None, busy.to_string().as_bytes()).map(|()| true);
            }
            slot => slot.flatten(),
        };
        thread::sleep(shared.latency);
        let say = shared.script.as_ref().map_or(Say::Default, |script| script(&asked, attempt));
        let replied = reply(say, &asked, shared, writer);
        drop(slot);
        replied
    };
    if shared.upstream.is_some() {
        done(shared);
    }
    let (stays_open, answered) = result?;
    if answered {
        let mut seen = shared.seen.lock().expect("no panic while locked");
        if let Some(entry) = seen.asked.get_mut(asked.number).filter(|entry| entry.arrived == asked.arrived) {
            entry.answered = Some(Instant::now());
        }
    }
    Ok(stays_open)
}

fn note(dialect: Dialect, request: &Request, body: Value, shared: &Shared) -> (Asked, usize) {
    let said = dialect.read(request.path.split('?').next().unwrap_or_default(), &body);
    let mut seen = shared.seen.lock().expect("no panic while locked");
    let asked = Asked {
        number: seen.asked.len(),
        dialect,
        path: request.path.clone(),
        model: said.model,
        messages: said.messages,
        schema: said.schema,
        headers: request.headers.clone(),
        context: shared.scheduler.as_ref().map(|_| scheduler::context(&body)),
        digest: shared.build.lock().expect("no panic while locked").digest.clone(),
        body,
        arrived: Instant::now(),
        answered: None,
    };
    seen.switches += usize::from(seen.asked.last().is_some_and(|last| last.model != asked.model));
    seen.asked.push(asked.clone());
    seen.in_flight += 1;
    seen.max_in_flight = seen.max_in_flight.max(seen.in_flight);
    let attempts = seen.attempts.entry((asked.model.clone(), asked.question().to_owned())).or_default();
    *attempts += 1;
    let attempt = *attempts;
    (asked, attempt)
}

/// One request less in flight. Called before the answer is written, as the next one may come at once after it.
fn done(shared: &Shared) {
    shared.seen.lock().expect("no panic while locked").in_flight -= 1;
}

/// Does what is said; returns whether the connection stays open and whether it was a good answer.
fn reply(say: Say, asked: &Asked, shared: &Shared, writer: &mut impl Write) -> std::io::Result<(bool, bool)> {
    let good = |text: &str, finish: &str, writer: &mut _| {
        done(shared);
        send(writer, 200, None, in_dialect(asked, Some(text), finish).as_bytes()).map(|()| (true, finish == "stop"))
    };
    match say {
        Say::Text(text) => good(&text, "stop", writer),
        Say::Json(value) => good(&value.to_string(), "stop", writer),
        Say::Default => good(&answer(asked), "stop", writer),
        Say::Truncated(text) => good(&text, "length", writer),
        Say::Filtered => good("", "content_filter", writer),
        Say::Late(ms, say) => {
            thread::sleep(Duration::from_millis(ms));
            reply(*say, asked, shared, writer)
        }
        Say::Rebuilt(digest, say) => {
            shared.build.lock().expect("no panic while locked").digest = digest.to_owned();
            reply(*say, asked, shared, writer)
        }
        Say::Hang(ms) => {
            thread::sleep(Duration::from_millis(ms));
            done(shared);
            Ok((false, false))
        }
        other => {
            done(shared);
            match other {
                Say::Status { code, retry_after, body } => send(writer, code, retry_after.as_deref(), body.as_bytes())?,
                Say::RawBody(bytes) => send(writer, 200, None, &bytes)?,
                Say::EmptyChoices => send(writer, 200, None, in_dialect(asked, None, "stop").as_bytes())?,
                Say::CutBody => {
                    let body = in_dialect(asked, Some(&answer(asked)), "stop");
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
                    write!(writer, "{head}: {}\r\n\r\n{}", body.len(), &body[..body.len() / 2])?;
                    return Ok((false, false));
                }
                _ => return Ok((false, false)),
            }
            Ok((true, false))
        }
    }
}
