//! Coding sheets: the files that an output writes and people fill, read as sources.
//!
//! A row of the sheet is a row of the source once a column that people fill has a value in it. So a missing sheet and an
//! unfilled one are the same source, without rows.

use std::path::Path;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::filter::filter_record_batch;

use crate::name::{listed, nearest};
use crate::source::batches::{Batches, SourceError};
use crate::source::csv::Csv;
use crate::source::csv::dialect::Dialect;
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::Changes;
use crate::source::rows::Source;
use crate::source::settings::File;
use crate::source::settings::codes::{CodingSheet, FillColumn};
use crate::source::settings::column_choice::{ColumnChoice, ColumnRef};
use crate::source::text::Text;
use crate::source::text::cell::Type;
use crate::table::{self, Cell, Digest, array_of, cell_at};

/// The most codes that a message names.
const EXAMPLES: usize = 5;

/// Whether a cell of a column that people fill has a code.
fn is_coded(cell: &Cell) -> bool {
    !matches!(cell, Cell::Null) && !cell.text().trim().is_empty()
}

impl File {
    /// Makes this the source of a sheet. Its codes are text, unless `types` says otherwise.
    pub(super) fn read_sheet(&mut self, sheet: &CodingSheet) {
        for fill in sheet.fill.iter().filter(|fill| !fill.labels.is_empty()) {
            let is_it = |choice: &&ColumnChoice| choice.from == ColumnRef::Name(fill.name.clone());
            let choice = self.columns.iter().flatten().find(is_it);
            if choice.is_some() || self.columns.is_none() {
                let name = choice.and_then(|choice| choice.name.as_ref()).unwrap_or(&fill.name);
                self.types.entry(name.clone()).or_insert(Type::String);
            }
        }
        // A clone forgets what was found with the settings before.
        *self = File { coding: Some(sheet.clone()), ..self.clone() };
    }

    /// The settings to read only the key and the filled columns of the sheet, in this order, all rows.
    pub(crate) fn of_sheet(&self, key: &str, fill: &[FillColumn]) -> File {
        let names = [key].into_iter().chain(fill.iter().map(|fill| fill.name.as_str()));
        let choice = |name: &str| ColumnChoice { from: ColumnRef::Name(name.to_owned()), name: None };
        File {
            key: None,
            types: names.clone().map(|name| (name.to_owned(), Type::String)).collect(),
            columns: Some(names.map(choice).collect()),
            condition: None,
            sample: None,
            limit: None,
            coding: None,
            ..self.clone()
        }
    }
}

/// The coded rows of a sheet. A code that is not a label is an error.
pub(super) fn coded(rows: Batches, read: &SchemaRef, file: &File) -> Batches {
    let fill = read.fields().iter().enumerate().filter_map(|(index, field)| {
        let name = file.name_in_file(field.name());
        let sheet = file.coding.as_ref()?;
        Some((index, sheet.fill.iter().find(|fill| fill.name == name)?.clone()))
    });
    let fill: Vec<(usize, FillColumn)> = fill.collect();
    if fill.is_empty() {
        return rows;
    }
    let key = file.key.as_ref().and_then(|key| read.index_of(key).ok());
    let (path, mut first) = (file.path.clone(), 1);
    Box::new(rows.map(move |batch| {
        let batch = batch?;
        let row_name = |row: usize| match key {
            None => format!("row {}", first + row),
            Some(key) => format!("row {} ({})", first + row, cell_at(batch.column(key).as_ref(), row).text()),
        };
        check(&batch, &fill, &path, &row_name)?;
        first += batch.num_rows();
        let mut columns = batch.columns().to_vec();
        let mut mask = vec![false; batch.num_rows()];
        for (index, fill) in &fill {
            let cells = (0..batch.num_rows()).map(|row| cell_at(columns[*index].as_ref(), row));
            let cells: Vec<Cell> = cells.map(|cell| if is_coded(&cell) { cell } else { Cell::Null }).collect();
            cells.iter().zip(&mut mask).for_each(|(cell, coded)| *coded |= is_coded(cell));
            if *columns[*index].data_type() == DataType::Utf8 {
                let label = |cell: Cell| fill.label(&cell.text()).cloned().map_or(cell, Cell::Text);
                let labels: Vec<Cell> = cells.into_iter().map(label).collect();
                columns[*index] = array_of(table::Type::Text, labels.iter());
            }
        }
        let broken = |error: arrow_schema::ArrowError| SourceError::new(error.to_string());
        let batch = RecordBatch::try_new(batch.schema(), columns).map_err(broken)?;
        filter_record_batch(&batch, &BooleanArray::from(mask)).map_err(broken)
    }))
}

