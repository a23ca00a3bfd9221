//! Sheets: the coding sheets that people fill in the browser. Every code is saved at once, in the file as it is.

use std::path::Path;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::file::{FilledFile, Refused, Stamp, version};
use super::guard::Secret;
use crate::output::WorkbookFile;
use crate::source::{CsvFile, File, FillColumn, SourceError};
use crate::spec::{OutputSpec, Spec, TableFormat};
use crate::table::Cell;

pub(super) struct Sheet {
    pub(super) secret: Secret,
    file: FilledFile,
    reading: File,
    key: String,
    /// The columns that the spec shows to the coder. Others that the file may have are not shown.
    columns: Vec<String>,
    fill: Vec<FillColumn>,
    is_blind: bool,
    is_workbook: bool,
    /// How far the file was filled when it was read last.
    filled: Mutex<Option<(Option<Stamp>, Filled)>>,
}

/// A code that a page sends.
#[derive(Debug, Deserialize)]
pub(super) struct Code {
    /// The content that the page has read.
    version: String,
    /// The row, from 0, and its key.
    row: usize,
    key: String,
    column: String,
    value: String,
}

/// How far a sheet is filled.
#[derive(Clone, Copy)]
pub(super) struct Filled {
    pub(super) rows: usize,
    pub(super) coded: usize,
}

/// The cells of a sheet, as texts.
enum Cells<'a> {
    Text(CsvFile<'a>),
    Workbook(WorkbookFile<'a>),
}

impl Cells<'_> {
    fn names(&self) -> &[String] {
        match self {
            Cells::Text(file) => file.names(),
            Cells::Workbook(file) => file.names(),
        }
    }

    fn rows(&self) -> &[Vec<String>] {
        match self {
            Cells::Text(file) => file.rows(),
            Cells::Workbook(file) => file.rows(),
        }
    }

    fn with_cell(&self, row: usize, column: usize, value: &str) -> Result<Vec<u8>, SourceError> {
        match self {
            Cells::Text(file) => file.with_cells(row, &[(column, value)]),
            Cells::Workbook(file) => file.with_cell(row, column, value),
        }
    }
}

impl Sheet {
    /// The sheets of a spec that people fill.
    pub(super) fn all(spec: &Spec) -> Vec<Sheet> {
        spec.outputs.values().filter_map(|output| Sheet::of(output, &spec.folder)).collect()
    }

    fn of(output: &OutputSpec, folder: &Path) -> Option<Sheet> {
        let sheet = output.sheet.as_ref().filter(|sheet| !sheet.fill.is_empty())?;
        let given = output.schema.fields().len() - sheet.fill.len();
        let name = |index: usize| output.schema.field(index).name().clone();
        Some(Sheet {
            secret: Secret::new(),
            file: FilledFile::new(&output.path, folder),
            reading: sheet.reading.clone(),
            key: name(sheet.key),
            columns: (0..given).map(name).collect(),
            fill: sheet.fill.clone(),
            is_blind: output.settings.get("blind") == Some(&Value::Bool(true)),
            is_workbook: output.format == TableFormat::Xlsx,
            filled: Mutex::default(),
        })
    }

    /// The path, and whether the coder sees no answers.
    pub(super) fn title(&self) -> String {
        if self.is_blind { format!("{} (blind)", self.path()) } else { self.path().to_owned() }
    }

    pub(super) fn path(&self) -> &str {
        &self.file.path
    }

    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    fn cells<'a>(&'a self, bytes: &'a [u8]) -> Result<Cells<'a>, Refused> {
        Ok(match self.is_workbook {
            true => Cells::Workbook(WorkbookFile::read(bytes, &self.reading)?),
            false => Cells::Text(CsvFile::read(bytes, &self.reading)?),
        })
    }

