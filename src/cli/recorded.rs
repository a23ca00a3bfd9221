//! The replay file of a spec: used without a flag by the commands of a clone, before any call is sent.

use std::path::PathBuf;

use super::{Failure, Terminal};
use crate::report::text::count;
use crate::spec::Spec;
use crate::store::{Project, add_replay, named_runs, replay_of};

/// The replay file of the run of this very spec, if no run of it is here.
pub(crate) fn replay_of_clone(spec: &Spec) -> Result<Option<PathBuf>, Failure> {
    let Some((path, file)) = replay_of(spec)? else { return Ok(None) };
    let hash = spec.hash();
    let runs = named_runs(&Project::of(&spec.folder))?;
    let is_here = runs.iter().any(|run| run.manifest.spec_hash == hash && run.manifest.replay.is_none());
    Ok((!is_here && file.is_of(&hash)).then_some(path))
}

/// Adds the answers of the spec's replay file to the ledger, so that a run sends only what they lack.
pub(crate) fn add_recorded(spec: &Spec, terminal: &Terminal) -> Result<(), Failure> {
    let Some((path, _)) = replay_of(spec)? else {
        // Before the first run, the author has none to export.
        if let Some(named) = &spec.replay
            && named_runs(&Project::of(&spec.folder))?.is_empty()
        {
            let path = named.strip_prefix(".").unwrap_or(named).display();
            terminal.note(&format!("there is no file {path}, which the spec names as its replay: models are asked"));
        }
        return Ok(());
    };
    if let Some(counts) = add_replay(&Project::of(&spec.folder), &path)?.filter(|counts| counts.added > 0) {
        terminal.note(&format!("added {} of {} to the ledger", count(counts.added, "answer"), path.display()));
    }
    Ok(())
}
