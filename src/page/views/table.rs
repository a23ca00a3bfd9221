//! The rows of one table of a run: one pass over the columns that are needed, and a second look at a few rows.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};

use crate::page::Subject;
use crate::spec::{ColumnRole, Form, StageSpec, TableId, TableSpec};
use crate::store::{Project, source_table};
use crate::table::parquet::Table;
use crate::table::{Cutter, Guard, Value, cell_at};

const ROWS: usize = 8192;
/// The most values of a column that groups rows, and the most such columns.
const MOST_VALUES: usize = 12;
const MOST_GROUPINGS: usize = 6;
/// The code of a row without a group.
pub(super) const NO_GROUP: usize = usize::MAX;

/// Cells as texts; `None` for null.
type Cells = Vec<Option<String>>;

pub(super) struct TableRows<'a> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) spec: &'a TableSpec,
    pub(super) schema: SchemaRef,
    /// The seed of samples.
    pub(super) seed: u64,
    /// The number of rows of the input, if it is known.
    pub(super) input_rows: Option<u64>,
    parts: Vec<Table>,
}

/// The place of the values of one model in a column: the first row about each input row, and the distance to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    /// The model. Empty if the column has the values of all models.
    pub(super) model: String,
    pub(super) column: String,
    pub(super) first: usize,
    pub(super) step: usize,
}

impl Series {
    pub(super) fn rows(&self, batch: &RecordBatch) -> impl Iterator<Item = usize> + use<> {
        (self.first..batch.num_rows()).step_by(self.step)
    }
}

/// A column whose values group the rows.
#[derive(Clone, Debug)]
pub(super) struct Grouping {
    pub(super) column: String,
    pub(super) values: Vec<String>,
    /// Whether the column has more values than a page can show.
    pub(super) is_dropped: bool,
}

/// All rows about some input rows.
pub(super) struct Batch<'a> {
    pub(super) rows: &'a RecordBatch,
    /// The number of the first row in the table, from 0.
    pub(super) first: u64,
    /// The number of rows about each input row.
    pub(super) fold: usize,
    /// For each grouping, the code of the group of each row.
    pub(super) groups: &'a [Vec<usize>],
}

impl Batch<'_> {
    pub(super) fn column(&self, name: &str) -> Option<&dyn Array> {
        self.rows.column_by_name(name).map(AsRef::as_ref)
    }
}

