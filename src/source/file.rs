//! `type = "file"`: rows from CSV, TSV, JSON Lines or Parquet files.
//!
//! Here are the fields of the spec and the source made of one or more files; each format is read in a file of its own.
//! To add a format: a variant of [`Format`], a line in [`Format::of`], and one in each `match`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::vec;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell::{Type, check_types, no_column, schema};
use super::csv::Csv;
use super::error::SourceError;
use super::jsonl::{Columns, Jsonl, scan};
use super::matching::{files, is_glob, shown};
use super::parquet::{self, Parquet};
use super::rows::{Batches, Source};
use super::text::{Text, encoding};
use crate::document::{self, Node, Problems};
use crate::name::listed;
use crate::registry::Kind;

/// The registry's row.
pub const KIND: Kind<Box<dyn Source>> = Kind {
    name: "file",
    about: "Rows of CSV, TSV, JSON Lines or Parquet files.",
    schema: File::json_schema,
    fields: document::fields_of::<File>,
    decode,
};

/// Rows of CSV, TSV, JSON Lines or Parquet files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The file, or a glob such as `data/*.csv` for all that match, in name order. Relative to the spec's folder.
    pub path: String,
    /// The format, when the file's extension (.csv, .tsv, .jsonl, .ndjson, .parquet) doesn't say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The column that identifies a row; the row's number when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Types of columns. Without one, CSV columns are text exactly as written, and JSON Lines columns get the narrowest
    /// type that keeps every value as written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, Type>,
    /// More texts that stand for null, such as `["NA", "-99"]`; an empty CSV cell always does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null_values: Vec<String>,
    /// The encoding of the text, such as `windows-1252` or `utf-16le` (a WHATWG label); strict UTF-8 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values with a header row.
    Csv,
    /// Tab-separated values with a header row.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format that the extension of `path` says.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "tsv" | "tab" => Some(Format::Tsv),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "parquet" | "pq" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// The files of a source, with what messages call them.
struct Found {
    format: Format,
    files: Vec<(PathBuf, String)>,
}

fn decode(node: &Node, path: &document::Path, problems: &mut Problems) -> Option<Box<dyn Source>> {
    let file: File = document::decode(node, path, problems)?;
    let before = problems.mark();
    file.check(path, problems);
    problems.clean_since(before).then(|| Box::new(file) as Box<dyn Source>)
}

impl File {
    /// Reports what is wrong with the fields; opens no files.
    fn check(&self, path: &document::Path, problems: &mut Problems) {
        let written = Path::new(&self.path);
        if self.path.trim().is_empty() {
            problems.error("bad-path", path.key("path"), "the path is empty");
        } else if self.format.is_none() && !is_glob(&self.path) && Format::of(written).is_none() {
            let (message, help) = unknown_format(&self.path, written);
            problems.error("unknown-format", path.key("path"), message).help(help);
        }
        if let Some(Err((message, help))) = self.encoding.as_deref().map(encoding) {
            problems.error("unknown-encoding", path.key("encoding"), message).help_if(help);
        }
        if self.format.or_else(|| Format::of(written)) == Some(Format::Parquet) {
            for field in self.text_fields() {
                let message = format!("`{field}` says nothing about Parquet: its columns have types and nulls");
                problems.error_at_key("unused-field", path.key(field), message).help("leave it out");
            }
        }
    }

    /// The fields that are set and make sense only for text.
    fn text_fields(&self) -> Vec<&'static str> {
        let set = [
            ("types", !self.types.is_empty()),
            ("null_values", !self.null_values.is_empty()),
            ("encoding", self.encoding.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(field, _)| field).collect()
    }

