//! Typed rows: columns of files in which each cell has a type, such as sheets and files of statistics programs.
//!
//! Two passes, as for JSON Lines: one finds the narrowest type that keeps every cell of a column, one reads the rows. To
//! add such a format, implement [`Open`].

pub(crate) mod retyped;
pub(crate) mod sav;
pub(crate) mod sheet;
pub(crate) mod stata;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Days, NaiveDate};
use encoding_rs::Encoding;

use crate::source::batches::{
    BATCH_BYTES, BATCH_ROWS, Batches, CELL_BYTES, CELL_COST, MOST_COLUMNS, SourceError, batches,
};
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::{Changes, Reading};
use crate::source::settings::{File, Values, means_null, rules_of_nulls};
use crate::table::{Cell, Labels};

/// Numbers up to this one that are whole are integers.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// The type of a date with its time.
pub(crate) const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const DAY: i64 = 86_400_000_000;
/// The rows that the import report judges by.
const SHOWN_ROWS: usize = 1000;

/// A cell as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    Null,
    /// A value that its file declares missing: null.
    Missing,
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970, without a time zone.
    Instant(i64),
    /// A cell that cannot be read: its text, and why.
    Unreadable(String, Box<SourceError>),
}

/// How a column gets its type.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Known(DataType),
    /// The narrowest type that keeps all cells; this one if all are null.
    Seen(DataType),
}

#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) label: Option<String>,
    /// The codes that have a text.
    pub(crate) codes: Vec<(Raw, String)>,
    /// Whether a code that is not missing has a text, so that the column is read as texts.
    pub(crate) labelled: bool,
}

/// A row and its number in the file, which messages need.
pub(crate) struct TypedRow {
    pub(crate) number: u64,
    pub(crate) cells: Vec<Raw>,
}

pub(crate) type Rows = Box<dyn Iterator<Item = Result<TypedRow, SourceError>> + Send>;

pub(crate) struct Opened {
    pub(crate) variables: Vec<Variable>,
    pub(crate) rows: Rows,
    /// The settings that the spec leaves to the file, as a spec contains them: `sheet = "Data"`.
    pub(crate) detected: Vec<String>,
    pub(crate) encoding: Option<&'static Encoding>,
    /// The variable that weights the rows.
    pub(crate) weight: Option<String>,
}

pub(crate) trait Open: Sync {
    fn open(&self, file: &DataFile, options: &File) -> Result<Opened, SourceError>;

    /// The place of a cell for messages, from the row's number and the column from 0.
    fn place(&self) -> fn(u64, usize) -> String {
        |row, _| format!("row {row}")
    }
}

pub(crate) struct TypedReader<T>(pub(crate) T);

impl<T: Open> Reader for TypedReader<T> {
    fn file_schema(&self, file: &DataFile, options: &File) -> Result<SchemaRef, SourceError> {
        self.schema(std::slice::from_ref(file), options)
    }

