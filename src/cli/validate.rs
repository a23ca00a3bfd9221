//! The command `fanfold validate`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::output::on_github;
use super::runtime::env;
use super::selection::SourceArguments;
use super::{Exit, Failure, Terminal, only_spec};
use crate::document::{Diagnostic, Path};
use crate::inventory::check_files;
use crate::plan::scan::key_error;
use crate::plan::{select, sources_read};
use crate::report::diagnostics;
use crate::source::SourceError;
use crate::spec::SourceSpec;
use crate::spec::load::{Loaded, load_with};

/// The most rows of a source whose keys are checked. A run checks all.
const KEYS: u64 = 1_000_000;

/// Checks specs and shows every problem: unknown fields and names, templates that use unknown columns, missing files.
///
/// Reads the specs, their prompt files, the keys and the headers of their sources, and the headers of the model files of
/// embedded models. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    /// The specs [default: the only spec of this folder].
    #[arg(value_name = "SPEC", default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    specs: Vec<PathBuf>,
    #[command(flatten)]
    sources: SourceArguments,
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
            match load_with(path, &self.sources.settings(path)) {
                Ok(mut loaded) => {
                    let files = loaded.spec.as_ref().map(|spec| check_files(spec, &env));
                    loaded.problems.extend(files.into_iter().flatten());
                    loaded.problems.extend(doubtful_keys(&loaded));
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

/// The sources whose `key` does not name each row once. Stages or outputs read them.
fn doubtful_keys(Loaded { document, spec, .. }: &Loaded) -> Vec<Diagnostic> {
    let Some(spec) = spec else { return Vec::new() };
    let Ok(selected) = select(spec, &[]) else { return Vec::new() };
    let at = |name: &str| Path::of(["sources", name, "key"]);
    let sources = sources_read(spec, &selected).into_iter().map(|id| spec.source(id));
    let table = document.root.get("sources");
    let written = sources.filter(|source| table.and_then(|all| all.get(source.name.as_str())?.get("key")).is_some());
    let error = |source: &SourceSpec| {
        let SourceError { message, help, .. } = key_error(source, &spec.folder, KEYS)?;
        Some(Diagnostic { help, ..Diagnostic::error("doubtful-key", at(source.name.as_str()), message) })
    };
    written.filter_map(error).collect()
}

impl ProblemFormat {
    fn write(self, Loaded { problems, document, .. }: &Loaded, terminal: &Terminal) {
        match self {
            ProblemFormat::Human if problems.is_empty() => terminal.note(&format!("{}: no problems", document.name)),
            ProblemFormat::Human => terminal.problems(problems, document),
            ProblemFormat::Json => terminal.json(&diagnostics::json(problems, document)),
            ProblemFormat::Github => terminal.text(&diagnostics::github(problems, document)),
            ProblemFormat::Sarif => terminal.json(&diagnostics::sarif(problems, document)),
        }
    }
}
