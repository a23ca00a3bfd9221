//! `type = "join"`: joins two tables by a key, without a model.

use std::collections::HashMap;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow_row::{OwnedRow, RowConverter, Rows, SortField};
use arrow_schema::{DataType, Field, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::transform::{
    self, DataError, InputTable, Pass, Transform, TransformConfig, TransformContext, TransformInfo, Work, declaration,
    sentence,
};
use super::view::{Shown, View};
use crate::document::{Path, Problems};
use crate::registry::Kind;
use crate::table::{Type, cell_at};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Join>("join", "Two tables side by side, by a key, without a model.");

const ROWS: usize = 1024;
const EXAMPLES: usize = 3;
/// The positions of the two tables. The table to look up in is read first.
const WITH: usize = 0;
const INPUT: usize = 1;

/// Two tables side by side: the columns of `input`, then those of `with` except its keys and copies of the same source
/// columns, or its `columns`. A column with a name that `input` has gets the name of `with` as a suffix. The rows have the order of
/// `input`; several matches of one row have the order of `with`. Keys match if their values are equal; a null key
/// matches nothing. The table of `with` is held in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Join {
    /// The source or the stage whose rows are looked up.
    input: String,
    /// The source or the stage in which they are looked up.
    with: String,
    /// The columns that must be equal, by their names in `input`.
    on: Vec<String>,
    /// Their names in `with`, if they differ.
    with_on: Option<Vec<String>>,
    /// The columns of `with` to add. Default: all except its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<String>>,
    /// Rows of `input` without a match: `left` keeps them, with nulls; `inner` drops them. Default: `left`.
    #[serde(default)]
    how: How,
    /// Keys that occur in several rows of `with`: `error` stops the run, `first` takes the first row, `all` makes a row
    /// for each. Default: `error`.
    #[serde(default)]
    duplicates: Duplicates,
}

/// Treatment of a row without a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum How {
    /// It is kept, with nulls.
    #[default]
    Left,
    /// It is dropped.
    Inner,
}

/// Treatment of a key that occurs in several rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Duplicates {
    /// The run stops.
    #[default]
    Error,
    /// The first row is used.
    First,
    /// Each row is used.
    All,
}

impl Join {
    fn keys(&self, context: &TransformContext<'_>, problems: &mut Problems) -> (Vec<usize>, Vec<usize>) {
        let (with, input) = (&context.inputs[WITH], &context.inputs[INPUT]);
        let mut bad = |at: Path, message: &str| {
            problems.error("bad-value", at, message);
        };
        let with_on = self.with_on.as_ref().unwrap_or(&self.on);
        if self.on.is_empty() {
            bad(context.path.key("on"), "`on` must name at least one column");
        }
        if with_on.len() != self.on.len() {
            bad(context.path.key("with_on"), "`with_on` must name as many columns as `on`");
        }
        let place = |key: &str, i: usize| context.path.key(key).index(i);
        let with_key = if self.with_on.is_some() { "with_on" } else { "on" };
        let mut keys = Vec::new();
        for (i, (left, right)) in self.on.iter().zip(with_on).enumerate() {
            let left = input.column(place("on", i), left, problems);
            let right = with.column(place(with_key, i), right, problems);
            let Some((left, right)) = left.zip(right) else { continue };
            let (one, other) = (input.schema.field(left), with.schema.field(right));
            if one.data_type() != other.data_type() {
                let message = format!(
                    "`{}` holds {} in `{}`, but `{}` holds {} in `{}`, so that they are never equal",
                    one.name(),
                    one.data_type(),
                    input.name,
                    other.name(),
                    other.data_type(),
                    with.name
                );
                // A text can be declared as what the other column holds.
                let text =
                    [(one, other), (other, one)].into_iter().find(|(text, _)| *text.data_type() == DataType::Utf8);
                let kind = text.and_then(|(_, other)| match Type::of_cells(other.data_type()) {
                    Type::Integer => Some("integer"),
                    Type::Number => Some("number"),
                    Type::Boolean => Some("boolean"),
                    Type::Text | Type::List(_) | Type::Vector => None,
                });
                let help = match text.zip(kind) {
                    Some(((text, _), kind)) => format!("write {} in its source", declaration(text.name(), kind)),
                    None => "declare the same type of both columns in their sources".to_owned(),
                };
                problems.error("bad-value", place("on", i), message).help(help);
            } else if one.data_type().is_nested() {
                let message = format!("`{}` holds lists, which can't be keys", one.name());
                problems.error("bad-value", place("on", i), message);
            }
            keys.push((left, right));
        }
        keys.into_iter().unzip()
    }
}

