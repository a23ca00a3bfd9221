//! `fanfold validate`

use std::path::PathBuf;

use clap::ValueEnum;

use super::diagnostics;
use super::exit::Exit;
use super::load::load;
use super::terminal::Terminal;

/// Checks specs and shows every problem: fields, names, templates against the columns of the input, paths.
///
/// Reads the specs, the headers of their sources and their prompt files; sends and writes nothing.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// The specs.
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<PathBuf>,
    /// How problems are shown. Default: `human`, `github` in a GitHub workflow.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, on standard error.
    Human,
    /// A JSON object per spec.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
    /// SARIF 2.1.0.
    Sarif,
}

impl Validate {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let on_github = std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true");
        let format = self.format.unwrap_or(if on_github { Format::Github } else { Format::Human });
        let mut exit = Exit::Ok;
        for path in &self.specs {
            let loaded = match load(path) {
                Ok(loaded) => loaded,
                Err(message) => {
                    terminal.error(&message, None);
                    exit = Exit::Spec;
                    continue;
                }
            };
            let (problems, document) = (&loaded.problems, &loaded.document);
            match format {
                Format::Human if problems.is_empty() => terminal.note(&format!("{}: no problems", document.name)),
                Format::Human => terminal.marked(diagnostics::human(problems, document, terminal.color).trim_end()),
                Format::Json => terminal.json(&ended(diagnostics::json(problems, document))),
                Format::Github => terminal.text(&ended(diagnostics::github(problems, document))),
                Format::Sarif => terminal.json(&ended(diagnostics::sarif(problems, document))),
            }
            if loaded.spec.is_none() {
                exit = Exit::Spec;
            }
        }
        exit
    }
}

/// The text with a line end, unless there is no text.
fn ended(text: String) -> String {
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}
