//! The command `fanfold schema`.

use super::error::Failure;
use super::exit::Exit;
use super::output::write_json;
use super::terminal::Terminal;
use crate::spec::schema::schema;

/// Prints the JSON Schema of a spec (draft-07), for editors and CI.
#[derive(Debug, clap::Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        write_json(&schema(), terminal);
        Ok(Exit::Ok)
    }
}
