//! Kept sheets: files that people fill. They are written once; later runs only add rows for new keys at the end.
//!
//! The bytes that are there stay as they are, whatever program saved them. The new version is written under a
//! temporary name. It replaces the sheet only if the sheet has not changed meanwhile.

use std::io::ErrorKind;
use std::path::Path;

use arrow_array::RecordBatch;

use super::kept_workbook::{self, NewRow};
use super::table::{Output, Written};
use crate::source::{CsvFile, Filled, SourceError, filled};
use crate::spec::{OutputSpec, SheetSpec, TableFormat};
use crate::store::{Project, SheetFacts, StoreError};
use crate::table::cell_at;
use crate::table::files::replace;

/// How often a sheet is read again that changes meanwhile.
const TRIES: usize = 5;
/// The most keys that a note names.
const EXAMPLES: usize = 5;

impl Output<'_> {
    /// Writes the sheet with `first`, or adds the rows to it that it lacks.
    pub(super) fn keep(
        &self,
        sheet: &SheetSpec,
        first: impl Fn() -> Result<Written, StoreError>,
    ) -> Result<Written, StoreError> {
        let _hold = Project::of(&self.spec.folder).hold_sheet(self.path())?;
        for _ in 0..TRIES {
            let before = match std::fs::read(self.path()) {
                Ok(before) => before,
                Err(error) if error.kind() == ErrorKind::NotFound => match first() {
                    Err(StoreError::Io { error, .. }) if error.kind() == ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(error),
                    Ok(written) => {
                        let facts = SheetFacts { coded: 0, added: written.rows };
                        return Ok(Written { sheet: Some(facts), ..written });
                    }
                },
                Err(error) => return Err(self.io(error)),
            };
            let folder = &self.spec.folder;
            let found = filled(&sheet.reading, folder, &sheet.fill).map_err(|error| self.refused(&error))?;
            let (rows, gone) = self.new_rows(sheet, &found)?;
            let columns = self.output.schema.fields().len();
            let facts = SheetFacts { coded: found.coded, added: rows.len() as u64 };
            let count = found.keys.len() as u64 + facts.added;
            let written = Written { rows: count, columns, notes: gone, sheet: Some(facts) };
            if rows.is_empty() {
                return Ok(written);
            }
            let after = match self.output.format {
                TableFormat::Xlsx => kept_workbook::with_rows(&before, &sheet.reading, &rows),
                _ => with_records(&before, sheet, &rows),
            };
            let after = after.map_err(|error| self.refused(&error))?;
            if replace(self.path(), &before, &after).map_err(|error| self.io(error))? {
                return Ok(written);
            }
        }
        Err(self.broken("it changed while rows were added to it; close it in other programs, and run again"))
    }

    /// The rows whose keys the sheet lacks, and a note about the rows of the sheet that the table lacks.
    fn new_rows(&self, sheet: &SheetSpec, found: &Filled) -> Result<(Vec<NewRow<'_>>, Vec<String>), StoreError> {
        let there: std::collections::HashSet<&str> = found.keys.iter().map(String::as_str).collect();
        let (mut rows, mut keys) = (Vec::new(), std::collections::HashSet::new());
        let names: Vec<&str> = self.output.schema.fields().iter().map(|field| field.name().as_str()).collect();
        for batch in self.rows() {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let key = cell_at(batch.column(sheet.key).as_ref(), row).text();
                if !there.contains(key.as_str()) {
                    rows.push(new_row(&batch, row, &names));
                }
                if !keys.insert(key.clone()) {
                    return Err(self.broken(format!("two rows have the key `{key}`, and a sheet has one row for each")));
                }
            }
        }
        let mut gone: Vec<&str> = found.keys.iter().map(String::as_str).filter(|key| !keys.contains(*key)).collect();
        gone.dedup();
        let note = (!gone.is_empty()).then(|| {
            let shown = gone[..gone.len().min(EXAMPLES)].join(", ");
            let (rows, are) = if gone.len() == 1 { ("row", "is") } else { ("rows", "are") };
            let more = if gone.len() > EXAMPLES { ", .." } else { "" };
            let input = self.spec.table_name(self.output.input);
            format!("{} {rows} of the sheet {are} not in `{input}`: {shown}{more}", gone.len())
        });
        Ok((rows, note.into_iter().collect()))
    }

    fn refused(&self, error: &SourceError) -> StoreError {
        let help = error.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
        self.broken(format!(
            "people fill this sheet, so it stays as it is, but no rows can be added: {}{help}",
            error.message
        ))
    }
}

