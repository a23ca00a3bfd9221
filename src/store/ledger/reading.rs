//! Reading every answer of a ledger, one's own or another's that nothing is written to.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{FORMAT, Key, LedgerError, Record, format, record, sound};

/// Gives `each` the answers of the ledger at `path`, whatever its format; gives the numbers of those that are not what was
/// written, and of failed calls. An error of `each` ends it.
pub fn read_answers(
    path: &Path,
    mut each: impl FnMut(Record) -> Result<(), LedgerError>,
) -> Result<(u64, u64), LedgerError> {
    let sqlite = LedgerError::sqlite(path);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(&sqlite)?;
    let found = format(&connection).map_err(&sqlite)?;
    if found > FORMAT {
        return Err(LedgerError::Newer { path: path.to_owned(), found });
    }
    check(path, &connection)?;
    let mut corrupt = 0;
    read_all(path, &connection, |_, record| match record {
        Some(record) => each(record),
        None => {
            corrupt += 1;
            Ok(())
        }
    })?;
    let failed = connection.query_row("SELECT COUNT(*) FROM calls WHERE error IS NOT NULL", [], |row| row.get(0));
    Ok((corrupt, failed.map(|count: i64| count as u64).map_err(&sqlite)?))
}

/// Fails if SQLite finds the file's structure damaged.
pub fn check(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let read = || {
        let mut check = connection.prepare("PRAGMA quick_check(3)")?;
        let found: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(found.join("; "))
    };
    match read().map_err(LedgerError::sqlite(path))?.as_str() {
        "ok" => Ok(()),
        // What is of several lines stands in one message.
        found => Err(LedgerError::Damaged { path: path.to_owned(), message: found.replace('\n', "; ") }),
    }
}

/// Gives `each` the place of every answer and the answer itself, if it is what was written.
pub fn read_all(
    path: &Path,
    connection: &Connection,
    mut each: impl FnMut(i64, Option<Record>) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let sqlite = LedgerError::sqlite(path);
    // The columns that older formats don't have.
    let columns = match format(connection).map_err(&sqlite)? {
        ..2 => "NULL, NULL",
        2 => "probabilities, NULL",
        _ => "probabilities, notes",
    };
    let sql = format!(
        "SELECT id, key, model, reply, finish, prompt_tokens, completion_tokens, latency_ms, attempts, build, tries,
            {columns}, checksum FROM calls NOT INDEXED WHERE error IS NULL"
    );
    let mut all = connection.prepare(&sql).map_err(&sqlite)?;
    let mut rows = all.query([]).map_err(&sqlite)?;
    while let Some(row) = rows.next().map_err(&sqlite)? {
        let read = row.get(1).and_then(|key| record(Key(key), row, 2));
        let read = sound(read, row.get(13)).map_err(&sqlite)?;
        each(row.get(0).map_err(&sqlite)?, read)?;
    }
    Ok(())
}
