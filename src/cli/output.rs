//! Output: a report as text for people or as JSON for programs, and files that a command may replace.

use std::fmt::Display;
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use super::{Exit, Failure, Terminal};
use crate::report::colors::Palette;

/// How a command writes its report to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    #[default]
    /// Text.
    Human,
    /// One JSON object.
    Json,
}

impl OutputFormat {
    /// Writes the report; the text has the colours of `palette` on a terminal.
    pub(crate) fn paint(self, report: &(impl Display + Serialize), palette: Palette, terminal: &Terminal) {
        match self {
            OutputFormat::Human => terminal.painted(&report.to_string(), palette),
            OutputFormat::Json => write_json(report, terminal),
        }
    }

    pub(crate) fn write(self, report: &(impl Display + Serialize), terminal: &Terminal) {
        match self {
            OutputFormat::Human => terminal.prose(&report.to_string()),
            OutputFormat::Json => write_json(report, terminal),
        }
    }
}

/// Writes `value` to standard output as indented JSON.
pub(crate) fn write_json(value: &impl Serialize, terminal: &Terminal) {
    terminal.json(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"));
}

/// Whether this process is a step of a GitHub workflow.
pub(crate) fn on_github() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Refuses to replace a file that is not of the kind `kind`, such as a spec or an output of a run.
pub(crate) fn check_replaces(
    file: &Path,
    kind: &str,
    is_own: impl Fn(&Path) -> std::io::Result<bool>,
) -> Result<(), Failure> {
    let refused = || {
        let message = format!("`{}` exists and is not {kind} of fanfold", file.display());
        Err(Failure::new(Exit::Spec, message).help("name another file with `-o FILE`"))
    };
    match std::fs::metadata(file) {
        Err(_) => Ok(()),
        Ok(facts) if !facts.is_file() => refused(),
        Ok(facts) if facts.len() == 0 => Ok(()),
        Ok(_) => match is_own(file) {
            Err(error) => Err(unwritable(file, &error)),
            Ok(true) => Ok(()),
            Ok(false) => refused(),
        },
    }
}

pub(crate) fn unwritable(file: &Path, why: &dyn Display) -> Failure {
    Failure::new(Exit::Environment, format!("`{}` can't be written: {why}", file.display()))
}
