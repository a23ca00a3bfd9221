//! `type = "between"`: the numbers of a column are within bounds.

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds::Bounds;
use super::finding::{Against, Finding, View, count, shown};
use super::{Assertion, AssertionConfig, Check, Site};
use crate::document::{self, Problems};
use crate::registry::Kind;
use crate::table::Cell;

/// The row of the registry.
pub const KIND: Kind<Box<dyn AssertionConfig>> = Kind {
    name: "between",
    about: "The numbers of a column are within bounds.",
    schema: |generator| generator.subschema_for::<Between>(),
    fields: document::fields_of::<Between>,
    decode: |node, path, problems| {
        document::decode::<Between>(node, path, problems).map(|a| Box::new(a) as Box<dyn AssertionConfig>)
    },
};

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
    name: String,
    bounds: Bounds<f64>,
}

impl AssertionConfig for Between {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>> {
        let bounds = Bounds::new(site, (self.minimum, self.maximum), "both", problems);
        let column = site.column("column", &self.column, problems)?;
        let (holds, list) = site.holds(column);
        if list || !holds.is_numeric() {
            site.unfit(column, "numbers", problems);
            return None;
        }
        Some(Box::new(Bound { column, name: self.column.clone(), bounds: bounds? }))
    }
}

impl Assertion for Bound {
    fn words(&self) -> String {
        format!("{} {}", self.name, self.bounds.words())
    }

    fn reads(&self) -> Vec<usize> {
        vec![self.column]
    }

    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Outside { bound: self, outside: Against::default(), range: None })
    }
}

struct Outside<'a> {
    bound: &'a Bound,
    outside: Against,
    /// The least and the greatest number so far.
    range: Option<(f64, f64)>,
}

impl Check for Outside<'_> {
    fn take(&mut self, rows: &View<'_>) {
        for row in 0..rows.len() {
            let cell = rows.cell(self.bound.column, row);
            let number = match &cell {
                Cell::Integer(i) => *i as f64,
                Cell::Number(n) => *n,
                _ => continue,
            };
            let (least, most) = self.range.unwrap_or((number, number));
            self.range = Some((least.min(number), most.max(number)));
            if !self.bound.bounds.hold(number) {
                self.outside.note(rows, row, || shown(&cell));
            }
        }
    }

    fn finding(self: Box<Self>, _: u64) -> Finding {
        let outside = self.outside.rows;
        let range = match self.range {
            Some((least, most)) => format!("from {least} to {most}"),
            None => "no number".to_owned(),
        };
        let found = match outside {
            0 => range,
            _ => format!("{} outside, {range}", count(outside, "row")),
        };
        self.outside.finding(outside == 0, found)
    }
}
