//! Comparison of two tables, row by row and cell by cell: what changed from A to B.
//!
//! Rows are matched by key columns or by number. Each table is read twice: first its keys and cells are hashed into a
//! temporary file (`records`), and the hashes are matched in shares. Then B is read, whose cells that differ are kept in
//! another temporary file (`spill`) until A is read. Memory holds 16 bytes for each row. `columns` counts the
//! differences of each column.
//!
//! Cells compare by type and value: a number by its bits, without rounding, so that `1` is neither `1.0` nor `"1"`.

mod columns;
mod records;
mod spill;
#[cfg(test)]
mod tests;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{Cell, cell_at, column_words};
use columns::Tally;
pub(crate) use columns::{ColumnDiff, Confusion, Distance, GoldDiff};
use records::{OfA, OfB, Records, match_rows};
use spill::{Spill, decode, encode, pieces};

/// The batches of a table, in order; an error is a sentence.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, String>>>;

pub(crate) struct Side<'a> {
    pub(crate) schema: SchemaRef,
    /// Reads it from the start.
    pub(crate) read: &'a dyn Fn() -> Result<Batches, String>,
    /// How many of its rows in turn have the same number.
    pub(crate) fold: u64,
}

/// How the rows of two tables are matched: those are the same that have the same cells in `columns` and, where they are
/// `numbered`, the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matching {
    /// Columns that both tables have.
    pub(crate) columns: Vec<String>,
    pub(crate) numbered: bool,
}

/// What to report besides the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The most examples of each kind.
    pub(crate) examples: usize,
    /// Columns of A whose cells are shown with each example that differs.
    pub(crate) shown: Vec<String>,
    /// A column of A with the right values.
    pub(crate) gold: Option<String>,
}

/// What changed from one table to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TableDiff {
    /// The rows that both have.
    pub(crate) matched: u64,
    pub(crate) differ: u64,
    /// Rows that only A has.
    pub(crate) only_a: u64,
    /// Rows that only B has.
    pub(crate) only_b: u64,
    /// whether the common rows are in a different order.
    pub(crate) reordered: bool,
    /// The columns that only A has, as `name: type`.
    pub(crate) columns_only_a: Vec<String>,
    /// The columns that only B has, as `name: type`.
    pub(crate) columns_only_b: Vec<String>,
    /// The columns of two types, as `name: type` in A and in B.
    pub(crate) retyped: Vec<(String, String)>,
    /// The columns that both have, those of the matching left out, in A's order.
    pub(crate) columns: Vec<ColumnDiff>,
    /// The first rows that differ, in A's order.
    pub(crate) examples: Vec<Example>,
    /// The keys of the first rows that only A has.
    pub(crate) examples_only_a: Vec<Vec<Cell>>,
    /// The keys of the first rows that only B has.
    pub(crate) examples_only_b: Vec<Vec<Cell>>,
}

