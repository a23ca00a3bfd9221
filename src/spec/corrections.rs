//! Corrections: values of people that replace answers of a stage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::table::Cell;

/// A correction, as its file says it. An empty value is null.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Correction {
    /// The key of the row, or its number from 1 if the source has no key.
    pub(crate) row: String,
    pub(crate) column: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replicate: Option<u64>,
    pub(crate) value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A correction of a column that the stage writes.
#[derive(Clone, Debug)]
pub(crate) struct CorrectedCell {
    /// The place of the cell among the cells of an answer.
    pub(crate) place: usize,
    /// The model, as an index into the models of the stage, if each model has its own columns.
    pub(crate) model: Option<usize>,
    pub(crate) cell: Cell,
    pub(crate) correction: Correction,
}

impl Correction {
    /// Whether it is about the source row `row` (from 1) with this key. Without a key, it names a row of the stage's input,
    /// which has `fold` rows per source row.
    pub(crate) fn is_about(&self, key: Option<&str>, row: u64, fold: u64) -> bool {
        match key {
            Some(key) => self.row == key,
            None => self.row.parse().is_ok_and(|number: u64| ((row - 1) * fold + 1..=row * fold).contains(&number)),
        }
    }
}

/// The corrections of a stage, by row.
#[derive(Debug, Default)]
pub(crate) struct Corrections {
    pub(crate) path: String,
    pub(super) rows: BTreeMap<String, Vec<CorrectedCell>>,
    /// Whether the run has none of them, because its rows have other numbers.
    pub(crate) are_left_out: bool,
}

impl Corrections {
    pub(super) fn left_out(&self) -> Corrections {
        Corrections { path: self.path.clone(), rows: BTreeMap::new(), are_left_out: true }
    }

    pub(crate) fn of(&self, row: &str) -> &[CorrectedCell] {
        self.rows.get(row).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Correction> {
        self.rows.values().flatten().map(|cell| &cell.correction)
    }

    /// The hash of the corrections, in hex. Their order in the file does not matter.
    pub(crate) fn hash(&self) -> String {
        let mut all: Vec<&Correction> = self.all().collect();
        all.sort_unstable();
        blake3::hash(json!(all).to_string().as_bytes()).to_hex().to_string()
    }
}
