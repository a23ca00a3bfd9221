//! Scalars: compares values of a spec with cells.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::finding::shown;
use crate::table::{Cell, Simple};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar(Cell);

impl Scalar {
    /// Returns the cell in a column of type `kind` that equals this scalar, if one exists.
    pub(crate) fn cell(&self, kind: Simple) -> Option<Cell> {
        match (&self.0, kind) {
            (Cell::Boolean(_), Simple::Boolean)
            | (Cell::Integer(_), Simple::Integer)
            | (Cell::Text(_), Simple::Text) => Some(self.0.clone()),
            (Cell::Number(_), Simple::Number) => Some(self.0.clone()),
            (Cell::Integer(i), Simple::Number) => Some(Cell::Number(*i as f64)),
            _ => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true or false")
            }

            fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<Scalar, E> {
                Ok(Scalar(Cell::Boolean(truth)))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(Cell::Integer(number)))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Scalar, E> {
                let number = i64::try_from(number).map_err(|_| E::custom("this number is too large"))?;
                Ok(Scalar(Cell::Integer(number)))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(Cell::Number(number)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(Cell::Text(text.to_owned())))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}
