//! TOML: converts a file to the tree of a document. The `toml` crate parses the text and words the syntax errors.

use std::collections::HashSet;
use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, MOST_SYNTAX_ERRORS, SourcePosition};
use super::tree::{Entry, Node, Value};

pub(super) fn parse(text: &str) -> Result<Node, Vec<Diagnostic>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut colons = HashSet::new();
    let mut problems: Vec<Diagnostic> = errors
        .iter()
        .filter_map(|error| {
            let span = error.span().unwrap_or(text.len()..text.len());
            if let Some((line, key)) = key_with_colon(text, span.start) {
                // The other errors of the line follow from the colon.
                let problem = Diagnostic::syntax(span, format!("`:` follows the key `{key}`, and TOML has `=`"));
                return colons.insert(line).then(|| problem.help(format!("write `{key} = ..`")));
            }
            let problem = Diagnostic::syntax(span, error.message());
            Some(match error.message() {
                "duplicate key" => problem.help("a key, and a table by its header, can be given only once"),
                _ => problem,
            })
        })
        .collect();
    let mut reading = Reading { text, problems: Vec::new() };
    // Values after a syntax error are guesses of the parser, so problems with them are not reported.
    let value = reading.table(root.into_inner());
    if problems.is_empty() {
        problems = reading.problems;
    }
    problems.sort_by_key(|problem| match &problem.place {
        SourcePosition::Span(span) => span.start,
        _ => 0,
    });
    problems.dedup();
    problems.truncate(MOST_SYNTAX_ERRORS);
    // The root has no header to point at: its span is empty.
    if problems.is_empty() { Ok(Node { value, span: 0..0 }) } else { Err(problems) }
}

/// The beginning of the line at `at`, and its key, if the line is written as in YAML: `key: value`.
fn key_with_colon(text: &str, at: usize) -> Option<(usize, &str)> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text[start..].lines().next()?;
    let (key, value) = line.split_once(':')?;
    let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    (is_key(key.trim()) && (value.is_empty() || value.starts_with(' '))).then(|| (start, key.trim()))
}

struct Reading<'t> {
    text: &'t str,
    problems: Vec<Diagnostic>,
}

impl Reading<'_> {
    fn table(&mut self, table: DeTable<'_>) -> Value {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| {
                let key_span = key.span();
                let node = self.node(value, &key_span);
                Entry { key: key.into_inner().into_owned(), key_span, node }
            })
            .collect();
        // The crate sorts by name; messages follow the order of the text.
        entries.sort_by_key(|entry| entry.key_span.start);
        Value::Table(entries)
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>, key_span: &Range<usize>) -> Node {
        let mut span = value.span();
        let value = match value.into_inner() {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Boolean(yes) => Value::Bool(yes),
            DeValue::Datetime(date) => {
                Value::String(self.text.get(span.clone()).map_or_else(|| date.to_string(), str::to_owned))
            }
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => self.refuse(span.clone()),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(parsed) if parsed.is_infinite() && !number.as_str().contains("inf") => self.refuse(span.clone()),
                Ok(parsed) => Value::Float(parsed),
                Err(_) => self.refuse(span.clone()),
            },
            DeValue::Array(items) => Value::List(items.into_iter().map(|item| self.node(item, key_span)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        // A table that dotted keys imply has no text in the document.
        if span.is_empty() && matches!(value, Value::Table(_)) {
            span = key_span.clone();
        }
        Node { value, span }
    }

    fn refuse(&mut self, span: Range<usize>) -> Value {
        self.problems.push(Diagnostic::too_large(span));
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(String, String)> {
        let problems = parse(text).unwrap_err();
        let shown = |problem: Diagnostic| match problem.place {
            SourcePosition::Span(span) => (text[span].to_owned(), problem.message),
            other => panic!("{other:?}"),
        };
        problems.into_iter().map(shown).collect()
    }

    #[test]
    fn all_syntax_errors_are_found() {
        let found = problems("a = \nb = 1\nb = 2\nc = \"open\nd = 4 4\n");
        assert!(found.len() >= 4, "{found:?}");
        assert!(found.contains(&("b".into(), "duplicate key".into())), "{found:?}");
        assert!(problems(&"x = \n".repeat(500)).len() <= MOST_SYNTAX_ERRORS);
    }

    #[test]
    fn a_colon_after_a_key_is_one_problem() {
        let found = problems("a = 1\nkey: \"id\"\nb = 2\nname: x y\n");
        let messages: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
        let expected = ["key", "name"].map(|key| format!("`:` follows the key `{key}`, and TOML has `=`"));
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_table_given_twice_is_found() {
        assert_eq!(problems("[a]\n[a]\n"), [("a".into(), "duplicate key".into())]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let found = problems("a = 9223372036854775808\nb = 1e999\nc = -0\nd = 0xff\n");
        let texts: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["9223372036854775808", "1e999"]);
    }

    #[test]
    fn numbers_in_all_their_forms() {
        let root = parse("a = 0xff\nb = 1_000\nc = -0b11\n").map_err(|e| e[0].message.clone());
        assert!(root.is_err());
        let root = parse("a = 0xf_f\nb = -1_000\nc = 1_0.5e1\nd = inf\n").unwrap();
        let values: Vec<&Value> = root.entries().iter().map(|e| &e.node.value).collect();
        let inf = Value::Float(f64::INFINITY);
        assert_eq!(values, [&Value::Integer(255), &Value::Integer(-1000), &Value::Float(105.0), &inf]);
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&format!("a = {}", "[".repeat(200_000))).is_err());
    }
}
