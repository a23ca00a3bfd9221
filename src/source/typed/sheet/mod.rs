//! Sheets of Excel and OpenDocument files, read row by row.
//!
//! The first row of the sheet or of `range` that is not empty names the columns. Empty rows are skipped, and so are
//! columns without a name and without cells. Hidden rows and columns are read as the others. A merged cell has its value
//! at its top left.
//!
//! A thread reads the file, since the readers of archives borrow them; a few blocks of rows wait for the consumer.

mod archive;
mod cells;
mod ods;
mod range;
mod xlsx;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use arrow_schema::DataType;

pub(crate) use self::cells::cell_name;
use self::cells::{SheetCell, SheetRow};
use self::range::Range;
use super::{Kind, Open, Opened, Raw, TypedRow, Variable, text_of};
use crate::source::batches::{MOST_COLUMNS, ROW_BYTES, SourceError};
use crate::source::reader::DataFile;
use crate::source::settings::File;

/// Reads the rows of a sheet (the first visible one by default) in order, until `on_row` returns `false`. Calls `on_sheet`
/// first if there are several sheets.
type ReadRows = fn(
    file: &DataFile,
    sheet: Option<&str>,
    on_sheet: &mut dyn FnMut(&str),
    on_row: &mut dyn FnMut(SheetRow) -> Result<bool, SourceError>,
) -> Result<(), SourceError>;

/// The rows of a block; a block ends early at about this many bytes of text.
const BLOCK_ROWS: usize = 256;
const BLOCK_BYTES: usize = 1 << 20;
/// The blocks that wait for the consumer.
const BLOCKS: usize = 2;

pub(crate) struct Sheet(ReadRows);

/// A row of a sheet, from 0, with the columns, from 0, and texts of its cells.
pub(crate) type TextRow = (u32, Vec<(u32, String)>);

/// The first `most` rows of an Excel file that are not empty.
pub(crate) fn workbook_rows(bytes: &[u8], file: &File, most: usize) -> Result<Vec<TextRow>, SourceError> {
    let mut rows = Vec::new();
    let book = || std::io::Cursor::new(bytes);
    let read = || {
        xlsx::read((book(), book()), &file.path, file.sheet.as_deref(), &mut |_| {}, &mut |row| {
            let cells = row.cells.into_iter().filter_map(|(column, cell)| match cell {
                SheetCell::Value(Raw::Null) => None,
                SheetCell::Error(text) => Some((column, text)),
                SheetCell::Value(value) => Some((column, text_of(&value))).filter(|(_, text)| !text.is_empty()),
            });
            let cells: Vec<(u32, String)> = cells.collect();
            rows.extend((!cells.is_empty()).then_some((row.number, cells)));
            Ok(rows.len() < most)
        })
    };
    // Some damaged files make the reader panic.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(archive::damaged(&file.path)))?;
    Ok(rows)
}

impl Sheet {
    pub(crate) const XLSX: Sheet = Sheet(xlsx::rows);
    pub(crate) const ODS: Sheet = Sheet(ods::rows);
}

/// Checks the `range` of a spec.
pub(crate) fn check_range(text: &str) -> Result<(), SourceError> {
    Range::parse(text).map(|_| ())
}

enum Message {
    /// The sheet, if there are several, and its columns.
    Names(String, Vec<String>),
    Rows(Vec<TypedRow>),
    End,
}

type Sent = Result<Message, SourceError>;

