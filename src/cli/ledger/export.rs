//! The command `fanfold ledger export`.

use std::path::PathBuf;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load::load_spec;
use crate::cli::output::OutputFormat;
use crate::cli::terminal::Terminal;
use crate::report::ledger::ExportReport;
use crate::run::current;
use crate::store::{Project, StoreError, export};

/// Writes the calls of a finished run to one file, for `fanfold run --replay`.
///
/// The file is sorted Parquet, and the same calls always produce the same file, so it can be kept in git or in a data
/// archive. It contains no API keys, addresses, paths or times, except in error messages, which are those in the table.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Export {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let project = Project::of(&spec.folder);
        let dir = current(spec, &project)?;
        let calls = export(&dir, &self.output, project.root()).map_err(|error| match error {
            StoreError::Unfinished { .. } => {
                let help = format!("finish a run of the whole spec first: fanfold run {}", self.spec.display());
                Failure::new(Exit::Environment, error.to_string()).help(help)
            }
            error => error.into(),
        })?;
        let bytes = std::fs::metadata(&self.output).map_or(0, |metadata| metadata.len());
        self.format.write(&ExportReport { schema_version: 1, path: self.output, calls, bytes }, terminal);
        Ok(Exit::Ok)
    }
}
