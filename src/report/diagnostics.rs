//! The report of `fanfold validate`: terminal text, JSON, GitHub annotations and SARIF.
//!
//! To add a format, write a function over [`located`].

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, normalize_untrusted_str};
use serde_json::{Value, json};

use super::text::is_printable;
use super::wrap::wrapped;
use crate::document::{Diagnostic, Document, Path, Severity, SourcePosition};

/// The columns before the text of a help.
const HELP: usize = 12;

/// A diagnostic with its position. Lines and columns count from 1, columns count characters, and the end is exclusive.
struct Located<'a> {
    problem: &'a Diagnostic,
    span: Range<usize>,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

/// The diagnostics with their positions, in the order of the text; at the same place errors precede warnings.
fn located<'a>(problems: &'a [Diagnostic], document: &Document) -> Vec<Located<'a>> {
    let mut all: Vec<Located<'a>> = problems
        .iter()
        .map(|problem| {
            let span = within(&document.text, document.span(&problem.place));
            let (line, column) = position(&document.text, span.start);
            let (end_line, end_column) = position(&document.text, span.end);
            Located { problem, span, line, column, end_line, end_column }
        })
        .collect();
    all.sort_by(|a, b| {
        let order = |l: &Located<'_>| (l.span.start, l.problem.severity);
        order(a).cmp(&order(b)).then_with(|| a.problem.message.cmp(&b.problem.message))
    });
    all
}

/// The span clamped to the text and to character boundaries. An inverted span becomes empty.
fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |at: usize| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

pub(crate) fn line(document: &Document, place: &SourcePosition) -> usize {
    position(&document.text, within(&document.text, document.span(place)).start).0
}

fn path_of(place: &SourcePosition) -> Option<String> {
    match place {
        SourcePosition::Value(path) | SourcePosition::Key(path) => Some(path.to_string()),
        SourcePosition::Span(_) => None,
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

pub(crate) fn summary(problems: &[Diagnostic]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}", counted(errors, "error"), counted(problems.len() - errors, "warning"))
}

pub(crate) fn human(problems: &[Diagnostic], document: &Document, color: bool, width: Option<usize>) -> String {
    let fitted = |help: String| width.map_or(help.clone(), |width| wrapped(&help, width.saturating_sub(HELP)));
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let name = clean(&document.name);
    // The renderer replaces ASCII controls but keeps the other ones, and U+009B starts a command in some terminals.
    // Their replacement also has two bytes, so the spans stay correct.
    let two_bytes = |c: char| ('\u{80}'..='\u{9f}').contains(&c) || c == '\u{61c}';
    let source = document.text.replace(two_bytes, "\u{b7}").replace(['\u{200e}', '\u{200f}'], "\u{fffd}");
    let mut text = String::new();
    for Located { problem, span, .. } in located(problems, document) {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let snippet = Snippet::source(source.as_str())
            .path(name.as_str())
            .annotation(AnnotationKind::Primary.span(first_line(&document.text, &span)));
        let mut group = level.primary_title(clean(&problem.message)).id(problem.rule).element(snippet);
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(fitted(clean(help))));
        }
        text.push_str(&renderer.render(&[group]));
        text.push_str("\n\n");
    }
    text.push_str(&summary(problems));
    text.push('\n');
    text
}

/// The part of the span on its first line, so that a long text is not printed.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let length = text[span.clone()].find(['\n', '\r']).unwrap_or(span.len());
    span.start..span.start + length
}

fn clean(text: &str) -> String {
    normalize_untrusted_str(text).replace(|c: char| !is_printable(c), "\u{fffd}")
}

/// The problems as events of a log.
pub(crate) fn events(problems: &[Diagnostic], document: &Document) -> Vec<Value> {
    let event = |mut problem: Value| {
        problem["event"] = json!("problem");
        problem["file"] = json!(document.name);
        problem
    };
    values(problems, document).into_iter().map(event).collect()
}

pub(crate) fn json(problems: &[Diagnostic], document: &Document) -> String {
    let diagnostics = values(problems, document);
    pretty(&json!({ "schema_version": 1, "file": document.name, "diagnostics": diagnostics }))
}

fn values(problems: &[Diagnostic], document: &Document) -> Vec<Value> {
    located(problems, document)
        .iter()
        .map(|at| {
            json!({
                "rule": at.problem.rule,
                "severity": at.problem.severity,
                "message": at.problem.message,
                "help": at.problem.help,
                "path": path_of(&at.problem.place),
                "line": at.line,
                "column": at.column,
                "end_line": at.end_line,
                "end_column": at.end_column,
            })
        })
        .collect()
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// An annotation of a whole file.
/// An error about a stage of the document, or about the whole document.
pub(crate) fn github_error(document: &Document, stage: Option<&str>, message: &str) -> String {
    let file = property(&document.name.replace('\\', "/"));
    let line = stage.map(|stage| line(document, &SourcePosition::Key(Path::of(["stages", stage]))));
    let line = line.map_or(String::new(), |line| format!(",line={line}"));
    let about = stage.map_or(String::new(), |stage| format!("stage `{stage}` asks what was not recorded: "));
    format!("::error title=fanfold,file={file}{line}::{}\n", data(&format!("{about}{message}")))
}

pub(crate) fn github(problems: &[Diagnostic], document: &Document) -> String {
    let mut text = String::new();
    for at in located(problems, document) {
        let severity = severity_name(at.problem.severity);
        let title = property(&format!("fanfold ({})", at.problem.rule));
        let file = property(&document.name.replace('\\', "/"));
        // GitHub accepts columns only for annotations on a single line.
        let columns = if at.line == at.end_line {
            format!(",col={},endColumn={}", at.column, at.end_column)
        } else {
            String::new()
        };
        let place = format!("line={},endLine={}{columns}", at.line, at.end_line);
        text.push_str(&format!("::{severity} title={title},file={file},{place}::{}\n", data(&with_help(at.problem))));
    }
    text
}

pub(crate) fn sarif(problems: &[Diagnostic], document: &Document) -> String {
    let mut rules: Vec<&str> = problems.iter().map(|problem| problem.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let results: Vec<Value> = located(problems, document)
        .iter()
        .map(|at| {
            json!({
                "ruleId": at.problem.rule,
                "ruleIndex": rules.binary_search(&at.problem.rule).unwrap_or_default(),
                "level": severity_name(at.problem.severity),
                "message": { "text": with_help(at.problem) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri(&document.name) },
                        "region": {
                            "startLine": at.line,
                            "startColumn": at.column,
                            "endLine": at.end_line,
                            "endColumn": at.end_column,
                        },
                    },
                }],
            })
        })
        .collect();
    let described: Vec<Value> = rules
        .iter()
        .map(|rule| json!({ "id": rule, "shortDescription": { "text": rule.replace('-', " ") } }))
        .collect();
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": { "name": "fanfold", "version": env!("CARGO_PKG_VERSION"), "rules": described },
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

