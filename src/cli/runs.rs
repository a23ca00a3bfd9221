//! The command `fanfold runs`.

use std::path::PathBuf;

use super::{Exit, Failure, OutputFormat, Terminal, load_spec, only_spec};
use crate::report::colors::Palette;
use crate::report::runs::RunsReport;
use crate::store::{Project, history, named_runs};

/// Lists the runs of a spec: when, rows, calls, cost, and what changed since the run before.
///
/// The name of a run, such as `2026-11-28-1`, is its day (UTC) and a number. `fanfold diff` takes it. A run that
/// continues keeps its name. A run that sends nothing again changes nothing here.
#[derive(Debug, clap::Args)]
pub(crate) struct Runs {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Runs {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let project = Project::of(&spec.folder);
        let records = history(&project, &spec.name)?;
        let report = RunsReport::new(&spec.name, records, &named_runs(&project)?, terminal.width());
        self.format.paint(&report, Palette::Changes, terminal);
        Ok(Exit::Ok)
    }
}
