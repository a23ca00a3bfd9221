//! Output formats: a report as text for people or as JSON for programs.

use std::fmt::Display;

use clap::ValueEnum;
use serde::Serialize;

use super::Terminal;
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