    fn schema(&self, files: &[DataFile], options: &File) -> Result<SchemaRef, SourceError> {
        let mut first: Option<(Vec<Variable>, Vec<Seen>)> = None;
        for file in files {
            let Opened { variables, rows, .. } = self.0.open(file, options)?;
            let names: Vec<&str> = variables.iter().map(|variable| variable.name.as_str()).collect();
            if names.len() > MOST_COLUMNS {
                let message = format!("has more than {MOST_COLUMNS} columns");
                return Err(SourceError::of_file(&file.shown, message));
            }
            let (known, seen) =
                first.get_or_insert_with(|| (variables.clone(), vec![Seen::default(); variables.len()]));
            if !known.iter().map(|variable| variable.name.as_str()).eq(names.iter().copied()) {
                let message = format!("{} and {} have different columns", files[0].shown, file.shown);
                let help = "all files of a glob must have the same columns in the same order";
                return Err(SourceError::new(message).help(help).at(["path"]));
            }
            let columns = Coded::all(&variables, options);
            if columns.iter().all(|column| column.ty.is_some()) {
                continue;
            }
            for row in rows {
                for ((column, cell), seen) in columns.iter().zip(row?.cells).zip(seen.iter_mut()) {
                    if column.ty.is_none() {
                        seen.add(&column.cell(cell, &options.null_values));
                    }
                }
            }
        }
        let (variables, seen) = first.ok_or_else(|| SourceError::new("no file").at(["path"]))?;
        let coded = Coded::all(&variables, options);
        let fields = variables.iter().zip(coded).zip(seen).map(|((variable, coded), seen)| {
            let ty = coded.ty.unwrap_or_else(|| match &variable.kind {
                Kind::Known(ty) | Kind::Seen(ty) => seen.ty().unwrap_or_else(|| ty.clone()),
            });
            let values = variable.codes.iter().map(|(code, text)| (code_cell(code), text.clone())).collect();
            Labels { variable: variable.label.clone(), values }.on(Field::new(&variable.name, ty, true))
        });
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    fn read(
        &self,
        file: &DataFile,
        options: &File,
        schema: &SchemaRef,
        changes: &Changes,
    ) -> Result<Batches, SourceError> {
        let Opened { variables, mut rows, .. } = self.0.open(file, options)?;
        let columns = Coded::all(&variables, options);
        if columns.len() != schema.fields().len() {
            return Err(SourceError::of_file(&file.shown, "its columns changed while it was read"));
        }
        let (schema, nulls, shown) = (schema.clone(), options.null_values.clone(), file.shown.clone());
        let (place, changes) = (self.0.place(), changes.clone());
        Ok(batches(move || {
            let mut cells: Vec<Vec<Raw>> = vec![Vec::new(); columns.len()];
            let (mut count, mut bytes) = (0, 0);
            while count < BATCH_ROWS && bytes < BATCH_BYTES {
                let Some(row) = rows.next().transpose()? else { break };
                for (index, cell) in row.cells.into_iter().enumerate().take(columns.len()) {
                    let field = schema.field(index);
                    let cell = columns[index].cell(cell, &nulls);
                    if cell == Raw::Missing {
                        changes.missing(index);
                    }
                    let fitted = fit(cell.clone(), field.data_type()).filter(|cell| size(cell) <= CELL_BYTES);
                    let cell = match fitted {
                        Some(cell) => cell,
                        None => {
                            let refused = refused(&shown, &place(row.number, index), field, &cell);
                            changes.unreadable(index, 1, refused)?;
                            Raw::Null
                        }
                    };
                    bytes += size(&cell) + CELL_COST;
                    cells[index].push(cell);
                }
                count += 1;
                cells.iter_mut().for_each(|column| column.resize(count, Raw::Null));
            }
            batch(&schema, &cells, count, &shown)
        }))
    }

    fn reading(&self, file: &DataFile, options: &File) -> Result<Reading, SourceError> {
        let Opened { variables, rows, mut detected, encoding, weight } = self.0.open(file, options)?;
        let columns = Coded::all(&variables, options);
        let mut seen = vec![Seen::default(); columns.len()];
        for row in rows.take(SHOWN_ROWS) {
            for ((column, cell), seen) in columns.iter().zip(row?.cells).zip(seen.iter_mut()) {
                seen.add(&column.cell(cell, &options.null_values));
            }
        }
        let mixed = columns.iter().zip(&variables).zip(seen);
        let mixed = mixed.filter(|((column, _), seen)| column.ty.is_none() && seen.is_mixed());
        detected.extend(mixed.map(|((_, variable), _)| format!("types = {{ {:?} = \"string\" }}", variable.name)));
        let encoding = encoding.map(|encoding| encoding.name().to_lowercase());
        let rules = rules_of_nulls(&options.null_values);
        Ok(Reading { detected, encoding, weight, rules, ..Reading::default() })
    }
}

/// A column with its codes: what a cell becomes before it gets the column's type.
struct Coded {
    /// The type, if no cell can change it.
    ty: Option<DataType>,
    /// The texts of codes, by the code's text.
    texts: HashMap<String, String>,
}

impl Coded {
    fn all(variables: &[Variable], options: &File) -> Vec<Self> {
        variables.iter().enumerate().map(|(index, variable)| Coded::new(index, variable, options)).collect()
    }

    fn new(index: usize, variable: &Variable, options: &File) -> Self {
        let asked = options.type_of(index, &variable.name).map(|ty| ty.data_type());
        let labelled = variable.labelled && options.values != Some(Values::Codes);
        let as_text = labelled && asked.as_ref().is_none_or(|ty| *ty == DataType::Utf8);
        let known = || match &variable.kind {
            _ if as_text => Some(DataType::Utf8),
            Kind::Known(ty) => Some(ty.clone()),
            Kind::Seen(_) => None,
        };
        let codes = variable.codes.iter().filter(|_| as_text);
        let texts = codes.map(|(code, text)| (text_of(code), text.clone())).collect();
        Coded { ty: asked.or_else(known), texts }
    }

