//! The report of `fanfold test`: text, JSON, JUnit XML, and annotations of a GitHub workflow.

use std::fmt::{self, Display, Formatter, Write};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::diagnostics;
use super::text::{count, is_printable, number};
use crate::assertion::{Finding, Severity};
use crate::document::{Diagnostic, Document, SourcePosition};
use crate::spec::TestSpec;

pub(crate) struct TestReport<'a> {
    pub(crate) document: &'a Document,
    results: Vec<TestResult<'a>>,
}

struct TestResult<'a> {
    test: &'a TestSpec,
    finding: &'a Finding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Failed,
    Warned,
}

impl TestResult<'_> {
    fn outcome(&self) -> Outcome {
        match (self.finding.holds, self.test.severity) {
            (true, _) => Outcome::Ok,
            (false, Severity::Error) => Outcome::Failed,
            (false, Severity::Warn) => Outcome::Warned,
        }
    }

    fn examples(&self) -> Vec<String> {
        let examples = &self.finding.examples;
        let mut lines: Vec<String> = examples.iter().map(|e| format!("row {}: {}", e.row, e.value)).collect();
        let more = self.finding.against.saturating_sub(examples.len() as u64);
        if more > 0 {
            lines.push(format!("and {} more", number(more)));
        }
        lines
    }

    /// The finding, and the rule unless the name of the test shows it.
    fn found(&self) -> String {
        let (found, wanted) = (&self.finding.found, &self.test.assertion.words);
        match self.test.name.ends_with(wanted.as_str()) {
            true => found.clone(),
            false => format!("{found}, wanted {wanted}"),
        }
    }

    fn explained(&self) -> String {
        [vec![self.found()], self.examples()].concat().join("\n")
    }

    fn line(&self, document: &Document) -> usize {
        diagnostics::line(document, &SourcePosition::Value(self.test.path.clone()))
    }
}

impl<'a> TestReport<'a> {
    /// `findings` has one entry per test, in the order of `tests`.
    pub(crate) fn new(document: &'a Document, tests: &'a [TestSpec], findings: &'a [Finding]) -> Self {
        let results = tests.iter().zip(findings).map(|(test, finding)| TestResult { test, finding }).collect();
        TestReport { document, results }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.counted(Outcome::Failed) > 0
    }

    fn counted(&self, outcome: Outcome) -> usize {
        self.results.iter().filter(|one| one.outcome() == outcome).count()
    }

    pub(crate) fn summary(&self) -> String {
        let words = [(Outcome::Ok, "ok"), (Outcome::Failed, "failed"), (Outcome::Warned, "warned")];
        let parts = words.map(|(outcome, word)| (self.counted(outcome), word));
        let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        format!("{}: {}", count(self.results.len() as u64, "test"), parts.join(", "))
    }
}

impl Display for TestReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for one in &self.results {
            let word = match one.outcome() {
                Outcome::Ok => "ok    ",
                Outcome::Failed => "FAILED",
                Outcome::Warned => "warned",
            };
            writeln!(f, "{word}  {}: found {}", one.test.name, one.found())?;
            one.examples().iter().try_for_each(|example| writeln!(f, "          {example}"))?;
        }
        writeln!(f, "{}", self.summary())
    }
}

impl Serialize for TestReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let test = |one: &TestResult<'_>| {
            json!({
                "name": one.test.name, "type": one.test.kind, "input": one.test.table, "severity": one.test.severity,
                "outcome": one.outcome(), "found": one.finding.found, "wanted": one.test.assertion.words, "rows_against": one.finding.against,
                "examples": one.finding.examples, "line": one.line(self.document),
            })
        };
        let value = json!({
            "schema_version": 1, "file": self.document.name, "ok": self.counted(Outcome::Ok),
            "failed": self.counted(Outcome::Failed), "warned": self.counted(Outcome::Warned),
            "tests": self.results.iter().map(test).collect::<Vec<Value>>(),
        });
        value.serialize(serializer)
    }
}

/// JUnit XML with one suite. A warning counts as a passed test with output.
pub(crate) fn junit(report: &TestReport<'_>) -> String {
    let TestReport { document, results } = report;
    let failed = report.counted(Outcome::Failed);
    let file = xml(&document.name);
    let counts = format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\"", results.len());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites {counts}>\n  <testsuite name=\"{file}\" {counts} skipped=\"0\">");
    for one in results {
        let name = xml(&one.test.name);
        let line = one.line(document);
        let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\"");
        let (found, text) = (xml(&one.finding.found), xml(&one.explained()));
        let _ = match one.outcome() {
            Outcome::Ok => writeln!(out, "/>"),
            Outcome::Failed => {
                let failure = format!("<failure message=\"{found}\" type=\"{}\">{text}</failure>", one.test.kind);
                writeln!(out, ">\n      {failure}\n    </testcase>")
            }
            Outcome::Warned => writeln!(out, ">\n      <system-out>warned: {text}</system-out>\n    </testcase>"),
        };
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// Text for an attribute or an element. Characters that XML does not allow are replaced.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // In an attribute, a parser would turn these characters into spaces.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if !is_printable(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

pub(crate) fn github(report: &TestReport<'_>) -> String {
    let broken = report.results.iter().filter(|one| !one.finding.holds);
    let problems: Vec<Diagnostic> = broken
        .map(|one| {
            let message = format!("{}: found {}", one.test.name, one.explained());
            match one.test.severity {
                Severity::Error => Diagnostic::error("test", one.test.path.clone(), message),
                Severity::Warn => Diagnostic::warning("test", one.test.path.clone(), message),
            }
        })
        .collect();
    diagnostics::github(&problems, report.document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_says_the_same() {
        let text = "a <b> & \"c\" 'd'\n\te\u{0}\u{1b}\r\u{fffe}\u{202e} ]]> é 平";
        let expected = "a &lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;&#10;&#9;e\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd} ]]&gt; é 平";
        assert_eq!(xml(text), expected);
    }
}
