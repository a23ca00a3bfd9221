//! The batches of a ledger: jobs of calls that a provider answers within a day.
//!
//! A batch is stored with its calls before it is sent, and with the provider's id as soon as that is known. So a killed
//! run loses none: the next run finds the id here, or looks for the name at the provider. A batch is open until all its
//! calls are in the ledger. The tables exist only in ledgers that had a batch; older versions ignore them.

use std::path::Path;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::stopped::has_stopped;
use super::{Ledger, LedgerError, STOPPED, Since, count};
use crate::store::record::Key;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, server TEXT NOT NULL,
        model TEXT NOT NULL, calls INTEGER NOT NULL, done INTEGER NOT NULL, after INTEGER NOT NULL,
        created INTEGER NOT NULL, file TEXT, job TEXT, state TEXT, ended INTEGER) STRICT;
    CREATE TABLE IF NOT EXISTS batch_calls (call TEXT NOT NULL, batch INTEGER NOT NULL, key BLOB NOT NULL,
        PRIMARY KEY (call, batch)) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS calls_of_batch ON batch_calls (batch);";

const COLUMNS: &str = "id, name, server, model, calls, done, created, file, job, state";

/// A batch that is not finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) id: i64,
    /// The name that fanfold made, by which a provider can find the job.
    pub(crate) name: String,
    /// The kind and the address of the provider.
    pub(crate) server: String,
    /// The model's id at the provider.
    pub(crate) model: String,
    pub(crate) calls: u64,
    /// The calls that had ended when the provider was asked the last time.
    pub(crate) done: u64,
    /// In milliseconds since 1970.
    pub(crate) created: i64,
    /// The provider's id of the file with the calls.
    pub(crate) file: Option<String>,
    /// The provider's id of the job; `None` if it was not sent, or if the process ended before it knew the id.
    pub(crate) job: Option<String>,
    /// The provider's last word for its state.
    pub(crate) state: Option<String>,
}

/// A batch to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewBatch<'a> {
    pub(crate) name: &'a str,
    pub(crate) server: &'a str,
    pub(crate) model: &'a str,
    /// Open batches older than this do not count.
    pub(crate) since: Since,
}

/// Where calls are.
#[derive(Debug, PartialEq)]
pub(crate) enum Placed {
    /// Some are in these batches, whose jobs are not known. Nothing was stored.
    Unknown(Vec<Batch>),
    /// For each call the open batch that has it, and the new batch with all others.
    Known(Vec<Option<Batch>>, Option<Batch>),
}

