//! What attempts on a cluster need of a ledger: its answers in order, and journals merged without doubles.

use std::borrow::Borrow;

use rusqlite::params;

use super::find::read;
use super::{FORMAT, Key, Ledger, LedgerError, RETIRE, Record, Retired, columns};

impl Ledger {
    /// Calls `each` with the answers of `models`, sorted by key. Corrupt answers are skipped.
    pub(crate) fn answers_of(
        &self,
        models: &[String],
        mut each: impl FnMut(&Record) -> std::io::Result<()>,
    ) -> Result<(), LedgerError> {
        let sql = format!(
            "SELECT {}, key FROM calls INDEXED BY answered
                WHERE error IS NULL AND model IN (SELECT value FROM json_each(?1)) ORDER BY key",
            columns(FORMAT)
        );
        let models = serde_json::to_string(models).unwrap_or_default();
        let mut find = self.connection.prepare(&sql).map_err(self.failed())?;
        let mut rows = find.query([models]).map_err(self.failed())?;
        let fields = super::FIELDS.len();
        while let Some(row) = rows.next().map_err(self.failed())? {
            let found = row.get(fields + 2).and_then(|key| {
                let at = Some(row.get(fields + 1)?).filter(|at| !self.imports.contains(at));
                Ok(read(Key(key), row)?.map(|record| Record { at, ..record }))
            });
            if let Some(record) = found.map_err(self.failed())? {
                each(&record).map_err(|error| LedgerError::Io { path: self.path.clone(), error })?;
            }
        }
        Ok(())
    }

    /// The remembered builds as server, model and build.
    pub(crate) fn builds(&self) -> Result<Vec<[String; 3]>, LedgerError> {
        let read = || {
            let mut sql = self.connection.prepare("SELECT provider, model, build FROM builds ORDER BY 1, 2")?;
            let rows = sql.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
            rows.collect::<Result<_, rusqlite::Error>>()
        };
        read().map_err(self.failed())
    }

    /// For each record, whether the ledger lacks it. A record that was retired since is not new.
    pub(crate) fn are_new<R: Borrow<Record>>(&self, records: &[R]) -> Result<Vec<bool>, LedgerError> {
        // Two queries, because each of the two indexes has only a part of the rows.
        let sql = "SELECT EXISTS (SELECT 1 FROM calls WHERE key = ?1 AND error IS NULL AND at = ?2 AND checksum = ?3)
            OR EXISTS (SELECT 1 FROM calls WHERE key = ?1 AND error IS NOT NULL AND at = ?2 AND checksum = ?3)";
        let is_new = |record: &Record| {
            let mut known = self.connection.prepare_cached(sql)?;
            let known: bool = known.query_row(params![record.key.0, record.at, record.checksum()], |row| row.get(0))?;
            Ok(!known)
        };
        records.iter().map(|record| is_new(record.borrow())).collect::<Result<_, _>>().map_err(self.failed())
    }

    /// Retires the answer to `key` if it was recorded before `at`, in milliseconds since 1970.
    pub(crate) fn retire_answer(&self, key: Key, at: i64, why: Retired) -> Result<(), LedgerError> {
        let sql = format!("{RETIRE} AND at < ?3");
        self.connection.execute(&sql, params![key.0, why.error(), at]).map(drop).map_err(self.failed())
    }

    /// The keys of the answers that were retired for this reason.
    pub(crate) fn keys_retired(&self, why: Retired) -> Result<Vec<Key>, LedgerError> {
        let read = || {
            let mut sql = self.connection.prepare("SELECT key FROM calls WHERE error = ?1")?;
            let keys = sql.query_map([why.error()], |row| row.get(0).map(Key))?;
            keys.collect::<Result<_, rusqlite::Error>>()
        };
        read().map_err(self.failed())
    }
}
