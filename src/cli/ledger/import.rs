//! `fanfold ledger import`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Format, failed, failed_ledger, project, show_json};
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;
use crate::report::summary::{count, number};
use crate::store::{Ledger, Merged, merge};

/// Adds the answers of other files to a project's ledger: files of `fanfold ledger export`, and ledgers of other
/// projects (a ledger's file, or a spec's folder).
///
/// Where both have an answer, the one that was there counts. Every checksum is checked. Of a damaged ledger all is
/// taken that can still be read.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The spec or folder whose ledger they are added to.
    #[arg(long, value_name = "SPEC|FOLDER", default_value = ".")]
    into: PathBuf,
    /// How what was done is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Import {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let project = project(&self.into);
        let shared = match project.create().and_then(|()| project.share()) {
            Ok(shared) => shared,
            Err(error) => return failed(&error, terminal),
        };
        let mut ledger = match Ledger::open(&project.ledger()) {
            Ok(ledger) => ledger,
            Err(error) => return failed_ledger(&error, terminal),
        };
        let mut done = Vec::new();
        for file in &self.files {
            let from = if file.is_dir() { super::project(file).ledger() } else { file.clone() };
            match merge(&mut ledger, &from) {
                Err(error) => return failed(&error, terminal),
                Ok(merged) => {
                    if self.format == Format::Human {
                        terminal.data(&human(file, &merged));
                    }
                    done.push(json!({ "path": file, "merged": merged }));
                }
            }
        }
        drop(shared);
        if self.format == Format::Json {
            show_json(&json!({ "schema_version": 1, "files": done }), terminal);
        }
        Exit::Ok
    }
}

fn human(file: &Path, merged: &Merged) -> String {
    let Merged { added, known, corrupt, failed_calls, damaged } = merged;
    let mut parts = vec![format!("{} added", count(*added, "answer"))];
    if *damaged {
        parts.push("read from a damaged file".to_owned());
    }
    let others = [(known, "there already"), (corrupt, "corrupt, left out"), (failed_calls, "failed, left out")];
    parts.extend(others.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!("{} {what}", number(**n))));
    format!("{}: {}\n", file.display(), parts.join(", "))
}
