//! Spilled rows: cells encoded as bytes, and a temporary file of rows.
//!
//! Two cells are the same if their bytes are. A long cell is kept as its hash and its start, so that the size of a row
//! is bounded by its number of columns.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;

use super::hash;
use crate::table::digest::{cell_bytes, text_bytes};
use crate::table::{Cell, cell_at};

/// A cell of more bytes than this is replaced by its hash.
const LONG: usize = 1024;
const KEPT: usize = 200;
/// The first byte of such a cell. Other cells begin with the tag of their type.
const CUT: u8 = 255;

/// Adds the length of cell `index` of `column` to `out`, then the cell.
pub(crate) fn encode(column: &dyn Array, index: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; 4]);
    match column.data_type() {
        DataType::Utf8 if column.is_valid(index) => text_bytes(out, column.as_string::<i32>().value(index)),
        _ => cell_bytes(out, &cell_at(column, index)),
    }
    let cell = start + 4;
    if out.len() - cell > LONG {
        let whole = hash(&out[cell..]);
        let kept: String = cell_at(column, index).text().chars().take(KEPT).chain(['…']).collect();
        out.truncate(cell);
        out.push(CUT);
        out.extend(whole.to_le_bytes());
        out.extend(kept.as_bytes());
    }
    let length = (out.len() - cell) as u32;
    out[start..cell].copy_from_slice(&length.to_le_bytes());
}

pub(crate) fn pieces(mut row: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(take(&mut row)?) as usize;
        let (cell, rest) = row.split_at_checked(length)?;
        row = rest;
        Some(cell)
    })
}

pub(crate) fn decode(mut cell: &[u8]) -> Cell {
    match cell {
        [CUT, rest @ ..] => Cell::Text(String::from_utf8_lossy(rest.get(16..).unwrap_or_default()).into_owned()),
        _ => value(&mut cell).unwrap_or(Cell::Null),
    }
}

fn value(bytes: &mut &[u8]) -> Option<Cell> {
    let [tag] = take(bytes)?;
    Some(match tag {
        1 => Cell::Boolean(take::<1>(bytes)? == [1]),
        2 => Cell::Integer(i64::from_le_bytes(take(bytes)?)),
        3 => Cell::Number(f64::from_bits(u64::from_le_bytes(take(bytes)?))),
        4 => Cell::Text(text(bytes)?),
        5 => {
            let length = u64::from_le_bytes(take(bytes)?);
            Cell::List((0..length).map(|_| value(bytes)).collect::<Option<_>>()?)
        }
        6 => {
            let length = u64::from_le_bytes(take(bytes)?);
            let mut member = || {
                take::<1>(bytes)?;
                Some((text(bytes)?, value(bytes)?))
            };
            Cell::Object((0..length).map(|_| member()).collect::<Option<_>>()?)
        }
        _ => Cell::Null,
    })
}

/// A text behind its tag.
fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = u64::from_le_bytes(take(bytes)?) as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

pub(crate) struct Spill {
    file: File,
    writer: BufWriter<File>,
    length: u64,
    /// The position of the reader. Rows are mostly read in the order in which they were written.
    reader: Option<std::io::BufReader<File>>,
    at: u64,
}

impl Spill {
    pub(crate) fn new() -> std::io::Result<Self> {
        let file = tempfile::tempfile()?;
        let writer = BufWriter::new(file.try_clone()?);
        Ok(Spill { file, writer, length: 0, reader: None, at: 0 })
    }

    /// Writes a row and returns its position. All rows are written before the first is read.
    pub(crate) fn keep(&mut self, row: &[u8]) -> std::io::Result<u64> {
        let place = self.length;
        self.writer.write_all(&(row.len() as u64).to_le_bytes())?;
        self.writer.write_all(row)?;
        self.length += 8 + row.len() as u64;
        Ok(place)
    }

    pub(crate) fn read(&mut self, place: u64, row: &mut Vec<u8>) -> std::io::Result<()> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                self.writer.flush()?;
                let mut file = self.file.try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                none.insert(std::io::BufReader::new(file))
            }
        };
        reader.seek_relative(place as i64 - self.at as i64)?;
        let mut length = [0; 8];
        reader.read_exact(&mut length)?;
        row.resize(u64::from_le_bytes(length) as usize, 0);
        reader.read_exact(row)?;
        self.at = place + 8 + row.len() as u64;
        Ok(())
    }
}
