//! Readings: how the files of a source are read, according to their first rows, and the import report with the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use indexmap::IndexMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::batches::SourceError;

/// How one file is read, or several files that are read alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// The first file that is read like this.
    pub(crate) path: String,
    /// The number of files.
    pub(crate) files: u64,
    pub(crate) format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<String>,
    /// A character, or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quote: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) header_rows: Option<u64>,
    /// The variable that weights the rows, in the file's own words. It is a column like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<String>,
    /// The settings that were detected, as a spec contains them: `delimiter = ";"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) detected: Vec<String>,
    /// What the spec should decide: a sentence, and what to write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) doubts: Vec<(String, String)>,
    /// What makes the rows differ from those of the first version of the readers; a part of the source's content.
    #[serde(skip)]
    pub(crate) rules: Vec<&'static str>,
}

impl Reading {
    /// Whether both are read alike, apart from the file.
    pub(crate) fn is_like(&self, other: &Reading) -> bool {
        let alike = Reading { path: other.path.clone(), files: other.files, ..self.clone() };
        alike == *other
    }
}

/// The cells of a column that cannot be read. They are null in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unreadable {
    pub(crate) column: String,
    pub(crate) cells: u64,
    /// The first of them: its place and what is wrong with it.
    pub(crate) first: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

/// What happens to the cells of a column that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// The first is an error. The name is the column's in the table.
    Refused(String),
    /// They are null and not counted, since the table does not have the column.
    Ignored,
    /// They are null and counted under the column's name in the table.
    Counted(String),
}

/// Counts what the readers of a source replace, because a table cannot contain it: characters, numbers and cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    characters: Arc<AtomicU64>,
    /// `None` if every cell that cannot be read is an error.
    unreadable: Option<Arc<Mutex<IndexMap<String, Unreadable>>>>,
    /// The values that are null because their file declares them missing, by the names of the columns.
    missing: Arc<Mutex<IndexMap<String, u64>>>,
    /// For each column of the reader; without an entry the first is an error.
    tolerances: Arc<[Tolerance]>,
}

impl Changes {
    /// Counts the cells that cannot be read, where the columns of the source allow it.
    pub(crate) fn tolerant() -> Self {
        Changes { unreadable: Some(Arc::default()), ..Changes::default() }
    }

    /// The same counts for a reader with these columns.
    pub(crate) fn with(&self, tolerances: Vec<Tolerance>) -> Self {
        Changes { tolerances: tolerances.into(), ..self.clone() }
    }

    pub(crate) fn add(&self, characters: usize) {
        self.characters.fetch_add(characters as u64, Relaxed);
    }

    /// Takes note of `cells` cells of column `index` that cannot be read. Returns `error` if that stops the reader.
    pub(crate) fn unreadable(&self, index: usize, cells: usize, error: SourceError) -> Result<(), SourceError> {
        match (&self.unreadable, self.tolerances.get(index)) {
            (Some(_), Some(Tolerance::Ignored)) => Ok(()),
            (Some(all), Some(Tolerance::Counted(column))) => {
                let mut all = all.lock();
                let of_column = all.entry(column.clone()).or_insert_with(|| {
                    let (column, first, help) = (column.clone(), error.message, error.help);
                    Unreadable { column, cells: 0, first, help }
                });
                of_column.cells += cells as u64;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Takes note of a value of column `index` that its file declares missing.
    pub(crate) fn missing(&self, index: usize) {
        if let Some(Tolerance::Refused(column) | Tolerance::Counted(column)) = self.tolerances.get(index) {
            let mut missing = self.missing.lock();
            match missing.get_mut(column) {
                Some(count) => *count += 1,
                None => drop(missing.insert(column.clone(), 1)),
            }
        }
    }

    /// Starts anew: the files are read from their beginning.
    pub(crate) fn restart(&self) {
        self.characters.store(0, Relaxed);
        self.missing.lock().clear();
        self.unreadable.iter().for_each(|all| all.lock().clear());
    }

    pub(crate) fn count(&self) -> u64 {
        self.characters.load(Relaxed)
    }

    /// The number of values that files declare missing, for each column with any.
    pub(crate) fn all_missing(&self) -> IndexMap<String, u64> {
        self.missing.lock().clone()
    }

    /// The columns with cells that cannot be read, in the order in which they were found.
    pub(crate) fn columns(&self) -> Vec<Unreadable> {
        self.unreadable.iter().flat_map(|all| all.lock().values().cloned().collect::<Vec<_>>()).collect()
    }
}

/// What an import has read: every row of a source, once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Import {
    /// Files that are read alike are one entry. Empty for a source without files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<Reading>,
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    /// The cells that are null, in all columns.
    pub(crate) nulls: u64,
    /// The characters and numbers that a reader replaced: U+FFFD for half a surrogate pair, null for `NaN`.
    #[serde(default)]
    pub(crate) changed_characters: u64,
    /// The values that are null because their file declares them missing, for each column with any.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) declared_missing: IndexMap<String, u64>,
    /// The columns with cells that cannot be read. A run that reads one of these columns is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreadable: Vec<Unreadable>,
}
