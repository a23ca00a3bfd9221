//! `fanfold ledger`: inspects, checks and moves the finished calls of a project. One file per subcommand.

mod export;
mod gc;
mod import;
mod info;
mod location;
mod verify;

use clap::Subcommand;

use super::error::Failure;
use super::exit::Exit;
use super::terminal::Terminal;

/// Manages the ledger: every finished call of a project, shared by all specs of a folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Ledger {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Info(info::Info),
    Verify(verify::Verify),
    Gc(gc::Gc),
    Export(export::Export),
    Import(import::Import),
}

impl Ledger {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        match self.command {
            Command::Info(command) => command.run(terminal),
            Command::Verify(command) => command.run(terminal),
            Command::Gc(command) => command.run(terminal),
            Command::Export(command) => command.run(terminal),
            Command::Import(command) => command.run(terminal),
        }
    }
}
