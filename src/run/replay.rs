//! Replaying: calls that are answered from a replay file.
//!
//! `only`: nothing is asked of anybody. The builds of the models come from the file, the clients can't send,
//! the project's ledger is left alone, failed calls fail as they did, and a call that is not in the file ends the run.
//! `prefer`: answers from the file come before those of the ledger; everything else goes its usual way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::plan::Plan;
use crate::spec::TableId;
use crate::store::{CallRef, Record, Recorded, ReplayFile, RunDir, StoreError};

/// How many missing calls are told.
const TOLD: usize = 20;

/// What a run does with a call that is not in the replay file. The doc comments are help texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReplayMode {
    /// Stop with exit code 6; uses no network, API keys or weights.
    Only,
    /// Look it up in the ledger and send it, as in any run.
    Prefer,
}

/// A replay file that a run is to be answered from.
pub struct Replay {
    path: PathBuf,
    file: ReplayFile,
    mode: ReplayMode,
    /// The calls, ready to be looked up.
    calls: Recorded,
    readers: Mutex<Vec<Recorded>>,
    missing: Mutex<Missing>,
    /// What goes when the run has ended.
    folder: TempDir,
}

/// A call that is not in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingCall {
    /// The stage.
    pub stage: String,
    /// The row, by key or number.
    pub row: String,
    /// The model's name in the spec.
    pub model: String,
}

/// The calls that are not in the file.
#[derive(Debug, Default)]
struct Missing {
    count: u64,
    /// The first ones, by stage, row and model.
    first: BTreeMap<(TableId, i64, String), MissingCall>,
}

impl Replay {
    /// Loads the file at `path` for the run in `dir`.
    pub fn load(path: &Path, mode: ReplayMode, dir: &RunDir) -> Result<Self, StoreError> {
        let file = ReplayFile::open(path)?;
        std::fs::create_dir_all(dir.root()).map_err(StoreError::io(dir.root()))?;
        let folder = tempfile::Builder::new().prefix(".replay-").tempdir_in(dir.root());
        let folder = folder.map_err(StoreError::io(dir.root()))?;
        let calls = Recorded::load(&file, path, &folder.path().join("calls"))?;
        let (readers, missing) = (Mutex::default(), Mutex::default());
        Ok(Replay { path: path.to_owned(), file, mode, calls, readers, missing, folder })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self) -> &ReplayFile {
        &self.file
    }

    /// Whether nothing may be asked.
    pub fn is_only(&self) -> bool {
        self.mode == ReplayMode::Only
    }

    /// A place for a ledger that nothing is written to.
    pub fn no_ledger(&self) -> PathBuf {
        self.folder.path().join("ledger.sqlite")
    }

    /// How the calls ended, in their order. Blocking.
    pub fn find(&self, sought: &[CallRef<'_>]) -> Result<Vec<Option<Record>>, StoreError> {
        let reader = self.readers.lock().pop();
        let mut reader = match reader {
            Some(reader) => reader,
            None => self.calls.again()?,
        };
        let found = reader.find(sought)?;
        self.readers.lock().push(reader);
        Ok(found)
    }

    /// Notes a call that is not in the file.
    pub fn missed(&self, plan: &Plan, stage: TableId, row: (i64, String), model: &str) {
        let (number, row) = row;
        let name = plan.spec.stage(stage).name.to_string();
        let mut missing = self.missing.lock();
        missing.count += 1;
        let call = MissingCall { stage: name, row, model: model.to_owned() };
        missing.first.insert((stage, number, model.to_owned()), call);
        if missing.first.len() > TOLD {
            missing.first.pop_last();
        }
    }

    /// Whether a call was not in the file.
    pub fn is_incomplete(&self) -> bool {
        self.missing.lock().count > 0
    }

    /// How many calls were not in the file, and the first of them.
    pub fn missing(&self) -> (u64, Vec<MissingCall>) {
        let missing = self.missing.lock();
        (missing.count, missing.first.values().cloned().collect())
    }
}
