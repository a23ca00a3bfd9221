//! CSV and TSV: RFC 4180 with CRLF, LF or CR, doubled quotes and newlines in quotes. Blank lines are skipped.
//!
//! `csv_core` splits the fields; this file adds limits and the position of every problem.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use csv_core::ReadRecordResult;

use super::batches::{
    BATCH_BYTES, BATCH_ROWS, Batches, CELL_BYTES, CELL_COST, MOST_COLUMNS, ROW_BYTES, SourceError, batches,
};
use super::cell::{Column, Type, batch_of, check_types, schema};
use super::reader::{DataFile, Reader};
use super::settings::File;
use super::text::{Position, Text};

pub(crate) struct Csv {
    records: Records,
    schema: SchemaRef,
    columns: Vec<Column>,
    nulls: Vec<String>,
}

impl Csv {
    /// Reads the header of `text`; messages call the file `shown`.
    ///
    /// Columns are text unless `types` has another type. Empty cells and cells in `nulls` are null.
    pub(crate) fn new(
        text: Text,
        shown: &str,
        delimiter: u8,
        types: &BTreeMap<String, Type>,
        nulls: &[String],
    ) -> Result<Self, SourceError> {
        let mut records = Records::new(text, shown, delimiter);
        let names = records.header()?;
        check_types(types, &names, shown)?;
        let typed = |name: &String| types.get(name).copied().unwrap_or(Type::String);
        let columns = names.iter().map(|name| Column::new(name, typed(name))).collect();
        let schema = schema(names.iter().map(|name| (name.as_str(), typed(name))));
        Ok(Csv { records, schema, columns, nulls: nulls.to_vec() })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(crate) fn into_batches(mut self) -> Batches {
        batches(move || self.batch())
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES && self.records.read()? {
            for (column, cell) in self.columns.iter_mut().zip(self.records.fields()?) {
                if cell.is_empty() || (!self.nulls.is_empty() && self.nulls.iter().any(|null| null == cell)) {
                    column.push_null();
                } else if !column.push(cell) {
                    return Err(column.refused(cell, &self.records.shown, self.records.start));
                }
            }
            rows += 1;
            bytes += self.records.length() + self.records.count * CELL_COST;
        }
        batch_of(&self.schema, &mut self.columns, rows, &self.records.shown)
    }
}

pub(crate) struct CsvReader(pub(crate) u8);

impl CsvReader {
    fn open(&self, file: &DataFile, options: &File) -> Result<Csv, SourceError> {
        let text = Text::open(&file.path, &file.shown, options.encoding.as_deref())?;
        Csv::new(text, &file.shown, self.0, &options.types, &options.null_values)
    }
}

impl Reader for CsvReader {
    fn file_schema(&self, file: &DataFile, options: &File) -> Result<SchemaRef, SourceError> {
        Ok(self.open(file, options)?.schema())
    }

    fn read(&self, file: &DataFile, options: &File, _: &SchemaRef) -> Result<Batches, SourceError> {
        Ok(self.open(file, options)?.into_batches())
    }
}

struct Records {
    text: Text,
    shown: String,
    core: csv_core::Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
    /// The number of fields in the header; 0 before it is read.
    wanted: usize,
    start: Position,
    /// The last record ended with a CR; a following LF belongs to the same line end.
    after_cr: bool,
}

impl Records {
    fn new(text: Text, shown: &str, delimiter: u8) -> Self {
        let core = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        let start = Position { row: 0, line: 1, byte: text.byte() };
        let (output, ends) = (vec![0; 4096], vec![0; 64]);
        Records { text, shown: shown.to_owned(), core, output, ends, count: 0, wanted: 0, start, after_cr: false }
    }

    fn header(&mut self) -> Result<Vec<String>, SourceError> {
        let shown = self.shown.clone();
        let wrong = |message: String| SourceError::new(format!("{shown}: {message}")).at(["path"]);
        if !self.read()? {
            return Err(
                wrong("has no header row: the file is empty".to_owned()).help("its first row must name the columns")
            );
        }
        let mut names: Vec<String> = Vec::with_capacity(self.count);
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (number, name) in (1..).zip(self.fields()?) {
            if name.trim().is_empty() {
                return Err(wrong(format!("{}: column {number} has no name", self.start))
                    .help("name it, or remove the extra delimiter"));
            }
            if let Some(first) = seen.insert(name, number) {
                return Err(wrong(format!("{}: columns {first} and {number} are both called `{name}`", self.start))
                    .help("give one of them another name"));
            }
            names.push(name.to_owned());
        }
        self.wanted = names.len();
        Ok(names)
    }

