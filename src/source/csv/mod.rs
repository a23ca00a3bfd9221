//! CSV and TSV: the columns of delimited text, with the dialect that the spec sets or the first rows show.

mod detection;
pub(crate) mod dialect;
pub(crate) mod edit;
mod records;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};

use crate::source::batches::{BATCH_BYTES, BATCH_ROWS, Batches, CELL_COST, SourceError, batches};
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::{Changes, Reading};
use crate::source::settings::File;
use crate::source::settings::layout::Layout;
use crate::source::text::Text;
use crate::source::text::cell::{Column, Type, batch_of};
use crate::source::text::numbers::{Notation, decimal_commas};
use crate::table::Labels;
use detection::{SAMPLE, Sample, header_rows};
use dialect::{Dialect, written};
use records::Records;

pub(crate) struct Csv {
    records: Records,
    schema: SchemaRef,
    /// The number of each column in the file, and its cells.
    columns: Vec<(usize, Column)>,
    nulls: Vec<String>,
    reading: Reading,
    changes: Changes,
}

impl Csv {
    /// Reads the header of `text`; messages call the file `shown`.
    ///
    /// Columns are text unless `types` has another type. Empty cells and cells in `null_values` are null.
    pub(crate) fn new(mut text: Text, shown: &str, default: Dialect, file: &File) -> Result<Self, SourceError> {
        let in_file = |error: SourceError| match error.field[..] == ["path"] {
            true => SourceError { message: format!("{shown}: {}", error.message), ..error },
            false => error,
        };
        let (start, whole) = text.peek(SAMPLE);
        let sample = Sample { text: start, whole };
        let (dialect, mut reading) = settled(&sample, default, file).map_err(in_file)?;
        let rows = sample.records(dialect).unwrap_or_default();
        let headers = file.header_rows.unwrap_or_else(|| header_rows(&rows));
        if file.header_rows.is_none() && headers != 1 {
            reading.detected.push(format!("header_rows = {headers}"));
        }
        reading.header_rows = Some(headers);
        let mut records = Records::new(text, shown, dialect)?;
        let Header { names, labels, place } = header(&mut records, headers)?;
        if names.len() == 1 {
            reading.rules.push("blank lines of one column are rows");
        }
        let layout = Layout::new(file, &names, shown, &place)?;
        records.set_columns(file.names.as_deref().unwrap_or(&names));
        let typed = |name: &String| file.types.get(name).copied().unwrap_or(Type::String);
        let mut notation = file.notation()?;
        if file.decimal.is_none() && file.thousands.as_deref() != Some(",") {
            let numbers: Vec<usize> =
                layout.columns.iter().filter(|(_, name)| typed(name) == Type::Number).map(|(i, _)| *i).collect();
            let data = rows.iter().skip(usize::try_from(headers).unwrap_or(usize::MAX));
            let cells = data.flat_map(|row| numbers.iter().filter_map(|&i| row.get(i)));
            let cells = cells.filter(|cell| !cell.is_empty() && !file.null_values.contains(cell));
            if decimal_commas(cells.map(String::as_str)) {
                notation = Notation { decimal: ',', ..notation };
                reading.detected.push("decimal = \",\"".to_owned());
            }
        }
        let field = |(index, name): &(usize, String)| {
            let variable = labels.get(*index).filter(|label| !label.is_empty()).cloned();
            Labels { variable, values: Vec::new() }.on(Field::new(name, typed(name).data_type(), true))
        };
        let schema = Arc::new(Schema::new(layout.columns.iter().map(field).collect::<Vec<_>>()));
        let column = |(index, name): (usize, String)| (index, Column::new(&name, typed(&name)).with(notation));
        let columns = layout.columns.into_iter().map(column).collect();
        Ok(Csv { records, schema, columns, nulls: file.null_values.clone(), reading, changes: Changes::default() })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(crate) fn counting(self, changes: &Changes) -> Self {
        Csv { changes: changes.clone(), ..self }
    }

    pub(crate) fn into_batches(mut self) -> Batches {
        batches(move || self.batch())
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES && self.records.read()? {
            let fields = self.records.fields()?;
            for (place, (index, column)) in self.columns.iter_mut().enumerate() {
                let cell = fields.get(*index);
                if cell.is_empty() || (!self.nulls.is_empty() && self.nulls.iter().any(|null| null == cell)) {
                    column.push_null();
                } else if !column.push(cell) {
                    let refused = column.refused(cell, &self.records.shown, self.records.start);
                    self.changes.unreadable(place, 1, refused)?;
                    column.push_null();
                }
            }
            rows += 1;
            bytes += self.records.length() + self.records.width() * CELL_COST;
        }
        let columns = self.columns.iter_mut().map(|(_, column)| column);
        batch_of(&self.schema, columns, rows, &self.records.shown)
    }
}

/// The dialect: what the spec sets, else what the sample shows, else the default.
fn settled(sample: &Sample, default: Dialect, file: &File) -> Result<(Dialect, Reading), SourceError> {
    let mut dialect = default.with(file)?;
    let mut detected = Vec::new();
    let found = match sample.excel_line() {
        Some(delimiter) if file.skip_rows.is_none() => {
            dialect.skip_rows = 1;
            detected.push("skip_rows = 1".to_owned());
            Some(delimiter)
        }
        _ if file.delimiter.is_none() && default == Dialect::CSV => {
            sample.delimiter(dialect, file.decimal.is_some())?
        }
        _ => None,
    };
    if let Some(delimiter) = found.filter(|delimiter| file.delimiter.is_none() && *delimiter != dialect.delimiter) {
        dialect.delimiter = delimiter;
        detected.insert(0, format!("delimiter = {}", written(delimiter)));
    }
    let is_new = default == Dialect::TSV && file.quote.is_none();
    let is_quoted = |cell: &String| cell.len() > 1 && cell.starts_with('"') && cell.ends_with('"');
    let mut doubts = Vec::new();
    if is_new && sample.records(dialect).unwrap_or_default().iter().flatten().any(is_quoted) {
        let message = "cells begin and end with a quotation mark, which is a character like any other in TSV";
        let help = r#"set quote = "\"" if the marks only enclose the texts, or quote = "none" if they belong to them"#;
        doubts.push((message.to_owned(), help.to_owned()));
    }
    let reading = Reading {
        delimiter: Some((dialect.delimiter as char).to_string()),
        quote: Some(dialect.quote.map_or("none".to_owned(), |quote| (quote as char).to_string())),
        encoding: Some(file.encoding_name()),
        detected,
        doubts,
        rules: if is_new { vec!["quotes of tab-separated texts are characters"] } else { Vec::new() },
        ..Reading::default()
    };
    Ok((dialect, reading))
}

struct Header {
    names: Vec<String>,
    /// The second header row: the wording of each question.
    labels: Vec<String>,
    /// Where the names are, for a message.
    place: String,
}

/// Reads `rows` header rows. Without a header the columns have numbered names.
fn header(records: &mut Records, rows: u64) -> Result<Header, SourceError> {
    let shown = records.shown.clone();
    let wrong = |message: &str| SourceError::new(format!("{shown}: {message}")).at(["path"]);
    if !records.read()? {
        return Err(match rows {
            0 => wrong("is empty").help("without a header the first row shows how many columns there are"),
            _ => wrong("has no header row: the file is empty").help("its first row must name the columns"),
        });
    }
    let mut header = Header { names: records.texts()?, labels: Vec::new(), place: format!(": {}", records.start) };
    if rows == 0 {
        header.names = (1..=header.names.len()).map(|number| format!("column_{number}")).collect();
        records.set_columns(&header.names);
        records.unread();
    }
    for number in 2..=rows {
        if !records.read()? {
            return Err(wrong(&format!("has no header row {number}: the file ends")).help("set `header_rows`"));
        }
        let (found, wanted) = (records.width(), header.names.len());
        if found != wanted {
            let message = format!("header row {number} has {found} fields, the first has {wanted}");
            return Err(records.error(&message).help("set `header_rows`, or `skip_rows` for lines before the header"));
        }
        if number == 2 {
            header.labels = records.texts()?;
        }
    }
    Ok(header)
}

pub(crate) struct CsvReader(pub(crate) Dialect);

impl CsvReader {
    fn open(&self, file: &DataFile, options: &File) -> Result<Csv, SourceError> {
        let text = Text::open(&file.path, &file.shown, options.encoding.as_deref())?;
        Csv::new(text, &file.shown, self.0, options)
    }
}

impl Reader for CsvReader {
    fn has_layout(&self, _: &File) -> bool {
        true
    }

    fn file_schema(&self, file: &DataFile, options: &File) -> Result<SchemaRef, SourceError> {
        Ok(self.open(file, options)?.schema())
    }

    fn read(&self, file: &DataFile, options: &File, _: &SchemaRef, changes: &Changes) -> Result<Batches, SourceError> {
        Ok(self.open(file, options)?.counting(changes).into_batches())
    }

    fn reading(&self, file: &DataFile, options: &File) -> Result<Reading, SourceError> {
        Ok(self.open(file, options)?.reading)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
