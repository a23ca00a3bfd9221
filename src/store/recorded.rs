//! Recorded calls: looks up the calls of a replay file by key.
//!
//! Loading copies the calls, sorted by key, to a temporary file that can be read without decoding Parquet pages. The
//! key and the offset of one call in every few kilobytes stay in memory. So a look-up is one short read, and memory
//! hardly grows with the file.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StoreError;
use super::record::{Bytes, Key, Record, pack};
use super::replay::{Caller, RecordedCall, ReplayFile};
use crate::table::Value;

const STEP: u64 = 2 << 10;

#[derive(Clone, Copy, Debug)]
pub(crate) struct CallRef<'a> {
    pub(crate) key: Key,
    pub(crate) stage: &'a str,
    pub(crate) row: i64,
    pub(crate) model: &'a str,
}

pub(crate) struct RecordedCalls {
    path: PathBuf,
    file: File,
    steps: Arc<Steps>,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Steps {
    known: Vec<(Key, u64)>,
    end: u64,
}

impl RecordedCalls {
    /// Copies the calls of `file`, which was read from `from`, to a new file at `path`. An altered call is an error:
    /// the user should fetch the replay file again.
    pub(crate) fn load(file: &ReplayFile, from: &Path, path: &Path) -> Result<Self, StoreError> {
        let damaged = |reason: String| StoreError::Replay { path: from.to_owned(), reason };
        let mut copy = BufWriter::with_capacity(64 << 10, File::create(path).map_err(StoreError::io(path))?);
        let mut steps = Steps::default();
        let mut last: Option<(Key, Option<Caller>)> = None;
        let mut bytes = Vec::new();
        for calls in file.read()? {
            for RecordedCall { caller, record, sound } in calls? {
                let key = record.key;
                if !sound {
                    return Err(damaged(format!("it is damaged: the checksum of call {key} is wrong")));
                }
                write(&mut bytes, caller.as_ref(), &record);
                let this = Some((key, caller));
                if last >= this {
                    let twice = last == this;
                    let order = "its calls are not in the order of their keys".to_owned();
                    return Err(damaged(if twice { format!("it contains call {key} twice") } else { order }));
                }
                last = this;
                if steps.known.last().is_none_or(|(_, place)| steps.end - place >= STEP) {
                    steps.known.push((key, steps.end));
                }
                steps.end += bytes.len() as u64;
                copy.write_all(&bytes).map_err(StoreError::io(path))?;
            }
        }
        copy.flush().map_err(StoreError::io(path))?;
        RecordedCalls::open(path, Arc::new(steps))
    }

    pub(crate) fn again(&self) -> Result<Self, StoreError> {
        RecordedCalls::open(&self.path, self.steps.clone())
    }

    fn open(path: &Path, steps: Arc<Steps>) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io(path))?;
        Ok(RecordedCalls { path: path.to_owned(), file, steps, bytes: Vec::new() })
    }

    /// Returns the records of the calls, in order. If equal calls ended differently, each row gets its own record. A
    /// row that is not in the file gets an answer, if there is one.
    pub(crate) fn find(&mut self, sought: &[CallRef<'_>]) -> Result<Vec<Option<Record>>, StoreError> {
        let found = sought.iter().map(|one| self.find_one(one)).collect::<std::io::Result<_>>();
        found.map_err(StoreError::io(&self.path))
    }

    fn find_one(&mut self, sought: &CallRef<'_>) -> std::io::Result<Option<Record>> {
        let known = &self.steps.known;
        let mut best: Option<(u8, Record)> = None;
        // The first call with the key may be at the end of the previous step.
        let first = known.partition_point(|(key, _)| *key < sought.key).saturating_sub(1);
        for (i, (key, place)) in known.iter().enumerate().skip(first) {
            if *key > sought.key {
                break;
            }
            let end = known.get(i + 1).map_or(self.steps.end, |(_, place)| *place);
            self.bytes.resize((end - place) as usize, 0);
            self.file.seek(SeekFrom::Start(*place))?;
            self.file.read_exact(&mut self.bytes)?;
            let mut calls = Bytes(&self.bytes);
            while !calls.0.is_empty() {
                let call =
                    calls.number(4).and_then(|length| calls.take(length as usize)).ok_or(ErrorKind::InvalidData)?;
                let key = call.get(..16).ok_or(ErrorKind::InvalidData)?;
                if key > sought.key.0.as_slice() {
                    break;
                }
                if key == sought.key.0 {
                    let (caller, record) = read(call).ok_or(ErrorKind::InvalidData)?;
                    let rank = rank(caller.as_ref(), &record, sought);
                    if rank == 0 {
                        return Ok(Some(record));
                    }
                    if best.as_ref().is_none_or(|(before, _)| rank < *before) {
                        best = Some((rank, record));
                    }
                }
            }
        }
        Ok(best.map(|(_, record)| record))
    }
}

/// Returns how well a recorded call matches the requested call; 0 is the best.
fn rank(caller: Option<&Caller>, record: &Record, sought: &CallRef<'_>) -> u8 {
    let own = |w: &Caller| w.stage == sought.stage && w.row == sought.row && w.model == sought.model;
    if caller.is_none_or(own) { 0 } else { 1 + u8::from(record.error.is_some()) }
}

