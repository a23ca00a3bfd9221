//! JSON Lines: one object per line. A missing key is null; blank lines are skipped. What JSON lacks but programs write,
//! such as NaN, is read as `table::json` says.
//!
//! Two passes: [`scan`] finds the columns and the types that keep every value as written; [`Jsonl`] reads the rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::inference::Seen;
use crate::source::batches::{
    BATCH_BYTES, BATCH_ROWS, Batches, CELL_BYTES, CELL_COST, MOST_COLUMNS, ROW_BYTES, SourceError, batches,
};
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::{Changes, Reading};
use crate::source::settings::column_choice::{ColumnChoice, ColumnRef};
use crate::source::settings::layout::Layout;
use crate::source::settings::{File, means_null, rules_of_nulls};
use crate::source::text::cell::{Column, Type, batch_of, schema};
use crate::source::text::{Position, Text};
use crate::table::Shape;
use crate::table::json::{Members, repaired, words};

/// The columns in the order in which the objects first name them, with what was seen in them.
#[derive(Default)]
pub(crate) struct Columns(IndexMap<String, Values>);

/// What was seen in a column.
#[derive(Default)]
struct Values {
    seen: Seen,
    /// The shape of its objects and lists.
    shape: Shape,
    /// Whether it has other values too: a text may look like an object without being one.
    simple: bool,
}

impl Values {
    fn add(&mut self, raw: &str, cell: &str) {
        self.seen.add(raw, cell);
        self.simple |= !raw.starts_with(['{', '[']);
        if !self.simple {
            self.shape.learn(raw);
        }
    }
}

