//! `type = "join"`: two tables side by side, by a key. No model.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow_row::{OwnedRow, RowConverter, SortField};
use arrow_schema::{Field, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reshape::{self, Reshape, ReshapeConfig, ReshapeSite, Work};
use crate::document::{self, Problems};
use crate::registry::Kind;
use crate::table::cell_at;

/// The row of the registry.
pub const KIND: Kind<Box<dyn ReshapeConfig>> = Kind {
    name: "join",
    about: "Two tables side by side, by a key, without a model.",
    schema: |generator| generator.subschema_for::<Join>(),
    fields: document::fields_of::<Join>,
    decode: |node, path, problems| {
        document::decode::<Join>(node, path, problems).map(|j| Box::new(j) as Box<dyn ReshapeConfig>)
    },
};

/// Rows that are made at once.
const ROWS: usize = 1024;
/// Repeated keys that an error names.
const EXAMPLES: usize = 3;
/// The places of the two tables: what is looked up is read first.
const WITH: usize = 0;
const INPUT: usize = 1;

/// Two tables side by side: the columns of `input`, then those of `with` but for its keys. The rows stand in the order of
/// `input`, and those that match a row of it in the order of `with`. Keys match when their values are equal; a key that is
/// null matches nothing. The table of `with` is held in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Join {
    /// The source or the stage whose rows are looked up.
    input: String,
    /// The source or the stage in which they are looked up.
    with: String,
    /// The columns that must be equal, by their names in `input`.
    on: Vec<String>,
    /// Their names in `with`, where they are others.
    with_on: Option<Vec<String>>,
    /// Whether a row of `input` without a match stays, with nulls (`left`), or goes (`inner`). Default: `left`.
    #[serde(default)]
    how: How,
    /// What becomes of a key that stands in several rows of `with`: `error` stops the run, `first` takes the first of them,
    /// `all` makes a row for each. Default: `error`.
    #[serde(default)]
    duplicates: Duplicates,
}

/// What becomes of a row without a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum How {
    /// It stays, with nulls.
    #[default]
    Left,
    /// It goes.
    Inner,
}

/// What becomes of a key that stands in several rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Duplicates {
    /// The run stops.
    #[default]
    Error,
    /// The first one counts.
    First,
    /// Each makes a row.
    All,
}

impl ReshapeConfig for Join {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("with", &self.with), ("input", &self.input)]
    }

    fn bind(&self, site: &ReshapeSite<'_>, problems: &mut Problems) -> Option<Arc<dyn Reshape>> {
        let before = problems.mark();
        let (with, input) = (site.inputs.get(WITH)?, site.inputs.get(INPUT)?);
        let mut bad = |key: &str, message: &str| {
            problems.error("bad-value", site.path.key(key), message);
        };
        let with_on = self.with_on.as_ref().unwrap_or(&self.on);
        if self.on.is_empty() {
            bad("on", "`on` must name at least one column");
        }
        if with_on.len() != self.on.len() {
            bad("with_on", "`with_on` must name as many columns as `on`");
        }
        let place = |key: &str, i: usize| site.path.key(key).index(i);
        let with_key = if self.with_on.is_some() { "with_on" } else { "on" };
        let mut keys = Vec::new();
        for (i, (left, right)) in self.on.iter().zip(with_on).enumerate() {
            let left = reshape::column(input, place("on", i), left, problems);
            let right = reshape::column(with, place(with_key, i), right, problems);
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
                problems
                    .error("bad-value", place("on", i), message)
                    .help("declare the type of the column in its source");
            } else if one.data_type().is_nested() {
                let message = format!("`{}` holds lists, which are no keys", one.name());
                problems.error("bad-value", place("on", i), message);
            }
            keys.push((left, right));
        }
        let (left, right): (Vec<usize>, Vec<usize>) = keys.into_iter().unzip();
        let added: Vec<usize> = (0..with.schema.fields().len()).filter(|column| !right.contains(column)).collect();
        for column in &added {
            let name = with.schema.field(*column).name();
            if input.schema.index_of(name).is_ok() {
                let message = format!("both tables have a column `{name}`");
                problems
                    .error("duplicate-column", site.path.key("with"), message)
                    .help("join on it too, or give one of them another name");
            }
        }
        if problems.had_errors_since(before) {
            return None;
        }
        let fields = input.schema.fields().iter().map(|f| f.as_ref().clone());
        let fields: Vec<Field> = fields.chain(added.iter().map(|c| with.schema.field(*c).clone())).collect();
        Some(Arc::new(BoundJoin {
            schema: reshape::schema(fields, site.path, problems)?,
            with: with.schema.clone(),
            // Only where each of its rows stays one row.
            key: input.key.filter(|_| self.duplicates != Duplicates::All),
            config: Join { input: String::new(), with: String::new(), ..self.clone() },
            left,
            right,
            added,
        }))
    }
}

