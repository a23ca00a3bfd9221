//! `type = "file"`: rows of CSV, TSV, JSON Lines or Parquet files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batches::{Batches, SourceError, batches};
use super::cell::{Type, no_column};
use super::csv::CsvReader;
use super::format::{DataFile, FileFormat, Reader, TextOptions};
use super::jsonl::JsonlReader;
use super::matching::{files, is_glob};
use super::parquet::ParquetReader;
use super::rows::Source;
use super::text::encoding;
use crate::document::{self, Node, Problems};
use crate::name::listed;
use crate::registry::Kind;

struct FormatInfo {
    format: FileFormat,
    extensions: &'static [&'static str],
    /// Whether cells are text, so that `types`, `null_values` and `encoding` apply.
    is_text: bool,
    reader: &'static dyn Reader,
}

static FORMATS: &[FormatInfo] = &[
    FormatInfo { format: FileFormat::Csv, extensions: &["csv"], is_text: true, reader: &CsvReader(b',') },
    FormatInfo { format: FileFormat::Tsv, extensions: &["tsv", "tab"], is_text: true, reader: &CsvReader(b'\t') },
    FormatInfo { format: FileFormat::Jsonl, extensions: &["jsonl", "ndjson"], is_text: true, reader: &JsonlReader },
    FormatInfo { format: FileFormat::Parquet, extensions: &["parquet", "pq"], is_text: false, reader: &ParquetReader },
];

impl FileFormat {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        FORMATS.iter().find(|info| info.extensions.contains(&extension.as_str())).map(|info| info.format)
    }

    fn info(self) -> &'static FormatInfo {
        FORMATS.iter().find(|info| info.format == self).expect("every format has a row")
    }
}

pub(crate) const KIND: Kind<Box<dyn Source>> =
    Kind::read_by::<File>("file", "Rows of CSV, TSV, JSON Lines or Parquet files.", decode);

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

fn decode(node: &Node, path: &document::Path, problems: &mut Problems) -> Option<Box<dyn Source>> {
    let file: File = document::decode(node, path, problems)?;
    let before = problems.mark();
    file.check(path, problems);
    problems.clean_since(before).then(|| Box::new(file) as Box<dyn Source>)
}

impl File {
    fn check(&self, path: &document::Path, problems: &mut Problems) {
        let written = Path::new(&self.path);
        if self.path.trim().is_empty() {
            problems.error("bad-path", path.key("path"), "the path is empty");
        } else if self.format.is_none() && !is_glob(&self.path) && FileFormat::of(written).is_none() {
            let error = unknown_format(&self.path, written);
            problems.error("unknown-format", path.key("path"), error.message).help_if(error.help);
        }
        if let Some(Err(error)) = self.encoding.as_deref().map(encoding) {
            problems.error("unknown-encoding", path.key("encoding"), error.message).help_if(error.help);
        }
        let format = self.format.or_else(|| FileFormat::of(written));
        if format.is_some_and(|format| !format.info().is_text) {
            for field in self.text_fields() {
                let message = format!("`{field}` does not apply to Parquet: its columns have types and nulls");
                problems.error_at_key("unused-field", path.key(field), message).help("remove it");
            }
        }
    }

    fn text_fields(&self) -> Vec<&'static str> {
        let set = [
            ("types", !self.types.is_empty()),
            ("null_values", !self.null_values.is_empty()),
            ("encoding", self.encoding.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(field, _)| field).collect()
    }

    fn options(&self) -> TextOptions<'_> {
        TextOptions { types: &self.types, nulls: &self.null_values, encoding: self.encoding.as_deref() }
    }

    fn find(&self, folder: &Path) -> Result<(&'static FormatInfo, Vec<DataFile>), SourceError> {
        let files = files(folder, &self.path)?;
        let mut all: Option<(FileFormat, &str)> = None;
        for DataFile { path, shown } in &files {
            let format = self.format.or_else(|| FileFormat::of(path)).ok_or_else(|| unknown_format(shown, path))?;
            match all {
                None => all = Some((format, shown)),
                Some((first, _)) if first == format => {}
                Some((_, first)) => {
                    let message = format!("`{}` matches files of two formats: {first} and {shown}", self.path);
                    return Err(SourceError::new(message).help("narrow the glob, or set `format`").at(["path"]));
                }
            }
        }
        let no_file = || SourceError::new(format!("no file matches `{}`", self.path)).at(["path"]);
        let (format, first) = all.ok_or_else(no_file)?;
        let (info, fields) = (format.info(), self.text_fields());
        if !info.is_text && !fields.is_empty() {
            let message = format!("{first}: {} does not apply to Parquet", listed(fields.iter().copied()));
            let help = "remove it: Parquet's columns have types and nulls";
            return Err(SourceError::new(message).help(help).at(fields.first().copied()));
        }
        Ok((info, files))
    }

    fn schema_of(&self, info: &FormatInfo, files: &[DataFile]) -> Result<SchemaRef, SourceError> {
        let schema = info.reader.schema(files, self.options())?;
        match &self.key {
            Some(key) if schema.index_of(key).is_err() => {
                let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
                let shown = if info.format == FileFormat::Jsonl { &self.path } else { &files[0].shown };
                Err(no_column(key, &names, shown).at(["key"]))
            }
            _ => Ok(schema),
        }
    }
}

impl Source for File {
    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        let (info, files) = self.find(folder)?;
        self.schema_of(info, &files)
    }

    fn columns_found(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        let mut file = File { key: None, types: BTreeMap::new(), ..self.clone() };
        let columns = file.schema(folder)?;
        file.types.extend(self.types.clone().into_iter().filter(|(column, _)| columns.index_of(column).is_ok()));
        file.schema(folder)
    }

    fn read(&self, folder: &Path) -> Result<Batches, SourceError> {
        let (info, files) = self.find(folder)?;
        let schema = self.schema_of(info, &files)?;
        let (source, mut files) = (self.clone(), files.into_iter());
        let mut open: Option<(Batches, String)> = None;
        Ok(batches(move || {
            loop {
                if let Some((batches, shown)) = &mut open
                    && let Some(batch) = batches.next().transpose()?
                {
                    let same = *batch.schema_ref() == schema;
                    let changed = || SourceError::new(format!("{shown}: its columns changed while it was read"));
                    return if same { Ok(Some(batch)) } else { Err(changed().at(["path"])) };
                }
                let Some(file) = files.next() else { return Ok(None) };
                open = Some((info.reader.read(&file, source.options(), &schema)?, file.shown));
            }
        }))
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        Ok(self.find(folder)?.1.into_iter().map(|file| file.path).collect())
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

fn unknown_format(shown: &str, path: &Path) -> SourceError {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    SourceError::of_file(shown, "the extension does not name a known format").help(match extension.as_str() {
        "gz" | "zst" | "bz2" | "xz" | "zip" => "decompress it first",
        "xls" | "xlsx" | "ods" => "save it as CSV",
        "json" => r#"write one object per line and set format = "jsonl""#,
        _ => r#"set format = "csv", "tsv", "jsonl" or "parquet""#,
    })
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
