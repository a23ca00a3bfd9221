//! Excel workbooks: the rows in the sheet `data`, and the labels of columns and codes in the sheet `labels`.
//!
//! The writer keeps one row in memory. What a cell of Excel cannot hold becomes text, or is cut with a note.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::{Array, RecordBatch};
use rust_xlsxwriter::{DataValidation, DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

use super::table::{Output, Written, cut_note};
use super::variables::{Moment, moment};
use crate::store::StoreError;
use crate::table::files::folder_of;
use crate::table::{Cell, Labels, cell_at};

/// The most UTF-16 units of a text in a cell.
const LONGEST: usize = 32_767;
/// Whole numbers from here on have more digits than Excel keeps.
const MOST: u64 = 1_000_000_000_000_000;
/// The days from 1970-01-01 to Excel's day 0, and its first day that other programs count alike.
const EPOCH: f64 = 25_569.0;
const FIRST_DAY: f64 = 61.0;

const LAST_ROW: u32 = 1_048_575;

struct Sheet<'a> {
    sheet: &'a mut Worksheet,
    bold: Format,
    day: Format,
    moment: Format,
    /// The number of cut texts of each column.
    cut: Vec<u64>,
}

pub(super) fn write(file: &File, output: &Output<'_>) -> Result<Written, StoreError> {
    // The writer panics when the disk is full.
    let written = catch_unwind(AssertUnwindSafe(|| write_book(file, output)));
    written.unwrap_or_else(|_| Err(output.broken("it cannot be written; is the disk full?")))
}

fn write_book(file: &File, output: &Output<'_>) -> Result<Written, StoreError> {
    let failed = |error: XlsxError| output.broken(error);
    let schema = &output.output.schema;
    let mut book = Workbook::new();
    book.set_tempdir(folder_of(output.path())).map_err(failed)?;
    // A fixed date: the same rows are the same bytes.
    let created = ExcelDateTime::from_ymd(2000, 1, 1).map_err(failed)?;
    book.set_properties(&DocProperties::new().set_creation_datetime(&created));
    let sheet = book.add_worksheet_with_constant_memory().map_err(failed)?;
    let mut data = Sheet::new(sheet, "data", schema.fields().len()).map_err(failed)?;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    data.header(&names).map_err(failed)?;
    let mut rows: u64 = 0;
    for batch in output.rows() {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            rows += 1;
            data.row(rows, &batch, row).map_err(failed)?;
        }
    }
    for (column, fill) in (output.output.columns.len()..).zip(output.output.sheet.iter().flat_map(|sheet| &sheet.fill))
    {
        data.choices(column as u16, &fill.labels).map_err(failed)?;
    }
    let cut = std::mem::take(&mut data.cut);
    let labels = labels(output);
    if !labels.is_empty() {
        let sheet = book.add_worksheet_with_constant_memory().map_err(failed)?;
        let mut sheet = Sheet::new(sheet, "labels", 3).map_err(failed)?;
        sheet.header(&["column", "code", "label"]).map_err(failed)?;
        for (row, cells) in (1..).zip(&labels) {
            for (column, cell) in (0..).zip(cells) {
                sheet.cell(row, column, cell).map_err(failed)?;
            }
        }
    }
    book.save_to_writer(file).map_err(failed)?;
    let notes = cut.iter().zip(&names).filter_map(|(cut, name)| cut_note(name, *cut, "32,767 characters"));
    Ok(Written { rows, columns: names.len(), notes: notes.collect(), sheet: None })
}

/// A row for each column with a label and for each code with a text.
fn labels(output: &Output<'_>) -> Vec<[Cell; 3]> {
    let mut rows = Vec::new();
    for field in output.output.schema.fields() {
        let Labels { variable, values } = Labels::of(field);
        let name = || Cell::Text(field.name().clone());
        rows.extend(variable.map(|label| [name(), Cell::Null, Cell::Text(label)]));
        rows.extend(values.into_iter().map(|(code, text)| [name(), code, Cell::Text(text)]));
    }
    rows
}

