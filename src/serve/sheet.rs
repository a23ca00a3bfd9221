//! Sheets: the coding sheets that people fill in the browser. Every code is saved at once, in the file as it is.
//!
//! A request names the content of the file that the page has read. If the file has other content, nothing is saved, so a
//! second page and a person who edits the file by hand never lose anything to this one.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Secret;
use crate::source::{CsvFile, File, FillColumn, SourceError};
use crate::spec::{OutputSpec, Spec, TableFormat};
use crate::store::Project;
use crate::table::Cell;
use crate::table::parquet::replace;

pub(super) struct Sheet {
    pub(super) secret: Secret,
    path: String,
    file: PathBuf,
    folder: PathBuf,
    reading: File,
    key: String,
    /// The columns that the spec shows to the coder. Others that the file may have are not shown.
    columns: Vec<String>,
    fill: Vec<FillColumn>,
    is_blind: bool,
    is_text: bool,
}

/// Why a sheet was not read or not changed.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    /// The file has other content than the page has read.
    Changed(String),
    /// What the page asks for can't be.
    Wrong(String),
    /// The file can't be read or written.
    Failed(String),
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
pub(super) struct Filled {
    pub(super) rows: usize,
    pub(super) coded: usize,
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
            path: output.path.clone(),
            file: output.file.clone(),
            folder: folder.to_owned(),
            reading: sheet.reading.clone(),
            key: name(sheet.key),
            columns: (0..given).map(name).collect(),
            fill: sheet.fill.clone(),
            is_blind: output.settings.get("blind") == Some(&Value::Bool(true)),
            is_text: output.format == TableFormat::Csv,
        })
    }

    /// The path, and whether the coder sees no answers.
    pub(super) fn title(&self) -> String {
        if self.is_blind { format!("{} (blind)", self.path) } else { self.path.clone() }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    fn bytes(&self) -> Result<Vec<u8>, Refused> {
        std::fs::read(&self.file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Refused::Failed(format!(
                "`{}` does not exist yet. The run writes it; load it again when the run has ended.",
                self.path
            )),
            _ => Refused::Failed(format!("`{}` can't be read: {error}", self.path)),
        })
    }

    /// The rows with their codes, for the page.
    pub(super) fn read(&self) -> Result<Value, Refused> {
        let fill: Vec<Value> =
            self.fill.iter().map(|fill| json!({ "name": fill.name, "labels": fill.labels })).collect();
        let mut shown = json!({
            "path": self.path, "key": self.key, "columns": self.columns, "fill": fill, "blind": self.is_blind,
            "editable": self.is_text,
        });
        if !self.is_text {
            shown["rows"] = json!([]);
            shown["file"] = json!(self.file);
            return Ok(shown);
        }
        let bytes = self.bytes()?;
        let file = CsvFile::read(&bytes, &self.reading).map_err(failed)?;
        let given = self.places(&file, self.columns.iter())?;
        let filled = self.places(&file, self.fill.iter().map(|fill| &fill.name))?;
        let [key] = self.places(&file, [&self.key])?[..] else { return Err(Refused::Failed("no key".to_owned())) };
        let rows = file.rows().iter().map(|row| {
            let texts = |places: &[usize]| places.iter().map(|place| row[*place].clone()).collect::<Vec<_>>();
            let codes = texts(&filled);
            let codes =
                self.fill.iter().zip(codes).map(|(fill, code)| fill.label(code.trim()).cloned().unwrap_or(code));
            json!({ "key": row[key], "cells": texts(&given), "codes": codes.collect::<Vec<_>>() })
        });
        shown["rows"] = rows.collect();
        shown["version"] = json!(version(&bytes));
        Ok(shown)
    }

    /// Saves a code and returns the new version. Only this cell of the file changes.
    pub(super) fn save(&self, code: &Code) -> Result<String, Refused> {
        if !self.is_text {
            return Err(Refused::Wrong(format!("`{}` is not a CSV file, so it is not changed here", self.path)));
        }
        let fill = self.fill.iter().find(|fill| fill.name == code.column);
        let fill = fill.ok_or_else(|| Refused::Wrong(format!("`{}` is not a column to fill", code.column)))?;
        let value = code.value.trim();
        if !value.is_empty() && !fill.allows(&Cell::Text(value.to_owned())) {
            return Err(Refused::Wrong(format!("`{value}` is not a label of `{}`", fill.name)));
        }
        let changed = || Refused::Changed(format!("`{}` has changed since this page has read it", self.path));
        let _hold =
            Project::of(&self.folder).hold_sheet(&self.file).map_err(|error| Refused::Failed(error.to_string()))?;
        let before = self.bytes()?;
        if version(&before) != code.version {
            return Err(changed());
        }
        let file = CsvFile::read(&before, &self.reading).map_err(failed)?;
        let [key, column] = self.places(&file, [&self.key, &fill.name])?[..] else { return Err(changed()) };
        if file.rows().get(code.row).is_none_or(|row| row[key] != code.key) {
            return Err(changed());
        }
        let after = file.with_cells(code.row, &[(column, value)]).map_err(failed)?;
        let failed = |error: std::io::Error| Refused::Failed(format!("`{}` can't be written: {error}", self.path));
        match replace(&self.file, &before, &after).map_err(failed)? {
            true => Ok(version(&after)),
            false => Err(changed()),
        }
    }

    pub(super) fn filled(&self) -> Option<Filled> {
        let found = crate::source::filled(&self.reading, &self.folder, &self.fill).ok()?;
        Some(Filled { rows: found.keys.len(), coded: found.coded as usize })
    }

    /// The places of columns in the file.
    fn places<'a>(
        &self,
        file: &CsvFile<'_>,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Result<Vec<usize>, Refused> {
        let place = |name: &String| {
            let found = file.names().iter().position(|other| other == name);
            found.ok_or_else(|| Refused::Failed(format!("`{}` has no column `{name}`", self.path)))
        };
        names.into_iter().map(place).collect()
    }
}

pub(super) fn failed(error: SourceError) -> Refused {
    let help = error.help.map_or(String::new(), |help| format!(" ({help})"));
    Refused::Failed(format!("{}{help}", error.message))
}

/// The name of a content.
pub(super) fn version(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
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
            path: "a.csv".to_owned(),
            file: folder.join("a.csv"),
            folder: folder.to_owned(),
            reading: reading.of_sheet("id", &fill),
            key: "id".to_owned(),
            columns: vec!["id".to_owned(), "text".to_owned()],
            fill,
            is_blind: true,
            is_text: true,
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
}
