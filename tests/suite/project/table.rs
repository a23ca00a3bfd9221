//! A Parquet table as plain values, so that tests can say what they expect and compare whole tables.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rusqlite::Connection;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Nothing there.
    Null,
    /// Text.
    Text(String),
    /// A whole number, also a time or date as its number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Cell>),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A table: columns with their types, and rows. Two tables are equal when all of that is, and their metadata.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    columns: Vec<(String, DataType)>,
    rows: Vec<Vec<Cell>>,
    /// Key and value pairs of the first file.
    metadata: Vec<(String, String)>,
}

/// The bytes of a file, or of a list of pieces, as `src/store/pieces.rs` writes it.
#[track_caller]
fn whole(path: &Path) -> Bytes {
    let read = || fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|end| end != "pieces") {
        return read().into();
    }
    let store = path.ancestors().map(|folder| folder.join("pieces.sqlite")).find(|path| path.exists());
    let store = Connection::open(store.expect("the pieces")).expect("the pieces");
    let list = String::from_utf8(read()).expect("a list");
    let piece = |line: &str| -> Vec<u8> {
        let hash = u128::from_str_radix(line.split(' ').next().expect("a hash"), 16).expect("a hash").to_be_bytes();
        store.query_row("SELECT bytes FROM pieces WHERE hash = ?1", [hash], |row| row.get(0)).expect("a piece")
    };
    list.lines().flat_map(piece).collect::<Vec<u8>>().into()
}

impl Table {
    /// Reads files of one schema, one after the other.
    #[track_caller]
    pub(crate) fn read(files: &[PathBuf]) -> Table {
        let mut table = Table { columns: Vec::new(), rows: Vec::new(), metadata: Vec::new() };
        for (number, path) in files.iter().enumerate() {
            let shown = path.display();
            let builder =
                ParquetRecordBatchReaderBuilder::try_new(whole(path)).unwrap_or_else(|e| panic!("{shown}: {e}"));
            let fields = builder.schema().fields();
            let columns: Vec<_> = fields.iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
            if number == 0 {
                table.columns = columns;
                let pairs = builder.metadata().file_metadata().key_value_metadata().into_iter().flatten();
                table.metadata = pairs.map(|p| (p.key.clone(), p.value.clone().unwrap_or_default())).collect();
            } else {
                assert_eq!(table.columns, columns, "{shown} has other columns");
            }
            for batch in builder.build().expect("a reader") {
                let batch = batch.unwrap_or_else(|e| panic!("{shown}: {e}"));
                for row in 0..batch.num_rows() {
                    table.rows.push(batch.columns().iter().map(|column| cell(column, row)).collect());
                }
            }
        }
        table
    }

    /// The names of the columns.
    pub(crate) fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether there is such a column.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|(name, _)| name == column)
    }

    /// The type of a column.
    #[track_caller]
    pub(crate) fn type_of(&self, column: &str) -> &DataType {
        &self.columns[self.index(column)].1
    }

    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows.
    pub(crate) fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// What the first file says about itself: the keys and values of its metadata.
    pub(crate) fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// The values of a column.
    #[track_caller]
    pub(crate) fn cells(&self, column: &str) -> Vec<Cell> {
        let index = self.index(column);
        self.rows.iter().map(|row| row[index].clone()).collect()
    }

    /// The values of a text column.
    #[track_caller]
    pub(crate) fn strings(&self, column: &str) -> Vec<Option<String>> {
        self.typed(column, |cell| if let Cell::Text(text) = cell { Some(text) } else { None })
    }

    /// The values of a text column that has no nulls.
    #[track_caller]
    pub(crate) fn texts(&self, column: &str) -> Vec<String> {
        let all = self.strings(column).into_iter().enumerate();
        all.map(|(row, text)| text.unwrap_or_else(|| panic!("`{column}` is null in row {row}"))).collect()
    }

    /// The values of a column of whole numbers.
    #[track_caller]
    pub(crate) fn ints(&self, column: &str) -> Vec<Option<i64>> {
        self.typed(column, |cell| if let Cell::Int(number) = cell { Some(number) } else { None })
    }

    /// The values of a column of numbers.
    #[track_caller]
    pub(crate) fn floats(&self, column: &str) -> Vec<Option<f64>> {
        self.typed(column, |cell| if let Cell::Float(number) = cell { Some(number) } else { None })
    }

    /// The values of a column of booleans.
    #[track_caller]
    pub(crate) fn bools(&self, column: &str) -> Vec<Option<bool>> {
        self.typed(column, |cell| if let Cell::Bool(value) = cell { Some(value) } else { None })
    }

    /// How many values of a column are null.
    #[track_caller]
    pub(crate) fn nulls(&self, column: &str) -> usize {
        self.cells(column).iter().filter(|cell| **cell == Cell::Null).count()
    }

    #[track_caller]
    fn typed<T>(&self, column: &str, as_wanted: impl Fn(Cell) -> Option<T>) -> Vec<Option<T>> {
        let kind = self.type_of(column).clone();
        let wanted = |cell| as_wanted(cell).unwrap_or_else(|| panic!("`{column}` is of type {kind}"));
        self.cells(column).into_iter().map(|c| if c == Cell::Null { None } else { Some(wanted(c)) }).collect()
    }

    #[track_caller]
    fn index(&self, column: &str) -> usize {
        let found = self.columns.iter().position(|(name, _)| name == column);
        found.unwrap_or_else(|| panic!("there is no column `{column}` in {:?}", self.columns()))
    }
}

fn cell(array: &ArrayRef, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    macro_rules! number {
        ($type:ty) => {
            Cell::Int(array.as_primitive::<$type>().value(row) as i64)
        };
    }
    match array.data_type() {
        DataType::Null => Cell::Null,
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Cell::Text(array.as_string_view().value(row).to_owned()),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Date32 => number!(Date32Type),
        DataType::Timestamp(TimeUnit::Second, _) => number!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => number!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => number!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => number!(TimestampNanosecondType),
        DataType::Float32 => Cell::Float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Cell::Bytes(array.as_binary::<i64>().value(row).to_vec()),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Cell::List((0..items.len()).map(|i| cell(&items, i)).collect())
        }
        DataType::Struct(_) => Cell::List(array.as_struct().columns().iter().map(|column| cell(column, row)).collect()),
        DataType::Decimal128(..) => Cell::Text(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Time64(TimeUnit::Microsecond) => Cell::Int(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let entry = |i: usize| Cell::List(entries.columns().iter().map(|column| cell(column, i)).collect());
            Cell::List((0..entries.len()).map(entry).collect())
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys()[row];
            cell(dictionary.values(), key)
        }
        other => panic!("a column of type {other} is not read by the tests yet"),
    }
}
