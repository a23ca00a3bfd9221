//! Digests: the hash of a table's values, independent of its file format and batches.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};

use super::{Cell, Simple, Type, cell_at};

/// A hash of the values of a table in order. The names of the columns, their order, and every cell with its type count;
/// row groups, compression and the division into batches do not.
#[derive(Debug)]
pub(crate) struct Digest {
    columns: Vec<(String, blake3::Hasher)>,
    rows: u64,
    bytes: Vec<u8>,
}

impl Digest {
    pub(crate) fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        let columns = columns.into_iter().map(|name| (name.to_owned(), blake3::Hasher::new())).collect();
        Digest { columns, rows: 0, bytes: Vec::new() }
    }

    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for ((_, hasher), column) in self.columns.iter_mut().zip(batch.columns()) {
            self.bytes.clear();
            column_bytes(&mut self.bytes, column.as_ref());
            hasher.update(&self.bytes);
        }
    }

    pub(crate) fn add_row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows += 1;
        for ((_, hasher), cell) in self.columns.iter_mut().zip(cells) {
            self.bytes.clear();
            cell_bytes(&mut self.bytes, &cell);
            hasher.update(&self.bytes);
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn finish(self) -> String {
        let mut whole = blake3::Hasher::new();
        whole.update(b"fanfold-table-1").update(&self.rows.to_le_bytes());
        for (name, column) in &self.columns {
            whole.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            whole.update(column.finalize().as_bytes());
        }
        whole.finalize().to_hex().to_string()
    }
}

/// The cells of a column, with fast paths for the common types.
fn column_bytes(out: &mut Vec<u8>, column: &dyn Array) {
    macro_rules! cells {
        ($cells:expr, $write:expr) => {
            for cell in $cells {
                if let Some(cell) = cell { $write(out, cell) } else { out.push(0) }
            }
        };
    }
    match column.data_type() {
        DataType::Utf8 => cells!(column.as_string::<i32>(), text_bytes),
        DataType::Int64 => cells!(column.as_primitive::<Int64Type>(), integer_bytes),
        DataType::Float64 => cells!(column.as_primitive::<Float64Type>(), number_bytes),
        _ => (0..column.len()).for_each(|row| cell_bytes(out, &cell_at(column, row))),
    }
}

/// An unambiguous encoding of a cell: a tag for its type, then its value.
pub(crate) fn cell_bytes(out: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Null => out.push(0),
        Cell::Boolean(truth) => out.extend([1, u8::from(*truth)]),
        Cell::Integer(number) => integer_bytes(out, *number),
        Cell::Number(number) => number_bytes(out, *number),
        Cell::Text(text) => text_bytes(out, text),
        Cell::List(items) => {
            out.push(5);
            out.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| cell_bytes(out, item));
        }
        Cell::Object(members) => {
            out.push(6);
            out.extend((members.len() as u64).to_le_bytes());
            for (name, cell) in members {
                text_bytes(out, name);
                cell_bytes(out, cell);
            }
        }
    }
}

fn integer_bytes(out: &mut Vec<u8>, number: i64) {
    out.push(2);
    out.extend(number.to_le_bytes());
}

/// All NaNs have the same bytes.
fn number_bytes(out: &mut Vec<u8>, number: f64) {
    out.push(3);
    out.extend(if number.is_nan() { f64::NAN } else { number }.to_bits().to_le_bytes());
}

