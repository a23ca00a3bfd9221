//! Files that appear completely or not at all, and survive a loss of power.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, PersistError};

/// The folder of a file, or `.` for a bare file name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// How long to wait on Windows until a file that another process has open can be replaced.
const PATIENCE: Duration = Duration::from_secs(2);
const TEMPORARY: (&str, &str) = (".fanfold-", ".tmp");

/// A temporary file next to `path`, with the permissions of an ordinary new file.
pub(crate) fn new_file(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let prefix = format!("{}{name}-", TEMPORARY.0);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(TEMPORARY.1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    loop {
        let file = builder.tempfile_in(folder_of(path))?;
        // There, [`is_being_written`] needs no lock.
        if cfg!(windows) {
            return Ok(file);
        }
        // The lock shows [`clean`] that the writer lives. Without locks in the file system, the file may be removed.
        match file.as_file().try_lock() {
            Err(TryLockError::WouldBlock) => {}
            _ if file.path().exists() => return Ok(file),
            _ => {}
        }
    }
}

/// Removes the temporary files that killed writers of `path` left next to it, or, for `None`, those of all files in
/// `folder`. Files whose writer lives stay.
pub(crate) fn clean(folder: &Path, path: Option<&Path>) {
    let name = path.and_then(Path::file_name).and_then(|n| n.to_str()).map(|n| format!("{n}-")).unwrap_or_default();
    let prefix = format!("{}{name}", TEMPORARY.0);
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, has_prefix) = (entry.path(), entry.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)));
        if has_prefix && is_temporary(&path) && !is_being_written(&path) {
            // A file that cannot be removed is harmless.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether a file has the name of a temporary file.
pub(crate) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1))
}

/// Whether the writer of a temporary file lives.
#[cfg(not(windows))]
pub(crate) fn is_being_written(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Whether the writer of a temporary file lives. It has the file open, and no lock, which would keep others from reading.
#[cfg(windows)]
pub(crate) fn is_being_written(path: &Path) -> bool {
    std::os::windows::fs::OpenOptionsExt::share_mode(File::options().read(true), 0).open(path).is_err()
}

/// Makes the names in a folder durable. Windows has no such call, and does it itself.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Makes a temporary file durable and renames it to `path`, completely or not at all.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    rename(file, path)?;
    sync_folder(folder_of(path))
}

/// Renames a temporary file. Windows replaces no file that is open, so readers, such as virus scanners, get a moment to
/// close it.
fn rename(mut file: NamedTempFile, path: &Path) -> io::Result<()> {
    let start = Instant::now();
    loop {
        let PersistError { error, file: again } = match file.persist(path) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !cfg!(windows) || error.kind() != io::ErrorKind::PermissionDenied || start.elapsed() > PATIENCE {
            return Err(error);
        }
        file = again;
        std::thread::sleep(PATIENCE / 100);
    }
}

/// Like [`persist`], but an existing file is an error.
pub(crate) fn persist_new(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    sync_folder(folder_of(path))
}

pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = new_file(path)?;
    file.write_all(bytes)?;
    persist(file, path)
}

/// Replaces the bytes of a file, completely or not at all. Returns `false` if it does not have the bytes `before`.
pub(crate) fn replace(path: &Path, before: &[u8], after: &[u8]) -> io::Result<bool> {
    // A link stays, and its file gets the bytes.
    let path = path.canonicalize()?;
    let mut file = new_file(&path)?;
    file.write_all(after)?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    if std::fs::read(&path)? != before {
        return Ok(false);
    }
    persist(file, &path).map(|()| true)
}
