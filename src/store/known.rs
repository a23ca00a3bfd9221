//! Known answers: the answers that the ledger had when a plan was frozen, as a file that any machine can search.
//!
//! The answers are sorted by key. The index has the key and the place of each. Both files never change, so a shared file
//! system needs no locks for them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use parking_lot::Mutex;

use super::error::StoreError;
use super::journal::{Entry, framed, read_entry};
use super::ledger::Ledger;
use super::record::{Key, Record};
use crate::table::parquet::{new_file, persist};

const ANSWERS: &str = "known.answers";
const INDEX: &str = "known.index";
/// The bytes of an index entry: a key and a place.
const ENTRY: u64 = 24;

/// Writes the answers of `models` into `folder`. Returns their number.
pub(crate) fn write_known(ledger: &Ledger, models: &[String], folder: &Path) -> Result<u64, StoreError> {
    let paths = [folder.join(ANSWERS), folder.join(INDEX)];
    let create = |path: &Path| new_file(path).map_err(StoreError::io(path)).map(BufWriter::new);
    let (mut answers, mut index) = (create(&paths[0])?, create(&paths[1])?);
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
    for (writer, path) in [answers, index].into_iter().zip(&paths) {
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
}

impl Known {
    pub(crate) fn open(folder: &Path) -> Result<Known, StoreError> {
        let open = |name: &str| {
            let path = folder.join(name);
            File::open(&path).map_err(StoreError::io(&path))
        };
        let (answers, index) = (open(ANSWERS)?, open(INDEX)?);
        let bytes = index.metadata().map_err(StoreError::io(&folder.join(INDEX)))?.len();
        Ok(Known { files: Mutex::new((answers, index)), count: bytes / ENTRY, dropped: Mutex::default() })
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
                    return Ok(
                        found.and_then(|entry| if let Entry::Call(record) = entry { Some(*record) } else { None })
                    );
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
        write_known(&ledger, &[], folder.path()).unwrap();
        assert_eq!(Known::open(folder.path()).unwrap().find(Key([2; 16])).unwrap(), None);
    }
}