impl Ledger {
    fn has_batches(&self) -> Result<bool, LedgerError> {
        let there = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'batch_calls')";
        self.connection.query_row(there, [], |row| row.get(0)).map_err(self.failed())
    }

    fn select(&self, condition: &str) -> Result<Vec<Batch>, LedgerError> {
        if !self.has_batches()? {
            return Ok(Vec::new());
        }
        let rows = || {
            let sql = format!("SELECT {COLUMNS} FROM batches WHERE {condition} ORDER BY id");
            self.connection.prepare(&sql)?.query_map([], read)?.collect::<Result<Vec<Batch>, _>>()
        };
        rows().map_err(self.failed())
    }

    /// The open batches in the ledger at `path`, if there is one.
    pub(crate) fn open_batches_at(path: &Path) -> Result<Vec<Batch>, LedgerError> {
        if path.exists() { Ledger::read(path)?.open_batches() } else { Ok(Vec::new()) }
    }

    /// The batches whose calls are not all recorded.
    pub(crate) fn open_batches(&self) -> Result<Vec<Batch>, LedgerError> {
        self.select("ended IS NULL")
    }

    /// The jobs that belong to batches, open or not.
    pub(crate) fn batch_jobs(&self) -> Result<Vec<String>, LedgerError> {
        Ok(self.select("job IS NOT NULL")?.into_iter().filter_map(|batch| batch.job).collect())
    }

    /// Finds the open batches of calls, given by their ids in a job and their keys, and stores a new batch with those that
    /// are in none.
    pub(crate) fn place_calls(&mut self, new: NewBatch<'_>, calls: &[(String, Key)]) -> Result<Placed, LedgerError> {
        let now = chrono::Utc::now().timestamp_millis();
        let mut place = || {
            // A batch must survive a power cut too: it is paid for as soon as it is sent.
            self.connection.execute_batch(&format!("PRAGMA synchronous = FULL; {SCHEMA}"))?;
            let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut known = Vec::with_capacity(calls.len());
            for (call, _) in calls {
                known.push(batch_of(&writing, call, (new.server, new.since))?);
            }
            let mut unknown: Vec<Batch> = known.iter().flatten().filter(|batch| batch.job.is_none()).cloned().collect();
            unknown.sort_by_key(|batch| batch.id);
            unknown.dedup();
            if !unknown.is_empty() {
                return Ok(Placed::Unknown(unknown));
            }
            let others = calls.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(call, _)| call);
            let made = insert(&writing, new, &others.collect::<Vec<_>>(), now)?;
            writing.commit()?;
            Ok(Placed::Known(known, made))
        };
        place().map_err(LedgerError::sqlite(&self.path))
    }

    /// Whether an open batch has the call.
    pub(crate) fn is_in_batch(&self, call: &str, server: &str, since: Since) -> Result<bool, LedgerError> {
        let found =
            self.has_batches()? && batch_of(&self.connection, call, (server, since)).map_err(self.failed())?.is_some();
        Ok(found)
    }

    pub(crate) fn set_batch_file(&self, batch: i64, file: &str) -> Result<(), LedgerError> {
        self.change("UPDATE batches SET file = ?2 WHERE id = ?1", (batch, file))
    }

    pub(crate) fn set_batch_job(&self, batch: i64, job: &str) -> Result<(), LedgerError> {
        self.change("UPDATE batches SET job = ?2 WHERE id = ?1", (batch, job))
    }

    pub(crate) fn set_batch_state(&self, batch: i64, state: &str, done: u64) -> Result<(), LedgerError> {
        self.change("UPDATE batches SET state = ?2, done = ?3 WHERE id = ?1", (batch, state, done as i64))
    }

    /// Forgets a batch that was not sent.
    pub(crate) fn drop_batch(&self, batch: i64) -> Result<(), LedgerError> {
        self.change("DELETE FROM batch_calls WHERE batch = ?1", [batch])?;
        self.change("DELETE FROM batches WHERE id = ?1", [batch])
    }

    /// Removes the calls from a batch that its results lack, or all calls without results. Returns how many.
    pub(crate) fn keep_batch_calls(&self, batch: i64, has: impl Fn(&str) -> bool) -> Result<u64, LedgerError> {
        let keep = || {
            let writing = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let mut missing: Vec<String> = Vec::new();
            {
                let mut sql = writing.prepare("SELECT call FROM batch_calls WHERE batch = ?1")?;
                let calls = sql.query_map([batch], |row| row.get::<_, String>(0))?;
                for call in calls {
                    missing.extend(Some(call?).filter(|call| !has(call)));
                }
                let mut delete = writing.prepare("DELETE FROM batch_calls WHERE call = ?1 AND batch = ?2")?;
                for call in &missing {
                    delete.execute(params![call, batch])?;
                }
            }
            writing.commit()?;
            Ok(missing.len() as u64)
        };
        keep().map_err(self.failed())
    }

    /// Removes the calls that are recorded since their batch was made, and ends the batches without calls. Returns the
    /// names of these.
    pub(crate) fn settle_batches(&self) -> Result<Vec<String>, LedgerError> {
        if !self.has_batches()? {
            return Ok(Vec::new());
        }
        let settle = || {
            let writing = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let first = "SELECT MIN(after) FROM batches WHERE ended IS NULL";
            let Some(first) = writing.query_row(first, [], |row| row.get::<_, Option<i64>>(0))? else {
                return Ok(Vec::new());
            };
            let settled = "DELETE FROM batch_calls AS b WHERE EXISTS (SELECT 1 FROM recorded r JOIN batches ON
                batches.id = b.batch WHERE r.key = b.key AND r.last > batches.after)";
            writing.execute_batch(
                "DROP TABLE IF EXISTS temp.recorded; CREATE TEMP TABLE recorded (key BLOB PRIMARY KEY,
                last INTEGER) WITHOUT ROWID",
            )?;
            // A call between two tries may have the next one in a batch.
            let recorded = "INSERT INTO recorded SELECT key, MAX(id) FROM calls WHERE id > ?1
                AND (error IS NULL OR error <> ?2) GROUP BY key";
            writing.execute(recorded, params![first, STOPPED])?;
            writing.execute(settled, [])?;
            if has_stopped(&writing)? {
                writing.execute(&TRIED, [])?;
            }
            let now = chrono::Utc::now().timestamp_millis();
            let ended = "UPDATE batches SET ended = ?1 WHERE ended IS NULL AND job IS NOT NULL AND NOT EXISTS
                (SELECT 1 FROM batch_calls WHERE batch = batches.id) RETURNING name";
            let names = {
                let mut sql = writing.prepare(ended)?;
                sql.query_map([now], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?
            };
            writing.execute_batch("DROP TABLE temp.recorded")?;
            writing.commit()?;
            Ok(names)
        };
        settle().map_err(self.failed())
    }

    fn change(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), LedgerError> {
        self.connection.execute(sql, values).map(drop).map_err(self.failed())
    }
}

/// Of the calls between two tries, forgets the requests whose replies their records have. The id of a request after the
/// first ends with `-` and the number of those before it.
static TRIED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "DELETE FROM batch_calls AS b WHERE EXISTS (SELECT 1 FROM calls c JOIN batches ON batches.id = b.batch
            WHERE c.key = b.key AND c.error = '{STOPPED}' AND c.id > batches.after AND c.attempts >
            CASE instr(b.call, '-') WHEN 0 THEN 0 ELSE CAST(substr(b.call, instr(b.call, '-') + 1) AS INTEGER) END)"
    )
});

