//! `type = "not_null"`: every row has a value in some columns.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::RowRule;
use super::config::{Assertion, AssertionConfig, kind};
use super::context::TestContext;
use super::finding::{RowsView, count};
use crate::document::Problems;
use crate::registry::Kind;

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> =
    kind::<NotNull>("not_null", "Every row has a value in these columns.");

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
struct Bound(Vec<(usize, String)>);

impl AssertionConfig for NotNull {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let columns = context.columns(self.column.as_deref(), self.columns.as_deref(), problems)?;
        let names: Vec<&str> = columns.iter().map(|column| context.name(*column)).collect();
        let words = format!("no null in {}", names.join(", "));
        let named = columns.iter().copied().zip(names.into_iter().map(str::to_owned)).collect();
        Some(Assertion::new(words, columns, Bound(named)))
    }
}

impl RowRule for Bound {
    type State = ();

    fn violation(&self, rows: &RowsView<'_>, row: usize, (): &mut ()) -> Option<String> {
        let null = self.0.iter().find(|(column, _)| rows.array(*column).is_null(row));
        null.map(|(_, name)| format!("{name} is null"))
    }

    fn found(&self, violations: u64, rows: u64, (): ()) -> String {
        match violations {
            0 => "no null".to_owned(),
            _ => format!("{violations} of {} with a null", count(rows, "row")),
        }
    }
}
