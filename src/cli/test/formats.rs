//! What tests found, for people and for machines: text, JSON, JUnit's XML, annotations of a GitHub workflow.
//!
//! Prints nothing, every function gives its whole text. A new format is one function over [`Tested`].

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::assertion::{Finding, Severity};
use crate::cli::diagnostics;
use crate::document::{Diagnostic, Document, Place};
use crate::report::printable::is_printable;
use crate::report::summary::{count, number};
use crate::spec::TestSpec;

/// A test with what was found.
pub struct Tested<'a> {
    test: &'a TestSpec,
    finding: &'a Finding,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Ok,
    /// It does not hold.
    Failed,
    /// It does not hold, and its severity is `warn`.
    Warned,
}

impl<'a> Tested<'a> {
    /// The tests with their findings, in their order.
    pub fn all(tests: &'a [TestSpec], findings: &'a [Finding]) -> Vec<Self> {
        tests.iter().zip(findings).map(|(test, finding)| Tested { test, finding }).collect()
    }

    /// What became of it.
    pub fn outcome(&self) -> Outcome {
        match (self.finding.holds, self.test.severity) {
            (true, _) => Outcome::Ok,
            (false, Severity::Error) => Outcome::Failed,
            (false, Severity::Warn) => Outcome::Warned,
        }
    }

    /// The rows that speak against it, a line for each that is shown.
    fn examples(&self) -> Vec<String> {
        let examples = &self.finding.examples;
        let mut lines: Vec<String> = examples.iter().map(|e| format!("row {}: {}", e.row, e.value)).collect();
        let more = self.finding.against.saturating_sub(examples.len() as u64);
        if more > 0 {
            lines.push(format!("and {} more", number(more)));
        }
        lines
    }

    /// What was found, with examples.
    fn told(&self) -> String {
        [vec![self.finding.found.clone()], self.examples()].concat().join("\n")
    }

    fn line(&self, document: &Document) -> usize {
        diagnostics::line(document, &Place::Value(self.test.path.clone()))
    }
}

fn counted(tested: &[Tested<'_>], outcome: Outcome) -> usize {
    tested.iter().filter(|tested| tested.outcome() == outcome).count()
}

/// "3 tests: 1 ok, 2 failed".
pub fn summary(tested: &[Tested<'_>]) -> String {
    let words = [(Outcome::Ok, "ok"), (Outcome::Failed, "failed"), (Outcome::Warned, "warned")];
    let parts = words.map(|(outcome, word)| (counted(tested, outcome), word));
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    format!("{}: {}", count(tested.len() as u64, "test"), parts.join(", "))
}

/// A line for each test, with the rows that speak against it, and the [`summary`].
pub fn human(tested: &[Tested<'_>]) -> String {
    let mut out = String::new();
    for one in tested {
        let word = match one.outcome() {
            Outcome::Ok => "ok    ",
            Outcome::Failed => "FAILED",
            Outcome::Warned => "warned",
        };
        let _ = writeln!(out, "{word}  {}: found {}", one.test.name, one.finding.found);
        for example in one.examples() {
            let _ = writeln!(out, "          {example}");
        }
    }
    let _ = writeln!(out, "{}", summary(tested));
    out
}

/// One JSON object: `schema_version`, `file`, the counts and `tests`.
pub fn json(tested: &[Tested<'_>], document: &Document) -> String {
    let tests: Vec<Value> = tested
        .iter()
        .map(|one| {
            json!({
                "name": one.test.name, "type": one.test.kind, "input": one.test.table, "severity": one.test.severity,
                "outcome": one.outcome(), "found": one.finding.found, "rows_against": one.finding.against,
                "examples": one.finding.examples, "line": one.line(document),
            })
        })
        .collect();
    let value = json!({
        "schema_version": 1, "file": document.name, "ok": counted(tested, Outcome::Ok),
        "failed": counted(tested, Outcome::Failed), "warned": counted(tested, Outcome::Warned), "tests": tests,
    });
    format!("{value:#}\n")
}

/// JUnit's XML, a suite for the spec. A warning is a test that is ok and has something to say.
pub fn junit(tested: &[Tested<'_>], document: &Document) -> String {
    let failed = counted(tested, Outcome::Failed);
    let file = xml(&document.name);
    let counts = format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\"", tested.len());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites {counts}>\n  <testsuite name=\"{file}\" {counts} skipped=\"0\">");
    for one in tested {
        let name = xml(&one.test.name);
        let line = one.line(document);
        let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\"");
        let (found, told) = (xml(&one.finding.found), xml(&one.told()));
        let _ = match one.outcome() {
            Outcome::Ok => writeln!(out, "/>"),
            Outcome::Failed => {
                let failure = format!("<failure message=\"{found}\" type=\"{}\">{told}</failure>", one.test.kind);
                writeln!(out, ">\n      {failure}\n    </testcase>")
            }
            Outcome::Warned => writeln!(out, ">\n      <system-out>warned: {told}</system-out>\n    </testcase>"),
        };
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// Text for an attribute or for what stands in an element: with what XML has no character for replaced.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // In an attribute they would be read as spaces.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if !is_printable(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Workflow commands of GitHub Actions, at the line of each test that does not hold.
pub fn github(tested: &[Tested<'_>], document: &Document) -> String {
    let broken = tested.iter().filter(|one| !one.finding.holds);
    let problems: Vec<Diagnostic> = broken
        .map(|one| {
            let message = format!("{}: found {}", one.test.name, one.told());
            match one.test.severity {
                Severity::Error => Diagnostic::error("test", one.test.path.clone(), message),
                Severity::Warn => Diagnostic::warning("test", one.test.path.clone(), message),
            }
        })
        .collect();
    diagnostics::github(&problems, document)
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
