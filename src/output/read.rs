//! Reading outputs back: the rows, columns and hash of a written table.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use crate::spec::TableFormat;
use crate::store::StoredTable;
use crate::table::{Cell, Digest, column_words};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// `None` for a format that is not read.
    pub(crate) rows: Option<u64>,
    /// The columns: `name: type` in Parquet, only names in CSV and JSON Lines.
    pub(crate) columns: Vec<String>,
    pub(crate) hash: String,
}

/// Reads the output at `path` as a stream. The error is a sentence.
///
/// In Parquet and JSON Lines, equal values have the same hash (except NaN, which JSON lacks). A CSV contains only
/// texts, so its hash is a hash of texts. Of other formats it is the hash of the bytes.
pub(crate) fn read(path: &Path, format: TableFormat) -> Result<Content, String> {
    match format {
        TableFormat::Parquet => parquet(path),
        TableFormat::Csv => csv(path).map_err(|error| error.to_string()),
        TableFormat::Jsonl => jsonl(path),
        _ => bytes(path).map_err(|error| error.to_string()),
    }
}

fn bytes(path: &Path) -> std::io::Result<Content> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(Content { rows: None, columns: Vec::new(), hash: hasher.finalize().to_hex().to_string() })
}

fn parquet(path: &Path) -> Result<Content, String> {
    // Read like a source, because programs write equal texts and numbers as different Parquet types.
    let table = StoredTable::file(path)?;
    let schema = table.schema();
    let mut digest = Digest::new(schema.fields().iter().map(|f| f.name().as_str()));
    for batch in table.read()? {
        digest.add(&batch?);
    }
    let columns = schema.fields().iter().map(|field| column_words(field)).collect();
    Ok(Content { rows: Some(digest.rows()), columns, hash: digest.finish() })
}

fn csv(path: &Path) -> Result<Content, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().from_path(path)?;
    let columns: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let mut digest = Digest::new(columns.iter().map(String::as_str));
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        digest.add_row(record.iter().map(|field| Cell::Text(field.to_owned())));
    }
    Ok(Content { rows: Some(digest.rows()), columns, hash: digest.finish() })
}

