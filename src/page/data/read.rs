//! Reading the rows of an output that match a search.

use std::path::PathBuf;

use serde_json::Value;

use super::text::{CELL, plain};
use crate::spec::OutputSpec;
use crate::store::{Origin, OriginError, is_stored, open_table};
use crate::table::parquet::Table;
use crate::table::{Cell, cell_at};

const BATCH: usize = 1024;

/// Which rows of an output are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search<'a> {
    pub(crate) output: &'a str,
    /// The number of the first row to look at, from 0.
    pub(crate) from: u64,
    /// Only rows with a cell that contains this text, in capital or small letters.
    pub(crate) text: &'a str,
    /// The most rows.
    pub(crate) rows: usize,
    /// About the most bytes of JSON.
    pub(crate) bytes: usize,
}

/// The table of an output.
pub(super) struct Reading<'a> {
    /// Each with the number of its rows that count.
    tables: Vec<(Table, u64)>,
    output: &'a OutputSpec,
}

/// Rows with their numbers from 0.
pub(super) struct Found {
    pub(super) rows: Vec<(u64, Vec<Value>)>,
    pub(super) next: Option<u64>,
    pub(super) total: u64,
}

impl<'a> Reading<'a> {
    /// The parts that are there. The error is a sentence.
    pub(super) fn new(origin: &Origin, output: &'a OutputSpec) -> Result<Reading<'a>, String> {
        let input = &origin.output.input;
        let said = |error: OriginError| error.to_string();
        if !origin.manifest.tables.contains_key(input) {
            let rows = origin.entry(input).map_err(said)?.rows;
            return Ok(Reading { tables: vec![(origin.source(input).map_err(said)?, rows)], output });
        }
        let parts = (0..).map(|part| origin.dir.part_path(input, part)).take_while(|path| is_stored(path));
        let table = |path: PathBuf| open_table(&path).map(|table| (table.clone(), table.rows()));
        let tables: Result<Vec<_>, _> = parts.map(table).collect();
        Ok(Reading { tables: tables.map_err(|error| error.to_string())?, output })
    }

    pub(super) fn find(&self, search: &Search<'_>) -> Result<Found, String> {
        let total = self.tables.iter().map(|(_, rows)| rows).sum();
        let mut found = Found { rows: Vec::new(), next: None, total };
        let wanted = search.text.to_lowercase();
        let mut first = 0;
        for (table, rows) in &self.tables {
            let start = search.from.saturating_sub(first).min(*rows);
            let mut number = first + start;
            first += rows;
            let batches = table.read(start, rows - start, BATCH).map_err(|error| error.to_string())?;
            for batch in batches {
                let batch = batch.map_err(|error| error.to_string())?;
                for row in 0..batch.num_rows() {
                    if found.rows.len() == search.rows {
                        found.next = Some(number);
                        return Ok(found);
                    }
                    let cells = self.output.columns.iter().filter_map(|place| batch.columns().get(*place));
                    let cells: Vec<Cell> = cells.map(|column| cell_at(column.as_ref(), row)).collect();
                    if wanted.is_empty() || cells.iter().any(|cell| cell.text().to_lowercase().contains(&wanted)) {
                        found.rows.push((number, cells.iter().map(shown).collect()));
                    }
                    number += 1;
                }
            }
        }
        Ok(found)
    }
}

fn shown(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => plain(text, CELL).into(),
        Cell::List(_) | Cell::Object(_) => plain(&cell.json().to_string(), CELL).into(),
        cell => cell.json(),
    }
}
