//! The ledger: stores every finished call of a project before its answer is used, and finds it by its key.
//!
//! The ledger is one SQLite file in WAL mode. Any SQLite tool can read it, and several processes can share it. A commit
//! survives a kill immediately, and a power cut after the next [`LedgerSync::sync`]. Failed calls are kept as history
//! and never served. The functions here block; `run` decides when to commit and sync.

mod add;
mod attempts;
mod batches;
mod care;
mod find;
mod reading;
mod salvage;
mod since;
mod stopped;
mod totals;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use tempfile::TempDir;

use super::call_totals::CallTotals;
use super::record::{FIELDS, Field, Key, Record};
use crate::table::Type;

pub(crate) use add::Added;
pub(crate) use batches::{Batch, NewBatch, Placed};
pub(crate) use care::{Contents, DropCounts, VerifyCounts, read_answers};
pub(crate) use salvage::salvage;
pub(crate) use since::Since;
pub(crate) use stopped::STOPPED;

/// The version of the file's format. A newer format is refused. Format 2 added the probabilities. Format 3 added the
/// notes and a checksum of all fields.
const FORMAT: i64 = 3;
/// The first format with notes.
const NOTES: i64 = 3;
/// How long a connection waits for another process.
const WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("the ledger {path} can't be used: {error}")]
    Sqlite { path: PathBuf, error: rusqlite::Error },
    #[error("the ledger {path} is damaged: {message}")]
    Damaged { path: PathBuf, message: String },
    #[error("the ledger's file {path} can't be read: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("the ledger {path} was written by a newer fanfold (format {found}; this one reads {FORMAT})")]
    Newer { path: PathBuf, found: i64 },
}

impl LedgerError {
    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> LedgerError + '_ {
        move |error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                LedgerError::Damaged { path: path.to_owned(), message: error.to_string() }
            }
            _ => LedgerError::Sqlite { path: path.to_owned(), error },
        }
    }
}

pub(crate) struct Ledger {
    path: PathBuf,
    connection: Connection,
    /// The times at which answers were imported. These are not the times of their calls.
    imports: HashSet<i64>,
    /// Finds answers that the ledger lacks.
    behind: Option<Behind>,
    is_read_only: bool,
    /// The copy that is read instead of the file.
    _copy: Option<TempDir>,
}

pub(crate) type Behind = Box<dyn Fn(&[Key]) -> Vec<Option<Record>> + Send>;

/// Makes commits durable. SQLite itself syncs the log only at checkpoints, which keeps commits cheap.
pub(crate) struct LedgerSync {
    log: Option<File>,
}

impl LedgerSync {
    pub(super) fn of_file(log: File) -> Self {
        LedgerSync { log: Some(log) }
    }

    /// For a log that needs no sync.
    pub(super) fn none() -> Self {
        LedgerSync { log: None }
    }

    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.log.as_ref().map_or(Ok(()), File::sync_data)
    }
}

/// Why an answer is no longer served. The reason is stored as the record's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    Corrupt,
    Unfit,
    Fresh,
    Changed,
}

impl Retired {
    fn error(self) -> &'static str {
        match self {
            Retired::Corrupt => "corrupt: the checksum is wrong",
            Retired::Unfit => "unfit: the reply is not what is asked for now",
            Retired::Fresh => "fresh: asked again",
            Retired::Changed => "changed: the server may have had another build of the model",
        }
    }

    const ALL: [Retired; 4] = [Retired::Corrupt, Retired::Unfit, Retired::Fresh, Retired::Changed];

    /// The number of the reason in journals.
    pub(super) fn code(self) -> u8 {
        Self::ALL.iter().position(|other| *other == self).unwrap_or_default() as u8
    }

    pub(super) fn of_code(code: u64) -> Option<Retired> {
        Self::ALL.get(code as usize).copied()
    }
}

/// The state of a record, as SQL: `answer`, `failed`, `stopped`, `retired` or `corrupt`. No failed call has an error of
/// these kinds.
const STATE: &str = "CASE WHEN error IS NULL THEN 'answer' WHEN error LIKE 'corrupt: %' THEN 'corrupt'
    WHEN error LIKE 'stopped: %' THEN 'stopped'
    WHEN error LIKE 'unfit: %' OR error LIKE 'fresh: %' OR error LIKE 'changed: %' THEN 'retired' ELSE 'failed' END";

