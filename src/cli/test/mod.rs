//! `fanfold test`: the tests of a spec on the tables that are there, or on those of a replay. `formats` shows what was found.

mod formats;

use std::path::PathBuf;

use clap::ValueEnum;

use super::exit::Exit;
use super::load::{load_or_show, with_document};
use super::run::{Run, failed};
use super::terminal::Terminal;
use crate::report::verdict::{VerdictError, verdicts};
use crate::run::{self, RunError};
use crate::store::{Manifest, Project, State};

use formats::{Outcome, Tested};

/// Runs the tests of a spec (`[[tests]]`) on the tables of its last run.
///
/// Asks nobody and writes no table; with a replay file, its tables are made from that file first. The exit code is 1 when a
/// test of severity `error` does not hold.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Make the tables from this file of `fanfold ledger export` first, as `fanfold run --replay` does.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// How the findings are shown. Default: `human`, `github` in a GitHub workflow.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// One JSON object.
    Json,
    /// JUnit's XML.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
}

impl Test {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some((document, mut spec)) = with_document(&self.spec, terminal) else { return Exit::Spec };
        if spec.tests.is_empty() {
            terminal.note(&format!("{}: no tests; write some in `[[tests]]`", document.name));
            return Exit::Ok;
        }
        let mut ran = Exit::Ok;
        if let Some(file) = &self.replay {
            ran = Run::replay(&self.spec, file).run(terminal);
            // Failed rows are the tests' business.
            if !matches!(ran, Exit::Ok | Exit::Failed) {
                return ran;
            }
            // The run has had the spec for itself.
            let Some(again) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
            spec = again;
        }
        let project = Project::of(&spec.folder);
        let plan = match run::uncounted(spec) {
            Ok(plan) => plan,
            Err(error) => return failed(&error, terminal),
        };
        let mut runs = vec![run::folder(&plan, &project, true)];
        match &self.replay {
            None => runs.push(run::folder(&plan, &project, false)),
            // It stopped early, for more failed rows than the spec allows; why has been said.
            Some(_) if Manifest::read(&runs[0]).is_none_or(|manifest| manifest.state != State::Done) => return ran,
            Some(_) => {}
        }
        let findings = match verdicts(&plan.spec, &project, runs) {
            Ok(findings) => findings,
            Err(error) => return self.not_there(error, terminal),
        };
        let tested = Tested::all(&plan.spec.tests, &findings);
        let on_github = std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true");
        match self.format.unwrap_or(if on_github { Format::Github } else { Format::Human }) {
            Format::Human => terminal.text(&formats::human(&tested)),
            Format::Json => terminal.json(&formats::json(&tested, &document)),
            Format::Junit => terminal.text(&formats::junit(&tested, &document)),
            Format::Github => {
                terminal.text(&formats::github(&tested, &document));
                terminal.note(&formats::summary(&tested));
            }
        }
        if tested.iter().any(|tested| tested.outcome() == Outcome::Failed) { Exit::Failed } else { Exit::Ok }
    }

    /// Says which table is missing, and how to come by it.
    fn not_there(&self, error: VerdictError, terminal: &Terminal) -> Exit {
        if let VerdictError::Store(error) = error {
            return failed(&RunError::Store(error), terminal);
        }
        let replay = self.replay.as_ref().map(|file| format!(" --replay {}", file.display())).unwrap_or_default();
        let help = format!("fanfold run {}{replay}", self.spec.display());
        terminal.error(&error.to_string(), Some(&help));
        Exit::Environment
    }
}