    /// The rows with their codes, for the page.
    pub(super) fn read(&self) -> Result<Value, Refused> {
        let bytes = self.file.bytes()?;
        let cells = self.cells(&bytes)?;
        let given = self.places(&cells, self.columns.iter())?;
        let filled = self.places(&cells, self.fill.iter().map(|fill| &fill.name))?;
        let key = self.places(&cells, [&self.key])?[0];
        let rows = cells.rows().iter().map(|row| {
            let texts = |places: &[usize]| places.iter().map(|place| row[*place].clone()).collect::<Vec<_>>();
            let codes = self.fill.iter().zip(texts(&filled));
            let codes = codes.map(|(fill, code)| fill.label(code.trim()).cloned().unwrap_or(code));
            json!({ "key": row[key], "cells": texts(&given), "codes": codes.collect::<Vec<_>>() })
        });
        let fill = self.fill.iter().map(|fill| json!({ "name": fill.name, "labels": fill.labels }));
        Ok(json!({
            "path": self.path(), "key": self.key, "columns": self.columns, "fill": fill.collect::<Vec<_>>(),
            "blind": self.is_blind, "rows": rows.collect::<Vec<_>>(), "version": version(&bytes),
        }))
    }

    /// Saves a code and returns the new version. Only this cell of the file changes.
    pub(super) fn save(&self, code: &Code) -> Result<String, Refused> {
        let fill = self.fill.iter().find(|fill| fill.name == code.column);
        let fill = fill.ok_or_else(|| Refused::Wrong(format!("`{}` is not a column to fill", code.column)))?;
        let value = code.value.trim();
        if !value.is_empty() && !fill.allows(&Cell::Text(value.to_owned())) {
            return Err(Refused::Wrong(format!("`{value}` is not a label of `{}`", fill.name)));
        }
        // Two changes in a moment may leave the same time and length.
        *self.filled.lock() = None;
        self.file.change(&code.version, |before| {
            let cells = self.cells(before)?;
            let [key, column] = self.places(&cells, [&self.key, &fill.name])?[..] else {
                return Err(self.file.changed());
            };
            if cells.rows().get(code.row).is_none_or(|row| row[key] != code.key) {
                return Err(self.file.changed());
            }
            Ok(cells.with_cell(code.row, column, value)?)
        })
    }

    /// How far the file is filled; `None` if it does not exist or can't be read. It is read only if it has changed.
    pub(super) fn filled(&self) -> Option<Filled> {
        let stamp = self.file.stamp();
        let mut last = self.filled.lock();
        if let Some((known, filled)) = *last
            && known == stamp
        {
            return Some(filled);
        }
        let found = crate::source::filled(&self.reading, &self.file.folder, &self.fill).ok()?;
        let filled = Filled { rows: found.keys.len(), coded: found.coded as usize };
        *last = Some((stamp, filled));
        Some(filled)
    }

    /// The places of columns in the file.
    fn places<'a>(
        &self,
        cells: &Cells<'_>,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Result<Vec<usize>, Refused> {
        let place = |name: &String| {
            let found = cells.names().iter().position(|other| other == name);
            found.ok_or_else(|| Refused::Failed(format!("`{}` has no column `{name}`", self.path())))
        };
        names.into_iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\u{feff}id;text;tone;note;mine\r\ns1;\"a; b\";;;x\r\ns2;c;SAD;;\r\n";

