//! The command `fanfold diff`. Its arguments are a spec, a run, a commit, a lock or a table, recognised by name and
//! content.

mod commit;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::terminal::typed;
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, only_spec};
use crate::document;
use crate::lock::{Comparison, Lock};
use crate::name::listed;
use crate::report::colors::Palette;
use crate::report::diff::{Compared, ComparedTable, DiffReport, Facets};
use crate::report::settings::{SettingChange, setting_changes};
use crate::run::current;
use crate::source;
use crate::store::{Manifest, NamedRun, Project, RunDir, State, StoredTable, is_run_name, named_runs};
use crate::table::diff::{DiffError, Matching, Side, Wanted, Which, diff};
use crate::table::files::folder_of;
use commit::{Version, version_in, version_now};

/// Shows what changed from an old to a new version: prompts and settings, inputs, models, and every cell of the answers.
///
/// With a spec alone, compares its last two runs. With a spec and a run or a commit, that is the old version and the spec
/// the new one: `fanfold diff SPEC HEAD~2`. Otherwise OLD and NEW can each be a spec (its finished run), the name or the
/// folder of a run, a lock, or a table (.parquet, .csv, .tsv or .jsonl). A lock contains no cells; a table does not
/// record its inputs. Exit code 0 if nothing differs, 1 otherwise. Sends and writes nothing.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Diff {
    /// The old version, or a spec [default: the only spec of this folder].
    #[arg(value_name = "OLD", default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    a: PathBuf,
    /// The new version; after a spec also the name of a run or a commit.
    #[arg(value_name = "NEW")]
    b: Option<PathBuf>,
    /// The columns that identify a row, in each table that has them [default: the key of the source, with the columns
    /// that tell its rows apart, such as `model`; or the row number].
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    key: Vec<String>,
    /// Rows to show for each kind of difference.
    #[arg(long, default_value_t = 5, value_name = "N")]
    examples: usize,
    /// Columns to show of each row that differs [default: those that the prompts read].
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    columns: Vec<String>,
    /// A column with the right values: counts how many answers became right and wrong.
    #[arg(long, value_name = "COLUMN")]
    gold: Option<String>,
    /// Show every facet of the locks, with its hash.
    #[arg(short, long)]
    verbose: bool,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

/// A version and its name in messages.
struct Named {
    name: String,
    argument: Argument,
}

impl Diff {
    pub(crate) fn run(mut self, terminal: &Terminal) -> Result<Exit, Failure> {
        if self.b.is_none() && !only_spec::names_file(&self.a) {
            let spec = only_spec::only_spec().map_err(|error| Failure::from(&error))?;
            self.b = Some(std::mem::replace(&mut self.a, spec));
        }
        let [a, b] = self.versions(terminal)?;
        let report = self.report(&a, &b, terminal.width())?;
        self.format.paint(&report, Palette::Changes, terminal);
        Ok(if report.differs() { Exit::Failed } else { Exit::Ok })
    }

    /// Compares two files, without examples.
    pub(super) fn between(a: &Path, b: &Path, terminal: &Terminal) -> Result<DiffReport, Failure> {
        let diff = Diff { a: a.to_owned(), b: Some(b.to_owned()), ..Diff::default() };
        let [a, b] = diff.versions(terminal)?;
        diff.report(&a, &b, terminal.width())
    }

    /// The old and the new version.
    fn versions(&self, terminal: &Terminal) -> Result<[Named; 2], Failure> {
        let is_spec = |path: &Path| document::SpecFormat::of(path).is_some();
        let named = |path: &PathBuf| -> Result<Named, Failure> {
            Ok(Named { name: path.display().to_string(), argument: self.argument(path, terminal)? })
        };
        let Some(b) = &self.b else {
            if !is_spec(&self.a) {
                let message = format!("`{}` is not a spec, so a second version is missing", self.a.display());
                return Err(Failure::new(Exit::Spec, message).help("name the new version too: fanfold diff OLD NEW"));
            }
            return last_two(&self.a, terminal);
        };
        let name = b.display().to_string();
        if !is_spec(&self.a) || is_spec(b) || b.exists() || source::FileFormat::of(b).is_some() {
            return Ok([named(&self.a)?, named(b)?]);
        }
        if is_run_name(&name) {
            return Ok([named(b)?, named(&self.a)?]);
        }
        let spec = load_spec(&self.a, terminal)?;
        let old = of_version(version_in(&self.a, &name)?, &Project::of(&spec.folder));
        let new = match (of_spec(&self.a, terminal), version_now(&self.a)) {
            (Ok(Argument::Run(run)), now) => {
                Argument::Run(Box::new(Run { document: now.map(|version| version.document), ..*run }))
            }
            // The lock of an earlier spec says nothing about this one.
            (_, Some(mut version)) => {
                version.lock = version.lock.filter(|lock| lock.spec.meaning == spec.hash());
                Argument::Version(Box::new(version))
            }
            (other, None) => other?,
        };
        Ok([Named { name, argument: old }, Named { name: self.a.display().to_string(), argument: new }])
    }

