//! The command `fanfold diff`. Its arguments are a spec, a run, a lock or a table, recognised by name and content.

use std::path::{Path, PathBuf};

use super::{Exit, Failure, OutputFormat, Terminal, load_spec};
use crate::document;
use crate::lock::{Comparison, Lock};
use crate::name::listed;
use crate::report::diff::{Compared, ComparedTable, DiffReport, Facets};
use crate::run::current;
use crate::source;
use crate::store::{Manifest, Project, RunDir, State, StoredTable};
use crate::table::diff::{DiffError, Matching, Side, Which, diff};
use crate::table::parquet::folder_of;

/// Shows what changed from A to B: the spec, the inputs, the models, and every cell of the answers.
///
/// A and B can each be a spec (its finished run), a run folder under .fanfold/runs, a lock, or a table (.parquet, .csv,
/// .tsv or .jsonl). A lock contains no cells; a table does not record its inputs. Exit code 0 if nothing differs, 1
/// otherwise. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The old version.
    a: PathBuf,
    /// The new version.
    b: PathBuf,
    /// The columns that identify a row [default: the key of the source, or the row number].
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    key: Vec<String>,
    /// Rows to show for each kind of difference.
    #[arg(long, default_value_t = 5, value_name = "N")]
    examples: usize,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Diff {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (a, b) = (argument(&self.a, terminal)?, argument(&self.b, terminal)?);
        let report = self.report(&a, &b)?;
        self.format.write(&report, terminal);
        Ok(if report.differs() { Exit::Failed } else { Exit::Ok })
    }

    /// Compares two files, without examples.
    pub(super) fn between(a: &Path, b: &Path, terminal: &Terminal) -> Result<DiffReport, Failure> {
        let diff = Diff { a: a.to_owned(), b: b.to_owned(), key: Vec::new(), examples: 0, format: OutputFormat::Human };
        diff.report(&argument(a, terminal)?, &argument(b, terminal)?)
    }

    fn report(&self, a: &Argument, b: &Argument) -> Result<DiffReport, Failure> {
        let mut report = DiffReport {
            a: a.words(&self.a),
            b: b.words(&self.b),
            facets: a.lock().zip(b.lock()).map(|(a, b)| facets(a, b)),
            tables: Vec::new(),
            only_a: Vec::new(),
            only_b: Vec::new(),
            no_cells: None,
        };
        match (a, b) {
            (Argument::Run(a), Argument::Run(b)) => self.outputs(a, b, &mut report)?,
            (Argument::Lock(_), Argument::Table(_)) | (Argument::Table(_), Argument::Lock(_)) => {
                let message = "a lock contains no cells, and a table does not record its inputs";
                return Err(Failure::new(Exit::Spec, message).help("compare the lock with a lock, a run or a spec"));
            }
            (Argument::Lock(_), _) | (_, Argument::Lock(_)) => {
                report.no_cells = Some("a lock contains only the hashes of tables");
            }
            (a, b) => {
                let name = self.b.display().to_string();
                let compared = self.compared(&a.one_table(&self.a)?, &b.one_table(&self.b)?)?;
                report.tables.push(ComparedTable { name, compared });
            }
        }
        Ok(report)
    }

    fn outputs(&self, a: &Run, b: &Run, report: &mut DiffReport) -> Result<(), Failure> {
        let (in_a, in_b) = (&a.lock.outputs, &b.lock.outputs);
        report.only_a.extend(in_a.keys().filter(|name| !in_b.contains_key(*name)).cloned());
        report.only_b.extend(in_b.keys().filter(|name| !in_a.contains_key(*name)).cloned());
        for name in in_a.keys().filter(|name| in_b.contains_key(*name)) {
            let compared = match a.table(name).and_then(|table| Ok((table, b.table(name)?))) {
                Ok((a, b)) => self.compared(&a, &b)?,
                Err(why) => Compared::Not(why),
            };
            report.tables.push(ComparedTable { name: name.clone(), compared });
        }
        Ok(())
    }

    fn compared(&self, a: &StoredTable, b: &StoredTable) -> Result<Compared, Failure> {
        let (by, folds) = match self.key.as_slice() {
            [] => match a.matching(b) {
                Ok(matching) => matching,
                Err(why) => return Ok(Compared::Not(why)),
            },
            columns => {
                self.check_key(a, &self.a)?;
                self.check_key(b, &self.b)?;
                (Matching { columns: columns.to_vec(), numbered: false }, [1, 1])
            }
        };
        let (read_a, read_b) = (|| a.read(), || b.read());
        let one = Side { schema: a.schema(), read: &read_a, fold: folds[0] };
        let other = Side { schema: b.schema(), read: &read_b, fold: folds[1] };
        match diff(&one, &other, &by, self.examples) {
            Ok(found) => Ok(Compared::Cells(by, Box::new(found))),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn check_key(&self, table: &StoredTable, path: &Path) -> Result<(), Failure> {
        let Some(column) = self.key.iter().find(|column| !table.has(column)) else { return Ok(()) };
        let schema = table.schema();
        let names = listed(schema.fields().iter().map(|field| field.name().as_str()));
        let message = format!("{} has no column `{column}`", path.display());
        Err(Failure::new(Exit::Spec, message).help(format!("its columns are {names}")))
    }

    fn failure(&self, error: &DiffError) -> Failure {
        let path = |side: Which| if side == Which::A { self.a.display() } else { self.b.display() };
        match error {
            DiffError::Read { side, .. } => Failure::new(Exit::Environment, format!("{}: {error}", path(*side))),
            DiffError::Twice { side, key, .. } => {
                let key = key.iter().map(|cell| cell.json().to_string()).collect::<Vec<_>>().join(", ");
                Failure::new(Exit::Spec, format!("{}: {error}: {key}", path(*side)))
                    .help("name the columns that identify a row, such as `--key id,model`")
            }
            DiffError::Spill(_) => Failure::new(Exit::Environment, error.to_string()),
        }
    }
}

fn facets(a: &Lock, b: &Lock) -> Facets {
    let Comparison { mut drift, same } = a.facets().compare(&b.facets());
    drift.extend(a.reported(b));
    Facets { same, drift }
}

enum Argument {
    Lock(Lock),
    Run(Box<Run>),
    Table(StoredTable),
}

struct Run {
    dir: RunDir,
    manifest: Manifest,
    lock: Lock,
}

fn argument(path: &Path, terminal: &Terminal) -> Result<Argument, Failure> {
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
    fn words(&self, path: &Path) -> String {
        let shown = path.display();
        match self {
            Argument::Lock(_) => format!("{shown} (a lock)"),
            Argument::Table(_) => format!("{shown} (a table)"),
            Argument::Run(run) if run.dir.root() == path => format!("{shown} (a run)"),
            Argument::Run(run) => format!("{shown} (the run in {})", run.dir.root().display()),
        }
    }

    fn lock(&self) -> Option<&Lock> {
        match self {
            Argument::Lock(lock) => Some(lock),
            Argument::Run(run) => Some(&run.lock),
            Argument::Table(_) => None,
        }
    }

    fn one_table(&self, path: &Path) -> Result<StoredTable, Failure> {
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
    fn table(&self, output: &str) -> Result<StoredTable, String> {
        StoredTable::output(&self.dir, &self.manifest, output)
    }
}