impl Columns {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The schema: the types in `types`, else the narrowest that keep all values. Objects and lists are JSON text.
    pub(crate) fn schema(&self, layout: &Layout, types: &BTreeMap<String, Type>) -> SchemaRef {
        let ty = |index: usize, name: &str| types.get(name).copied().unwrap_or_else(|| self.0[index].seen.ty());
        let plain = schema(layout.columns.iter().map(|(index, name)| (name.as_str(), ty(*index, name))));
        let fields = plain.fields().iter().zip(&layout.columns).map(|(field, (index, name))| {
            let Values { shape, simple, .. } = &self.0[*index];
            let is_json = !simple && *shape != Shape::Null && !types.contains_key(name);
            if is_json { shape.marked(field.as_ref().clone()) } else { field.as_ref().clone() }
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

pub(crate) fn scan(
    text: Text,
    shown: &str,
    nulls: &[String],
    Columns(columns): &mut Columns,
) -> Result<(), SourceError> {
    let mut lines = Lines::new(text, shown);
    while lines.read()? {
        let members = match lines.object() {
            Ok(members) => members,
            Err(error) => {
                lines.repair(error)?;
                lines.object()?
            }
        };
        for (key, value) in members {
            let cell = lines.cell(value, nulls)?;
            let full = columns.len() == MOST_COLUMNS;
            let seen = match columns.get_mut(key.as_ref()) {
                Some(seen) => seen,
                None if full => {
                    return Err(lines.error(None, &format!("more than {MOST_COLUMNS} different keys by here")));
                }
                None => columns.entry(key.into_owned()).or_default(),
            };
            if let Some(cell) = cell {
                seen.add(value.get(), &cell);
            }
        }
    }
    Ok(())
}

pub(crate) struct Jsonl {
    lines: Lines,
    schema: SchemaRef,
    columns: Vec<Column>,
    places: HashMap<String, usize>,
    /// The last row that had a value for each column.
    filled: Vec<u64>,
    nulls: Vec<String>,
    /// Keys that are not in `places` were not chosen.
    chooses: bool,
}

impl Jsonl {
    pub(crate) fn new(text: Text, shown: &str, schema: SchemaRef, options: &File) -> Result<Self, SourceError> {
        let place = |(i, field): (usize, &Arc<Field>)| (options.name_in_file(field.name()).to_owned(), i);
        let places = schema.fields().iter().enumerate().map(place).collect();
        let filled = vec![0; schema.fields().len()];
        let notation = options.notation()?;
        let columns = schema.fields().iter().map(|field| Column::of(field).with(notation)).collect();
        let (lines, nulls, chooses) = (Lines::new(text, shown), options.null_values.clone(), options.columns.is_some());
        Ok(Jsonl { lines, schema, columns, places, filled, nulls, chooses })
    }

    pub(crate) fn counting(mut self, changes: &Changes) -> Self {
        self.lines.changes = changes.clone();
        self
    }

    pub(crate) fn into_batches(mut self) -> Batches {
        batches(move || self.batch())
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES && self.lines.read()? {
            let row = self.lines.start.row;
            let members = match self.lines.object() {
                Ok(members) => members,
                Err(error) => {
                    self.lines.repair(error)?;
                    self.lines.object()?
                }
            };
            for (key, value) in members {
                let place = self.places.get(key.as_ref()).copied();
                let Some((place, column)) = place.and_then(|p| Some((p, self.columns.get_mut(p)?))) else {
                    if self.chooses {
                        continue;
                    }
                    return Err(self.lines.error(None, &format!("the key {key:?} is new: the file changed meanwhile")));
                };
                match self.lines.cell(value, &self.nulls)? {
                    None => column.push_null(),
                    Some(cell) if column.push(&cell) => {}
                    Some(cell) => {
                        let refused = column.refused(&cell, &self.lines.shown, self.lines.start);
                        self.lines.changes.unreadable(place, 1, refused)?;
                        column.push_null();
                    }
                }
                self.filled[place] = row;
            }
            for (column, filled) in self.columns.iter_mut().zip(&self.filled) {
                if *filled != row {
                    column.push_null();
                }
            }
            rows += 1;
            bytes += self.lines.line.len() + self.columns.len() * CELL_COST;
        }
        batch_of(&self.schema, &mut self.columns, rows, &self.lines.shown)
    }
}

/// Reads lines from a text that this function opens.
pub(crate) struct JsonlReader(pub(crate) fn(&Path, &str, Option<&str>) -> Result<Text, SourceError>);

impl Reader for JsonlReader {
    fn has_layout(&self, options: &File) -> bool {
        all_columns(options).is_none()
    }

    fn file_schema(&self, file: &DataFile, options: &File) -> Result<SchemaRef, SourceError> {
        self.schema(std::slice::from_ref(file), options)
    }

    fn schema(&self, files: &[DataFile], options: &File) -> Result<SchemaRef, SourceError> {
        let mut columns = Columns::default();
        for file in files {
            let text = (self.0)(&file.path, &file.shown, options.encoding.as_deref())?;
            scan(text, &file.shown, &options.null_values, &mut columns)?;
        }
        let shown = match files {
            [one] => one.shown.clone(),
            _ => format!("{} and the other files", files[0].shown),
        };
        let names: Vec<String> = columns.names().map(str::to_owned).collect();
        if names.is_empty() {
            let message = format!("{shown}: has no objects with keys, so there are no columns");
            return Err(SourceError::new(message).help("write one object per line").at(["path"]));
        }
        let numbered = |choice: &ColumnChoice| matches!(choice.from, ColumnRef::Number(_));
        if let Some(at) = options.columns.iter().flatten().position(numbered) {
            let error = SourceError::new(format!("{shown}: the columns of JSON Lines have no numbers"));
            return Err(error.help("write the key of each object").at(["columns", at.to_string().as_str()]));
        }
        let all = all_columns(options);
        let options = all.as_ref().unwrap_or(options);
        Ok(columns.schema(&Layout::new(options, &names, &shown, "")?, &options.types))
    }

    fn reading(&self, _: &DataFile, options: &File) -> Result<Reading, SourceError> {
        let rules = rules_of_nulls(&options.null_values);
        Ok(Reading { encoding: Some(options.encoding_name()), rules, ..Reading::default() })
    }

    fn read(
        &self,
        file: &DataFile,
        options: &File,
        schema: &SchemaRef,
        changes: &Changes,
    ) -> Result<Batches, SourceError> {
        let text = (self.0)(&file.path, &file.shown, options.encoding.as_deref())?;
        let all = all_columns(options);
        let jsonl = Jsonl::new(text, &file.shown, schema.clone(), all.as_ref().unwrap_or(options))?;
        Ok(jsonl.counting(changes).into_batches())
    }
}

/// The settings that read all columns under their own names, if `columns` may choose parts of nested ones.
fn all_columns(options: &File) -> Option<File> {
    options.columns.iter().flatten().find(|choice| choice.path(&[]).is_some())?;
    let types = options.types.iter().map(|(name, ty)| (options.name_in_file(name).to_owned(), *ty)).collect();
    Some(File { columns: None, condition: None, types, ..options.clone() })
}

struct Lines {
    text: Text,
    shown: String,
    line: Vec<u8>,
    start: Position,
    changes: Changes,
}

impl Lines {
    fn new(text: Text, shown: &str) -> Self {
        let start = Position { row: 0, line: 0, byte: text.byte() };
        Lines { text, shown: shown.to_owned(), line: Vec::new(), start, changes: Changes::default() }
    }

    /// Reads the next line that is not blank; returns `false` at the end of the file.
    fn read(&mut self) -> Result<bool, SourceError> {
        self.start.row += 1;
        loop {
            self.line.clear();
            self.start.line += u64::from(self.text.has_lines());
            self.start.byte = self.text.byte();
            let more = self.read_line()?;
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
            if !more {
                return Ok(false);
            }
        }
    }

    /// Reads to the end of the line; returns `false` if it was the last.
    fn read_line(&mut self) -> Result<bool, SourceError> {
        loop {
            let piece = self.text.piece().map_err(|fault| fault.error(&self.shown, self.start))?;
            if piece.is_empty() {
                return Ok(false);
            }
            let end = piece.iter().position(|&b| b == b'\n');
            let part = end.unwrap_or(piece.len());
            self.line.extend_from_slice(&piece[..part]);
            self.text.consume(end.map_or(part, |end| end + 1));
            if self.line.len() > ROW_BYTES {
                let message = format!("the line is above {} MiB", ROW_BYTES >> 20);
                return Err(self.error(None, &message).help("write each object on a separate line"));
            }
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    fn object(&self) -> Result<Vec<(Cow<'_, str>, &RawValue)>, SourceError> {
        match self.line.trim_ascii_start().first() {
            Some(b'{') => {}
            Some(b'[') => {
                return Err(self
                    .error(None, "is a list, not an object")
                    .help("write one object per line, without [ ] around them and without commas between them"));
            }
            _ => return Err(self.error(None, "is not a JSON object").help("write one object per line")),
        }
        let members = match serde_json::from_slice::<Members<'_>>(&self.line) {
            Ok(members) => members.0,
            Err(error) => {
                let words = words(&error);
                let wrong = self.error(Some(error.column().saturating_sub(1)), &words);
                let help = r"in JSON, a text has line ends and tabs as escapes: \n, \t, \u0001";
                return Err(if words.starts_with("control character") { wrong.help(help) } else { wrong });
            }
        };
        match repeated(&members) {
            Some((key, value)) => Err(self.error(self.place(value.get()), &format!("the key {key:?} appears twice"))),
            None => Ok(members),
        }
    }

    /// Writes what JSON lacks in the line as what it is read as; returns `error` for a line without any.
    fn repair(&mut self, error: SourceError) -> Result<(), SourceError> {
        let (line, changes) = str::from_utf8(&self.line).ok().and_then(repaired).ok_or(error)?;
        self.changes.add(changes);
        self.line = line.into_bytes();
        Ok(())
    }

    /// The value as the text of a cell: a string without quotes, anything else as written; `None` for null.
    fn cell<'a>(&self, value: &'a RawValue, nulls: &[String]) -> Result<Option<Cow<'a, str>>, SourceError> {
        let raw = value.get();
        if raw.len() > CELL_BYTES {
            return Err(self.error(self.place(raw), &format!("the value is above {} MiB", CELL_BYTES >> 20)));
        }
        let cell = match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            _ if raw == "null" => return Ok(None),
            None => Cow::Borrowed(raw),
            Some(inside) if !inside.contains('\\') => Cow::Borrowed(inside),
            Some(_) => match serde_json::from_str::<String>(raw) {
                Ok(text) => Cow::Owned(text),
                Err(error) => {
                    let wrong = || self.error(self.place(raw), &words(&error));
                    let (repaired, changes) = repaired(raw).ok_or_else(wrong)?;
                    self.changes.add(changes);
                    Cow::Owned(serde_json::from_str(&repaired).map_err(|_| wrong())?)
                }
            },
        };
        let number = if nulls.is_empty() { None } else { raw.parse().ok() };
        Ok((!means_null(nulls, &cell, number)).then_some(cell))
    }

    fn place(&self, part: &str) -> Option<usize> {
        (part.as_ptr() as usize).checked_sub(self.line.as_ptr() as usize).filter(|&at| at < self.line.len())
    }

    /// An error at a byte of the line; at its start if the byte is unknown.
    fn error(&self, place: Option<usize>, message: &str) -> SourceError {
        let byte = self.start.byte.map(|byte| byte + place.unwrap_or(0) as u64);
        let position = Position { byte, ..self.start };
        SourceError::new(format!("{}: {position}: {message}", self.shown)).at(["path"])
    }
}

/// The first member whose key an earlier one has.
fn repeated<'m, 'a>(members: &'m [(Cow<'a, str>, &'a RawValue)]) -> Option<&'m (Cow<'a, str>, &'a RawValue)> {
    // A few keys are compared one by one. Many go into a set, since hostile objects must not cost quadratic time.
    if members.len() <= 16 {
        let is_again = |at: &usize| members[..*at].iter().any(|(other, _)| *other == members[*at].0);
        return (1..members.len()).find(is_again).map(|at| &members[at]);
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().find(|(key, _)| !seen.insert(key))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
