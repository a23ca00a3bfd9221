//! Property: nested values of every type stay what they are in parts, in outputs and in files that are read back.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray,
    StructArray, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields, Schema};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;

use super::text::{write_csv, write_jsonl};
use crate::source::{File, Source};
use crate::table::parquet::{Options, Table, TableWriter};
use crate::table::{Cell, cell_at};

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn map_of(value: DataType) -> DataType {
    let entry = vec![Field::new("keys", DataType::Utf8, false), Field::new("values", value, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry.into()), false)), false)
}

fn kinds() -> impl Strategy<Value = DataType> {
    let plain = [DataType::Int64, DataType::Float64, DataType::Float32, DataType::Boolean, DataType::Utf8];
    prop::sample::select(plain.to_vec()).prop_recursive(3, 10, 3, |inner| {
        let names = prop::sample::subsequence(vec!["a", "a b", "é.\"x\"", "[0]"], 1..=3);
        let fields = (names, vec(inner.clone(), 3)).prop_map(|(names, kinds)| {
            let fields = names.into_iter().zip(kinds).map(|(name, kind)| Field::new(name, kind, true));
            DataType::Struct(fields.collect())
        });
        prop_oneof![inner.clone().prop_map(list_of), inner.prop_map(map_of), fields]
    })
}

fn value_of(kind: &DataType) -> BoxedStrategy<Cell> {
    let value = match kind {
        DataType::Int64 => any::<i64>().prop_map(Cell::Integer).boxed(),
        DataType::Float64 => (-1e300..1e300).prop_map(Cell::Number).boxed(),
        // A narrow number is its shortest decimal.
        DataType::Float32 => (-1e30_f32..1e30).prop_map(|n| Cell::Number(n.to_string().parse().unwrap())).boxed(),
        DataType::Boolean => any::<bool>().prop_map(Cell::Boolean).boxed(),
        DataType::List(item) => vec(value_of(item.data_type()), 0..4).prop_map(Cell::List).boxed(),
        DataType::Struct(fields) => {
            let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
            let values: Vec<_> = fields.iter().map(|field| value_of(field.data_type())).collect();
            values.prop_map(move |values| Cell::Object(names.iter().cloned().zip(values).collect())).boxed()
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { unreachable!("entries are structs") };
            let entries = btree_map("[a-c\" ]{0,2}", value_of(pair[1].data_type()), 0..3);
            entries.prop_map(|entries| Cell::Object(entries.into_iter().collect())).boxed()
        }
        _ => "[ -~é\u{1f600}\n\"{\\[]{0,8}".prop_map(Cell::Text).boxed(),
    };
    prop_oneof![1 => Just(Cell::Null), 4 => value].boxed()
}

fn array(kind: &DataType, cells: &[Cell]) -> ArrayRef {
    let nulls = NullBuffer::from(cells.iter().map(|cell| *cell != Cell::Null).collect::<Vec<_>>());
    let members = |cell: &Cell| if let Cell::Object(members) = cell { members.clone() } else { Vec::new() };
    match kind {
        DataType::Int64 => Arc::new(Int64Array::from_iter(
            cells.iter().map(|cell| if let Cell::Integer(number) = cell { Some(*number) } else { None }),
        )),
        DataType::Float64 => Arc::new(Float64Array::from_iter(cells.iter().map(number))),
        DataType::Float32 => {
            Arc::new(Float32Array::from_iter(cells.iter().map(|cell| number(cell).map(|number| number as f32))))
        }
        DataType::Boolean => Arc::new(BooleanArray::from_iter(
            cells.iter().map(|cell| if let Cell::Boolean(truth) = cell { Some(*truth) } else { None }),
        )),
        DataType::List(item) => {
            let lists = cells.iter().map(|cell| if let Cell::List(items) = cell { items.clone() } else { Vec::new() });
            let lists: Vec<Vec<Cell>> = lists.collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
            Arc::new(ListArray::new(item.clone(), offsets, array(item.data_type(), &lists.concat()), Some(nulls)))
        }
        DataType::Struct(fields) => {
            let column = |field: &Arc<Field>| {
                let of = |cell: &Cell| members(cell).into_iter().find(|(name, _)| name == field.name());
                let cells: Vec<Cell> = cells.iter().map(|cell| of(cell).map_or(Cell::Null, |(_, cell)| cell)).collect();
                array(field.data_type(), &cells)
            };
            Arc::new(StructArray::new(fields.clone(), fields.iter().map(column).collect(), Some(nulls)))
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { unreachable!("entries are structs") };
            let all: Vec<Vec<(String, Cell)>> = cells.iter().map(members).collect();
            let offsets = OffsetBuffer::from_lengths(all.iter().map(Vec::len));
            let mut keys = StringBuilder::new();
            all.iter().flatten().for_each(|(key, _)| keys.append_value(key));
            let values: Vec<Cell> = all.into_iter().flatten().map(|(_, value)| value).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(keys.finish()), array(pair[1].data_type(), &values)];
            let pairs = StructArray::new(pair.clone(), columns, None);
            Arc::new(MapArray::new(entries.clone(), offsets, pairs, Some(nulls), *sorted))
        }
        _ => Arc::new(StringArray::from_iter(
            cells.iter().map(|cell| if let Cell::Text(text) = cell { Some(text.as_str()) } else { None }),
        )),
    }
}

