//! Replaying: answers calls from a replay file.
//!
//! - Mode `only`: no call is sent, and the project's ledger is not used. The builds of the models come from the file. Failed
//!   calls fail again, and a call that is not in the file ends the run.
//! - Mode `prefer`: answers from the file take precedence over the ledger; all other calls are made as usual.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::plan::Plan;
use crate::spec::TableId;
use crate::store::{CallRef, Record, RecordedCalls, ReplayFile, RunDir, StoreError};

const REPORTED: usize = 20;

/// What a run does with a call that is not in the replay file. The doc comments are help texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReplayMode {
    #[default]
    /// Stop with exit code 6; uses no network, API keys or weights.
    Only,
    /// Look it up in the ledger and send it, as in any run.
    Prefer,
}

pub(crate) struct Replay {
    path: PathBuf,
    file: ReplayFile,
    mode: ReplayMode,
    calls: RecordedCalls,
    readers: Mutex<Vec<RecordedCalls>>,
    missing: Mutex<Missing>,
    /// The folder is deleted when the run ends.
    folder: TempDir,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingCall {
    pub(crate) stage: String,
    /// The row's key or number.
    pub(crate) row: String,
    pub(crate) model: String,
}

#[derive(Debug, Default)]
struct Missing {
    count: u64,
    first: BTreeMap<(TableId, i64, String), MissingCall>,
}

impl Replay {
    pub(crate) fn load(path: &Path, mode: ReplayMode, dir: &RunDir) -> Result<Self, StoreError> {
        let file = ReplayFile::open(path)?;
        std::fs::create_dir_all(dir.root()).map_err(StoreError::io(dir.root()))?;
        let folder = tempfile::Builder::new().prefix(".replay-").tempdir_in(dir.root());
        let folder = folder.map_err(StoreError::io(dir.root()))?;
        let calls = RecordedCalls::load(&file, path, &folder.path().join("calls"))?;
        let (readers, missing) = (Mutex::default(), Mutex::default());
        Ok(Replay { path: path.to_owned(), file, mode, calls, readers, missing, folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &ReplayFile {
        &self.file
    }

    pub(crate) fn is_only(&self) -> bool {
        self.mode == ReplayMode::Only
    }

    /// The path of an empty ledger that replaces the project's.
    pub(crate) fn no_ledger(&self) -> PathBuf {
        self.folder.path().join("ledger.sqlite")
    }

    /// The recorded calls, in the order of `sought`. Blocking.
    pub(crate) fn find(&self, sought: &[CallRef<'_>]) -> Result<Vec<Option<Record>>, StoreError> {
        let reader = self.readers.lock().pop();
        let mut reader = reader.map_or_else(|| self.calls.again(), Ok)?;
        let found = reader.find(sought)?;
        self.readers.lock().push(reader);
        Ok(found)
    }

    pub(crate) fn missed(&self, plan: &Plan, stage: TableId, row: (i64, String), model: &str) {
        let (number, row) = row;
        let name = plan.spec.stage(stage).name.to_string();
        let mut missing = self.missing.lock();
        missing.count += 1;
        let call = MissingCall { stage: name, row, model: model.to_owned() };
        missing.first.insert((stage, number, model.to_owned()), call);
        if missing.first.len() > REPORTED {
            missing.first.pop_last();
        }
    }

    pub(crate) fn is_incomplete(&self) -> bool {
        self.missing.lock().count > 0
    }

    /// The number of calls that were not in the file, and the first of these calls.
    pub(crate) fn missing(&self) -> (u64, Vec<MissingCall>) {
        let missing = self.missing.lock();
        (missing.count, missing.first.values().cloned().collect())
    }
}
