//! The results of a batch, in a file until all its calls are recorded.
//!
//! The file is complete once it has its name. It is read from again when a later block of rows, or a later run, asks for
//! more of its calls.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::provider::{BatchClient, BatchResult};

pub(super) struct Results {
    file: Mutex<File>,
    /// The place and the length of the line of each call that was answered.
    lines: HashMap<String, (u64, usize)>,
    /// Whether some call has a reply without an error.
    pub(super) has_replies: bool,
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
        let (mut line, mut has_replies) = (Vec::new(), false);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            if let Some((id, Some(reply))) = client.read(&line) {
                has_replies |= reply.is_ok();
                lines.insert(id, (place, length));
            }
            place += length as u64;
        }
        drop(reader);
        Ok(Some(Results { file: Mutex::new(file), lines, has_replies }))
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.lines.contains_key(id)
    }

    pub(super) fn get(&self, id: &str, client: &BatchClient<'_>) -> Option<BatchResult> {
        let (place, length) = self.lines.get(id)?;
        let mut line = vec![0; *length];
        let mut file = self.file.lock();
        file.seek(SeekFrom::Start(*place)).and_then(|_| file.read_exact(&mut line)).ok()?;
        client.read(&line)
    }
}