/// Overwrites `out` with a call: its length in four bytes, its record, and the stage, row and model that needed it.
fn write(out: &mut Vec<u8>, caller: Option<&Caller>, record: &Record) {
    out.clear();
    out.extend([0; 4]);
    record.pack(out);
    if let Some(caller) = caller {
        pack(caller.stage.as_str().into(), out);
        pack(caller.row.into(), out);
        pack(caller.model.as_str().into(), out);
    }
    let length = out.len() as u32 - 4;
    out[..4].copy_from_slice(&length.to_be_bytes());
}

fn read(call: &[u8]) -> Option<(Option<Caller>, Record)> {
    let mut bytes = Bytes(call);
    let record = Record::unpack(&mut bytes)?;
    if bytes.0.is_empty() {
        return Some((None, record));
    }
    let stage = bytes.value()?.into_text();
    let Value::Integer(row) = bytes.value()? else { return None };
    Some((Some(Caller { stage, row, model: bytes.value()?.into_text() }), record))
}

#[cfg(test)]
mod tests {
    use super::super::record::Notes;
    use super::super::replay::ReplayWriter;
    use super::*;

    fn key(number: u32) -> Key {
        let mut key = [7; 16];
        key[..4].copy_from_slice(&number.to_be_bytes());
        Key(key)
    }

    fn caller(row: i64) -> Caller {
        Caller { stage: "tone".into(), row, model: "m".into() }
    }

    fn record(number: u32, reply: String, error: Option<&str>) -> Record {
        Record {
            key: key(number),
            model: "llama".into(),
            reply,
            finish: "stop".into(),
            prompt_tokens: u64::from(number),
            completion_tokens: 2,
            latency_ms: 0.0,
            attempts: 1 + number % 3,
            build: number.is_multiple_of(2).then(|| "b".to_owned()),
            error: error.map(str::to_owned),
            tries: number.is_multiple_of(5).then(|| "[]".to_owned()),
            probabilities: None,
            notes: Notes { left_out: number.is_multiple_of(7).then_some(3), ..Notes::default() },
            at: None,
        }
    }

    /// Loads a file with these calls; the error as text.
    fn load(calls: &[(Option<Caller>, Record)]) -> Result<(tempfile::TempDir, RecordedCalls), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.parquet");
        let mut writer = ReplayWriter::create(&path, ("p", "h"), &Default::default()).unwrap();
        calls.iter().for_each(|(caller, record)| writer.push(caller.as_ref(), record).unwrap());
        writer.commit().unwrap();
        let file = ReplayFile::open(&path).unwrap();
        let loaded = RecordedCalls::load(&file, Path::new("f"), &folder.path().join("calls"));
        loaded.map(|recorded| (folder, recorded)).map_err(|error| error.to_string())
    }

    fn sought(number: u32, row: i64) -> CallRef<'static> {
        CallRef { key: key(number), stage: "tone", row, model: "m" }
    }

    #[test]
    fn every_call_is_found_by_every_reader_and_no_other() {
        // Short ones by the dozen between two known places, and some that are longer than such a step.
        let reply = |n: u32| "é".repeat(if n.is_multiple_of(50) { 5000 } else { n as usize % 40 });
        let calls: Vec<_> = (1..3000).map(|n| (None, record(2 * n, reply(n), None))).collect();
        let (_folder, mut recorded) = load(&calls).unwrap();
        assert!((60..1500).contains(&recorded.steps.known.len()));
        let mut again = recorded.again().unwrap();
        // In no order, each between two that are not there.
        let mixed = (0..6001).map(|n| n * 2003 % 6001);
        let wanted: Vec<CallRef<'_>> = mixed.map(|n| sought(n, 1)).collect();
        for reader in [&mut recorded, &mut again] {
            for (one, found) in wanted.iter().zip(reader.find(&wanted).unwrap()) {
                assert_eq!(found.as_ref(), calls.iter().map(|(_, call)| call).find(|call| call.key == one.key));
            }
        }
        let (_folder, mut none) = load(&[]).unwrap();
        assert_eq!(none.find(&wanted[..2]).unwrap(), [None, None]);
    }

    #[test]
    fn equal_calls_over_many_steps_are_distinguished() {
        let end = |row: i64| if row == 700 { None } else { Some("timeout: late") };
        let reply = |row: i64| format!("reply {row}");
        let equal = (1..=900).map(|row| (Some(caller(row)), record(5, reply(row), end(row))));
        let around = |n: u32| (None, record(n, format!("other {n}"), None));
        let calls: Vec<_> = [around(4)].into_iter().chain(equal).chain([around(6)]).collect();
        let (_folder, mut recorded) = load(&calls).unwrap();
        let wanted = [sought(5, 1), sought(5, 899), sought(5, 700), sought(5, 901), sought(4, 3), sought(6, 3)];
        let found = recorded.find(&wanted).unwrap().into_iter().map(|found| found.unwrap().reply);
        let expected = ["reply 1", "reply 899", "reply 700", "reply 700", "other 4", "other 6"];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_file_out_of_order_is_refused() {
        let call = |n: u32, row: Option<i64>| (row.map(caller), record(n, String::new(), None));
        let refused = |calls: &[_]| load(calls).map(|_| ()).unwrap_err();
        assert_eq!(refused(&[call(2, None), call(1, None)]), "f: its calls are not in the order of their keys");
        assert_eq!(refused(&[call(1, Some(2)), call(1, Some(1))]), "f: its calls are not in the order of their keys");
        assert_eq!(refused(&[call(1, None), call(1, None)]), format!("f: it contains call {} twice", key(1)));
        assert!(load(&[call(1, Some(1)), call(1, Some(2)), call(2, None)]).is_ok());
    }
}
