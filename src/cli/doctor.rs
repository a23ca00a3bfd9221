//! The command `fanfold doctor`.

use std::path::PathBuf;

use super::{Exit, Failure, Terminal};
use crate::cluster::{EngineError, RACERS, probe, probe_store, racer};
use crate::object::Address;

/// Checks what a run relies on outside fanfold.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Checks whether workers on several machines can share a folder, or a folder of an object store. `fanfold run --on` does it before it submits.
    ///
    /// Processes race to create the same files: exactly one may win each time. Files are written, replaced and read, and
    /// the clocks are compared. Run it on the login node and in a job.
    Storage {
        /// The folder, such as that of the project, or an address such as `s3://bucket/folder`.
        folder: PathBuf,
        /// The number of a process that races.
        #[arg(long, hide = true)]
        racer: Option<usize>,
    },
}

impl Doctor {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let What::Storage { folder, racer: number } = self.what;
        let broken = |error: std::io::Error| Failure::new(Exit::Environment, format!("{}: {error}", folder.display()));
        if let Some(number) = number {
            let won = racer(&folder, number).map_err(broken)?;
            won.iter().for_each(|round| terminal.data(&format!("{round}\n")));
            return Ok(Exit::Ok);
        }
        let program = std::env::current_exe().map_err(broken)?;
        let address = folder.to_str().and_then(Address::parse).transpose().map_err(EngineError::from)?;
        let found = match address {
            Some(address) => probe_store(&address, &program)?,
            None => probe(&folder, &program)?,
        };
        terminal.data(&format!("{} can be shared by workers\n", folder.display()));
        terminal.data(&format!("  creation: 1 of {RACERS} processes wins, every time\n"));
        let links = match found.has_links {
            Some(true) => "hard links",
            Some(false) => "marker files, since there are no hard links",
            None => "objects that are created once",
        };
        terminal.data(&format!("  commits: by {links}\n"));
        terminal.data(&format!("  a durable write: {:.1} ms\n", found.write.as_secs_f64() * 1e3));
        if found.clock_differs() {
            let seconds = found.skew_ms as f64 / 1e3;
            terminal
                .note(&format!("warning: the clock of the file system differs by {seconds:.1} s from this machine's"));
        }
        Ok(Exit::Ok)
    }
}
