//! Care of a ledger: counts, reads and verifies its records, and drops those that no run uses.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use rusqlite::{Connection, OpenFlags};

use super::find::read;
use super::{
    FIELDS, Key, Ledger, LedgerError, NOTES, Record, Retired, STATE, STOPPED, columns, count, format, known_format,
};
use crate::store::record::Notes;

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Contents {
    pub(crate) format: i64,
    pub(crate) answers: u64,
    /// Failed calls, which are kept as history and never served.
    pub(crate) failed_calls: u64,
    /// Calls that the end of a run stopped between two tries. The next run continues them.
    pub(crate) stopped_calls: u64,
    /// Answers no longer served because they do not fit the current request, or because `--fresh` asked again.
    pub(crate) retired: u64,
    /// Answers no longer served because their checksum is wrong.
    pub(crate) corrupt: u64,
    /// The models. The model with the most answers comes first.
    pub(crate) models: Vec<ModelContents>,
    /// When the oldest record was added, in milliseconds since 1970.
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) newest_ms: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ModelContents {
    pub(crate) model: String,
    pub(crate) answers: u64,
    pub(crate) prompt_tokens: u64,
    /// Those of the prompts that the server read from its cache.
    pub(crate) cached_tokens: u64,
    pub(crate) completion_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct VerifyCounts {
    pub(crate) sound: u64,
    pub(crate) corrupt: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct DropCounts {
    pub(crate) answers: u64,
    pub(crate) history: u64,
}

/// Selects the records to delete: those with an error, and answers with neither a key in `used` nor a model in `kept`.
static UNUSED: LazyLock<String> = LazyLock::new(|| {
    let kept = "model IN (SELECT model FROM temp.kept)";
    format!(
        "(error IS NOT NULL AND NOT (error = '{STOPPED}' AND {kept}))
            OR (error IS NULL AND at <= ?2 AND key NOT IN (SELECT key FROM temp.used) AND NOT {kept})"
    )
});

impl Ledger {
    pub(crate) fn contents(&self) -> Result<Contents, LedgerError> {
        let read = || {
            let mut contents = Contents { format: format(&self.connection)?, ..Contents::default() };
            // SQLite would sort all records to group them, in memory.
            let mut models: BTreeMap<String, ModelContents> = BTreeMap::new();
            let notes = if contents.format < NOTES { "NULL" } else { "notes" };
            let sql = format!("SELECT {STATE}, at, model, prompt_tokens, completion_tokens, {notes} FROM calls");
            let mut records = self.connection.prepare(&sql)?;
            let mut rows = records.query([])?;
            while let Some(row) = rows.next()? {
                let at = row.get(1)?;
                contents.oldest_ms = Some(contents.oldest_ms.map_or(at, |before| before.min(at)));
                contents.newest_ms = contents.newest_ms.max(Some(at));
                match row.get_ref(0)?.as_str()? {
                    "answer" => contents.answers += 1,
                    "corrupt" => contents.corrupt += 1,
                    "retired" => contents.retired += 1,
                    "stopped" => contents.stopped_calls += 1,
                    _ => contents.failed_calls += 1,
                }
                if row.get_ref(0)?.as_str()? == "answer" {
                    let name = row.get_ref(2)?.as_str()?;
                    if !models.contains_key(name) {
                        models.insert(name.to_owned(), ModelContents { model: name.to_owned(), ..Default::default() });
                    }
                    if let Some(model) = models.get_mut(name) {
                        model.answers += 1;
                        model.prompt_tokens = model.prompt_tokens.saturating_add(count(row, 3)?);
                        model.completion_tokens = model.completion_tokens.saturating_add(count(row, 4)?);
                        let notes = row.get_ref(5)?.as_str_or_null()?.map(Notes::of_json);
                        let cached = notes.and_then(|notes| notes.cached_tokens).unwrap_or(0);
                        model.cached_tokens = model.cached_tokens.saturating_add(cached);
                    }
                }
            }
            contents.models = models.into_values().collect();
            contents.models.sort_by_key(|model| Reverse(model.answers));
            Ok(contents)
        };
        read().map_err(self.failed())
    }

    /// Reads every answer and retires the altered ones. Returns an error if SQLite can't read the file.
    pub(crate) fn verify(&self) -> Result<VerifyCounts, LedgerError> {
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
        self.retire_ids(&corrupt, Retired::Corrupt)?;
        Ok(verified)
    }

    /// Deletes failed and retired calls, and answers until `until` with neither a key in `used` nor a model in `kept`, in
    /// one transaction. With `keeps_last`, keeps the record with the highest id. Then shrinks the file. With `dry`, only
    /// counts.
    pub(crate) fn sweep<E: From<LedgerError>>(
        &mut self,
        used: impl Iterator<Item = Result<Key, E>>,
        (kept, keeps_last, until): (&[String], bool, i64),
        dry: bool,
    ) -> Result<DropCounts, E> {
        // The keys may not fit into memory.
        let tables = "PRAGMA temp_store = FILE; CREATE TABLE temp.used (key BLOB PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE temp.kept (model TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN IMMEDIATE;";
        self.connection.execute_batch(tables).map_err(self.failed())?;
        for key in used {
            let sql = "INSERT OR IGNORE INTO temp.used VALUES (?1)";
            let mut insert = self.connection.prepare_cached(sql).map_err(self.failed())?;
            insert.execute([key?.0]).map_err(self.failed())?;
        }
        let last = if keeps_last { self.now()? } else { 0 };
        Ok(drop_unused(&self.connection, (kept, last, until), dry).map_err(self.failed())?)
    }
}

fn drop_unused(
    connection: &Connection,
    (kept, last, until): (&[String], i64, i64),
    dry: bool,
) -> Result<DropCounts, rusqlite::Error> {
    for model in kept {
        connection.execute("INSERT OR IGNORE INTO temp.kept VALUES (?1)", [model])?;
    }
    let counts =
        format!("SELECT COUNT(*) FILTER (WHERE error IS NULL), COUNT(*) FROM calls WHERE id <> ?1 AND ({})", *UNUSED);
    let dropped = connection.query_row(&counts, [last, until], |row| {
        let answers = count(row, 0)?;
        Ok(DropCounts { answers, history: count(row, 1)? - answers })
    })?;
    if dry {
        connection.execute_batch("ROLLBACK")?;
        return Ok(dropped);
    }
    // One transaction, then a copy that replaces the whole file. A kill at any point leaves the old or the new file.
    connection.execute(&format!("DELETE FROM calls WHERE id <> ?1 AND ({})", *UNUSED), [last, until])?;
    connection.execute_batch("COMMIT; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(dropped)
}

/// Calls `each` with the answers of the ledger at `path`, in any format. Returns the numbers of corrupt answers and of
/// other records. An error of `each` stops the reading.
pub(crate) fn read_answers(
    path: &Path,
    mut each: impl FnMut(Record) -> Result<(), LedgerError>,
) -> Result<(u64, u64), LedgerError> {
    let sqlite = LedgerError::sqlite(path);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(&sqlite)?;
    known_format(path, &connection)?;
    check(path, &connection)?;
    let mut corrupt = 0;
    read_all(path, &connection, |_, record| match record {
        Some(record) => each(record),
        None => {
            corrupt += 1;
            Ok(())
        }
    })?;
    let other = "SELECT COUNT(*) FROM calls WHERE error IS NOT NULL";
    Ok((corrupt, connection.query_row(other, [], |row| count(row, 0)).map_err(&sqlite)?))
}

fn check(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let read = || {
        let mut check = connection.prepare("PRAGMA quick_check(3)")?;
        let found: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(found.join("; "))
    };
    match read().map_err(LedgerError::sqlite(path))?.as_str() {
        "ok" => Ok(()),
        // The message must be one line, even if SQLite reports several problems.
        found => Err(LedgerError::Damaged { path: path.to_owned(), message: found.replace('\n', "; ") }),
    }
}

fn read_all(
    path: &Path,
    connection: &Connection,
    mut each: impl FnMut(i64, Option<Record>) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let sqlite = LedgerError::sqlite(path);
    let columns = columns(format(connection).map_err(&sqlite)?);
    let sql = format!("SELECT {columns}, key, id FROM calls NOT INDEXED WHERE error IS NULL");
    let mut all = connection.prepare(&sql).map_err(&sqlite)?;
    let mut rows = all.query([]).map_err(&sqlite)?;
    while let Some(row) = rows.next().map_err(&sqlite)? {
        let record = match row.get(FIELDS.len() + 2) {
            Ok(key) => read(Key(key), row).map_err(&sqlite)?,
            Err(_) => None,
        };
        each(row.get(FIELDS.len() + 3).map_err(&sqlite)?, record)?;
    }
    Ok(())
}
