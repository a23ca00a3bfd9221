//! Recorded calls: a replay file as something that can be asked by key.
//!
//! The calls are copied into a SQLite file of the run, so that memory doesn't grow with the file and a look-up costs what
//! it costs in the ledger.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params};

use super::ledger::{Key, LedgerError, Record};
use super::replay::{RecordedCall, ReplayFile};
use super::{Notes, StoreError};

/// What makes of a ledger one with recorded calls. The keys come sorted, so that the table grows at its end.
const TABLE: &str = "CREATE TABLE recorded (key BLOB NOT NULL, stage TEXT NOT NULL, row INTEGER NOT NULL,
        stage_model TEXT NOT NULL, model TEXT NOT NULL, reply TEXT NOT NULL, finish TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, attempts INTEGER NOT NULL, build TEXT,
        error TEXT, tries TEXT, probabilities TEXT, notes TEXT, PRIMARY KEY (key, stage, row, stage_model)
    ) STRICT, WITHOUT ROWID;";
const PRAGMAS: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2048;";

const INSERT: &str = "INSERT INTO recorded VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

const FIND: &str = "SELECT stage, row, stage_model, model, reply, finish, prompt_tokens, completion_tokens, attempts,
    build, error, tries, probabilities, notes FROM recorded WHERE key = ?1";

/// A call that is looked up, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Its key.
    pub key: Key,
    /// The stage.
    pub stage: &'a str,
    /// The row's number, from 1.
    pub row: i64,
    /// The model's name in the spec.
    pub model: &'a str,
}

/// The calls of a replay file.
pub struct Recorded {
    path: PathBuf,
    connection: Connection,
}

impl Recorded {
    /// Copies the calls of `file`, which stands at `from`, to a new file at `path`. A call that is not what was written
    /// is an error: a file that is kept to be replayed should be fetched anew then.
    pub fn load(file: &ReplayFile, from: &Path, path: &Path) -> Result<Self, StoreError> {
        let sqlite = LedgerError::sqlite(path);
        let recorded = Recorded { path: path.to_owned(), connection: Connection::open(path).map_err(&sqlite)? };
        let connection = &recorded.connection;
        connection.execute_batch(PRAGMAS).and_then(|()| connection.execute_batch(TABLE)).map_err(&sqlite)?;
        connection.execute_batch("BEGIN").map_err(&sqlite)?;
        let damaged = |reason: String| StoreError::Replay { path: from.to_owned(), reason };
        for calls in file.read()? {
            for call in calls? {
                if !call.sound {
                    return Err(damaged(format!("it is damaged: the checksum of call {} is wrong", call.record.key)));
                }
                insert(connection, &call).map_err(|error| match error.sqlite_error_code() {
                    Some(rusqlite::ErrorCode::ConstraintViolation) => {
                        damaged(format!("it holds call {} twice", call.record.key))
                    }
                    _ => StoreError::from(sqlite(error)),
                })?;
            }
        }
        connection.execute_batch("COMMIT").map_err(&sqlite)?;
        Ok(recorded)
    }

    /// Opens what another has loaded to `path`.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let sqlite = LedgerError::sqlite(path);
        let connection = Connection::open(path).map_err(&sqlite)?;
        connection.execute_batch("PRAGMA cache_size = -2048; PRAGMA query_only = ON").map_err(&sqlite)?;
        Ok(Recorded { path: path.to_owned(), connection })
    }

    /// How the calls ended, in their order. Of equal calls that ended differently, one gets what it got itself; one that
    /// wasn't there gets an answer, if any had one.
    pub fn find(&self, sought: &[Sought<'_>]) -> Result<Vec<Option<Record>>, LedgerError> {
        let all = || {
            let reading = self.connection.unchecked_transaction()?;
            let mut find = self.connection.prepare_cached(FIND)?;
            let mut found = Vec::with_capacity(sought.len());
            for one in sought {
                let mut best: Option<(u8, Record)> = None;
                let mut rows = find.query([one.key.0])?;
                while let Some(row) = rows.next()? {
                    let rank = rank(row, one)?;
                    if best.as_ref().is_none_or(|(before, _)| rank < *before) {
                        best = Some((rank, record(one.key, row, 3)?));
                    }
                }
                found.push(best.map(|(_, record)| record));
            }
            reading.commit()?;
            Ok(found)
        };
        all().map_err(LedgerError::sqlite(&self.path))
    }
}

/// How near a recorded call is to the one that is sought, from 0.
fn rank(row: &Row<'_>, sought: &Sought<'_>) -> Result<u8, rusqlite::Error> {
    let (stage, model) = (row.get_ref(0)?.as_str()?, row.get_ref(2)?.as_str()?);
    let own = stage == sought.stage && row.get::<_, i64>(1)? == sought.row && model == sought.model;
    let answered = row.get_ref(10)? == rusqlite::types::ValueRef::Null;
    Ok(if own || stage.is_empty() { 0 } else { 2 - u8::from(answered) })
}

fn insert(connection: &Connection, call: &RecordedCall) -> Result<(), rusqlite::Error> {
    let r = &call.record;
    let whose = call.whose.clone().unwrap_or_default();
    let mut insert = connection.prepare_cached(INSERT)?;
    insert.execute(params![
        r.key.0,
        whose.stage,
        whose.row,
        whose.model,
        r.model,
        r.reply,
        r.finish,
        r.prompt_tokens as i64,
        r.completion_tokens as i64,
        r.attempts,
        r.build,
        r.error,
        r.tries,
        r.probabilities,
        r.notes.to_json()
    ])?;
    Ok(())
}

/// The call in a row that has its columns from column `at` on.
pub(super) fn record(key: Key, row: &Row<'_>, at: usize) -> Result<Record, rusqlite::Error> {
    Ok(Record {
        key,
        model: row.get(at)?,
        reply: row.get(at + 1)?,
        finish: row.get(at + 2)?,
        prompt_tokens: row.get::<_, i64>(at + 3)? as u64,
        completion_tokens: row.get::<_, i64>(at + 4)? as u64,
        latency_ms: 0.0,
        attempts: row.get(at + 5)?,
        build: row.get(at + 6)?,
        error: row.get(at + 7)?,
        tries: row.get(at + 8)?,
        probabilities: row.get(at + 9)?,
        notes: Notes::of_json(row.get::<_, Option<String>>(at + 10)?.as_deref()),
    })
}
