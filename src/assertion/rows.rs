//! `type = "rows"`: how many rows the table has.

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::Bounds;
use super::finding::{Finding, View, count};
use super::{Assertion, AssertionConfig, Check, Site};
use crate::document::{self, Problems};
use crate::registry::Kind;

/// The row of the registry.
pub const KIND: Kind<Box<dyn AssertionConfig>> = Kind {
    name: "rows",
    about: "The table has so many rows.",
    schema: |generator| generator.subschema_for::<Rows>(),
    fields: document::fields_of::<Rows>,
    decode: |node, path, problems| {
        document::decode::<Rows>(node, path, problems).map(|a| Box::new(a) as Box<dyn AssertionConfig>)
    },
};

/// The table has so many rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// The fewest rows.
    minimum: Option<u64>,
    /// The most rows.
    maximum: Option<u64>,
    /// Exactly so many rows, instead of `minimum` and `maximum`.
    equals: Option<u64>,
}

/// How many rows a table may have.
#[derive(Debug)]
enum Bound {
    Equals(u64),
    Within(Bounds<u64>),
}

impl AssertionConfig for Rows {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>> {
        let bound = match (self.equals, self.minimum.or(self.maximum)) {
            (Some(rows), None) => Bound::Equals(rows),
            (None, _) => Bound::Within(Bounds::new(site, (self.minimum, self.maximum), "`equals`", problems)?),
            (Some(_), Some(_)) => {
                let message = "a test has `equals`, or `minimum` and `maximum`, not both";
                problems.error("bad-value", site.path.key("equals"), message);
                return None;
            }
        };
        Some(Box::new(bound))
    }
}

impl Assertion for Bound {
    fn words(&self) -> String {
        match self {
            Bound::Equals(rows) => count(*rows, "row"),
            Bound::Within(bounds) => format!("{} rows", bounds.words()),
        }
    }

    fn reads(&self) -> Vec<usize> {
        Vec::new()
    }

    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(self)
    }
}

impl Check for &Bound {
    fn take(&mut self, _: &View<'_>) {}

    fn finding(self: Box<Self>, rows: u64) -> Finding {
        let holds = match **self {
            Bound::Equals(wanted) => rows == wanted,
            Bound::Within(bounds) => bounds.hold(rows),
        };
        Finding::whole(holds, count(rows, "row"))
    }
}
