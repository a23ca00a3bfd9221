//! `type = "share"`: how often a column holds a value, among the rows where it holds any.

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::Bounds;
use super::finding::{Finding, View, rounded};
use super::scalar::Scalar;
use super::{Assertion, AssertionConfig, Check, Site};
use crate::document::{self, Problems};
use crate::registry::Kind;
use crate::table::Cell;

/// The row of the registry.
pub const KIND: Kind<Box<dyn AssertionConfig>> = Kind {
    name: "share",
    about: "A column holds a value in such a share of its rows.",
    schema: |generator| generator.subschema_for::<Share>(),
    fields: document::fields_of::<Share>,
    decode: |node, path, problems| {
        document::decode::<Share>(node, path, problems).map(|a| Box::new(a) as Box<dyn AssertionConfig>)
    },
};

/// A column holds a value in such a share of its rows.
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
    name: String,
    value: Cell,
    told: String,
    bounds: Bounds<f64>,
}

impl AssertionConfig for Share {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>> {
        let before = problems.mark();
        for (key, share) in [("minimum", self.minimum), ("maximum", self.maximum)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                let message = format!("`{key}` is a share, from 0 to 1");
                problems.error("bad-value", site.path.key(key), message);
            }
        }
        let in_range = problems.clean_since(before);
        let bounds = in_range.then(|| Bounds::new(site, (self.minimum, self.maximum), "both", problems)).flatten();
        let column = site.column("column", &self.column, problems)?;
        let (holds, list) = site.holds(column);
        if list {
            site.unfit(column, "single values", problems);
            return None;
        }
        let Some(value) = self.value.cell(holds) else {
            let message = format!("`{}` holds {}, so it is never {}", self.column, holds.words(), self.value);
            problems.error("wrong-type", site.path.key("value"), message);
            return None;
        };
        let told = self.value.to_string();
        Some(Box::new(Bound { column, name: self.column.clone(), value, told, bounds: bounds? }))
    }
}

impl Assertion for Bound {
    fn words(&self) -> String {
        format!("share of {} = {} {}", self.name, self.told, self.bounds.words())
    }

    fn reads(&self) -> Vec<usize> {
        vec![self.column]
    }

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
    fn take(&mut self, rows: &View<'_>) {
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
