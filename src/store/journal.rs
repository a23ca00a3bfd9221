//! Journals: the calls of one attempt on a cluster, as a file that only the attempt appends to.
//!
//! On an object store, which can't append, the pieces of the file are numbered objects. A file begins with a line that
//! names its format. Each entry has a length, a checksum and a payload. A kill can tear only the last entry, which readers
//! skip. A database would need locks, which shared file systems rarely have.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ledger::{LedgerSync, Retired};
use super::mirror::Mirror;
use super::record::{Bytes, Key, Record};

const HEADER: &[u8] = b"fanfold-journal 1\n";
/// A larger entry is damage.
const MOST_BYTES: u32 = 1 << 30;
const ENDING: &str = "journal";

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    Call(Box<Record>),
    /// The build of a model on a server, as in the ledger.
    Build([String; 3]),
    /// An answer recorded before `at` (milliseconds since 1970) no longer counts.
    Retired {
        key: Key,
        at: i64,
        why: Retired,
    },
}

impl Entry {
    pub(super) fn call(self) -> Option<Record> {
        if let Entry::Call(record) = self { Some(*record) } else { None }
    }

    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Call(record) => pack_call(record, out),
            Entry::Build(names) => {
                out.push(2);
                out.extend(serde_json::to_vec(names).unwrap_or_default());
            }
            Entry::Retired { key, at, why } => {
                out.push(3);
                out.extend(key.0);
                out.extend(at.to_be_bytes());
                out.push(why.code());
            }
        }
    }

    fn unpack(payload: &[u8]) -> Option<Entry> {
        let mut bytes = Bytes(payload);
        Some(match bytes.number(1)? {
            1 => {
                let at = bytes.number(8)? as i64;
                let record = Record::unpack(&mut bytes)?;
                Entry::Call(Box::new(Record { at: (at != i64::MIN).then_some(at), ..record }))
            }
            2 => Entry::Build(serde_json::from_slice(bytes.0).ok()?),
            3 => {
                let key = Key(bytes.take(16)?.try_into().ok()?);
                let at = bytes.number(8)? as i64;
                Entry::Retired { key, at, why: Retired::of_code(bytes.number(1)?)? }
            }
            _ => return None,
        })
    }
}

fn pack_call(record: &Record, out: &mut Vec<u8>) {
    out.push(1);
    out.extend(record.at.unwrap_or(i64::MIN).to_be_bytes());
    record.pack(out);
}

/// Appends an entry with its length and checksum.
fn frame(out: &mut Vec<u8>, pack: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 12]);
    pack(out);
    let length = (out.len() - start - 12) as u32;
    let sum = sum(&out[start + 12..]);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + 12].copy_from_slice(&sum);
}

fn sum(payload: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    sum
}

/// A call as an entry of a file, for files with an index.
pub(super) fn framed(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, |out| pack_call(record, out));
    out
}

/// Reads the next entry. `None` at the end, and before a torn or damaged entry.
pub(super) fn read_entry(from: &mut impl Read) -> Option<Entry> {
    let mut head = [0; 12];
    from.read_exact(&mut head).ok()?;
    let length = Bytes(&head).number(4)? as u32;
    if length > MOST_BYTES {
        return None;
    }
    let mut payload = Vec::new();
    from.by_ref().take(length.into()).read_to_end(&mut payload).ok()?;
    let is_sound = payload.len() == length as usize && sum(&payload) == head[4..];
    if is_sound { Entry::unpack(&payload) } else { None }
}

/// The least time between two objects of a journal. The calls of a worker wait for it, and share objects.
const PACE: Duration = Duration::from_millis(100);

pub(crate) struct Journal {
    target: Target,
    frames: Vec<u8>,
}

enum Target {
    File(File),
    /// The objects in a folder of a run on an object store; `next` is the number of the next one.
    Objects {
        mirror: Mirror,
        folder: String,
        next: u64,
        written: Instant,
    },
}

