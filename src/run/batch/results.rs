//! The results of a batch, in a file until all its calls are recorded.
//!
//! The file is complete once it has its name. It is read from again when a later block of rows, or a later run, asks for
//! more of its calls.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::provider::{BatchClient, BatchResult, CallError, CallErrorKind, Reply};

pub(super) struct Results {
    file: Mutex<File>,
    /// The line of each call that was answered.
    lines: HashMap<String, Line>,
    /// The number of lines that are results, also those of calls without a reply.
    pub(super) count: u64,
    /// Whether some call has a reply without an error.
    pub(super) has_replies: bool,
}

struct Line {
    place: u64,
    length: usize,
    /// The hash of the reply.
    said: u64,
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
        let (mut line, mut has_replies, mut count) = (Vec::new(), false, 0);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            let result = client.read(&line);
            count += u64::from(result.is_some());
            if let Some((id, Some(reply))) = result {
                has_replies |= reply.is_ok();
                let new = Line { place, length, said: said(&reply), is_contradicted: false };
                let known = lines.entry(id).or_insert(new);
                known.is_contradicted |= known.said != said(&reply);
            }
            place += length as u64;
        }
        drop(reader);
        Ok(Some(Results { file: Mutex::new(file), lines, count, has_replies }))
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

fn said(reply: &Result<Reply, CallError>) -> u64 {
    let text = reply.as_ref().map_or_else(|error| error.message.as_str(), |reply| reply.text.as_str());
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}