pub(super) fn text_bytes(out: &mut Vec<u8>, text: &str) {
    out.push(4);
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A column as `name: type`.
pub(crate) fn column_words(field: &Field) -> String {
    format!("{}: {}", field.name(), type_words(field))
}

pub(crate) fn type_words(field: &Field) -> String {
    match Type::of(field.data_type()) {
        None => field.data_type().to_string(),
        Some(Type::List(item)) => format!("list of {}", word(item)),
        Some(Type::Vector) => "list of 32-bit number".to_owned(),
        Some(simple) => word(simple.simple()).to_owned(),
    }
}

fn word(kind: Simple) -> &'static str {
    match kind {
        Simple::Text => "text",
        Simple::Integer => "integer",
        Simple::Number => "number",
        Simple::Boolean => "boolean",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, array_of};
    use arrow_schema::Schema;
    use std::sync::Arc;

    fn table(cells: &[Vec<Cell>]) -> RecordBatch {
        let kinds = [Type::Text, Type::Integer, Type::Number, Type::Boolean, Type::List(Simple::Text)];
        let columns: Vec<Column> = kinds.iter().enumerate().map(|(i, k)| Column::new(format!("c{i}"), *k)).collect();
        let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        let arrays = columns.iter().enumerate().map(|(i, c)| array_of(c.kind, cells.iter().map(|row| &row[i])));
        RecordBatch::try_new(schema, arrays.collect()).unwrap()
    }

    fn rows() -> Vec<Vec<Cell>> {
        let row = |i: i64| {
            vec![
                if i % 3 == 0 { Cell::Null } else { Cell::Text(format!("t{i}")) },
                Cell::Integer(i),
                if i % 4 == 0 { Cell::Null } else { Cell::Number(i as f64 / 2.0) },
                Cell::Boolean(i % 2 == 0),
                if i % 5 == 0 { Cell::Null } else { Cell::List(vec![Cell::Text("x".into()), Cell::Null]) },
            ]
        };
        (0..40).map(row).collect()
    }

    fn digest(cells: &[Vec<Cell>], cut: usize) -> String {
        let whole = table(cells);
        let mut digest = Digest::new(whole.schema().fields().iter().map(|f| f.name().as_str()));
        for from in (0..whole.num_rows()).step_by(cut) {
            digest.add(&whole.slice(from, cut.min(whole.num_rows() - from)));
        }
        digest.finish()
    }

    #[test]
    fn the_cut_does_not_count_and_rows_of_cells_are_the_same() {
        let rows = rows();
        let expected = digest(&rows, 40);
        for cut in [1, 3, 39] {
            assert_eq!(digest(&rows, cut), expected);
        }
        let mut by_row = Digest::new(["c0", "c1", "c2", "c3", "c4"]);
        rows.iter().for_each(|row| by_row.add_row(row.clone()));
        assert_eq!((by_row.rows(), by_row.finish()), (40, expected));
    }

    #[test]
    fn every_cell_counts_and_so_do_names_and_order() {
        let rows = rows();
        let expected = digest(&rows, 40);
        let other = [
            Cell::Text("other".into()),
            Cell::Integer(-1),
            Cell::Number(-1.0),
            Cell::Boolean(rows[7][3] == Cell::Boolean(false)),
            Cell::List(vec![]),
        ];
        let mut seen = vec![expected];
        for (column, cell) in other.into_iter().enumerate() {
            let mut changed = rows.clone();
            changed[7][column] = cell;
            seen.push(digest(&changed, 40));
            changed[7][column] = Cell::Null;
            seen.push(digest(&changed, 40));
        }
        let mut swapped = rows.clone();
        swapped.swap(1, 2);
        seen.push(digest(&swapped, 40));
        seen.push(digest(&rows[..39], 40));
        let (count, mut unique) = (seen.len(), seen);
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), count);
        let of = |names: [&str; 2], cells: [Cell; 2]| {
            let mut digest = Digest::new(names);
            digest.add_row(cells);
            digest.finish()
        };
        let (a, b) = (Cell::Text("a".into()), Cell::Text("b".into()));
        assert_ne!(of(["x", "y"], [a.clone(), b.clone()]), of(["y", "x"], [b.clone(), a.clone()]));
        assert_ne!(of(["x", "y"], [a.clone(), b.clone()]), of(["x", "z"], [a.clone(), b]));
        // A whole number is not the number of the same size, nor is a text of its digits.
        assert_ne!(of(["x", "y"], [Cell::Integer(1), a.clone()]), of(["x", "y"], [Cell::Number(1.0), a.clone()]));
        assert_ne!(of(["x", "y"], [Cell::Integer(1), a.clone()]), of(["x", "y"], [Cell::Text("1".into()), a]));
    }
}