/// A join bound to its tables.
#[derive(Debug)]
struct BoundJoin {
    schema: SchemaRef,
    with: SchemaRef,
    key: Option<usize>,
    config: Join,
    /// The key columns of `input` and of `with`.
    left: Vec<usize>,
    right: Vec<usize>,
    /// The columns of `with` that are added.
    added: Vec<usize>,
}

impl BoundJoin {
    fn converter(&self) -> Result<RowConverter, String> {
        let fields = self.right.iter().map(|column| SortField::new(self.with.field(*column).data_type().clone()));
        RowConverter::new(fields.collect()).map_err(|error| error.to_string())
    }
}

impl Reshape for BoundJoin {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn origins(&self) -> Vec<Option<(usize, usize)>> {
        let own = self.schema.fields().len() - self.added.len();
        let input = (0..own).map(|column| Some((INPUT, column)));
        input.chain(self.added.iter().map(|column| Some((WITH, *column)))).collect()
    }

    fn key(&self) -> Option<usize> {
        self.key
    }

    fn start(&self) -> Box<dyn Work + '_> {
        Box::new(Pass { join: self, held: Vec::new(), rows: 0, keys: HashMap::new(), converter: None, table: None })
    }

    fn meaning(&self) -> Value {
        let mut meaning = json!(self.config);
        meaning["type"] = json!("join");
        meaning
    }
}

/// A pass over the tables.
struct Pass<'a> {
    join: &'a BoundJoin,
    /// The columns of `with` that are added.
    held: Vec<RecordBatch>,
    /// Its rows so far.
    rows: u64,
    /// Where each key stands in it.
    keys: HashMap<OwnedRow, Vec<u64>>,
    converter: Option<RowConverter>,
    table: Option<RecordBatch>,
}

impl Pass<'_> {
    /// Takes rows of `with`.
    fn hold(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let said = |error: arrow_schema::ArrowError| error.to_string();
        let keys: Vec<ArrayRef> = self.join.right.iter().map(|column| batch.column(*column).clone()).collect();
        let rows = self.converter()?.convert_columns(&keys).map_err(said)?;
        for i in 0..batch.num_rows() {
            if keys.iter().any(|key| key.is_null(i)) {
                continue;
            }
            let places = self.keys.entry(rows.row(i).owned()).or_default();
            if places.is_empty() || self.join.config.duplicates != Duplicates::First {
                places.push(self.rows + i as u64);
            }
        }
        self.rows += batch.num_rows() as u64;
        self.held.push(batch.clone());
        Ok(())
    }

    fn converter(&mut self) -> Result<&mut RowConverter, String> {
        match &mut self.converter {
            Some(converter) => Ok(converter),
            empty => Ok(empty.insert(self.join.converter()?)),
        }
    }

    /// The whole of `with`; checks that its keys are what the spec says of them.
    fn table(&mut self) -> Result<RecordBatch, String> {
        if let Some(table) = &self.table {
            return Ok(table.clone());
        }
        let table =
            concat_batches(&self.join.with, &std::mem::take(&mut self.held)).map_err(|error| error.to_string())?;
        if self.join.config.duplicates == Duplicates::Error {
            let mut repeated: Vec<&Vec<u64>> = self.keys.values().filter(|places| places.len() > 1).collect();
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

    /// The rows `left` of `batch` beside the rows `right` of `table`.
    fn rows(
        &self,
        batch: &RecordBatch,
        table: &RecordBatch,
        left: UInt64Array,
        right: &UInt64Array,
    ) -> Result<RecordBatch, String> {
        let said = |error: arrow_schema::ArrowError| error.to_string();
        let mut columns = Vec::with_capacity(self.join.schema.fields().len());
        for column in batch.columns() {
            columns.push(take(column.as_ref(), &left, None).map_err(said)?);
        }
        for column in &self.join.added {
            let column = table.column(*column);
            columns.push(match right.null_count() == right.len() {
                true => new_null_array(column.data_type(), right.len()),
                false => take(column.as_ref(), right, None).map_err(said)?,
            });
        }
        RecordBatch::try_new(self.join.schema.clone(), columns).map_err(said)
    }
}

impl Work for Pass<'_> {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, String> {
        if input == WITH {
            return self.hold(batch).map(|()| Vec::new());
        }
        let table = self.table()?;
        let keys: Vec<ArrayRef> = self.join.left.iter().map(|column| batch.column(*column).clone()).collect();
        let rows = self.converter()?.convert_columns(&keys).map_err(|error| error.to_string())?;
        let mut done = Vec::new();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for i in 0..batch.num_rows() {
            let found = keys.iter().all(|key| key.is_valid(i)).then(|| self.keys.get(&rows.row(i).owned())).flatten();
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

    fn finish(&mut self) -> Result<Vec<RecordBatch>, String> {
        // Without a row to look up, its keys have not been checked.
        self.table().map(|_| Vec::new())
    }
}

#[cfg(test)]
mod tests;
