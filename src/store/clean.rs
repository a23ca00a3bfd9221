//! Cleaning a project's folder: finds and deletes old runs, copies of sources that no run needs, and temporary files.
//!
//! The answers of deleted runs stay in the ledger until `gc` deletes them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::error::StoreError;
use super::history::{NamedRun, named_runs};
use super::manifest::{Manifest, State};
use super::pieces::{Pieces, is_list};
use super::project::Project;
use super::rundir::files_in;
use super::shared::SharedDir;
use super::stored_run::learn_all;
use crate::table::files::{is_being_written, is_temporary};

/// A folder of an export that has not changed for this long is left by a killed process.
const ABANDONED: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GarbageKind {
    Run,
    Source,
    /// The pieces that only the tables of deleted runs and copies have.
    Pieces,
    Temporary,
}

/// A file or a folder that nothing needs any more.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Garbage {
    pub(crate) kind: GarbageKind,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// The name of the run, or of the source and the file that it was read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// Which runs stay besides the last ones of each pipeline.
pub(crate) type IsKept<'a> = &'a dyn Fn(&NamedRun) -> bool;

/// Finds what nothing needs. Of each pipeline, the last `keep` finished runs stay, and a later run without an end.
pub(crate) fn garbage(project: &Project, keep: usize, is_kept: IsKept<'_>) -> Result<Vec<Garbage>, StoreError> {
    let runs = named_runs(project)?;
    let kept = kept(&runs, keep, is_kept);
    let mut found = Vec::new();
    for run in runs.iter().filter(|run| !kept.contains(&run.dir.name())) {
        let path = run.dir.root().to_owned();
        found.push(Garbage { kind: GarbageKind::Run, bytes: size(&path), path, name: Some(run.name.clone()) });
    }
    let manifests: Vec<&Manifest> =
        runs.iter().filter(|run| kept.contains(&run.dir.name())).map(|run| &run.manifest).collect();
    for path in files_in(&project.sources())? {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_used = |manifest: &&Manifest| manifest.sources.values().any(|source| is_copy_of(file, &source.content));
        if !is_temporary(&path) && !manifests.iter().any(is_used) {
            let of =
                runs.iter().flat_map(|run| &run.manifest.sources).find(|(_, entry)| is_copy_of(file, &entry.content));
            let name = of.map(|(name, entry)| [&[name.clone()][..], &entry.paths].concat().join(" "));
            found.push(Garbage { kind: GarbageKind::Source, bytes: size(&path), path, name });
        }
    }
    let path = Pieces::path(project.root());
    if path.exists() {
        let lists = lists(project.root(), &found);
        // Pieces that can't be read are not listed.
        let bytes = Pieces::open(project.root()).and_then(|pieces| pieces.unused(&lists)).unwrap_or_default();
        found.extend((bytes > 0).then_some(Garbage { kind: GarbageKind::Pieces, bytes, path, name: None }));
    }
    for path in temporary(project.root(), &found) {
        found.push(Garbage { kind: GarbageKind::Temporary, bytes: size(&path), path, name: None });
    }
    Ok(found)
}

/// Deletes `garbage`. No run may use the project meanwhile.
pub(crate) fn delete(project: &Project, keep: usize, is_kept: IsKept<'_>) -> Result<Vec<Garbage>, StoreError> {
    let _alone = project.alone()?;
    let _tables = project.change_tables()?;
    let mut found = garbage(project, keep, is_kept)?;
    learn_all(project)?;
    for Garbage { path, .. } in found.iter().filter(|garbage| garbage.kind != GarbageKind::Pieces) {
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        removed.map_err(StoreError::io(path))?;
    }
    for pieces in found.iter_mut().filter(|garbage| garbage.kind == GarbageKind::Pieces) {
        let before = size(&pieces.path);
        Pieces::open(project.root())?.sweep(&lists(project.root(), &[]))?;
        pieces.bytes = before.saturating_sub(size(&pieces.path));
    }
    Ok(found)
}

/// The lists of pieces in a folder, except those in `found`.
fn lists(folder: &Path, found: &[Garbage]) -> Vec<PathBuf> {
    let mut lists = Vec::new();
    let mut paths = files_in(folder).unwrap_or_default();
    paths.retain(|path| !found.iter().any(|garbage| garbage.path == *path));
    for path in paths {
        if path.is_dir() {
            lists.extend(self::lists(&path, found));
        } else if is_list(&path) {
            lists.push(path);
        }
    }
    lists
}

/// The names of the folders of the runs that stay.
pub(super) fn kept(runs: &[NamedRun], keep: usize, is_kept: IsKept<'_>) -> HashSet<String> {
    let mut kept: HashSet<String> =
        runs.iter().filter(|run| is_kept(run) || has_workers(run)).map(|run| run.dir.name()).collect();
    let pipelines: HashSet<&str> = runs.iter().map(|run| run.manifest.pipeline.as_str()).collect();
    for pipeline in pipelines {
        let mut done = 0;
        for run in runs.iter().rev().filter(|run| run.manifest.pipeline == pipeline) {
            if done >= keep.max(1) {
                break;
            }
            done += usize::from(run.manifest.state == State::Done);
            kept.insert(run.dir.name());
        }
    }
    kept
}

/// Whether workers may need the folder of a run, or have left calls on an object store. What can't be read may be so.
fn has_workers(run: &NamedRun) -> bool {
    let shared = SharedDir::of(&run.dir);
    shared.job().map_or(true, |job| job.is_some()) || shared.address().map_or(true, |address| address.is_some())
}

pub(super) fn is_copy_of(file: &str, content: &str) -> bool {
    content.get(..32).is_some_and(|content| file.starts_with(content))
}

/// The files that killed processes left half-written, except those in `found`.
fn temporary(folder: &Path, found: &[Garbage]) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for path in files_in(folder).unwrap_or_default() {
        if found.iter().any(|garbage| garbage.path == path) {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name.starts_with(".export-") && is_abandoned(&path) {
                left.push(path)
            } else {
                left.extend(temporary(&path, found))
            }
        } else if is_temporary(&path) && !is_being_written(&path) {
            left.push(path);
        }
    }
    left
}

fn is_abandoned(folder: &Path) -> bool {
    let changed = std::fs::metadata(folder).and_then(|folder| folder.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ABANDONED))
}

/// The bytes of a file, or of all files in a folder.
pub(crate) fn size(path: &Path) -> u64 {
    match path.is_dir() {
        true => files_in(path).unwrap_or_default().iter().map(|file| size(file)).sum(),
        false => std::fs::symlink_metadata(path).map_or(0, |file| file.len()),
    }
}
