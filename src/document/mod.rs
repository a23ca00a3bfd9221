//! Documents: what an author wrote, as one tree with the place of every value in the text, from TOML or YAML alike.
//!
//! [`Document::parse`] reads, [`decode()`] turns a node into a typed value and reports **all** its problems, and
//! [`Document::span`] finds the text of a [`Path`] when a problem is shown. Knows nothing of ours but names.
//! A new format is one file that makes a [`Node`], and a variant of [`Format`].

mod decode;
mod diagnostic;
mod fault;
mod problems;
mod reader;
mod scalar;
mod stub;
mod toml;
mod yaml;

use std::ops::Range;

pub use decode::{decode, decode_beside, decode_partly, fields_of};
pub use diagnostic::{Diagnostic, Path, Place, Segment, Severity};
pub use problems::{Mark, Problems, Reported};

/// The largest document that is read, in bytes. A spec is written by hand; what is larger is data given by mistake.
const LARGEST: usize = 1 << 20;

/// How many syntax errors of one document are reported; the rest are mostly echoes of the first ones.
const MOST_SYNTAX_ERRORS: usize = 20;

/// A document that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The file name, as it is shown.
    pub name: String,
    /// The text, without a byte order mark; all spans count its bytes.
    pub text: String,
    /// What stands in it: a table, unless a YAML author wrote something else.
    pub root: Node,
}

/// A document that could not be read: its text, to show the problems in, and the problems.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// The name and the text, with an empty table for a root.
    pub document: Document,
    /// The syntax errors, in the order of the text; at least one.
    pub problems: Vec<Diagnostic>,
}

/// The languages that a document can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, core schema, one document, without tags and merge keys.
    Yaml,
}

impl Format {
    /// The format of a file by the end of its name (`.toml`, `.yaml`, `.yml`, in any case).
    pub fn of(path: impl AsRef<std::path::Path>) -> Option<Self> {
        match path.as_ref().extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Format::Toml),
            "yaml" | "yml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

impl Document {
    /// Reads `text`; `name` is only for show. A byte order mark at the start is dropped.
    pub fn parse(name: impl Into<String>, mut text: String, format: Format) -> Result<Self, Box<Unreadable>> {
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let tree = if text.len() > LARGEST {
            let message = format!("the file has {} bytes, more than the {LARGEST} that a spec may have", text.len());
            Err(vec![syntax(0..0, message).help("put data in a file of its own and name that file in the spec")])
        } else {
            match format {
                Format::Toml => toml::parse(&text),
                Format::Yaml => yaml::parse(&text),
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

    /// The node at `path`, if there is one.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        path.segments().iter().try_fold(&self.root, |node, segment| node.step(segment))
    }

    /// The bytes of the text that `place` means; those of its nearest ancestor when it does not exist.
    pub fn span(&self, place: &Place) -> Range<usize> {
        let (path, at_key) = match place {
            Place::Span(span) => return span.clone(),
            Place::Value(path) => (path, false),
            Place::Key(path) => (path, true),
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

/// A value of a document with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What stands there.
    pub value: Value,
    /// The bytes of the text to point at: the whole of a plain value, the header or the key of a table or list that
    /// has its own lines.
    pub span: Range<usize>,
}

/// What TOML and YAML have in common.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// YAML's `null`; TOML has none.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text; a date of TOML is its text too.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A table, in the order of the text.
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The bytes of the text that the key covers.
    pub key_span: Range<usize>,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The value of `key`, if this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, if this is a table; none otherwise.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The items, if this is a list; none otherwise.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Adds an entry without a place in the text, if this is a table.
    pub fn insert(&mut self, key: &str, value: Value) {
        let node = Node { value, span: 0..0 };
        if let Value::Table(entries) = &mut self.value {
            entries.push(Entry { key: key.to_owned(), key_span: 0..0, node });
        }
    }

    /// Keeps only the entries whose keys are to be `kept`, if this is a table.
    pub fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|entry| kept(&entry.key));
        }
    }