/// The columns: the fields of format 1, then `at` and `checksum`, then the fields that were added to existing files.
static SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let columns = |first: bool| {
        let fields = FIELDS.iter().filter(move |field| (field.since == 1) == first);
        fields.map(|field| format!(", {}", definition(field))).collect::<String>()
    };
    format!(
        "CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, key BLOB NOT NULL{}, at INTEGER NOT NULL,
            checksum INTEGER NOT NULL{}) STRICT;
        CREATE UNIQUE INDEX IF NOT EXISTS answered ON calls (key) WHERE error IS NULL;
        CREATE TABLE IF NOT EXISTS builds (provider TEXT NOT NULL, model TEXT NOT NULL, build TEXT NOT NULL,
            PRIMARY KEY (provider, model)) STRICT;",
        columns(true),
        columns(false)
    )
});

fn definition(field: &Field) -> String {
    let kind = match field.kind() {
        Type::Integer => "INTEGER",
        Type::Number => "REAL",
        _ => "TEXT",
    };
    format!("{} {kind}{}", field.name, if field.is_optional() { "" } else { " NOT NULL" })
}

/// The columns that `find.rs` reads.
fn columns(format: i64) -> String {
    let names = FIELDS.iter().map(|field| if field.since > format { "NULL" } else { field.name });
    names.chain(["checksum", "at"]).collect::<Vec<_>>().join(", ")
}

/// Whether a record is older than a [`Since`].
const OLD: &str = "(id <= ?2 OR at < ?3)";

const INDEX_HISTORY: &str = "CREATE INDEX IF NOT EXISTS history ON calls (key) WHERE error IS NOT NULL";

const RETIRE: &str = "UPDATE calls SET error = ?2 WHERE key = ?1 AND error IS NULL";

static RETIRE_OLD: LazyLock<String> =
    LazyLock::new(|| format!("UPDATE calls SET error = ?4 WHERE key = ?1 AND error IS NULL AND {OLD}"));

const RETIRE_ID: &str = "UPDATE calls SET error = ?2 WHERE id = ?1 AND error IS NULL";

static BEFORE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT 1 FROM calls WHERE key = ?1 AND error IS NULL AND {OLD}"));

