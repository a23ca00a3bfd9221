//! Stata files: `.dta` of the releases 108 to 119 (Stata 6 and later).
//!
//! The crate `dta` reads the header, the variables and the rows. It reserves whatever memory a file asks for, so this
//! file checks the lengths of characteristics, and reads long texts and value labels itself.

mod sections;

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_schema::DataType;
use chrono::{Datelike, NaiveDate};
use dta::stata::dta::byte_order::ByteOrder;
use dta::stata::dta::dta_error::DtaError;
use dta::stata::dta::dta_reader::DtaReader;
use dta::stata::dta::record_reader::RecordReader;
use dta::stata::dta::release::Release;
use dta::stata::dta::value::Value;
use dta::stata::dta::variable::Variable as DtaVariable;
use dta::stata::dta::variable_type::VariableType;
use dta::stata::missing_value::MissingValue;
use dta::stata::stata_byte::StataByte;
use dta::stata::stata_double::StataDouble;
use dta::stata::stata_float::StataFloat;
use dta::stata::stata_int::StataInt;
use dta::stata::stata_long::StataLong;
use encoding_rs::Encoding;

use self::sections::{Labels, LongTexts, Sections, long_texts, map, value_labels, walk};
use super::{INSTANT, Kind, Open, Opened, Raw, TypedRow, Variable};
use crate::source::batches::{MOST_COLUMNS, SourceError};
use crate::source::binary::{Binary, damaged};
use crate::source::reader::DataFile;
use crate::source::settings::{File, MissingCodes};
use crate::source::text::encoding;

const WHAT: &str = "Stata file";
/// The days from 1960, when the calendar of Stata begins, to 1970.
const EPOCH_DAYS: i32 = 3653;

pub(crate) struct Stata;

impl Open for Stata {
    fn open(&self, file: &DataFile, options: &File) -> Result<Opened, SourceError> {
        let declared = options.encoding.as_deref().map(encoding).transpose()?;
        let Parts { records, labels, strings } = open(file, declared)?;
        let encoding = Some(records.encoding());
        let keep = options.missing == Some(MissingCodes::Keep);
        let shows: Vec<Shows> = records.schema().variables().iter().map(|v| Shows::of(v.format())).collect();
        let variables = records.schema().variables().iter().zip(&shows);
        let variables = variables.map(|(v, shows)| variable(v, *shows, keep, &labels)).collect();
        let mut rows = DtaRows { records, strings, shows, keep, shown: file.shown.clone(), number: 0 };
        let rows = std::iter::from_fn(move || rows.row().transpose());
        Ok(Opened { variables, rows: Box::new(rows.fuse()), detected: Vec::new(), encoding, weight: None })
    }
}

/// What the numbers of a variable show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Number,
    Day,
    Millisecond,
    Week,
    Month,
    Quarter,
    Half,
}

impl Shows {
    /// From a format such as `%td`, `%-tdD_m_Y` or `%8.0g`.
    fn of(format: &str) -> Self {
        let format = format.trim_start_matches('%').trim_start_matches('-');
        let kind = format.strip_prefix('t').unwrap_or(if format.starts_with('d') { format } else { "" });
        match kind.as_bytes().first() {
            Some(b'd') => Shows::Day,
            Some(b'c' | b'C') => Shows::Millisecond,
            Some(b'w') => Shows::Week,
            Some(b'm') => Shows::Month,
            Some(b'q') => Shows::Quarter,
            Some(b'h') => Shows::Half,
            _ => Shows::Number,
        }
    }

    /// The cell of a number; a period is the day on which it begins.
    fn cell(self, number: f64) -> Raw {
        let begins = |periods: i64, days: fn(i64) -> (u32, u32)| {
            let whole = number.floor() as i64;
            let year = i32::try_from(1960 + whole.div_euclid(periods)).ok()?;
            let (month, day) = days(whole.rem_euclid(periods));
            let date = NaiveDate::from_ymd_opt(year, month, 1)?.checked_add_days(chrono::Days::new(day.into()))?;
            Some(Raw::Date(date.num_days_from_ce() - NaiveDate::default().num_days_from_ce()))
        };
        let cell = match self {
            Shows::Number => None,
            Shows::Day if number.abs() < 1e8 => Some(Raw::Date(number.floor() as i32 - EPOCH_DAYS)),
            Shows::Millisecond if number.abs() < 1e15 => {
                let millis = number.round() as i64 - i64::from(EPOCH_DAYS) * 86_400_000;
                Some(Raw::Instant(millis * 1000))
            }
            _ if number.abs() > 1e6 => None,
            Shows::Week => begins(52, |week| (1, week as u32 * 7)),
            Shows::Month => begins(12, |month| (month as u32 + 1, 0)),
            Shows::Quarter => begins(4, |quarter| (quarter as u32 * 3 + 1, 0)),
            Shows::Half => begins(2, |half| (half as u32 * 6 + 1, 0)),
            Shows::Day | Shows::Millisecond => None,
        };
        cell.unwrap_or(Raw::Number(number))
    }
}

fn variable(variable: &DtaVariable, shows: Shows, keep: bool, labels: &Labels) -> Variable {
    let codes = labels.get(variable.value_label_name()).cloned().unwrap_or_default();
    let kind = match variable.variable_type() {
        VariableType::FixedString(_) | VariableType::LongString => Kind::Known(DataType::Utf8),
        _ if shows == Shows::Millisecond => Kind::Seen(INSTANT),
        _ if shows != Shows::Number => Kind::Seen(DataType::Date32),
        VariableType::Float | VariableType::Double => Kind::Seen(DataType::Float64),
        _ if keep => Kind::Seen(DataType::Int64),
        _ => Kind::Known(DataType::Int64),
    };
    Variable {
        name: variable.name().to_owned(),
        kind,
        label: Some(variable.label().to_owned()).filter(|label| !label.is_empty()),
        labelled: codes.iter().any(|(code, _)| keep || matches!(code, Raw::Integer(_))),
        codes,
    }
}