fn with_help(problem: &Diagnostic) -> String {
    match &problem.help {
        Some(help) => format!("{}\nhelp: {help}", problem.message),
        None => problem.message.clone(),
    }
}

fn uri(name: &str) -> String {
    let mut uri = String::from(if name.starts_with('/') { "file://" } else { "" });
    for byte in name.replace('\\', "/").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Path, SpecFormat};

    fn spec() -> (Document, Vec<Diagnostic>) {
        let text = "name = \"ä\"\n[stages.tone]\nprmt = \"one\"\nnote = \"\"\"a\nb\"\"\"\n";
        let document = Document::parse("a dir/spec.toml", text.to_owned(), SpecFormat::Toml).unwrap();
        let tone = Path::of(["stages", "tone"]);
        let problems = vec![
            Diagnostic::warning("long-text", tone.key("note"), "100 % long,\nreally: \u{1b}[31mlong"),
            Diagnostic::error_at_key("unknown-field", tone.key("prmt"), "unknown field `prmt`").meant(Some("prompt")),
            Diagnostic::error("missing-field", tone, "`models` is missing"),
            Diagnostic::error("bad-value", Path::of(["name"]), "no"),
        ];
        (document, problems)
    }

    #[test]
    fn people_see_the_line_the_caret_and_the_help() {
        let (document, problems) = spec();
        let text = human(&problems, &document, false, None);
        let expected = "\
error[unknown-field]: unknown field `prmt`
 --> a dir/spec.toml:3:1
  |
3 | prmt = \"one\"
  | ^^^^
  |
  = help: did you mean `prompt`?
";
        assert!(text.contains(expected), "{text}");
        assert!(text.ends_with("\n3 errors, 1 warning\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let order = ["bad-value", "missing-field", "unknown-field", "long-text"].map(|rule| text.find(rule).unwrap());
        assert!(order.is_sorted(), "{text}");
        assert!(human(&problems, &document, true, None).contains("\u{1b}["));
    }

    #[test]
    fn a_text_cannot_command_the_terminal() {
        let text = "name = '\u{9b}31m' # \u{202e}\n".to_owned();
        let document = Document::parse("\u{1b}]0;x\u{7}.toml", text, SpecFormat::Toml).unwrap();
        let problem = Diagnostic::error("bad-value", Path::of(["name"]), "\u{1b}[2J \u{9b}1m");
        let shown = human(&[problem], &document, false, None);
        assert!(!shown.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
    }

    #[test]
    fn json_counts_characters_from_one() {
        let (document, problems) = spec();
        let value: Value = serde_json::from_str(&json(&problems, &document)).unwrap();
        assert_eq!(value["schema_version"], 1);
        assert_eq!(value["file"], "a dir/spec.toml");
        assert_eq!(
            value["diagnostics"][0],
            json!({
                "rule": "bad-value", "severity": "error", "message": "no", "help": null, "path": "name",
                "line": 1, "column": 8, "end_line": 1, "end_column": 11,
            })
        );
        assert_eq!(value["diagnostics"][3]["end_line"], 5);
    }

    #[test]
    fn github_commands_are_escaped() {
        let (document, problems) = spec();
        let text = github(&problems, &document);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2],
            "::error title=fanfold (unknown-field),file=a dir/spec.toml,line=3,endLine=3,col=1,endColumn=5\
             ::unknown field `prmt`%0Ahelp: did you mean `prompt`?"
        );
        assert_eq!(
            lines[3],
            "::warning title=fanfold (long-text),file=a dir/spec.toml,line=4,endLine=5\
             ::100 %25 long,%0Areally: \u{1b}[31mlong"
        );
    }

    #[test]
    fn sarif_lists_its_rules_and_regions() {
        let (document, problems) = spec();
        let log: Value = serde_json::from_str(&sarif(&problems, &document)).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        for result in run["results"].as_array().unwrap() {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
        let place = &run["results"][1]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20dir/spec.toml");
        assert_eq!(place["region"], json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 14 }));
    }

    #[test]
    fn any_span_is_made_to_fit() {
        let document = Document::parse("s.toml", "a = 'ä'".to_owned(), SpecFormat::Toml).unwrap();
        for span in [0..0, 6..6, 100..200, Range { start: 7, end: 2 }] {
            let mut problem = Diagnostic::error("syntax", Path::root(), "x");
            problem.place = SourcePosition::Span(span);
            assert!(human(&[problem], &document, false, None).contains("s.toml:1:"));
        }
    }
}
