//! The limit on failed rows of a table.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MaxFailed {
    Rows(u64),
    /// A share of the rows, from 0 to 1.
    Share(f64),
}

impl MaxFailed {
    pub(crate) fn of(self, rows: u64) -> u64 {
        match self {
            MaxFailed::Rows(n) => n,
            // A share such as 29 % has no exact binary representation.
            MaxFailed::Share(share) => (share * rows as f64 + 1e-6).floor() as u64,
        }
    }
}

impl<'de> Deserialize<'de> for MaxFailed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = MaxFailed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of rows or a share such as \"5%\"")
            }

            fn visit_u64<E: serde::de::Error>(self, rows: u64) -> Result<MaxFailed, E> {
                Ok(MaxFailed::Rows(rows))
            }

            fn visit_i64<E: serde::de::Error>(self, rows: i64) -> Result<MaxFailed, E> {
                u64::try_from(rows).map(MaxFailed::Rows).map_err(|_| E::custom("a number of rows is 0 or more"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MaxFailed, E> {
                let share = text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
                match share {
                    Some(share) if (0.0..=100.0).contains(&share) => Ok(MaxFailed::Share(share / 100.0)),
                    _ => Err(E::custom(format!("\"{text}\" is not a share such as \"5%\""))),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for MaxFailed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaxFailed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? *%$" },
        ] })
    }
}
