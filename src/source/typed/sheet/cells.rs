//! Cells and rows of a sheet, and the choice of a sheet.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use crate::name::{listed, nearest};
use crate::source::batches::SourceError;
use crate::source::typed::Raw;

pub(super) struct SheetRow {
    /// From 0.
    pub(super) number: u32,
    /// The cells with their columns, from 0 and ascending.
    pub(super) cells: Vec<(u32, SheetCell)>,
}

pub(super) enum SheetCell {
    Value(Raw),
    /// An error value such as `#N/A`.
    Error(String),
}

/// The name of a cell, such as `C13`.
pub(crate) fn cell_name(row: u32, column: u32) -> String {
    format!("{}{}", column_name(column), u64::from(row) + 1)
}

fn column_name(column: u32) -> String {
    let (before, letter) = (column / 26, char::from(b'A' + (column % 26) as u8));
    let before = before.checked_sub(1).map(column_name).unwrap_or_default();
    format!("{before}{letter}")
}

/// A date if the time is midnight, else the date and time.
pub(super) fn moment(moment: NaiveDateTime) -> Raw {
    if moment.time() == NaiveTime::MIN { day(moment.date()) } else { Raw::Instant(moment.and_utc().timestamp_micros()) }
}

pub(super) fn day(date: NaiveDate) -> Raw {
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).map_or_else(|_| Raw::Text(date.to_string()), Raw::Date)
}

/// A time of the day as text: `hh:mm:ss`.
pub(super) fn time(time: NaiveTime) -> Raw {
    let format = if time.nanosecond() == 0 { "%H:%M:%S" } else { "%H:%M:%S%.3f" };
    Raw::Text(time.format(format).to_string())
}

/// The place of the sheet called `wanted`; by default the first that is visible.
pub(super) fn choose(sheets: &[(String, bool)], wanted: Option<&str>, shown: &str) -> Result<usize, SourceError> {
    let names = || sheets.iter().map(|(name, _)| name.as_str());
    let found = match wanted {
        Some(wanted) => names().position(|name| name == wanted),
        None => sheets.iter().position(|(_, visible)| *visible).or((!sheets.is_empty()).then_some(0)),
    };
    found.ok_or_else(|| match wanted {
        None => SourceError::of_file(shown, "has no sheets"),
        Some(wanted) => {
            let all = format!("its sheets are {}", listed(names()));
            let help = match nearest(wanted, names()) {
                Some(near) => format!("did you mean `{near}`? {all}"),
                None => all,
            };
            SourceError::new(format!("{shown}: has no sheet `{wanted}`")).help(help).at(["sheet"])
        }
    })
}
