//! Merging: answers from a replay file, from another ledger or from what is left of a damaged one into a ledger.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use super::ledger::{Record, read_answers, salvage};
use super::{Ledger, LedgerError, ReplayFile, StoreError};

/// Answers that are added at once.
const GROUP: usize = 4096;

/// What was merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Merged {
    /// Answers that were added.
    pub added: u64,
    /// Answers to calls that had one already, which counts.
    pub known: u64,
    /// Answers whose checksum is wrong; they were left out.
    pub corrupt: u64,
    /// Failed calls; they are of no use in a ledger and were left out.
    pub failed_calls: u64,
    /// Whether the file is damaged: then this is what could still be read.
    pub damaged: bool,
}

/// Merges the file at `from`, a replay file or a ledger, into `ledger`.
pub fn merge(ledger: &mut Ledger, from: &Path) -> Result<Merged, StoreError> {
    let mut start = Vec::new();
    File::open(from).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(StoreError::io(from))?;
    let mut sink = Sink { ledger, waiting: Vec::new(), merged: Merged::default() };
    if start == b"PAR1" {
        for calls in ReplayFile::open(from)?.read()? {
            for call in calls? {
                match call.sound {
                    false => sink.merged.corrupt += 1,
                    true => sink.take(call.record)?,
                }
            }
        }
        return sink.end();
    }
    let corrupt = match read_answers(from, |record| sink.take(record)) {
        Ok((corrupt, failed)) => {
            sink.merged.failed_calls += failed;
            corrupt
        }
        Err(LedgerError::Damaged { .. }) => {
            sink.merged.damaged = true;
            let read = salvage(from, |record| match sink.take(record) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            });
            match read.map_err(StoreError::io(from))? {
                ControlFlow::Continue(()) => sink.flush().map(|()| 0)?,
                ControlFlow::Break(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    sink.merged.corrupt += corrupt;
    if sink.merged.damaged && sink.merged.added + sink.merged.known == 0 {
        let reason = "it is neither a replay file nor a ledger of which anything can be read".to_owned();
        return Err(StoreError::Replay { path: from.to_owned(), reason });
    }
    sink.end()
}

/// Where the answers go.
struct Sink<'a> {
    ledger: &'a mut Ledger,
    waiting: Vec<Record>,
    merged: Merged,
}

impl Sink<'_> {
    fn take(&mut self, record: Record) -> Result<(), LedgerError> {
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

    fn end(mut self) -> Result<Merged, StoreError> {
        self.flush()?;
        Ok(self.merged)
    }
}
