//! `type = "file"`: rows of data files.

pub(crate) mod coding;
mod selection;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::coding::{BlankSheet, coded};
use crate::document::{self, Node, Problems};
use crate::registry::Kind;
use crate::source::arrow::ipc::ArrowReader;
use crate::source::arrow::parquet::ParquetReader;
use crate::source::batches::{Batches, SourceError, batches};
use crate::source::csv::CsvReader;
use crate::source::csv::dialect::Dialect;
use crate::source::documents::extensions;
use crate::source::json::lines::JsonlReader;
use crate::source::json::list;
use crate::source::matching::{files, is_glob};
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::{Changes, Reading, Tolerance};
use crate::source::rows::Source;
use crate::source::settings::File;
use crate::source::settings::codes::CodingSheet;
use crate::source::settings::format::FileFormat;
use crate::source::settings::layout::Layout;
use crate::source::text::cell::no_column;
use crate::source::text::compressed::plain_path;
use crate::source::text::{Text, encoding};
use crate::source::typed::TypedReader;
use crate::source::typed::retyped::Retyped;
use crate::source::typed::sav::Sav;
use crate::source::typed::sheet::{Sheet, check_range};
use crate::source::typed::stata::Stata;
use crate::table::relabelled;
use arrow_schema::SchemaRef;

struct FormatInfo {
    format: FileFormat,
    /// The name in messages.
    name: &'static str,
    extensions: &'static [&'static str],
    /// The fields of [`File`] that the format takes besides those in [`EVERY`].
    fields: &'static [&'static [&'static str]],
    /// Whether a file of the format can be compressed by gzip or zstd.
    compressed: bool,
    reader: &'static dyn Reader,
}

const EVERY: &[&str] = &["path", "format", "key", "types", "null_values", "columns", "where", "sample", "limit"];
const ENCODED: &[&str] = &["encoding"];
/// The fields of formats whose numbers are text.
const NUMBERS: &[&str] = &["decimal", "thousands"];
/// The fields of delimited text.
const DELIMITED: &[&str] = &["delimiter", "quote", "escape", "comment", "skip_rows", "header_rows", "names"];
const SHEET: &[&str] = &["sheet", "range", "header_rows", "names"];
/// The fields of formats with value labels and missing codes.
const CODED: &[&str] = &["values", "missing"];

static FORMATS: &[FormatInfo] = &[
    FormatInfo {
        format: FileFormat::Csv,
        name: "CSV",
        extensions: &["csv"],
        fields: &[ENCODED, NUMBERS, DELIMITED],
        compressed: true,
        reader: &CsvReader(Dialect::CSV),
    },
    FormatInfo {
        format: FileFormat::Tsv,
        name: "TSV",
        extensions: &["tsv", "tab"],
        fields: &[ENCODED, NUMBERS, DELIMITED],
        compressed: true,
        reader: &CsvReader(Dialect::TSV),
    },
    FormatInfo {
        format: FileFormat::Jsonl,
        name: "JSON Lines",
        extensions: &["jsonl", "ndjson"],
        fields: &[ENCODED, NUMBERS],
        compressed: true,
        reader: &JsonlReader(Text::open),
    },
    FormatInfo {
        format: FileFormat::Json,
        name: "JSON",
        extensions: &["json"],
        fields: &[NUMBERS],
        compressed: true,
        reader: &JsonlReader(list::open),
    },
    FormatInfo {
        format: FileFormat::Parquet,
        name: "Parquet",
        extensions: &["parquet", "pq"],
        fields: &[],
        compressed: false,
        reader: &Retyped(ParquetReader),
    },
    FormatInfo {
        format: FileFormat::Arrow,
        name: "Arrow",
        extensions: &["arrow", "feather", "ipc"],
        fields: &[],
        compressed: false,
        reader: &Retyped(ArrowReader),
    },
    FormatInfo {
        format: FileFormat::Xlsx,
        name: "Excel",
        extensions: &["xlsx", "xlsm"],
        fields: &[SHEET],
        compressed: false,
        reader: &TypedReader(Sheet::XLSX),
    },
    FormatInfo {
        format: FileFormat::Ods,
        name: "OpenDocument",
        extensions: &["ods"],
        fields: &[SHEET],
        compressed: false,
        reader: &TypedReader(Sheet::ODS),
    },
    FormatInfo {
        format: FileFormat::Dta,
        name: "Stata",
        extensions: &["dta"],
        fields: &[ENCODED, CODED],
        compressed: false,
        reader: &TypedReader(Stata),
    },
    FormatInfo {
        format: FileFormat::Sav,
        name: "SPSS",
        extensions: &["sav", "zsav"],
        fields: &[ENCODED, CODED],
        compressed: false,
        reader: &TypedReader(Sav),
    },
];

/// A sheet that does not exist yet.
static BLANK: FormatInfo = FormatInfo {
    format: FileFormat::Csv,
    name: "a sheet",
    extensions: &[],
    fields: &[],
    compressed: false,
    reader: &BlankSheet,
};

