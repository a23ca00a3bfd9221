//! Settings: the fields of a source of files, as written in a spec. Readers take what concerns them from here.
//!
//! To add a field: a field of [`File`], and its name in the rows of `file::FORMATS` that take it.

pub(crate) mod codes;
pub(crate) mod column_choice;
pub(crate) mod format;
pub(crate) mod layout;

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::batches::SourceError;
use crate::source::memo::Memo;
use crate::source::reading::Reading;
use crate::source::text::cell::Type;
use crate::source::text::numbers::Notation;
use codes::CodingSheet;
use column_choice::{ColumnChoice, ColumnRef};
use format::FileFormat;

/// Rows of CSV, JSON, Parquet, Arrow, Excel, OpenDocument, Stata or SPSS files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The file, or a glob such as `data/*.csv` for all matching files, in name order. Relative to the spec's folder.
    pub(crate) path: String,
    /// The format. Default: that of the extension, without `.gz` or `.zst` after that of a text format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<FileFormat>,
    /// The column that identifies a row. Default: the row's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Types of columns. Without a type, a CSV column is text exactly as written, a JSON Lines column gets the narrowest
    /// type that keeps every value as written, and a column of another format has the type of its file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) types: BTreeMap<String, Type>,
    /// More texts that mean null, such as `["NA", "-99"]`. An empty CSV cell is always null. A number in a file whose cells
    /// have types, such as -99.0 in Parquet, is null if one of the texts is that number.
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
    /// to rename one, also a part of a nested one: { from = "user.name", name = "author" }. Other columns are not read.
    /// `key`, `types` and `where` use the new names. Default: all columns.
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
    /// The sheet, if an output writes this file for people to fill.
    #[serde(skip)]
    pub(crate) coding: Option<CodingSheet>,
    /// The spec's seed, for `sample`.
    #[serde(skip)]
    pub(crate) seed: u64,
    /// The sheet of an Excel or OpenDocument file. Default: the first one that is not hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sheet: Option<String>,
    /// The cells of a sheet, such as `B3:F200`; `B3` begins there, `B:F` are columns, `3:200` are rows. The first row names
    /// the columns. Default: all cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) range: Option<String>,
    /// Whether the columns with value labels of a Stata or SPSS file contain the labels or the codes. Default: `labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) values: Option<Values>,
    /// Whether the values that a Stata or SPSS file declares missing (`.a` to `.z`, user-missing values) are null. Default:
    /// `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<MissingCodes>,
    /// The columns that the reader found, which of many formats takes a pass over all rows.
    #[serde(skip)]
    pub(crate) schema_found: Memo<SchemaRef>,
    #[serde(skip)]
    pub(crate) readings_found: Memo<Vec<Reading>>,
}

/// Whether a cell with this text means null. `number` is its value if it is a number by its type, not a text.
pub(crate) fn means_null(nulls: &[String], text: &str, number: Option<f64>) -> bool {
    let equals = |null: &String| number.is_some_and(|number| null.parse() == Ok(number));
    nulls.iter().any(|null| null == text || equals(null))
}

/// The rules of a reading by [`means_null`]: the first version of the readers compared texts only.
pub(crate) fn rules_of_nulls(nulls: &[String]) -> Vec<&'static str> {
    match nulls.iter().any(|null| null.parse::<f64>().is_ok_and(f64::is_finite)) {
        true => vec!["null_values are numbers too"],
        false => Vec::new(),
    }
}

/// What a column with value labels contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Values {
    /// The label of each code; a code without a label as it is.
    Labels,
    /// The codes.
    Codes,
}

/// How a value is read that its file declares missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MissingCodes {
    /// It is null.
    Null,
    /// It stays as it is.
    Keep,
}

impl File {
    /// The notation of numbers.
    pub(crate) fn notation(&self) -> Result<Notation, SourceError> {
        let wrong = |field: &str, message: String, help: &str| Err(SourceError::new(message).help(help).at([field]));
        let decimal = match self.decimal.as_deref() {
            None | Some(".") => '.',
            Some(",") => ',',
            Some(text) => return wrong("decimal", format!("`decimal` is {text:?}"), r#"write "," or ".""#),
        };
        let mut marks = self.thousands.as_deref().unwrap_or_default().chars();
        let thousands = match (marks.next(), marks.next(), &self.thousands) {
            (None, _, None) => None,
            (Some(mark), None, _) if !mark.is_alphanumeric() && !matches!(mark, '+' | '-') => Some(mark),
            (_, _, text) => {
                let message =
                    format!("`thousands` is {:?}, but must be one character", text.as_deref().unwrap_or_default());
                return wrong("thousands", message, r#"write for example ".", "," or " ""#);
            }
        };
        if thousands == Some(decimal) {
            let message = format!("`thousands` and the decimal mark are both `{decimal}`");
            return wrong("thousands", message, r#"set `decimal` as well, such as decimal = ",""#);
        }
        Ok(Notation { decimal, thousands })
    }

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

    /// The declared type of the column `name` of the file, which is column `index` from 0.
    pub(crate) fn type_of(&self, index: usize, name: &str) -> Option<Type> {
        let name = self.names.as_ref().and_then(|names| names.get(index)).map_or(name, String::as_str);
        let is_it = |declared: &str| {
            let choice = self.columns.iter().flatten().find(|choice| choice.name.as_deref() == Some(declared));
            match choice.map(|choice| &choice.from) {
                None => declared == name,
                Some(ColumnRef::Name(from)) => from == name,
                Some(ColumnRef::Number(number)) => *number == index + 1,
            }
        };
        self.types.iter().find(|(declared, _)| is_it(declared)).map(|(_, ty)| *ty)
    }

    /// The fields that were written, in the order of the struct. An unwritten field is not serialized.
    pub(crate) fn written(&self) -> Vec<String> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(field, _)| field).collect(),
            _ => Vec::new(),
        }
    }
}
