//! The recorder: writes the ledger, alone in this process, and reads from it.
//!
//! A call keeps its lane until its record is committed. A committed record survives a kill, so a kill loses at most
//! the calls in flight. Records that arrive during a commit share the next one. Another thread syncs commits to disk,
//! at most every 20 ms; a part is committed only after the sync. If the ledger can't be written, the run stops: answers
//! that are not stored must not be used.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::builds::Builds;
use super::recent::{Lookup, Recent};
use super::stop::{Stop, StopReason};
use super::under_way::{Busy, UnderWay};
use super::wait::{Wait, WaitKind};
use crate::store::{
    Added, Attempt, Journal, Key, Known, Ledger, LedgerError, LedgerSync, Record, Retired, Since, StoreError, retired,
};

/// The least time between two commits when there are more than [`MANY`] calls, so that calls share commits.
const PACE: Duration = Duration::from_millis(1);
/// The number of calls between two syncs above which commits are paced.
const MANY: u64 = 80;
const SYNC_INTERVAL: Duration = Duration::from_millis(20);
const COMMIT_RECORDS: usize = 4096;

struct Waiting {
    record: Arc<Record>,
    /// The model that was asked, and the one that answered.
    by: [usize; 2],
    done: oneshot::Sender<Committed>,
}

/// The position of a committed record, from 1, and the earlier answer that counts instead of it.
pub(crate) type Committed = (u64, Option<Record>);

/// The recorder; clones share the ledger and its threads.
#[derive(Clone)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Waiting>,
}

struct Shared {
    path: PathBuf,
    /// Older answers are not used.
    fresh_since: Option<Since>,
    committed: AtomicU64,
    /// The number of synced records; `u64::MAX` after writing has failed.
    synced: watch::Sender<u64>,
    readers: Mutex<Vec<Ledger>>,
    recent: Arc<Recent>,
    /// What is being written to disk: records and parts.
    writing: UnderWay,
    builds: Arc<Builds>,
    /// On a cluster: the journal that gets every record, and the answers of the project's ledger.
    journal: Option<Mutex<Journal>>,
    known: Option<Known>,
    /// The calls that have stopped between two tries, in earlier runs or in this one.
    stopped: Mutex<HashSet<Key>>,
    error: Mutex<Option<StoreError>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Recorder {
    /// Answers older than `fresh_since` are not used.
    pub(crate) fn start(
        path: PathBuf,
        fresh_since: Option<Since>,
        builds: Arc<Builds>,
        stop: Stop,
        Attempt { journal, known }: Attempt,
    ) -> Result<Self, StoreError> {
        let ledger = Ledger::open(&path)?;
        if fresh_since.is_some() {
            ledger.index_history()?;
        }
        // The ledger of an attempt only finds answers; its journal keeps them.
        let sync = match &journal {
            Some(journal) => journal.sync().map_err(StoreError::io(&path))?,
            None => ledger.sync()?,
        };
        let (queue, records) = mpsc::channel();
        let (dirty, changes) = mpsc::channel();
        let shared = Arc::new(Shared {
            path,
            fresh_since,
            committed: AtomicU64::new(0),
            synced: watch::Sender::new(0),
            readers: Mutex::default(),
            recent: Arc::default(),
            writing: UnderWay::default(),
            builds,
            journal: journal.map(Mutex::new),
            known,
            stopped: Mutex::new(ledger.stopped_keys()?),
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
                let _guard = writer.1.on_panic();
                commit(ledger, &records, &dirty, &writer.0, &writer.1);
            }),
        )?;
        let syncer = shared.clone();
        spawn("ledger-sync", Box::new(move || synchronise(&sync, &changes, &syncer, &stop)))?;
        Ok(Recorder { shared, queue })
    }

    pub(crate) fn fresh_since(&self) -> Option<Since> {
        self.shared.fresh_since
    }

    pub(crate) fn recent(&self) -> &Arc<Recent> {
        &self.shared.recent
    }

    pub(crate) fn writing(&self) -> &UnderWay {
        &self.shared.writing
    }

    pub(crate) fn wait(&self) -> Option<Wait> {
        let Busy { oldest, .. } = self.shared.writing.busy()?;
        let (on, because) = ("disk".to_owned(), self.shared.path.display().to_string());
        Some(Wait { kind: WaitKind::Disk, on, since: oldest, until: None, because })
    }

    /// Commits a record; `by` are the model that was asked and the one that answered. Returns `None` if the ledger can't
    /// be written.
    pub(crate) async fn record(&self, record: Arc<Record>, by: [usize; 2]) -> Option<Committed> {
        let (done, receiver) = oneshot::channel();
        let stopped = Some(record.key).filter(|_| record.is_stopped());
        self.queue.send(Waiting { record, by, done }).ok()?;
        let committed = receiver.await.ok()?;
        self.shared.stopped.lock().extend(stopped);
        Some(committed)
    }

    /// Waits until all records committed so far are synced. Returns `false` if writing has failed.
    pub(crate) async fn flushed(&self) -> bool {
        let place = self.shared.committed.load(Ordering::Acquire);
        let mut synced = self.shared.synced.subscribe();
        synced.wait_for(|s| *s >= place).await.is_ok_and(|s| *s < u64::MAX)
    }

    pub(crate) fn lookup(&self) -> Lookup {
        self.shared.recent.lookup(self.shared.committed.load(Ordering::Acquire))
    }

