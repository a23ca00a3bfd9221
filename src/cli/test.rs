//! The command `fanfold test`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::load::load_document;
use super::output::{on_github, write_json};
use super::recorded::replay_of_clone;
use super::run::Run;
use super::terminal::typed;
use super::{Exit, Failure, Terminal, load_spec, only_spec};
use crate::document::Document;
use crate::report::colors::Palette;
use crate::report::diagnostics::github_error;
use crate::report::test_results::{TestReport, github, junit};
use crate::report::verdict::{VerdictError, verdicts};
use crate::run;
use crate::store::Project;

/// Runs the tests of a spec (`[[tests]]`) on the tables of its last run.
///
/// Sends nothing and writes no tables. With --replay, first writes the tables from that file. Exit code 1 if a test of
/// severity `error` fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// First write the tables from this file of `fanfold ledger export`, like `fanfold run --replay`.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Output format [default: `human`, or `github` in a GitHub workflow].
    #[arg(long, value_enum)]
    format: Option<TestFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// Text.
    Human,
    /// One JSON object.
    Json,
    /// JUnit XML.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
}

impl Test {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (document, mut spec) = load_document(&self.spec, terminal)?;
        if spec.tests.is_empty() {
            terminal.note(&format!("{}: no tests; add some in `[[tests]]`", document.name));
            return Ok(Exit::Ok);
        }
        let replay = match &self.replay {
            Some(file) => Some(file.clone()),
            None => replay_of_clone(&spec)?,
        };
        if let Some(file) = &replay {
            // The tests decide whether failed rows are acceptable.
            Run::replay(&self.spec, file)
                .quietly(terminal)
                .map_err(|failure| self.annotated(failure, &document, terminal))?;
            spec = load_spec(&self.spec, terminal)?;
        }
        let project = Project::of(&spec.folder);
        let plan = run::uncounted(spec)?;
        let mut runs = vec![run::folder(&plan, &project, true)];
        if self.replay.is_none() {
            runs.push(run::folder(&plan, &project, false));
        }
        let findings = verdicts(&plan.spec, &project, runs);
        let findings = findings.map_err(|error| self.annotated(self.failure(error), &document, terminal))?;
        let report = TestReport::new(&document, &plan.spec.tests, &findings);
        self.write(&report, terminal);
        Ok(if report.has_failed() { Exit::Failed } else { Exit::Ok })
    }

    fn format(&self) -> TestFormat {
        self.format.unwrap_or(if on_github() { TestFormat::Github } else { TestFormat::Human })
    }

    /// Shows why there is nothing to test as an annotation too, if the format is that of GitHub.
    fn annotated(&self, failure: Failure, document: &Document, terminal: &Terminal) -> Failure {
        if self.format() == TestFormat::Github {
            terminal.text(&github_error(document, failure.stage(), &failure.words()));
        }
        failure
    }

    fn write(&self, report: &TestReport<'_>, terminal: &Terminal) {
        match self.format() {
            TestFormat::Human => terminal.painted(&report.to_string(), Palette::Tests),
            TestFormat::Json => write_json(report, terminal),
            TestFormat::Junit => terminal.text(&junit(report)),
            TestFormat::Github => {
                terminal.text(&github(report));
                terminal.note(&report.summary());
            }
        }
    }

    /// Names the missing table and the command that writes it.
    fn failure(&self, error: VerdictError) -> Failure {
        if let VerdictError::Store(error) = error {
            return error.into();
        }
        let replay = self.replay.as_ref().map(|file| format!(" --replay {}", typed(file))).unwrap_or_default();
        let help = format!("fanfold run {}{replay}", typed(&self.spec));
        Failure::new(Exit::Environment, error.to_string()).help(help)
    }
}