    /// What this is, in words for a message: "text", "a whole number", "a table" ...
    pub fn kind_name(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::String(_) => "text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    fn step(&self, segment: &Segment) -> Option<&Node> {
        match segment {
            Segment::Key(key) => self.get(key),
            Segment::Index(index) => self.items().get(*index),
        }
    }
}

/// A syntax error at bytes of the text.
fn syntax(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
    Diagnostic { place: Place::Span(span), ..Diagnostic::error("syntax", Path::root(), message) }
}

/// A number that does not fit; the same words for both formats.
fn too_large(span: Range<usize>) -> Diagnostic {
    syntax(span, "this number is too large").help(format!("whole numbers go from {} to {}", i64::MIN, i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn read(text: &str, format: Format) -> Document {
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
        assert_eq!(bare(&read(TOML, Format::Toml).root), bare(&read(YAML, Format::Yaml).root));
        assert_eq!(bare(&read("", Format::Toml).root), bare(&read("# nothing\n", Format::Yaml).root));
    }

    fn shown<'d>(document: &'d Document, place: &Place) -> &'d str {
        &document.text[document.span(place)]
    }

    #[test]
    fn spans_point_at_what_was_written() {
        let (toml, yaml) = (read(TOML, Format::Toml), read(YAML, Format::Yaml));
        let tone = Path::of(["stages", "tone"]);
        let seed = Path::of(["seed"]);
        let kind = tone.key("output").key("label").key("type");
        for (document, kind_text) in [(&toml, "\"string\""), (&yaml, "string")] {
            assert_eq!(shown(document, &Place::Value(seed.clone())), "42");
            assert_eq!(shown(document, &Place::Key(seed.clone())), "seed");
            assert_eq!(shown(document, &Place::Value(seed.key("deeper").index(3))), "42");
            assert_eq!(shown(document, &Place::Value(kind.clone())), kind_text);
            assert_eq!(shown(document, &Place::Key(kind.clone())), "type");
            assert_eq!(shown(document, &Place::Value(Path::root())), "");
            assert_eq!(shown(document, &Place::Key(Path::of(["missing"]))), "");
            assert_eq!(document.get(&tone.key("fanout")).map(Node::kind_name), Some("true or false"));
            assert!(document.get(&tone.key("checks").index(2)).is_none());
        }
        assert_eq!(shown(&toml, &Place::Value(tone.key("models"))), "[stages.tone]");
        assert_eq!(shown(&yaml, &Place::Value(tone.key("models"))), "tone");
        assert_eq!(shown(&toml, &Place::Value(tone.key("limits"))), "limits");
        assert_eq!(shown(&yaml, &Place::Value(tone.key("checks"))), "checks");
        assert_eq!(shown(&yaml, &Place::Value(tone.key("checks").index(1))), "at");
        let label = tone.key("output").key("label");
        assert_eq!(shown(&yaml, &Place::Value(label.clone())), "{ type: string, enum: [a, b] }");
        assert_eq!(shown(&yaml, &Place::Value(label.key("enum"))), "[a, b]");
        assert!(shown(&yaml, &Place::Value(tone.key("prompt"))).starts_with("What is it?\n"));
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        for (text, format) in [("\u{feff}seed = 1", Format::Toml), ("\u{feff}seed: 1", Format::Yaml)] {
            let document = read(text, format);
            assert_eq!(document.span(&Place::Key(Path::of(["seed"]))), 0..4);
        }
    }

    #[test]
    fn formats_are_known_by_the_end_of_the_name() {
        assert_eq!(Format::of("a/b.toml"), Some(Format::Toml));
        assert_eq!(Format::of("b.YAML"), Some(Format::Yaml));
        assert_eq!(Format::of("b.yml"), Some(Format::Yaml));
        assert_eq!(Format::of("b.json"), None);
        assert_eq!(Format::of("toml"), None);
    }

    #[test]
    fn a_file_of_data_is_no_spec() {
        let unread = Document::parse("spec", "#".repeat(LARGEST + 1), Format::Toml).unwrap_err();
        assert!(unread.problems[0].message.contains("more than the 1048576"));
    }
}
