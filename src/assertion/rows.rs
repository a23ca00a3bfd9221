//! `type = "rows"`: how many rows the table has.

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::Bounds;
use super::check::{Check, Rule};
use super::config::{Assertion, AssertionConfig, kind};
use super::context::TestContext;
use super::finding::{Finding, RowsView, count};
use crate::document::Problems;
use crate::registry::Kind;

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> = kind::<Rows>("rows", "The table has a certain number of rows.");

/// The table has a certain number of rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// The fewest rows.
    minimum: Option<u64>,
    /// The most rows.
    maximum: Option<u64>,
    /// The exact number of rows, instead of `minimum` and `maximum`.
    equals: Option<u64>,
}

impl AssertionConfig for Rows {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        if self.equals.is_some() && self.minimum.or(self.maximum).is_some() {
            let message = "a test has `equals`, or `minimum` and `maximum`, not both";
            problems.error("bad-value", context.path.key("equals"), message);
            return None;
        }
        let (minimum, maximum) = (self.equals.or(self.minimum), self.equals.or(self.maximum));
        let bounds = Bounds::new(context, (minimum, maximum), "`equals`", problems)?;
        let words = self.equals.map_or_else(|| format!("{} rows", bounds.words()), |rows| count(rows, "row"));
        Some(Assertion::new(words, Vec::new(), bounds))
    }
}

impl Rule for Bounds<u64> {
    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(self)
    }
}

impl Check for &Bounds<u64> {
    fn take(&mut self, _: &RowsView<'_>) {}

    fn finding(self: Box<Self>, rows: u64) -> Finding {
        Finding::whole(self.hold(rows), count(rows, "row"))
    }
}