    fn find(&self, folder: &Path) -> Result<Found, SourceError> {
        let files: Vec<_> = files(folder, &self.path)?.into_iter().map(|f| (shown(folder, &f), f)).collect();
        let mut all: Option<(Format, &str)> = None;
        for (shown, file) in &files {
            let format = self.format.or_else(|| Format::of(file)).ok_or_else(|| {
                let (message, help) = unknown_format(shown, file);
                SourceError::new(message).help(help).at(["path"])
            })?;
            match all {
                None => all = Some((format, shown)),
                Some((first, _)) if first == format => {}
                Some((_, first)) => {
                    let message = format!("`{}` matches files of two formats: {first} and {shown}", self.path);
                    return Err(SourceError::new(message).help("narrow the glob, or say `format`").at(["path"]));
                }
            }
        }
        match all {
            None => Err(SourceError::new(format!("no file matches `{}`", self.path)).at(["path"])),
            Some((Format::Parquet, first)) if !self.text_fields().is_empty() => {
                let fields = self.text_fields();
                Err(SourceError::new(format!("{first}: {} makes no sense for Parquet", listed(fields.iter().copied())))
                    .help("leave it out: Parquet's columns have types and nulls")
                    .at(fields.first().copied()))
            }
            Some((format, _)) => Ok(Found { format, files: files.into_iter().map(|(shown, f)| (f, shown)).collect() }),
        }
    }

    fn text(&self, path: &Path, shown: &str) -> Result<Text, SourceError> {
        Text::open(path, shown, self.encoding.as_deref())
    }

    fn csv(&self, path: &Path, shown: &str, delimiter: u8) -> Result<Csv, SourceError> {
        Csv::new(self.text(path, shown)?, shown, delimiter, &self.types, &self.null_values)
    }

    /// The columns of each file must be the same; `schema_of` reads those of one.
    fn same_schema(
        &self,
        found: &Found,
        schema_of: impl Fn(&Path, &str) -> Result<SchemaRef, SourceError>,
    ) -> Result<SchemaRef, SourceError> {
        let mut first: Option<(SchemaRef, &str)> = None;
        for (file, shown) in &found.files {
            let schema = schema_of(file, shown)?;
            match &first {
                None => first = Some((schema, shown)),
                Some((wanted, name)) => {
                    if let Some(difference) = difference(wanted, name, &schema, shown) {
                        let message = format!("{name} and {shown} have different columns: {difference}");
                        return Err(SourceError::new(message)
                            .help("all files of a glob must have the same columns in the same order")
                            .at(["path"]));
                    }
                }
            }
        }
        let (schema, shown) = first.ok_or_else(|| SourceError::new("no file").at(["path"]))?;
        self.check_key(schema.fields().iter().map(|f| f.name().clone()).collect(), shown)?;
        Ok(schema)
    }

    fn check_key(&self, names: Vec<String>, shown: &str) -> Result<(), SourceError> {
        match &self.key {
            Some(key) if !names.contains(key) => Err(no_column(key, &names, shown).at(["key"])),
            _ => Ok(()),
        }
    }

    /// The columns of JSON Lines: those of all files together, since a missing key is null.
    fn json_columns(&self, found: &Found) -> Result<Vec<(String, Type)>, SourceError> {
        let mut columns = Columns::default();
        for (file, shown) in &found.files {
            scan(self.text(file, shown)?, shown, &self.null_values, &mut columns)?;
        }
        if columns.names().is_empty() {
            let message = format!("{}: has no objects with keys, so there are no columns", self.path);
            return Err(SourceError::new(message).help("write one object per line").at(["path"]));
        }
        check_types(&self.types, columns.names(), &self.path)?;
        self.check_key(columns.names().to_vec(), &self.path)?;
        Ok(columns.typed(&self.types))
    }

    fn found_schema(&self, found: &Found) -> Result<SchemaRef, SourceError> {
        match found.format {
            Format::Csv => self.same_schema(found, |file, shown| Ok(self.csv(file, shown, b',')?.schema())),
            Format::Tsv => self.same_schema(found, |file, shown| Ok(self.csv(file, shown, b'\t')?.schema())),
            Format::Parquet => self.same_schema(found, parquet::schema),
            Format::Jsonl => Ok(json_schema(&self.json_columns(found)?)),
        }
    }
}

