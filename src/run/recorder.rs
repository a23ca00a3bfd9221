//! The recorder: the one writer of the ledger in this process, and the readers beside it.
//!
//! A lane keeps its place until its record is committed: from then on it survives the death of the process, so a kill
//! costs at most the calls in flight. Records that come while a commit is under way share the next one. A second thread
//! makes the commits safe from a power cut, at most every 20 ms; a part is committed only after that. A ledger that can't
//! be written stops the run: an answer that isn't kept must not be used.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::recent::{Lookup, Recent};
use super::stop::{Stop, StopReason};
use crate::store::{Key, Ledger, LedgerError, LedgerSync, Record, Retired, StoreError};

/// The least time between two commits while calls are many, so that they share commits; few get their own at once.
const PACE: Duration = Duration::from_millis(1);
/// Calls in the time between two syncs that are many.
const MANY: u64 = 80;
/// The time between two syncs.
const GROUP: Duration = Duration::from_millis(20);
/// Records at most in a commit.
const GROUP_RECORDS: usize = 4096;

/// A record, and who waits for it.
type Waiting = (Arc<Record>, oneshot::Sender<Kept>);

/// What became of a record: its place among those committed, from 1, and the earlier answer that counts instead of it.
pub type Kept = (u64, Option<Record>);

/// The ledger's writer and readers; clones are the same one.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Waiting>,
}

struct Shared {
    path: PathBuf,
    /// The moment before which an answer is asked for again.
    fresh_since: Option<i64>,
    /// Records that are committed.
    committed: AtomicU64,
    /// Records that are safe from a power cut; the maximum when writing failed and will never go on.
    synced: watch::Sender<u64>,
    /// Open readers that nobody uses.
    readers: Mutex<Vec<Ledger>>,
    recent: Arc<Recent>,
    error: Mutex<Option<StoreError>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Recorder {
    /// Opens the ledger at `path` and starts its threads. Answers from before the moment `fresh_since` (in milliseconds since
    /// 1970) are history.
    pub fn start(path: PathBuf, fresh_since: Option<i64>, stop: Stop) -> Result<Self, StoreError> {
        let ledger = Ledger::open(&path)?;
        let sync = ledger.sync()?;
        let (queue, records) = mpsc::channel();
        let (dirty, changes) = mpsc::channel();
        let shared = Arc::new(Shared {
            path,
            fresh_since,
            committed: AtomicU64::new(0),
            synced: watch::Sender::new(0),
            readers: Mutex::default(),
            recent: Arc::default(),
            error: Mutex::default(),
            threads: Mutex::default(),
        });
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map(|t| shared.threads.lock().push(t)).map_err(StoreError::io(&shared.path))
        };
        let writer = (shared.clone(), stop.clone());
        spawn(
            "ledger",
            Box::new(move || {
                let _alarm = writer.1.alarm();
                commit(ledger, &records, &dirty, &writer.0, &writer.1);
            }),
        )?;
        let syncer = shared.clone();
        spawn("ledger-sync", Box::new(move || synchronise(&sync, &changes, &syncer, &stop)))?;
        Ok(Recorder { shared, queue })
    }

    /// The moment before which an answer is history.
    pub fn fresh_since(&self) -> Option<i64> {
        self.shared.fresh_since
    }

    /// The calls that the ledger may not show yet.
    pub fn recent(&self) -> &Arc<Recent> {
        &self.shared.recent
    }

    /// Commits a record and says what became of it. `None`: the ledger can't be written.
    pub async fn record(&self, record: Arc<Record>) -> Option<Kept> {
        let (tell, told) = oneshot::channel();
        self.queue.send((record, tell)).ok()?;
        told.await.ok()
    }

    /// Waits until everything that is committed now is safe from a power cut; `false`: it will never be.
    pub async fn flushed(&self) -> bool {
        let place = self.shared.committed.load(Ordering::Acquire);
        let mut synced = self.shared.synced.subscribe();
        synced.wait_for(|s| *s >= place).await.is_ok_and(|s| *s < u64::MAX)
    }

