//! `fanfold schema`

use super::exit::Exit;
use super::terminal::Terminal;

/// Prints the JSON Schema of a spec (draft-07), for editors and CI.
#[derive(Debug, clap::Args)]
pub struct Schema {}

impl Schema {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let schema = serde_json::to_string_pretty(&crate::spec::schema::schema()).unwrap_or_default();
        terminal.data(&(schema + "\n"));
        Exit::Ok
    }
}