/// Reads a sheet that is there, before the first call, so that a run does not fail at its end.
pub(crate) fn check(output: &OutputSpec, folder: &Path) -> Result<(), StoreError> {
    progress(output, folder).transpose().map(drop).map_err(|error| {
        let help = error.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
        StoreError::Output {
            path: output.file.clone(),
            reason: format!("the sheet can't be read: {}{help}", error.message),
        }
    })
}

/// How far the sheet of an output is filled; `None` if the file does not exist yet.
pub(crate) fn progress(output: &OutputSpec, folder: &Path) -> Option<Result<Filled, SourceError>> {
    let sheet = output.sheet.as_ref().filter(|_| output.file.exists())?;
    Some(filled(&sheet.reading, folder, &sheet.fill))
}

fn new_row<'a>(batch: &RecordBatch, row: usize, names: &[&'a str]) -> NewRow<'a> {
    let cells = batch.columns().iter().map(|column| cell_at(column.as_ref(), row));
    names.iter().copied().zip(cells).collect()
}

/// The bytes of a CSV file with more records, in its own dialect and encoding.
fn with_records(before: &[u8], sheet: &SheetSpec, rows: &[NewRow<'_>]) -> Result<Vec<u8>, SourceError> {
    let file = CsvFile::read(before, &sheet.reading)?;
    let cell = |row: &NewRow<'_>, name: &String| {
        row.iter().find(|(other, _)| other == name).map_or(String::new(), |(_, cell)| cell.text())
    };
    let record = |row| file.names().iter().map(|name| cell(row, name)).collect();
    file.with_records(rows.iter().map(record).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{File, FillColumn};
    use crate::table::Cell;

    fn added(before: &[u8], settings: &str) -> Result<Vec<u8>, SourceError> {
        let file: File = serde_json::from_str(&format!(r#"{{"path": "a.csv"{settings}}}"#)).unwrap();
        let fill = vec![FillColumn { name: "tone".to_owned(), labels: Vec::new() }];
        let sheet = SheetSpec { key: 0, reading: file.of_sheet("id", &fill), fill };
        let text = |text: &str| Cell::Text(text.to_owned());
        let row = vec![("id", text("3")), ("text", text("a, \"b\"; é")), ("tone", Cell::Null)];
        with_records(before, &sheet, &[row])
    }

    #[track_caller]
    fn adds(before: &str, after: &str) {
        let found = String::from_utf8(added(before.as_bytes(), "").unwrap()).unwrap();
        assert_eq!(found, format!("{before}{after}"));
    }

    #[test]
    fn records_are_added_in_the_dialect_of_the_file() {
        adds("id,text,tone\n1,x,\n", "3,\"a, \"\"b\"\"; é\",\n");
        adds("id,text,tone\r\n1,x,", "\r\n3,\"a, \"\"b\"\"; é\",\r\n");
        adds("\u{feff}id;text;tone\r\n1;x;\r\n", "3;\"a, \"\"b\"\"; é\";\r\n");
        adds("sep=;\nid;text;tone\n1;x;\n", "3;\"a, \"\"b\"\"; é\";\n");
    }

    #[test]
    fn added_and_moved_columns_stay_in_their_places() {
        adds("note,tone,text,id,,who\n,,x,1,,\n", ",,\"a, \"\"b\"\"; é\",3,,\n");
    }

    #[test]
    fn the_encoding_stays() {
        let utf16: Vec<u8> = "id,text,tone\n1,ü,\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let found = added(&utf16, r#", "encoding": "utf-16le""#).unwrap();
        let expected = "id,text,tone\n1,ü,\n3,\"a, \"\"b\"\"; é\",\n";
        assert_eq!(found, expected.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
        let found = added(b"id,text,tone\n1,\xfc,\n", r#", "encoding": "windows-1252""#).unwrap();
        assert_eq!(found, b"id,text,tone\n1,\xfc,\n3,\"a, \"\"b\"\"; \xe9\",\n");
        let error = added(b"id,text,tone\n1,x,\n", r#", "encoding": "koi8-r""#).unwrap_err();
        assert!(error.message.contains("lacks characters"), "{error:?}");
    }
}
