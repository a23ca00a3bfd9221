//! The recorder: the one writer of the ledger in this process, and the readers beside it.
//!
//! Records are written in groups: at once while calls are rare, every 20 ms while they are many, each group in one
//! durable transaction. Whoever needs a record on disk waits for its place in the queue. A ledger that can't be written
//! stops the run: an answer that isn't kept must not be used.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::recent::{Lookup, Recent};
use super::stop::{Stop, StopReason};
use crate::store::{Key, Ledger, LedgerError, Record, StoreError};

/// The time between two groups.
const GROUP: Duration = Duration::from_millis(20);
/// Records at most in a group.
const GROUP_RECORDS: usize = 4096;
/// Records at most on their way to the disk; then calls wait.
const QUEUE: usize = 8192;

/// The ledger's writer and readers; clones are the same one.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Record>,
}

struct Shared {
    path: PathBuf,
    /// Records that were queued.
    queued: Mutex<u64>,
    /// Records that are on disk; the maximum when writing failed and will never go on.
    durable: watch::Sender<u64>,
    /// Open readers that nobody uses.
    readers: Mutex<Vec<Ledger>>,
    recent: Arc<Recent>,
    error: Mutex<Option<LedgerError>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Recorder {
    /// Opens the ledger at `path` and starts its writer.
    pub fn start(path: PathBuf, stop: Stop) -> Result<Self, StoreError> {
        let ledger = Ledger::open(&path)?;
        let (queue, records) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            path,
            queued: Mutex::new(0),
            durable: watch::Sender::new(0),
            readers: Mutex::default(),
            recent: Arc::default(),
            error: Mutex::default(),
            writer: Mutex::default(),
        });
        let writer = std::thread::Builder::new().name("ledger".to_owned()).spawn({
            let shared = shared.clone();
            move || write(ledger, records, &shared, &stop)
        });
        *guard(&shared.writer) = Some(writer.map_err(StoreError::io(&shared.path))?);
        Ok(Recorder { shared, queue })
    }

    /// The calls that the ledger may not show yet.
    pub fn recent(&self) -> &Arc<Recent> {
        &self.shared.recent
    }

    /// Hands a record to the writer; gives its place in the queue, from 1. `None`: the ledger can't be written.
    pub async fn record(&self, record: Record) -> Option<u64> {
        let slot = self.queue.reserve().await.ok()?;
        let mut queued = guard(&self.shared.queued);
        *queued += 1;
        slot.send(record);
        Some(*queued)
    }

    /// Waits until everything that has been queued so far is on disk; `false`: it will never be.
    pub async fn flushed(&self) -> bool {
        let place = *guard(&self.shared.queued);
        let mut durable = self.shared.durable.subscribe();
        durable.wait_for(|d| *d >= place).await.is_ok_and(|d| *d < u64::MAX)
    }

    /// Begins a look-up; keep it until the rows that were looked up are sent. Blocking.
    pub fn lookup(&self) -> Lookup {
        self.shared.recent.lookup(*self.shared.durable.borrow())
    }

    /// The answered calls of `keys`, in their order. Blocking.
    pub fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        let reader = guard(&self.shared.readers).pop();
        let reader = match reader {
            Some(reader) => reader,
            None => Ledger::open(&self.shared.path)?,
        };
        let found = reader.find(keys)?;
        guard(&self.shared.readers).push(reader);
        Ok(found)
    }

    /// Waits until the writer has ended, which it does when no other clone is left.
    pub async fn close(self) -> Result<(), StoreError> {
        let Recorder { shared, queue } = self;
        drop(queue);
        let writer = guard(&shared.writer).take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        match guard(&shared.error).take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// The writer's thread: groups of records until the queue is closed.
fn write(mut ledger: Ledger, mut records: mpsc::Receiver<Record>, shared: &Shared, stop: &Stop) {
    let mut group: Vec<Record> = Vec::new();
    let mut written = 0;
    let mut last = Instant::now() - GROUP;
    while let Some(first) = records.blocking_recv() {
        group.push(first);
        std::thread::sleep(GROUP.saturating_sub(last.elapsed()));
        while group.len() < GROUP_RECORDS
            && let Ok(next) = records.try_recv()
        {
            group.push(next);
        }
        if let Err(error) = ledger.append(&group) {
            *guard(&shared.error) = Some(error);
            stop.drain(StopReason::Failed);
            shared.durable.send_replace(u64::MAX);
            return;
        }
        written += group.len() as u64;
        group.clear();
        shared.durable.send_replace(written);
        shared.recent.forget(written);
        last = Instant::now();
    }
}
