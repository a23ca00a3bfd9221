//! The context of a test: its table, and the columns, bounds and values that the test names.

use std::fmt::{self, Display};

use arrow_schema::Schema;
use schemars::json_schema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::finding::shown;
use crate::document::{Path, Problems, inline_schema, unexpected};
use crate::table::{self, Cell, Simple, Type};

pub(crate) struct TestContext<'a> {
    pub(crate) path: &'a Path,
    pub(crate) table: &'a str,
    pub(crate) schema: &'a Schema,
    pub(crate) stages: &'a [StageErrors],
}

#[derive(Clone, Debug)]
pub(crate) struct StageErrors {
    pub(crate) name: String,
    pub(crate) errors: Vec<usize>,
}

impl TestContext<'_> {
    pub(super) fn column(&self, field: &str, name: &str, problems: &mut Problems) -> Option<usize> {
        self.column_at(self.path.key(field), name, problems)
    }

    /// Returns the columns named in the fields `column` and `columns`. One of the fields is required.
    pub(super) fn columns(
        &self,
        one: Option<&str>,
        many: Option<&[String]>,
        problems: &mut Problems,
    ) -> Option<Vec<usize>> {
        match (one, many) {
            (Some(name), None) => self.column("column", name, problems).map(|column| vec![column]),
            (None, Some(names)) => {
                let at = self.path.key("columns");
                if names.is_empty() {
                    problems.error("bad-value", at, "`columns` is empty");
                    return None;
                }
                let found = names.iter().enumerate().map(|(i, name)| self.column_at(at.index(i), name, problems));
                found.collect::<Vec<_>>().into_iter().collect()
            }
            (Some(_), Some(_)) => {
                let message = "a test has `column` or `columns`, not both";
                problems.error("bad-value", self.path.key("columns"), message);
                None
            }
            (None, None) => {
                problems
                    .error("missing-field", self.path.clone(), "`column` is missing")
                    .help("name a column in `column`, or several in `columns`");
                None
            }
        }
    }

    fn column_at(&self, at: Path, name: &str, problems: &mut Problems) -> Option<usize> {
        table::column(self.schema, name, &format!("the table `{}`", self.table), at, problems)
    }

    pub(super) fn name(&self, column: usize) -> &str {
        self.schema.field(column).name()
    }

    pub(super) fn kind(&self, column: usize) -> Type {
        Type::of_cells(self.schema.field(column).data_type())
    }

    pub(super) fn unfit(&self, column: usize, needs: &str, problems: &mut Problems) {
        let (name, holds) = (self.name(column), self.kind(column).words());
        let message = format!("`{name}` holds {holds}, and this test is for {needs}");
        problems.error("wrong-type", self.path.key("column"), message);
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<N> {
    minimum: Option<N>,
    maximum: Option<N>,
}

impl<N: PartialOrd + Display + Copy> Bounds<N> {
    /// Returns the bounds. Reports missing and contradictory bounds. `or` is an alternative to bounds.
    pub(crate) fn new(
        context: &TestContext<'_>,
        (minimum, maximum): (Option<N>, Option<N>),
        or: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        if minimum.is_none() && maximum.is_none() {
            problems
                .error("missing-field", context.path.clone(), "`minimum` is missing")
                .help(format!("write `minimum`, `maximum` or {or}"));
            return None;
        }
        if minimum.zip(maximum).is_some_and(|(least, most)| least > most) {
            let message = "`minimum` must not be more than `maximum`";
            problems.error("bad-value", context.path.key("minimum"), message);
            return None;
        }
        Some(Bounds { minimum, maximum })
    }

    /// Whether `value` is within the bounds, both included.
    pub(crate) fn hold(&self, value: N) -> bool {
        self.minimum.is_none_or(|least| least <= value) && self.maximum.is_none_or(|most| value <= most)
    }

    pub(crate) fn words(&self) -> String {
        match (self.minimum, self.maximum) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "anything".to_owned(),
        }
    }
}

/// A value of a spec that is compared with cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar(Cell);

impl Scalar {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.0, Cell::Text(text) if text.is_empty())
    }

    /// Returns the cell in a column of type `kind` that equals this scalar, if one exists.
    pub(crate) fn cell(&self, kind: Simple) -> Option<Cell> {
        match (&self.0, kind) {
            (Cell::Integer(i), Simple::Number) => Some(Cell::Number(*i as f64)),
            (cell, kind) => (cell.kind() == kind.into()).then(|| cell.clone()),
        }
    }
}

impl Display for Scalar {
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