impl Open for Sheet {
    fn open(&self, file: &DataFile, options: &File) -> Result<Opened, SourceError> {
        let (sender, receiver) = sync_channel::<Sent>(BLOCKS);
        let read = self.0;
        let range = options.range.as_deref().map(Range::parse).transpose()?.unwrap_or_default();
        let mut table = Table::new(sender, range, &file.shown, options);
        let (file, sheet) = (file.clone(), options.sheet.clone());
        let shown = file.shown.clone();
        std::thread::spawn(move || {
            let chosen = RefCell::new(String::new());
            let read = || {
                let mut on_sheet = |sheet: &str| sheet.clone_into(&mut chosen.borrow_mut());
                read(&file, sheet.as_deref(), &mut on_sheet, &mut |row| table.row(row, &chosen.borrow()))?;
                table.end()
            };
            // Some damaged files make the reader panic.
            let result = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(archive::damaged(&file.shown)));
            if let Err(error) = result {
                // The consumer is gone.
                drop(table.sender.send(Err(error)));
            }
        });
        let mut detected = Vec::new();
        let names = match receiver.recv() {
            Ok(Ok(Message::Names(sheet, names))) => {
                let is_choice = options.sheet.is_none() && !sheet.is_empty();
                detected.extend(is_choice.then(|| format!("sheet = {sheet:?}")));
                names
            }
            Ok(Err(error)) => return Err(error),
            _ => return Err(archive::damaged(&shown)),
        };
        let variable =
            |name| Variable { name, kind: Kind::Seen(DataType::Utf8), label: None, codes: Vec::new(), labelled: false };
        let rows = Received { receiver, block: Vec::new().into_iter(), shown, ended: false };
        Ok(Opened {
            variables: names.into_iter().map(variable).collect(),
            rows: Box::new(rows),
            detected,
            encoding: None,
            weight: None,
        })
    }

    fn place(&self) -> fn(u64, usize) -> String {
        |row, _| format!("row {row} of the sheet")
    }
}

struct Received {
    receiver: Receiver<Sent>,
    block: std::vec::IntoIter<TypedRow>,
    shown: String,
    ended: bool,
}

impl Iterator for Received {
    type Item = Result<TypedRow, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.block.next() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            match self.receiver.recv() {
                Ok(Ok(Message::Rows(rows))) => self.block = rows.into_iter(),
                Ok(Ok(Message::Names(..))) => {}
                ended => {
                    self.ended = true;
                    match ended {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return Some(Err(error)),
                        Err(_) => return Some(Err(archive::damaged(&self.shown))),
                    }
                }
            }
        }
    }
}

/// Turns the rows of a sheet into those of a table, in the thread that reads.
struct Table {
    sender: SyncSender<Sent>,
    range: Range,
    shown: String,
    nulls: Vec<String>,
    /// The place in the table of each column of the sheet; `None` before the header.
    places: Option<Vec<Option<usize>>>,
    width: usize,
    /// The rows of the header, and how many of them are still to come.
    header_rows: u64,
    skip: u64,
    block: Vec<TypedRow>,
    bytes: usize,
}

