//! `fanfold ledger verify`

use std::path::PathBuf;

use serde_json::json;

use super::{Format, existing, failed_ledger, show_json};
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;
use crate::report::summary::count;

/// Reads every answer of a project's ledger and checks that it is what was written.
///
/// A corrupt answer is taken out of service: it stays as history, and the next run asks the call again.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Verify {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some((_, ledger)) = existing(&self.place, terminal) else { return Exit::Environment };
        let verified = match ledger.verify() {
            Ok(verified) => verified,
            Err(error) => return failed_ledger(&error, terminal),
        };
        match self.format {
            Format::Json => show_json(&json!({ "schema_version": 1, "verified": verified }), terminal),
            Format::Human => {
                let sound = count(verified.sound, "sound answer");
                let corrupt = match verified.corrupt {
                    0 => "none corrupt".to_owned(),
                    n => format!("{n} corrupt, now out of service; the next run asks again"),
                };
                terminal.data(&format!("{sound}, {corrupt}\n"));
            }
        }
        if verified.corrupt > 0 { Exit::Failed } else { Exit::Ok }
    }
}
