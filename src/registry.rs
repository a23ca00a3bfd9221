//! Registries: the static tables `SOURCES`, `STAGES`, `RESHAPES`, `PROVIDERS` and `ASSERTIONS` are made of [`Kind`]s.
//!
//! A kind is a name, a sentence, a JSON Schema and a way to decode its part of a spec. The spec parser, the JSON Schema,
//! `validate` and the contract tests read these tables, so that adding a kind is one file, one `mod` line and one row.

use schemars::{Schema, SchemaGenerator};

use crate::document::{Diagnostic, Node, Path};
use crate::name::nearest;

/// One row of a registry: what `type = "..."` can say.
pub struct Kind<T: 'static> {
    /// What the spec writes.
    pub name: &'static str,
    /// What it is, in one sentence, for the docs.
    pub about: &'static str,
    /// The JSON Schema of its fields (without `type`).
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// The names of its fields (without `type`).
    pub fields: fn() -> &'static [&'static str],
    /// Decodes its table; reports every problem, and gives nothing if one of them is an error.
    pub decode: fn(&Node, &Path, &mut Vec<Diagnostic>) -> Option<T>,
}

/// The kind called `name`; the error is a diagnostic at `path` with the near name, of these kinds or of `others`.
pub fn find<T>(
    kinds: &'static [Kind<T>],
    others: impl Iterator<Item = &'static str>,
    name: &str,
    what: &str,
    path: &Path,
) -> Result<&'static Kind<T>, Diagnostic> {
    kinds.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).chain(others).collect();
        let problem = Diagnostic::error("unknown-type", path.clone(), format!("there is no {what} type `{name}`"));
        match nearest(name, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("the {what} types are {}", crate::name::listed(names))),
        }
    })
}