    /// The bytes of the last record.
    fn length(&self) -> usize {
        self.count.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    fn fields(&self) -> Result<impl Iterator<Item = &str>, SourceError> {
        let text = str::from_utf8(&self.output[..self.length()]).map_err(|_| self.error("is not UTF-8"))?;
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        Ok(starts.zip(&self.ends[..self.count]).map(|(from, &to)| text.get(from..to).unwrap_or_default()))
    }

    /// Reads the next record; returns `false` at the end of the file.
    fn read(&mut self) -> Result<bool, SourceError> {
        if !self.skip_blank()? {
            return Ok(false);
        }
        self.start = Position { row: self.next_row(), line: self.core.line(), byte: self.text.byte() };
        let (mut filled, mut count) = (0, 0);
        loop {
            let here = Position { line: self.core.line(), ..self.start };
            let piece = self.text.piece().map_err(|fault| fault.error(&self.shown, here))?;
            let at_end = piece.is_empty();
            // A line end completes a last record without one. If it does not, a quote is open.
            let input = if at_end { b"\n".as_slice() } else { piece };
            let (result, read, written, ended) =
                self.core.read_record(input, &mut self.output[filled..], &mut self.ends[count..]);
            let last = read.checked_sub(1).and_then(|i| input.get(i)).copied();
            self.text.consume(if at_end { 0 } else { read });
            filled += written;
            count += ended;
            match result {
                ReadRecordResult::Record => {
                    self.after_cr = last == Some(b'\r');
                    self.count = count;
                    return self.check(filled).map(|()| true);
                }
                _ if at_end && read > 0 => {
                    return Err(self.error("a quote is opened here and never closed").help(
                        "the file ends inside the quote: it is cut off, or a quote in a text is not doubled (\"\")",
                    ));
                }
                ReadRecordResult::OutputFull => self.grow(filled, count)?,
                ReadRecordResult::OutputEndsFull if count > MOST_COLUMNS => return Err(self.too_many()),
                ReadRecordResult::OutputEndsFull => self.ends.resize((count * 2).clamp(64, MOST_COLUMNS + 1), 0),
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
            }
        }
    }

    fn next_row(&self) -> u64 {
        if self.wanted == 0 { 0 } else { self.start.row + 1 }
    }

    /// Skips line ends before a record; returns `false` at the end of the file.
    fn skip_blank(&mut self) -> Result<bool, SourceError> {
        loop {
            let here = Position { row: self.next_row(), line: self.core.line(), byte: None };
            let piece = self.text.piece().map_err(|fault| fault.error(&self.shown, here))?;
            let Some(&next) = piece.first() else { return Ok(false) };
            // A CR without a following LF is a line end too; `csv_core` counts only LF.
            if self.after_cr || next == b'\n' {
                self.core.set_line(self.core.line() + 1);
            }
            match next {
                b'\r' | b'\n' => {
                    self.after_cr = next == b'\r';
                    self.text.consume(1);
                }
                _ => {
                    self.after_cr = false;
                    return Ok(true);
                }
            }
        }
    }

    /// Enlarges `output`, unless the field or the record is too long already.
    fn grow(&mut self, filled: usize, count: usize) -> Result<(), SourceError> {
        let field = filled - count.checked_sub(1).map_or(0, |i| self.ends[i]);
        if field > CELL_BYTES {
            return Err(self.too_long(count));
        }
        if filled > ROW_BYTES {
            return Err(self.error(&format!("is above {} MiB", ROW_BYTES >> 20)));
        }
        self.output.resize((self.output.len() * 2).min(self.output.len() + CELL_BYTES), 0);
        Ok(())
    }

    fn check(&self, filled: usize) -> Result<(), SourceError> {
        if filled > CELL_BYTES {
            let starts = [0].into_iter().chain(self.ends.iter().copied());
            let mut fields = starts.zip(&self.ends[..self.count]);
            if let Some(long) = fields.position(|(from, to)| to - from > CELL_BYTES) {
                return Err(self.too_long(long));
            }
        }
        if self.count > MOST_COLUMNS {
            return Err(self.too_many());
        }
        if self.wanted != 0 && self.count != self.wanted {
            let (found, wanted) = (self.count, self.wanted);
            let s = if found == 1 { "" } else { "s" };
            return Err(self.error(&format!("has {found} field{s}, the header has {wanted}")).help(
                "put a text that contains a delimiter, a quote or a line end in quotes, and double the quotes in it",
            ));
        }
        Ok(())
    }

    fn too_long(&self, field: usize) -> SourceError {
        let message = format!("field {} is above {} MiB", field + 1, CELL_BYTES >> 20);
        self.error(&message).help("usually a quote is opened there and never closed")
    }

    fn too_many(&self) -> SourceError {
        self.error(&format!("has more than {MOST_COLUMNS} columns"))
            .help("check the delimiter, and that the file is text")
    }

    fn error(&self, message: &str) -> SourceError {
        SourceError::new(format!("{}: {}: {message}", self.shown, self.start)).at(["path"])
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
