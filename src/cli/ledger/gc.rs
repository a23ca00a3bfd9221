//! The command `fanfold ledger gc`.

use std::path::PathBuf;

use super::location;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::OutputFormat;
use crate::cli::terminal::Terminal;
use crate::report::ledger::GcReport;
use crate::store;

/// Deletes the records that no run of the project uses: failed calls, answers that are no longer used, and answers that
/// belong to no run folder.
///
/// An unfinished run keeps all answers of its models. A project without runs keeps all answers. To release the answers
/// of an old run, first delete its folder under `.fanfold/runs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
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

impl Gc {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (project, ledger) = location::ledger(&self.place)?;
        drop(ledger);
        let bytes_before = project.ledger_bytes();
        let dropped = store::gc(&project, self.dry_run)?;
        let bytes_after = project.ledger_bytes();
        let report = GcReport { schema_version: 1, dry_run: self.dry_run, dropped, bytes_before, bytes_after };
        self.format.write(&report, terminal);
        Ok(Exit::Ok)
    }
}