    /// The records of the answered calls in `keys`, in the order of `keys`. Retires answers that are too old. Blocking.
    pub(crate) fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        let mut found = self.read(|ledger| {
            if let Some(since) = self.shared.fresh_since {
                ledger.retire_before(keys, since)?;
            }
            ledger.find(keys)
        })?;
        if let Some(known) = &self.shared.known {
            for (record, key) in found.iter_mut().zip(keys).filter(|(record, _)| record.is_none()) {
                *record = known.find(*key).map_err(|error| self.shared.unreadable(error))?;
            }
        }
        Ok(found)
    }

    /// The call with this key that was stopped between two tries: by an earlier run, by a process that ran beside this one
    /// and was killed, or by this run, which leaves a batch.
    pub(crate) async fn stopped(&self, key: Key, is_alone: bool) -> Option<Record> {
        let known = || self.shared.known.as_ref()?.take_stopped(key);
        if !self.shared.stopped.lock().contains(&key) && is_alone {
            return known();
        }
        let (recorder, since) = (self.clone(), self.shared.fresh_since.unwrap_or(Since::ALWAYS));
        let found = tokio::task::spawn_blocking(move || recorder.read(|ledger| ledger.stopped(key, since)));
        found.await.ok().and_then(Result::ok).flatten().or_else(known)
    }

    /// The number of answers in the ledger. Blocking.
    pub(crate) fn answers(&self) -> Result<u64, LedgerError> {
        self.read(|ledger| Ok(ledger.count()?.0))
    }

    /// The records that a fresh run replaces, in the order of `keys`. Empty unless the run is fresh. Blocking.
    pub(crate) fn replaced(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        let Some(since) = self.shared.fresh_since.filter(|_| !keys.is_empty()) else { return Ok(Vec::new()) };
        self.read(|ledger| ledger.replaced(keys, since))
    }

    fn read<T>(&self, read: impl FnOnce(&Ledger) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let reader = self.shared.readers.lock().pop();
        let reader = match reader {
            Some(reader) => reader,
            None => Ledger::open(&self.shared.path)?,
        };
        let found = read(&reader)?;
        self.shared.readers.lock().push(reader);
        Ok(found)
    }

    /// Retires answers whose reply no longer fits the question. Blocking.
    pub(crate) fn retire(&self, keys: &[Key]) -> Result<(), LedgerError> {
        if keys.is_empty() {
            return Ok(());
        }
        let ledger = Ledger::open(&self.shared.path)?;
        self.shared.known.iter().for_each(|known| known.drop_answers(keys));
        if let Some(journal) = &self.shared.journal {
            journal.lock().append(retired(keys, Retired::Unfit)).map_err(|error| self.shared.unreadable(error))?;
        }
        keys.iter().try_for_each(|key| ledger.retire(*key, Retired::Unfit))
    }

    /// Waits until the threads have ended; they end when all clones are dropped.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
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
    fn unreadable(&self, error: std::io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), error }
    }

    fn fail(&self, error: StoreError, stop: &Stop) {
        self.error.lock().get_or_insert(error);
        stop.drain(StopReason::Failed);
        self.synced.send_replace(u64::MAX);
    }
}

fn commit(mut ledger: Ledger, queue: &mpsc::Receiver<Waiting>, dirty: &mpsc::Sender<()>, shared: &Shared, stop: &Stop) {
    let mut records: Vec<Arc<Record>> = Vec::new();
    let mut waiting = Vec::new();
    let (mut window, mut before, mut many) = (Instant::now(), 0, false);
    while let Ok(first) = queue.recv() {
        if many {
            std::thread::sleep(PACE);
        }
        if let Some(journal) = &shared.journal {
            let pause = journal.lock().pause();
            std::thread::sleep(pause);
        }
        for Waiting { record, by, done } in [first].into_iter().chain(queue.try_iter().take(COMMIT_RECORDS)) {
            records.push(record);
            waiting.push((by, done));
        }
        let writing = shared.writing.begin();
        let added = match ledger.add(&records) {
            Ok(added) => added,
            Err(error) => return shared.fail(error.into(), stop),
        };
        if let Some(journal) = &shared.journal
            && let Err(error) = journal.lock().append_calls(records.iter().map(AsRef::as_ref))
        {
            return shared.fail(shared.unreadable(error).into(), stop);
        }
        drop(writing);
        let first = shared.committed.load(Ordering::Relaxed);
        let place = first + records.len() as u64;
        for ((record, (by, _)), added) in records.iter().zip(&waiting).zip(&added) {
            if record.error.is_none() && added.earlier.is_none() {
                shared.builds.answered(added.id, *by);
            }
        }
        records.clear();
        // Stored before the waiting tasks continue, so that `flushed` includes these records.
        shared.committed.store(place, Ordering::Release);
        for (i, ((_, done), Added { earlier, .. })) in waiting.drain(..).zip(added).enumerate() {
            // The receiver is dropped only while the run is being dropped.
            let _ = done.send((first + i as u64 + 1, earlier));
        }
        shared.recent.forget(place);
        let _ = dirty.send(());
        if window.elapsed() >= SYNC_INTERVAL {
            many = place - before > MANY;
            (window, before) = (Instant::now(), place);
        }
    }
}

fn synchronise(sync: &LedgerSync, changes: &mpsc::Receiver<()>, shared: &Shared, stop: &Stop) {
    let mut last = Instant::now() - SYNC_INTERVAL;
    while changes.recv().is_ok() {
        std::thread::sleep(SYNC_INTERVAL.saturating_sub(last.elapsed()));
        while changes.try_recv().is_ok() {}
        let committed = shared.committed.load(Ordering::Acquire);
        let writing = shared.writing.begin();
        if let Err(error) = sync.sync() {
            return shared.fail(StoreError::Io { path: shared.path.clone(), error }, stop);
        }
        drop(writing);
        shared.synced.send_replace(committed);
        last = Instant::now();
    }
}
