//! `type = "share"`: how often a column holds a value, among the rows that have one.

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::Bounds;
use super::check::{Check, Rule};
use super::config::{Assertion, AssertionConfig, kind};
use super::context::TestContext;
use super::finding::{Finding, RowsView, rounded};
use super::scalar::Scalar;
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::{Cell, Type};

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> =
    kind::<Share>("share", "A column holds a value in a certain share of its rows.");

/// A column holds a value in a certain share of its rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Share {
    /// The column. Rows where it is null do not count.
    column: String,
    /// The value; of a column of booleans, `true` or `false`.
    value: Scalar,
    /// The least share of the rows, from 0 to 1.
    minimum: Option<f64>,
    /// The greatest share of the rows, from 0 to 1.
    maximum: Option<f64>,
}

#[derive(Debug)]
struct Bound {
    column: usize,
    value: Cell,
    bounds: Bounds<f64>,
}

impl AssertionConfig for Share {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let before = problems.mark();
        for (key, share) in [("minimum", self.minimum), ("maximum", self.maximum)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                let message = format!("`{key}` is a share, from 0 to 1");
                problems.error("bad-value", context.path.key(key), message);
            }
        }
        let in_range = problems.clean_since(before);
        let bounds = in_range.then(|| Bounds::new(context, (self.minimum, self.maximum), "both", problems)).flatten();
        let column = context.column("column", &self.column, problems)?;
        let kind = context.kind(column);
        if matches!(kind, Type::List(_)) {
            context.unfit(column, "single values", problems);
            return None;
        }
        let Some(value) = self.value.cell(kind.simple()) else {
            let message = format!("`{}` holds {}, so it is never {}", self.column, kind.words(), self.value);
            problems.error("wrong-type", context.path.key("value"), message);
            return None;
        };
        let bounds = bounds?;
        let words = format!("share of {} = {} {}", self.column, self.value, bounds.words());
        Some(Assertion::new(words, vec![column], Bound { column, value, bounds }))
    }
}

impl Rule for Bound {
    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Count { bound: self, equal: 0, of: 0 })
    }
}

struct Count<'a> {
    bound: &'a Bound,
    equal: u64,
    of: u64,
}

impl Check for Count<'_> {
    fn take(&mut self, rows: &RowsView<'_>) {
        let column = self.bound.column;
        self.of += (rows.len() - rows.array(column).null_count()) as u64;
        self.equal += (0..rows.len()).filter(|row| rows.cell(column, *row) == self.bound.value).count() as u64;
    }

    fn finding(self: Box<Self>, _: u64) -> Finding {
        if self.of == 0 {
            return Finding::whole(false, "no row has a value".to_owned());
        }
        let share = self.equal as f64 / self.of as f64;
        let found = format!("{} ({} of {})", rounded(share), self.equal, self.of);
        Finding::whole(self.bound.bounds.hold(share), found)
    }
}
