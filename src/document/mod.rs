//! Documents: parses TOML or YAML into one tree, with the place of every value in the text.
//!
//! [`Document::parse`] parses, [`decode()`] turns a node into a typed value and reports **all** problems, and
//! [`Document::span`] finds the text of a [`Path`] when a problem is shown. To add a format, write one file that makes
//! a [`Node`], and add a variant to [`SpecFormat`].

mod decode;
mod diagnostic;
mod edit;
mod fault;
mod places;
mod problems;
mod reader;
mod scalar;
mod schema;
mod text;
mod toml;
mod tree;
mod yaml;

pub(crate) use decode::{decode, decode_partly, fields_of};
pub(crate) use diagnostic::{Diagnostic, Path, Severity, SourcePosition};
pub(crate) use edit::EditError;
pub(crate) use fault::unexpected;
pub(crate) use problems::{Mark, Problems, Reported};
pub(crate) use schema::inline_schema;
pub(crate) use text::{Document, SpecFormat, Unreadable};
pub(crate) use tree::{Entry, Node, Value};
