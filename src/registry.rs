//! Registries: the static tables `SOURCES`, `STAGES`, `TRANSFORMS`, `PROVIDERS` and `ASSERTIONS` consist of [`Kind`]s.
//!
//! A kind is a name, a sentence, a JSON Schema and a way to decode its part of a spec. The spec parser, the JSON
//! Schema, `validate` and the contract tests read these tables, so that adding a kind is one file, one `mod` line and
//! one row.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::document::{self, Node, Path, Problems};

/// One row of a registry: a value of `type = "..."`.
pub(crate) struct Kind<T: 'static> {
    pub(crate) name: &'static str,
    /// A description of the kind in one sentence, for the docs.
    pub(crate) about: &'static str,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) fields: fn() -> &'static [&'static str],
    /// Decodes the kind's table and reports every problem. Returns `None` if one of them is an error.
    pub(crate) decode: fn(&Node, &Path, &mut Problems) -> Option<T>,
}

impl<T> Kind<T> {
    /// Returns the row for a kind with the fields of `C`.
    pub(crate) const fn new<C>(name: &'static str, about: &'static str) -> Self
    where
        C: DeserializeOwned + JsonSchema,
        T: From<C>,
    {
        Kind::read_by::<C>(name, about, |node, path, problems| document::decode::<C>(node, path, problems).map(T::from))
    }

    /// Returns the row for a kind with the fields of `C`, which `decode` reads.
    pub(crate) const fn read_by<C: DeserializeOwned + JsonSchema>(
        name: &'static str,
        about: &'static str,
        decode: fn(&Node, &Path, &mut Problems) -> Option<T>,
    ) -> Self {
        Kind { name, about, schema: C::json_schema, fields: document::fields_of::<C>, decode }
    }
}