    fn report(&self, a: &Named, b: &Named, width: usize) -> Result<DiffReport, Failure> {
        let mut report = DiffReport {
            a: a.words(),
            b: b.words(),
            settings: a.argument.settings(&b.argument),
            facets: a.argument.lock().zip(b.argument.lock()).map(|(a, b)| facets(a, b)),
            tables: Vec::new(),
            only_a: Vec::new(),
            only_b: Vec::new(),
            no_cells: None,
            gold: self.gold.clone(),
            verbose: self.verbose,
            width,
        };
        match (&a.argument, &b.argument) {
            (Argument::Run(a_run), Argument::Run(b_run)) => {
                let (in_a, in_b) = (&a_run.lock.outputs, &b_run.lock.outputs);
                report.only_a.extend(in_a.keys().filter(|name| !in_b.contains_key(*name)).cloned());
                report.only_b.extend(in_b.keys().filter(|name| !in_a.contains_key(*name)).cloned());
                let (mut first, mut has_gold, mut has_key) = (None, false, false);
                for output in in_a.keys().filter(|name| in_b.contains_key(*name)) {
                    let compared = match a_run.table(output).and_then(|table| Ok((table, b_run.table(output)?))) {
                        Ok(tables) => {
                            has_gold |= self.gold.as_ref().is_some_and(|gold| tables.0.has(gold));
                            has_key |= self.is_keyed([&tables.0, &tables.1]);
                            let compared = self.compared((a, &tables.0), (b, &tables.1), output)?;
                            first.get_or_insert(tables.0);
                            compared
                        }
                        Err(why) => Compared::Not(why),
                    };
                    report.tables.push(ComparedTable { name: output.clone(), compared });
                }
                if let Some(table) = first {
                    check_columns(if has_gold { &[] } else { self.gold.as_slice() }, &table, &a.name)?;
                    check_columns(if has_key || table.has_statistics() { &[] } else { &self.key }, &table, &a.name)?;
                }
            }
            (Argument::Lock(_) | Argument::Version(_), Argument::Table(_))
            | (Argument::Table(_), Argument::Lock(_) | Argument::Version(_)) => {
                let message = "a lock contains no cells, and a table does not record its inputs";
                return Err(Failure::new(Exit::Spec, message).help("compare the lock with a lock, a run or a spec"));
            }
            (Argument::Run(_), Argument::Version(_)) => {
                report.no_cells = Some("the spec as it is now has no finished run; `fanfold run` makes one");
            }
            (Argument::Version(_), _) | (_, Argument::Version(_)) => {
                report.no_cells = Some("git keeps no answers, and no finished run of that version is here");
            }
            (Argument::Lock(_), _) | (_, Argument::Lock(_)) => {
                report.no_cells = Some("a lock contains only the hashes of tables");
            }
            _ => {
                let tables = (a.one_table()?, b.one_table()?);
                check_columns(self.gold.as_slice(), &tables.0, &a.name)?;
                if !tables.0.has_statistics() {
                    check_columns(&self.key, &tables.0, &a.name)?;
                    check_columns(&self.key, &tables.1, &b.name)?;
                }
                let compared = self.compared((a, &tables.0), (b, &tables.1), "")?;
                report.tables.push(ComparedTable { name: b.name.clone(), compared });
            }
        }
        Ok(report)
    }

