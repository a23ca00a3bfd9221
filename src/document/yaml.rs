//! YAML: converts a file (version 1.2, core schema, one document) to the tree of a document.
//!
//! The tree is built from the parser's events and not with serde, because only the events distinguish quoted from plain
//! text: `NO`, `on`, `012` and `1_000` stay text. Tags and merge keys are errors, since few readers know their effects.
//! Aliases are copied. Limits on the copies stop alias bombs.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_yaml::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, StructureStyle, Tag};

use super::diagnostic::{Diagnostic, MOST_SYNTAX_ERRORS};
use super::scalar;
use super::tree::{Entry, Node, Value};

const DEEPEST: usize = 64;
/// The most values of a document, including the copies of aliases.
const MOST_NODES: usize = 100_000;
/// The most bytes of text in its values, including the copies of aliases.
const MOST_BYTES: usize = 4 << 20;

/// Parses a YAML document. The first syntax error ends it. All tags, duplicate keys and merge keys are reported.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Diagnostic>> {
    let mut options = granit_parser::Options::default();
    options.flow_nesting_limit = DEEPEST;
    options.block_nesting_limit = DEEPEST;
    options.set_emit_comments(false);
    let mut reading = Reading::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => reading.event(event, &span),
            Err(error) => {
                let start = error.marker().byte_offset().unwrap_or(text.len());
                let problem = unreadable(error.kind(), start..start);
                Err(match indented(text, start).filter(|_| is_of_indentation(error.kind())) {
                    Some(help) => problem.help(help),
                    None => problem,
                })
            }
        };
        if let Err(problem) = step {
            reading.problems.push(problem);
            break;
        }
    }
    if !reading.problems.is_empty() {
        reading.problems.truncate(MOST_SYNTAX_ERRORS);
        return Err(reading.problems);
    }
    // An empty file is an empty table, as in TOML; the root has no header to point at.
    match reading.root {
        Some(Node { value: Value::Table(entries), .. }) => Ok(Node { value: Value::Table(entries), span: 0..0 }),
        Some(Node { value: Value::Null, .. }) | None => Ok(Node { value: Value::Table(Vec::new()), span: 0..0 }),
        Some(other) => Ok(other),
    }
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct OpenNode {
    anchor: usize,
    span: Range<usize>,
    size: Size,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Table(Vec<Entry>, HashSet<String>, Option<(String, Range<usize>)>),
}

#[derive(Default)]
struct Reading {
    open: Vec<OpenNode>,
    anchors: HashMap<usize, (Node, Size)>,
    total: Size,
    documents: usize,
    root: Option<Node>,
    problems: Vec<Diagnostic>,
}

