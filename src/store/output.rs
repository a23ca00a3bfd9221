//! Outputs: writes the tables of a run as Parquet, CSV or JSON Lines, each atomically.

use std::io::{BufWriter, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use super::error::StoreError;
use crate::spec::TableFormat;
use crate::table::parquet::{Options, TableError, TableWriter, folder_of, new_file, persist};
use crate::table::{Cell, cell_at, cells_at};

pub(crate) fn write(
    path: &Path,
    format: TableFormat,
    schema: SchemaRef,
    facts: Vec<(String, String)>,
    batches: impl Iterator<Item = Result<RecordBatch, TableError>>,
) -> Result<u64, StoreError> {
    if format != TableFormat::Parquet {
        return write_text(path, format == TableFormat::Csv, &schema, batches);
    }
    let mut writer = TableWriter::create(path, schema, &Options { facts, ..Options::default() })?;
    for batch in batches {
        writer.write(batch?)?;
    }
    let rows = writer.rows();
    writer.commit()?;
    Ok(rows)
}

fn write_text(
    path: &Path,
    csv: bool,
    schema: &Schema,
    batches: impl Iterator<Item = Result<RecordBatch, TableError>>,
) -> Result<u64, StoreError> {
    let io = |error| StoreError::Io { path: path.to_owned(), error };
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
    let file = new_file(path).map_err(io)?;
    let mut text = BufWriter::new(file.as_file().try_clone().map_err(io)?);
    if csv {
        let names = schema.fields().iter().map(|f| f.name());
        let mut csv = csv::Writer::from_writer(&mut text);
        csv.write_record(names).map_err(|error| io(error.into()))?;
        csv.flush().map_err(io)?;
    }
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        if csv { write_csv(&mut text, &batch) } else { write_jsonl(&mut text, &batch) }.map_err(io)?;
    }
    text.flush().map_err(io)?;
    drop(text);
    persist(file, path).map_err(io)?;
    Ok(rows)
}

fn write_csv(file: &mut impl Write, batch: &RecordBatch) -> std::io::Result<()> {
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

fn write_jsonl(file: &mut impl Write, batch: &RecordBatch) -> std::io::Result<()> {
    for row in 0..batch.num_rows() {
        serde_json::to_writer(&mut *file, &cells_at(batch, row))?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Simple, Type, array_of};
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
        let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("o/t.csv");
        write(&csv, TableFormat::Csv, schema.clone(), vec![], [Ok(batch.clone())].into_iter()).unwrap();
        assert_eq!(std::fs::read_to_string(&csv).unwrap(), "t,n,l\n\"a \"\"b\"\"\nc\",0.5,\"[\"\"x\"\"]\"\n,2.0,\n");
        let jsonl = folder.path().join("t.jsonl");
        write(&jsonl, TableFormat::Jsonl, schema, vec![], [Ok(batch)].into_iter()).unwrap();
        let expected = "{\"t\":\"a \\\"b\\\"\\nc\",\"n\":0.5,\"l\":[\"x\"]}\n{\"t\":null,\"n\":2.0,\"l\":null}\n";
        assert_eq!(std::fs::read_to_string(&jsonl).unwrap(), expected);
    }
}
