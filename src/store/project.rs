//! A project's folder: `.fanfold/` beside the spec, and the locks that keep two runs from one output.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::StoreError;

/// The folder's name.
const FOLDER: &str = ".fanfold";
/// The name of the ledger's lock.
const LEDGER: &str = "ledger";

/// A project: the folder of a spec.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

/// The right to write a file, held as long as this value and this process last; the operating system lets it go when
/// either ends.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Project {
    /// The project of the specs in `folder`. Makes nothing yet.
    pub fn of(folder: &Path) -> Self {
        Project { root: folder.join(FOLDER) }
    }

    /// Makes the folder, ignored by git.
    pub fn create(&self) -> Result<(), StoreError> {
        std::fs::create_dir_all(&self.root).map_err(StoreError::io(&self.root))?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").map_err(StoreError::io(&ignore))?;
        }
        Ok(())
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.sqlite")
    }

    /// Bytes of the ledger's file and its log.
    pub fn ledger_bytes(&self) -> u64 {
        let file = self.ledger();
        let log = file.with_extension("sqlite-wal");
        [file, log].iter().filter_map(|path| std::fs::metadata(path).ok()).map(|found| found.len()).sum()
    }

    /// The folder of imported sources.
    pub fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// The folder of the run called `name`.
    pub fn run(&self, name: &str) -> PathBuf {
        self.root.join("runs").join(name)
    }

    /// The folder of all runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Locks the ledger for a run or whoever else adds to it; several may.
    pub fn share(&self) -> Result<Hold, StoreError> {
        let (file, path) = self.lock_file(LEDGER)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Hold { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Cleaning),
            Err(TryLockError::Error(error)) => Err(StoreError::Io { path, error }),
        }
    }

    /// Locks the ledger for whoever takes something out of it: nobody else may be at it.
    pub fn alone(&self) -> Result<Hold, StoreError> {
        let (file, path) = self.lock_file(LEDGER)?;
        match file.try_lock() {
            Ok(()) => Ok(Hold { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => Err(StoreError::Io { path, error }),
        }
    }

    /// Opens the file of a lock, made if it isn't there.
    fn lock_file(&self, name: &str) -> Result<(File, PathBuf), StoreError> {
        let folder = self.root.join("locks");
        std::fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        let path = folder.join(format!("{name}.lock"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(StoreError::io(&path))?;
        Ok((file, path))
    }

    /// Locks `path`, called `what` in messages, for writing; the error names who holds it.
    pub fn lock(&self, path: &Path, what: &str) -> Result<Hold, StoreError> {
        let name = blake3::hash(real(path).as_os_str().as_encoded_bytes()).to_hex();
        let (mut lock, file) = self.lock_file(&name[..16])?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(StoreError::Locked { what: what.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::Io { path: file, error }),
        }
        let now = chrono::Local::now().format("%Y-%m-%d %H:%M:%S");
        let holder = format!("process {}, started {now}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(holder.as_bytes()))
            .map_err(StoreError::io(&file))?;
        Ok(Hold { _file: lock })
    }
}

/// The one name of a path that may not exist yet: links and `..` resolved as far as it does.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = absolute.ancestors().find_map(|a| Some((a.canonicalize().ok()?, absolute.strip_prefix(a).ok()?)));
    found.map_or(absolute.clone(), |(real, rest)| real.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::of(folder.path());
        let output = folder.path().join("out.parquet");
        let held = project.lock(&output, "out.parquet").unwrap();
        let error = project.lock(&output, "out.parquet").unwrap_err().to_string();
        let pid = format!("process {}, started ", std::process::id());
        assert!(error.starts_with("out.parquet is being written by another run") && error.contains(&pid), "{error}");
        assert!(project.lock(&folder.path().join("other.parquet"), "other").is_ok());
        assert!(project.lock(&folder.path().join(".fanfold/../out.parquet"), "out.parquet").is_err());
        drop(held);
        assert!(project.lock(&output, "out.parquet").is_ok());
    }
}
