//! `type = "unique"`: no two rows have the same values in some columns.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::finding::{Against, Finding, View, count, shown};
use super::{Assertion, AssertionConfig, Check, Site};
use crate::document::{self, Problems};
use crate::registry::Kind;
use crate::table::Cell;

/// The row of the registry.
pub const KIND: Kind<Box<dyn AssertionConfig>> = Kind {
    name: "unique",
    about: "No two rows have the same values in these columns.",
    schema: |generator| generator.subschema_for::<Unique>(),
    fields: document::fields_of::<Unique>,
    decode: |node, path, problems| {
        document::decode::<Unique>(node, path, problems).map(|a| Box::new(a) as Box<dyn AssertionConfig>)
    },
};

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
struct Bound {
    columns: Vec<usize>,
    names: String,
}

impl AssertionConfig for Unique {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>> {
        let columns = site.columns(self.column.as_deref(), self.columns.as_deref(), problems)?;
        let names = columns.iter().map(|column| site.name(*column)).collect::<Vec<_>>().join(", ");
        Some(Box::new(Bound { columns, names }))
    }
}

impl Assertion for Bound {
    fn words(&self) -> String {
        format!("unique {}", self.names)
    }

    fn reads(&self) -> Vec<usize> {
        self.columns.clone()
    }

    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Seen { bound: self, seen: HashSet::new(), again: Against::default() })
    }
}

/// The values so far, by 128 bits of a hash: the only check whose memory grows with the rows, by some 20 to 50 bytes each.
struct Seen<'a> {
    bound: &'a Bound,
    seen: HashSet<[u8; 16]>,
    again: Against,
}

impl Check for Seen<'_> {
    fn take(&mut self, rows: &View<'_>) {
        for row in 0..rows.len() {
            let cells: Vec<Cell> = self.bound.columns.iter().map(|column| rows.cell(*column, row)).collect();
            if !cells.contains(&Cell::Null) && !self.seen.insert(hash_of(&cells)) {
                self.again.note(rows, row, || cells.iter().map(shown).collect::<Vec<_>>().join(", "));
            }
        }
    }

    fn finding(self: Box<Self>, _: u64) -> Finding {
        let again = self.again.rows;
        let found = match again {
            0 => "no value twice".to_owned(),
            1 => "1 row repeats an earlier one".to_owned(),
            _ => format!("{} repeat an earlier one", count(again, "row")),
        };
        self.again.finding(again == 0, found)
    }
}

fn hash_of(cells: &[Cell]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    cells.iter().for_each(|cell| add(&mut hasher, cell));
    let mut hash = [0; 16];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// Adds a cell so that no other cells give the same bytes.
fn add(hasher: &mut blake3::Hasher, cell: &Cell) {
    match cell {
        Cell::Null => drop(hasher.update(b"0")),
        Cell::Boolean(b) => drop(hasher.update(&[b'b', u8::from(*b)])),
        Cell::Integer(i) => drop(hasher.update(b"i").update(&i.to_le_bytes())),
        // There are two zeros, which are equal.
        Cell::Number(n) => drop(hasher.update(b"n").update(&(n + 0.0).to_le_bytes())),
        Cell::Text(t) => drop(hasher.update(b"t").update(&(t.len() as u64).to_le_bytes()).update(t.as_bytes())),
        Cell::List(items) => {
            hasher.update(b"l").update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| add(hasher, item));
        }
    }
}
