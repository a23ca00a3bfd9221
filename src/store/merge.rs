//! Merging: adds answers to a ledger, from a replay file or from another ledger, even a damaged one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::StoreError;
use super::ledger::{Ledger, LedgerError, read_answers, salvage};
use super::record::Record;
use super::replay::ReplayFile;

const GROUP: usize = 4096;
/// Precedes the hash of a server in its name, if the address is not known.
pub(crate) const HASHED_SERVER: &str = "#";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct MergeCounts {
    pub(crate) added: u64,
    pub(crate) known: u64,
    /// Answers that were left out because their checksum is wrong.
    pub(crate) corrupt: u64,
    /// Failed calls, which were left out because a ledger never serves them.
    pub(crate) failed_calls: u64,
    /// Whether the file is damaged. If so, only the answers that were still readable were added.
    pub(crate) damaged: bool,
}

pub(crate) fn merge(ledger: &mut Ledger, from: &Path) -> Result<MergeCounts, StoreError> {
    let mut start = Vec::new();
    File::open(from).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(StoreError::io(from))?;
    let mut sink = Sink { ledger, waiting: Vec::new(), merged: MergeCounts::default() };
    if start == b"PAR1" {
        let file = ReplayFile::open(from)?;
        for model in file.models.values() {
            if let Some(server) = &model.server {
                let name = format!("{} {HASHED_SERVER}{server}", model.provider);
                sink.ledger.remember_build(&name, &model.model, "{}")?;
            }
        }
        for calls in file.read()? {
            for call in calls? {
                match call.sound {
                    false => sink.merged.corrupt += 1,
                    true => sink.take(call.record)?,
                }
            }
        }
        return sink.end();
    }
    match read_answers(from, |record| sink.take(record)) {
        Ok((corrupt, failed)) => {
            sink.ledger.merge_builds(from)?;
            sink.merged.corrupt += corrupt;
            sink.merged.failed_calls += failed;
        }
        Err(LedgerError::Damaged { .. }) => {
            sink.merged.damaged = true;
            salvage(from, |record| sink.take(record))?;
            sink.flush()?;
        }
        Err(error) => return Err(error.into()),
    }
    if sink.merged.damaged && sink.merged.added + sink.merged.known == 0 {
        let reason = "it is neither a replay file nor a ledger with readable answers".to_owned();
        return Err(StoreError::Replay { path: from.to_owned(), reason });
    }
    sink.end()
}

struct Sink<'a> {
    ledger: &'a mut Ledger,
    waiting: Vec<Record>,
    merged: MergeCounts,
}

impl Sink<'_> {
    fn take(&mut self, mut record: Record) -> Result<(), LedgerError> {
        // Answers of another ledger are new here, or a fresh run would not use them.
        record.at = None;
        match record.error {
            Some(_) => self.merged.failed_calls += 1,
            None => self.waiting.push(record),
        }
        if self.waiting.len() == GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LedgerError> {
        let earlier = self.ledger.append(&self.waiting)?;
        let known = earlier.iter().flatten().count() as u64;
        self.merged.known += known;
        self.merged.added += earlier.len() as u64 - known;
        self.waiting.clear();
        Ok(())
    }

    fn end(mut self) -> Result<MergeCounts, StoreError> {
        self.flush()?;
        Ok(self.merged)
    }
}
