//! The columns that may hold the value of a key. The first one that is not empty counts.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::document::{Path, Problems};
use crate::stage::ask::BindContext;
use crate::table;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Columns {
    One(String),
    Several(Vec<String>),
}

impl Columns {
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Columns::One(name) => std::slice::from_ref(name),
            Columns::Several(names) => names,
        }
    }

    /// Returns the columns that exist, and reports the others.
    pub(crate) fn find(&self, context: &BindContext<'_>, at: &Path, problems: &mut Problems) -> Vec<usize> {
        let mut found = Vec::new();
        if self.names().is_empty() {
            let problem = problems.error("bad-value", at.clone(), "`column` is empty");
            problem.help("name the columns that may hold the value, or leave it out");
        }
        for (i, name) in self.names().iter().enumerate() {
            let at = if matches!(self, Columns::One(_)) { at.clone() } else { at.index(i) };
            let Some(column) = table::column(context.input, name, "the input", at.clone(), problems) else { continue };
            if found.contains(&column) {
                problems.error("bad-value", at, format!("`{name}` is listed twice in `column`"));
            } else {
                found.push(column);
            }
        }
        found
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column or a list of names")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Columns, E> {
                Ok(Columns::One(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Columns, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Columns::Several)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Columns {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Columns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true },
        ] })
    }
}
