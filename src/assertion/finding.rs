//! Findings: what an assertion says of a table, and the rows that it sees.

use std::collections::HashMap;

use arrow_array::{Array, RecordBatch};

use crate::table::{Cell, cell_at};

/// Rows that are shown of those that speak against an assertion.
const EXAMPLES: usize = 5;
/// Characters that are shown of a value.
const LONGEST: usize = 80;

/// Some rows of a table, with the columns that are read.
pub struct RowsView<'a> {
    batch: &'a RecordBatch,
    /// Where the columns of the table stand in the batch.
    places: &'a HashMap<usize, usize>,
    /// The column that names a row.
    key: Option<usize>,
    /// The number of the first row, from 1.
    first: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the assertion holds.
    pub holds: bool,
    /// What there is, in a few words.
    pub found: String,
    /// Rows that speak against it.
    pub against: u64,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// A row that speaks against an assertion.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Example {
    /// The row, by key or number.
    pub row: String,
    /// What stands there.
    pub value: String,
}

/// The rows that speak against an assertion, as they come.
#[derive(Debug, Default)]
pub(super) struct Violations {
    pub(super) rows: u64,
    examples: Vec<Example>,
}

impl<'a> RowsView<'a> {
    /// The rows of `batch`, which begins with row `first` (from 1) of its table; `places` says where the columns of the
    /// table stand in it.
    pub fn new(batch: &'a RecordBatch, places: &'a HashMap<usize, usize>, key: Option<usize>, first: u64) -> Self {
        RowsView { batch, places, key, first }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Column `column` of the table.
    pub fn array(&self, column: usize) -> &dyn Array {
        self.batch.column(self.places[&column]).as_ref()
    }

    /// The cell of column `column` in row `row` of these.
    pub fn cell(&self, column: usize, row: usize) -> Cell {
        cell_at(self.array(column), row)
    }

    /// How row `row` of these is called.
    fn name(&self, row: usize) -> String {
        match self.key.map(|key| self.cell(key, row)) {
            None | Some(Cell::Null) => (self.first + row as u64).to_string(),
            Some(key) => shown(&key),
        }
    }
}

impl Violations {
    /// Adds row `row`, which has `value`.
    pub(super) fn add(&mut self, rows: &RowsView<'_>, row: usize, value: String) {
        self.rows += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Example { row: rows.name(row), value });
        }
    }

    /// The finding that an assertion holds or not, with these rows.
    pub(super) fn finding(self, holds: bool, found: String) -> Finding {
        Finding { holds, found, against: self.rows, examples: self.examples }
    }
}

impl Finding {
    /// A finding that no row in particular speaks for or against.
    pub(super) fn whole(holds: bool, found: String) -> Self {
        Violations::default().finding(holds, found)
    }
}

/// A cell for a message: on one line, not too long.
pub(super) fn shown(cell: &Cell) -> String {
    let text = match cell {
        Cell::Null => "null".to_owned(),
        Cell::Boolean(b) => b.to_string(),
        Cell::Integer(i) => i.to_string(),
        Cell::Number(n) => n.to_string(),
        Cell::Text(t) => t.split_whitespace().collect::<Vec<_>>().join(" "),
        Cell::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// "1 row", "2 rows".
pub(super) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A share or a mean with four decimals at most.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