/// The columns of `with` that are copies of a column of `input`, for rows that come from the same row. They come from it
/// if the key of the table that made the column is among the columns that must be equal.
fn shared(with: &InputTable<'_>, input: &InputTable<'_>, (left, right): (&[usize], &[usize])) -> Vec<usize> {
    let place = |table: &InputTable<'_>, column: usize| table.origins.get(column).map(|origin| origin.place);
    let keys = left.iter().zip(right).map(|(left, right)| (place(input, *left), place(with, *right)));
    let keys: Vec<_> = keys.filter(|(left, right)| left == right).filter_map(|(key, _)| key).collect();
    let is_copy = |column: &usize| {
        let Some(origin) = with.origins.get(*column) else { return false };
        let name = with.schema.field(*column).name();
        let other = input.schema.index_of(name).ok().and_then(|column| input.origins.get(column));
        other == Some(origin) && origin.key.is_some_and(|key| keys.contains(&key))
    };
    (0..with.schema.fields().len()).filter(is_copy).collect()
}

impl TransformConfig for Join {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("with", &self.with), ("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let before = problems.mark();
        let (with, input) = (&context.inputs[WITH], &context.inputs[INPUT]);
        let (left, right) = self.keys(context, problems);
        let shared = shared(with, input, (&left, &right));
        let added: Vec<usize> = match &self.columns {
            None => (0..with.schema.fields().len())
                .filter(|column| !right.contains(column) && !shared.contains(column))
                .collect(),
            Some(names) => {
                let at = |i| context.path.key("columns").index(i);
                names.iter().enumerate().filter_map(|(i, name)| with.column(at(i), name, problems)).collect()
            }
        };
        let named = |column: &usize| {
            let field = with.schema.field(*column);
            match input.schema.index_of(field.name()) {
                Ok(_) => field.clone().with_name(format!("{}_{}", field.name(), with.name)),
                Err(_) => field.clone(),
            }
        };
        let renamed: Vec<Field> = added.iter().map(named).collect();
        for (column, field) in added.iter().zip(&renamed) {
            let (name, new) = (with.schema.field(*column).name(), field.name());
            let same = renamed.iter().filter(|other| other.name() == new).count();
            if name != new && (same > 1 || input.schema.index_of(new).is_ok()) {
                let message = format!("both tables have a column `{name}`, and `{new}` is there too");
                problems
                    .error("duplicate-column", context.path.key("with"), message)
                    .help("give one of them another name");
            }
        }
        if problems.had_errors_since(before) {
            return None;
        }
        let fields = input.schema.fields().iter().map(|f| f.as_ref().clone());
        let fields: Vec<Field> = fields.chain(renamed).collect();
        let config = Join { input: String::new(), with: String::new(), ..self.clone() };
        let mut meaning = json!(config);
        meaning["type"] = json!(KIND.name);
        let own = (0..input.schema.fields().len()).map(|column| Some((INPUT, column)));
        let info = TransformInfo {
            kind: KIND.name,
            schema: transform::schema(fields, context.path, problems)?,
            origins: own.chain(added.iter().map(|column| Some((WITH, *column)))).collect(),
            reads: left.iter().map(|c| (INPUT, *c)).chain(right.iter().map(|c| (WITH, *c))).collect(),
            // The key stays unique only if each input row produces at most one row.
            key: input.key.filter(|_| self.duplicates != Duplicates::All),
            hidden: 0,
            meaning,
        };
        let (schema, with) = (info.schema.clone(), with.schema.clone());
        Some(Transform { info, work: Box::new(BoundJoin { schema, with, config, left, right, added }) })
    }
}

#[derive(Debug)]
struct BoundJoin {
    schema: SchemaRef,
    with: SchemaRef,
    config: Join,
    left: Vec<usize>,
    right: Vec<usize>,
    added: Vec<usize>,
}

impl Work for BoundJoin {
    fn views(&self) -> Vec<View> {
        let first = self.schema.fields().len() - self.added.len();
        let columns = self.schema.fields().iter().skip(first).map(|field| field.name().clone()).collect();
        vec![View::new("Rows with values of the other table", Shown::Matches { columns })]
    }

