//! Known answers: the answers that the ledger had when a plan was frozen, as a file that any machine can search.
//!
//! The answers are sorted by key. The index has the key and the place of each. A third file has the calls that earlier runs
//! stopped between two tries. The files never change, so a shared file system needs no locks for them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use parking_lot::Mutex;

use super::error::StoreError;
use super::journal::{Entry, framed, read_entry};
use super::ledger::Ledger;
use super::record::{Key, Record};
use crate::table::files::{new_file, persist};

const ANSWERS: &str = "known.answers";
const INDEX: &str = "known.index";
const STOPPED: &str = "known.stopped";
/// The bytes of an index entry: a key and a place.
const ENTRY: u64 = 24;

/// Writes the answers of `models` and the stopped calls into `folder`. Returns the number of answers.
pub(crate) fn write_known(ledger: &Ledger, models: &[String], folder: &Path) -> Result<u64, StoreError> {
    let paths = [ANSWERS, INDEX, STOPPED].map(|name| folder.join(name));
    let create = |path: &Path| new_file(path).map_err(StoreError::io(path)).map(BufWriter::new);
    let (mut answers, mut index, mut stopped) = (create(&paths[0])?, create(&paths[1])?, create(&paths[2])?);
    let (mut place, mut count) = (0u64, 0u64);
    ledger.answers_of(models, |record| {
        let frame = framed(record);
        answers.write_all(&frame)?;
        index.write_all(&record.key.0)?;
        index.write_all(&place.to_be_bytes())?;
        place += frame.len() as u64;
        count += 1;
        Ok(())
    })?;
    for call in ledger.stopped_calls()? {
        stopped.write_all(&framed(&call)).map_err(StoreError::io(&paths[2]))?;
    }
    for (writer, path) in [answers, index, stopped].into_iter().zip(&paths) {
        let file = writer.into_inner().map_err(|error| StoreError::io(path)(error.into_error()))?;
        persist(file, path).map_err(StoreError::io(path))?;
    }
    Ok(count)
}

pub(crate) struct Known {
    files: Mutex<(File, File)>,
    count: u64,
    /// The keys whose answers no longer count.
    dropped: Mutex<HashSet<Key>>,
    stopped: Mutex<HashMap<Key, Record>>,
}

impl Known {
    pub(crate) fn open(folder: &Path) -> Result<Known, StoreError> {
        let open = |name: &str| {
            let path = folder.join(name);
            File::open(&path).map_err(StoreError::io(&path))
        };
        let (answers, index) = (open(ANSWERS)?, open(INDEX)?);
        let bytes = index.metadata().map_err(StoreError::io(&folder.join(INDEX)))?.len();
        // Plans of earlier versions have none.
        let mut calls = File::open(folder.join(STOPPED)).ok().map(BufReader::new);
        let stopped = std::iter::from_fn(|| read_entry(calls.as_mut()?)).filter_map(Entry::call);
        Ok(Known {
            files: Mutex::new((answers, index)),
            count: bytes / ENTRY,
            dropped: Mutex::default(),
            stopped: Mutex::new(stopped.map(|call| (call.key, call)).collect()),
        })
    }

    /// Forgets the stopped calls that an attempt with this ledger has continued.
    pub(crate) fn forget_continued(&self, attempt: &Ledger) -> Result<(), StoreError> {
        let mut stopped = self.stopped.lock();
        if !stopped.is_empty() {
            attempt.index_history()?;
        }
        for call in stopped.values().cloned().collect::<Vec<_>>() {
            if attempt.has_tries_of(&call)? {
                stopped.remove(&call.key);
            }
        }
        Ok(())
    }

    /// Takes the call with this key that an earlier run stopped between two tries.
    pub(crate) fn take_stopped(&self, key: Key) -> Option<Record> {
        self.stopped.lock().remove(&key)
    }

    pub(crate) fn drop_answers(&self, keys: &[Key]) {
        self.dropped.lock().extend(keys);
    }

    /// The answer to a call. Blocking.
    pub(crate) fn find(&self, key: Key) -> std::io::Result<Option<Record>> {
        if self.count == 0 || self.dropped.lock().contains(&key) {
            return Ok(None);
        }
        let mut files = self.files.lock();
        let (answers, index) = &mut *files;
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut entry = [0; ENTRY as usize];
            index.seek(SeekFrom::Start(middle * ENTRY))?;
            index.read_exact(&mut entry)?;
            match entry[..16].cmp(&key.0) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let mut place = [0; 8];
                    place.copy_from_slice(&entry[16..]);
                    answers.seek(SeekFrom::Start(u64::from_be_bytes(place)))?;
                    let found = read_entry(&mut BufReader::new(&*answers));
                    return Ok(found.and_then(Entry::call));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_models_is_found_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let call = |number: u8| {
            let model = if number.is_multiple_of(5) { "other" } else { "llama" }.to_owned();
            let error = (number.is_multiple_of(7)).then(|| "refused: x".to_owned());
            let reply = format!("reply {number}");
            Record { key: Key([number; 16]), model, reply, error, at: Some(9), ..Record::default() }
        };
        ledger.append(&(1..=100).map(call).collect::<Vec<_>>()).unwrap();
        let expected =
            |number: u8| (1..=100).contains(&number) && !number.is_multiple_of(5) && !number.is_multiple_of(7);
        let count = write_known(&ledger, &["llama".to_owned()], folder.path()).unwrap();
        assert_eq!(count, (0..=255).filter(|number| expected(*number)).count() as u64);
        let known = Known::open(folder.path()).unwrap();
        for number in 0..=255 {
            let found = known.find(Key([number; 16])).unwrap();
            assert_eq!(found, expected(number).then(|| call(number)), "{number}");
        }
        known.drop_answers(&[Key([1; 16])]);
        assert_eq!(known.find(Key([1; 16])).unwrap(), None);
        assert_eq!(known.take_stopped(Key([1; 16])), None);
        // Windows does not replace open files.
        drop(known);
        write_known(&ledger, &[], folder.path()).unwrap();
        assert_eq!(Known::open(folder.path()).unwrap().find(Key([2; 16])).unwrap(), None);
    }

    #[test]
    fn stopped_calls_are_taken_once_and_not_if_an_attempt_has_continued_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let stopped = |number: u8| {
            let (error, tries) = (Some(super::super::ledger::STOPPED.to_owned()), Some("[1]".to_owned()));
            Record { key: Key([number; 16]), model: "llama".to_owned(), error, tries, ..Record::default() }
        };
        ledger.append(&[stopped(1), stopped(2)]).unwrap();
        write_known(&ledger, &["llama".to_owned()], folder.path()).unwrap();
        let known = Known::open(folder.path()).unwrap();
        let mut attempt = Ledger::open(&folder.path().join("attempt.sqlite")).unwrap();
        let failed = Record { error: Some("timeout: ..".to_owned()), tries: Some("[1,0]".to_owned()), ..stopped(2) };
        attempt.append(&[failed]).unwrap();
        known.forget_continued(&attempt).unwrap();
        let taken: Vec<bool> = [1, 2, 1].map(|number| known.take_stopped(Key([number; 16])).is_some()).into();
        assert_eq!(taken, [true, false, false]);
    }
}
