//! `fanfold ledger gc`

use std::path::PathBuf;

use serde_json::json;

use super::{Format, existing, failed, show_json};
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;
use crate::report::summary::{count, number};
use crate::store::{self, Dropped};

/// Drops from a project's ledger what none of its runs uses: failed calls, answers out of service, answers to questions
/// that no run's folder holds any more.
///
/// An unfinished run keeps all answers of its models, and a project without a run keeps all answers. To let an old run
/// go, remove its folder under `.fanfold/runs` first.
#[derive(Debug, clap::Args)]
pub struct Gc {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// Only show what would be dropped.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Gc {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some((project, ledger)) = existing(&self.place, terminal) else { return Exit::Environment };
        drop(ledger);
        let before = project.ledger_bytes();
        let dropped = match store::gc(&project, self.dry_run) {
            Ok(dropped) => dropped,
            Err(error) => return failed(&error, terminal),
        };
        let after = project.ledger_bytes();
        match self.format {
            Format::Human => terminal.data(&self.human(dropped, before, after)),
            Format::Json => {
                let found = json!({
                    "schema_version": 1, "dry_run": self.dry_run, "dropped": dropped, "bytes_before": before,
                    "bytes_after": after,
                });
                show_json(&found, terminal);
            }
        }
        Exit::Ok
    }

    fn human(&self, dropped: Dropped, before: u64, after: u64) -> String {
        let Dropped { answers, history } = dropped;
        let what = format!("{} and {}", count(answers, "unused answer"), count(history, "old record"));
        if self.dry_run {
            return format!("would drop {what}\n");
        }
        let [before, after] = [before, after].map(|bytes| number(bytes.div_ceil(1024)));
        format!("dropped {what}; {before} KiB before, {after} KiB now\n")
    }
}
