//! Documents: what an author wrote, as one tree with the place of every value in the text, from TOML or YAML alike.
//!
//! [`Document::parse`] reads, [`decode`] turns a node into a typed value and reports **all** its problems, and
//! [`Document::span`] finds the text of a [`Path`] when a problem is shown. Knows nothing of ours.
//! A new format is one file that makes a [`Node`].

mod decode;
mod diagnostic;
mod toml;
mod yaml;

use std::ops::Range;

pub use decode::{decode, fields_of};
pub use diagnostic::{Diagnostic, Path, Place, Segment, Severity};

/// A value of a document with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What stands there.
    pub value: Value,
    /// The bytes of the text that it covers.
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
    /// Text.
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