impl Journal {
    /// Creates the next journal of `worker` in `folder`. No other attempt writes it.
    pub(crate) fn create(folder: &Path, worker: &str) -> io::Result<Journal> {
        std::fs::create_dir_all(folder)?;
        for number in of_worker(folder, worker)?.len().. {
            let path = folder.join(file_name(worker, &number.to_string()));
            match OpenOptions::new().append(true).create_new(true).open(path) {
                Ok(mut file) => {
                    file.write_all(HEADER)?;
                    return Ok(Journal { target: Target::File(file), frames: Vec::new() });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("numbers do not end")
    }

    /// Creates the next journal of `worker` on an object store.
    pub(super) fn create_objects(mirror: &Mirror, worker: &str) -> io::Result<Journal> {
        let own = Mirror::journals_of(worker);
        let names = mirror.bucket().list(&own)?;
        let attempt = |name: &String| name.rsplit('/').nth(1)?.parse::<u64>().ok();
        let first = names.iter().filter_map(attempt).max().map_or(0, |last| last + 1);
        for number in first.. {
            let folder = format!("{own}/{number}");
            if mirror.bucket().put_new(&object(&folder, 0), HEADER.to_vec())? {
                let target = Target::Objects { mirror: mirror.clone(), folder, next: 1, written: Instant::now() };
                return Ok(Journal { target, frames: Vec::new() });
            }
        }
        unreachable!("numbers do not end")
    }

    /// The time until more calls should be written.
    pub(crate) fn pause(&self) -> Duration {
        match &self.target {
            Target::File(_) => Duration::ZERO,
            Target::Objects { written, .. } => PACE.saturating_sub(written.elapsed()),
        }
    }

    pub(crate) fn append_calls<'a>(&mut self, records: impl Iterator<Item = &'a Record>) -> io::Result<()> {
        records.for_each(|record| frame(&mut self.frames, |out| pack_call(record, out)));
        self.write()
    }

    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        entries.into_iter().for_each(|entry| frame(&mut self.frames, |out| entry.pack(out)));
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let frames = std::mem::take(&mut self.frames);
        match &mut self.target {
            Target::File(file) => {
                let written = file.write_all(&frames);
                self.frames = frames;
                self.frames.clear();
                written
            }
            Target::Objects { .. } if frames.is_empty() => Ok(()),
            Target::Objects { mirror, folder, next, written } => {
                mirror.bucket().put(&object(folder, *next), frames)?;
                *next += 1;
                *written = Instant::now();
                Ok(())
            }
        }
    }

    pub(crate) fn sync(&self) -> io::Result<LedgerSync> {
        match &self.target {
            Target::File(file) => file.try_clone().map(LedgerSync::of_file),
            // An object that was written is durable.
            Target::Objects { .. } => Ok(LedgerSync::none()),
        }
    }
}

fn object(folder: &str, number: u64) -> String {
    format!("{folder}/{number:08}")
}

/// The name of the file of a journal.
pub(super) fn file_name(worker: &str, number: &str) -> String {
    format!("{worker}.{number}.{ENDING}")
}

/// The journals in `folder`, sorted.
pub(crate) fn journals(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    Ok(paths)
}

/// The journals of a worker. Names of workers contain no dot, or differ before the last two.
pub(crate) fn of_worker(folder: &Path, worker: &str) -> io::Result<Vec<PathBuf>> {
    let is_own = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        stem.rsplit_once('.').is_some_and(|(name, _)| name == worker)
    };
    Ok(journals(folder)?.into_iter().filter(is_own).collect())
}

/// The entries of a journal from a place on, in bytes, up to the first torn one, each with the place after it.
pub(crate) fn entries_after(path: &Path, place: u64) -> io::Result<impl Iterator<Item = (Entry, u64)> + use<>> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut header = [0; HEADER.len()];
    // A journal may have been killed before its header was written.
    let is_journal = reader.read_exact(&mut header).is_ok() && header == HEADER;
    reader.seek(SeekFrom::Start(place.max(HEADER.len() as u64)))?;
    let next = move || Some((read_entry(&mut reader)?, reader.stream_position().ok()?));
    Ok(std::iter::from_fn(next).take_while(move |_| is_journal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(path: &Path) -> io::Result<impl Iterator<Item = Entry>> {
        Ok(entries_after(path, 0)?.map(|(entry, _)| entry))
    }

    fn call(number: u8) -> Record {
        let reply = format!("reply {number}");
        Record { key: Key([number; 16]), reply, at: Some(number.into()), attempts: 1, ..Record::default() }
    }

    fn all() -> Vec<Entry> {
        let build = ["ollama http://a".to_owned(), "llama".to_owned(), "{}".to_owned()];
        let retired = Entry::Retired { key: Key([1; 16]), at: 7, why: Retired::Unfit };
        vec![Entry::Build(build), Entry::Call(Box::new(call(1))), retired, Entry::Call(Box::new(call(2)))]
    }

    #[test]
    fn entries_survive_and_a_torn_last_one_is_skipped_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), "worker-1").unwrap();
        journal.append(all()).unwrap();
        let path = of_worker(folder.path(), "worker-1").unwrap().remove(0);
        assert_eq!(entries(&path).unwrap().collect::<Vec<_>>(), all());
        let bytes = std::fs::read(&path).unwrap();
        let mut counts = Vec::new();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let found: Vec<Entry> = entries(&path).unwrap().collect();
            assert_eq!(found, all()[..found.len()]);
            counts.push(found.len());
        }
        assert!(counts.is_sorted() && counts.last() == Some(&3));
    }

    #[test]
    fn an_altered_byte_ends_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), "a").unwrap();
        journal.append(all()).unwrap();
        let path = of_worker(folder.path(), "a").unwrap().remove(0);
        let bytes = std::fs::read(&path).unwrap();
        for place in (0..bytes.len()).step_by(7) {
            let mut altered = bytes.clone();
            altered[place] ^= 0x20;
            std::fs::write(&path, altered).unwrap();
            let found: Vec<Entry> = entries(&path).unwrap().collect();
            assert!(found.len() < 4 && found == all()[..found.len()], "byte {place}");
        }
    }

    #[test]
    fn each_attempt_has_its_own_journal() {
        let folder = tempfile::tempdir().unwrap();
        for worker in ["worker-1", "worker-1", "worker-10", "tone-1", "worker-1"] {
            Journal::create(folder.path(), worker).unwrap();
        }
        let names = |worker: &str| {
            let paths = of_worker(folder.path(), worker).unwrap();
            paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("worker-1"), ["worker-1.0.journal", "worker-1.1.journal", "worker-1.2.journal"]);
        assert_eq!(names("worker-10"), ["worker-10.0.journal"]);
        assert_eq!(journals(folder.path()).unwrap().len(), 5);
    }
}
