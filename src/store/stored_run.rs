//! Runs on an object store: sends a frozen run there, brings back what workers left, and gives a worker its own copy.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::StoreError;
use super::mirror::{Mirror, inside, pack};
use super::pieces::{each_bytes, is_stored};
use super::project::Project;
use super::rundir::RunDir;
use super::shared::{JournalCounts, SharedDir};
use crate::object::{Address, ObjectError};

const PLAN: &str = "plan.json";
/// The files of the shared folder that a worker copies before it starts.
const COPIED: [&str; 2] = ["known.answers", "known.index"];
/// The calls between two tries. Plans of earlier versions have none.
const STOPPED: &str = "known.stopped";
const SOURCES: &str = "sources";
const FILES: &str = "files";

/// What a frozen run needs besides its folder.
pub(crate) struct Needs<'a> {
    pub(crate) project: &'a Project,
    /// The files in the project's folder of sources.
    pub(crate) sources: Vec<PathBuf>,
    /// The spec's folder, and the files in it that the spec reads.
    pub(crate) folder: &'a Path,
    pub(crate) files: Vec<String>,
    /// The tables that workers read or make.
    pub(crate) tables: Vec<String>,
}

/// Sends the frozen run to `folder`, in place of what an earlier command left there. Its plan comes last.
pub(crate) fn push(dir: &RunDir, folder: &Address, needs: &Needs<'_>) -> Result<(), StoreError> {
    let mirror = Mirror::open(&folder.join("runs").join(&dir.name()))?;
    let shared = SharedDir::of(dir);
    shared.set_address(Some(mirror.address()))?;
    clear(&mirror)?;
    let put = |name: &str, file: &Path| -> Result<(), StoreError> {
        // A copy of a source may be cut into pieces, and then has no file.
        if file.exists() {
            mirror.bucket().put_file(name, file)?;
        } else {
            mirror.bucket().put(name, whole(file)?)?;
        }
        Ok(())
    };
    let stopped = Some(STOPPED).filter(|name| shared.path(name).exists());
    for name in COPIED.into_iter().chain(stopped) {
        put(name, &shared.path(name))?;
    }
    for file in super::rundir::files_in(&shared.path("spec"))? {
        put(&format!("spec/{}", file_name(&file)), &file)?;
    }
    for file in &needs.sources {
        put(&format!("{SOURCES}/{}", file.display()), &needs.project.sources().join(file))?;
    }
    for file in &needs.files {
        put(&format!("{FILES}/{file}"), &needs.folder.join(file))?;
    }
    for table in &needs.tables {
        for part in dir.parts_of(table)? {
            let calls = dir.calls_path(table, part);
            let calls = if is_stored(&calls) { whole(&calls)? } else { Vec::new() };
            let packed = pack(&whole(&dir.part_path(table, part))?, &calls);
            mirror.bucket().put(&Mirror::part_name(table, part), packed)?;
        }
    }
    put(PLAN, &shared.path(PLAN))
}

fn clear(mirror: &Mirror) -> Result<(), StoreError> {
    // Without its plan, no worker starts.
    mirror.bucket().delete(&[PLAN.to_owned()])?;
    Ok(mirror.bucket().delete(&mirror.bucket().list("")?)?)
}

/// The bytes of a file, also of one that was cut into pieces.
fn whole(file: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    each_bytes(file, &mut |more| bytes.extend(more)).map_err(StoreError::io(file))?;
    Ok(bytes)
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Copies the parts that workers have committed, and their marks, into the run's folder. Does nothing for a run whose
/// workers share that folder.
pub(crate) fn pull(dir: &RunDir) -> Result<(), StoreError> {
    let shared = SharedDir::of(dir);
    let Some(address) = shared.address()? else { return Ok(()) };
    let mirror = Mirror::open(&address)?;
    let place = |name: &String| {
        let (table, part) = name.strip_prefix("parts/")?.rsplit_once('/')?;
        Some((table.to_owned(), part.parse().ok()?))
    };
    let parts = mirror.parts()?.into_iter().filter_map(|name| Some((place(&name)?, name)));
    let missing: Vec<_> = parts.filter(|((table, part), _)| !dir.has_sum(table, *part)).collect();
    // Parts can be large.
    for group in missing.chunks(8) {
        let names: Vec<String> = group.iter().map(|(_, name)| name.clone()).collect();
        for (((table, part), _), bytes) in group.iter().zip(mirror.bucket().get_all(&names)?) {
            dir.unpack_part(table, *part, &bytes)?;
        }
    }
    for folder in ["models", "done"] {
        let names = mirror.bucket().list(folder)?;
        for (name, bytes) in names.iter().zip(mirror.bucket().get_all(&names)?) {
            write(shared.root(), name, &bytes)?;
        }
    }
    Ok(())
}

/// Copies a file into `folder`.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = inside(folder, name).map_err(StoreError::io(folder))?;
    std::fs::create_dir_all(path.parent().unwrap_or(folder))
        .and_then(|()| crate::table::files::write_whole(&path, bytes))
        .map_err(StoreError::io(&path))
}

