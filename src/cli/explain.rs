//! The command `fanfold explain`.

use std::path::PathBuf;

use super::recorded::replay_of_clone;
use super::run::Run;
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, only_spec};
use crate::document;
use crate::name::{listed, nearest};
use crate::report::explanation::ExplanationReport;
use crate::store::{CellRef, OriginError, StoreError, explain, origin};

/// Shows how a row or a cell was produced: the prompt sent, the model build, the raw reply and the attempts.
///
/// Reads what the run kept in `.fanfold`, even if the spec has changed since. In a clone, first makes the tables of the
/// spec from its replay file. Sends nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// A table that a run wrote, or a spec (its only output, or the one that `--output` names) [default: the only spec of
    /// this folder].
    table: PathBuf,
    /// The row of the source: its key, or its number if the source has no key. '#12' is always row 12.
    #[arg(default_value = "", hide_default_value = true)]
    row: String,
    /// Only this column [default: all columns that stages added].
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
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Explain {
    pub(crate) fn run(mut self, terminal: &Terminal) -> Result<Exit, Failure> {
        if self.column.is_none() && !only_spec::names_file(&self.table) {
            let spec = only_spec::only_spec().map_err(|error| Failure::from(&error))?;
            let row = std::mem::replace(&mut self.table, spec).display().to_string();
            self.column = Some(std::mem::replace(&mut self.row, row)).filter(|column| !column.is_empty());
        }
        if self.row.is_empty() {
            let help = "name its key or its number: fanfold explain TABLE ROW";
            return Err(Failure::new(Exit::Spec, "the row is missing").help(help));
        }
        let (file, folder) = match document::SpecFormat::of(&self.table) {
            Some(_) => self.output_of_spec(terminal).map(|(file, folder)| (file, Some(folder)))?,
            None if self.output.is_some() => {
                return Err(Failure::new(Exit::Spec, "`--output` names an output of a spec, but TABLE is a table"));
            }
            None => (self.table.clone(), None),
        };
        let wanted = CellRef {
            row: &self.row,
            column: self.column.as_deref(),
            model: self.model.as_deref(),
            replicate: self.replicate,
        };
        let find = || origin(&file, folder.as_deref()).and_then(|origin| Ok((explain(&origin, &wanted)?, origin)));
        let mut found = find();
        if matches!(found, Err(OriginError::Gone { .. })) && folder.is_some() {
            let spec = load_spec(&self.table, terminal)?;
            if let Some(replay) = replay_of_clone(&spec)? {
                terminal.note(&format!("making the tables from {}; nothing is sent", replay.display()));
                Run::replay(&self.table, &replay).quietly(terminal)?;
                found = find();
            }
        }
        let (explanation, origin) = found.map_err(|error| self.failure(error))?;
        let report = ExplanationReport { explanation, origin, file, width: terminal.page() };
        self.format.write(&report, terminal);
        Ok(Exit::Ok)
    }

    fn output_of_spec(&self, terminal: &Terminal) -> Result<(PathBuf, PathBuf), Failure> {
        let spec = load_spec(&self.table, terminal)?;
        let names = || spec.table_outputs().map(|(name, _)| name.as_str());
        let output = match &self.output {
            Some(name) => spec.outputs.get(name.as_str()).ok_or_else(|| {
                let help = nearest(name, names()).map(|near| format!("did you mean `{near}`?"));
                Failure::new(Exit::Spec, format!("unknown output `{name}`")).help_if(help)
            }),
            None => spec
                .table_outputs()
                .next()
                .map(|(_, output)| output)
                .filter(|_| spec.table_outputs().count() == 1)
                .ok_or_else(|| {
                    let message = format!("the spec has the outputs {}", listed(names()));
                    Failure::new(Exit::Spec, message).help("choose one with `--output NAME`")
                }),
        }?;
        Ok((output.file.clone(), spec.folder.clone()))
    }

    fn failure(&self, error: OriginError) -> Failure {
        let message = error.to_string();
        match error {
            OriginError::Unknown { help, .. } => Failure::new(Exit::Spec, message).help_if(help),
            OriginError::Gone { .. } | OriginError::Store(StoreError::Io { .. }) => {
                let spec = document::SpecFormat::of(&self.table).map(|_| self.table.display().to_string());
                let spec = spec.unwrap_or_else(|| "SPEC".to_owned());
                let help = format!("`fanfold run {spec}` writes it again; answers in the ledger are reused");
                Failure::new(Exit::Environment, message).help(help)
            }
            OriginError::Store(error) => error.into(),
        }
    }
}
