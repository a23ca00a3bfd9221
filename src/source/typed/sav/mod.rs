//! SPSS files: `.sav` and `.zsav`, by the description in the PSPP developer's guide ("System File Format").
//!
//! `dictionary` reads the variables with their labels, `cases` the rows. Values that the user declares missing are null.
//! No crate fits: ambers needs a second version of Arrow, polars_readstat_rs all of Polars, and the C library ReadStat
//! has no binding for Rust.

mod cases;
mod dictionary;

use arrow_schema::DataType;
use encoding_rs::Encoding;

use self::cases::Cases;
use self::dictionary::{SavVariable, text};
use super::{INSTANT, Kind, Open, Opened, Raw, TypedRow, Variable};
use crate::source::batches::SourceError;
use crate::source::reader::DataFile;
use crate::source::settings::{File, MissingCodes};

/// Seconds from 1582-10-14, when the calendar of SPSS begins, to 1970.
const EPOCH: f64 = 12_219_379_200.0;
const DAY: f64 = 86_400.0;

pub(crate) struct Sav;

impl Open for Sav {
    fn open(&self, file: &DataFile, options: &File) -> Result<Opened, SourceError> {
        let mut cases = Cases::open(file)?;
        let encoding = cases.dictionary.encoding(options.encoding.as_deref(), &file.shown)?;
        let keep = options.missing == Some(MissingCodes::Keep);
        let variables = cases.dictionary.variables.iter().map(|v| variable(v, encoding, keep)).collect();
        let weight = cases.dictionary.weight.as_deref().map(|name| text(name, encoding).0);
        let mut number = 0;
        let rows = std::iter::from_fn(move || {
            number += 1;
            row(&mut cases, number, encoding, keep).transpose()
        });
        Ok(Opened { variables, rows: Box::new(rows.fuse()), detected: Vec::new(), encoding: Some(encoding), weight })
    }
}

/// What the numbers of a variable show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Number,
    Date,
    Instant,
    Duration,
}

impl Shown {
    fn of(variable: &SavVariable) -> Self {
        match variable.format {
            20 | 23 | 24 | 28..=30 | 38 | 39 => Shown::Date,
            22 | 41 => Shown::Instant,
            21 | 25 | 40 => Shown::Duration,
            _ => Shown::Number,
        }
    }
}

fn variable(variable: &SavVariable, encoding: &'static Encoding, keep: bool) -> Variable {
    let lossy = |bytes: &[u8]| text(bytes, encoding).0;
    let is_text = !variable.segments.is_empty();
    let code = |bytes: &[u8]| match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) if !is_text => Raw::Number(f64::from_bits(u64::from_le_bytes(bytes))),
        _ => Raw::Text(lossy(bytes)),
    };
    let codes: Vec<(Raw, String)> = variable.codes.iter().map(|(value, label)| (code(value), lossy(label))).collect();
    let is_missing = |code: &Raw| !keep && variable.missing.iter().any(|missing| missing.covers(code, encoding));
    let kind = match Shown::of(variable) {
        _ if is_text => Kind::Known(DataType::Utf8),
        Shown::Number => Kind::Seen(DataType::Float64),
        Shown::Date => Kind::Seen(DataType::Date32),
        Shown::Instant => Kind::Seen(INSTANT),
        Shown::Duration => Kind::Seen(DataType::Utf8),
    };
    Variable {
        name: lossy(&variable.name),
        kind,
        label: variable.label.as_deref().map(lossy).filter(|label| !label.is_empty()),
        labelled: codes.iter().any(|(code, _)| !is_missing(code)),
        codes,
    }
}

fn row(
    cases: &mut Cases,
    number: u64,
    encoding: &'static Encoding,
    keep: bool,
) -> Result<Option<TypedRow>, SourceError> {
    if !cases.read()? {
        return Ok(None);
    }
    let mut cells = Vec::with_capacity(cases.dictionary.variables.len());
    for (variable, value) in cases.dictionary.variables.iter().zip(&cases.values) {
        let cell = match value {
            cases::Value::Number(number) => Raw::Number(*number),
            cases::Value::Missing => Raw::Null,
            cases::Value::Text(bytes) => match text(bytes, encoding) {
                (text, _) if text.is_empty() => Raw::Null,
                (text, true) => Raw::Text(text),
                (_, false) => {
                    let name = text(&variable.name, encoding).0;
                    let message = format!("row {number}: column `{name}` is not valid {}", encoding.name());
                    let help = r#"set its encoding, often encoding = "windows-1252""#;
                    let error = SourceError::of_file(&cases.shown, message).help(help);
                    Raw::Unreadable(text(bytes, encoding).0, Box::new(error))
                }
            },
        };
        let missing = !keep && variable.missing.iter().any(|missing| missing.covers(&cell, encoding));
        cells.push(if missing { Raw::Missing } else { shown(cell, Shown::of(variable)) });
    }
    Ok(Some(TypedRow { number, cells }))
}

/// A number as the date or time that its variable shows.
fn shown(cell: Raw, shown: Shown) -> Raw {
    let Raw::Number(seconds) = cell else { return cell };
    let since_1970 = seconds - EPOCH;
    match shown {
        Shown::Number => Raw::Number(seconds),
        Shown::Date if since_1970.abs() < DAY * 1e8 => Raw::Date((since_1970 / DAY).floor() as i32),
        Shown::Instant if since_1970.abs() < 1e12 => Raw::Instant(micros(seconds) - EPOCH as i64 * 1_000_000),
        Shown::Duration if seconds.abs() < 1e12 => Raw::Text(duration(seconds)),
        _ => Raw::Number(seconds),
    }
}

/// Microseconds of the shortest decimal that means this number: a number of seconds since 1582 has no exact milliseconds.
fn micros(seconds: f64) -> i64 {
    let text = seconds.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let micros = format!("{whole}{:0<6.6}", fraction).parse().unwrap_or(0);
    if seconds < 0.0 { -micros } else { micros }
}

/// `[-]hh:mm:ss`, with the fraction of the second if there is one.
fn duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let micros = (seconds.abs() * 1e6).round() as u64;
    let (whole, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    let fraction = fraction.trim_end_matches('0');
    format!("{sign}{:02}:{:02}:{:02}{fraction}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_milliseconds() {
        assert_eq!(micros(13_939_214_400.123), 13_939_214_400_123_000);
        assert_eq!(micros(-0.5), -500_000);
        assert_eq!(micros(86_400.0), 86_400_000_000);
        assert_eq!(shown(Raw::Number(EPOCH + 0.25), Shown::Instant), Raw::Instant(250_000));
    }
}