fn jsonl(path: &Path) -> Result<Content, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut columns: Vec<String> = Vec::new();
    let mut digest = Digest::new([]);
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|error| error.to_string())?;
        if line.trim().is_empty() {
            continue;
        }
        let number = digest.rows() + 1;
        let mut row: Map<String, Value> =
            serde_json::from_str(&line).map_err(|error| format!("row {number}: {error}"))?;
        if number == 1 {
            columns = row.keys().cloned().collect();
            digest = Digest::new(columns.iter().map(String::as_str));
        }
        if row.len() != columns.len() {
            return Err(format!("row {number} has other keys than row 1"));
        }
        let cells = columns.iter().map(|column| row.remove(column).map(Cell::of_json));
        let cells: Option<Vec<Cell>> = cells.collect();
        digest.add_row(cells.ok_or_else(|| format!("row {number} has other keys than row 1"))?);
    }
    Ok(Content { rows: Some(digest.rows()), columns, hash: digest.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::parquet::{Options, TableWriter};
    use crate::table::{Column, Simple, Type, array_of, cells_at};
    use arrow_array::RecordBatch;
    use arrow_schema::Schema;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let columns = [
            Column::new("text", Type::Text),
            Column::new("number", Type::Number),
            Column::new("whole", Type::Integer),
            Column::new("list", Type::List(Simple::Text)),
        ];
        let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        let cells = [
            [Cell::Text("a, \"b\"\nc".into()), Cell::Null, Cell::Text("é".into())],
            [Cell::Number(2.0), Cell::Number(-0.5), Cell::Null],
            [Cell::Integer(i64::MAX), Cell::Null, Cell::Integer(0)],
            [Cell::List(vec![Cell::Text("x".into()), Cell::Null]), Cell::Null, Cell::List(vec![])],
        ];
        let arrays = columns.iter().zip(&cells).map(|(c, cells)| array_of(c.kind, cells.iter())).collect();
        RecordBatch::try_new(schema, arrays).unwrap()
    }

    #[test]
    fn every_format_reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let batch = batch();
        let parquet = folder.path().join("t.parquet");
        let mut writer = TableWriter::create(&parquet, batch.schema(), &Options::default()).unwrap();
        writer.write(batch.clone()).unwrap();
        writer.commit().unwrap();
        let csv = "text,number,whole,list\n\"a, \"\"b\"\"\nc\",2.0,9223372036854775807,\"[\"\"x\"\",null]\"\n,-0.5,,\né,,0,[]\n";
        std::fs::write(folder.path().join("t.csv"), csv).unwrap();
        let jsonl = (0..3).map(|row| serde_json::to_string(&cells_at(&batch, row)).unwrap() + "\n");
        std::fs::write(folder.path().join("t.jsonl"), jsonl.collect::<String>()).unwrap();
        let read_back = |name: &str, format| read(&folder.path().join(name), format).unwrap();
        let parquet = read_back("t.parquet", TableFormat::Parquet);
        let mut digest = Digest::new(["text", "number", "whole", "list"]);
        digest.add(&batch);
        assert_eq!((parquet.rows, &parquet.hash), (Some(3), &digest.finish()));
        assert_eq!(parquet.columns, ["text: text", "number: number", "whole: integer", "list: list of text"]);
        let jsonl = read_back("t.jsonl", TableFormat::Jsonl);
        assert_eq!((jsonl.rows, &jsonl.hash), (Some(3), &parquet.hash));
        assert_eq!(jsonl.columns, ["text", "number", "whole", "list"]);
        let csv = read_back("t.csv", TableFormat::Csv);
        assert_eq!((csv.rows, csv.columns), (Some(3), jsonl.columns));
        // Unneeded quotes do not change the table.
        let text = std::fs::read_to_string(folder.path().join("t.csv")).unwrap();
        std::fs::write(folder.path().join("u.csv"), text.replace("-0.5", "\"-0.5\"")).unwrap();
        assert_eq!(read(&folder.path().join("u.csv"), TableFormat::Csv).unwrap().hash, csv.hash);
    }

    #[test]
    fn the_hash_depends_on_values_but_not_on_row_groups_or_compression() {
        let folder = tempfile::tempdir().unwrap();
        let written = |rows: usize, properties: WriterProperties, batch: &RecordBatch| {
            let path = folder.path().join(format!("{rows}.parquet"));
            let file = File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
            for at in (0..batch.num_rows()).step_by(rows) {
                writer.write(&batch.slice(at, rows.min(batch.num_rows() - at))).unwrap();
                writer.flush().unwrap();
            }
            writer.close().unwrap();
            read(&path, TableFormat::Parquet).unwrap()
        };
        let plain = WriterProperties::builder().build();
        let snappy = WriterProperties::builder()
            .set_compression(parquet::basic::Compression::SNAPPY)
            .set_dictionary_enabled(false);
        let whole = written(3, plain.clone(), &batch());
        assert_eq!(written(1, snappy.build(), &batch()), whole);
        assert_ne!(written(2, plain, &batch().slice(0, 2)).hash, whole.hash);
    }

    #[test]
    fn a_broken_file_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let broken = |name: &str, format, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            read(&path, format).unwrap_err()
        };
        assert_eq!(
            broken("a.parquet", TableFormat::Parquet, "x"),
            "a.parquet: the Parquet file is damaged: it is too short for a Parquet file"
        );
        assert!(broken("a.csv", TableFormat::Csv, "a,b\n1\n").contains("found record with 1 fields"));
        assert_eq!(broken("a.jsonl", TableFormat::Jsonl, "{\"a\":1}\n{\"b\":1}\n"), "row 2 has other keys than row 1");
    }
}
