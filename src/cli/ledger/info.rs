//! The command `fanfold ledger info`.

use std::path::PathBuf;

use super::location;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::OutputFormat;
use crate::cli::terminal::Terminal;
use crate::report::ledger::InfoReport;

/// Shows what the ledger of a project contains: answers, failed calls, models, tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Info {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (project, ledger) = location::ledger(&self.place)?;
        let contents = ledger.contents()?;
        let (path, bytes) = (project.ledger(), project.ledger_bytes());
        self.format.write(&InfoReport { schema_version: 1, path, bytes, contents }, terminal);
        Ok(Exit::Ok)
    }
}
