//! The command `fanfold ledger import`.

use std::path::PathBuf;

use super::location;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::{OutputFormat, write_json};
use crate::cli::terminal::Terminal;
use crate::report::ledger::{ImportReport, ImportedFile};
use crate::store::{Ledger, merge};

/// Adds answers from other files to the ledger of a project: files of `fanfold ledger export`, and ledgers of other
/// projects (the file of a ledger, or the folder of a spec).
///
/// If both have an answer, the project keeps its own. Every checksum is checked. From a damaged ledger, everything that
/// can be read is imported.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
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

impl Import {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let project = location::project(&self.into);
        project.create()?;
        let shared = project.share()?;
        let mut ledger = Ledger::open(&project.ledger())?;
        let mut files = Vec::new();
        for path in self.files {
            let from = if path.is_dir() { location::project(&path).ledger() } else { path.clone() };
            let merged = merge(&mut ledger, &from)?;
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