    fn matched(&self) -> Vec<(usize, (usize, usize))> {
        self.left.iter().zip(&self.right).map(|(left, right)| (*left, (WITH, *right))).collect()
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        let fields = self.right.iter().map(|column| SortField::new(self.with.field(*column).data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(sentence);
        Box::new(Joining { join: self, held: Vec::new(), rows: 0, places: HashMap::new(), converter, table: None })
    }
}

struct Joining<'a> {
    join: &'a BoundJoin,
    held: Vec<RecordBatch>,
    rows: u64,
    places: HashMap<OwnedRow, Vec<u64>>,
    converter: Result<RowConverter, String>,
    table: Option<RecordBatch>,
}

impl Joining<'_> {
    fn hold(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let (keys, rows) = self.keys(batch, &self.join.right)?;
        for i in 0..batch.num_rows() {
            if keys.iter().any(|key| key.is_null(i)) {
                continue;
            }
            let places = self.places.entry(rows.row(i).owned()).or_default();
            if places.is_empty() || self.join.config.duplicates != Duplicates::First {
                places.push(self.rows + i as u64);
            }
        }
        self.rows += batch.num_rows() as u64;
        self.held.push(batch.clone());
        Ok(())
    }

    fn keys(&self, batch: &RecordBatch, columns: &[usize]) -> Result<(Vec<ArrayRef>, Rows), String> {
        let keys: Vec<ArrayRef> = columns.iter().map(|column| batch.column(*column).clone()).collect();
        let rows = self.converter.as_ref().map_err(Clone::clone)?.convert_columns(&keys).map_err(sentence)?;
        Ok((keys, rows))
    }

    /// Returns the whole table `with`. Checks that its keys are unique if the spec requires this.
    fn table(&mut self) -> Result<RecordBatch, String> {
        if let Some(table) = &self.table {
            return Ok(table.clone());
        }
        let table = concat_batches(&self.join.with, &std::mem::take(&mut self.held)).map_err(sentence)?;
        if self.join.config.duplicates == Duplicates::Error {
            let mut repeated: Vec<&Vec<u64>> = self.places.values().filter(|places| places.len() > 1).collect();
            repeated.sort_unstable();
            if !repeated.is_empty() {
                let example = |places: &&Vec<u64>| {
                    let cell = |column: &usize| cell_at(table.column(*column).as_ref(), places[0] as usize).json();
                    let key: Vec<String> = self.join.right.iter().map(|column| cell(column).to_string()).collect();
                    let rows: Vec<String> = places.iter().take(3).map(|row| (row + 1).to_string()).collect();
                    format!("{} (rows {})", key.join(" "), rows.join(", "))
                };
                let examples: Vec<String> = repeated.iter().take(EXAMPLES).map(example).collect();
                let many =
                    if repeated.len() == 1 { "one key is".to_owned() } else { format!("{} keys are", repeated.len()) };
                return Err(format!(
                    "{many} repeated in the table to join with: {}; `duplicates = \"first\"` takes the first row of each, \
                     `\"all\"` makes a row for each",
                    examples.join(", ")
                ));
            }
        }
        Ok(self.table.insert(table).clone())
    }

    fn rows(
        &self,
        batch: &RecordBatch,
        table: &RecordBatch,
        left: UInt64Array,
        right: &UInt64Array,
    ) -> Result<RecordBatch, String> {
        let mut columns = Vec::with_capacity(self.join.schema.fields().len());
        for column in batch.columns() {
            columns.push(take(column.as_ref(), &left, None).map_err(sentence)?);
        }
        for column in &self.join.added {
            let column = table.column(*column);
            columns.push(match right.null_count() == right.len() {
                true => new_null_array(column.data_type(), right.len()),
                false => take(column.as_ref(), right, None).map_err(sentence)?,
            });
        }
        RecordBatch::try_new(self.join.schema.clone(), columns).map_err(sentence)
    }
}

impl Pass for Joining<'_> {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        if input == WITH {
            self.hold(batch)?;
            return Ok(Vec::new());
        }
        let table = self.table()?;
        let (keys, rows) = self.keys(batch, &self.join.left)?;
        let mut done = Vec::new();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for i in 0..batch.num_rows() {
            let found = keys.iter().all(|key| key.is_valid(i)).then(|| self.places.get(&rows.row(i).owned())).flatten();
            match found {
                Some(places) => {
                    for place in places {
                        left.push(i as u64);
                        right.push(Some(*place));
                        if left.len() == ROWS {
                            let (l, r) = (std::mem::take(&mut left), std::mem::take(&mut right));
                            done.push(self.rows(batch, &table, l.into(), &r.into())?);
                        }
                    }
                }
                None if self.join.config.how == How::Left => {
                    left.push(i as u64);
                    right.push(None);
                }
                None => {}
            }
        }
        if !left.is_empty() {
            done.push(self.rows(batch, &table, left.into(), &right.into())?);
        }
        Ok(done)
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        // Without input rows, the keys have not been checked yet.
        self.table()?;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests;