impl<'a> TableRows<'a> {
    /// `None` if no part of the table is finished, and for a source of which the run kept no rows.
    pub(super) fn open(subject: &'a Subject<'_>, id: TableId) -> Option<TableRows<'a>> {
        let whole = &subject.plan.spec;
        let spec = whole.table(id);
        let parts: Vec<Table> = match spec {
            TableSpec::Source(source) => {
                let entry = subject.manifest.sources.get(source.name.as_str())?;
                let kept = source_table(&Project::of(&whole.folder), subject.manifest, source.name.as_str());
                kept.filter(|table| table.rows() == entry.rows).into_iter().collect()
            }
            _ => (0..).map_while(|n| subject.folder.committed(spec.name(), n)).map(|part| part.table).collect(),
        };
        // The last input is the one whose rows the table has.
        let input_rows = spec.inputs().last().and_then(|input| row_count(subject, *input));
        let (schema, seed) = (parts.first()?.schema(), whole.seed.unwrap_or_default());
        Some(TableRows { subject, spec, schema, seed, input_rows, parts })
    }

    pub(super) fn rows(&self) -> u64 {
        self.parts.iter().map(Table::rows).sum()
    }

    pub(super) fn stage(&self) -> Option<&'a StageSpec> {
        self.spec.as_stage()
    }

    /// The number of rows about each input row.
    pub(super) fn fold(&self) -> usize {
        self.stage().map_or(1, |stage| stage.answers.fold() as usize)
    }

    /// The places of a column: one for each model if the stage writes it. Empty if the table lacks the column.
    pub(super) fn series(&self, name: &str) -> Vec<Series> {
        let write = self
            .stage()
            .and_then(|stage| Some((stage, stage.stage.info.writes.iter().position(|column| column.name == name)?)));
        let Some((stage, write)) = write else {
            let series = Series { model: String::new(), column: name.to_owned(), first: 0, step: self.fold() };
            return self.schema.index_of(name).map(|_| series).into_iter().collect();
        };
        let (answers, writes) = (&stage.answers, stage.stage.info.writes.len());
        let is_long = answers.form == Form::Long;
        let place = |model: usize| {
            let index = stage.given + answers.place(writes, model, write);
            Series {
                model: if answers.fanned_out() { stage.model_names[model].clone() } else { String::new() },
                column: stage.relation.schema.field(index).name().clone(),
                first: if is_long { model } else { 0 },
                step: if is_long { answers.models } else { 1 },
            }
        };
        (0..answers.models_per_row()).map(place).collect()
    }

    /// The columns of the errors, in the order of the models.
    pub(super) fn errors(&self) -> Vec<Series> {
        let Some(stage) = self.stage() else { return Vec::new() };
        let (answers, writes) = (&stage.answers, stage.stage.info.writes.len());
        let is_error = |place: &usize| matches!(answers.role(writes, place - stage.given), ColumnRole::Error(_));
        let columns = (stage.given..stage.relation.schema.fields().len()).filter(is_error);
        let names = columns.map(|place| stage.relation.schema.field(place).name().clone());
        let models = if answers.form == Form::Long { answers.models } else { 1 };
        let series = |column: String| {
            (0..models).map(move |first| Series { model: String::new(), column: column.clone(), first, step: models })
        };
        names.flat_map(series).collect()
    }

    /// The columns of the input that may group the rows; of a grid, those that tell its universes apart.
    fn candidates(&self) -> Vec<usize> {
        let relation = self.spec.relation();
        let spec = &self.subject.plan.spec;
        let universe = self.spec.inputs().first().and_then(|input| spec.table(*input).as_stage());
        if let Some(universe) = universe.filter(|stage| stage.grid.is_some()) {
            let added = relation.schema.fields().len() - universe.relation.schema.fields().len();
            return (universe.given..universe.given + added).collect();
        }
        let Some(stage) = self.stage() else { return Vec::new() };
        let errors: BTreeSet<usize> = relation.guards.iter().flatten().filter_map(Guard::error).collect();
        let is_candidate = |column: &usize| {
            let kind = self.schema.field(*column).data_type();
            let is_simple = matches!(kind, DataType::Utf8 | DataType::Boolean | DataType::Int64);
            is_simple && Some(*column) != relation.key && !errors.contains(column)
        };
        (0..stage.given.min(self.schema.fields().len())).filter(is_candidate).collect()
    }

    /// The columns whose few values group the rows, by the first rows; of a grid, by all.
    pub(super) fn groupings(&self) -> Result<Vec<Grouping>, String> {
        let name = |column: usize| self.schema.field(column).name().clone();
        let new = |column| Grouping { column: name(column), values: Vec::new(), is_dropped: false };
        let mut all: Vec<Grouping> = self.candidates().into_iter().map(new).collect();
        let names: Vec<&str> = all.iter().map(|grouping| grouping.column.as_str()).collect();
        let Some(part) = self.parts.first().filter(|_| !names.is_empty()) else { return Ok(Vec::new()) };
        // The rows of a universe follow each other, so the first rows have few values of the axes.
        let most = if self.stage().is_some() { ROWS as u64 } else { part.rows() };
        let rows = part.with_columns(&names).read(0, most, ROWS).map_err(|error| error.to_string())?;
        for batch in rows {
            code(&mut all, &batch.map_err(|error| error.to_string())?);
        }
        all.retain(|grouping| !grouping.is_dropped && grouping.values.len() > 1);
        all.truncate(MOST_GROUPINGS);
        Ok(all)
    }

    /// Passes all rows of `columns` to `take`, in order.
    pub(super) fn pass(
        &self,
        columns: &BTreeSet<String>,
        groupings: &mut [Grouping],
        mut take: impl FnMut(&Batch<'_>),
    ) -> Result<(), String> {
        let names: Vec<&str> = columns
            .iter()
            .map(String::as_str)
            .chain(groupings.iter().map(|grouping| grouping.column.as_str()))
            .collect();
        let mut cutter = Cutter::new(self.fold());
        let mut first = 0;
        let tables: Vec<Table> = self.parts.iter().map(|part| part.with_columns(&names)).collect();
        for table in tables.iter().filter(|_| !columns.is_empty()) {
            for batch in table.read(0, table.rows(), ROWS).map_err(|error| error.to_string())? {
                let batch = batch.map_err(|error| error.to_string())?;
                let Some(rows) = cutter.push(batch).map_err(|error| error.to_string())? else { continue };
                let groups = code(groupings, &rows);
                take(&Batch { rows: &rows, first, fold: self.fold(), groups: &groups });
                first += rows.num_rows() as u64;
            }
        }
        Ok(())
    }

    /// The texts of some columns of one row, as [`text`] returns them.
    pub(super) fn row(&self, number: u64, columns: &[&str]) -> Result<Cells, String> {
        let mut at = number;
        for part in &self.parts {
            if at >= part.rows() {
                at -= part.rows();
                continue;
            }
            let mut rows = part.with_columns(columns).read(at, 1, 1).map_err(|error| error.to_string())?;
            if let Some(batch) = rows.next() {
                let batch = batch.map_err(|error| error.to_string())?;
                let cell = |name: &&str| Some(text(batch.column_by_name(name)?.as_ref(), 0)?.into_owned());
                return Ok(columns.iter().map(cell).collect());
            }
        }
        Ok(vec![None; columns.len()])
    }

    /// The column with the longest texts in these rows, besides some columns, with its texts. `None` without texts.
    pub(super) fn longest_text(&self, rows: &[u64], besides: &[String]) -> Result<Option<(String, Cells)>, String> {
        let is_text =
            |field: &&arrow_schema::FieldRef| *field.data_type() == DataType::Utf8 && !besides.contains(field.name());
        let names: Vec<&str> = self.schema.fields().iter().filter(is_text).map(|field| field.name().as_str()).collect();
        let cells = rows.iter().map(|row| self.row(*row, &names)).collect::<Result<Vec<_>, _>>()?;
        let length = |at: &usize| cells.iter().filter_map(|row| row[*at].as_ref()).map(String::len).sum::<usize>();
        let longest = (0..names.len()).max_by_key(length).filter(|at| length(at) > 0);
        Ok(longest.map(|at| (names[at].to_owned(), cells.iter().map(|row| row[at].clone()).collect())))
    }

    /// What people call a row: its key, or the number of its input row.
    pub(super) fn row_name(&self, number: u64) -> Result<String, String> {
        let key = self.spec.relation().key.map(|key| self.schema.field(key).name().clone());
        let name = match &key {
            Some(key) => self.row(number, &[key])?.pop().flatten(),
            None => None,
        };
        Ok(name.unwrap_or_else(|| (number / self.spec.relation().fold + 1).to_string()))
    }

    /// The column of texts that the prompts of the stage read, if there is one.
    pub(super) fn prompt_text(&self) -> Option<String> {
        let info = &self.stage()?.stage.info;
        let reads = info.needs.iter().chain(&info.uses).filter(|column| **column < self.schema.fields().len());
        let mut texts = reads.filter(|column| *self.schema.field(**column).data_type() == DataType::Utf8);
        texts.next().map(|column| self.schema.field(*column).name().clone())
    }
}