    /// Compares the tables of `output`, or of the only output if it is empty.
    fn compared(
        &self,
        (a_named, a): (&Named, &StoredTable),
        (b_named, b): (&Named, &StoredTable),
        output: &str,
    ) -> Result<Compared, Failure> {
        // The rows of the table of a method are statistics, which have their own names.
        let is_of_rows = !a.has_statistics();
        let (by, folds) = if is_of_rows && self.is_keyed([a, b]) {
            (Matching { columns: self.key.clone(), numbered: false }, [1, 1])
        } else {
            match a.matching(b) {
                Ok(matching) => matching,
                Err(why) => return Ok(Compared::Not(why)),
            }
        };
        let shown = if is_of_rows { self.columns.as_slice() } else { &[] };
        check_columns(shown, a, &a_named.name)?;
        let run = [a_named, b_named].into_iter().find_map(|named| named.argument.run());
        let shown = match (shown, run) {
            ([], Some(run)) => run.manifest.reads(output).into_iter().filter(|column| a.has(column)).collect(),
            (columns, _) => columns.to_vec(),
        };
        let gold = self.gold.clone().filter(|column| a.has(column));
        let wanted = Wanted { examples: self.examples, shown, gold };
        let (read_a, read_b) = (|| a.read(), || b.read());
        let one = Side { schema: a.schema(), read: &read_a, fold: folds[0] };
        let other = Side { schema: b.schema(), read: &read_b, fold: folds[1] };
        let mut found = match diff(&one, &other, &by, &wanted) {
            Ok(found) => found,
            // The other tables of the runs can be compared.
            Err(error @ DiffError::Twice { .. }) if !output.is_empty() => {
                let keys = by.columns.join(",");
                let help = format!("name the columns that identify a row, such as `--key {keys},...`");
                return Ok(Compared::Not(format!("{error}: {help}")));
            }
            Err(error) => return Err(failure(&error, [a_named, b_named])),
        };
        for column in &mut found.columns {
            let labels = run.map(|run| run.manifest.labels(&column.name)).unwrap_or_default();
            if let Some(confusion) = &mut column.confusion {
                confusion.sort(&labels);
            }
        }
        Ok(Compared::Cells(by, Box::new(found)))
    }

    /// Whether both tables have the columns of `--key`.
    fn is_keyed(&self, tables: [&StoredTable; 2]) -> bool {
        !self.key.is_empty() && self.key.iter().all(|column| tables.iter().all(|table| table.has(column)))
    }

    /// Finds what an argument names. Runs are searched in the projects of the specs, and around this folder.
    fn argument(&self, path: &Path, terminal: &Terminal) -> Result<Argument, Failure> {
        let name = path.display().to_string();
        if path.exists() || !is_run_name(&name) {
            return argument(path, terminal);
        }
        let specs = [Some(&self.a), self.b.as_ref()].into_iter().flatten();
        let specs = specs.filter(|path| document::SpecFormat::of(path).is_some());
        let here = std::env::current_dir().unwrap_or_default();
        let around = [Path::new(".")].into_iter().chain(here.ancestors().skip(1));
        let folders = specs.map(|spec| folder_of(spec)).chain(around);
        let runs = folders.flat_map(|folder| named_runs(&Project::of(folder)).unwrap_or_default());
        match runs.into_iter().find(|run| run.name == name) {
            Some(run) => finished(run.dir),
            None => Err(Failure::new(Exit::Environment, format!("there is no run `{name}` here"))
                .help("`fanfold runs SPEC` lists the runs of a spec")),
        }
    }
}

fn check_columns(columns: &[String], table: &StoredTable, name: &str) -> Result<(), Failure> {
    let Some(column) = columns.iter().find(|column| !table.has(column)) else { return Ok(()) };
    let schema = table.schema();
    let names = listed(schema.fields().iter().map(|field| field.name().as_str()));
    let message = format!("{name} has no column `{column}`");
    Err(Failure::new(Exit::Spec, message).help(format!("its columns are {names}")))
}

fn failure(error: &DiffError, [a, b]: [&Named; 2]) -> Failure {
    let name = |side: Which| if side == Which::A { &a.name } else { &b.name };
    match error {
        DiffError::Read { side, .. } => Failure::new(Exit::Environment, format!("{}: {error}", name(*side))),
        DiffError::Twice { side, key, .. } => {
            let key = key.iter().map(|cell| cell.json().to_string()).collect::<Vec<_>>().join(", ");
            Failure::new(Exit::Spec, format!("{}: {error}: {key}", name(*side)))
                .help("name the columns that identify a row, such as `--key id,model`")
        }
        DiffError::Spill(_) => Failure::new(Exit::Environment, error.to_string()),
    }
}

/// The last two finished runs of the whole spec.
fn last_two(path: &Path, terminal: &Terminal) -> Result<[Named; 2], Failure> {
    let spec = load_spec(path, terminal)?;
    let project = Project::of(&spec.folder);
    let mut runs = named_runs(&project)?;
    runs.retain(|NamedRun { manifest, .. }| {
        manifest.pipeline == spec.name && manifest.state == State::Done && manifest.lock.is_some()
    });
    let (new, old) = (runs.pop(), runs.pop());
    let Some((old, new)) = old.zip(new) else {
        let message = format!("`{}` has fewer than two finished runs to compare", path.display());
        let help = "name an old version: a commit such as HEAD~1, a lock, another spec or a table";
        return Err(Failure::new(Exit::Environment, message).help(help));
    };
    let named = |run: NamedRun| Ok::<_, Failure>(Named { name: run.name, argument: finished(run.dir)? });
    Ok([named(old)?, named(new)?])
}

