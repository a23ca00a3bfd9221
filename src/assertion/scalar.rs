//! Scalars: compares values of a spec with cells.

use std::fmt;

use schemars::json_schema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::finding::shown;
use crate::document::{inline_schema, unexpected};
use crate::table::{Cell, Simple};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar(Cell);

impl Scalar {
    /// Returns the cell in a column of type `kind` that equals this scalar, if one exists.
    pub(crate) fn cell(&self, kind: Simple) -> Option<Cell> {
        match (&self.0, kind) {
            (Cell::Integer(i), Simple::Number) => Some(Cell::Number(*i as f64)),
            (cell, kind) => (cell.kind() == kind.into()).then(|| cell.clone()),
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
        match Value::deserialize(deserializer)? {
            other @ (Value::Null | Value::Array(_) | Value::Object(_)) => {
                Err(D::Error::invalid_type(unexpected(&other), &"text, a number, true or false"))
            }
            scalar => Ok(Scalar(Cell::of_json(scalar))),
        }
    }
}

inline_schema! {
    Scalar: |_| json_schema!({ "type": ["string", "number", "boolean"] });
}
