//! The ledger: every finished call of a project, kept before its answer is used, found again by its key.
//!
//! One SQLite file in WAL mode: readable with any SQLite tool, shared by processes. A commit survives a kill at once, and
//! a power cut after the next [`LedgerSync::sync`]. A failed call is kept as history and never served. This file is
//! sequential; who commits and syncs when is `run`'s.

use std::borrow::Borrow;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Notes;

/// The version of the file's format; a newer one is refused.
const FORMAT: i64 = 3;

/// The hash of everything that can change an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One finished call.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// The provider's id of the model.
    pub model: String,
    /// The raw reply; of the last attempt, if there were several.
    pub reply: String,
    /// Why the model stopped.
    pub finish: String,
    /// Tokens of all its prompts.
    pub prompt_tokens: u64,
    /// Tokens of all its replies.
    pub completion_tokens: u64,
    /// Milliseconds from the start of the first attempt to the last reply, pauses between attempts included.
    pub latency_ms: f64,
    /// How often it was tried.
    pub attempts: u32,
    /// The build that answered, where replies name one.
    pub build: Option<String>,
    /// `kind: message` of the last attempt, if the call failed.
    pub error: Option<String>,
    /// The earlier attempts as a JSON list of `{reply, error}`, if there were any.
    pub tries: Option<String>,
    /// How probable the labels were, as a JSON object of keys of objects of labels, where the provider told it.
    pub probabilities: Option<String>,
    /// How the answer came about, where that is not plain.
    pub notes: Notes,
}

/// Why the ledger can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite or the disk under it.
    #[error("the ledger {path} can't be used: {error}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// Its write-ahead log can't be opened.
    #[error("the ledger's log {path} can't be opened: {error}")]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A newer fanfold wrote it.
    #[error("the ledger {path} was written by a newer fanfold (format {found}; this one reads {FORMAT})")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
}

/// An open ledger.
pub struct Ledger {
    path: PathBuf,
    connection: Connection,
}

/// Makes commits safe from a power cut: SQLite itself syncs the log only at checkpoints, so that a commit is cheap.
pub struct LedgerSync {
    log: File,
}

impl LedgerSync {
    /// Syncs every commit so far.
    pub fn sync(&self) -> std::io::Result<()> {
        self.log.sync_data()
    }
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    model TEXT NOT NULL,
    reply TEXT NOT NULL,
    finish TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    latency_ms REAL NOT NULL,
    attempts INTEGER NOT NULL,
    build TEXT,
    error TEXT,
    tries TEXT,
    at INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    probabilities TEXT,
    notes TEXT
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS answered ON calls (key) WHERE error IS NULL;
CREATE TABLE IF NOT EXISTS builds (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    build TEXT NOT NULL,
    PRIMARY KEY (provider, model)
) STRICT;
";

/// What makes a file of format 1 one of format 2, and so on.
const UPGRADES: [&str; 2] =
    ["ALTER TABLE calls ADD COLUMN probabilities TEXT", "ALTER TABLE calls ADD COLUMN notes TEXT"];

const INSERT: &str = "INSERT OR IGNORE INTO calls
    (key, model, reply, finish, prompt_tokens, completion_tokens, latency_ms, attempts, build, error, tries, at, checksum,
    probabilities, notes)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

const FIND: &str = "SELECT model, reply, finish, prompt_tokens, completion_tokens, latency_ms, attempts, build, tries,
    probabilities, notes, checksum FROM calls WHERE key = ?1 AND error IS NULL";

impl Ledger {
    /// Opens the ledger at `path`, makes it if it isn't there.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |error| LedgerError::Sqlite { path: path.to_owned(), error };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(60)).map_err(failed)?;
        let found = format(&connection).map_err(failed)?;
        if found > FORMAT {
            return Err(LedgerError::Newer { path: path.to_owned(), found });
        }
        // The key index is written at random places: rare checkpoints keep that cheap. The caches are small, so that
        // memory does not grow with the ledger; the system's own cache stands behind them.
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;
            PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;";
        connection.execute_batch(pragmas).map_err(failed)?;
        if found < FORMAT {
            upgrade(&mut connection).map_err(failed)?;
        }
        connection.set_prepared_statement_cache_capacity(16);
        Ok(Ledger { path: path.to_owned(), connection })
    }