fn number(cell: &Cell) -> Option<f64> {
    if let Cell::Number(number) = cell { Some(*number) } else { None }
}

/// A column of a nested type, and its cells.
fn columns() -> impl Strategy<Value = (DataType, Vec<Cell>)> {
    kinds().prop_flat_map(|kind| {
        let cells = vec(value_of(&kind), 1..7);
        (Just(kind), cells)
    })
}

fn cells(batches: &[RecordBatch]) -> Vec<Cell> {
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| cell_at(batch.column(1), row)));
    rows.collect()
}

/// The rows of a file, as a source reads them.
fn source(path: &std::path::Path) -> Vec<RecordBatch> {
    let file = File { path: path.file_name().unwrap().to_str().unwrap().to_owned(), ..File::default() };
    file.read(path.parent().unwrap()).unwrap().collect::<Result<_, _>>().unwrap()
}

/// JSON as it is compared: null for a key without a value.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nested_values_stay_what_they_are((kind, given) in columns()) {
        let folder = tempfile::tempdir().unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..given.len() as i64));
        let fields: Fields = vec![Field::new("id", DataType::Int64, true), Field::new("x", kind.clone(), true)].into();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![ids, array(&kind, &given)]).unwrap();
        prop_assert_eq!(&cells(std::slice::from_ref(&batch)), &given);

        // Parts and Parquet outputs, in two batches; then the same file as a source.
        let path = folder.path().join("x.parquet");
        let mut writer = TableWriter::create(&path, batch.schema(), &Options::default()).unwrap();
        let half = given.len() / 2;
        writer.write(batch.slice(0, half)).unwrap();
        writer.write(batch.slice(half, given.len() - half)).unwrap();
        writer.commit().unwrap();
        let table = Table::open(&path).unwrap();
        let part: Vec<RecordBatch> = table.read(0, table.rows(), 1024).unwrap().collect::<Result<_, _>>().unwrap();
        let schema = table.schema();
        prop_assert_eq!(schema.field(1).data_type(), &kind);
        prop_assert_eq!(&cells(&part), &given);
        let back = source(&path);
        prop_assert_eq!(&cells(&back), &given);

        // JSON Lines: the same values, and read back the same JSON.
        let mut lines = Vec::new();
        write_jsonl(&mut lines, &batch).unwrap();
        let rows: Vec<Value> = String::from_utf8(lines.clone()).unwrap().lines().map(json).collect();
        let wanted: Vec<Value> = given.iter().map(Cell::json).collect();
        prop_assert_eq!(rows.iter().map(|row| row["x"].clone()).collect::<Vec<_>>(), wanted.clone());
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, lines).unwrap();
        let mut again = Vec::new();
        source(&path).iter().for_each(|batch| write_jsonl(&mut again, batch).unwrap());
        let rows: Vec<Value> = String::from_utf8(again).unwrap().lines().map(json).collect();
        prop_assert_eq!(rows.iter().map(|row| row["x"].clone()).collect::<Vec<_>>(), wanted.clone());

        // CSV: texts as they are, and JSON of everything else.
        let mut csv = b"id,x\n".to_vec();
        write_csv(&mut csv, &batch).unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, csv).unwrap();
        for (cell, given) in cells(&source(&path)).iter().zip(&given) {
            match (cell, given) {
                (Cell::Null, Cell::Null) => {}
                (Cell::Null, Cell::Text(text)) => prop_assert!(text.is_empty()),
                (Cell::Text(text), Cell::Text(given)) => prop_assert_eq!(text, given),
                (Cell::Text(text), given) => prop_assert_eq!(json(text), given.json()),
                _ => prop_assert!(false, "{:?} of {:?}", cell, given),
            }
        }
    }
}

#[test]
fn a_column_of_empty_maps_and_lists_is_written() {
    for kind in [map_of(list_of(DataType::Int64)), list_of(map_of(DataType::Utf8))] {
        let column = new_null_array(&kind, 3);
        let mut lines = Vec::new();
        write_jsonl(&mut lines, &RecordBatch::try_from_iter([("x", column)]).unwrap()).unwrap();
        assert_eq!(String::from_utf8(lines).unwrap(), "{\"x\":null}\n".repeat(3));
    }
}
