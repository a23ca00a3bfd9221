//! A document: its text, its tree, and the place of every value in the text.

use std::ops::Range;

use super::diagnostic::{Diagnostic, Segment, SourcePosition};
use super::tree::{Node, Value};
use super::{toml, yaml};

/// The largest document, in bytes. Specs are written by hand, so a larger file is probably data.
const LARGEST: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) name: String,
    /// The text without a byte order mark. All spans are byte offsets in this text.
    pub(crate) text: String,
    /// A table, unless a YAML author wrote something else.
    pub(crate) root: Node,
}

/// A document with syntax errors, and its text for showing the errors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unreadable {
    /// The name and the text, with an empty table as the root.
    pub(crate) document: Document,
    pub(crate) problems: Vec<Diagnostic>,
}

/// The languages that a document can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpecFormat {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, core schema, one document, without tags and merge keys.
    Yaml,
}

impl SpecFormat {
    /// Returns the format of a file by its extension (`.toml`, `.yaml`, `.yml`, in any case).
    pub(crate) fn of(path: impl AsRef<std::path::Path>) -> Option<Self> {
        match path.as_ref().extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(SpecFormat::Toml),
            "yaml" | "yml" => Some(SpecFormat::Yaml),
            _ => None,
        }
    }
}

impl Document {
    /// Parses `text`. Messages show `name`. A byte order mark at the start is dropped.
    pub(crate) fn parse(
        name: impl Into<String>,
        mut text: String,
        format: SpecFormat,
    ) -> Result<Self, Box<Unreadable>> {
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let tree = if text.len() > LARGEST {
            let message = format!("the file has {} bytes, more than the {LARGEST} that a spec may have", text.len());
            Err(vec![
                Diagnostic::syntax(0..0, message).help("put data in a separate file and name that file in the spec"),
            ])
        } else {
            match format {
                SpecFormat::Toml => toml::parse(&text),
                SpecFormat::Yaml => yaml::parse(&text),
            }
        };
        let name = name.into();
        match tree {
            Ok(root) => Ok(Document { name, text, root }),
            Err(problems) => {
                let root = Node { value: Value::Table(Vec::new()), span: 0..0 };
                Err(Box::new(Unreadable { document: Document { name, text, root }, problems }))
            }
        }
    }

    /// Returns the bytes of the text at `place`, or at its nearest ancestor that exists.
    pub(crate) fn span(&self, place: &SourcePosition) -> Range<usize> {
        let (path, at_key) = match place {
            SourcePosition::Span(span) => return span.clone(),
            SourcePosition::Value(path) => (path, false),
            SourcePosition::Key(path) => (path, true),
        };
        let mut node = &self.root;
        let mut key_span = None;
        for segment in path.segments() {
            let Some(next) = node.step(segment) else { return node.span.clone() };
            key_span = match segment {
                Segment::Key(key) => node.entry(key).map(|entry| entry.key_span.clone()),
                Segment::Index(_) => None,
            };
            node = next;
        }
        key_span.filter(|_| at_key).unwrap_or_else(|| node.span.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Path;

    fn node<'a>(document: &'a Document, path: &Path) -> Option<&'a Node> {
        path.segments().iter().try_fold(&document.root, |node, segment| node.step(segment))
    }

    const TOML: &str = r#"name = "tone" # a comment
seed = 42

[models.llama]
temperature = 0.5
stop = ["\n", "END"]

[stages.tone]
fanout = true
prompt = """
What is it?
  {{ speech }}
"""
limits.per_row = -3
output = { label = { type = "string", enum = ["a", "b"] }, prob = { maximum = 1.0e0 } }

[[stages.tone.checks]]
at = 1979-05-27

[[stages.tone.checks]]
at = "012"
"#;

    const YAML: &str = r#"# a comment
name: tone
seed: 42
models:
  llama:
    temperature: 0.5
    stop: ["\n", 'END']
stages:
  tone:
    fanout: true
    prompt: |
      What is it?
        {{ speech }}
    limits:
      per_row: -3
    output:
      label: { type: string, enum: [a, b] }
      prob:
        maximum: 1.0e0
    checks:
      - at: 1979-05-27
      - at: 012
"#;

    fn read(text: &str, format: SpecFormat) -> Document {
        Document::parse("spec", text.to_owned(), format).unwrap()
    }

