//! `fanfold ledger export`

use std::path::PathBuf;

use serde_json::json;

use super::{Format, failed, show_json};
use crate::cli::exit::Exit;
use crate::cli::load::load_or_show;
use crate::cli::run::failed as failed_run;
use crate::cli::terminal::Terminal;
use crate::report::summary::{count, number};
use crate::run::current;
use crate::store::{Project, StoreError, export};

/// Writes all calls behind the finished run of a spec into one file, for `fanfold run --replay`.
///
/// The file is Parquet, sorted, and the same for the same calls, so it is fit for git or a data archive. It holds no
/// keys, addresses, paths or times; only an error message stands in it as the table shows it.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How what was done is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Export {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        let project = Project::of(&spec.folder);
        let dir = match current(spec, &project) {
            Ok(dir) => dir,
            Err(error) => return failed_run(&error, terminal),
        };
        let calls = match export(&dir, &self.output, project.root()) {
            Ok(calls) => calls,
            Err(error @ StoreError::Unfinished { .. }) => {
                let help =
                    format!("a run of the whole spec has to be finished first: fanfold run {}", self.spec.display());
                terminal.error(&error.to_string(), Some(&help));
                return Exit::Environment;
            }
            Err(error) => return failed(&error, terminal),
        };
        let bytes = std::fs::metadata(&self.output).map_or(0, |metadata| metadata.len());
        match self.format {
            Format::Json => show_json(
                &json!({ "schema_version": 1, "path": self.output, "calls": calls, "bytes": bytes }),
                terminal,
            ),
            Format::Human => {
                let (path, size) = (self.output.display(), number(bytes.div_ceil(1024)));
                terminal.data(&format!("wrote {path}: {}, {size} KiB\n", count(calls, "call")));
            }
        }
        Exit::Ok
    }
}