impl TableDiff {
    pub(crate) fn differs(&self) -> bool {
        let rows = self.differ + self.only_a + self.only_b > 0 || self.reordered;
        rows || !(self.columns_only_a.is_empty() && self.columns_only_b.is_empty() && self.retyped.is_empty())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Example {
    /// Its key: its number (from 1), where that counts, and the cells of the columns that rows are matched by.
    pub(crate) key: Vec<Cell>,
    /// The cells of the columns that are shown. Long ones are cut.
    pub(crate) shown: Vec<(String, Cell)>,
    /// Its cells that differ: column, cell in A, cell in B. Long ones are cut.
    pub(crate) changes: Vec<(String, Cell, Cell)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    A,
    /// The second.
    B,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiffError {
    #[error("{message}")]
    Read { side: Which, message: String },
    /// Two rows have one key.
    #[error("row {row} has the same key as a row before it")]
    Twice {
        side: Which,
        /// The number of the second, from 1.
        row: u64,
        /// The key.
        key: Vec<Cell>,
    },
    /// A temporary file can't be written or read.
    #[error("a temporary file: {0}")]
    Spill(#[from] std::io::Error),
}

/// Compares A with B. The columns of `by` are in both.
pub(crate) fn diff(a: &Side<'_>, b: &Side<'_>, by: &Matching, wanted: &Wanted) -> Result<TableDiff, DiffError> {
    let examples = wanted.examples;
    let (mut found, mut tallies) = columns_of(a, b, by);
    let names: Vec<&str> = tallies.iter().map(Tally::name).collect();
    let (a, b) = (Reader::new(a, Which::A, by, &names), Reader::new(b, Which::B, by, &names));
    let mut bytes = Vec::new();
    let [mut records_a, mut records_b] = [a.records(&mut bytes)?, b.records(&mut bytes)?];
    let mut matches = match match_rows(&mut records_a, &mut records_b)? {
        Ok(matches) => matches,
        Err((Which::A, row)) => return Err(a.twice(row)),
        Err((Which::B, row)) => return Err(b.twice(row)),
    };
    let mut spill = Spill::new()?;
    let mut last = None;
    b.rows(|row| {
        let of_b = matches.b(row.number);
        let (OfB::Same(place) | OfB::Differs(place)) = of_b else {
            found.only_b += 1;
            if found.examples_only_b.len() < examples {
                found.examples_only_b.push(b.key_cells(row));
            }
            return Ok(());
        };
        found.matched += 1;
        found.reordered |= last.is_some_and(|last| last > place);
        last = Some(place);
        b.encode(row, &mut bytes);
        if of_b == OfB::Same(place) {
            tallies.iter_mut().zip(pieces(&bytes)).for_each(|(tally, cell)| tally.same(cell));
        } else {
            matches.keep(place, spill.keep(&bytes)?);
        }
        Ok(())
    })?;
    let gold = wanted.gold.as_ref().and_then(|name| a.side.schema.index_of(name).ok());
    let mut other = Vec::new();
    a.rows(|row| {
        let gold =
            gold.map(|column| cell_at(row.batch.column(column).as_ref(), row.index)).filter(|c| *c != Cell::Null);
        match matches.a(row.number) {
            OfA::Differs(place) => {
                found.differ += 1;
                spill.read(place, &mut other)?;
                a.encode(row, &mut bytes);
                for (tally, (old, new)) in tallies.iter_mut().zip(pieces(&bytes).zip(pieces(&other))) {
                    tally.pair(old, new);
                    tally.judge(gold.as_ref(), old, new);
                }
                if found.examples.len() < examples {
                    let changes = changes(&tallies, &bytes, &other);
                    let shown = a.cells_of(row, &wanted.shown);
                    found.examples.push(Example { key: a.key_cells(row), shown, changes });
                }
            }
            OfA::Only => {
                found.only_a += 1;
                if found.examples_only_a.len() < examples {
                    found.examples_only_a.push(a.key_cells(row));
                }
            }
            OfA::Same if gold.is_some() => {
                a.encode(row, &mut bytes);
                tallies.iter_mut().zip(pieces(&bytes)).for_each(|(tally, cell)| tally.judge(gold.as_ref(), cell, cell));
            }
            OfA::Same => {}
        }
        Ok(())
    })?;
    found.columns = tallies.into_iter().map(|tally| tally.finish(found.matched)).collect();
    Ok(found)
}

/// The cells that differ in two encoded rows.
fn changes(tallies: &[Tally], old: &[u8], new: &[u8]) -> Vec<(String, Cell, Cell)> {
    let cells = tallies.iter().zip(pieces(old).zip(pieces(new))).filter(|(_, (old, new))| old != new);
    cells.map(|(tally, (old, new))| (tally.name().to_owned(), decode(old), decode(new))).collect()
}

/// What the schemas alone say, and a tally for each column whose cells are to be compared.
fn columns_of(a: &Side<'_>, b: &Side<'_>, by: &Matching) -> (TableDiff, Vec<Tally>) {
    let only = |a: &SchemaRef, b: &SchemaRef| -> Vec<String> {
        a.fields().iter().filter(|f| b.index_of(f.name()).is_err()).map(|f| column_words(f)).collect()
    };
    let both = a.schema.fields().iter().filter_map(|f| Some((f, b.schema.field_with_name(f.name()).ok()?)));
    let both: Vec<_> = both.collect();
    let retyped = both.iter().filter(|(a, b)| a.data_type() != b.data_type());
    let compared = both.iter().filter(|(a, _)| !by.columns.contains(a.name()));
    let found = TableDiff {
        columns_only_a: only(&a.schema, &b.schema),
        columns_only_b: only(&b.schema, &a.schema),
        retyped: retyped.map(|(a, b)| (column_words(a), column_words(b))).collect(),
        ..TableDiff::default()
    };
    (found, compared.map(|(a, b)| Tally::new(a.name(), a.data_type(), b.data_type())).collect())
}

struct Reader<'a> {
    side: &'a Side<'a>,
    which: Which,
    numbered: bool,
    /// The columns that rows are matched by.
    keys: Vec<usize>,
    cells: Vec<usize>,
}

#[derive(Clone, Copy)]
struct At<'a> {
    batch: &'a RecordBatch,
    index: usize,
    /// Its number in the table, from 0.
    number: u64,
}

impl<'a> Reader<'a> {
    fn new(side: &'a Side<'a>, which: Which, by: &Matching, compared: &[&str]) -> Self {
        let place = |name: &str| side.schema.index_of(name).ok();
        let keys = by.columns.iter().filter_map(|name| place(name)).collect();
        let cells = compared.iter().filter_map(|name| place(name)).collect();
        Reader { side, which, numbered: by.numbered, keys, cells }
    }

    /// Calls `each` with every row, in order.
    fn rows(&self, mut each: impl FnMut(At<'_>) -> Result<(), DiffError>) -> Result<(), DiffError> {
        let wrong = |message| DiffError::Read { side: self.which, message };
        let mut number = 0;
        for batch in (self.side.read)().map_err(wrong)? {
            let batch = batch.map_err(wrong)?;
            for index in 0..batch.num_rows() {
                each(At { batch: &batch, index, number })?;
                number += 1;
            }
        }
        Ok(())
    }

    /// The hash that the same row has in both tables.
    fn key(&self, row: At<'_>) -> u128 {
        let mut bytes = Vec::new();
        if self.numbered {
            bytes.extend((row.number / self.side.fold.max(1)).to_le_bytes());
        }
        self.keys.iter().for_each(|column| encode(row.batch.column(*column).as_ref(), row.index, &mut bytes));
        hash(&bytes)
    }

    /// The key for people.
    fn key_cells(&self, row: At<'_>) -> Vec<Cell> {
        let number = self.numbered.then(|| Cell::Integer((row.number / self.side.fold.max(1)) as i64 + 1));
        let cells = self.keys.iter().map(|column| cell_at(row.batch.column(*column).as_ref(), row.index));
        number.into_iter().chain(cells).collect()
    }

    /// The cells of a row in these columns, without those that the table lacks.
    fn cells_of(&self, row: At<'_>, columns: &[String]) -> Vec<(String, Cell)> {
        let cell = |name: &String| {
            let mut bytes = Vec::new();
            encode(row.batch.column_by_name(name)?.as_ref(), row.index, &mut bytes);
            Some((name.clone(), pieces(&bytes).next().map(decode)?))
        };
        columns.iter().filter_map(cell).collect()
    }

    /// Writes the compared cells of a row over `bytes`.
    fn encode(&self, row: At<'_>, bytes: &mut Vec<u8>) {
        bytes.clear();
        self.cells.iter().for_each(|column| encode(row.batch.column(*column).as_ref(), row.index, bytes));
    }

    /// The hashes of the keys and the cells of all rows.
    fn records(&self, bytes: &mut Vec<u8>) -> Result<Records, DiffError> {
        let mut records = Records::new()?;
        self.rows(|row| {
            self.encode(row, bytes);
            Ok(records.add(self.key(row), hash(bytes))?)
        })?;
        Ok(records)
    }

    /// That row `number` has the key of a row before it.
    fn twice(&self, number: u64) -> DiffError {
        let mut found = Vec::new();
        let read = self.rows(|row| {
            if row.number == number {
                found = self.key_cells(row);
            }
            Ok(())
        });
        read.err().unwrap_or(DiffError::Twice { side: self.which, row: number + 1, key: found })
    }
}

fn hash(bytes: &[u8]) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    u128::from_le_bytes(first)
}
