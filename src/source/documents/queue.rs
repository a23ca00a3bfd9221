//! A queue of documents: reads files on several threads and returns the rows in the order of the files.
//!
//! The bytes of files in work and of texts that wait for their turn are bounded, so that memory stays flat.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::content::Content;
use super::formats::{self, THREAD};

/// The most bytes in work and waiting. A larger document is read alone.
const MOST_BYTES: u64 = 64 << 20;
const MOST_THREADS: usize = 8;
/// Some readers call themselves for nested parts.
const STACK: usize = 16 << 20;

pub(super) type Outcome = Result<Content, String>;

pub(super) struct Queue {
    shared: Arc<Shared>,
    started: bool,
}

struct Shared {
    files: Vec<PathBuf>,
    label: Option<String>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next file to read, and the next to return.
    next: usize,
    returned: usize,
    done: BTreeMap<usize, (Outcome, u64)>,
    bytes: u64,
    stopped: bool,
}

impl Queue {
    pub(super) fn new(files: Vec<PathBuf>, label: Option<String>) -> Self {
        let state = Mutex::new(State::default());
        Queue { shared: Arc::new(Shared { files, label, state, changed: Condvar::new() }), started: false }
    }

    /// The next document; `None` after the last.
    pub(super) fn next(&mut self) -> Option<Outcome> {
        if !self.started {
            self.started = true;
            self.start();
        }
        let mut state = self.shared.state.lock();
        if state.returned == self.shared.files.len() {
            return None;
        }
        let place = state.returned;
        loop {
            if let Some((outcome, bytes)) = state.done.remove(&place) {
                state.returned += 1;
                state.bytes -= bytes;
                self.shared.changed.notify_all();
                return Some(outcome);
            }
            self.shared.changed.wait(&mut state);
        }
    }

    fn start(&self) {
        formats::silence_panics();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let threads = threads.min(self.shared.files.len());
        for _ in 0..threads {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK);
            builder.spawn(move || shared.work()).expect("a thread starts");
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        while let Some((place, size)) = self.take() {
            let outcome = formats::read(&self.files[place], self.label.as_deref());
            let bytes = outcome.as_ref().map_or(0, |content| content.text.len() as u64);
            let mut state = self.state.lock();
            state.bytes = state.bytes - size + bytes;
            state.done.insert(place, (outcome, bytes));
            self.changed.notify_all();
        }
    }

    /// Waits until the next file fits and takes it, with its size. `None` if there is nothing to do.
    fn take(&self) -> Option<(usize, u64)> {
        let mut state = self.state.lock();
        loop {
            let place = state.next;
            let file = self.files.get(place).filter(|_| !state.stopped)?;
            let size = std::fs::metadata(file).map_or(0, |facts| facts.len()).min(formats::MOST_BYTES);
            if state.bytes == 0 || state.bytes + size <= MOST_BYTES {
                state.next += 1;
                state.bytes += size;
                return Some((place, size));
            }
            self.changed.wait(&mut state);
        }
    }
}