impl Source for File {
    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        self.found_schema(&self.find(folder)?)
    }

    fn read(&self, folder: &Path) -> Result<Batches, SourceError> {
        let found = self.find(folder)?;
        let source = self.clone();
        let columns = match found.format {
            Format::Jsonl => self.json_columns(&found)?,
            _ => Vec::new(),
        };
        let wanted = match found.format {
            Format::Jsonl => json_schema(&columns),
            _ => self.found_schema(&found)?,
        };
        let format = found.format;
        let open = move |path: &Path, shown: &str| -> Result<Batches, SourceError> {
            let (schema, batches): (SchemaRef, Batches) = match format {
                Format::Csv | Format::Tsv => {
                    let delimiter = if format == Format::Csv { b',' } else { b'\t' };
                    let csv = source.csv(path, shown, delimiter)?;
                    (csv.schema(), Box::new(csv))
                }
                Format::Parquet => (parquet::schema(path, shown)?, Box::new(Parquet::open(path, shown)?)),
                Format::Jsonl => {
                    let text = source.text(path, shown)?;
                    let jsonl = Jsonl::new(text, shown, &columns, SchemaRef::clone(&wanted), &source.null_values);
                    (SchemaRef::clone(&wanted), Box::new(jsonl))
                }
            };
            match schema == wanted {
                true => Ok(batches),
                false => Err(SourceError::new(format!("{shown}: its columns changed while it was read")).at(["path"])),
            }
        };
        Ok(Box::new(Chain { files: found.files.into_iter(), open: Box::new(open), batches: None, ended: false }))
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        Ok(self.find(folder)?.files.into_iter().map(|(file, _)| file).collect())
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn paths(&self) -> Vec<(&'static str, String)> {
        vec![("path", self.path.clone())]
    }

    fn meaning(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Opens a file for its batches.
type Open = Box<dyn Fn(&Path, &str) -> Result<Batches, SourceError> + Send>;

/// The batches of several files, one file after the other; ends after the first error.
struct Chain {
    files: vec::IntoIter<(PathBuf, String)>,
    open: Open,
    batches: Option<Batches>,
    ended: bool,
}

impl Iterator for Chain {
    type Item = Result<RecordBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(batch) = self.batches.as_mut().and_then(Iterator::next) {
                self.ended = batch.is_err();
                return Some(batch);
            }
            let (file, shown) = self.files.next()?;
            match (self.open)(&file, &shown) {
                Ok(batches) => self.batches = Some(batches),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn json_schema(columns: &[(String, Type)]) -> SchemaRef {
    schema(columns.iter().map(|(name, ty)| (name.as_str(), *ty)))
}

fn unknown_format(shown: &str, path: &Path) -> (String, String) {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let message = format!("{shown}: can't tell the format from the name");
    let help = match extension.as_str() {
        "gz" | "zst" | "bz2" | "xz" | "zip" => "decompress it first",
        "xls" | "xlsx" | "ods" => "save it as CSV",
        "json" => r#"write one object per line and say format = "jsonl""#,
        _ => r#"say format = "csv", "tsv", "jsonl" or "parquet""#,
    };
    (message, help.to_owned())
}

/// The first column in which the two differ, as words.
fn difference(a: &SchemaRef, a_name: &str, b: &SchemaRef, b_name: &str) -> Option<String> {
    let (left, right) = (a.fields(), b.fields());
    for (i, (one, other)) in left.iter().zip(right).enumerate() {
        let column = i + 1;
        if one.name() != other.name() {
            return Some(format!("column {column} is `{}` and `{}`", one.name(), other.name()));
        }
        if one.data_type() != other.data_type() {
            let (one_type, other_type) = (one.data_type(), other.data_type());
            return Some(format!("column `{}` has the types {one_type} and {other_type}", one.name()));
        }
    }
    match left.len().cmp(&right.len()) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some(format!("only {b_name} has `{}`", right[left.len()].name())),
        std::cmp::Ordering::Greater => Some(format!("only {a_name} has `{}`", left[right.len()].name())),
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
