//! Starlark: a bounded evaluator of programs in a subset of Starlark, the language of Bazel's build files.
//!
//! A program has no files, no network, no clock and no randomness: the same program with the same host returns the same
//! values. The [`Meter`] is asked before work is done and before memory is taken, so no single operation exceeds it. What
//! a program may do beside computing is decided by its [`Host`].
//!
//! The parts of Starlark that are left out: `load`, sets, bytes, integers beyond 64 bits and recursion. Added are
//! f-strings, `sum` and `is`, which compares as `==` does, since models write them.
//!
//! - `lexer`, `parser`, `expressions`: from the text to the tree of `syntax`
//! - `value`, `heap`: the values, and the memory that they take
//! - `host`: the host of a program
//! - `machine`, `comprehension`: statements, expressions and calls
//! - `operators`, `functions`, `strings`, `containers`, `text`, `characters`, `json`: what they compute

mod characters;
mod comprehension;
mod containers;
mod expressions;
mod functions;
mod heap;
mod host;
mod json;
mod lexer;
mod machine;
mod meter;
mod operators;
mod parser;
mod strings;
mod syntax;
mod text;
mod value;

pub(crate) use characters::Text;
pub(crate) use heap::Heap;
pub(crate) use host::{Arguments, Host};
pub(crate) use json::{from_json, to_json};
pub(crate) use machine::Machine;
pub(crate) use meter::{Limit, Meter, ProgramError, Stop, error};
pub(crate) use parser::parse;
pub(crate) use text::display;
pub(crate) use value::Value;

#[cfg(test)]
mod tests;
