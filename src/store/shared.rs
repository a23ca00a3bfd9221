//! The shared folder of a run on several machines: what its workers read, and what they leave for the ledger.
//!
//! ```text
//! runs/<name>-<hash>/cluster/
//!   plan.json                    the frozen plan                                     run/frozen.rs
//!   spec/<file>                  the spec as it was when the plan was frozen
//!   known.answers, known.index   the answers that the ledger had                     known.rs
//!   known.stopped                the calls that it had of runs that stopped between two tries
//!   models/<stage>.json          the builds of the models, by the first worker
//!   claims/<stage>/<part>        the worker that began a part first
//!   journals/<worker>.<n>.journal    the calls of one attempt                        journal.rs
//!   done/<table>/<worker>        the workers that have no part of a table left
//!   job.json                     the job that runs, while it runs
//!   sent.json                    what workers have sent, until the run ends
//!   address.json                 the folder of an object store that workers use instead      stored_run.rs
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::absent::write_if_absent;
use super::call_totals::CallTotals;
use super::error::StoreError;
use super::job::ActiveJob;
use super::journal::{Entry, Journal, entries_after, file_name, journals, of_worker};
use super::known::Known;
use super::ledger::{Ledger, Retired};
use super::mirror::Mirror;
use super::record::{Key, Record};
use super::rundir::RunDir;
use crate::object::Address;
use crate::table::files::write_whole;

const FOLDER: &str = "cluster";
const GROUP: usize = 4096;

/// What an attempt on a cluster adds to its own ledger.
#[derive(Default)]
pub(crate) struct Attempt {
    pub(crate) journal: Option<Journal>,
    pub(crate) known: Option<Known>,
}

/// What merging added to the ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JournalCounts {
    pub(crate) journals: u64,
    pub(crate) added: u64,
    /// Calls that the ledger had already, from this or another journal.
    pub(crate) known: u64,
    /// The calls that were added, failed ones too, by the model's id.
    pub(crate) paid: BTreeMap<String, CallTotals>,
    /// Those that stopped between two tries, unless they were continued.
    stopped: HashMap<Key, Record>,
    /// Those that the ledger had before. Their tries were sent earlier.
    before: HashMap<Key, Record>,
}

impl JournalCounts {
    fn pay(&mut self, call: &Record) {
        let paid = self.paid.entry(call.model.clone()).or_default();
        paid.add(call);
        if let Some(before) = self.before.remove(&call.key).filter(|before| call.continues(before)) {
            paid.without_tries(&before);
        }
    }
}

const JOB: &str = "job.json";
const ADDRESS: &str = "address.json";
const SENT: &str = "sent.json";
/// How many bytes of each journal are in the ledger.
const LEARNED: &str = "learned.json";

#[derive(Clone, Debug)]
pub(crate) struct SharedDir {
    root: PathBuf,
    /// For a worker whose run is on an object store. The folder is its copy.
    mirror: Option<Mirror>,
}

