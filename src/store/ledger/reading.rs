//! Opening a ledger for reading only: nothing is written to the project, which may be on a read-only disk.
//!
//! - A log next to the file belongs to a process that lives or was killed. SQLite reads it with the file.
//! - Without a log, the file is complete. SQLite would make a log, so the file is opened as immutable.
//! - A file of an older format, or a log that needs files which cannot be made, is copied to a temporary folder.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::{FORMAT, Ledger, LedgerError, WAIT, imports, known_format, upgrade};

const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_URI);

impl Ledger {
    /// Opens a ledger for reading only. Writes nothing, also not next to it.
    pub(crate) fn read(path: &Path) -> Result<Self, LedgerError> {
        let (connection, copy) = open(path)?;
        connection.set_prepared_statement_cache_capacity(16);
        let imports = imports(&connection).map_err(LedgerError::sqlite(path))?;
        Ok(Ledger { path: path.to_owned(), connection, imports, behind: None, is_read_only: true, _copy: copy })
    }
}

/// Returns the connection, and the folder of the copy that it reads, if there is one.
fn open(path: &Path) -> Result<(Connection, Option<TempDir>), LedgerError> {
    let has_log = std::fs::metadata(log(path)).is_ok_and(|log| log.len() > 0);
    let opened = match has_log {
        true => Connection::open_with_flags(path, READ_ONLY),
        false => Connection::open_with_flags(immutable(path), READ_ONLY),
    };
    let read = opened.map_err(LedgerError::sqlite(path)).and_then(|connection| {
        connection.busy_timeout(WAIT).map_err(LedgerError::sqlite(path))?;
        connection.execute_batch("PRAGMA cache_size = -2048;").map_err(LedgerError::sqlite(path))?;
        Ok((known_format(path, &connection)?, connection))
    });
    match read {
        Ok((FORMAT, connection)) => Ok((connection, None)),
        Ok(_) => copied(path),
        Err(LedgerError::Sqlite { .. }) if has_log => copied(path),
        Err(error) => Err(error),
    }
}

fn log(path: &Path) -> std::path::PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn immutable(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = absolute.to_string_lossy().replace('\\', "/");
    let escaped = shown.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let slash = if escaped.starts_with('/') { "" } else { "/" };
    format!("file://{slash}{escaped}?immutable=1")
}

/// Reads a copy of the ledger in a temporary folder.
fn copied(path: &Path) -> Result<(Connection, Option<TempDir>), LedgerError> {
    let io = |error| LedgerError::Io { path: path.to_owned(), error };
    let folder = tempfile::tempdir().map_err(io)?;
    let copy = folder.path().join("ledger.sqlite");
    std::fs::copy(path, &copy).map_err(io)?;
    if log(path).exists() {
        std::fs::copy(log(path), log(&copy)).map_err(io)?;
    }
    let sqlite = LedgerError::sqlite(path);
    let mut connection = Connection::open(&copy).map_err(&sqlite)?;
    if known_format(path, &connection)? < FORMAT {
        upgrade(&mut connection).map_err(&sqlite)?;
    }
    Ok((connection, Some(folder)))
}

#[cfg(test)]
mod tests {
    use super::super::{Key, Record};
    use super::*;

    fn files(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
        files.sort();
        files
    }

    #[test]
    fn reading_changes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if cfg!(windows) { "odd #1%20.sqlite" } else { "odd #1%20?.sqlite" });
        let record = |key: u8| Record { key: Key([key; 16]), ..Record::default() };
        let mut written = Ledger::open(&path).unwrap();
        written.append(&[record(1)]).unwrap();
        drop(written);
        let before = files(folder.path());
        let read = |key: u8| Ledger::read(&path).unwrap().find(&[Key([key; 16])]).unwrap()[0].is_some();
        assert!(read(1) && !read(2));
        assert_eq!(files(folder.path()), before);
        // While another process writes, its log is read too.
        let mut written = Ledger::open(&path).unwrap();
        written.append(&[record(2)]).unwrap();
        assert!(read(1) && read(2));
    }
}
