//! What an argument of `fanfold diff` is: a spec, a run, a lock or a table, by its name and by what stands there.

use std::path::Path;

use super::super::exit::Exit;
use super::super::load::load_or_show;
use super::super::run::failed;
use super::super::terminal::Terminal;
use crate::document;
use crate::lock::Lock;
use crate::run::current;
use crate::source;
use crate::store::{Manifest, Project, RunDir, State, Stored};

/// What an argument is.
pub enum Given {
    /// A lock.
    Lock(Lock),
    /// A finished run.
    Run(Box<Run>),
    /// A table.
    Table(Stored),
}

/// A finished run.
pub struct Run {
    dir: RunDir,
    manifest: Manifest,
    /// What its tables were made from and are.
    pub lock: Lock,
}

/// What stands at `path`; if there is nothing to compare, why has been shown.
pub fn given(path: &Path, terminal: &Terminal) -> Result<Given, Exit> {
    let show = |(message, help): (String, &str)| {
        terminal.error(&message, Some(help));
        Exit::Environment
    };
    if path.is_dir() {
        return finished(RunDir::new(path.to_owned())).map_err(show);
    }
    if path.file_name().is_some_and(|name| name == "manifest.json") {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return finished(RunDir::new(folder.to_owned())).map_err(show);
    }
    if document::Format::of(path).is_some() {
        return of_spec(path, terminal);
    }
    if !path.exists() {
        let help = "A and B are specs, folders of runs, locks or tables";
        return Err(show((format!("there is no `{}`", path.display()), help)));
    }
    if source::Format::of(path).is_some() {
        return Stored::file(path).map(Given::Table).map_err(|message| {
            terminal.error(&message, None);
            Exit::Environment
        });
    }
    match Lock::read(path) {
        Ok(Some(lock)) => Ok(Given::Lock(lock)),
        Ok(None) => Err(show((format!("there is no `{}`", path.display()), "name a lock, a run, a spec or a table"))),
        Err(error) => {
            let help = "the name of a spec ends in .toml, .yaml or .yml, that of a table in .parquet, .csv, .tsv or .jsonl; \
                        other files are read as locks";
            terminal.error(&error.to_string(), Some(help));
            Err(Exit::Spec)
        }
    }
}

/// The finished run of a spec as it is now; a replay will do as well.
fn of_spec(path: &Path, terminal: &Terminal) -> Result<Given, Exit> {
    let Some(spec) = load_or_show(path, terminal) else { return Err(Exit::Spec) };
    let project = Project::of(&spec.folder);
    let dir = current(spec, &project).map_err(|error| failed(&error, terminal))?;
    let mut replay = dir.root().as_os_str().to_owned();
    replay.push("-replay");
    let found = finished(dir.clone()).or_else(|_| finished(RunDir::new(replay.into())));
    found.map_err(|_| {
        let message = format!("`{}` has no finished run of all that it says now", path.display());
        let help = format!(
            "`fanfold run {}` makes it; earlier runs are the folders in {}",
            path.display(),
            project.runs().display()
        );
        terminal.error(&message, Some(&help));
        Exit::Environment
    })
}

/// The run in a folder, if it came to its end; the error is a message and what to do about it.
fn finished(dir: RunDir) -> Result<Given, (String, &'static str)> {
    let shown = dir.root().display();
    let Some(manifest) = Manifest::read(&dir) else {
        return Err((format!("there is no run in `{shown}`"), "a run is a folder under `.fanfold/runs`"));
    };
    if manifest.state != State::Done {
        return Err((format!("the run in `{shown}` is not finished"), "run its spec again to go on"));
    }
    match Lock::of_manifest(&manifest) {
        Some(lock) => Ok(Given::Run(Box::new(Run { dir, manifest, lock }))),
        None => {
            let help = "its tables can be compared by their paths, with `--key`";
            Err((format!("the run in `{shown}` is of some rows or stages only"), help))
        }
    }
}

impl Given {
    /// The argument in words.
    pub fn words(&self, path: &Path) -> String {
        let shown = path.display();
        match self {
            Given::Lock(_) => format!("{shown} (a lock)"),
            Given::Table(_) => format!("{shown} (a table)"),
            Given::Run(run) if run.dir.root() == path => format!("{shown} (a run)"),
            Given::Run(run) => format!("{shown} (the run in {})", run.dir.root().display()),
        }
    }

    /// What its tables were made from, if it tells.
    pub fn lock(&self) -> Option<&Lock> {
        match self {
            Given::Lock(lock) => Some(lock),
            Given::Run(run) => Some(&run.lock),
            Given::Table(_) => None,
        }
    }

    /// The only table that it has; the error is a message and what to do about it.
    pub fn one_table(&self) -> Result<Stored, (String, String)> {
        match self {
            Given::Table(table) => Ok(table.clone()),
            Given::Lock(_) => Err(("a lock has no cells".to_owned(), "compare it with a lock".to_owned())),
            Given::Run(run) => {
                let paths: Vec<&str> = run.lock.outputs.values().map(|output| output.path.as_str()).collect();
                let help = format!("compare with one of its tables: {}", paths.join(", "));
                match run.lock.outputs.keys().collect::<Vec<_>>().as_slice() {
                    [name] => run.table(name).map_err(|why| (why, help)),
                    _ => Err((format!("it has {} tables", paths.len()), help)),
                }
            }
        }
    }
}

impl Run {
    /// The table of an output; the error is why there is none to compare.
    pub fn table(&self, output: &str) -> Result<Stored, String> {
        Stored::output(&self.dir, &self.manifest, output)
    }
}
