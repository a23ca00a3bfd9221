//! The command `fanfold models list`.

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::OutputFormat;
use crate::cli::terminal::Terminal;
use crate::provider::weights::Folders;
use crate::report::models::BuiltinReport;

/// Lists the built-in models: size, quantization, licence, file, and whether it has been downloaded.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl List {
    pub(crate) fn run(self, folders: &Folders, terminal: &Terminal) -> Result<Exit, Failure> {
        self.format.write(&BuiltinReport { folders, ollama: None }, terminal);
        Ok(Exit::Ok)
    }
}
