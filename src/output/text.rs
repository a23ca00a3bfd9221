//! Text: tables as CSV and JSON Lines.

use std::fs::File;
use std::io::{BufWriter, Write};

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use serde::{Serialize, Serializer as _};
use serde_json::Value;
use serde_json::value::RawValue;

use super::table::Output;
use crate::store::StoreError;
use crate::table::{Cell, Shape, cell_at};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The rows as the text of a CSV file.
pub(crate) fn csv_text(schema: &Schema, batches: &[RecordBatch]) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut csv = csv::Writer::from_writer(&mut text);
    csv.write_record(schema.fields().iter().map(|f| f.name()))?;
    csv.flush()?;
    drop(csv);
    batches.iter().try_for_each(|batch| write_csv(&mut text, batch))?;
    String::from_utf8(text).map_err(std::io::Error::other)
}

pub(super) fn csv(file: &File, output: &Output<'_>, bom: bool) -> Result<u64, StoreError> {
    let mut text = BufWriter::new(file);
    let names = output.output.schema.fields().iter().map(|f| f.name());
    if bom {
        text.write_all(BYTE_ORDER_MARK.as_bytes()).map_err(|error| output.io(error))?;
    }
    let mut csv = csv::Writer::from_writer(&mut text);
    csv.write_record(names).map_err(|error| output.io(error.into()))?;
    csv.flush().map_err(|error| output.io(error))?;
    drop(csv);
    write(text, output, write_csv)
}

pub(super) fn jsonl(file: &File, output: &Output<'_>) -> Result<u64, StoreError> {
    write(BufWriter::new(file), output, write_jsonl)
}

fn write<W: Write>(
    mut text: W,
    output: &Output<'_>,
    rows_as: impl Fn(&mut W, &RecordBatch) -> std::io::Result<()>,
) -> Result<u64, StoreError> {
    let mut rows = 0;
    for batch in output.rows() {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        rows_as(&mut text, &batch).map_err(|error| output.io(error))?;
    }
    text.flush().map_err(|error| output.io(error))?;
    Ok(rows)
}

pub(super) fn write_csv(file: &mut impl Write, batch: &RecordBatch) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(file);
    for row in 0..batch.num_rows() {
        for column in batch.columns() {
            match cell_at(column.as_ref(), row) {
                Cell::Number(number) if !number.is_finite() => csv.write_field(number.to_string())?,
                cell => csv.write_field(cell.text())?,
            }
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}

/// A cell in a JSON file.
#[derive(Serialize)]
#[serde(untagged)]
enum Written {
    /// JSON text as it was written, so that its numbers keep all digits.
    Json(Box<RawValue>),
    Value(Value),
}

impl Written {
    fn of(field: &Field, cell: &Cell) -> Written {
        let json = match cell {
            Cell::Text(text) if Shape::is_json(field) => as_written(text),
            _ => None,
        };
        json.map_or_else(|| Written::Value(cell.json()), Written::Json)
    }
}

/// The JSON in one line; `None` for a text that a reader of JSON would refuse.
fn as_written(text: &str) -> Option<Box<RawValue>> {
    // In a list, because it is nested in its row.
    serde_json::from_str::<[Value; 1]>(&format!("[{text}]")).ok()?;
    RawValue::from_string(text.replace(['\n', '\r'], " ")).ok()
}

pub(super) fn write_jsonl(file: &mut impl Write, batch: &RecordBatch) -> std::io::Result<()> {
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let cells = schema.fields().iter().zip(batch.columns());
        let cells = cells.map(|(field, column)| (field.name(), Written::of(field, &cell_at(column.as_ref(), row))));
        serde_json::Serializer::new(&mut *file).collect_map(cells)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Simple, Type, array_of};
    use arrow_schema::SchemaRef;
    use std::sync::Arc;

    #[test]
    fn csv_and_jsonl_contain_the_cells() {
        let columns =
            [Column::new("t", Type::Text), Column::new("n", Type::Number), Column::new("l", Type::List(Simple::Text))];
        let schema: SchemaRef = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        let cells = [
            [Cell::Text("a \"b\"\nc".into()), Cell::Null],
            [Cell::Number(0.5), Cell::Number(2.0)],
            [Cell::List(vec![Cell::Text("x".into())]), Cell::Null],
        ];
        let arrays = columns.iter().zip(&cells).map(|(c, cells)| array_of(c.kind, cells.iter())).collect();
        let batch = RecordBatch::try_new(schema, arrays).unwrap();
        let (mut csv, mut jsonl) = (Vec::new(), Vec::new());
        write_csv(&mut csv, &batch).unwrap();
        assert_eq!(String::from_utf8(csv).unwrap(), "\"a \"\"b\"\"\nc\",0.5,\"[\"\"x\"\"]\"\n,2.0,\n");
        write_jsonl(&mut jsonl, &batch).unwrap();
        let expected = "{\"t\":\"a \\\"b\\\"\\nc\",\"n\":0.5,\"l\":[\"x\"]}\n{\"t\":null,\"n\":2.0,\"l\":null}\n";
        assert_eq!(String::from_utf8(jsonl).unwrap(), expected);
    }

    #[test]
    fn json_text_is_json_in_jsonl_and_text_in_csv() {
        for (cell, expected) in [
            (r#"{"a": 1.0, "b": [12345678901234567890123]}"#, r#"{"a": 1.0, "b": [12345678901234567890123]}"#),
            ("[\n  1,\r\n  \"x\\ny\"\n]", r#"[   1,    "x\ny" ]"#),
            ("7", "7"),
            // Not JSON, or not one value, or not text in every reader.
            ("{a: 1}", r#""{a: 1}""#),
            ("1, 2", r#""1, 2""#),
            ("", r#""""#),
            (r#"["\ud83d"]"#, r#""[\"\\ud83d\"]""#),
        ] {
            let field = Shape::Any.marked(Field::new("j", arrow_schema::DataType::Utf8, true));
            let schema = Arc::new(Schema::new(vec![field, Column::new("t", Type::Text).field()]));
            let column: arrow_array::ArrayRef = Arc::new(arrow_array::StringArray::from(vec![cell]));
            let batch = RecordBatch::try_new(schema, vec![Arc::clone(&column), column]).unwrap();
            let mut jsonl = Vec::new();
            write_jsonl(&mut jsonl, &batch).unwrap();
            let text = serde_json::to_string(cell).unwrap();
            assert_eq!(String::from_utf8(jsonl).unwrap(), format!("{{\"j\":{expected},\"t\":{text}}}\n"));
            let mut csv = Vec::new();
            write_csv(&mut csv, &batch).unwrap();
            let mut csv = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_slice());
            assert_eq!(csv.records().next().unwrap().unwrap(), vec![cell, cell]);
        }
    }
}
