//! The tree of a document: values with their places in the text, the same for TOML and YAML.

use std::ops::Range;

use super::diagnostic::Segment;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The bytes to point at: a whole plain value; the header or the key of a table or list with its own lines.
    pub(crate) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A text, or the text of a TOML date.
    String(String),
    List(Vec<Node>),
    /// A table, in the order of the text.
    Table(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

impl Entry {
    /// Whether it has no place in the text: the command line has added it.
    pub(crate) fn is_added(&self) -> bool {
        self.key_span.is_empty()
    }
}

impl Node {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Table(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::String(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Table(entries) => entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
        }
    }

    /// Adds an entry without a place in the text. Does nothing if this is not a table.
    pub(crate) fn insert(&mut self, key: &str, value: Value) {
        let node = Node { value, span: 0..0 };
        if let Value::Table(entries) = &mut self.value {
            entries.push(Entry { key: key.to_owned(), key_span: 0..0, node });
        }
    }

    /// Adds `node` at the path `keys`, with tables on the way. Returns `false` if there is a value already, or something
    /// else than a table on the way.
    pub(crate) fn put(&mut self, keys: &[String], node: Node) -> bool {
        let Value::Table(entries) = &mut self.value else { return false };
        let [key, rest @ ..] = keys else { return false };
        let place = entries.iter().position(|entry| entry.key == *key);
        match (place, rest) {
            (Some(_), []) => false,
            (Some(place), rest) => entries[place].node.put(rest, node),
            (None, []) => {
                entries.push(Entry { key: key.clone(), key_span: node.span.clone(), node });
                true
            }
            (None, rest) => {
                let mut table = Node { value: Value::Table(Vec::new()), span: node.span.clone() };
                let is_put = table.put(rest, node);
                entries.push(Entry { key: key.clone(), key_span: table.span.clone(), node: table });
                is_put
            }
        }
    }

    /// Puts `node` at the path `keys`, in place of the value there.
    pub(crate) fn replace(&mut self, keys: &[String], node: Node) -> bool {
        let [key, rest @ ..] = keys else {
            *self = node;
            return true;
        };
        match self.get_mut(key) {
            Some(inner) => inner.replace(rest, node),
            None => self.put(keys, node),
        }
    }

    pub(crate) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|entry| kept(&entry.key));
        }
    }

    /// The type in words for a message: "text", "a whole number", "a table" ...
    pub(crate) fn kind_name(&self) -> &'static str {
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

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(super) fn step(&self, segment: &Segment) -> Option<&Node> {
        match segment {
            Segment::Key(key) => self.get(key),
            Segment::Index(index) => self.items().get(*index),
        }
    }
}
