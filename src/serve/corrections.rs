//! Corrections: shows the answers of a stage in the browser, and writes what people correct to the file of the spec.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::file::{FilledFile, Refused, version};
use super::report::Shown;
use crate::source::{CsvFile, File};
use crate::spec::{ColumnRole, Correction, Spec, StageSpec};
use crate::store::{is_stored, open_table};
use crate::table::cell_at;

/// The rows of one reply.
const ROWS: usize = 50;
const BATCH: usize = 1024;

/// Which rows a page asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The number of the first row to look at, from 0.
    pub(super) from: u64,
    /// Only rows with a cell that has this text.
    pub(super) text: String,
}

/// A correction that a page sends.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    /// The content of the file that the page has read.
    version: String,
    #[serde(flatten)]
    correction: Correction,
    /// Whether the correction is taken back.
    #[serde(default)]
    remove: bool,
}

/// A stage whose answers people correct.
pub(super) struct Corrected<'a> {
    shown: &'a Shown,
    stage: &'a StageSpec,
    file: FilledFile,
    settings: File,
}

impl<'a> Corrected<'a> {
    /// The stages of a spec with a file of corrections.
    pub(super) fn names(spec: &Spec) -> Vec<String> {
        let stages = spec.stages().filter(|(_, stage)| stage.corrections.is_some());
        stages.map(|(_, stage)| stage.name.to_string()).collect()
    }

