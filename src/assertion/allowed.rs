//! `type = "allowed"`: a column holds nothing but certain values.

use schemars::JsonSchema;
use serde::Deserialize;

use super::finding::{Against, Finding, View, count, shown};
use super::scalar::Scalar;
use super::{Assertion, AssertionConfig, Check, Site};
use crate::document::{self, Problems};
use crate::registry::Kind;
use crate::table::Cell;

/// The row of the registry.
pub const KIND: Kind<Box<dyn AssertionConfig>> = Kind {
    name: "allowed",
    about: "A column holds nothing but these values.",
    schema: |generator| generator.subschema_for::<Allowed>(),
    fields: document::fields_of::<Allowed>,
    decode: |node, path, problems| {
        document::decode::<Allowed>(node, path, problems).map(|a| Box::new(a) as Box<dyn AssertionConfig>)
    },
};

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
    name: String,
    values: Vec<Cell>,
}

impl AssertionConfig for Allowed {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>> {
        let at = site.path.key("values");
        if self.values.is_empty() {
            problems.error("bad-value", at.clone(), "`values` is empty");
        }
        let column = site.column("column", &self.column, problems)?;
        let (holds, _) = site.holds(column);
        let mut values = Vec::new();
        for (i, value) in self.values.iter().enumerate() {
            match value.cell(holds) {
                Some(cell) => values.push(cell),
                None => {
                    let message = format!("`{}` holds {}, so it is never {value}", self.column, holds.words());
                    problems.error("wrong-type", at.index(i), message);
                }
            }
        }
        let all = !values.is_empty() && values.len() == self.values.len();
        all.then(|| Box::new(Bound { column, name: self.column.clone(), values }) as Box<dyn Assertion>)
    }
}

impl Assertion for Bound {
    fn words(&self) -> String {
        format!("allowed values of {}", self.name)
    }

    fn reads(&self) -> Vec<usize> {
        vec![self.column]
    }

    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Others { bound: self, others: Against::default() })
    }
}

impl Bound {
    fn allows(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Null => true,
            Cell::List(items) => items.iter().all(|item| self.allows(item)),
            value => self.values.contains(value),
        }
    }
}

struct Others<'a> {
    bound: &'a Bound,
    others: Against,
}

impl Check for Others<'_> {
    fn take(&mut self, rows: &View<'_>) {
        for row in 0..rows.len() {
            let cell = rows.cell(self.bound.column, row);
            if !self.bound.allows(&cell) {
                self.others.note(rows, row, || shown(&cell));
            }
        }
    }

    fn finding(self: Box<Self>, _: u64) -> Finding {
        let others = self.others.rows;
        let found = match others {
            0 => "nothing else".to_owned(),
            _ => format!("{} with another value", count(others, "row")),
        };
        self.others.finding(others == 0, found)
    }
}
