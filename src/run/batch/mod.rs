//! Batches: sends the calls of models whose provider says `batch = true` as jobs of many calls.
//!
//! ```text
//! Attempts -> ask --gather--> calls of one model --submit--> job at the provider --follow--> results --> Attempts
//!                                                    |                               |
//!                                ledger: calls and name, then the job's id     .fanfold/batches/
//! ```
//!
//! A waiting call is one in flight: its task sleeps, without a lane. What is stored about a batch lets another process
//! find the job and its calls: see `store/ledger/batches.rs`.

mod follow;
mod gather;
mod results;
mod shared;
mod standing;
mod submit;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use self::gather::gather;
use self::shared::{Asked, Shared, Waiting, server};
pub(crate) use self::shared::{Judging, Outcome, Unjudged};
pub(crate) use self::standing::{Standing, has_batches, standing};
use super::stop::Stop;
use super::wait::{Wait, WaitKind};
use crate::models::Target;
use crate::provider::{BatchCall, Encoded};
use crate::store::{Key, Ledger, Since};

pub(crate) struct Batches {
    shared: Arc<Shared>,
    /// One for each model, by its index in the spec.
    gatherers: Mutex<HashMap<usize, mpsc::UnboundedSender<Waiting>>>,
}

/// How long a run waits for batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchWait {
    /// Until they end.
    Long,
    /// Not at all: it sends them, and takes over the results of those that have ended.
    None,
    /// Not at all, and it sends none.
    Never,
}

/// Calls that will come soon: no batch is sent without them. Ends when it is dropped.
pub(crate) struct Hold(Arc<Shared>);

/// Something that waits until a batch has ended: batches are sent without the calls that will come. Ends when it is dropped.
pub(crate) struct Need(Arc<Shared>);

impl Batches {
    /// Batches of the ledger at `path`. Those older than `since` do not count.
    pub(crate) fn new(path: &Path, since: Option<Since>, stop: Stop, waits: BatchWait) -> Self {
        let shared = Shared {
            ledger: path.to_owned(),
            folder: path.with_file_name("batches"),
            since: since.unwrap_or(Since::ALWAYS),
            stop,
            leaves: waits != BatchWait::Long,
            sends: waits != BatchWait::Never,
            had_open: Ledger::open_batches_at(path).is_ok_and(|open| !open.is_empty()),
            left: AtomicU64::new(0),
            holds: AtomicUsize::new(0),
            needs: AtomicUsize::new(0),
            sending: tokio::sync::Mutex::default(),
            jobs: Mutex::default(),
            is_used: AtomicBool::new(false),
        };
        Batches { shared: Arc::new(shared), gatherers: Mutex::default() }
    }

    /// Waits for the reply to a call, whose id in a job is `id`. Returns `None` if the run stops.
    pub(crate) async fn ask(
        &self,
        (target, unjudged): (&Target, &Unjudged),
        (id, key): (String, Key),
        call: Encoded,
    ) -> Option<Outcome> {
        let asked = Asked::of(target, self.shared.sends, unjudged.clone());
        let (done, outcome) = oneshot::channel();
        let entry = asked.client().ok()?.entry(&BatchCall { id: id.clone(), call });
        let waiting = Waiting { id, key, entry, done };
        let sender = self
            .gatherers
            .lock()
            .entry(target.index)
            .or_insert_with(|| {
                let (sender, calls) = mpsc::unbounded_channel();
                tokio::spawn(gather(self.shared.clone(), asked, calls));
                sender
            })
            .clone();
        sender.send(waiting).ok()?;
        self.shared.stop.unless_draining(outcome).await?.ok()
    }

    /// Whether calls that are not in a batch may be sent in one.
    pub(crate) fn sends(&self) -> bool {
        self.shared.sends
    }

    /// Whether an earlier run has left a batch.
    pub(crate) fn had_open(&self) -> bool {
        self.shared.had_open
    }

    /// The place of the first of these ids that a call of an open batch has. A model without batches may have had some in
    /// an earlier run.
    pub(crate) async fn first(&self, target: &Target, ids: Vec<String>) -> Option<usize> {
        if target.batch.is_none() && !self.shared.had_open {
            return None;
        }
        let (server, since) = (server(target.provider.as_ref()), self.shared.since);
        let find = move |ledger: &mut Ledger| {
            for (place, id) in ids.iter().enumerate() {
                if ledger.is_in_batch(id, &server, since)? {
                    return Ok(Some(place));
                }
            }
            Ok(None)
        };
        self.shared.ledger(find).await.ok().flatten()
    }

    pub(crate) fn need(&self) -> Need {
        self.shared.needs.fetch_add(1, Relaxed);
        Need(self.shared.clone())
    }

    pub(crate) fn hold(&self) -> Hold {
        self.shared.holds.fetch_add(1, Relaxed);
        Hold(self.shared.clone())
    }

    /// The jobs that calls wait for, one line for each model.
    pub(crate) fn waits(&self) -> Vec<Wait> {
        let mut waits: Vec<(Wait, [u64; 3])> = Vec::new();
        for watched in self.shared.jobs.lock().values().filter(|watched| !watched.waiting.is_empty()) {
            let counts = [1, watched.batch.done, watched.batch.calls];
            match waits.iter_mut().find(|(wait, _)| wait.on == watched.model) {
                Some((wait, all)) => {
                    wait.since = wait.since.min(watched.since);
                    all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
                }
                None => {
                    let (on, since) = (watched.model.clone(), watched.since);
                    let wait = Wait { kind: WaitKind::Batch, on, since, until: None, because: String::new() };
                    waits.push((wait, counts));
                }
            }
        }
        let text = |(wait, [jobs, done, calls]): (Wait, [u64; 3])| {
            let batches = if jobs == 1 { "1 batch".to_owned() } else { format!("{jobs} batches") };
            Wait { because: format!("{batches} at the provider, {done} of {calls} calls have ended"), ..wait }
        };
        waits.into_iter().map(text).collect()
    }

    /// Ends the batches whose calls are recorded. Returns the number of calls that were left. A batch that is being sent
    /// is sent first, unless the run is aborted.
    pub(crate) async fn end(&self) -> u64 {
        self.gatherers.lock().clear();
        tokio::select! {
            _ = self.shared.sending.lock() => {}
            () = self.shared.stop.aborted() => {}
        }
        if self.shared.is_used.load(Relaxed) {
            let settled = self.shared.ledger(|ledger| ledger.settle_batches()).await;
            for name in settled.unwrap_or_default() {
                // A file that stays does no harm.
                let _ = std::fs::remove_file(results::path(&self.shared.folder, &name));
            }
        }
        self.shared.left.load(Relaxed)
    }
}

impl Hold {
    /// Waits for something that may depend on a batch.
    pub(crate) fn release_while<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.0.holds.fetch_sub(1, Relaxed);
        let waited = wait();
        self.0.holds.fetch_add(1, Relaxed);
        waited
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.0.needs.fetch_sub(1, Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Relaxed);
    }
}
