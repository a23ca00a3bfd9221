//! A project's folder: `.fanfold/` next to the spec, and the locks that keep two processes from writing the same file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::rundir::{RunDir, files_in};

const FOLDER: &str = ".fanfold";
const LEDGER: &str = "ledger";
const HISTORY: &str = "history";
const TABLES: &str = "tables";

#[derive(Clone, Debug)]
pub(crate) struct Project {
    root: PathBuf,
}

/// A lock on a file. The operating system releases it when this value is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: File,
}

impl Project {
    pub(crate) fn of(folder: &Path) -> Self {
        Project { root: folder.join(FOLDER) }
    }

    /// Creates the folder and makes git ignore it.
    pub(crate) fn create(&self) -> Result<(), StoreError> {
        std::fs::create_dir_all(&self.root).map_err(StoreError::io(&self.root))?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").map_err(StoreError::io(&ignore))?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger.sqlite")
    }

    /// Returns the size of the ledger's file and its log, in bytes.
    pub(crate) fn ledger_bytes(&self) -> u64 {
        let file = self.ledger();
        let log = file.with_extension("sqlite-wal");
        [file, log].iter().filter_map(|path| std::fs::metadata(path).ok()).map(|found| found.len()).sum()
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history.jsonl")
    }

    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.runs().join(name)
    }

    pub(crate) fn run_dirs(&self) -> Result<Vec<RunDir>, StoreError> {
        let folders = files_in(&self.runs())?.into_iter().filter(|path| path.is_dir());
        Ok(folders.map(RunDir::new).collect())
    }

    /// Locks the ledger for adding. Several processes may hold this lock.
    pub(crate) fn share(&self) -> Result<Hold, StoreError> {
        Ok(self.hold(LEDGER, File::try_lock_shared, |_| StoreError::Cleaning)?.0)
    }

    /// Locks the ledger for dropping answers. No other process may use the ledger meanwhile.
    pub(crate) fn alone(&self) -> Result<Hold, StoreError> {
        Ok(self.hold(LEDGER, File::try_lock, |_| StoreError::InUse)?.0)
    }

    /// Locks the tables of all runs and the copies of sources for reading. Waits while tables of earlier runs are cut.
    pub(crate) fn read_tables(&self) -> Result<Hold, StoreError> {
        let wait = |file: &File| file.lock_shared().map_err(TryLockError::Error);
        Ok(self.hold(TABLES, wait, |_| StoreError::InUse)?.0)
    }

    /// Locks the same for cutting or deleting them. Waits while they are cut.
    pub(super) fn change_tables(&self) -> Result<Hold, StoreError> {
        let wait = |file: &File| file.lock().map_err(TryLockError::Error);
        Ok(self.hold(TABLES, wait, |_| StoreError::InUse)?.0)
    }

    /// Like [`Self::change_tables`]; `None` if a run uses them.
    pub(super) fn change_unused_tables(&self) -> Result<Option<Hold>, StoreError> {
        match self.hold(TABLES, File::try_lock, |_| StoreError::InUse) {
            Ok((hold, _)) => Ok(Some(hold)),
            Err(StoreError::InUse) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks the history of the runs. Waits for another process, which holds the lock for a moment.
    pub(crate) fn hold_history(&self) -> Result<Hold, StoreError> {
        let wait = |file: &File| file.lock().map_err(TryLockError::Error);
        Ok(self.hold(HISTORY, wait, |_| StoreError::InUse)?.0)
    }

    /// Locks a sheet that people fill while its file is replaced. Waits for another process, which holds the lock for a
    /// moment. A run holds the lock of an output, which is a different one, to its end.
    pub(crate) fn hold_sheet(&self, path: &Path) -> Result<Hold, StoreError> {
        let wait = |file: &File| file.lock().map_err(TryLockError::Error);
        Ok(self.hold(&format!("{}-sheet", lock_name(path)), wait, |_| StoreError::InUse)?.0)
    }

    /// Locks `path`, called `what` in messages, for writing. The error names the process that holds the lock.
    pub(crate) fn lock(&self, path: &Path, what: &str) -> Result<Hold, StoreError> {
        let (mut hold, lock_path) = self.hold(&lock_name(path), File::try_lock, |mut file| {
            let mut holder = String::new();
            // On Windows, others can't read a locked file.
            let is_known = file.read_to_string(&mut holder).is_ok_and(|read| read > 0);
            let holder = if is_known { format!(" ({})", holder.trim()) } else { String::new() };
            StoreError::Locked { what: what.to_owned(), holder }
        })?;
        let file = &mut hold._file;
        let now = chrono::Local::now().format("%Y-%m-%d %H:%M:%S");
        let holder = format!("process {}, started {now}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(StoreError::io(&lock_path))?;
        Ok(hold)
    }

    /// Marks this process as a worker of the run in the folder `run`, whose command holds the lock of the folder. Several
    /// processes may hold this lock.
    pub(crate) fn hold_as_worker(run: &Path) -> Result<Hold, StoreError> {
        Ok(Project::of_run(run).hold(&workers_name(run), File::try_lock_shared, |_| StoreError::Workers)?.0)
    }

    /// The project of the run in the folder `run`.
    pub(crate) fn of_run(run: &Path) -> Project {
        Project::of(run.ancestors().nth(3).unwrap_or(run))
    }

    /// Locks the journals of the workers of a run. Waits for another process, which adds them to the ledger.
    pub(super) fn hold_journals(&self, run: &Path) -> Result<Hold, StoreError> {
        let wait = |file: &File| file.lock().map_err(TryLockError::Error);
        Ok(self.hold(&format!("{}-journals", lock_name(run)), wait, |_| StoreError::InUse)?.0)
    }

    /// Fails if workers of a command that was killed still work on the run in the folder `run`.
    pub(crate) fn check_no_workers(&self, run: &Path) -> Result<(), StoreError> {
        self.hold(&workers_name(run), File::try_lock, |_| StoreError::Workers).map(drop)
    }

    /// Whether a process holds the lock of `path`. Writes nothing.
    pub(crate) fn is_locked(&self, path: &Path) -> bool {
        let file = File::open(self.root.join("locks").join(format!("{}.lock", lock_name(path))));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Locks the lock file called `name`, and returns its path too. `taken` is the error if another process holds it.
    fn hold(
        &self,
        name: &str,
        lock: fn(&File) -> Result<(), TryLockError>,
        taken: impl FnOnce(File) -> StoreError,
    ) -> Result<(Hold, PathBuf), StoreError> {
        let folder = self.root.join("locks");
        std::fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        let path = folder.join(format!("{name}.lock"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(StoreError::io(&path))?;
        match lock(&file) {
            Ok(()) => Ok((Hold { _file: file }, path)),
            Err(TryLockError::WouldBlock) => Err(taken(file)),
            Err(TryLockError::Error(error)) => Err(StoreError::Io { path, error }),
        }
    }
}

fn workers_name(run: &Path) -> String {
    format!("{}-workers", lock_name(run))
}

/// The name of the lock of a file, which is made from its path.
fn lock_name(path: &Path) -> String {
    let hash = blake3::hash(real(path).as_os_str().as_encoded_bytes()).to_hex();
    hash[..16].to_owned()
}

/// Returns the absolute path. Resolves links and `..` in the part that exists.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = absolute.ancestors().find_map(|a| Some((a.canonicalize().ok()?, absolute.strip_prefix(a).ok()?)));
    // Joining an empty path would add a slash.
    found.map_or(absolute.clone(), |(real, rest)| real.join(rest).components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_also_holds_when_its_path_has_been_made() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::of(folder.path());
        let run = folder.path().join("runs/a");
        let held = project.lock(&run, "a run").unwrap();
        std::fs::create_dir_all(&run).unwrap();
        assert!(project.lock(&run, "a run").is_err());
        drop(held);
        assert!(project.lock(&run, "a run").is_ok());
    }

    #[test]
    fn the_error_names_the_process_that_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::of(folder.path());
        let output = folder.path().join("out.parquet");
        let held = project.lock(&output, "out.parquet").unwrap();
        let error = project.lock(&output, "out.parquet").unwrap_err().to_string();
        let pid = format!("process {}, started ", std::process::id());
        assert!(error.starts_with("out.parquet is being written by another run"), "{error}");
        assert!(error.contains(&pid) || cfg!(windows), "{error}");
        assert!(project.lock(&folder.path().join("other.parquet"), "other").is_ok());
        assert!(project.lock(&folder.path().join(".fanfold/../out.parquet"), "out.parquet").is_err());
        drop(held);
        assert!(project.lock(&output, "out.parquet").is_ok());
    }
}
