//! Care of a ledger: counts its records, verifies them and drops those that no run uses.

use rusqlite::{Connection, params};

use super::reading::{check, read_all};
use super::{Key, Ledger, LedgerError, Retired, STATE, count};

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Contents {
    /// The version of the file's format.
    pub format: i64,
    pub answers: u64,
    /// Calls that failed: history, never served.
    pub failed_calls: u64,
    /// Answers that are not served any more: they do not fit what is asked now, or `--fresh` asked again.
    pub retired: u64,
    /// Answers that are not served any more because their checksum is wrong.
    pub corrupt: u64,
    /// The model with the most answers first.
    pub models: Vec<ModelContents>,
    /// When the oldest record was added, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// When the newest record was added, in milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ModelContents {
    /// The provider's id.
    pub model: String,
    pub answers: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct VerifyCounts {
    pub sound: u64,
    /// Answers that are not what was written; they have been retired.
    pub corrupt: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DropCounts {
    /// Answers that no run uses.
    pub answers: u64,
    /// Failed calls and retired answers.
    pub history: u64,
}

/// Records that may go: history, and answers with neither a key in `used` nor a model in `kept`.
const UNUSED: &str = "error IS NOT NULL
    OR (key NOT IN (SELECT key FROM temp.used) AND model NOT IN (SELECT model FROM temp.kept))";

impl Ledger {
    pub fn contents(&self) -> Result<Contents, LedgerError> {
        let read = || {
            let mut contents = Contents { format: super::format(&self.connection)?, ..Contents::default() };
            let states = format!("SELECT {STATE}, COUNT(*), MIN(at), MAX(at) FROM calls GROUP BY 1");
            let mut states = self.connection.prepare(&states)?;
            let mut rows = states.query([])?;
            while let Some(row) = rows.next()? {
                *match row.get::<_, String>(0)?.as_str() {
                    "answer" => &mut contents.answers,
                    "corrupt" => &mut contents.corrupt,
                    "retired" => &mut contents.retired,
                    _ => &mut contents.failed_calls,
                } = count(row, 1)?;
                let (oldest, newest) = (row.get(2)?, row.get(3)?);
                contents.oldest_ms = Some(contents.oldest_ms.map_or(oldest, |before| before.min(oldest)));
                contents.newest_ms = contents.newest_ms.max(Some(newest));
            }
            let mut by_model = self.connection.prepare(
                "SELECT model, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens) FROM calls WHERE error IS NULL
                    GROUP BY model ORDER BY 2 DESC, 1",
            )?;
            let models = by_model.query_map([], |row| {
                Ok(ModelContents {
                    model: row.get(0)?,
                    answers: count(row, 1)?,
                    prompt_tokens: count(row, 2)?,
                    completion_tokens: count(row, 3)?,
                })
            })?;
            contents.models = models.collect::<Result<_, _>>()?;
            Ok(contents)
        };
        read().map_err(self.failed())
    }

    /// Reads every answer and retires those that are not what was written. A file that SQLite can't read is an error.
    pub fn verify(&self) -> Result<VerifyCounts, LedgerError> {
        check(&self.path, &self.connection)?;
        let (mut verified, mut corrupt) = (VerifyCounts::default(), Vec::new());
        read_all(&self.path, &self.connection, |id, record| {
            match record {
                Some(_) => verified.sound += 1,
                None => corrupt.push(id),
            }
            Ok(())
        })?;
        verified.corrupt = corrupt.len() as u64;
        let retire = || {
            let transaction = self.connection.unchecked_transaction()?;
            for id in corrupt {
                let sql = "UPDATE calls SET error = ?2 WHERE id = ?1";
                transaction.execute(sql, params![id, Retired::Corrupt.error()])?;
            }
            transaction.commit()
        };
        retire().map_err(self.failed())?;
        Ok(verified)
    }

    /// Drops history and the answers that are neither to `used` calls nor of the models in `kept`, all or nothing. Then it
    /// shrinks the file. `dry`: only counts.
    pub fn sweep<E: From<LedgerError>>(
        &mut self,
        used: impl Iterator<Item = Result<Key, E>>,
        kept: &[String],
        dry: bool,
    ) -> Result<DropCounts, E> {
        // There may be too many keys for the memory.
        let tables = "PRAGMA temp_store = FILE; CREATE TABLE temp.used (key BLOB PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE temp.kept (model TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN IMMEDIATE;";
        self.connection.execute_batch(tables).map_err(self.failed())?;
        for key in used {
            let sql = "INSERT OR IGNORE INTO temp.used VALUES (?1)";
            let mut insert = self.connection.prepare_cached(sql).map_err(self.failed())?;
            insert.execute([key?.0]).map_err(self.failed())?;
        }
        Ok(drop_unused(&self.connection, kept, dry).map_err(self.failed())?)
    }
}

fn drop_unused(connection: &Connection, kept: &[String], dry: bool) -> Result<DropCounts, rusqlite::Error> {
    for model in kept {
        connection.execute("INSERT OR IGNORE INTO temp.kept VALUES (?1)", [model])?;
    }
    let counts = format!("SELECT COUNT(*) FILTER (WHERE error IS NULL), COUNT(*) FROM calls WHERE {UNUSED}");
    let dropped = connection.query_row(&counts, [], |row| {
        let answers = count(row, 0)?;
        Ok(DropCounts { answers, history: count(row, 1)? - answers })
    })?;
    if dry {
        connection.execute_batch("ROLLBACK")?;
        return Ok(dropped);
    }
    // One transaction, then a copy that replaces the file as a whole: after a kill at any point the file is as before or as
    // after.
    connection.execute(&format!("DELETE FROM calls WHERE {UNUSED}"), [])?;
    connection.execute_batch("COMMIT; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(dropped)
}
