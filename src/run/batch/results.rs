//! The results of a batch, in a file until all its calls are recorded.
//!
//! The file is complete once it has its name. It is read from again when a later block of rows, or a later run, asks for
//! more of its calls.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::provider::{BatchClient, BatchResult, CallError, CallErrorKind};

pub(super) struct Results {
    file: Mutex<File>,
    /// The line of each call that was answered.
    lines: HashMap<String, Line>,
    /// The lines of calls that were not answered.
    untried: u64,
}

struct Line {
    place: u64,
    length: usize,
    /// The hash of the reply; `None` for an error.
    said: Option<u64>,
    /// Whether another line of the call has another reply.
    is_contradicted: bool,
}

pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

impl Results {
    /// Reads which calls were answered. Returns `None` without a file.
    pub(super) fn open(path: &Path, client: &BatchClient<'_>) -> io::Result<Option<Results>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let (mut reader, mut lines, mut place) = (BufReader::new(&file), HashMap::new(), 0);
        let (mut line, mut untried) = (Vec::new(), 0);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            let result = client.read(&line);
            untried += u64::from(matches!(result, Some((_, None))));
            if let Some((id, Some(reply))) = result {
                let said = reply.ok().map(|reply| hash(&reply.text));
                let new = Line { place, length, said, is_contradicted: false };
                match lines.entry(id) {
                    Entry::Vacant(entry) => drop(entry.insert(new)),
                    // A reply counts more than errors before and after it.
                    Entry::Occupied(mut entry) if entry.get().said.is_none() => drop(entry.insert(new)),
                    Entry::Occupied(mut entry) => {
                        entry.get_mut().is_contradicted |= said.is_some_and(|said| entry.get().said != Some(said))
                    }
                }
            }
            place += length as u64;
        }
        drop(reader);
        Ok(Some(Results { file: Mutex::new(file), lines, untried }))
    }

    /// The calls that the file has a line about.
    pub(super) fn calls(&self) -> u64 {
        self.lines.len() as u64 + self.untried
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.lines.contains_key(id)
    }

    pub(super) fn get(&self, id: &str, client: &BatchClient<'_>) -> Option<BatchResult> {
        let Line { place, length, is_contradicted, .. } = self.lines.get(id)?;
        if *is_contradicted {
            let message = "the batch has two different replies to this call";
            return Some((id.to_owned(), Some(Err(CallError::new(CallErrorKind::Malformed, message)))));
        }
        let mut line = vec![0; *length];
        let mut file = self.file.lock();
        file.seek(SeekFrom::Start(*place)).and_then(|_| file.read_exact(&mut line)).ok()?;
        client.read(&line)
    }
}

fn hash(text: &str) -> u64 {
    blake3::hash(text.as_bytes()).as_bytes().iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}
