//! JSON files: lines of objects (`.jsonl`) and lists of objects (`.json`), and the types of their columns.

mod inference;
pub(crate) mod lines;
pub(crate) mod list;
