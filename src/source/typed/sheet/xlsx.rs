//! Excel files (`.xlsx`, `.xlsm`), read by the crate `calamine`.

use std::io::{Read, Seek};

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx, XlsxError};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

use super::archive::{broken, open, opened};
use super::cells::{SheetCell, SheetRow, cell_name, choose, day, moment, time};
use super::range::{COLUMNS, ROWS};
use crate::source::batches::SourceError;
use crate::source::reader::DataFile;
use crate::source::typed::Raw;

pub(super) fn rows(
    file: &DataFile,
    sheet: Option<&str>,
    on_sheet: &mut dyn FnMut(&str),
    on_row: &mut dyn FnMut(SheetRow) -> Result<bool, SourceError>,
) -> Result<(), SourceError> {
    let opened = || opened(file).map(std::io::BufReader::new);
    read((opened()?, opened()?), &file.shown, sheet, on_sheet, on_row)
}

/// Reads the rows of a workbook that is given twice, once to check its parts.
pub(super) fn read<R: Read + Seek>(
    (checked, book): (R, R),
    shown: &str,
    sheet: Option<&str>,
    on_sheet: &mut dyn FnMut(&str),
    on_row: &mut dyn FnMut(SheetRow) -> Result<bool, SourceError>,
) -> Result<(), SourceError> {
    drop(open(checked, shown)?);
    let wrong = |error: XlsxError| broken(shown, &error.to_string());
    let mut book: Xlsx<_> = Xlsx::new(book).map_err(wrong)?;
    let sheets = book.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
    let sheets: Vec<_> = sheets.map(|sheet| (sheet.name.clone(), sheet.visible == SheetVisible::Visible)).collect();
    let chosen = choose(&sheets, sheet, shown)?;
    if sheets.len() > 1 {
        on_sheet(&sheets[chosen].0);
    }
    let mut reader = book.worksheet_cells_reader(&sheets[chosen].0).map_err(wrong)?;
    let mut row = SheetRow { number: 0, cells: Vec::new() };
    let place = |row: &SheetRow| match row.cells.last() {
        Some((column, _)) => format!("after cell {}", cell_name(row.number, *column)),
        None => "at its begin".to_owned(),
    };
    loop {
        let cell = reader.next_cell().map_err(|error| broken(shown, &format!("{}: {error}", place(&row))))?;
        let Some(cell) = cell else { break };
        let (number, column) = cell.get_position();
        let ascends = number >= row.number && (number > row.number || row.cells.last().is_none_or(|c| c.0 < column));
        if !ascends || number >= ROWS || column >= COLUMNS {
            return Err(broken(shown, &format!("{}: cell {} comes next", place(&row), cell_name(number, column))));
        }
        if number > row.number && !row.cells.is_empty() && !on_row(std::mem::replace(&mut row, empty(number)))? {
            return Ok(());
        }
        row.number = number;
        row.cells.push((column, value(cell.get_value())));
    }
    if row.cells.is_empty() { Ok(()) } else { on_row(row).map(|_| ()) }
}

fn empty(number: u32) -> SheetRow {
    SheetRow { number, cells: Vec::new() }
}

fn value(data: &DataRef<'_>) -> SheetCell {
    SheetCell::Value(match data {
        DataRef::Empty => Raw::Null,
        DataRef::Int(number) => Raw::Integer(*number),
        DataRef::Float(number) => Raw::Number(*number),
        DataRef::String(text) => Raw::Text(text.clone()),
        DataRef::SharedString(text) => Raw::Text((*text).to_owned()),
        DataRef::Bool(truth) => Raw::Boolean(*truth),
        DataRef::DateTime(serial) => date(*serial),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => iso(text),
        DataRef::Error(error) => return SheetCell::Error(error.to_string()),
    })
}

/// A date or time as Excel shows it. A number outside of its calendar stays a number.
fn date(serial: ExcelDateTime) -> Raw {
    let number = serial.as_f64();
    if serial.is_duration() {
        let seconds = (number.abs() * 86_400.0).round();
        let sign = if number < 0.0 { "-" } else { "" };
        let (hours, minutes) = ((seconds / 3600.0).floor(), (seconds / 60.0).floor() % 60.0);
        return Raw::Text(format!("{sign}{hours:02}:{minutes:02}:{:02}", seconds % 60.0));
    }
    // Excel's day 60 is 29 February 1900, which never was.
    if !(0.0..2_958_466.0).contains(&number) || number.floor() == 60.0 {
        return Raw::Number(number);
    }
    let (year, month, date, hour, minute, second, milli) = serial.to_ymd_hms_milli();
    let clock = NaiveTime::from_hms_milli_opt(hour.into(), minute.into(), second.into(), milli.into());
    let date = NaiveDate::from_ymd_opt(year.into(), month.into(), date.into());
    match (date, clock) {
        (_, Some(clock)) if number < 1.0 => time(clock),
        (Some(date), Some(clock)) => moment(NaiveDateTime::new(date, clock)),
        _ => Raw::Number(number),
    }
}

fn iso(text: &str) -> Raw {
    if let Ok(date) = text.parse::<NaiveDate>() {
        day(date)
    } else if let Ok(clock) = text.parse::<NaiveDateTime>() {
        moment(clock)
    } else {
        Raw::Text(text.to_owned())
    }
}
