//! The command `fanfold validate`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::output::on_github;
use super::runtime::env;
use super::{Exit, Failure, Terminal, only_spec};
use crate::document::Diagnostic;
use crate::inventory::check_files;
use crate::report::diagnostics;
use crate::spec::load::{Loaded, load};

/// Checks specs and shows every problem: unknown fields and names, templates that use unknown columns, missing files.
///
/// Reads the specs, their prompt files, and the headers of their sources and of the model files of embedded models. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    /// The specs [default: the only spec of this folder].
    #[arg(value_name = "SPEC", default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    specs: Vec<PathBuf>,
    /// Output format [default: `human`, or `github` in a GitHub workflow].
    #[arg(long, value_enum)]
    format: Option<ProblemFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProblemFormat {
    /// Text, on standard error.
    Human,
    /// One JSON object per spec.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
    /// SARIF 2.1.0.
    Sarif,
}

impl Validate {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let default = if on_github() { ProblemFormat::Github } else { ProblemFormat::Human };
        let format = self.format.unwrap_or(default);
        let mut exit = Exit::Ok;
        for path in &self.specs {
            match load(path) {
                Ok(mut loaded) => {
                    let files = loaded.spec.as_ref().map(|spec| check_files(spec, &env));
                    loaded.problems.extend(files.into_iter().flatten());
                    format.write(&loaded, terminal);
                    if loaded.problems.iter().any(Diagnostic::is_error) {
                        exit = Exit::Spec;
                    }
                }
                Err(error) => exit = Failure::from(error).show(terminal),
            }
        }
        Ok(exit)
    }
}

impl ProblemFormat {
    fn write(self, Loaded { problems, document, .. }: &Loaded, terminal: &Terminal) {
        match self {
            ProblemFormat::Human if problems.is_empty() => terminal.note(&format!("{}: no problems", document.name)),
            ProblemFormat::Human => {
                terminal.marked(diagnostics::human(problems, document, terminal.color).trim_end());
            }
            ProblemFormat::Json => terminal.json(&diagnostics::json(problems, document)),
            ProblemFormat::Github => terminal.text(&diagnostics::github(problems, document)),
            ProblemFormat::Sarif => terminal.json(&diagnostics::sarif(problems, document)),
        }
    }
}
