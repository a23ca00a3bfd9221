//! Documents: what an author wrote, as one tree with the place of every value in the text, from TOML or YAML.
//!
//! [`Document::parse`] reads, [`decode()`] turns a node into a typed value and reports **all** problems, and
//! [`Document::span`] finds the text of a [`Path`] when a problem is shown. A new format is one file that makes a [`Node`],
//! and a variant of [`SpecFormat`].

mod decode;
mod diagnostic;
mod fault;
mod problems;
mod reader;
mod scalar;
mod stub;
mod syntax;
mod text;
mod toml;
mod tree;
mod yaml;

pub(crate) use decode::{decode, decode_partly, fields_of};
pub(crate) use diagnostic::{Diagnostic, Path, Place, Severity};
pub(crate) use problems::{Mark, Problems, Reported};
pub(crate) use text::{Document, SpecFormat};
pub(crate) use tree::{Entry, Node, Value};
