//! Findings: the result of a check, and the rows that a check reads.

use std::collections::HashMap;

use arrow_array::{Array, RecordBatch};

use crate::table::{Cell, cell_at};

const EXAMPLES: usize = 5;
const LONGEST: usize = 80;

pub(crate) struct RowsView<'a> {
    pub(crate) batch: &'a RecordBatch,
    /// Maps the columns of the table to the columns of the batch.
    pub(crate) places: &'a HashMap<usize, usize>,
    pub(crate) key: Option<usize>,
    /// The number of the first row, from 1.
    pub(crate) first: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) holds: bool,
    pub(crate) found: String,
    pub(crate) against: u64,
    pub(crate) examples: Vec<Example>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Example {
    pub(crate) row: String,
    pub(crate) value: String,
}

#[derive(Debug, Default)]
pub(super) struct Violations {
    pub(super) rows: u64,
    examples: Vec<Example>,
}

impl RowsView<'_> {
    pub(crate) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    pub(crate) fn array(&self, column: usize) -> &dyn Array {
        self.batch.column(self.places[&column]).as_ref()
    }

    pub(crate) fn cell(&self, column: usize, row: usize) -> Cell {
        cell_at(self.array(column), row)
    }

    fn name(&self, row: usize) -> String {
        match self.key.map(|key| self.cell(key, row)) {
            None | Some(Cell::Null) => (self.first + row as u64).to_string(),
            Some(key) => shown(&key),
        }
    }
}

impl Violations {
    pub(super) fn add(&mut self, rows: &RowsView<'_>, row: usize, value: String) {
        self.rows += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Example { row: rows.name(row), value });
        }
    }

    pub(super) fn finding(self, holds: bool, found: String) -> Finding {
        Finding { holds, found, against: self.rows, examples: self.examples }
    }
}

impl Finding {
    pub(super) fn whole(holds: bool, found: String) -> Self {
        Violations::default().finding(holds, found)
    }
}

/// Formats a cell for a message: on one line, truncated.
pub(super) fn shown(cell: &Cell) -> String {
    let text = match cell {
        Cell::Null => "null".to_owned(),
        Cell::Boolean(b) => b.to_string(),
        Cell::Integer(i) => i.to_string(),
        Cell::Number(n) => n.to_string(),
        Cell::Text(t) => t.split_whitespace().collect::<Vec<_>>().join(" "),
        Cell::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Cell::Object(_) => cell.text(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(super) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