impl SharedDir {
    pub(crate) fn of(dir: &RunDir) -> Self {
        SharedDir { root: dir.root().join(FOLDER), mirror: dir.mirror().cloned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn journals(&self) -> PathBuf {
        self.path("journals")
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        let broken = |error: serde_json::Error| std::io::Error::new(ErrorKind::InvalidData, error);
        serde_json::from_slice(&bytes).map(Some).map_err(broken).map_err(StoreError::io(&self.path(name)))
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(mirror) = &self.mirror {
            return Ok(mirror.bucket().get(name)?);
        }
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path)(error)),
        }
    }

    /// Writes `bytes` unless the name is taken. Returns whether this call created it.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        match &self.mirror {
            Some(mirror) => Ok(mirror.bucket().put_new(name, bytes.to_vec())?),
            None => write_if_absent(&self.path(name), bytes).map_err(StoreError::io(&self.path(name))),
        }
    }

    pub(crate) fn write(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let path = self.path(name);
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        std::fs::create_dir_all(&self.root)
            .and_then(|()| write_whole(&path, text.as_bytes()))
            .map_err(StoreError::io(&path))
    }

    /// Writes `value` unless the file is there. Returns the value that the file then has.
    pub(crate) fn agree<T: Serialize + DeserializeOwned>(&self, name: &str, value: &T) -> Result<T, StoreError> {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.create(name, text.as_bytes())?;
        self.read(name)?.ok_or_else(|| StoreError::io(&self.path(name))(ErrorKind::NotFound.into()))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(&path)(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn job(&self) -> Result<Option<ActiveJob>, StoreError> {
        self.read(JOB)
    }

    pub(crate) fn set_job(&self, job: Option<&ActiveJob>) -> Result<(), StoreError> {
        job.map_or_else(|| self.remove(JOB), |job| self.write(JOB, job))
    }

    /// The object store that the workers use instead of this folder.
    pub(crate) fn address(&self) -> Result<Option<Address>, StoreError> {
        let Some(text) = self.read::<String>(ADDRESS)? else { return Ok(None) };
        Ok(Address::parse(&text).transpose()?)
    }

    pub(super) fn set_address(&self, address: Option<&Address>) -> Result<(), StoreError> {
        address.map_or_else(|| self.remove(ADDRESS), |address| self.write(ADDRESS, &address.to_string()))
    }

    /// The workers use this folder.
    pub(crate) fn forget_store(&self) -> Result<(), StoreError> {
        self.set_address(None)
    }

    /// Refuses a run with an active job.
    pub(super) fn check_idle(&self) -> Result<(), StoreError> {
        let run = || self.root.parent().unwrap_or(&self.root).to_owned();
        self.job()?.map_or(Ok(()), |job| Err(StoreError::OnCluster { run: run(), job }))
    }

    /// Copies all journals from an object store into this folder.
    pub(super) fn fetch_journals(&self, mirror: &Mirror) -> Result<(), StoreError> {
        let folder = self.journals();
        mirror.fetch_journals(None, &folder, file_name).map_err(StoreError::io(&folder))
    }

    /// Moves the calls of workers into the ledger. The caller must hold the run's lock.
    pub(super) fn collect(&self, ledger: &Path) -> Result<JournalCounts, StoreError> {
        if !self.has_journals() {
            return Ok(JournalCounts::default());
        }
        let counts = self.learn(ledger)?;
        ["journals", "claims", "done", LEARNED].into_iter().try_for_each(|name| self.remove(name))?;
        Ok(counts)
    }

    /// Adds the calls of workers to the ledger that it has not added before, and leaves the journals, to which workers may
    /// add more.
    pub(super) fn learn(&self, ledger: &Path) -> Result<JournalCounts, StoreError> {
        let mut ledger = Ledger::open(ledger)?;
        let folder = self.journals();
        let mut learned: BTreeMap<String, u64> = self.read(LEARNED)?.unwrap_or_default();
        let counts = merge(journals(&folder).map_err(StoreError::io(&folder))?, &mut learned, &mut ledger)?;
        let mut sent = self.sent()?;
        counts.paid.iter().for_each(|(model, paid)| sent.entry(model.clone()).or_default().plus(paid));
        self.write(SENT, &sent)?;
        let synced = ledger.sync()?.sync();
        synced.map_err(StoreError::io(&self.root))?;
        self.write(LEARNED, &learned)?;
        Ok(counts)
    }

    /// What workers have sent since the run ended before, by the model's id.
    pub(crate) fn sent(&self) -> Result<BTreeMap<String, CallTotals>, StoreError> {
        Ok(self.read(SENT)?.unwrap_or_default())
    }

    /// Forgets it, because the run ends.
    pub(crate) fn forget_sent(&self) -> Result<(), StoreError> {
        self.remove(SENT)
    }

    /// Notes that a worker has no part of a table left.
    pub(crate) fn finish(&self, table: &str, worker: u64) -> Result<(), StoreError> {
        self.create(&done_name(table, worker), b"").map(drop)
    }

    pub(crate) fn has_finished(&self, table: &str, worker: u64) -> bool {
        self.path(&done_name(table, worker)).exists()
    }

    /// The worker that began a part first.
    pub(crate) fn claimed_by(&self, stage: &str, part: u64) -> Result<Option<String>, StoreError> {
        let worker = self.bytes(&claim_name(stage, part))?;
        Ok(worker.map(|worker| String::from_utf8_lossy(&worker).into_owned()))
    }

    /// Whether `worker` began the part first, now or in an earlier attempt.
    pub(crate) fn claim(&self, stage: &str, part: u64, worker: &str) -> Result<bool, StoreError> {
        let created = self.create(&claim_name(stage, part), worker.as_bytes())?;
        Ok(created || self.claimed_by(stage, part)?.is_some_and(|first| first == worker))
    }

    pub(crate) fn start_journal(&self, worker: &str) -> Result<Journal, StoreError> {
        let folder = self.journals();
        match &self.mirror {
            Some(mirror) => Journal::create_objects(mirror, worker),
            None => Journal::create(&folder, worker),
        }
        .map_err(StoreError::io(&folder))
    }

    /// Adds the calls of the earlier attempts of `worker` to its own ledger.
    pub(crate) fn recall(&self, worker: &str, ledger: &mut Ledger) -> Result<JournalCounts, StoreError> {
        let folder = self.journals();
        if let Some(mirror) = &self.mirror {
            mirror.fetch_journals(Some(worker), &folder, file_name).map_err(StoreError::io(&folder))?;
        }
        merge(of_worker(&folder, worker).map_err(StoreError::io(&folder))?, &mut BTreeMap::new(), ledger)
    }

    /// Adds the calls of all journals to the ledger. Adds nothing twice, however often it is repeated.
    pub(crate) fn merge(&self, ledger: &mut Ledger) -> Result<JournalCounts, StoreError> {
        let folder = self.journals();
        if let Some(mirror) = &self.mirror {
            self.fetch_journals(mirror)?;
        }
        merge(journals(&folder).map_err(StoreError::io(&folder))?, &mut BTreeMap::new(), ledger)
    }

    pub(crate) fn has_journals(&self) -> bool {
        journals(&self.journals()).is_ok_and(|found| !found.is_empty())
    }
}

fn done_name(table: &str, worker: u64) -> String {
    format!("done/{table}/{worker}")
}

fn claim_name(stage: &str, part: u64) -> String {
    format!("claims/{stage}/{part:05}")
}

/// Adds the entries of journals to the ledger from the places in `learned` on, and notes the places after them.
fn merge(
    paths: Vec<PathBuf>,
    learned: &mut BTreeMap<String, u64>,
    ledger: &mut Ledger,
) -> Result<JournalCounts, StoreError> {
    let mut counts = JournalCounts { journals: paths.len() as u64, ..JournalCounts::default() };
    if !paths.is_empty() {
        ledger.index_history()?;
        counts.before = ledger.stopped_calls()?.into_iter().map(|call| (call.key, call)).collect();
    }
    for path in paths {
        let mut calls = Vec::new();
        let place = learned.entry(path.file_name().unwrap_or_default().to_string_lossy().into_owned()).or_default();
        for (entry, after) in entries_after(&path, *place).map_err(StoreError::io(&path))? {
            *place = after;
            match entry {
                Entry::Call(record) => calls.push(*record),
                Entry::Build([server, model, build]) => ledger.remember_build(&server, &model, &build)?,
                Entry::Retired { key, at, why } => {
                    add(std::mem::take(&mut calls), ledger, &mut counts)?;
                    ledger.retire_answer(key, at, why)?;
                }
            }
            if calls.len() == GROUP {
                add(std::mem::take(&mut calls), ledger, &mut counts)?;
            }
        }
        add(calls, ledger, &mut counts)?;
    }
    std::mem::take(&mut counts.stopped).into_values().for_each(|call| counts.pay(&call));
    Ok(counts)
}

fn add(mut calls: Vec<Record>, ledger: &mut Ledger, counts: &mut JournalCounts) -> Result<(), StoreError> {
    let all = calls.len() as u64;
    let mut is_new = ledger.are_new(&calls)?;
    for (call, is_new) in calls.iter().zip(&mut is_new).filter(|(call, _)| call.is_stopped()) {
        *is_new &= !ledger.has_tries_of(call)?;
    }
    let mut is_new = is_new.into_iter();
    calls.retain(|_| is_new.next().unwrap_or(true));
    let earlier = ledger.append(&calls)?;
    for call in &calls {
        let before = counts.stopped.remove(&call.key);
        match call.is_stopped() {
            true => drop(counts.stopped.insert(call.key, call.clone())),
            false => counts.pay(call),
        }
        // A call that did not continue the stopped one was paid beside it.
        before.iter().filter(|before| !call.continues(before)).for_each(|before| counts.pay(before));
    }
    let added = earlier.iter().filter(|earlier| earlier.is_none()).count() as u64;
    counts.added += added;
    counts.known += all - added;
    Ok(())
}

/// The entries that retire answers, for [`Journal::append`].
pub(crate) fn retired(keys: &[Key], why: Retired) -> impl Iterator<Item = Entry> {
    let at = chrono::Utc::now().timestamp_millis();
    keys.iter().map(move |key| Entry::Retired { key: *key, at, why })
}

#[cfg(test)]
mod tests {
    use super::super::ledger::STOPPED;
    use super::*;

    fn call(number: u8, reply: &str, at: i64, error: Option<&str>) -> Entry {
        let (reply, error) = (reply.to_owned(), error.map(str::to_owned));
        let record = Record { key: Key([number; 16]), model: "m".to_owned(), reply, error, ..Record::default() };
        Entry::Call(Box::new(Record { at: Some(at), attempts: 1, finish: "stop".to_owned(), ..record }))
    }

    fn shared(folder: &Path) -> SharedDir {
        SharedDir::of(&RunDir::new(folder.join("run")))
    }

    fn answers(ledger: &Ledger) -> Vec<Option<String>> {
        let keys: Vec<Key> = (1..=3).map(|number| Key([number; 16])).collect();
        ledger.find(&keys).unwrap().into_iter().map(|found| found.map(|record| record.reply)).collect()
    }

    #[test]
    fn merging_again_in_any_order_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let mut first = shared.start_journal("worker-0").unwrap();
        first.append([call(1, "a", 10, None), call(2, "", 11, Some("refused: no")), call(3, "bad", 12, None)]).unwrap();
        let changed = Entry::Retired { key: Key([3; 16]), at: 13, why: Retired::Unfit };
        first.append([changed, call(3, "good", 14, None)]).unwrap();
        let mut second = shared.start_journal("worker-1").unwrap();
        second.append([call(1, "a doubled call", 15, None), call(2, "late", 16, None)]).unwrap();
        let counts = shared.merge(&mut ledger).unwrap();
        assert_eq!((counts.journals, counts.added, counts.known), (2, 5, 1));
        let expected = ["a", "late", "good"].map(|reply| Some(reply.to_owned())).to_vec();
        let records = ledger.count().unwrap();
        for _ in 0..3 {
            assert_eq!(answers(&ledger), expected);
            assert_eq!(shared.merge(&mut ledger).unwrap().added, 0);
            assert_eq!(ledger.count().unwrap(), records);
        }
        second.append([call(1, "a doubled call", 15, None)]).unwrap();
        assert_eq!(shared.merge(&mut ledger).unwrap().added, 0);
        assert_eq!((answers(&ledger), ledger.count().unwrap()), (expected, records));
    }

    #[test]
    fn each_call_is_learned_and_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, path) = (shared(folder.path()), folder.path().join("ledger.sqlite"));
        let sent = || shared.sent().unwrap()["m"].calls;
        let mut first = shared.start_journal("worker-0").unwrap();
        first.append([call(1, "a", 10, None)]).unwrap();
        // Two workers may ask an equal question.
        let mut second = shared.start_journal("worker-1").unwrap();
        second.append([call(1, "a doubled call", 15, None)]).unwrap();
        for _ in 0..3 {
            shared.learn(&path).unwrap();
            assert_eq!(sent(), 2);
        }
        second.append([call(2, "b", 16, None)]).unwrap();
        assert_eq!(shared.learn(&path).unwrap().added, 1);
        drop((first, second));
        assert_eq!((sent(), shared.collect(&path).unwrap().added, sent()), (3, 0, 3));
        assert!(!shared.has_journals());
        let mut third = shared.start_journal("worker-0").unwrap();
        third.append([call(3, "c", 17, None)]).unwrap();
        assert_eq!((shared.learn(&path).unwrap().added, sent()), (1, 4));
    }

    #[test]
    fn a_stopped_call_is_merged_and_counted_once_with_the_call_that_continues_it() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let tried = |entry, tries: &str, attempts| match entry {
            Entry::Call(record) => Entry::Call(Box::new(Record { tries: Some(tries.to_owned()), attempts, ..*record })),
            other => other,
        };
        for (number, error) in [(1, None), (2, Some("malformed: no"))] {
            let mut journal = shared.start_journal(&format!("worker-{number}")).unwrap();
            let stopped = tried(call(number, "", 10, Some(STOPPED)), "[1,0]", 1);
            journal.append([stopped, tried(call(number, "late", 11, error), "[1,0]", 2)]).unwrap();
        }
        let mut journal = shared.start_journal("worker-3").unwrap();
        journal.append([tried(call(3, "", 12, Some(STOPPED)), "[1,0]", 1)]).unwrap();
        // An earlier run sent the first try of this one.
        let earlier = tried(call(4, "", 9, Some(STOPPED)), "[1,0]", 1);
        ledger.append(&[earlier.call().unwrap()]).unwrap();
        journal.append([tried(call(4, "late", 13, None), "[1,0]", 3)]).unwrap();
        let counts = shared.merge(&mut ledger).unwrap();
        assert_eq!((counts.paid["m"].calls, counts.paid["m"].attempts), (4, 7));
        for _ in 0..2 {
            assert_eq!(ledger.spent().unwrap()["m"].attempts, 8);
            assert_eq!(ledger.stopped_keys().unwrap().len(), 1);
            assert!(shared.merge(&mut ledger).unwrap().paid.is_empty());
        }
    }

    #[test]
    fn a_part_belongs_to_the_worker_that_began_it_first() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        assert!(shared.claim("tone", 3, "worker-1").unwrap());
        assert!(!shared.claim("tone", 3, "worker-2").unwrap());
        assert!(shared.claim("tone", 3, "worker-1").unwrap(), "it may begin again");
        assert!(shared.claim("mood", 3, "worker-2").unwrap());
        assert_eq!(shared.claimed_by("tone", 3).unwrap().as_deref(), Some("worker-1"));
    }

    #[test]
    fn the_first_value_counts() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        assert_eq!(shared.agree("models.json", &1).unwrap(), 1);
        assert_eq!(shared.agree("models.json", &2).unwrap(), 1);
    }
}