struct DtaRows {
    records: RecordReader<Counted>,
    strings: Option<LongTexts>,
    shows: Vec<Shows>,
    keep: bool,
    shown: String,
    number: u64,
}

impl DtaRows {
    fn row(&mut self) -> Result<Option<TypedRow>, SourceError> {
        let DtaRows { records, strings, shows, keep, shown, number } = self;
        *number += 1;
        let record = records.read_record().map_err(|error| wrong(shown, &format!("row {number}: "), &error))?;
        let Some(record) = record else { return Ok(None) };
        let missing = |missing: MissingValue| match missing {
            MissingValue::System => Raw::Null,
            code if *keep => Raw::Text(code.to_string()),
            _ => Raw::Missing,
        };
        macro_rules! number {
            ($value:expr, $type:ident, $raw:expr) => {
                match $value {
                    $type::Present(number) => $raw(*number),
                    $type::Missing(code) => missing(*code),
                }
            };
        }
        let mut cells = Vec::with_capacity(shows.len());
        for (value, shows) in record.values().iter().zip(shows.iter()) {
            let cell = match value {
                Value::Byte(value) => number!(value, StataByte, |n: i8| Raw::Integer(i64::from(n))),
                Value::Int(value) => number!(value, StataInt, |n: i16| Raw::Integer(i64::from(n))),
                Value::Long(value) => number!(value, StataLong, |n: i32| Raw::Integer(i64::from(n))),
                // The shortest decimal that means this number: 0.1, not 0.10000000149.
                Value::Float(value) => {
                    number!(value, StataFloat, |n: f32| Raw::Number(n.to_string().parse().unwrap_or(f64::from(n))))
                }
                Value::Double(value) => number!(value, StataDouble, Raw::Number),
                Value::String(text) => Raw::Text(text.trim_end_matches(' ').to_owned()),
                Value::LongStringRef(text) => {
                    let key = (text.variable(), text.observation());
                    let text = strings.as_mut().map(|strings| strings.text(key)).transpose();
                    Raw::Text(text.map_err(|e| at_row(e, shown, *number))?.unwrap_or_default())
                }
            };
            cells.push(match cell {
                Raw::Text(text) if text.is_empty() => Raw::Null,
                Raw::Integer(number) if *shows != Shows::Number => shows.cell(number as f64),
                Raw::Number(number) => shows.cell(number),
                other => other,
            });
        }
        Ok(Some(TypedRow { number: *number, cells }))
    }
}

fn at_row(error: SourceError, shown: &str, row: u64) -> SourceError {
    let message = error.message.replacen(&format!("{shown}: "), &format!("{shown}: row {row}: "), 1);
    SourceError { message, ..error }
}

fn wrong(shown: &str, place: &str, error: &DtaError) -> SourceError {
    match error {
        DtaError::Io { section, source } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            damaged(shown, WHAT, &format!("{place}it ends in its {section}"))
        }
        DtaError::Io { source, .. } => SourceError::of_file(shown, format_args!("{place}can't be read: {source}")),
        other => damaged(shown, WHAT, &format!("{place}{other}")),
    }
}

/// A file and the position of its next byte.
struct Counted {
    file: BufReader<std::fs::File>,
    at: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.at.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = self.file.seek(to)?;
        self.at.store(at, Ordering::Relaxed);
        Ok(at)
    }
}

struct Parts {
    records: RecordReader<Counted>,
    labels: Labels,
    strings: Option<LongTexts>,
}

fn open(file: &DataFile, declared: Option<&'static Encoding>) -> Result<Parts, SourceError> {
    let shown = &file.shown;
    let mut binary = Binary::open(&file.path, shown, WHAT)?;
    let at = Arc::new(AtomicU64::new(0));
    let opened = std::fs::File::open(&file.path).map_err(|e| crate::source::batches::unreadable(shown, &e))?;
    let reader = match declared {
        Some(encoding) => DtaReader::new().encoding(encoding),
        None => DtaReader::new(),
    };
    let reader = reader.from_reader(Counted { file: BufReader::new(opened), at: at.clone() });
    let wrong = |error: DtaError| wrong(shown, "", &error);
    let schema = reader.read_header().map_err(wrong)?;
    let (header, encoding) = (schema.header().clone(), schema.encoding());
    if header.release() < Release::V108 {
        let help = "save it again with a newer Stata, or as CSV";
        return Err(SourceError::of_file(shown, "was written by Stata 5 or older").help(help));
    }
    if header.variable_count() as usize > MOST_COLUMNS || header.variable_count() == 0 {
        return Err(damaged(shown, WHAT, &format!("{} variables", header.variable_count())));
    }
    let mut after = schema.read_schema().map_err(wrong)?;
    binary.set_big_endian(header.byte_order() == ByteOrder::BigEndian);
    binary.seek(at.load(Ordering::Relaxed))?;
    let is_xml_like = header.release().is_xml_like();
    let Sections { labels, strings } = match is_xml_like {
        true => map(&mut binary)?,
        false => walk(&mut binary, after.schema(), &header)?,
    };
    let records = if is_xml_like {
        after.seek_records().map_err(wrong)?
    } else {
        after.skip_to_end().map_err(wrong)?;
        after.into_record_reader().map_err(wrong)?
    };
    let labels = value_labels(&mut binary, header.release(), labels, encoding)?;
    let strings = strings.map(|from| long_texts(binary, header.release(), from, encoding)).transpose()?;
    Ok(Parts { records, labels, strings })
}
