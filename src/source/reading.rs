//! Readings: how the files of a source are read, according to their first rows, and the import report with the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

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

/// Counts the characters and numbers that the readers of a source replace, because a table cannot contain them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes(Arc<AtomicU64>);

impl Changes {
    pub(crate) fn add(&self, characters: usize) {
        self.0.fetch_add(characters as u64, Relaxed);
    }

    /// Starts anew: the files are read from their beginning.
    pub(crate) fn restart(&self) {
        self.0.store(0, Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Relaxed)
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
}
