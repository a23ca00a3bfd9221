//! `type = "between"`: the numbers of a column are within bounds.

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::Bounds;
use super::check::RowRule;
use super::config::{Assertion, AssertionConfig, kind};
use super::context::TestContext;
use super::finding::{RowsView, count, shown};
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::Cell;

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> =
    kind::<Between>("between", "The numbers of a column are within bounds.");

/// The numbers of a column are within bounds.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Between {
    /// The column, of numbers. Null is passed over.
    column: String,
    /// The least number.
    minimum: Option<f64>,
    /// The greatest number.
    maximum: Option<f64>,
}

#[derive(Debug)]
struct Bound {
    column: usize,
    bounds: Bounds<f64>,
}

impl AssertionConfig for Between {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let bounds = Bounds::new(context, (self.minimum, self.maximum), "both", problems);
        let column = context.column("column", &self.column, problems)?;
        if !context.kind(column).is_numeric() {
            context.unfit(column, "numbers", problems);
            return None;
        }
        let bounds = bounds?;
        Some(Assertion::new(format!("{} {}", self.column, bounds.words()), vec![column], Bound { column, bounds }))
    }
}

impl RowRule for Bound {
    type State = Option<(f64, f64)>;

    fn violation(&self, rows: &RowsView<'_>, row: usize, range: &mut Self::State) -> Option<String> {
        let cell = rows.cell(self.column, row);
        let number = match &cell {
            Cell::Integer(i) => *i as f64,
            Cell::Number(n) => *n,
            _ => return None,
        };
        let (least, most) = range.unwrap_or((number, number));
        *range = Some((least.min(number), most.max(number)));
        (!self.bounds.hold(number)).then(|| shown(&cell))
    }

    fn found(&self, violations: u64, _: u64, range: Self::State) -> String {
        let range = match range {
            Some((least, most)) => format!("from {least} to {most}"),
            None => "no number".to_owned(),
        };
        match violations {
            0 => range,
            _ => format!("{} outside, {range}", count(violations, "row")),
        }
    }
}
