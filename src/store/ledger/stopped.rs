//! Calls that the end of a run stopped between two tries. Their replies so far are paid, so the next run continues
//! them. When such a call ends, its record replaces the stopped one, whose tries it has.

use std::collections::HashSet;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::find::read;
use super::{FORMAT, Key, Ledger, LedgerError, OLD, Record, Since, columns};

/// The error of such a record.
pub(crate) const STOPPED: &str = "stopped: the run ended between two tries";

/// The index has only the stopped calls. Older versions keep it up to date.
const NAME: &str = "stopped";

static INDEX: LazyLock<String> =
    LazyLock::new(|| format!("CREATE INDEX IF NOT EXISTS {NAME} ON calls (key) WHERE error = '{STOPPED}'"));

static KEYS: LazyLock<String> = LazyLock::new(|| format!("SELECT key FROM calls WHERE error = '{STOPPED}'"));

static FIND: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(FORMAT);
    format!("SELECT {columns} FROM calls WHERE key = ?1 AND error = '{STOPPED}' AND NOT {OLD} ORDER BY id DESC")
});

/// The tries are a JSON list, so those of the later record begin with the same text.
static FORGET: LazyLock<String> = LazyLock::new(|| {
    format!(
        "DELETE FROM calls WHERE key = ?1 AND error = '{STOPPED}' AND id < ?2
            AND substr(tries, 1, length(tries) - 1) = substr(?3, 1, length(tries) - 1)"
    )
});

/// Two parts, because each index has only a part of the rows.
static CONTINUED: LazyLock<String> = LazyLock::new(|| {
    let of = |which: &str| {
        format!(
            "SELECT 1 FROM calls WHERE key = ?1 AND {which} AND tries IS NOT NULL
                AND substr(tries, 1, length(?2) - 1) = substr(?2, 1, length(?2) - 1)"
        )
    };
    format!("{} UNION ALL {}", of("error IS NULL"), of("error IS NOT NULL"))
});

impl Record {
    pub(crate) fn is_stopped(&self) -> bool {
        self.error.as_deref() == Some(STOPPED)
    }

    /// Whether it is the record of a call that continues `stopped`: the tries of it begin with the same ones.
    pub(crate) fn continues(&self, stopped: &Record) -> bool {
        let beginning = stopped.tries.as_deref().and_then(|tries| tries.strip_suffix(']'));
        beginning.zip(self.tries.as_deref()).is_some_and(|(beginning, tries)| tries.starts_with(beginning))
    }
}

impl Ledger {
    /// The keys of the stopped calls.
    pub(crate) fn stopped_keys(&self) -> Result<HashSet<Key>, LedgerError> {
        let read = || {
            if !has_stopped(&self.connection)? {
                return Ok(HashSet::new());
            }
            let mut find = self.connection.prepare(&KEYS)?;
            let keys = find.query_map([], |row| row.get(0).map(Key))?;
            keys.collect()
        };
        read().map_err(self.failed())
    }

    /// The stopped calls that the next run continues.
    pub(crate) fn stopped_calls(&self) -> Result<Vec<Record>, LedgerError> {
        let found = |key| self.stopped(key, Since::ALWAYS).transpose();
        self.stopped_keys()?.into_iter().filter_map(found).collect()
    }

    /// Whether the ledger has the stopped call, or a record that continues it and so has its tries.
    /// [`Ledger::index_history`] makes it fast.
    pub(crate) fn has_tries_of(&self, stopped: &Record) -> Result<bool, LedgerError> {
        let found = || self.connection.prepare_cached(&CONTINUED)?.exists(params![stopped.key.0, stopped.tries]);
        found().map_err(self.failed())
    }

    /// The stopped call with this key, if it is not older than `since`.
    pub(crate) fn stopped(&self, key: Key, since: Since) -> Result<Option<Record>, LedgerError> {
        let of_row = |row: &Row<'_>| read(key, row);
        let find =
            || self.connection.prepare_cached(&FIND)?.query_row(params![key.0, since.id, since.ms], of_row).optional();
        find().map(Option::flatten).map_err(self.failed())
    }
}

/// Makes the ledger able to have stopped calls.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&INDEX)
}

/// Whether the ledger has had stopped calls.
pub(super) fn has_stopped(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?1")?.exists([NAME])
}

/// Deletes the stopped call that `record`, which has this id, continues. No id is used twice, since the record is there
/// already.
pub(super) fn forget(connection: &Connection, record: &Record, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached(&FORGET)?.execute(params![record.key.0, id, record.tries]).map(drop)
}