    /// Begins a look-up; keep it until the rows that were looked up are sent.
    pub fn lookup(&self) -> Lookup {
        self.shared.recent.lookup(self.shared.committed.load(Ordering::Acquire))
    }

    /// The answered calls of `keys`, in their order; answers that are history now leave the service. Blocking.
    pub fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        let reader = self.shared.readers.lock().pop();
        let reader = match reader {
            Some(reader) => reader,
            None => Ledger::open(&self.shared.path)?,
        };
        if let Some(since) = self.shared.fresh_since {
            reader.retire_before(keys, since)?;
        }
        let found = reader.find(keys)?;
        self.shared.readers.lock().push(reader);
        Ok(found)
    }

    /// Takes answers out of service whose reply no longer fits what is asked. Blocking.
    pub fn retire(&self, keys: &[Key]) -> Result<(), LedgerError> {
        if keys.is_empty() {
            return Ok(());
        }
        let ledger = Ledger::open(&self.shared.path)?;
        keys.iter().try_for_each(|key| ledger.retire(*key, Retired::Unfit))
    }

    /// Waits until the threads have ended, which they do when no other clone is left.
    pub async fn close(self) -> Result<(), StoreError> {
        let Recorder { shared, queue } = self;
        drop(queue);
        let threads = std::mem::take(&mut *shared.threads.lock());
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
        let _ = joined.await;
        match shared.error.lock().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn fail(&self, error: StoreError, stop: &Stop) {
        self.error.lock().get_or_insert(error);
        stop.drain(StopReason::Failed);
        self.synced.send_replace(u64::MAX);
    }
}

/// The writer's thread: commits until the queue is closed.
fn commit(mut ledger: Ledger, queue: &mpsc::Receiver<Waiting>, dirty: &mpsc::Sender<()>, shared: &Shared, stop: &Stop) {
    let mut records: Vec<Arc<Record>> = Vec::new();
    let mut waiting = Vec::new();
    let (mut window, mut before, mut many) = (Instant::now(), 0, false);
    while let Ok(first) = queue.recv() {
        if many {
            std::thread::sleep(PACE);
        }
        for (record, tell) in [first].into_iter().chain(queue.try_iter().take(GROUP_RECORDS)) {
            records.push(record);
            waiting.push(tell);
        }
        let earlier = match ledger.append(&records) {
            Ok(earlier) => earlier,
            Err(error) => return shared.fail(error.into(), stop),
        };
        let first = shared.committed.load(Ordering::Relaxed);
        let place = first + records.len() as u64;
        records.clear();
        // Before anyone is told, so that whoever waits for all that is committed waits for this too.
        shared.committed.store(place, Ordering::Release);
        for (i, (tell, earlier)) in waiting.drain(..).zip(earlier).enumerate() {
            // Nobody waits only when the run is being dropped.
            let _ = tell.send((first + i as u64 + 1, earlier));
        }
        shared.recent.forget(place);
        let _ = dirty.send(());
        if window.elapsed() >= GROUP {
            many = place - before > MANY;
            (window, before) = (Instant::now(), place);
        }
    }
}

/// The syncer's thread: syncs what is committed until the writer has ended.
fn synchronise(sync: &LedgerSync, changes: &mpsc::Receiver<()>, shared: &Shared, stop: &Stop) {
    let mut last = Instant::now() - GROUP;
    while changes.recv().is_ok() {
        std::thread::sleep(GROUP.saturating_sub(last.elapsed()));
        while changes.try_recv().is_ok() {}
        let committed = shared.committed.load(Ordering::Acquire);
        if let Err(error) = sync.sync() {
            return shared.fail(StoreError::Io { path: shared.path.clone(), error }, stop);
        }
        shared.synced.send_replace(committed);
        last = Instant::now();
    }
}