impl Ledger {
    /// Opens the ledger at `path`; creates it if it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = LedgerError::sqlite(path);
        let mut connection = Connection::open(path).map_err(&failed)?;
        connection.busy_timeout(WAIT).map_err(&failed)?;
        let found = known_format(path, &connection)?;
        // Writes to the key index are random, so rare checkpoints save work. The caches are small, so that memory does
        // not grow with the ledger. The operating system caches the pages.
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;
            PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;";
        connection.execute_batch(pragmas).map_err(&failed)?;
        if found < FORMAT {
            upgrade(&mut connection).map_err(&failed)?;
        }
        connection.set_prepared_statement_cache_capacity(16);
        let imports = imports(&connection).map_err(&failed)?;
        let path = path.to_owned();
        Ok(Ledger { path, connection, imports, behind: None, is_read_only: false, _copy: None })
    }

    /// Makes [`Self::find`] return the answers of `behind` that the ledger lacks.
    pub(crate) fn look_behind(&mut self, behind: Behind) {
        self.behind = Some(behind);
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> LedgerError + '_ {
        LedgerError::sqlite(&self.path)
    }

    pub(crate) fn sync(&self) -> Result<LedgerSync, LedgerError> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        // The log file exists only after the connection has read something.
        self.is_empty()?;
        // Windows syncs only what is open for writing.
        let opened = File::options().read(true).write(true).open(&log);
        let opened = opened.map_err(|error| LedgerError::Io { path: log.into(), error })?;
        Ok(LedgerSync { log: Some(opened) })
    }

    pub(crate) fn retire(&self, key: Key, why: Retired) -> Result<(), LedgerError> {
        self.connection.execute(RETIRE, params![key.0, why.error()]).map(drop).map_err(self.failed())
    }

    /// Retires the answers with these ids in one transaction.
    pub(crate) fn retire_ids(&self, ids: &[i64], why: Retired) -> Result<(), LedgerError> {
        let retire = || {
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            for id in ids {
                let mut retire = transaction.prepare_cached(RETIRE_ID)?;
                retire.execute(params![id, why.error()])?;
            }
            transaction.commit()
        };
        retire().map_err(self.failed())
    }

    /// Retires as [`Retired::Fresh`] the answers to `keys` that are older than `since`.
    pub(crate) fn retire_before(&self, keys: &[Key], since: Since) -> Result<(), LedgerError> {
        let retire = || {
            let mut old = Vec::new();
            {
                // Usually there is nothing to retire. The file is locked for writing only if there is.
                let reading = self.connection.unchecked_transaction()?;
                let mut before = reading.prepare_cached(&BEFORE)?;
                for key in keys {
                    if before.exists(params![key.0, since.id, since.ms])? {
                        old.push(key);
                    }
                }
            }
            if old.is_empty() {
                return Ok(());
            }
            let writing = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            for key in old {
                // Another process may have added a new answer in between.
                let why = Retired::Fresh.error();
                writing.prepare_cached(&RETIRE_OLD)?.execute(params![key.0, since.id, since.ms, why])?;
            }
            writing.commit()
        };
        retire().map_err(self.failed())
    }

    /// Makes [`Self::replaced`] fast.
    pub(crate) fn index_history(&self) -> Result<(), LedgerError> {
        self.connection.execute_batch(INDEX_HISTORY).map_err(self.failed())
    }

    /// The numbers of answers and of failed calls. Retired answers are neither.
    pub(crate) fn count(&self) -> Result<(u64, u64), LedgerError> {
        let sql = format!(
            "SELECT COUNT(*) FILTER (WHERE error IS NULL),
                COUNT(*) FILTER (WHERE error IS NOT NULL AND {STATE} = 'failed') FROM calls"
        );
        self.connection.query_row(&sql, [], |row| Ok((count(row, 0)?, count(row, 1)?))).map_err(self.failed())
    }

    /// The moment after all records so far. Another run may already hold an earlier one.
    pub(crate) fn now(&self) -> Result<i64, LedgerError> {
        let sql = "SELECT COALESCE(MAX(id), 0) FROM calls";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(self.failed())
    }

    pub(crate) fn is_empty(&self) -> Result<bool, LedgerError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM calls)";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(self.failed())
    }

    pub(crate) fn remember_build(&self, provider: &str, model: &str, build: &str) -> Result<(), LedgerError> {
        let sql = "INSERT INTO builds VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET build = excluded.build";
        self.connection.execute(sql, params![provider, model, build]).map(drop).map_err(self.failed())
    }

    /// Adds the builds that the ledger at `from` remembers. Builds that are known here stay.
    pub(crate) fn merge_builds(&self, from: &Path) -> Result<(), LedgerError> {
        let other =
            Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(LedgerError::sqlite(from))?;
        let read = || {
            let mut sql = other.prepare("SELECT provider, model, build FROM builds")?;
            let rows = sql.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
            rows.collect::<Result<Vec<[String; 3]>, _>>()
        };
        // The first ledgers remember no builds.
        for [provider, model, build] in read().unwrap_or_default() {
            let sql = "INSERT INTO builds VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            self.connection.execute(sql, params![provider, model, build]).map_err(self.failed())?;
        }
        Ok(())
    }

    /// The servers that have been asked for the build of `model`, sorted, as their names in [`Ledger::remember_build`].
    pub(crate) fn servers_of(&self, model: &str) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT provider FROM builds WHERE model = ?1 ORDER BY provider";
        let found = self.connection.prepare_cached(sql).and_then(|mut sql| {
            let names = sql.query_map(params![model], |row| row.get(0))?;
            names.collect()
        });
        found.map_err(self.failed())
    }

    pub(crate) fn known_build(&self, provider: &str, model: &str) -> Result<Option<String>, LedgerError> {
        let sql = "SELECT build FROM builds WHERE provider = ?1 AND model = ?2";
        self.connection.query_row(sql, params![provider, model], |row| row.get(0)).optional().map_err(self.failed())
    }
}

/// Returns the version of a file's format, or 0 for a new file.
fn format(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn known_format(path: &Path, connection: &Connection) -> Result<i64, LedgerError> {
    match format(connection).map_err(LedgerError::sqlite(path))? {
        found if found > FORMAT => Err(LedgerError::Newer { path: path.to_owned(), found }),
        found => Ok(found),
    }
}

/// Creates the tables of a new file, or adds the columns that an older file lacks. One transaction excludes other
/// processes, which find the upgraded file afterwards.
fn upgrade(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = format(&transaction)?;
    if found == 0 {
        transaction.execute_batch(&SCHEMA)?;
    } else {
        for field in FIELDS.iter().filter(|field| field.since > found) {
            transaction.execute_batch(&format!("ALTER TABLE calls ADD COLUMN {}", definition(field)))?;
        }
    }
    transaction.pragma_update(None, "user_version", found.max(FORMAT))?;
    transaction.commit()
}

fn imports(connection: &Connection) -> rusqlite::Result<HashSet<i64>> {
    let there = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'imports')";
    if !connection.query_row(there, [], |row| row.get::<_, bool>(0))? {
        return Ok(HashSet::new());
    }
    let mut times = connection.prepare("SELECT at FROM imports")?;
    times.query_map([], |row| row.get(0))?.collect()
}

fn count(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(column).map(|number| number as u64)
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