    fn sheet(folder: &Path) -> Sheet {
        let fill = |name: &str, labels: &[&str]| FillColumn {
            name: name.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        let fill = vec![fill("tone", &["glad", "sad"]), fill("note", &[])];
        let reading = File { path: "a.csv".to_owned(), ..File::default() };
        std::fs::write(folder.join("a.csv"), TEXT).unwrap();
        Sheet {
            secret: Secret::new(),
            file: FilledFile::new("a.csv", folder),
            reading: reading.of_sheet("id", &fill),
            key: "id".to_owned(),
            columns: vec!["id".to_owned(), "text".to_owned()],
            fill,
            is_blind: true,
            is_workbook: false,
            filled: Mutex::default(),
        }
    }

    fn code(sheet: &Sheet, row: usize, key: &str, (column, value): (&str, &str)) -> Code {
        let version = sheet.read().unwrap()["version"].as_str().unwrap().to_owned();
        Code { version, row, key: key.to_owned(), column: column.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_code_changes_one_cell() {
        let folder = tempfile::tempdir().unwrap();
        let sheet = sheet(folder.path());
        let shown = sheet.read().unwrap();
        assert_eq!(shown["rows"][0], json!({ "key": "s1", "cells": ["s1", "a; b"], "codes": ["", ""] }));
        assert_eq!(shown["rows"][1]["codes"], json!(["sad", ""]), "a code in other letters is its label");
        let version = sheet.save(&code(&sheet, 0, "s1", ("tone", "glad"))).unwrap();
        let text = || std::fs::read_to_string(folder.path().join("a.csv")).unwrap();
        assert_eq!(text(), TEXT.replace("b\";;;x", "b\";glad;;x"));
        assert_eq!(sheet.read().unwrap()["version"], json!(version));
        sheet.save(&code(&sheet, 0, "s1", ("note", "why; \"so\""))).unwrap();
        assert_eq!(text(), TEXT.replace("b\";;;x", "b\";glad;\"why; \"\"so\"\"\";x"));
        sheet.save(&code(&sheet, 0, "s1", ("tone", ""))).unwrap();
        sheet.save(&code(&sheet, 0, "s1", ("note", ""))).unwrap();
        assert_eq!(text(), TEXT);
    }

    #[test]
    fn a_file_that_has_changed_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let sheet = sheet(folder.path());
        let (first, second) = (code(&sheet, 0, "s1", ("tone", "glad")), code(&sheet, 1, "s2", ("tone", "glad")));
        sheet.save(&first).unwrap();
        assert!(matches!(sheet.save(&second), Err(Refused::Changed(_))), "a second page");
        let by_hand = code(&sheet, 0, "s1", ("tone", "sad"));
        std::fs::write(folder.path().join("a.csv"), "id,text,tone,note\ns9,x,glad,\n").unwrap();
        assert!(matches!(sheet.save(&by_hand), Err(Refused::Changed(_))), "an editor");
        let other = Code { key: "s1".to_owned(), ..code(&sheet, 0, "s9", ("tone", "sad")) };
        assert!(matches!(sheet.save(&other), Err(Refused::Changed(_))), "a key that the row does not have");
        assert_eq!(std::fs::read_to_string(folder.path().join("a.csv")).unwrap(), "id,text,tone,note\ns9,x,glad,\n");
    }

    #[test]
    fn only_labels_of_columns_to_fill_are_saved() {
        let folder = tempfile::tempdir().unwrap();
        let sheet = sheet(folder.path());
        for cell in [("tone", "happy"), ("text", "x"), ("mine", "x"), ("nothing", "x")] {
            assert!(matches!(sheet.save(&code(&sheet, 0, "s1", cell)), Err(Refused::Wrong(_))), "{cell:?}");
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("a.csv")).unwrap(), TEXT);
    }

    #[test]
    fn the_progress_is_that_of_the_file_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let sheet = sheet(folder.path());
        let filled = || sheet.filled().map(|filled| (filled.coded, filled.rows));
        assert_eq!(filled(), Some((1, 2)));
        sheet.save(&code(&sheet, 0, "s1", ("tone", "glad"))).unwrap();
        assert_eq!(filled(), Some((2, 2)));
        std::fs::write(folder.path().join("a.csv"), "id,text,tone,note\ns1,x,,\n").unwrap();
        assert_eq!(filled(), Some((0, 1)));
        std::fs::remove_file(folder.path().join("a.csv")).unwrap();
        assert_eq!(filled(), None);
    }
}
