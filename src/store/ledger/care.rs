//! Care of a ledger: what it holds, whether that is sound, and what may go.

use rusqlite::{Connection, params};

use super::reading::{check, read_all};
use super::{CORRUPT, Key, Ledger, LedgerError};

/// What a ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Contents {
    /// The version of its format.
    pub format: i64,
    /// Calls that are answered.
    pub answers: u64,
    /// Calls that failed; history, never served.
    pub failed_calls: u64,
    /// Answers that were taken out of service because they no longer fit what is asked, or were asked for again.
    pub retired: u64,
    /// Answers that were taken out of service because their checksum is wrong.
    pub corrupt: u64,
    /// The answers by model, the most first.
    pub models: Vec<ModelContents>,
    /// When its oldest record was added, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// When its newest record was added, in milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

/// The answers of one model.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ModelContents {
    /// The provider's id of it.
    pub model: String,
    /// Its answers.
    pub answers: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of their replies.
    pub completion_tokens: u64,
}

/// What reading every record showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Answers that are what was written.
    pub sound: u64,
    /// Answers that are not, and have been taken out of service.
    pub corrupt: u64,
}

/// What of a ledger is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// Answers that nobody uses.
    pub answers: u64,
    /// Failed calls, and answers that are out of service.
    pub history: u64,
}

/// Records that may go: history, and answers whose key is not in `used` and whose model not in `kept`.
const UNUSED: &str = "error IS NOT NULL
    OR (key NOT IN (SELECT key FROM temp.used) AND model NOT IN (SELECT model FROM temp.kept))";

impl Ledger {
    /// What it holds.
    pub fn contents(&self) -> Result<Contents, LedgerError> {
        let read = || {
            let mut contents = self.connection.query_row(
                "SELECT COUNT(*) FILTER (WHERE error IS NULL),
                    COUNT(*) FILTER (WHERE error NOT LIKE 'corrupt: %' AND error NOT LIKE 'unfit: %'
                        AND error NOT LIKE 'fresh: %'),
                    COUNT(*) FILTER (WHERE error LIKE 'unfit: %' OR error LIKE 'fresh: %'), COUNT(*) FILTER (WHERE error LIKE 'corrupt: %'),
                    MIN(at), MAX(at) FROM calls",
                [],
                |row| {
                    let count = |i| row.get::<_, i64>(i).map(|n| n as u64);
                    Ok(Contents {
                        format: 0,
                        answers: count(0)?,
                        failed_calls: count(1)?,
                        retired: count(2)?,
                        corrupt: count(3)?,
                        models: Vec::new(),
                        oldest_ms: row.get(4)?,
                        newest_ms: row.get(5)?,
                    })
                },
            )?;
            contents.format = super::format(&self.connection)?;
            let mut by_model = self.connection.prepare(
                "SELECT model, COUNT(*), SUM(prompt_tokens), SUM(completion_tokens) FROM calls WHERE error IS NULL
                    GROUP BY model ORDER BY 2 DESC, 1",
            )?;
            let models = by_model.query_map([], |row| {
                Ok(ModelContents {
                    model: row.get(0)?,
                    answers: row.get::<_, i64>(1)? as u64,
                    prompt_tokens: row.get::<_, i64>(2)? as u64,
                    completion_tokens: row.get::<_, i64>(3)? as u64,
                })
            })?;
            contents.models = models.collect::<Result<_, _>>()?;
            Ok(contents)
        };
        read().map_err(self.failed())
    }

    /// Reads every answer and takes those out of service that are not what was written. A file that SQLite can't make
    /// sense of is an error.
    pub fn verify(&self) -> Result<Verified, LedgerError> {
        check(&self.path, &self.connection)?;
        let (mut verified, mut corrupt) = (Verified::default(), Vec::new());
        read_all(&self.path, &self.connection, |id, record| {
            match record {
                Some(_) => verified.sound += 1,
                None => {
                    verified.corrupt += 1;
                    corrupt.push(id);
                }
            }
            Ok(())
        })?;
        let quarantine = || {
            let transaction = self.connection.unchecked_transaction()?;
            for id in corrupt {
                transaction.execute("UPDATE calls SET error = ?2 WHERE id = ?1", params![id, CORRUPT])?;
            }
            transaction.commit()
        };
        quarantine().map_err(self.failed())?;
        Ok(verified)
    }

    /// Drops failed calls, answers out of service and answers that nobody uses, all or nothing; gives the room back to
    /// the file system. Answers to `used` calls are kept, and all answers of the models in `kept`. `dry`: only counts.
    pub fn sweep<E: From<LedgerError>>(
        &mut self,
        used: impl Iterator<Item = Result<Key, E>>,
        kept: &[String],
        dry: bool,
    ) -> Result<Dropped, E> {
        // Many keys: they don't stand in memory.
        let tables = "PRAGMA temp_store = FILE; CREATE TABLE temp.used (key BLOB PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE temp.kept (model TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN IMMEDIATE;";
        self.connection.execute_batch(tables).map_err(self.failed())?;
        for key in used {
            let sql = "INSERT OR IGNORE INTO temp.used VALUES (?1)";
            let mut insert = self.connection.prepare_cached(sql).map_err(self.failed())?;
            insert.execute([key?.0]).map_err(self.failed())?;
        }
        let path = self.path.clone();
        drop_unused(&self.connection, kept, dry).map_err(|error| LedgerError::sqlite(&path)(error).into())
    }
}

fn drop_unused(connection: &Connection, kept: &[String], dry: bool) -> Result<Dropped, rusqlite::Error> {
    for model in kept {
        connection.execute("INSERT OR IGNORE INTO temp.kept VALUES (?1)", [model])?;
    }
    let count = format!("SELECT COUNT(*) FILTER (WHERE error IS NULL), COUNT(*) FROM calls WHERE {UNUSED}");
    let dropped = connection.query_row(&count, [], |row| {
        let (answers, all) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
        Ok(Dropped { answers, history: all - answers })
    })?;
    if dry {
        connection.execute_batch("ROLLBACK")?;
        return Ok(dropped);
    }
    // One transaction, then a copy that takes the file's place as a whole: killed anywhere in it, the file is as before
    // or as after.
    connection.execute(&format!("DELETE FROM calls WHERE {UNUSED}"), [])?;
    connection.execute_batch("COMMIT; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(dropped)
}
