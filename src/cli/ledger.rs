//! `fanfold ledger`: inspects, checks and moves the finished calls of a project.

use std::path::{Path, PathBuf};

use super::output::{check_replaces, write_json};
use super::terminal::typed;
use super::{Exit, Failure, OutputFormat, Terminal, load_spec};
use crate::report::ledger::{ExportReport, GcReport, ImportReport, ImportedFile, InfoReport, VerifyReport};
use crate::run::current;
use crate::store::{self, LedgerError, Project, StoreError};
use crate::table::files::folder_of;

/// Manages the ledger: every finished call of a project, shared by all specs of a folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Ledger {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows what the ledger of a project contains: answers, failed calls, models, tokens.
    Info(Shown),
    /// Reads every answer in the ledger of a project and checks its checksum.
    ///
    /// A corrupt answer is no longer used: it stays in the ledger as history, and the next run repeats the call.
    Verify(Shown),
    Gc(Gc),
    Export(Export),
    Import(Import),
}

#[derive(Debug, clap::Args)]
struct Shown {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

/// Deletes the records that no run of the project uses: failed calls, answers that are no longer used, and answers that
/// belong to no run folder.
///
/// An unfinished run keeps all answers of its models, and answers of after the last run are kept, such as those of a
/// pilot. A project without runs keeps all answers. To release the answers of an old run, first delete its folder under
/// `.fanfold/runs`.
#[derive(Debug, clap::Args)]
struct Gc {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// Only show what would be deleted.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

/// Writes the calls of a finished run to one file, for `fanfold run --replay`.
///
/// The file is sorted Parquet, and the same calls always produce the same file, so it can be kept in git or in a data
/// archive. It contains no API keys, addresses, paths or times, except in error messages, which are those in the table.
#[derive(Debug, clap::Args)]
struct Export {
    /// The spec.
    spec: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

/// Adds answers from other files to the ledger of a project: files of `fanfold ledger export`, and ledgers of other
/// projects (the file of a ledger, or the folder of a spec).
///
/// If both have an answer, the project keeps its own. Every checksum is checked. From a damaged ledger, everything that
/// can be read is imported.
#[derive(Debug, clap::Args)]
struct Import {
    /// The files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The spec or folder whose ledger receives the answers.
    #[arg(long, value_name = "SPEC|FOLDER", default_value = ".")]
    into: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

fn project(place: &Path) -> Project {
    if place.is_dir() { Project::of(place) } else { Project::of(folder_of(place)) }
}

type OpenLedger = fn(&Path) -> Result<store::Ledger, LedgerError>;

/// Returns the project of a spec or a folder, with its ledger. The ledger must exist.
fn existing(place: &Path, open: OpenLedger) -> Result<(Project, store::Ledger), Failure> {
    let project = project(place);
    let path = project.ledger();
    if !path.exists() {
        let message = format!("{} does not exist", path.display());
        let help = "nothing has been run there yet; name another spec or folder";
        return Err(Failure::new(Exit::Environment, message).help(help));
    }
    let ledger = open(&path)?;
    Ok((project, ledger))
}

impl Ledger {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        match self.command {
            Command::Info(command) => command.info(terminal),
            Command::Verify(command) => command.verify(terminal),
            Command::Gc(command) => command.run(terminal),
            Command::Export(command) => command.run(terminal),
            Command::Import(command) => command.run(terminal),
        }
    }
}

impl Shown {
    fn info(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (project, ledger) = existing(&self.place, store::Ledger::read)?;
        let contents = ledger.contents()?;
        let (path, bytes) = (project.ledger(), project.ledger_bytes());
        self.format.write(&InfoReport { schema_version: 1, path, bytes, contents }, terminal);
        Ok(Exit::Ok)
    }

    fn verify(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (_, ledger) = existing(&self.place, store::Ledger::open)?;
        let verified = ledger.verify()?;
        self.format.write(&VerifyReport { schema_version: 1, verified }, terminal);
        Ok(if verified.corrupt > 0 { Exit::Failed } else { Exit::Ok })
    }
}

impl Gc {
    fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (project, ledger) = existing(&self.place, store::Ledger::open)?;
        drop(ledger);
        let bytes_before = project.ledger_bytes();
        let dropped = store::gc(&project, self.dry_run)?;
        let bytes_after = project.ledger_bytes();
        let report = GcReport { schema_version: 1, dry_run: self.dry_run, dropped, bytes_before, bytes_after };
        self.format.write(&report, terminal);
        Ok(Exit::Ok)
    }
}

impl Export {
    fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        check_replaces(&self.output, "a replay file", |file| Ok(store::is_replay(file)))?;
        let project = Project::of(&spec.folder);
        let dir = current(spec, &project)?;
        let calls = store::export(&dir, &self.output, project.root()).map_err(|error| match error {
            StoreError::Unfinished { .. } => {
                let help = format!("finish a run of the whole spec first: fanfold run {}", typed(&self.spec));
                Failure::new(Exit::Environment, error.to_string()).help(help)
            }
            error => error.into(),
        })?;
        let bytes = std::fs::metadata(&self.output).map_or(0, |metadata| metadata.len());
        self.format.write(&ExportReport { schema_version: 1, path: self.output, calls, bytes }, terminal);
        Ok(Exit::Ok)
    }
}

impl Import {
    fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let project = project(&self.into);
        project.create()?;
        let shared = project.share()?;
        let mut ledger = store::Ledger::open(&project.ledger())?;
        let mut files = Vec::new();
        for path in self.files {
            let from = if path.is_dir() { self::project(&path).ledger() } else { path.clone() };
            let merged = store::merge(&mut ledger, &from)?;
            let imported = ImportedFile { path, merged };
            // Each file is reported at once, because a later file may fail.
            if self.format == OutputFormat::Human {
                terminal.text(&imported.to_string());
            }
            files.push(imported);
        }
        drop(shared);
        if self.format == OutputFormat::Json {
            write_json(&ImportReport { schema_version: 1, files }, terminal);
        }
        Ok(Exit::Ok)
    }
}