impl Reading {
    /// Processes one event. An error ends the parsing, a reported problem does not.
    fn event(&mut self, event: Event<'_>, place: &granit_parser::Span) -> Result<(), Diagnostic> {
        let span = place.byte_range().unwrap_or(0..0);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(
                        Diagnostic::syntax(span, "a second document begins here").help("a spec is one YAML document")
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = self.tag(tag.as_deref(), place, &span);
                let plain = matches!(style, ScalarStyle::Plain) && !as_text;
                if self.awaits_key() {
                    self.key(text.into_owned(), matches!(style, ScalarStyle::Plain), span)?;
                } else {
                    let size = Size { nodes: 1, bytes: text.len(), depth: 0 };
                    self.charge(size, &span)?;
                    let value = if plain { self.plain(&text, &span) } else { Value::String(text.into_owned()) };
                    self.put(Node { value, span }, anchor, size)?;
                }
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.tag(tag.as_deref(), place, &span);
                self.begin(style, anchor, span, Body::List(Vec::new()))?;
            }
            Event::MappingStart(style, anchor, tag) => {
                self.tag(tag.as_deref(), place, &span);
                self.begin(style, anchor, span, Body::Table(Vec::new(), HashSet::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&span)?,
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        Ok(())
    }

    /// Whether a tag makes its scalar a text. Reports any tag except `!!str` and `!`.
    fn tag(&mut self, tag: Option<&Tag>, place: &granit_parser::Span, span: &Range<usize>) -> bool {
        let Some(tag) = tag else { return false };
        let as_text = tag.is_yaml_core_schema_tag("str") || tag.original() == "!";
        if !as_text {
            let at = place.tag_span().and_then(|s| s.byte_range()).unwrap_or_else(|| span.clone());
            let message = format!("the tag `{}` has no meaning in a spec", tag.original());
            self.problems.push(Diagnostic::syntax(at, message).help("leave the tag out; quotes make text of a number"));
        }
        as_text
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(OpenNode { body: Body::Table(_, _, None), .. }))
    }

    fn key(&mut self, key: String, plain: bool, span: Range<usize>) -> Result<(), Diagnostic> {
        let bytes = key.len();
        self.charge(Size { nodes: 0, bytes, depth: 0 }, &span)?;
        if plain && key == "<<" {
            let problem = Diagnostic::syntax(span.clone(), "merge keys (`<<`) are not understood here");
            self.problems.push(problem.help("write the fields out"));
        } else if plain && key.is_empty() {
            self.problems.push(Diagnostic::syntax(span.clone(), "a key is missing before the `:`"));
        }
        if let Some(OpenNode { body: Body::Table(_, seen, waiting), size, .. }) = self.open.last_mut() {
            size.bytes += bytes;
            if !seen.insert(key.clone()) {
                let problem = Diagnostic::syntax(span.clone(), format!("the key `{key}` is given twice"));
                self.problems.push(problem.help("a key can be given only once in a table"));
            }
            *waiting = Some((key, span));
        }
        Ok(())
    }

    fn plain(&mut self, text: &str, span: &Range<usize>) -> Value {
        scalar::plain(text).unwrap_or_else(|| {
            self.problems.push(Diagnostic::too_large(span.clone()));
            Value::Null
        })
    }

    fn begin(
        &mut self,
        style: StructureStyle,
        anchor: usize,
        span: Range<usize>,
        body: Body,
    ) -> Result<(), Diagnostic> {
        if self.awaits_key() {
            return Err(Diagnostic::syntax(span, "a key must be text, not a list or a table")
                .help("a text that begins with `{` or `[`, such as `{{ text }}`, needs quotes"));
        }
        if self.open.len() >= DEEPEST {
            return Err(too_deep(span));
        }
        let size = Size { nodes: 1, bytes: 0, depth: 1 };
        self.charge(size, &span)?;
        // A block has no bracket to point at: its span is that of its key.
        let span = match (style, self.open.last()) {
            (StructureStyle::Block, Some(OpenNode { body: Body::Table(_, _, Some((_, key))), .. })) => key.clone(),
            _ => span,
        };
        self.open.push(OpenNode { anchor, span, size, body });
        Ok(())
    }

    fn end(&mut self, span: &Range<usize>) -> Result<(), Diagnostic> {
        let Some(OpenNode { anchor, span: start, size, body }) = self.open.pop() else { return Ok(()) };
        let (value, first) = match body {
            Body::List(items) => {
                let first = items.first().map(|item| item.span.clone());
                (Value::List(items), first)
            }
            Body::Table(entries, ..) => {
                let first = entries.first().map(|entry| entry.key_span.clone());
                (Value::Table(entries), first)
            }
        };
        // An end with text is a closing bracket; a block without a key is shown at its first line.
        let span = match first {
            _ if !span.is_empty() => start.start..span.end,
            Some(first) if start.is_empty() => first,
            _ => start,
        };
        self.put(Node { value, span }, anchor, size)
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Diagnostic> {
        if self.awaits_key() {
            return Err(Diagnostic::syntax(span, "a key must be text, not an alias"));
        }
        let Some(size) = self.anchors.get(&anchor).map(|(_, size)| *size) else {
            return Err(Diagnostic::syntax(span, "this alias is inside the value that it refers to"));
        };
        if self.open.len() + size.depth > DEEPEST {
            return Err(too_deep(span));
        }
        self.charge(size, &span)?;
        let value = self.anchors.get(&anchor).map_or(Value::Null, |(node, _)| node.value.clone());
        self.put(Node { value, span }, 0, size)
    }

    fn put(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), Diagnostic> {
        if anchor > 0 {
            // The kept copy counts too; otherwise nested anchors would multiply its text.
            self.charge(size, &node.span)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.size.nodes += size.nodes;
        open.size.bytes += size.bytes;
        open.size.depth = open.size.depth.max(size.depth + 1);
        match &mut open.body {
            Body::List(items) => items.push(node),
            Body::Table(entries, _, waiting) => {
                if let Some((key, key_span)) = waiting.take() {
                    entries.push(Entry { key, key_span, node });
                }
            }
        }
        Ok(())
    }

    fn charge(&mut self, size: Size, span: &Range<usize>) -> Result<(), Diagnostic> {
        self.total.nodes = self.total.nodes.saturating_add(size.nodes);
        self.total.bytes = self.total.bytes.saturating_add(size.bytes);
        if self.total.nodes > MOST_NODES {
            return Err(Diagnostic::syntax(span.clone(), format!("the document has more than {MOST_NODES} values")));
        }
        if self.total.bytes > MOST_BYTES {
            return Err(Diagnostic::syntax(
                span.clone(),
                format!("the document has more than {MOST_BYTES} bytes of text"),
            ));
        }
        Ok(())
    }
}

fn unreadable(kind: &ErrorKind, span: Range<usize>) -> Diagnostic {
    let help = match kind {
        ErrorKind::RecursionLimitExceeded => return too_deep(span),
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            "indent with spaces, not with tabs"
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            "a text with `: ` in it needs quotes; if this is a key, look at the indentation and the brackets before it"
        }
        ErrorKind::UnexpectedCharacter { .. } => "a text that begins with this character needs quotes",
        ErrorKind::UnknownAnchor => "a text that begins with `*` needs quotes",
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => "look at the indentation",
        _ => return Diagnostic::syntax(span, kind.to_string()),
    };
    Diagnostic::syntax(span, kind.to_string()).help(help)
}

fn is_of_indentation(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::MappingValueNotAllowed
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::InvalidIndentation
            | ErrorKind::ExpectedBlockMappingKey
    )
}

/// Says that the line at `at` is indented deeper than the line before it, which begins no table.
fn indented(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let is_written = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let before = text[..start].lines().rev().find(is_written)?;
    let line = text[start..].lines().next()?;
    let [depth, above] = [line, before].map(|line| line.len() - line.trim_start_matches(' ').len());
    let begins_a_table = before.split(" #").next().unwrap_or(before).trim_end().ends_with(':');
    (depth > above && !begins_a_table).then(|| {
        format!("this line is indented by {depth} spaces, and the line before it by {above}: fields of one table are indented alike")
    })
}

fn too_deep(span: Range<usize>) -> Diagnostic {
    Diagnostic::syntax(span, format!("lists and tables are nested deeper than {DEEPEST} levels"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::diagnostic::SourcePosition;
    use super::*;

    fn value(text: &str) -> Value {
        parse(&format!("a: {text}\n")).unwrap().get("a").unwrap().value.clone()
    }

    fn problems(text: &str) -> Vec<(String, String)> {
        let problems = parse(text).unwrap_err();
        let shown = |problem: Diagnostic| match problem.place {
            SourcePosition::Span(span) => (text[span].to_owned(), problem.message),
            other => panic!("{other:?}"),
        };
        problems.into_iter().map(shown).collect()
    }

    #[test]
    fn what_yaml_1_1_would_change_stays_text() {
        for text in ["NO", "on", "y", "012", "1_000", "yes", "0b1", "1:30", "2001-12-14", "+", ".", "1e", "01.5"] {
            assert_eq!(value(text), Value::String(text.into()), "{text}");
        }
        assert_eq!(value("012"), Value::String("012".into()));
        for text in ["'12'", "\"true\"", "'null'", "!!str 12", "! 12"] {
            assert!(matches!(value(text), Value::String(_)), "{text}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let found = problems("a: 9223372036854775808\nb: 1e999\n");
        assert_eq!(found.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["9223372036854775808", "1e999"]);
    }

    #[test]
    fn block_text_is_kept_exactly() {
        assert_eq!(value("|\n  one\n    two\n\n  three\n"), Value::String("one\n  two\n\nthree\n".into()));
        assert_eq!(value("|-\n  012\n"), Value::String("012".into()));
        assert_eq!(value(">\n  one\n  two\n\n  three\n"), Value::String("one two\nthree\n".into()));
    }

    #[test]
    fn what_a_spec_cannot_have_is_all_found() {
        let found = problems("a: 1\nb: !!int 3\na: 2\nc: !secret x\n<<: {d: 4}\n");
        let texts: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["!!int", "a", "!secret", "<<"], "{found:?}");
        assert_eq!(found[1].1, "the key `a` is given twice");
    }

    #[test]
    fn documents_that_end_the_reading() {
        for (text, at, message) in [
            ("a: 1\n---\nb: 2\n", "---", "a second document begins here"),
            ("? [a]\n: 1\n", "", "a key must be text, not a list or a table"),
            ("a: &x\n  b: *x\n", "*x", "this alias is inside the value that it refers to"),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].0.starts_with(at) && found[0].1 == message, "{found:?}");
        }
        assert!(parse("a: [1, 2\nb: 3\n").is_err());
        assert!(parse("a: b: c\n").is_err());
        assert!(parse("a: *unknown\n").is_err());
        assert!(parse("a:\n\tb: 1\n").is_err());
    }

    #[test]
    fn aliases_are_copies() {
        let root = parse("a: &x\n  b: [1]\nc: *x\n").unwrap();
        assert_eq!(root.get("a").unwrap().value, root.get("c").unwrap().value);
        assert_eq!(root.get("c").unwrap().span, 18..20);
    }

    #[test]
    fn bombs_are_refused_at_once() {
        let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
        for i in 1..9 {
            let copies = vec![format!("*a{}", i - 1); 9].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{copies}]\n"));
        }
        let long = "x".repeat(100_000);
        let mut chain = String::from("a0: &a0 [[[[[[[[x]]]]]]]]\n");
        for i in 1..200 {
            chain.push_str(&format!("a{i}: &a{i} [[[[[[[[*a{}]]]]]]]]\n", i - 1));
        }
        let anchors: String = (0..60).map(|i| format!("&n{i} [")).collect();
        // The slowest takes half a second in a debug build on two busy cores; what grows without bound takes minutes.
        let most = Duration::from_millis(if cfg!(debug_assertions) { 20_000 } else { 500 });
        for (name, text) in [
            ("laughs", laughs),
            ("deep", "[".repeat(200_000)),
            ("deep closed", format!("{}{}", "[".repeat(200_000), "]".repeat(200_000))),
            ("deep tables", "{a: ".repeat(200_000)),
            ("deep blocks", (0..1000).map(|i| format!("{}a:\n", " ".repeat(i))).collect()),
            ("deep dashes", "- ".repeat(200_000)),
            ("aliases", format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 20_000].join(", "))),
            ("chain", chain),
            ("keys", format!("a: &a {{? {long} : 1}}\nb: [{}]\n", vec!["*a"; 20_000].join(", "))),
            ("anchors", format!("a: {anchors}{}{}\n", long.repeat(8), "]".repeat(60))),
            ("values", format!("a: [{}]\n", "1,".repeat(200_000))),
        ] {
            let start = Instant::now();
            assert!(parse(&text).is_err(), "{name}");
            assert!(start.elapsed() < most, "{name} took {:?}", start.elapsed());
        }
    }
}
