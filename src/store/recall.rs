//! The recorded answers of a project: its ledger, and behind it the replay file of a spec.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;
use super::ledger::Ledger;
use super::merge::{MergeCounts, merge};
use super::project::Project;
use super::record::{Key, Record};
use super::recorded::{CallRef, RecordedCalls};
use super::replay::{ReplayFile, replay_of};
use crate::spec::Spec;

pub(crate) struct Recalled {
    /// `None` if there is neither a ledger nor a replay file.
    pub(crate) ledger: Option<Ledger>,
    pub(crate) replay: Option<(PathBuf, ReplayFile)>,
}

/// Opens the ledger for reading. It also serves the answers of the spec's replay file that it lacks. Writes nothing to
/// the project.
pub(crate) fn recalled(spec: &Spec, project: &Project) -> Result<Recalled, StoreError> {
    let (path, replay) = (project.ledger(), replay_of(spec)?);
    let mut ledger = match path.exists() {
        true => Some(Ledger::read(&path)?),
        false if replay.is_some() => Some(Ledger::open(Path::new(":memory:"))?),
        false => None,
    };
    if let Some((ledger, (path, file))) = ledger.as_mut().zip(replay.as_ref()) {
        let folder = tempfile::tempdir().map_err(StoreError::io(&std::env::temp_dir()))?;
        let calls = RecordedCalls::load(file, path, &folder.path().join("calls"))?;
        // The folder is removed with the ledger.
        let calls = Mutex::new((calls, folder));
        ledger.look_behind(Box::new(move |keys: &[Key]| {
            let sought: Vec<CallRef<'_>> =
                keys.iter().map(|key| CallRef { key: *key, stage: "", row: 0, model: "" }).collect();
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            let found = calls.0.find(&sought).unwrap_or_default();
            found.into_iter().map(|record| record.filter(|record: &Record| record.error.is_none())).collect()
        }));
    }
    Ok(Recalled { ledger, replay })
}

/// Adds the answers of a replay file to the project's ledger, unless they were added before. Returns the counts.
pub(crate) fn add_replay(project: &Project, path: &Path) -> Result<Option<MergeCounts>, StoreError> {
    let hash = std::fs::read(path).map(|bytes| blake3::hash(&bytes).to_hex()).map_err(StoreError::io(path))?;
    let mark = project.root().join("replays").join(&hash[..16]);
    if mark.exists() && project.ledger().exists() {
        return Ok(None);
    }
    project.create()?;
    let _shared = project.share()?;
    let mut ledger = Ledger::open(&project.ledger())?;
    let counts = merge(&mut ledger, path)?;
    let made = std::fs::create_dir_all(project.root().join("replays")).and_then(|()| std::fs::write(&mark, ""));
    made.map_err(StoreError::io(&mark))?;
    Ok(Some(counts))
}
