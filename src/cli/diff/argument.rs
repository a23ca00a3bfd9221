//! Arguments of `fanfold diff`: a spec, a run, a lock or a table, recognised by name and content.

use std::path::Path;

use crate::cli::{Exit, Failure, Terminal, load_spec};
use crate::document;
use crate::lock::Lock;
use crate::run::current;
use crate::source;
use crate::store::{Manifest, Project, RunDir, State, StoredTable};
use crate::table::parquet::folder_of;

pub(crate) enum Argument {
    Lock(Lock),
    Run(Box<Run>),
    Table(StoredTable),
}

pub(crate) struct Run {
    dir: RunDir,
    manifest: Manifest,
    pub(crate) lock: Lock,
}

pub(crate) fn argument(path: &Path, terminal: &Terminal) -> Result<Argument, Failure> {
    if path.is_dir() {
        return finished(RunDir::new(path.to_owned()));
    }
    if path.file_name().is_some_and(|name| name == "manifest.json") {
        return finished(RunDir::new(folder_of(path).to_owned()));
    }
    if document::SpecFormat::of(path).is_some() {
        return of_spec(path, terminal);
    }
    let missing = || {
        let message = format!("`{}` does not exist", path.display());
        Failure::new(Exit::Environment, message).help("name a spec, a run folder, a lock or a table")
    };
    if !path.exists() {
        return Err(missing());
    }
    if source::FileFormat::of(path).is_some() {
        let table = StoredTable::file(path).map_err(|message| Failure::new(Exit::Environment, message))?;
        return Ok(Argument::Table(table));
    }
    match Lock::read(path) {
        Ok(lock) => lock.map(Argument::Lock).ok_or_else(missing),
        Err(error) => {
            let help = "specs end in .toml, .yaml or .yml, tables in .parquet, .csv, .tsv or .jsonl; other files are read as \
                        locks";
            Err(Failure::new(Exit::Spec, error.to_string()).help(help))
        }
    }
}

fn of_spec(path: &Path, terminal: &Terminal) -> Result<Argument, Failure> {
    let spec = load_spec(path, terminal)?;
    let project = Project::of(&spec.folder);
    let dir = current(spec, &project)?;
    let mut replay = dir.root().as_os_str().to_owned();
    replay.push("-replay");
    finished(dir).or_else(|_| finished(RunDir::new(replay.into()))).map_err(|_| {
        let (path, runs) = (path.display(), project.runs());
        Failure::new(Exit::Environment, format!("the current version of `{path}` has no finished run"))
            .help(format!("start one with `fanfold run {path}`; earlier runs are in {}", runs.display()))
    })
}

fn finished(dir: RunDir) -> Result<Argument, Failure> {
    let folder = dir.root().display();
    let failure = |message: String, help: &str| Failure::new(Exit::Environment, message).help(help);
    let Some(manifest) = Manifest::read(&dir) else {
        return Err(failure(format!("`{folder}` is not the folder of a run"), "name a folder under `.fanfold/runs`"));
    };
    if manifest.state != State::Done {
        return Err(failure(format!("the run in `{folder}` is not finished"), "run its spec again to continue"));
    }
    match Lock::of_manifest(&manifest) {
        Some(lock) => Ok(Argument::Run(Box::new(Run { dir, manifest, lock }))),
        None => Err(failure(
            format!("the run in `{folder}` has only some of the rows or stages"),
            "compare the files of its tables, with `--key`",
        )),
    }
}

impl Argument {
    pub(crate) fn words(&self, path: &Path) -> String {
        let shown = path.display();
        match self {
            Argument::Lock(_) => format!("{shown} (a lock)"),
            Argument::Table(_) => format!("{shown} (a table)"),
            Argument::Run(run) if run.dir.root() == path => format!("{shown} (a run)"),
            Argument::Run(run) => format!("{shown} (the run in {})", run.dir.root().display()),
        }
    }

    pub(crate) fn lock(&self) -> Option<&Lock> {
        match self {
            Argument::Lock(lock) => Some(lock),
            Argument::Run(run) => Some(&run.lock),
            Argument::Table(_) => None,
        }
    }

    pub(crate) fn one_table(&self, path: &Path) -> Result<StoredTable, Failure> {
        let failure =
            |message: &str, help: String| Failure::new(Exit::Spec, format!("{}: {message}", path.display())).help(help);
        match self {
            Argument::Table(table) => Ok(table.clone()),
            Argument::Lock(_) => Err(failure("a lock contains no cells", "compare it with a lock".to_owned())),
            Argument::Run(run) => {
                let paths: Vec<&str> = run.lock.outputs.values().map(|output| output.path.as_str()).collect();
                let help = format!("compare with one of its tables: {}", paths.join(", "));
                match run.lock.outputs.keys().collect::<Vec<_>>().as_slice() {
                    [name] => run.table(name).map_err(|why| failure(&why, help)),
                    _ => Err(failure(&format!("the run has {} tables", paths.len()), help)),
                }
            }
        }
    }
}

impl Run {
    pub(crate) fn table(&self, output: &str) -> Result<StoredTable, String> {
        StoredTable::output(&self.dir, &self.manifest, output)
    }
}