/// Moves the calls of workers into the ledger, and the run from its object store into its folder. Refuses while a job is
/// active. The caller must hold the run's lock.
pub(crate) fn collect(dir: &RunDir, project: &Project) -> Result<JournalCounts, StoreError> {
    let shared = SharedDir::of(dir);
    shared.check_idle()?;
    pull(dir)?;
    let _held = project.hold_journals(dir.root())?;
    let Some(address) = shared.address()? else { return shared.collect(&project.ledger()) };
    let mirror = Mirror::open(&address)?;
    shared.fetch_journals(&mirror)?;
    let counts = shared.collect(&project.ledger())?;
    clear(&mirror)?;
    shared.set_address(None)?;
    Ok(counts)
}

/// Adds the calls of a run's workers to the ledger, so that no other run pays them again. The journals stay.
pub(crate) fn learn(dir: &RunDir) -> Result<(), StoreError> {
    let (project, shared) = (Project::of_run(dir.root()), SharedDir::of(dir));
    let _sharing = project.share()?;
    let _held = project.hold_journals(dir.root())?;
    if let Some(address) = shared.address()? {
        shared.fetch_journals(&Mirror::open(&address)?)?;
    }
    if shared.has_journals() {
        shared.learn(&project.ledger())?;
    }
    Ok(())
}

/// Adds the calls of workers to the ledger that are still in the folders of runs, for example because a command was killed.
/// Those on an object store stay there.
pub(crate) fn learn_all(project: &Project) -> Result<(), StoreError> {
    for dir in project.run_dirs()? {
        let shared = SharedDir::of(&dir);
        if !shared.has_journals() {
            continue;
        }
        let _held = project.hold_journals(dir.root())?;
        // Another process may have moved them meanwhile.
        if shared.has_journals() {
            shared.learn(&project.ledger())?;
        }
    }
    Ok(())
}

/// The folder of a run for a worker: the folder itself, or a copy of what the worker needs from an object store, which is
/// deleted with this value.
pub(crate) struct WorkerRun {
    pub(crate) dir: RunDir,
    _copy: Option<TempDir>,
}

impl WorkerRun {
    /// `run` is a folder or an address.
    pub(crate) fn open(run: &Path) -> Result<WorkerRun, StoreError> {
        match run.to_str().and_then(Address::parse) {
            Some(address) => WorkerRun::copy(&address?),
            None => {
                let root = std::path::absolute(run).map_err(StoreError::io(run))?;
                Ok(WorkerRun { dir: RunDir::new(root).shared(), _copy: None })
            }
        }
    }

    fn copy(address: &Address) -> Result<WorkerRun, StoreError> {
        let mirror = Mirror::open(address)?;
        let temporary = tempfile::tempdir().map_err(StoreError::io(&std::env::temp_dir()))?;
        let project = Project::of(temporary.path());
        let dir = RunDir::new(project.run(address.name())).on_store(mirror.clone());
        let shared = SharedDir::of(&dir);
        let plan = mirror.bucket().get(PLAN)?.ok_or_else(|| no_plan(&mirror))?;
        write(shared.root(), PLAN, &plan)?;
        for name in COPIED {
            copy_object(&mirror, name, &shared.path(name))?;
        }
        if let Some(stopped) = mirror.bucket().get(STOPPED)? {
            write(shared.root(), STOPPED, &stopped)?;
        }
        for folder in ["spec", SOURCES, FILES] {
            for name in mirror.bucket().list(folder)? {
                let (folder, name_in) = match name.split_once('/') {
                    Some((SOURCES, file)) => (project.sources(), file),
                    Some((FILES, file)) => (temporary.path().to_owned(), file),
                    _ => (shared.root().to_owned(), name.as_str()),
                };
                let path = inside(&folder, name_in).map_err(StoreError::io(&folder))?;
                copy_object(&mirror, &name, &path)?;
            }
        }
        Ok(WorkerRun { dir, _copy: Some(temporary) })
    }
}

fn copy_object(mirror: &Mirror, name: &str, path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(StoreError::io(path))?;
    let file = std::fs::File::create(path).map_err(StoreError::io(path))?;
    mirror.bucket().get_file(name, &file)?;
    Ok(())
}

fn no_plan(mirror: &Mirror) -> ObjectError {
    let missing = mirror.bucket().missing(PLAN);
    let help = "the run may have ended: `fanfold run` deletes it from the store when it has its tables";
    match missing.message.contains("no bucket") {
        true => missing,
        false => ObjectError::new(format!("there is no frozen plan at `{}`", mirror.address()), help),
    }
}
