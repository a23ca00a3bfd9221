//! The command `fanfold plan`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::load::load_lock;
use super::output::write_json;
use super::runtime::env;
use super::{Exit, Failure, Terminal, load_spec, only_spec};
use crate::pipeline;
use crate::plan::{Selection, draw};
use crate::preview::Request;

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
    #[arg(long, value_name = "N", default_value_t = 0)]
    render: usize,
    /// Only the first N rows of each source.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only this stage and the stages it reads; may be repeated.
    #[arg(long, value_name = "STAGE")]
    select: Vec<String>,
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
        let selection = Selection { stages: self.select, limit: self.limit };
        let request = Request { selection: Some(&selection), render: self.render, ..Request::default() };
        show(&self.spec, request, self.format, terminal)
    }
}

pub(crate) fn show(
    path: &Path,
    request: Request<'_>,
    format: PlanFormat,
    terminal: &Terminal,
) -> Result<Exit, Failure> {
    let spec = load_spec(path, terminal)?;
    let report = pipeline::plan_against(spec, load_lock(path, terminal), request, &env)?;
    match format {
        PlanFormat::Human => terminal.text(&report.to_string()),
        PlanFormat::Json => write_json(&report, terminal),
        PlanFormat::Mermaid => terminal.text(&draw::mermaid(&report.preview.plan)),
    }
    Ok(Exit::Ok)
}
