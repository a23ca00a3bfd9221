//! Copied rows: finds the rows of its inputs that a transform, such as a join, made a row from.

use indexmap::IndexMap;

use super::error::StoreError;
use super::manifest::TransformEntry;
use super::provenance::{Origin, OriginError};
use crate::table::parquet::Table;
use crate::table::{Cell, cell_at};

const BATCH: usize = 4096;

/// A row of an input of a transform.
pub(super) struct CopiedRow<'a> {
    pub(super) input: &'a str,
    /// The columns of the transform, each with the column of the input that has the same value.
    pub(super) columns: &'a IndexMap<String, String>,
    /// The number of the first row with the copied values, from 0.
    pub(super) row: Option<u64>,
    pub(super) equal_rows: u64,
}

impl Origin {
    /// The rows that a transform made its row `row` (from 0) from, one for each input whose columns it copied.
    pub(super) fn copied_rows(&self, transform: &str, row: u64) -> Result<Vec<CopiedRow<'_>>, OriginError> {
        let Some(made) = self.manifest.transforms.get(transform) else { return Ok(Vec::new()) };
        if made.is_stack {
            return self.stacked_row(made, row);
        }
        let mut found = Vec::new();
        for (input, columns) in made.inputs.iter().zip(&made.copies).filter(|(_, columns)| !columns.is_empty()) {
            let (own, theirs): (Vec<&str>, Vec<&str>) =
                columns.iter().map(|(own, copied)| (own.as_str(), copied.as_str())).unzip();
            let mut values = Vec::new();
            each_row(&self.source(transform)?, &own, row..row + 1, |_, cells| values = cells)?;
            let (mut first, mut equal_rows, mut before) = (None, 0, 0);
            let named = self.row_of_piece(transform, made, row)?;
            let mut is_named = false;
            // The text of a split is a piece of the one that it copies.
            let is_piece = |place: usize, (piece, whole): (&Cell, &Cell)| match (piece, whole) {
                (Cell::Text(piece), Cell::Text(whole)) => {
                    made.kind == "split" && own[place] == transform && whole.contains(piece.as_str())
                }
                _ => false,
            };
            let is_origin = |cells: &[Cell]| {
                let pairs = values.iter().zip(cells).enumerate();
                pairs.into_iter().all(|(place, (own, theirs))| own == theirs || is_piece(place, (own, theirs)))
            };
            // A row of a join without a match has no value of the other table.
            let is_copied = values.iter().any(|value| *value != Cell::Null);
            for table in if is_copied { self.tables(input)? } else { Vec::new() } {
                each_row(&table, &theirs, 0..table.rows(), |row, cells| {
                    if is_origin(&cells) {
                        is_named |= named == Some(before + row);
                        first.get_or_insert(before + row);
                        equal_rows += 1;
                    }
                })?;
                before += table.rows();
            }
            let (row, equal_rows) = if is_named { (named, 1) } else { (first, equal_rows) };
            found.push(CopiedRow { input, columns, row, equal_rows });
        }
        Ok(found)
    }

    /// The number, from 0, that the id of a piece names if the cut table has no key. A key may look like it.
    fn row_of_piece(&self, transform: &str, made: &TransformEntry, row: u64) -> Result<Option<u64>, OriginError> {
        if made.kind != "split" {
            return Ok(None);
        }
        let (id, mut ids) = (format!("{transform}_id"), Vec::new());
        each_row(&self.source(transform)?, &[&id], row..row + 1, |_, cells| ids = cells)?;
        let Some(Cell::Text(id)) = ids.first() else { return Ok(None) };
        let number = id.rsplit_once('#').and_then(|(row, _)| row.parse::<u64>().ok());
        Ok(number.and_then(|number| number.checked_sub(1)))
    }

    /// The row of an input that is row `row` (from 0) of a table with the rows of all inputs.
    fn stacked_row<'a>(&self, made: &'a TransformEntry, row: u64) -> Result<Vec<CopiedRow<'a>>, OriginError> {
        let mut before = 0;
        for (input, columns) in made.inputs.iter().zip(&made.copies) {
            let rows: u64 = self.tables(input)?.iter().map(Table::rows).sum();
            if row < before + rows {
                return Ok(vec![CopiedRow { input, columns, row: Some(row - before), equal_rows: 1 }]);
            }
            before += rows;
        }
        Ok(Vec::new())
    }

    /// The rows of a stage, a source or a transform, in order.
    fn tables(&self, name: &str) -> Result<Vec<Table>, OriginError> {
        if !self.manifest.tables.contains_key(name) {
            return Ok(vec![self.source(name)?]);
        }
        let parts = (0..).take_while(|part| self.dir.has_part(name, *part));
        parts.map(|part| self.part(name, part)).collect()
    }
}

/// Calls `each` with the number of each row and its cells in these columns.
fn each_row(
    table: &Table,
    columns: &[&str],
    rows: std::ops::Range<u64>,
    mut each: impl FnMut(u64, Vec<Cell>),
) -> Result<(), StoreError> {
    let mut number = rows.start;
    for batch in table.with_columns(columns).read(rows.start, rows.end - rows.start, BATCH)? {
        let batch = batch?;
        let places: Vec<usize> = columns.iter().filter_map(|name| batch.schema().index_of(name).ok()).collect();
        for row in 0..batch.num_rows() {
            each(number, places.iter().map(|place| cell_at(batch.column(*place).as_ref(), row)).collect());
            number += 1;
        }
    }
    Ok(())
}
