//! The scheduler of Ollama: which models are loaded, which requests wait for theirs, and when a model is unloaded.
//!
//! As in Ollama's `server/sched.go`: requests for a loaded model go to it at once, and set its time to the `keep_alive`
//! that they carry. All others wait in one queue, whose first one makes room: it sets the time of a loaded model to
//! zero and waits until that model has no requests and is unloaded. A full queue is a 503.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How the scripted Ollama is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// `OLLAMA_MAX_LOADED_MODELS`.
    pub(crate) loaded: usize,
    /// `OLLAMA_NUM_PARALLEL`.
    pub(crate) slots: usize,
    /// `OLLAMA_MAX_QUEUE`.
    pub(crate) queue: usize,
    /// How long it takes to load a model.
    pub(crate) load: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { loaded: 1, slots: 4, queue: 512, load: Duration::from_millis(50) }
    }
}

/// `OLLAMA_KEEP_ALIVE` unless it is set.
const KEEP_ALIVE: Duration = Duration::from_secs(300);

pub(super) struct Scheduler {
    settings: Settings,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    runners: Vec<Runner>,
    queue: VecDeque<u64>,
    requests: u64,
    loads: Vec<(String, u64)>,
}

struct Runner {
    name: String,
    /// The digest of the weights: another build is another runner.
    digest: String,
    context: u64,
    ready: Instant,
    /// The requests that it has, and those of them that are being answered.
    requests: usize,
    running: usize,
    keep: Duration,
    expires: Instant,
}

/// What a request needs.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) context: u64,
    pub(super) keep: Option<Duration>,
}

impl Wanted {
    pub(super) fn of(body: &Value, digest: &str) -> Wanted {
        let name = body["model"].as_str().unwrap_or_default().trim_end_matches(":latest").to_owned();
        Wanted { name, digest: digest.to_owned(), context: context(body), keep: keep_alive(&body["keep_alive"]) }
    }

    fn is(&self, runner: &Runner) -> bool {
        runner.name == self.name && runner.digest == self.digest
    }
}

/// The context that a request asks for, in tokens. One to `/v1` asks for none.
pub(super) fn context(body: &Value) -> u64 {
    body.pointer("/options/num_ctx").and_then(Value::as_u64).unwrap_or(4096)
}

/// A number of seconds, or a text such as `5m`. A negative one means always.
fn keep_alive(value: &Value) -> Option<Duration> {
    let always = Duration::from_secs(1 << 30);
    if let Some(seconds) = value.as_f64() {
        return Some(if seconds < 0.0 { always } else { Duration::from_secs_f64(seconds) });
    }
    let text = value.as_str()?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().ok()?;
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => 1.0,
    };
    Some(if number < 0.0 { always } else { Duration::from_secs_f64(number * unit) })
}

/// A request that has a slot of a runner; the slot is free when this is dropped.
pub(super) struct Slot<'a> {
    scheduler: &'a Scheduler,
    wanted: Wanted,
}

impl Scheduler {
    pub(super) fn new(settings: Settings) -> Scheduler {
        Scheduler { settings, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// Waits for a change, or a little: time unloads models too.
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (mut state, _) = self.changed.wait_timeout(state, Duration::from_millis(5)).expect("no panic while locked");
        let now = Instant::now();
        state.runners.retain(|runner| runner.requests > 0 || now < runner.expires);
        state
    }

    /// Waits until the model is loaded and has a free slot. `None`: the queue is full.
    pub(super) fn take(&self, wanted: Wanted) -> Option<Slot<'_>> {
        let mut state = self.state();
        let fast = state.runners.iter().any(|runner| wanted.is(runner) && runner.context == wanted.context);
        if !fast {
            if state.queue.len() >= self.settings.queue {
                return None;
            }
            state.requests += 1;
            let number = state.requests;
            state.queue.push_back(number);
            while state.queue.front() != Some(&number) {
                state = self.wait(state);
            }
            state = self.make_room(state, &wanted);
            state.queue.pop_front();
        }
        let runner = state.runner(&wanted).expect("it is loaded");
        runner.requests += 1;
        runner.keep = wanted.keep.unwrap_or(runner.keep);
        self.changed.notify_all();
        loop {
            let runner = state.runner(&wanted).expect("it has a request");
            if runner.running < self.settings.slots && Instant::now() >= runner.ready {
                runner.running += 1;
                break;
            }
            state = self.wait(state);
        }
        drop(state);
        Some(Slot { scheduler: self, wanted })
    }

    /// Loads the model. Unloads others, or the same one with another context, until there is room.
    fn make_room<'a>(&'a self, mut state: MutexGuard<'a, State>, wanted: &Wanted) -> MutexGuard<'a, State> {
        loop {
            let room = state.runners.len() < self.settings.loaded;
            let same = state.runners.iter().position(|runner| wanted.is(runner));
            let out = match same {
                Some(at) if state.runners[at].context == wanted.context => return state,
                Some(at) => at,
                None if room => {
                    let (name, digest, context) = (wanted.name.clone(), wanted.digest.clone(), wanted.context);
                    state.loads.push((name.clone(), context));
                    let ready = Instant::now() + self.settings.load;
                    let (keep, expires) = (KEEP_ALIVE, ready + KEEP_ALIVE);
                    state.runners.push(Runner { name, digest, context, ready, requests: 0, running: 0, keep, expires });
                    return state;
                }
                None => (0..state.runners.len()).min_by_key(|at| state.runners[*at].requests).unwrap_or(0),
            };
            let runner = &mut state.runners[out];
            let (name, context) = (runner.name.clone(), runner.context);
            runner.keep = Duration::ZERO;
            if runner.requests == 0 {
                state.runners.remove(out);
            }
            // Nothing else is done until this one is unloaded.
            while state.runners.iter().any(|runner| runner.name == name && runner.context == context) {
                state = self.wait(state);
            }
        }
    }

    /// The models that were loaded, in order, each with its context.
    pub(super) fn loads(&self) -> Vec<(String, u64)> {
        self.state().loads.clone()
    }

    /// The answer of `/api/ps`.
    pub(super) fn ps(&self) -> Value {
        let models = self.wait(self.state()).runners.iter().map(Runner::shown).collect::<Vec<_>>();
        json!({ "models": models })
    }
}

impl State {
    fn runner(&mut self, wanted: &Wanted) -> Option<&mut Runner> {
        self.runners.iter_mut().find(|runner| wanted.is(runner) && runner.context == wanted.context)
    }
}

impl Runner {
    fn shown(&self) -> Value {
        let name = format!("{}:latest", self.name);
        json!({"name": name, "model": name, "size": 1_000_000, "size_vram": 1_000_000, "digest": self.digest,
               "context_length": self.context, "expires_at": "2026-01-01T00:00:00Z"})
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.scheduler.state();
        let now = Instant::now();
        if let Some(at) = state.runners.iter().position(|r| self.wanted.is(r) && r.context == self.wanted.context) {
            let runner = &mut state.runners[at];
            runner.requests -= 1;
            runner.running -= 1;
            runner.expires = now + runner.keep;
            if runner.requests == 0 && runner.keep.is_zero() {
                state.runners.remove(at);
            }
        }
        self.scheduler.changed.notify_all();
    }
}
