//! The ledger: every finished call of a project, kept before its answer is used, found again by its key.
//!
//! One SQLite file in WAL mode: readable with any SQLite tool, shared by processes. A commit survives a kill at once, and
//! a power cut after the next [`LedgerSync::sync`]. A failed call is kept as history and never served. This file is
//! sequential; who commits and syncs when is `run`'s.

mod care;
mod checksum;
mod reading;
mod salvage;

use std::borrow::Borrow;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::Notes;

pub use care::{Contents, Dropped, ModelContents, Verified};
pub use checksum::{checksum, fits};
pub use reading::read_answers;
pub use salvage::salvage;

/// The version of the file's format; a newer one is refused. 2 added the probabilities, 3 the notes and
/// a checksum of all that is served.
const FORMAT: i64 = 3;

/// The hash of everything that can change an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

/// What [`Key`] is shown in.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every row of a calls table has one.
        let mut hex = [0; 32];
        for (pair, byte) in hex.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        f.pad(str::from_utf8(&hex).expect("they are digits"))
    }
}

impl FromStr for Key {
    type Err = ();

    /// Reads what [`Key`] is shown as.
    fn from_str(hex: &str) -> Result<Self, ()> {
        let number = u128::from_str_radix(hex, 16).map_err(drop)?;
        let plain = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if plain { Ok(Key(number.to_be_bytes())) } else { Err(()) }
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
    /// The file itself is damaged.
    #[error("the ledger {path} is damaged: {message}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        message: String,
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

impl LedgerError {
    /// For `map_err`: an error of SQLite about the file at `path`.
    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> LedgerError + '_ {
        move |error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                LedgerError::Damaged { path: path.to_owned(), message: error.to_string() }
            }
            _ => LedgerError::Sqlite { path: path.to_owned(), error },
        }
    }
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

/// What makes a file of format 1 one of format 2, and so on. Older checksums still count.
const UPGRADES: [&str; 2] =
    ["ALTER TABLE calls ADD COLUMN probabilities TEXT", "ALTER TABLE calls ADD COLUMN notes TEXT"];

/// Why a record is out of service whose checksum is wrong.
const CORRUPT: &str = "corrupt: the checksum is wrong";

const INSERT: &str = "INSERT OR IGNORE INTO calls
    (key, model, reply, finish, prompt_tokens, completion_tokens, latency_ms, attempts, build, error, tries, at, checksum,
    probabilities, notes)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

/// Takes an answer out of service.
const RETIRE: &str = "UPDATE calls SET error = ?2 WHERE key = ?1 AND error IS NULL";

/// The same, if it was recorded before a moment.
const RETIRE_BEFORE: &str = "UPDATE calls SET error = ?2 WHERE key = ?1 AND error IS NULL AND at < ?3";

const FIND: &str = "SELECT model, reply, finish, prompt_tokens, completion_tokens, latency_ms, attempts, build, tries,
    probabilities, notes, checksum FROM calls WHERE key = ?1 AND error IS NULL AND at >= ?2";

/// Answers that were recorded before a moment.
const BEFORE: &str = "SELECT 1 FROM calls WHERE key = ?1 AND error IS NULL AND at < ?2";

