//! Settings: the fields of a source of files, as written in a spec. Readers take what concerns them from here.
//!
//! To add a field: a field of [`File`], and its name in the rows of `file::FORMATS` that take it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell::Type;
use super::column_choice::{ColumnChoice, ColumnRef};
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
    /// The character between columns, such as ";" or "\t". Default: `,` in CSV, unless the first rows clearly have `;`,
    /// a tab or `|`; a tab in TSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<String>,
    /// The character around texts that contain a delimiter, a quote or a line end, or "none" if quotes are characters
    /// like any other. A quote inside is doubled. Default: `"` in CSV, "none" in TSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quote: Option<String>,
    /// The character before a quote, delimiter, line end or itself that makes it part of the text, such as "\\". Before
    /// any other character it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) escape: Option<String>,
    /// Lines that begin with this character are skipped, such as "#".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// The number of lines before the header that are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) skip_rows: Option<u64>,
    /// The number of header rows. The first contains the names. Default: 1, or 3 in an export of Qualtrics (names,
    /// wording, import ids). 0: there is no header, and the columns are `column_1`, `column_2` and so on, or `names`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) header_rows: Option<u64>,
    /// The names of all columns of the file, in order, instead of those in the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) names: Option<Vec<String>>,
    /// The decimal mark in columns with the type "number". Default: ".", or "," if the first rows of a CSV allow nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decimal: Option<String>,
    /// The mark between groups of three digits in columns with the type "number" or "integer", such as "." or " ".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) thousands: Option<String>,
    /// The columns of the table: names or numbers (from 1) of the file's columns, or { from = "Q1 (text)", name = "q1" }
    /// to rename one. Other columns are not read. `key`, `types` and `where` use the new names. Default: all columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Vec<ColumnChoice>>,
    /// A condition over the file's columns, such as `finished == "1" and age is not none`. Only the rows for which it is
    /// true are in the table. It can use columns that `columns` leaves out.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<String>,
    /// The number of rows to draw at random, by the spec's `seed`, after `where`. They keep their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sample: Option<u64>,
    /// The most rows, after `where` and `sample`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u64>,
    /// The spec's seed, for `sample`.
    #[serde(skip)]
    pub(crate) seed: u64,
}

impl File {
    pub(crate) fn encoding_name(&self) -> String {
        self.encoding.as_deref().unwrap_or("utf-8").to_lowercase()
    }

    /// The name in the file of the column that the table calls `name`, unless it was chosen by number.
    pub(crate) fn name_in_file<'a>(&'a self, name: &'a str) -> &'a str {
        let chosen = self.columns.iter().flatten().find(|choice| choice.name.as_deref() == Some(name));
        match chosen.map(|choice| &choice.from) {
            Some(ColumnRef::Name(from)) => from,
            _ => name,
        }
    }

    /// The fields that were written, in the order of the struct. An unwritten field is not serialized.
    pub(crate) fn written(&self) -> Vec<String> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(field, _)| field).collect(),
            _ => Vec::new(),
        }
    }
}
