//! The command `fanfold plan`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::load::{load_lock, load_spec_with};
use super::output::write_json;
use super::runtime::env;
use super::selection::SelectionArguments;
use super::{Exit, Failure, Terminal, only_spec};
use crate::pipeline;
use crate::preview::{Render, Request};
use crate::report::colors::Palette;
use crate::report::mermaid::mermaid;

/// Shows what a run would do and cost: rows, calls, money and time. Sends and writes nothing.
///
/// The figures rest on recorded calls where there are some. `fanfold run SPEC --pilot 20` records 20 calls and shows the
/// plan again.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// Show N prompts of each stage as they would be sent.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    render: usize,
    /// Show the prompts of the row with this key, or of the row with this number ('#12', or 12 without keys).
    #[arg(long, value_name = "KEY")]
    row: Option<String>,
    #[command(flatten)]
    selected: SelectionArguments,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: PlanFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// Text.
    Human,
    /// One JSON object.
    Json,
    /// A Mermaid flowchart.
    Mermaid,
}

impl Plan {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let selection = self.selected.selection(&self.spec);
        let most = if self.row.is_some() { usize::MAX } else { self.render };
        let render = Render { most, row: self.row.as_deref(), ..Render::default() };
        let request = Request { selection: Some(&selection), render, ..Request::default() };
        show(&self.spec, request, self.format, terminal)
    }
}

pub(crate) fn show(
    path: &Path,
    request: Request<'_>,
    format: PlanFormat,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let set = request.selection.map(|selection| selection.set.as_slice()).unwrap_or_default();
    let spec = load_spec_with(path, set, terminal)?;
    let report = pipeline::plan_against(spec, load_lock(path, terminal), request, &env)?;
    if let Some(row) = request.render.row.filter(|_| report.preview.rendered.is_empty()) {
        let number =
            if row.parse::<u64>().is_ok() { format!("; '#{row}' is the row with this number") } else { String::new() };
        let help =
            format!("the row is missing or skipped, or its prompts depend on answers that are not known yet{number}");
        return Err(Failure::new(Exit::Spec, format!("there is no prompt of row `{row}`")).help(help));
    }
    match format {
        PlanFormat::Human => {
            terminal.painted(&report.text(), Palette::States);
            terminal.text(&report.prompts());
        }
        PlanFormat::Json => write_json(&report, terminal),
        PlanFormat::Mermaid => terminal.text(&mermaid(&report.preview.plan)),
    }
    Ok(Exit::Ok)
}