impl FormatInfo {
    fn takes(&self, field: &str) -> bool {
        EVERY.contains(&field) || self.fields.iter().any(|fields| fields.contains(&field))
    }

    /// The written fields of `file` that the format does not take, each with an error.
    fn unused(&self, file: &File) -> Vec<(String, SourceError)> {
        let unused = file.written().into_iter().filter(|field| !self.takes(field));
        let error = |field: String| {
            let takers = FORMATS.iter().filter(|info| info.takes(&field)).map(|info| info.name);
            let error = SourceError::new(format!("`{field}` does not apply to {}", self.name))
                .help(format!("remove it; it applies to {}", sentence(takers)))
                .at([field.as_str()]);
            (field, error)
        };
        unused.map(error).collect()
    }
}

/// Formats names for a sentence: `CSV, TSV and JSON Lines`.
fn sentence(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

impl FileFormat {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let plain = plain_path(path);
        let extension = plain.as_deref().unwrap_or(path).extension()?.to_str()?.to_ascii_lowercase();
        let mut known = FORMATS.iter().filter(|info| info.compressed || plain.is_none());
        known.find(|info| info.extensions.contains(&extension.as_str())).map(|info| info.format)
    }

    fn info(self) -> &'static FormatInfo {
        FORMATS.iter().find(|info| info.format == self).expect("every format has a row")
    }
}

pub(crate) const KIND: Kind<Box<dyn Source>> = Kind::read_by::<File>(
    "file",
    "Rows of CSV, JSON, Parquet, Arrow, Excel, OpenDocument, Stata or SPSS files.",
    decode,
);

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
        for error in [Dialect::CSV.with(self).err(), self.notation().err()].into_iter().flatten() {
            let place = error.field.iter().fold(path.clone(), |path, key| path.key(key));
            problems.error("bad-value", place, error.message).help_if(error.help);
        }
        if self.columns.as_ref().is_some_and(Vec::is_empty) {
            problems.error("bad-value", path.key("columns"), "`columns` is empty").help("leave it out for all columns");
        }
        if let Some(Err(error)) = self.range.as_deref().map(check_range) {
            problems.error("bad-range", path.key("range"), error.message).help_if(error.help);
        }
        if let Some(format) = self.format.or_else(|| FileFormat::of(written)) {
            for (field, error) in format.info().unused(self) {
                problems.error_at_key("unused-field", path.key(&field), error.message).help_if(error.help);
            }
        }
    }

    fn find(&self, folder: &Path) -> Result<(&'static FormatInfo, Vec<DataFile>), SourceError> {
        if self.coding.is_some() && !folder.join(&self.path).exists() {
            return Ok((&BLANK, Vec::new()));
        }
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
        let info = format.info();
        if let Some((_, error)) = info.unused(self).into_iter().next() {
            return Err(SourceError { message: format!("{first}: {}", error.message), ..error });
        }
        Ok((info, files))
    }

    fn open(&self, folder: &Path) -> Result<Opened, SourceError> {
        let (info, files) = self.find(folder)?;
        let all = self.schema_found.of(paths(&files), || info.reader.schema(&files, self))?;
        if info.reader.has_layout(self) {
            return Ok(Opened { info, files, read: all.clone(), all, layout: None });
        }
        let layout = Layout::with_paths(self, &all, &files[0].shown)?;
        Ok(Opened { info, files, read: layout.schema(&all), all, layout: Some(layout) })
    }

    /// The columns of the table.
    fn schema_of(&self, opened: &Opened) -> Result<SchemaRef, SourceError> {
        let schema = self.visible(&opened.read)?;
        match &self.key {
            Some(key) if schema.index_of(key).is_err() => {
                let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
                let is_jsonl = opened.info.format == FileFormat::Jsonl;
                let file = opened.files.first().filter(|_| !is_jsonl);
                let shown = file.map_or(&self.path, |file| &file.shown);
                Err(no_column(key, &names, shown).at(["key"]))
            }
            _ => Ok(schema),
        }
    }
}

/// The files of a source, with the columns of the reader.
#[derive(Clone)]
struct Opened {
    info: &'static FormatInfo,
    files: Vec<DataFile>,
    /// The columns that the reader returns.
    all: SchemaRef,
    /// Those of them that the table or `where` needs.
    read: SchemaRef,
    /// Which of `all` they are; `None` if the reader returns just these.
    layout: Option<Layout>,
}

impl Opened {
    /// What happens to cells that cannot be read, for each column of the reader. The cells of `strict` columns must be
    /// right: they select or identify rows.
    fn tolerances(&self, strict: &[String]) -> Vec<Tolerance> {
        let counted = |name: &String| match strict.contains(name) {
            true => Tolerance::Refused(name.clone()),
            false => Tolerance::Counted(name.clone()),
        };
        let Some(layout) = &self.layout else {
            return self.read.fields().iter().map(|field| counted(field.name())).collect();
        };
        // A part of a nested column needs the whole column.
        let other = if layout.has_paths() { Tolerance::Refused(String::new()) } else { Tolerance::Ignored };
        let mut all = vec![other; self.all.fields().len()];
        for (index, name) in &layout.columns {
            if let Some(tolerance) = all.get_mut(*index) {
                *tolerance = counted(name);
            }
        }
        all
    }

