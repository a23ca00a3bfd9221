//! Reading every answer of a ledger: of the project, or of another project, which stays unchanged.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{FIELDS, Key, LedgerError, Record, columns, count, format, known_format, read};

/// Calls `each` with the answers of the ledger at `path`, whatever its format. Returns the numbers of corrupt answers and of
/// other records. An error of `each` ends it.
pub fn read_answers(
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

/// Fails if SQLite finds the file's structure damaged.
pub fn check(path: &Path, connection: &Connection) -> Result<(), LedgerError> {
    let read = || {
        let mut check = connection.prepare("PRAGMA quick_check(3)")?;
        let found: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(found.join("; "))
    };
    match read().map_err(LedgerError::sqlite(path))?.as_str() {
        "ok" => Ok(()),
        // One line, even if SQLite reports several.
        found => Err(LedgerError::Damaged { path: path.to_owned(), message: found.replace('\n', "; ") }),
    }
}

/// Calls `each` with the id of every answer and the answer itself, which is `None` if it is corrupt.
pub fn read_all(
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
        let record = match row.get(FIELDS.len() + 1) {
            Ok(key) => read(Key(key), row).map_err(&sqlite)?,
            Err(_) => None,
        };
        each(row.get(FIELDS.len() + 2).map_err(&sqlite)?, record)?;
    }
    Ok(())
}