    /// The tree without its places.
    fn bare(node: &Node) -> String {
        match &node.value {
            Value::List(items) => format!("[{}]", items.iter().map(bare).collect::<Vec<_>>().join(", ")),
            Value::Table(entries) => {
                let entries: Vec<String> = entries.iter().map(|e| format!("{}: {}", e.key, bare(&e.node))).collect();
                format!("{{{}}}", entries.join(", "))
            }
            plain => format!("{plain:?}"),
        }
    }

    #[test]
    fn toml_and_yaml_give_the_same_tree() {
        assert_eq!(bare(&read(TOML, SpecFormat::Toml).root), bare(&read(YAML, SpecFormat::Yaml).root));
        assert_eq!(bare(&read("", SpecFormat::Toml).root), bare(&read("# nothing\n", SpecFormat::Yaml).root));
    }

    fn shown<'d>(document: &'d Document, place: &SourcePosition) -> &'d str {
        &document.text[document.span(place)]
    }

    #[test]
    fn spans_point_at_what_was_written() {
        let (toml, yaml) = (read(TOML, SpecFormat::Toml), read(YAML, SpecFormat::Yaml));
        let tone = Path::of(["stages", "tone"]);
        let seed = Path::of(["seed"]);
        let kind = tone.key("output").key("label").key("type");
        for (document, kind_text) in [(&toml, "\"string\""), (&yaml, "string")] {
            assert_eq!(shown(document, &SourcePosition::Value(seed.clone())), "42");
            assert_eq!(shown(document, &SourcePosition::Key(seed.clone())), "seed");
            assert_eq!(shown(document, &SourcePosition::Value(seed.key("deeper").index(3))), "42");
            assert_eq!(shown(document, &SourcePosition::Value(kind.clone())), kind_text);
            assert_eq!(shown(document, &SourcePosition::Key(kind.clone())), "type");
            assert_eq!(shown(document, &SourcePosition::Value(Path::root())), "");
            assert_eq!(shown(document, &SourcePosition::Key(Path::of(["missing"]))), "");
            assert_eq!(node(document, &tone.key("fanout")).map(Node::kind_name), Some("true or false"));
            assert!(node(document, &tone.key("checks").index(2)).is_none());
        }
        assert_eq!(shown(&toml, &SourcePosition::Value(tone.key("models"))), "[stages.tone]");
        assert_eq!(shown(&yaml, &SourcePosition::Value(tone.key("models"))), "tone");
        assert_eq!(shown(&toml, &SourcePosition::Value(tone.key("limits"))), "limits");
        assert_eq!(shown(&yaml, &SourcePosition::Value(tone.key("checks"))), "checks");
        assert_eq!(shown(&yaml, &SourcePosition::Value(tone.key("checks").index(1))), "at");
        let label = tone.key("output").key("label");
        assert_eq!(shown(&yaml, &SourcePosition::Value(label.clone())), "{ type: string, enum: [a, b] }");
        assert_eq!(shown(&yaml, &SourcePosition::Value(label.key("enum"))), "[a, b]");
        assert!(shown(&yaml, &SourcePosition::Value(tone.key("prompt"))).starts_with("What is it?\n"));
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        for (text, format) in [("\u{feff}seed = 1", SpecFormat::Toml), ("\u{feff}seed: 1", SpecFormat::Yaml)] {
            let document = read(text, format);
            assert_eq!(document.span(&SourcePosition::Key(Path::of(["seed"]))), 0..4);
        }
    }

    #[test]
    fn formats_are_known_by_the_end_of_the_name() {
        assert_eq!(SpecFormat::of("a/b.toml"), Some(SpecFormat::Toml));
        assert_eq!(SpecFormat::of("b.YAML"), Some(SpecFormat::Yaml));
        assert_eq!(SpecFormat::of("b.yml"), Some(SpecFormat::Yaml));
        assert_eq!(SpecFormat::of("b.json"), None);
        assert_eq!(SpecFormat::of("toml"), None);
    }

    #[test]
    fn a_file_of_data_is_no_spec() {
        let unread = Document::parse("spec", "#".repeat(LARGEST + 1), SpecFormat::Toml).unwrap_err();
        assert!(unread.problems[0].message.contains("more than the 1048576"));
    }
}
