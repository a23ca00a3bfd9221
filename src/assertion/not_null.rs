//! `type = "not_null"`: every row has a value in some columns.

use schemars::JsonSchema;
use serde::Deserialize;

use super::finding::{Against, Finding, View, count};
use super::{Assertion, AssertionConfig, Check, Site};
use crate::document::{self, Problems};
use crate::registry::Kind;

/// The row of the registry.
pub const KIND: Kind<Box<dyn AssertionConfig>> = Kind {
    name: "not_null",
    about: "Every row has a value in these columns.",
    schema: |generator| generator.subschema_for::<NotNull>(),
    fields: document::fields_of::<NotNull>,
    decode: |node, path, problems| {
        document::decode::<NotNull>(node, path, problems).map(|a| Box::new(a) as Box<dyn AssertionConfig>)
    },
};

/// Every row has a value in these columns.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NotNull {
    /// The column.
    column: Option<String>,
    /// Several columns.
    columns: Option<Vec<String>>,
}

#[derive(Debug)]
struct Bound {
    columns: Vec<(usize, String)>,
}

impl AssertionConfig for NotNull {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>> {
        let columns = site.columns(self.column.as_deref(), self.columns.as_deref(), problems)?;
        let columns = columns.into_iter().map(|column| (column, site.name(column).to_owned())).collect();
        Some(Box::new(Bound { columns }))
    }
}

impl Assertion for Bound {
    fn words(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(_, name)| name.as_str()).collect();
        format!("no null in {}", names.join(", "))
    }

    fn reads(&self) -> Vec<usize> {
        self.columns.iter().map(|(column, _)| *column).collect()
    }

    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Nulls { bound: self, nulls: Against::default() })
    }
}

struct Nulls<'a> {
    bound: &'a Bound,
    nulls: Against,
}

impl Check for Nulls<'_> {
    fn take(&mut self, rows: &View<'_>) {
        for row in 0..rows.len() {
            if let Some((_, name)) = self.bound.columns.iter().find(|(column, _)| rows.array(*column).is_null(row)) {
                self.nulls.note(rows, row, || format!("{name} is null"));
            }
        }
    }

    fn finding(self: Box<Self>, rows: u64) -> Finding {
        let nulls = self.nulls.rows;
        let found = match nulls {
            0 => "no null".to_owned(),
            _ => format!("{} of {} with a null", nulls, count(rows, "row")),
        };
        self.nulls.finding(nulls == 0, found)
    }
}