    /// The cell with the text of its code, and null if it means null.
    fn cell(&self, cell: Raw, nulls: &[String]) -> Raw {
        if matches!(cell, Raw::Null | Raw::Missing) || (self.texts.is_empty() && nulls.is_empty()) {
            return cell;
        }
        let own = text_of(&cell);
        let text = self.texts.get(&own);
        let number = if let Raw::Number(number) = cell { Some(number) } else { None };
        match means_null(nulls, &own, number) || text.is_some_and(|text| nulls.contains(text)) {
            true => Raw::Null,
            false => text.map_or(cell, |text| Raw::Text(text.clone())),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    boolean: bool,
    whole: bool,
    fraction: bool,
    date: bool,
    instant: bool,
    text: bool,
}

impl Seen {
    fn add(&mut self, cell: &Raw) {
        match cell {
            Raw::Null | Raw::Missing | Raw::Unreadable(..) => {}
            Raw::Boolean(_) => self.boolean = true,
            Raw::Integer(_) => self.whole = true,
            Raw::Number(number) => *(if is_whole(*number) { &mut self.whole } else { &mut self.fraction }) = true,
            Raw::Text(_) => self.text = true,
            Raw::Date(_) => self.date = true,
            Raw::Instant(_) => self.instant = true,
        }
    }

    /// Whether cells of different types make the column one of text.
    fn is_mixed(self) -> bool {
        let kinds = [self.boolean, self.whole || self.fraction, self.date || self.instant, self.text];
        kinds.into_iter().filter(|kind| *kind).count() > 1
    }

    /// `None` if all cells are null.
    fn ty(self) -> Option<DataType> {
        let (number, time) = (self.whole || self.fraction, self.date || self.instant);
        Some(match (self.text, self.boolean, number, time) {
            (false, false, false, false) => return None,
            (false, true, false, false) => DataType::Boolean,
            (false, false, true, false) if !self.fraction => DataType::Int64,
            (false, false, true, false) => DataType::Float64,
            (false, false, false, true) if !self.instant => DataType::Date32,
            (false, false, false, true) => INSTANT,
            _ => DataType::Utf8,
        })
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= EXACT && !(number == 0.0 && number.is_sign_negative())
}

/// The cell as text: whole numbers without a point, dates as in ISO 8601.
pub(crate) fn text_of(cell: &Raw) -> String {
    match cell {
        Raw::Null | Raw::Missing => String::new(),
        Raw::Boolean(truth) => truth.to_string(),
        Raw::Integer(number) => number.to_string(),
        Raw::Number(number) if is_whole(*number) => format!("{number:.0}"),
        Raw::Number(number) => format!("{number:?}"),
        Raw::Text(text) | Raw::Unreadable(text, _) => text.clone(),
        Raw::Date(days) => match date(*days) {
            Some(date) => date.to_string(),
            None => format!("day {days}"),
        },
        Raw::Instant(micros) => match DateTime::from_timestamp_micros(*micros) {
            Some(instant) => instant.format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
            None => format!("microsecond {micros}"),
        },
    }
}

fn date(days: i32) -> Option<NaiveDate> {
    let distance = Days::new(days.unsigned_abs().into());
    let start = NaiveDate::default();
    if days < 0 { start.checked_sub_days(distance) } else { start.checked_add_days(distance) }
}

/// The code of a label; whole numbers are integers.
fn code_cell(code: &Raw) -> Cell {
    match code {
        Raw::Integer(number) => Cell::Integer(*number),
        Raw::Number(number) if is_whole(*number) => Cell::Integer(*number as i64),
        Raw::Number(number) => Cell::Number(*number),
        other => Cell::Text(text_of(other)),
    }
}

/// The cell in a column of type `ty`; `None` if it does not fit.
pub(crate) fn fit(cell: Raw, ty: &DataType) -> Option<Raw> {
    Some(match (ty, cell) {
        (_, Raw::Null | Raw::Missing) => Raw::Null,
        (_, Raw::Unreadable(..)) => return None,
        (DataType::Utf8, cell @ Raw::Text(_)) => cell,
        (DataType::Utf8, cell) => Raw::Text(text_of(&cell)),
        (DataType::Int64, Raw::Number(number)) if is_whole(number) => Raw::Integer(number as i64),
        (DataType::Int64, Raw::Text(text)) => Raw::Integer(text.trim_ascii().parse().ok()?),
        (DataType::Float64, Raw::Integer(number)) => Raw::Number(number as f64),
        (DataType::Float64, Raw::Text(text)) => {
            Raw::Number(text.trim_ascii().parse().ok().filter(|number: &f64| number.is_finite())?)
        }
        (DataType::Boolean, cell) if !matches!(cell, Raw::Boolean(_)) => match text_of(&cell).trim_ascii() {
            "1" => Raw::Boolean(true),
            "0" => Raw::Boolean(false),
            text => Raw::Boolean(text.to_ascii_lowercase().parse().ok()?),
        },
        (DataType::Timestamp(..), Raw::Date(days)) => Raw::Instant(i64::from(days) * DAY),
        (DataType::Boolean, cell @ Raw::Boolean(_))
        | (DataType::Int64, cell @ Raw::Integer(_))
        | (DataType::Float64, cell @ Raw::Number(_))
        | (DataType::Date32, cell @ Raw::Date(_))
        | (DataType::Timestamp(..), cell @ Raw::Instant(_)) => cell,
        _ => return None,
    })
}

fn size(cell: &Raw) -> usize {
    if let Raw::Text(text) = cell { text.len() } else { 0 }
}

pub(crate) fn refused(shown: &str, place: &str, field: &Field, cell: &Raw) -> SourceError {
    if let Raw::Unreadable(_, error) = cell {
        return error.as_ref().clone();
    }
    let (name, text) = (field.name(), text_of(cell));
    if text.len() > CELL_BYTES {
        let message = format!("{place}: column `{name}` is above {} MiB", CELL_BYTES >> 20);
        return SourceError::of_file(shown, message);
    }
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    let wanted = match field.data_type() {
        DataType::Int64 => "a whole number",
        DataType::Float64 => "a number",
        DataType::Boolean => "true or false",
        _ => "a date: the file changed while it was read",
    };
    let help = format!("if it means null, add it to `null_values`; or give `{name}` the type \"string\"");
    SourceError::new(format!("{shown}: {place}: column `{name}` is {short:?}, not {wanted}"))
        .help(help)
        .at(["types", name])
}

fn batch(schema: &SchemaRef, cells: &[Vec<Raw>], rows: usize, shown: &str) -> Result<Option<RecordBatch>, SourceError> {
    if rows == 0 {
        return Ok(None);
    }
    let arrays = schema.fields().iter().zip(cells).map(|(field, cells)| array(field.data_type(), cells)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options);
    batch.map(Some).map_err(|error| SourceError::new(format!("{shown}: {error}")))
}

pub(crate) fn array(ty: &DataType, cells: &[Raw]) -> ArrayRef {
    macro_rules! array {
        ($array:ty, $variant:ident) => {{
            let value = |cell: &Raw| if let Raw::$variant(value) = cell { Some(value.clone()) } else { None };
            Arc::new(cells.iter().map(value).collect::<$array>())
        }};
    }
    match ty {
        DataType::Int64 => array!(Int64Array, Integer),
        DataType::Float64 => array!(Float64Array, Number),
        DataType::Boolean => array!(BooleanArray, Boolean),
        DataType::Date32 => array!(Date32Array, Date),
        DataType::Timestamp(..) => array!(TimestampMicrosecondArray, Instant),
        _ => array!(StringArray, Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use std::path::Path;

    fn file(path: &str, json: &str) -> (std::path::PathBuf, File) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        let source: File = serde_json::from_str(json).unwrap();
        (folder, File { path: path.to_owned(), ..source })
    }

    fn reading(path: &str, json: &str) -> Reading {
        let (folder, source) = file(path, json);
        source.readings(&folder).unwrap().remove(0)
    }

    #[test]
    fn mixed_columns_and_encodings_are_reported() {
        let sheet = reading("sheet/small.xlsx", r#"{"path": ""}"#);
        assert_eq!((sheet.detected, sheet.encoding), (vec![r#"types = { "mixed" = "string" }"#.to_owned()], None));
        let declared = reading("sheet/small.xlsx", r#"{"path": "", "types": {"mixed": "string"}}"#);
        assert_eq!(declared.detected, Vec::<String>::new());
        assert_eq!(reading("sav/plain.sav", r#"{"path": ""}"#).encoding.as_deref(), Some("utf-8"));
        let overridden = reading("sav/plain.sav", r#"{"path": "", "encoding": "latin1"}"#);
        assert_eq!(overridden.encoding.as_deref(), Some("windows-1252"));
        assert_eq!(reading("dta/v114.dta", r#"{"path": ""}"#).encoding.as_deref(), Some("windows-1252"));
    }

    #[test]
    fn labels_of_variables_and_codes_are_in_the_fields() {
        let labels = |json: &str| {
            let (folder, source) = file("sav/plain.sav", json);
            let schema = source.schema(&folder).unwrap();
            (schema.field(1).data_type().clone(), Labels::of(schema.field(1)))
        };
        let values = vec![(Cell::Integer(-9), "refused".to_owned()), (Cell::Integer(1), "yes".to_owned())];
        let wanted = Labels { variable: Some("How".to_owned()), values };
        for (json, ty) in [(r#"{"path": ""}"#, DataType::Utf8), (r#"{"path": "", "values": "codes"}"#, DataType::Int64)]
        {
            let (found, mut own) = labels(json);
            own.values.sort_by_key(|(_, text)| text.clone());
            assert_eq!((found, own), (ty, wanted.clone()));
        }
    }
}
