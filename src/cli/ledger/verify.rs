//! The command `fanfold ledger verify`.

use std::path::PathBuf;

use super::location;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::OutputFormat;
use crate::cli::terminal::Terminal;
use crate::report::ledger::VerifyReport;

/// Reads every answer in the ledger of a project and checks its checksum.
///
/// A corrupt answer is no longer used: it stays in the ledger as history, and the next run repeats the call.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Verify {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (_, ledger) = location::ledger(&self.place)?;
        let verified = ledger.verify()?;
        self.format.write(&VerifyReport { schema_version: 1, verified }, terminal);
        Ok(if verified.corrupt > 0 { Exit::Failed } else { Exit::Ok })
    }
}