/// The newest open batch that has a call.
fn batch_of(connection: &Connection, call: &str, (server, since): (&str, Since)) -> rusqlite::Result<Option<Batch>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches WHERE ended IS NULL AND server = ?2 AND after >= ?3 AND created >= ?4 AND id IN
            (SELECT batch FROM batch_calls WHERE call = ?1) ORDER BY id DESC LIMIT 1"
    );
    connection.prepare_cached(&sql)?.query_row(params![call, server, since.id, since.ms], read).optional()
}

fn insert(
    writing: &Transaction<'_>,
    NewBatch { name, server, model, .. }: NewBatch<'_>,
    calls: &[&(String, Key)],
    now: i64,
) -> rusqlite::Result<Option<Batch>> {
    if calls.is_empty() {
        return Ok(None);
    }
    let after: i64 = writing.query_row("SELECT COALESCE(MAX(id), 0) FROM calls", [], |row| row.get(0))?;
    let sql =
        "INSERT INTO batches (name, server, model, calls, done, after, created) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)";
    writing.execute(sql, params![name, server, model, calls.len() as i64, after, now])?;
    let id = writing.last_insert_rowid();
    let mut sql = writing.prepare("INSERT INTO batch_calls (call, batch, key) VALUES (?1, ?2, ?3)")?;
    for (call, key) in calls {
        sql.execute(params![call, id, key.0])?;
    }
    let [name, server, model] = [name, server, model].map(str::to_owned);
    Ok(Some(Batch { id, name, server, model, calls: calls.len() as u64, created: now, ..Batch::default() }))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Batch> {
    Ok(Batch {
        id: row.get(0)?,
        name: row.get(1)?,
        server: row.get(2)?,
        model: row.get(3)?,
        calls: count(row, 4)?,
        done: count(row, 5)?,
        created: row.get(6)?,
        file: row.get(7)?,
        job: row.get(8)?,
        state: row.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Record;

    const NEW: NewBatch<'_> = NewBatch { name: "one", server: "openai http://x", model: "m", since: Since::ALWAYS };

    fn calls(numbers: std::ops::Range<u8>) -> Vec<(String, Key)> {
        numbers.map(|n| (format!("call-{n}"), Key([n; 16]))).collect()
    }

    fn made(placed: Placed) -> Batch {
        let Placed::Known(_, Some(made)) = placed else { panic!("no new batch") };
        made
    }

    #[test]
    fn calls_of_an_open_batch_are_found_and_others_make_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        assert!(ledger.open_batches().unwrap().is_empty() && !ledger.has_batches().unwrap());
        let one = made(ledger.place_calls(NEW, &calls(0..3)).unwrap());
        // Until the job is known, its calls are in no other batch.
        let Placed::Unknown(unknown) = ledger.place_calls(NEW, &calls(2..5)).unwrap() else { panic!("known") };
        assert_eq!(unknown, std::slice::from_ref(&one));
        ledger.set_batch_job(one.id, "job-1").unwrap();
        let two = NewBatch { name: "two", ..NEW };
        let Placed::Known(known, Some(second)) = ledger.place_calls(two, &calls(2..5)).unwrap() else { panic!("none") };
        assert_eq!(known.iter().flatten().map(|batch| batch.id).collect::<Vec<_>>(), [one.id]);
        assert_eq!(second.calls, 2);
        let elsewhere = NewBatch { name: "three", server: "openai http://y", ..NEW };
        assert_eq!(made(ledger.place_calls(elsewhere, &calls(0..1)).unwrap()).calls, 1, "another server lacks the job");
        ledger.drop_batch(second.id).unwrap();
        assert!(
            !ledger.is_in_batch("call-4", NEW.server, Since::ALWAYS).unwrap()
                && ledger.is_in_batch("call-1", NEW.server, Since::ALWAYS).unwrap()
        );
    }

    #[test]
    fn a_batch_ends_when_its_calls_are_recorded_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let record = |n: u8, error: Option<&str>| {
            let error = error.map(str::to_owned);
            Record { key: Key([n; 16]), reply: "x".into(), error, ..Record::default() }
        };
        ledger.append(&[record(0, Some("timeout: an older failure"))]).unwrap();
        let one = made(ledger.place_calls(NEW, &calls(0..3)).unwrap());
        ledger.set_batch_job(one.id, "job-1").unwrap();
        assert!(
            ledger.settle_batches().unwrap().is_empty()
                && ledger.is_in_batch("call-0", NEW.server, Since::ALWAYS).unwrap()
        );
        ledger.append(&[record(0, None), record(1, Some("rejected: no"))]).unwrap();
        assert!(ledger.settle_batches().unwrap().is_empty());
        assert_eq!(
            calls(0..3).iter().filter(|call| ledger.is_in_batch(&call.0, NEW.server, Since::ALWAYS).unwrap()).count(),
            1
        );
        assert_eq!(ledger.keep_batch_calls(one.id, |_| false).unwrap(), 1);
        assert_eq!(ledger.settle_batches().unwrap(), ["one"]);
        assert!(ledger.open_batches().unwrap().is_empty());
        assert_eq!(ledger.batch_jobs().unwrap(), ["job-1"]);
    }
}