    pub(super) fn find(shown: &'a Shown, name: &str) -> Result<Corrected<'a>, Refused> {
        let mut stages = shown.plan.spec.stages().map(|(_, stage)| stage);
        let found =
            stages.find_map(|stage| Some((stage, stage.corrections.as_ref()?)).filter(|_| stage.name.as_str() == name));
        let (stage, corrections) = found.ok_or_else(|| Refused::Wrong(format!("`{name}` has no `corrections`")))?;
        let settings = File { path: corrections.path.clone(), ..File::default() };
        let file = FilledFile::new(&corrections.path, &shown.plan.spec.folder);
        Ok(Corrected { shown, stage, file, settings })
    }

    /// The columns that people need to see, and those that they can correct.
    fn columns(&self) -> (Vec<usize>, Vec<usize>) {
        let StageSpec { stage, relation, given, answers, .. } = self.stage;
        let info = &stage.info;
        let is_answer = |added: usize| matches!(answers.role(info.writes.len(), added), ColumnRole::Answer { .. });
        let added = (0..relation.schema.fields().len() - given).filter(|added| is_answer(*added));
        let corrected: Vec<usize> = info.fills.iter().copied().chain(added.map(|added| given + added)).collect();
        let read =
            relation.key.into_iter().chain(info.reads.iter().copied()).filter(|column| !corrected.contains(column));
        let mut seen = BTreeSet::new();
        (read.filter(|column| seen.insert(*column)).collect(), corrected)
    }

    /// Rows of the stage's table that match, with the corrections of the file for them.
    pub(super) fn rows(&self, wanted: &Wanted) -> Result<Value, Refused> {
        let (read, corrected) = self.columns();
        let name = |column: &usize| self.stage.relation.schema.field(*column).name().clone();
        let answers = corrected.iter().map(|column| {
            let (words, labels) = self.stage.answer_words(*column);
            json!({ "name": name(column), "words": words, "labels": labels })
        });
        let mut shown = json!({
            "stage": self.stage.name.as_str(), "path": self.file.path, "columns": read.iter().map(name).collect::<Vec<_>>(),
            "answers": answers.collect::<Vec<_>>(),
        });
        let bytes = self.file.bytes()?;
        let file = CsvFile::read(&bytes, &self.settings);
        shown["unreadable"] = json!(file.as_ref().err().map(|error| error.message.clone()));
        let known = file.map(|file| self.known(&file)).unwrap_or_default();
        shown["version"] = json!(version(&bytes));
        shown["count"] = json!(known.len());
        let (rows, next) = self.matching(wanted, (&read, &corrected))?;
        let of_rows = |correction: &&Correction| rows.iter().any(|row| row["row"] == json!(correction.row));
        shown["corrections"] = json!(known.iter().filter(of_rows).collect::<Vec<_>>());
        shown["rows"] = json!(rows);
        shown["next"] = json!(next);
        Ok(shown)
    }

    fn matching(
        &self,
        wanted: &Wanted,
        (read, corrected): (&[usize], &[usize]),
    ) -> Result<(Vec<Value>, Option<u64>), Refused> {
        let broken = |error: crate::table::parquet::TableError| Refused::Failed(error.to_string());
        let text = wanted.text.to_lowercase();
        let (mut rows, mut first) = (Vec::new(), 0);
        let paths = (0..).map(|part| self.shown.folder.part_path(self.stage.name.as_str(), part));
        for path in paths.take_while(|path| is_stored(path)) {
            let table = open_table(&path).map_err(broken)?;
            let start = wanted.from.saturating_sub(first).min(table.rows());
            let mut number = first + start;
            for batch in table.read(start, table.rows() - start, BATCH).map_err(broken)? {
                let batch = batch.map_err(broken)?;
                for row in 0..batch.num_rows() {
                    if rows.len() == ROWS {
                        return Ok((rows, Some(number)));
                    }
                    let cell = |column: &usize| cell_at(batch.column(*column).as_ref(), row);
                    let texts =
                        |columns: &[usize]| columns.iter().map(|column| cell(column).text()).collect::<Vec<_>>();
                    let (cells, answers) = (texts(read), texts(corrected));
                    if cells.iter().chain(&answers).any(|cell| cell.to_lowercase().contains(&text)) {
                        let named = |name: &str| {
                            let column = self.stage.relation.schema.index_of(name).ok()?;
                            (column >= self.stage.given).then(|| cell(&column).json())
                        };
                        rows.push(json!({
                            "row": self.row_name(&batch, (row, number)), "cells": cells, "answers": answers,
                            "model": named("model"), "replicate": named("replicate"),
                        }));
                    }
                    number += 1;
                }
            }
            first += table.rows();
        }
        Ok((rows, None))
    }

    /// The key of a row as text, or the number of its row in the input, from 1.
    fn row_name(&self, batch: &arrow_array::RecordBatch, (row, number): (usize, u64)) -> String {
        match self.stage.relation.key {
            Some(key) => cell_at(batch.column(key).as_ref(), row).text(),
            None => (number / self.stage.answers.fold() + 1).to_string(),
        }
    }

    /// The corrections in the file, in its order.
    fn known(&self, file: &CsvFile<'_>) -> Vec<Correction> {
        let place = |name: &str| file.names().iter().position(|other| other == name);
        let key = self.stage.relation.key.map(|key| self.stage.relation.schema.field(key).name().as_str());
        let row_place = place("row").or_else(|| place(key?));
        let correction = |row: &Vec<String>| {
            let text = |place: Option<usize>| place.map(|place| row[place].clone()).filter(|text| !text.is_empty());
            Correction {
                row: text(row_place).unwrap_or_default(),
                column: text(place("column")).unwrap_or_default(),
                model: text(place("model")),
                replicate: text(place("replicate")).and_then(|text| text.trim().parse().ok()),
                value: text(place("value")),
                by: text(place("by")),
                reason: text(place("reason")),
            }
        };
        file.rows().iter().map(correction).collect()
    }

    /// Writes or removes one correction, and returns the new version. Every other record of the file stays as it is.
    pub(super) fn save(&self, change: &Change) -> Result<String, Refused> {
        let Change { correction, remove, .. } = change;
        if !remove {
            self.stage.check_correction(correction).map_err(Refused::Wrong)?;
        }
        self.file
            .change(&change.version, |before| self.edited(&CsvFile::read(before, &self.settings)?, correction, *remove))
    }

    fn edited(&self, file: &CsvFile<'_>, correction: &Correction, remove: bool) -> Result<Vec<u8>, Refused> {
        let same = |other: &Correction| {
            (&other.row, &other.column, &other.model, other.replicate)
                == (&correction.row, &correction.column, &correction.model, correction.replicate)
        };
        let found = self.known(file).iter().position(same);
        let number = correction.replicate.map(|number| number.to_string());
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let values = [
            ("row", correction.row.clone()),
            ("column", correction.column.clone()),
            ("model", text(&correction.model)),
            ("replicate", number.unwrap_or_default()),
            ("value", text(&correction.value)),
            ("by", text(&correction.by)),
            ("reason", text(&correction.reason)),
        ];
        let place = |name: &str| file.names().iter().position(|other| other == name);
        if let Some((name, _)) = values.iter().skip(1).find(|(name, value)| !value.is_empty() && place(name).is_none())
        {
            return Err(Refused::Wrong(format!("`{}` has no column `{name}`; add it to the file", self.file.path)));
        }
        let record = |name: &String| {
            let value = values.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
            // The key may also be called like the column of the source.
            value.unwrap_or_else(|| correction.row.clone())
        };
        let edited = match found {
            Some(row) if remove => file.without_row(row),
            None if remove => return Err(Refused::Wrong("there is no such correction".to_owned())),
            Some(row) => {
                let cells = values.iter().skip(4).filter_map(|(name, value)| Some((place(name)?, value.as_str())));
                file.with_cells(row, &cells.collect::<Vec<_>>())
            }
            None => file.with_records(vec![file.names().iter().map(record).collect()]),
        };
        Ok(edited?)
    }
}
