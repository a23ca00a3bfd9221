//! `fanfold explain`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::Exit;
use super::load::load_or_show;
use super::status::Format;
use super::terminal::Terminal;
use crate::document;
use crate::name::{listed, nearest};
use crate::report::explanation;
use crate::store::{CellRef, Explanation, Origin, OriginError, StoreError, explain, origin};

/// Shows what stands behind a row or a cell of a table: the prompt as sent, the model's build, the raw reply, the attempts.
///
/// Reads what the run that wrote the table left in `.fanfold`, whatever has become of the spec since. Sends nothing.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// A table that a run wrote; or a spec: its output, named by `--output` if there are several.
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// The row of the source: its key, or its number where the source has no key; '#12' is always the twelfth.
    #[arg(value_name = "ROW")]
    row: String,
    /// Only what this column comes from; without it, all that stages wrote.
    #[arg(value_name = "COLUMN")]
    column: Option<String>,
    /// The output of the spec.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Only rows and calls of this model, by its name in the spec.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only this replicate.
    #[arg(long, value_name = "N")]
    replicate: Option<i64>,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Explain {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let (file, folder) = match document::Format::of(&self.table) {
            Some(_) => match self.output_of_spec(terminal) {
                Ok((file, folder)) => (file, Some(folder)),
                Err(exit) => return exit,
            },
            None if self.output.is_some() => {
                terminal.error("`--output` names an output of a spec, and this is a table", None);
                return Exit::Spec;
            }
            None => (self.table.clone(), None),
        };
        let wanted = CellRef {
            row: &self.row,
            column: self.column.as_deref(),
            model: self.model.as_deref(),
            replicate: self.replicate,
        };
        let found = origin(&file, folder.as_deref()).and_then(|origin| Ok((explain(&origin, &wanted)?, origin)));
        match found {
            Ok((explanation, origin)) => {
                match self.format {
                    Format::Human => {
                        terminal.text(&explanation::human(&explanation, &origin, &file, self.column.as_deref()))
                    }
                    Format::Json => terminal.json(&as_json(&explanation, &origin, &file)),
                }
                Exit::Ok
            }
            Err(error) => self.failed(&error, terminal),
        }
    }

    /// The file of the spec's output that is meant, and the spec's folder.
    fn output_of_spec(&self, terminal: &Terminal) -> Result<(PathBuf, PathBuf), Exit> {
        let spec = load_or_show(&self.table, terminal).ok_or(Exit::Spec)?;
        let names = || spec.outputs.keys().map(|name| name.as_str());
        let output = match &self.output {
            Some(name) => spec.outputs.get(name.as_str()),
            None => spec.outputs.first().map(|(_, output)| output).filter(|_| spec.outputs.len() == 1),
        };
        let Some(output) = output else {
            let (message, help) = match &self.output {
                Some(name) => (format!("there is no output `{name}`"), nearest(name, names()).map(meant)),
                None => (
                    format!("the spec has the outputs {}", listed(names())),
                    Some("name one with `--output NAME`".to_owned()),
                ),
            };
            terminal.error(&message, help.as_deref());
            return Err(Exit::Spec);
        };
        Ok((output.file.clone(), spec.folder.clone()))
    }

    fn failed(&self, error: &OriginError, terminal: &Terminal) -> Exit {
        let (help, exit) = match error {
            OriginError::Unknown { help, .. } => (help.clone(), Exit::Spec),
            OriginError::Gone { .. } | OriginError::Store(StoreError::Io { .. }) => {
                let spec = document::Format::of(&self.table).map(|_| self.table.display().to_string());
                let spec = spec.unwrap_or_else(|| "SPEC".to_owned());
                (
                    Some(format!("`fanfold run {spec}` makes it again; what is in the ledger is not asked again")),
                    Exit::Environment,
                )
            }
            OriginError::Store(_) => (None, Exit::Environment),
        };
        terminal.error(&error.to_string(), help.as_deref());
        exit
    }
}

fn meant(near: &str) -> String {
    format!("did you mean `{near}`?")
}

fn as_json(explanation: &Explanation, origin: &Origin, file: &Path) -> String {
    let manifest = &origin.manifest;
    let value = json!({
        "schema_version": 1, "table": file, "output": origin.name, "pipeline": manifest.pipeline, "run": manifest.run,
        "spec_hash": manifest.spec_hash, "folder": origin.dir.root(), "finished_at": manifest.finished_at,
        "replay": manifest.replay, "explanation": explanation,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}