impl Table {
    fn new(sender: SyncSender<Sent>, range: Range, shown: &str, options: &File) -> Self {
        Table {
            sender,
            range,
            shown: shown.to_owned(),
            nulls: options.null_values.clone(),
            places: None,
            width: 0,
            header_rows: options.header_rows.unwrap_or(1),
            skip: options.header_rows.unwrap_or(1).saturating_sub(1),
            block: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes a row of `sheet`; returns `false` if no more are needed.
    fn row(&mut self, row: SheetRow, sheet: &str) -> Result<bool, SourceError> {
        if row.number < self.range.rows.0 {
            return Ok(true);
        }
        if row.number > self.range.rows.1 {
            return Ok(false);
        }
        let (from, to) = self.range.columns;
        let cells = row.cells.into_iter().filter(|(column, _)| (from..=to).contains(column));
        let mut filled = Vec::new();
        for (column, cell) in cells {
            match self.value(cell, row.number, column) {
                Raw::Null => {}
                Raw::Text(text) if text.is_empty() => {}
                value => filled.push((column, value)),
            }
        }
        match (&self.places, filled.is_empty()) {
            (_, true) => Ok(true),
            (None, false) if self.header_rows == 0 => Ok(self.header(&filled, sheet)? && self.add(row.number, filled)?),
            (None, false) => self.header(&filled, sheet),
            (Some(_), false) if self.skip > 0 => {
                self.skip -= 1;
                Ok(true)
            }
            (Some(_), false) => self.add(row.number, filled),
        }
    }

    fn value(&self, cell: SheetCell, row: u32, column: u32) -> Raw {
        match cell {
            SheetCell::Value(value) => value,
            SheetCell::Error(text) if text == "#N/A" || self.nulls.contains(&text) => Raw::Null,
            SheetCell::Error(text) => {
                let message = format!("cell {} is the error {text}", cell_name(row, column));
                let help = format!("correct the formula; or make it null with null_values = [{text:?}]");
                let error = SourceError::of_file(&self.shown, message).help(help);
                Raw::Unreadable(text, Box::new(error))
            }
        }
    }

    fn header(&mut self, cells: &[(u32, Raw)], sheet: &str) -> Result<bool, SourceError> {
        if let Some((_, Raw::Unreadable(_, error))) =
            cells.iter().find(|(_, name)| self.header_rows > 0 && matches!(name, Raw::Unreadable(..)))
        {
            return Err(error.as_ref().clone());
        }
        let last = cells.last().map_or(0, |(column, _)| *column as usize);
        let mut places = vec![None; last + 1];
        for (place, (column, _)) in cells.iter().enumerate() {
            places[*column as usize] = Some(place);
        }
        if cells.len() > MOST_COLUMNS {
            return Err(SourceError::of_file(&self.shown, format_args!("has more than {MOST_COLUMNS} columns")));
        }
        (self.places, self.width) = (Some(places), cells.len());
        let name = |(place, (_, name)): (usize, &(u32, Raw))| match self.header_rows {
            0 => format!("column_{}", place + 1),
            _ => text_of(name),
        };
        let names = cells.iter().enumerate().map(name).collect();
        self.send(Message::Names(sheet.to_owned(), names))
    }

    fn add(&mut self, row: u32, filled: Vec<(u32, Raw)>) -> Result<bool, SourceError> {
        let mut cells = vec![Raw::Null; self.width];
        let mut bytes = 0;
        for (column, value) in filled {
            let place = self.places.as_ref().and_then(|places| places.get(column as usize).copied().flatten());
            let Some(place) = place else {
                let message = format!("cell {} has a value, but its column has no name", cell_name(row, column));
                let help = "name the column in the sheet, or leave it out with `range`, such as range = \"A1:F200\"";
                return Err(SourceError::of_file(&self.shown, message).help(help));
            };
            bytes += if let Raw::Text(text) = &value { text.len() } else { 8 };
            cells[place] = value;
        }
        if bytes > ROW_BYTES {
            let message = format!("row {} of the sheet is above {} MiB", row + 1, ROW_BYTES >> 20);
            return Err(SourceError::of_file(&self.shown, message));
        }
        self.block.push(TypedRow { number: u64::from(row) + 1, cells });
        self.bytes += bytes;
        if self.block.len() < BLOCK_ROWS && self.bytes < BLOCK_BYTES {
            return Ok(true);
        }
        self.bytes = 0;
        let block = std::mem::take(&mut self.block);
        self.send(Message::Rows(block))
    }

    /// Sends the last block.
    fn end(&mut self) -> Result<(), SourceError> {
        if self.places.is_none() {
            let message = "the sheet has no cells, so there are no columns";
            let help = "name another sheet with `sheet`, or check `range`";
            return Err(SourceError::of_file(&self.shown, message).help(help));
        }
        let block = std::mem::take(&mut self.block);
        if self.send(Message::Rows(block))? {
            self.send(Message::End)?;
        }
        Ok(())
    }

    /// Returns `false` if the consumer is gone.
    #[expect(clippy::unnecessary_wraps, reason = "every caller returns a result")]
    fn send(&self, message: Message) -> Result<bool, SourceError> {
        Ok(self.sender.send(Ok(message)).is_ok())
    }
}