impl<'a> Sheet<'a> {
    fn new(sheet: &'a mut Worksheet, name: &str, columns: usize) -> Result<Self, XlsxError> {
        sheet.set_name(name)?;
        sheet.set_freeze_panes(1, 0)?;
        let format = |code: &str| Format::new().set_num_format(code);
        let (day, moment) = (format("yyyy-mm-dd"), format("yyyy-mm-dd hh:mm:ss.000"));
        Ok(Sheet { sheet, bold: Format::new().set_bold(), day, moment, cut: vec![0; columns] })
    }

    fn header(&mut self, names: &[&str]) -> Result<(), XlsxError> {
        for (column, name) in (0..).zip(names) {
            let (name, _) = fitted(name);
            self.sheet.write_string_with_format(0, column, name, &self.bold)?;
        }
        Ok(())
    }

    /// Offers labels in every row below the header, if they fit into a list of Excel.
    fn choices(&mut self, column: u16, labels: &[String]) -> Result<(), XlsxError> {
        if labels.is_empty() || labels.iter().any(|label| label.contains(',')) {
            return Ok(());
        }
        let Ok(list) = DataValidation::new().allow_list_strings(labels) else { return Ok(()) };
        self.sheet.add_data_validation(1, column, LAST_ROW, column, &list)?;
        Ok(())
    }

    fn row(&mut self, number: u64, batch: &RecordBatch, row: usize) -> Result<(), XlsxError> {
        let number = u32::try_from(number).map_err(|_| XlsxError::RowColumnLimitError)?;
        for (column, array) in (0..).zip(batch.columns()) {
            let serial = |milliseconds: f64| milliseconds / 86_400_000.0 + EPOCH;
            match moment(array.as_ref(), row) {
                Some(Moment::Day(day)) if f64::from(day) + EPOCH >= FIRST_DAY => {
                    self.sheet.write_number_with_format(number, column, f64::from(day) + EPOCH, &self.day)?;
                }
                Some(Moment::Milliseconds(time)) if serial(time) >= FIRST_DAY => {
                    self.sheet.write_number_with_format(number, column, serial(time), &self.moment)?;
                }
                _ if array.is_null(row) => {}
                _ => self.cell(number, column, &cell_at(array.as_ref(), row))?,
            }
        }
        Ok(())
    }

    fn cell(&mut self, row: u32, column: u16, cell: &Cell) -> Result<(), XlsxError> {
        match cell {
            Cell::Null => {}
            Cell::Boolean(truth) => drop(self.sheet.write_boolean(row, column, *truth)?),
            Cell::Integer(number) if number.unsigned_abs() < MOST => {
                self.sheet.write_number(row, column, *number as f64)?;
            }
            Cell::Number(number) if number.is_finite() => drop(self.sheet.write_number(row, column, *number)?),
            Cell::Number(number) => drop(self.sheet.write_string(row, column, number.to_string())?),
            other => {
                let text = other.text();
                let (text, cut) = fitted(&text);
                self.cut[usize::from(column)] += u64::from(cut);
                // Text is never a formula, whatever its first character is.
                self.sheet.write_string(row, column, text)?;
            }
        }
        Ok(())
    }
}

/// The beginning of a text that a cell can hold, and whether it is cut.
fn fitted(text: &str) -> (&str, bool) {
    if text.len() <= LONGEST {
        return (text, false);
    }
    let mut units = 0;
    let end = text.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > LONGEST
    });
    end.map_or((text, false), |(end, _)| (&text[..end], true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "x".repeat(LONGEST);
        assert_eq!(fitted(&long), (long.as_str(), false));
        assert_eq!(fitted(&format!("{long}y")), (long.as_str(), true));
        let wide = "😀".repeat(LONGEST);
        let (text, cut) = fitted(&wide);
        assert_eq!((text.chars().count(), cut), (LONGEST / 2, true));
        assert!(!fitted(&"é".repeat(LONGEST)).1);
    }
}