impl Ledger {
    /// Opens the ledger at `path`, makes it if it isn't there.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = LedgerError::sqlite(path);
        let mut connection = Connection::open(path).map_err(&failed)?;
        connection.busy_timeout(Duration::from_secs(60)).map_err(&failed)?;
        let found = format(&connection).map_err(&failed)?;
        if found > FORMAT {
            return Err(LedgerError::Newer { path: path.to_owned(), found });
        }
        // The key index is written at random places: rare checkpoints keep that cheap. The caches are small, so that
        // memory does not grow with the ledger; the system's own cache stands behind them.
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;
            PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;";
        connection.execute_batch(pragmas).map_err(&failed)?;
        if found < FORMAT {
            upgrade(&mut connection).map_err(&failed)?;
        }
        connection.set_prepared_statement_cache_capacity(16);
        Ok(Ledger { path: path.to_owned(), connection })
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> LedgerError + '_ {
        LedgerError::sqlite(&self.path)
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
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut earlier = Vec::with_capacity(records.len());
            {
                let mut insert = transaction.prepare_cached(INSERT)?;
                for r in records.iter().map(Borrow::borrow) {
                    let mut before = None;
                    if !add_one(&mut insert, r, at)? {
                        before = look_up(&transaction, r.key, i64::MIN)?;
                        if before.is_none() {
                            transaction.execute(RETIRE, params![r.key.0, CORRUPT])?;
                            add_one(&mut insert, r, at)?;
                        }
                    }
                    earlier.push(before.flatten());
                }
            }
            transaction.commit()?;
            Ok(earlier)
        };
        add().map_err(LedgerError::sqlite(&self.path))
    }

    /// Takes an answer out of service, for the reason `why`; the call can be answered anew. The record stays as history.
    pub fn retire(&self, key: Key, why: &str) -> Result<(), LedgerError> {
        self.connection.execute(RETIRE, params![key.0, why]).map(drop).map_err(self.failed())
    }

    /// Takes those answers to `keys` out of service, for the reason `why`, that were recorded before the moment `since` (in
    /// milliseconds since 1970).
    pub fn retire_before(&self, keys: &[Key], since: i64, why: &str) -> Result<(), LedgerError> {
        let retire = || {
            let mut old = Vec::new();
            {
                // Mostly there is nothing to do; the file is only locked for writing where there is.
                let reading = self.connection.unchecked_transaction()?;
                let mut before = reading.prepare_cached(BEFORE)?;
                for key in keys {
                    if before.exists(params![key.0, since])? {
                        old.push(key);
                    }
                }
            }
            if old.is_empty() {
                return Ok(());
            }
            let writing = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            for key in old {
                // Another process may have answered it anew in between.
                writing.prepare_cached(RETIRE_BEFORE)?.execute(params![key.0, why, since])?;
            }
            writing.commit()
        };
        retire().map_err(self.failed())
    }

    /// The answered calls of `keys`, in their order. A record whose checksum is wrong is retired and never served.
    pub fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        self.find_since(keys, i64::MIN)
    }

    /// The same, of the answers that were recorded at the moment `since` (in milliseconds since 1970) or later.
    pub fn find_since(&self, keys: &[Key], since: i64) -> Result<Vec<Option<Record>>, LedgerError> {
        let mut corrupt = Vec::new();
        let mut all = || {
            // One read transaction for all: each of its own would lock the file anew.
            let reading = self.connection.unchecked_transaction()?;
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let sound = look_up(&self.connection, *key, since)?;
                if sound.is_none() {
                    corrupt.push(*key);
                }
                found.push(sound.flatten());
            }
            reading.commit()?;
            Ok(found)
        };
        let found = all().map_err(self.failed())?;
        for key in corrupt {
            self.retire(key, CORRUPT)?;
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
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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

/// Adds a record; `false`: there is an answer to the call already.
fn add_one(insert: &mut rusqlite::Statement<'_>, r: &Record, at: i64) -> Result<bool, rusqlite::Error> {
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
    Ok(added > 0)
}

/// The answer to a call, if there is one; nothing at all if what is there is not what was written.
fn look_up(connection: &Connection, key: Key, since: i64) -> Result<Option<Option<Record>>, rusqlite::Error> {
    let mut find = connection.prepare_cached(FIND)?;
    let row =
        find.query_row(params![key.0, since], |row| Ok((record(key, row, 0), row.get::<_, i64>(11)))).optional()?;
    let Some((record, sum)) = row else { return Ok(Some(None)) };
    Ok(sound(record, sum)?.map(Some))
}

/// A record as it was read, if it is what was written. Text that is no UTF-8 and the like are damage, not errors.
fn sound(
    record: Result<Record, rusqlite::Error>,
    sum: Result<i64, rusqlite::Error>,
) -> Result<Option<Record>, rusqlite::Error> {
    match (record, sum) {
        (Ok(record), Ok(sum)) => Ok(fits(&record, sum).then_some(record)),
        (Err(error), _) | (_, Err(error)) if error.sqlite_error_code().is_some() => Err(error),
        _ => Ok(None),
    }
}

/// The record in a row that has its columns from column `at` on.
fn record(key: Key, row: &Row<'_>, at: usize) -> Result<Record, rusqlite::Error> {
    Ok(Record {
        key,
        model: row.get(at)?,
        reply: row.get(at + 1)?,
        finish: row.get(at + 2)?,
        prompt_tokens: row.get::<_, i64>(at + 3)? as u64,
        completion_tokens: row.get::<_, i64>(at + 4)? as u64,
        latency_ms: row.get(at + 5)?,
        attempts: row.get(at + 6)?,
        build: row.get(at + 7)?,
        error: None,
        tries: row.get(at + 8)?,
        probabilities: row.get(at + 9)?,
        notes: Notes::of_json(row.get::<_, Option<String>>(at + 10)?.as_deref()),
    })
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
