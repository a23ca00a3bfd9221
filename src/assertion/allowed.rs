//! `type = "allowed"`: a column contains only certain values.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::RowRule;
use super::config::{Assertion, AssertionConfig, kind};
use super::context::TestContext;
use super::finding::{RowsView, count, shown};
use super::scalar::Scalar;
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::{Cell, Type};

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> =
    kind::<Allowed>("allowed", "A column holds nothing but these values.");

/// A column holds nothing but these values.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Allowed {
    /// The column; of a list, each item counts. Null is passed over.
    column: String,
    /// The values.
    values: Vec<Scalar>,
}

#[derive(Debug)]
struct Bound {
    column: usize,
    values: Vec<Cell>,
}

impl AssertionConfig for Allowed {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let at = context.path.key("values");
        if self.values.is_empty() {
            problems.error("bad-value", at.clone(), "`values` is empty");
        }
        let column = context.column("column", &self.column, problems)?;
        let item = context.kind(column).simple();
        let mut values = Vec::new();
        for (i, value) in self.values.iter().enumerate() {
            match value.cell(item) {
                Some(cell) => values.push(cell),
                None => {
                    let holds = Type::from(item).words();
                    let message = format!("`{}` holds {holds}, so it is never {value}", self.column);
                    problems.error("wrong-type", at.index(i), message);
                }
            }
        }
        let all = !values.is_empty() && values.len() == self.values.len();
        let words = format!("allowed values of {}", self.column);
        all.then(|| Assertion::new(words, vec![column], Bound { column, values }))
    }
}

impl Bound {
    fn allows_cell(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Null => true,
            Cell::List(items) => items.iter().all(|item| self.allows_cell(item)),
            value => self.values.contains(value),
        }
    }
}

impl RowRule for Bound {
    type State = ();

    fn violation(&self, rows: &RowsView<'_>, row: usize, (): &mut ()) -> Option<String> {
        let cell = rows.cell(self.column, row);
        (!self.allows_cell(&cell)).then(|| shown(&cell))
    }

    fn found(&self, violations: u64, _: u64, (): ()) -> String {
        match violations {
            0 => "nothing else".to_owned(),
            _ => format!("{} with another value", count(violations, "row")),
        }
    }
}
