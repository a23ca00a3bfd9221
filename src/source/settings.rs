//! Settings: the fields of a source of files, as written in a spec. Readers take what concerns them from here.
//!
//! To add a field: a field of [`File`], and its name in the rows of `file::FORMATS` that take it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell::Type;
use super::format::FileFormat;

/// Rows of CSV, TSV, JSON Lines or Parquet files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The file, or a glob such as `data/*.csv` for all matching files, in name order. Relative to the spec's folder.
    pub(crate) path: String,
    /// The format. Default: that of the file's extension (.csv, .tsv, .jsonl, .ndjson, .parquet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<FileFormat>,
    /// The column that identifies a row. Default: the row's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Types of columns. Without a type, a CSV column is text exactly as written, and a JSON Lines column gets the
    /// narrowest type that keeps every value as written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) types: BTreeMap<String, Type>,
    /// More texts that mean null, such as `["NA", "-99"]`. An empty CSV cell is always null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) null_values: Vec<String>,
    /// The encoding of the text, such as `windows-1252` or `utf-16le` (a WHATWG label). Default: strict UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
}

impl File {
    /// The fields that were written, in the order of the struct. An unwritten field is not serialized.
    pub(crate) fn written(&self) -> Vec<String> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(field, _)| field).collect(),
            _ => Vec::new(),
        }
    }
}