/// Names the codes of a batch that are not labels.
fn check(
    batch: &RecordBatch,
    fill: &[(usize, FillColumn)],
    path: &str,
    row_name: &dyn Fn(usize) -> String,
) -> Result<(), SourceError> {
    let mut wrong = Vec::new();
    for row in 0..batch.num_rows() {
        for (index, fill) in fill {
            let cell = cell_at(batch.column(*index).as_ref(), row);
            if is_coded(&cell) && !fill.allows(&cell) {
                wrong.push((row, fill, cell.text()));
            }
        }
    }
    let Some((_, column, code)) = wrong.first() else { return Ok(()) };
    let shown =
        wrong.iter().take(EXAMPLES).map(|(row, fill, code)| format!("{}: {} is {code:?}", row_name(*row), fill.name));
    let shown: Vec<String> = shown.collect();
    let more = if wrong.len() > EXAMPLES { format!("; and {} more", wrong.len() - EXAMPLES) } else { String::new() };
    let what = if wrong.len() == 1 {
        "1 code is not a label".to_owned()
    } else {
        format!("{} codes are not labels", wrong.len())
    };
    let meant = nearest(code, column.labels.iter().map(String::as_str));
    let meant = meant.map_or(String::new(), |near| format!("did you mean `{near}`? "));
    let labels = listed(column.labels.iter().map(String::as_str));
    Err(SourceError::of_file(path, format!("{what}: {}{more}", shown.join("; ")))
        .help(format!("{meant}the labels of `{}` are {labels}", column.name)))
}

/// The hash of the coded rows, in hex. The bytes of the file do not matter, so saving it in another dialect changes nothing.
pub(crate) fn content(source: &dyn Source, folder: &Path) -> Result<String, SourceError> {
    let schema = source.schema(folder)?;
    let mut digest = Digest::new(schema.fields().iter().map(|field| field.name().as_str()));
    for batch in source.read(folder)? {
        digest.add(&batch?);
    }
    Ok(digest.finish())
}

/// How far a sheet is filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// The keys of all rows.
    pub(crate) keys: Vec<String>,
    /// The rows with a code in every column that has labels.
    pub(crate) coded: u64,
    /// The other rows with a value.
    pub(crate) partly: u64,
}

/// Reads a sheet by the settings of [`File::of_sheet`].
pub(crate) fn filled(reading: &File, folder: &Path, fill: &[FillColumn]) -> Result<Filled, SourceError> {
    let mut filled = Filled::default();
    let has_labels = fill.iter().any(|fill| !fill.labels.is_empty());
    for batch in reading.read(folder)? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let cell = |column: usize| cell_at(batch.column(column).as_ref(), row);
            let values: Vec<bool> = (1..=fill.len()).map(|column| is_coded(&cell(column))).collect();
            let any = values.contains(&true);
            let all = fill.iter().zip(&values).all(|(fill, value)| *value || fill.labels.is_empty());
            filled.keys.push(cell(0).text());
            filled.coded += u64::from(any && (all || !has_labels));
            filled.partly += u64::from(any && !all && has_labels);
        }
    }
    Ok(filled)
}

/// The reader of a sheet that does not exist yet.
pub(super) struct BlankSheet;

impl Reader for BlankSheet {
    fn has_layout(&self, _: &File) -> bool {
        true
    }

    fn file_schema(&self, _: &DataFile, options: &File) -> Result<SchemaRef, SourceError> {
        self.schema(&[], options)
    }

    fn schema(&self, _: &[DataFile], options: &File) -> Result<SchemaRef, SourceError> {
        let sheet = options.coding.clone().unwrap_or_default();
        let mut header = csv::Writer::from_writer(Vec::new());
        let names = sheet.columns.iter().chain(sheet.fill.iter().map(|fill| &fill.name));
        let written = header.write_record(names).map_err(|error| error.to_string());
        let text = written.and_then(|()| header.into_inner().map_err(|error| error.to_string()));
        let text = Text::of(text.map_err(|message| SourceError::of_file(&options.path, message))?)?;
        let File { columns, types, condition, .. } = options.clone();
        let plain = File { columns, types, condition, ..File::default() };
        Ok(Csv::new(text, &options.path, Dialect::CSV, &plain)?.schema())
    }