    fn failed(&self) -> impl FnOnce(rusqlite::Error) -> LedgerError + '_ {
        |error| LedgerError::Sqlite { path: self.path.clone(), error }
    }

    /// What syncs this ledger's commits.
    pub fn sync(&self) -> Result<LedgerSync, LedgerError> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        // The log is there as long as a connection is open that has read.
        self.is_empty()?;
        let opened = File::open(&log).map_err(|error| LedgerError::Log { path: log.into(), error })?;
        Ok(LedgerSync { log: opened })
    }

    /// Adds records in one transaction. The first answer to a call counts: where the ledger has another already, that one
    /// is given back, in the records' order, and the new one is dropped.
    pub fn append<R: Borrow<Record>>(&mut self, records: &[R]) -> Result<Vec<Option<Record>>, LedgerError> {
        let at = chrono::Utc::now().timestamp_millis();
        let mut add = || {
            let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let mut earlier = Vec::with_capacity(records.len());
            {
                let mut insert = transaction.prepare_cached(INSERT)?;
                for r in records.iter().map(Borrow::borrow) {
                    let added = insert.execute(params![
                        r.key.0,
                        r.model,
                        r.reply,
                        r.finish,
                        r.prompt_tokens as i64,
                        r.completion_tokens as i64,
                        r.latency_ms,
                        r.attempts,
                        r.build,
                        r.error,
                        r.tries,
                        at,
                        checksum(r),
                        r.probabilities,
                        r.notes.to_json()
                    ])?;
                    earlier.push(match added {
                        0 => transaction
                            .prepare_cached(FIND)?
                            .query_row(params![r.key.0], |row| record(r.key, row))
                            .optional()?,
                        _ => None,
                    });
                }
            }
            transaction.commit()?;
            Ok(earlier)
        };
        add().map_err(|error| LedgerError::Sqlite { path: self.path.clone(), error })
    }

    /// Takes an answer out of service, for the reason `why`; the call can be answered anew. The record stays as history.
    pub fn retire(&self, key: Key, why: &str) -> Result<(), LedgerError> {
        let sql = "UPDATE calls SET error = ?2 WHERE key = ?1 AND error IS NULL";
        self.connection.execute(sql, params![key.0, why]).map(drop).map_err(self.failed())
    }

    /// The answered calls of `keys`, in their order. A record whose checksum is wrong is retired and never served.
    pub fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        let mut corrupt = Vec::new();
        let mut look_up = || {
            // One read transaction for all: each of its own would lock the file anew.
            let reading = self.connection.unchecked_transaction()?;
            let mut find = self.connection.prepare_cached(FIND)?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let row = find.query_row(params![key.0], |row| Ok((record(*key, row)?, row.get::<_, i64>(11)?)));
                found.push(match row.optional()? {
                    Some((record, sum)) if checksum(&record) == sum => Some(record),
                    Some(_) => {
                        corrupt.push(*key);
                        None
                    }
                    None => None,
                });
            }
            reading.commit()?;
            Ok(found)
        };
        let found = look_up().map_err(self.failed())?;
        for key in corrupt {
            self.retire(key, "corrupt: the checksum is wrong")?;
        }
        Ok(found)
    }

    /// How many answered and how many failed calls it holds.
    pub fn count(&self) -> Result<(u64, u64), LedgerError> {
        let sql = "SELECT COUNT(*) FILTER (WHERE error IS NULL), COUNT(*) FILTER (WHERE error IS NOT NULL) FROM calls";
        self.connection
            .query_row(sql, [], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))
            .map_err(self.failed())
    }

    /// Whether it holds no call at all.
    pub fn is_empty(&self) -> Result<bool, LedgerError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM calls)";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(self.failed())
    }

    /// Remembers the build of a model that a server had, as JSON.
    pub fn remember_build(&mut self, provider: &str, model: &str, build: &str) -> Result<(), LedgerError> {
        let sql = "INSERT INTO builds VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET build = excluded.build";
        self.connection.execute(sql, params![provider, model, build]).map(drop).map_err(self.failed())
    }

    /// The last known build of a model, as JSON.
    pub fn known_build(&self, provider: &str, model: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT build FROM builds WHERE provider = ?1 AND model = ?2";
        self.connection.query_row(sql, params![provider, model], |row| row.get(0)).optional().map_err(self.failed())
    }
}

/// The version of a file's format; 0 when it is new.
fn format(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Makes the tables of a new file, or those of an older format what they are now. All in one transaction that locks out
/// other processes, which then find it done.
fn upgrade(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found = format(&transaction)?;
    match found {
        0 => transaction.execute_batch(SCHEMA)?,
        _ => {
            let mut upgrades = UPGRADES.iter().skip(found as usize - 1);
            upgrades.try_for_each(|upgrade| transaction.execute_batch(upgrade))?;
        }
    }
    transaction.pragma_update(None, "user_version", found.max(FORMAT))?;
    transaction.commit()
}

fn record(key: Key, row: &Row<'_>) -> Result<Record, rusqlite::Error> {
    Ok(Record {
        key,
        model: row.get(0)?,
        reply: row.get(1)?,
        finish: row.get(2)?,
        prompt_tokens: row.get::<_, i64>(3)? as u64,
        completion_tokens: row.get::<_, i64>(4)? as u64,
        latency_ms: row.get(5)?,
        attempts: row.get(6)?,
        build: row.get(7)?,
        error: None,
        tries: row.get(8)?,
        probabilities: row.get(9)?,
        notes: Notes::of_json(row.get::<_, Option<String>>(10)?.as_deref()),
    })
}

/// A checksum of what decides an answer.
fn checksum(record: &Record) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&record.key.0);
    for text in [&record.model, &record.reply, &record.finish] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&record.prompt_tokens.to_le_bytes());
    hasher.update(&record.completion_tokens.to_le_bytes());
    // A record without them has the sum that it had before there were any.
    hasher.update(record.probabilities.as_deref().unwrap_or_default().as_bytes());
    hasher.update(record.notes.to_json().unwrap_or_default().as_bytes());
    let bytes: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    i64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
