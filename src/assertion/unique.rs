//! `type = "unique"`: no two rows have the same values in some columns.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::RowRule;
use super::config::{Assertion, AssertionConfig, kind};
use super::context::TestContext;
use super::finding::{RowsView, count, shown};
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::Cell;

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> =
    kind::<Unique>("unique", "No two rows have the same values in these columns.");

/// No two rows have the same values in these columns.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unique {
    /// The column.
    column: Option<String>,
    /// Several columns, whose values together must be unique. A row where one of them is null is passed over.
    columns: Option<Vec<String>>,
}

#[derive(Debug)]
struct Bound(Vec<usize>);

impl AssertionConfig for Unique {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let columns = context.columns(self.column.as_deref(), self.columns.as_deref(), problems)?;
        let names = columns.iter().map(|column| context.name(*column)).collect::<Vec<_>>().join(", ");
        Some(Assertion::new(format!("unique {names}"), columns.clone(), Bound(columns)))
    }
}

impl RowRule for Bound {
    /// The values so far, as 128-bit hashes. Only this state grows with the rows, by 20 to 50 bytes per row.
    type State = HashSet<[u8; 16]>;

    fn violation(&self, rows: &RowsView<'_>, row: usize, seen: &mut Self::State) -> Option<String> {
        let cells: Vec<Cell> = self.0.iter().map(|column| rows.cell(*column, row)).collect();
        let again = !cells.contains(&Cell::Null) && !seen.insert(hash_of(&cells));
        again.then(|| cells.iter().map(shown).collect::<Vec<_>>().join(", "))
    }

    fn found(&self, violations: u64, _: u64, _: Self::State) -> String {
        match violations {
            0 => "no value twice".to_owned(),
            1 => "1 row repeats an earlier one".to_owned(),
            _ => format!("{} repeat an earlier one", count(violations, "row")),
        }
    }
}

fn hash_of(cells: &[Cell]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    cells.iter().for_each(|cell| add(&mut hasher, cell));
    let mut hash = [0; 16];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// Adds a cell; different cells add different bytes.
fn add(hasher: &mut blake3::Hasher, cell: &Cell) {
    match cell {
        Cell::Null => drop(hasher.update(b"0")),
        Cell::Boolean(b) => drop(hasher.update(&[b'b', u8::from(*b)])),
        Cell::Integer(i) => drop(hasher.update(b"i").update(&i.to_le_bytes())),
        // Adding 0.0 turns -0.0 into 0.0, since the two are equal.
        Cell::Number(n) => drop(hasher.update(b"n").update(&(n + 0.0).to_le_bytes())),
        Cell::Text(t) => drop(hasher.update(b"t").update(&(t.len() as u64).to_le_bytes()).update(t.as_bytes())),
        Cell::List(items) => {
            hasher.update(b"l").update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| add(hasher, item));
        }
    }
}