    fn read(&self, _: &DataFile, _: &File, _: &SchemaRef, _: &Changes) -> Result<Batches, SourceError> {
        Ok(Box::new(std::iter::empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> CodingSheet {
        let fill = |name: &str, labels: &[&str]| FillColumn {
            name: name.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        CodingSheet {
            columns: vec!["id".to_owned(), "text".to_owned()],
            fill: vec![fill("tone", &["glad", "sad"]), fill("note", &[])],
        }
    }

    fn source(json: &str) -> File {
        let mut file: File = serde_json::from_str(&format!(r#"{{"path": "a.csv", "key": "id"{json}}}"#)).unwrap();
        file.read_sheet(&sheet());
        file
    }

    fn rows(file: &File, folder: &Path) -> Result<Vec<Vec<String>>, SourceError> {
        let mut rows = Vec::new();
        for batch in file.read(folder)? {
            let batch = batch?;
            rows.extend((0..batch.num_rows()).map(|row| {
                batch.columns().iter().map(|column| cell_at(column.as_ref(), row).text()).collect::<Vec<_>>()
            }));
        }
        Ok(rows)
    }

    #[test]
    fn a_missing_sheet_is_one_that_nobody_has_filled() {
        let folder = tempfile::tempdir().unwrap();
        let file = source("");
        let names = |file: &File| -> Vec<String> {
            file.schema(folder.path()).unwrap().fields().iter().map(|field| field.name().clone()).collect()
        };
        assert_eq!(names(&file), ["id", "text", "tone", "note"]);
        assert_eq!(names(&source(r#", "columns": ["id", {"from": "tone", "name": "anna"}]"#)), ["id", "anna"]);
        assert!(rows(&file, folder.path()).unwrap().is_empty() && file.files(folder.path()).unwrap().is_empty());
        let missing = content(&file, folder.path()).unwrap();
        std::fs::write(folder.path().join("a.csv"), "id,text,tone,note\n1,x,,\n2,y, ,\n").unwrap();
        assert!(rows(&file, folder.path()).unwrap().is_empty());
        assert_eq!(content(&file, folder.path()).unwrap(), missing);
        std::fs::write(folder.path().join("a.csv"), "id,text,tone,note\n1,x,,\n2,y,sad,\n").unwrap();
        assert_ne!(content(&file, folder.path()).unwrap(), missing);
    }

    #[test]
    fn codes_are_labels_in_any_dialect_and_case() {
        let folder = tempfile::tempdir().unwrap();
        let file = source("");
        let write = |text: &str| std::fs::write(folder.path().join("a.csv"), text).unwrap();
        write("id,text,tone,note\n1,x,\"Glad \",\n2,y,,\n3,z,,later\n");
        let found = rows(&file, folder.path()).unwrap();
        assert_eq!(found, [["1", "x", "glad", ""], ["3", "z", "", "later"]]);
        let plain = content(&file, folder.path()).unwrap();
        write("\u{feff}id;text;tone;note\r\n1;x;GLAD;\r\n2;y;;\r\n3;z;;later\r\n");
        assert_eq!((rows(&file, folder.path()).unwrap(), content(&file, folder.path()).unwrap()), (found, plain));
    }

    #[test]
    fn codes_that_are_no_labels_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = "id,text,tone,note\na,x,glad,\nb,y,saad,\nc,z,7,\n";
        std::fs::write(folder.path().join("a.csv"), text).unwrap();
        let error = rows(&source(""), folder.path()).unwrap_err();
        let expected = "a.csv: 2 codes are not labels: row 2 (b): tone is \"saad\"; row 3 (c): tone is \"7\"";
        assert_eq!(error.message, expected);
        assert_eq!(error.help.unwrap(), "did you mean `sad`? the labels of `tone` are `glad` and `sad`");
    }

    #[test]
    fn the_progress_counts_rows_with_all_codes() {
        let folder = tempfile::tempdir().unwrap();
        let text = "text,id,note,tone,extra\nx,a,,glad,1\ny,b,why,,\nz,c,,,2\n";
        std::fs::write(folder.path().join("a.csv"), text).unwrap();
        let fill = sheet().fill;
        let found = filled(&source("").of_sheet("id", &fill), folder.path(), &fill).unwrap();
        let keys = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(found, Filled { keys, coded: 1, partly: 1 });
        let found = filled(&source("").of_sheet("id", &fill[1..]), folder.path(), &fill[1..]).unwrap();
        assert_eq!((found.coded, found.partly), (1, 0));
    }
}