/// The number of rows of a table, if the run knows it.
fn row_count(subject: &Subject<'_>, id: TableId) -> Option<u64> {
    let table = subject.plan.spec.table(id);
    match table {
        TableSpec::Source(_) => Some(subject.manifest.sources.get(table.name())?.rows),
        TableSpec::Stage(stage) => Some(subject.manifest.stages.get(table.name())?.rows * stage.answers.fold()),
        TableSpec::Transform(_) => Some(subject.folder.committed(table.name(), 0)?.table.rows()),
    }
}

/// The codes of the groups of each row. Adds new values, and drops columns with too many.
fn code(groupings: &mut [Grouping], rows: &RecordBatch) -> Vec<Vec<usize>> {
    let codes = |grouping: &mut Grouping| {
        let column = rows.column_by_name(&grouping.column).filter(|_| !grouping.is_dropped);
        let Some(column) = column else { return vec![NO_GROUP; rows.num_rows()] };
        (0..rows.num_rows()).map(|row| grouping.code(column.as_ref(), row)).collect()
    };
    groupings.iter_mut().map(codes).collect()
}

impl Grouping {
    fn code(&mut self, column: &dyn Array, row: usize) -> usize {
        let Some(value) = text(column, row).filter(|value| !value.is_empty()) else { return NO_GROUP };
        if let Some(code) = self.values.iter().position(|known| *known == value) {
            return code;
        }
        if self.values.len() == MOST_VALUES {
            self.is_dropped = true;
            return NO_GROUP;
        }
        self.values.push(value.into_owned());
        self.values.len() - 1
    }
}

/// The order of values: numbers by size, others by the alphabet.
pub(super) fn in_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

/// A cell as text; `None` for null.
pub(super) fn text(column: &dyn Array, row: usize) -> Option<Cow<'_, str>> {
    match Value::at(column, row) {
        Value::Text(text) => Some(text),
        Value::Integer(number) => Some(number.to_string().into()),
        Value::Boolean(truth) => Some(truth.to_string().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Null => column.is_valid(row).then(|| cell_at(column, row).text().into()),
    }
}

/// A finite number.
pub(super) fn number(column: &dyn Array, row: usize) -> Option<f64> {
    let number = match Value::at(column, row) {
        Value::Integer(number) => number as f64,
        Value::Number(number) => number,
        Value::Null if column.is_valid(row) => cell_at(column, row).json().as_f64()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}
