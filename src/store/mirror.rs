//! Mirrors: a run's folder on an object store, for workers that share no file system.
//!
//! ```text
//! <cluster.folder>/runs/<name>-<hash>/
//!   plan.json, spec/<file>, known.answers, known.index    as in the folder `cluster` of a run      stored_run.rs
//!   sources/<file>               the copies of the sources
//!   files/<path>                 the other files that the spec reads
//!   parts/<table>/<part>         a part with its calls; it is committed by the worker that creates it
//!   claims/, models/, done/      as in the folder `cluster`                                        shared.rs
//!   journals/<worker>/<attempt>/<number>    the calls of one attempt                               journal.rs
//! ```
//!
//! An object can't be appended to, so a journal is many small objects, which together are the file of a journal.

use std::io;
use std::path::{Path, PathBuf};

use crate::object::{Address, Bucket, ObjectError};
use crate::table::files::write_whole;

const PARTS: &str = "parts";
const JOURNALS: &str = "journals";
/// Begins an object with a part. The lengths of the rows and of the calls follow, then both, then a checksum.
const HEADER: &[u8] = b"fanfold-part 1\n";
const SUM: usize = 32;
/// Journals are read in groups of this many objects.
const GROUP: usize = 512;

#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    address: Address,
    bucket: Bucket,
}

impl Mirror {
    /// The run at an address. Sends nothing.
    pub(crate) fn open(address: &Address) -> Result<Mirror, ObjectError> {
        Ok(Mirror { address: address.clone(), bucket: Bucket::open(address)? })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(super) fn part_name(table: &str, part: u64) -> String {
        format!("{PARTS}/{table}/{part:05}")
    }

    /// The names of all objects with parts.
    pub(super) fn parts(&self) -> Result<Vec<String>, ObjectError> {
        self.bucket.list(PARTS)
    }

    pub(super) fn journals_of(worker: &str) -> String {
        format!("{JOURNALS}/{worker}")
    }

    /// Copies the journals of `worker`, or of all workers, into `folder`. `name` makes the name of a file from those of
    /// the worker and the attempt.
    pub(super) fn fetch_journals(
        &self,
        worker: Option<&str>,
        folder: &Path,
        name: impl Fn(&str, &str) -> String,
    ) -> io::Result<()> {
        let names = self.bucket.list(&worker.map_or(JOURNALS.to_owned(), Self::journals_of))?;
        let attempt =
            |object: &String| object.rsplit_once('/').map_or(String::new(), |(attempt, _)| attempt.to_owned());
        for objects in names.chunk_by(|a, b| attempt(a) == attempt(b)) {
            let mut words = objects[0].split('/').skip(1);
            let (Some(worker), Some(number)) = (words.next(), words.next()) else { continue };
            let mut journal = Vec::new();
            for group in objects.chunks(GROUP) {
                self.bucket.get_all(group)?.iter().for_each(|bytes| journal.extend(bytes));
            }
            std::fs::create_dir_all(folder)?;
            write_whole(&folder.join(name(worker, number)), &journal)?;
        }
        Ok(())
    }
}

/// The bytes of an object with a part.
pub(super) fn pack(rows: &[u8], calls: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER.len() + 16 + rows.len() + calls.len() + SUM);
    bytes.extend(HEADER);
    bytes.extend((rows.len() as u64).to_be_bytes());
    bytes.extend((calls.len() as u64).to_be_bytes());
    bytes.extend(rows);
    bytes.extend(calls);
    let sum = blake3::hash(&bytes);
    bytes.extend(sum.as_bytes());
    bytes
}

/// The rows and the calls in an object. `None` if it is damaged.
pub(super) fn unpack(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    if blake3::hash(content).as_bytes() != sum {
        return None;
    }
    let lengths = content.strip_prefix(HEADER)?;
    let (rows, rest) = length(lengths)?;
    let (calls, rest) = length(rest)?;
    let (rows, rest) = rest.split_at_checked(rows)?;
    (rest.len() == calls).then_some((rows, rest))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((usize::try_from(u64::from_be_bytes(*number)).ok()?, rest))
}

/// The file of `name` in `folder`. Names that lead out of the folder are refused.
pub(super) fn inside(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let is_plain = name.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']));
    if !is_plain {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{name}` is not the name of a file")));
    }
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_survives_and_an_altered_one_is_refused() {
        for (rows, calls) in [(&b"rows"[..], &b"calls"[..]), (b"", b""), (b"rows", b"")] {
            let packed = pack(rows, calls);
            assert_eq!(unpack(&packed), Some((rows, calls)));
            for place in 0..packed.len() {
                let mut altered = packed.clone();
                altered[place] ^= 1;
                assert_eq!(unpack(&altered), None);
                assert_eq!(unpack(&packed[..place]), None);
            }
        }
    }

    #[test]
    fn names_stay_in_their_folder() {
        let folder = Path::new("/run");
        assert_eq!(inside(folder, "stages/gist/a.sum").unwrap(), Path::new("/run/stages/gist/a.sum"));
        for name in ["", "/etc/passwd", "../a", "a/../../b", "a//b", r"a\..\b", "c:/a"] {
            assert!(inside(folder, name).is_err(), "{name}");
        }
    }
}