    /// The rows of all files, with the columns to read.
    fn rows(self, source: File, changes: Changes) -> Batches {
        changes.restart();
        let Opened { info, files, all, read, layout } = self;
        let mut files = files.into_iter();
        let mut open: Option<(Batches, String)> = None;
        batches(move || {
            loop {
                if let Some((batches, shown)) = &mut open
                    && let Some(batch) = batches.next().transpose()?
                {
                    let changed = || SourceError::new(format!("{shown}: its columns changed while it was read"));
                    // All files have the labels of the first.
                    let batch = relabelled(&batch, &all).ok_or_else(|| changed().at(["path"]))?;
                    return match &layout {
                        None => Ok(Some(batch)),
                        Some(layout) => layout.batch(&batch, &read, shown).map(Some),
                    };
                }
                let Some(file) = files.next() else { return Ok(None) };
                open = Some((info.reader.read(&file, &source, &all, &changes)?, file.shown));
            }
        })
    }
}

impl Source for File {
    fn seed(&mut self, seed: Option<u64>) -> bool {
        self.seed = seed.unwrap_or(0);
        false
    }

    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        self.schema_of(&self.open(folder)?)
    }

    fn columns_found(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        let mut file = File { key: None, types: BTreeMap::new(), condition: None, ..self.clone() };
        let columns = file.schema(folder)?;
        file.types.extend(self.types.clone().into_iter().filter(|(column, _)| columns.index_of(column).is_ok()));
        file.schema(folder)
    }

    fn read_counting(&self, folder: &Path, changes: &Changes) -> Result<Batches, SourceError> {
        let opened = self.open(folder)?;
        self.schema_of(&opened)?;
        let reads = self.columns_of_condition(&opened.read)?;
        let strict: Vec<String> = reads.into_iter().chain(self.key.clone()).collect();
        let changes = changes.with(opened.tolerances(&strict));
        let (source, read) = (self.clone(), opened.read.clone());
        let columns = read.clone();
        let rows = move || coded(opened.clone().rows(source.clone(), changes.clone()), &columns, &source);
        self.clone().select(&read, rows)
    }

    fn readings(&self, folder: &Path) -> Result<Vec<Reading>, SourceError> {
        let (info, files) = self.find(folder)?;
        self.readings_found.of(paths(&files), || {
            let mut readings: Vec<Reading> = Vec::new();
            for file in &files {
                let reading = info.reader.reading(file, self)?;
                let reading = Reading { path: file.shown.clone(), files: 1, format: info.name.to_owned(), ..reading };
                match readings.iter_mut().find(|other| other.is_like(&reading)) {
                    Some(other) => other.files += 1,
                    None => readings.push(reading),
                }
            }
            Ok(readings)
        })
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        Ok(self.find(folder)?.1.into_iter().map(|file| file.path).collect())
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn fill_sheet(&mut self, sheet: &CodingSheet) {
        self.read_sheet(sheet);
    }

    fn sheet(&self) -> Option<&File> {
        self.coding.as_ref().map(|_| self)
    }

    fn paths(&self) -> Vec<(&'static str, String)> {
        vec![("path", self.path.clone())]
    }

    fn meaning(&self) -> serde_json::Value {
        let mut meaning = serde_json::to_value(self).unwrap_or_default();
        if self.sample.is_some() {
            meaning["seed"] = self.seed.into();
        }
        meaning
    }
}

fn paths(files: &[DataFile]) -> impl Iterator<Item = PathBuf> {
    files.iter().map(|file| file.path.clone())
}

fn unknown_format(shown: &str, path: &Path) -> SourceError {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let names = FORMATS.iter().filter_map(|info| serde_json::to_string(&info.format).ok());
    SourceError::of_file(shown, "the extension does not name a known format").help(match extension.as_str() {
        "gz" | "zst" | "zstd" => {
            "name the format before it, such as posts.jsonl.gz; other formats are not compressed".to_owned()
        }
        "bz2" | "xz" | "zip" | "7z" => "decompress it first".to_owned(),
        "xls" | "xlsb" => "save it as .xlsx".to_owned(),
        "por" | "sas7bdat" | "xpt" => "save it as .sav, .dta or .csv".to_owned(),
        "rds" | "rda" | "rdata" => "write it from R as .parquet, .dta or .csv".to_owned(),
        other if extensions().any(|known| known == other) => {
            r#"for a row per document, set type = "documents"; for a table in a text file, set `format`"#.to_owned()
        }
        _ => format!("set `format` to one of {}", names.collect::<Vec<_>>().join(", ")),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