/// The run that a version of a spec had, if it is kept here, or else only the version.
fn of_version(version: Version, project: &Project) -> Argument {
    let causes = version.lock.as_ref().map(Lock::causes);
    let same = |run: &NamedRun| Lock::of_manifest(&run.manifest).map(|lock| lock.causes()) == causes;
    let runs = named_runs(project).unwrap_or_default().into_iter();
    let kept = runs.filter(|run| causes.is_some() && same(run)).find_map(|run| finished(run.dir).ok());
    match kept {
        Some(Argument::Run(run)) => Argument::Run(Box::new(Run { document: Some(version.document), ..*run })),
        _ => Argument::Version(Box::new(version)),
    }
}

fn facets(a: &Lock, b: &Lock) -> Facets {
    let Comparison { mut drift, same } = a.facets().compare(&b.facets());
    drift.extend(a.reported(b));
    Facets { same, drift }
}

#[derive(Debug)]
enum Argument {
    Lock(Lock),
    Run(Box<Run>),
    Table(StoredTable),
    /// A version of a spec without a finished run.
    Version(Box<Version>),
}

#[derive(Debug)]
struct Run {
    dir: RunDir,
    manifest: Manifest,
    lock: Lock,
    /// The document of the spec, if it is compared with that of a commit.
    document: Option<Value>,
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
        let (runs, message) =
            (project.runs(), format!("the current version of `{}` has no finished run", path.display()));
        let help = format!("start one with `fanfold run {}`; earlier runs are in {}", typed(path), runs.display());
        Failure::new(Exit::Environment, message).help(help)
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
        Some(lock) => Ok(Argument::Run(Box::new(Run { dir, manifest, lock, document: None }))),
        None => Err(failure(
            format!("the run in `{folder}` has only some of the rows or stages"),
            "compare the files of its tables, with `--key`",
        )),
    }
}

impl Named {
    fn words(&self) -> String {
        let shown = &self.name;
        match &self.argument {
            Argument::Lock(_) => format!("{shown} (a lock)"),
            Argument::Table(_) => format!("{shown} (a table)"),
            Argument::Version(version) if version.lock.is_none() => format!("{shown} (a spec without a lock)"),
            Argument::Version(_) => format!("{shown} (a spec and its lock)"),
            Argument::Run(run) if run.dir.root() == Path::new(shown) => format!("{shown} (a run)"),
            Argument::Run(run) => format!("{shown} (the run in {})", run.dir.root().display()),
        }
    }

    fn one_table(&self) -> Result<StoredTable, Failure> {
        let failure =
            |message: &str, help: String| Failure::new(Exit::Spec, format!("{}: {message}", self.name)).help(help);
        match &self.argument {
            Argument::Table(table) => Ok(table.clone()),
            Argument::Lock(_) | Argument::Version(_) => {
                Err(failure("a lock contains no cells", "compare it with a lock".to_owned()))
            }
            Argument::Run(run) => {
                let codebook = |name: &str| run.manifest.outputs.get(name).is_some_and(|output| output.codebook);
                let tables: Vec<_> = run.lock.outputs.iter().filter(|(name, _)| !codebook(name)).collect();
                let paths: Vec<&str> = tables.iter().map(|(_, output)| output.path.as_str()).collect();
                let help = format!("compare with one of its tables: {}", paths.join(", "));
                match tables.as_slice() {
                    [(name, _)] => run.table(name).map_err(|why| failure(&why, help)),
                    _ => Err(failure(&format!("the run has {} tables", paths.len()), help)),
                }
            }
        }
    }
}

impl Argument {
    fn lock(&self) -> Option<&Lock> {
        match self {
            Argument::Lock(lock) => Some(lock),
            Argument::Run(run) => Some(&run.lock),
            Argument::Version(version) => version.lock.as_ref(),
            Argument::Table(_) => None,
        }
    }

    fn run(&self) -> Option<&Run> {
        if let Argument::Run(run) = self { Some(run) } else { None }
    }

    fn document(&self) -> Option<&Value> {
        match self {
            Argument::Run(run) => run.document.as_ref(),
            Argument::Version(version) => Some(&version.document),
            _ => None,
        }
    }

    /// The settings that differ. `None` if they are not known.
    fn settings(&self, new: &Argument) -> Option<Vec<SettingChange>> {
        if let Some((old, new)) = self.document().zip(new.document()) {
            return Some(setting_changes(old, new));
        }
        let spec = |argument: &Argument| argument.run()?.dir.read_spec();
        Some(setting_changes(&spec(self)?, &spec(new)?))
    }
}

impl Run {
    fn table(&self, output: &str) -> Result<StoredTable, String> {
        StoredTable::output(&self.dir, &self.manifest, output)
    }
}
