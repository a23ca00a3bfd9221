//! File formats: their names in a spec.
//!
//! To add a format: a variant of [`FileFormat`], a file with a `Reader`, and a row in `file::FORMATS`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The format of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileFormat {
    /// Comma-separated values with a header row.
    Csv,
    /// Tab-separated values with a header row.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// A list of JSON objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Arrow or Feather version 2.
    Arrow,
    /// Excel.
    Xlsx,
    /// An OpenDocument sheet.
    Ods,
    /// Stata.
    Dta,
    /// SPSS.
    Sav,
}
