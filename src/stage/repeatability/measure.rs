//! The measure of a repeatability: compares the answers of a stage with the repeated ones.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use indexmap::IndexMap;
use serde_json::json;

use crate::stage::transform::{DataError, Pass, Transform, TransformInfo, Work, sentence};
use crate::stage::view::{EstimateColumns, Estimates, Shown, View};
use crate::stats::{kappa, wilson};
use crate::table::{Cell, Row};

pub(super) const KIND: &str = "repeatability";

/// Compares the answers. The inputs are the sample, the repeated answers about it, and the table of the stage.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) stage: String,
    pub(crate) models: Vec<String>,
    pub(crate) columns: Vec<MeasuredColumn>,
    /// The column of the answers that names the model, if a column does.
    pub(crate) model: Option<usize>,
    /// The number of rows of answers for each row of the input.
    pub(crate) fold: u64,
    /// The number of hidden columns at the end of the sample: whether a row is asked, and its number.
    pub(crate) sampled: usize,
}

#[derive(Debug)]
pub(crate) struct MeasuredColumn {
    pub(crate) name: String,
    /// The model whose answers the column has. `None` if all models share the column.
    pub(crate) model: Option<String>,
    /// The column of both tables of answers, and the column with its error.
    pub(crate) index: usize,
    pub(crate) error: usize,
    pub(crate) labels: Vec<String>,
}

impl Measure {
    pub(crate) fn transform(self) -> Transform {
        let text = |name| Field::new(name, DataType::Utf8, true);
        let count = |name| Field::new(name, DataType::Int64, true);
        let number = |name| Field::new(name, DataType::Float64, true);
        let fields = vec![
            text("stage"),
            text("model"),
            text("column"),
            count("n"),
            count("equal"),
            number("share"),
            number("low"),
            number("high"),
            number("kappa"),
            count("failed"),
        ];
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let info = TransformInfo {
            kind: KIND,
            origins: vec![None; fields.len()],
            schema: Arc::new(Schema::new(fields)),
            reads: Vec::new(),
            key: None,
            hidden: 0,
            meaning: json!({ "type": KIND, "stage": self.stage, "columns": names }),
        };
        let schema = info.schema.clone();
        Transform { info, work: Box::new(Comparison { measure: self, schema }) }
    }
}

#[derive(Debug)]
struct Comparison {
    measure: Measure,
    schema: SchemaRef,
}

impl Work for Comparison {
    fn views(&self) -> Vec<View> {
        let columns = EstimateColumns { estimate: "share", low: "low", high: "high", n: "n" };
        let lines: &[&str] = &["column"];
        let shown = Estimates { lines, series: Some("model"), shares: true, columns, ..Estimates::default() };
        let equal = View::new("The same answer again", Shown::Estimates(shown));
        vec![equal, View::new("All statistics", Shown::Rows)]
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        let Measure { models, columns, .. } = &self.measure;
        let of = |model: &String| {
            let model = model.clone();
            let columns = columns.iter().filter(|c| c.model.as_ref().is_none_or(|of| *of == model));
            columns.map(|c| ((model.clone(), c.name.clone()), Tally::new(c))).collect::<Vec<_>>()
        };
        let tallies = models.iter().flat_map(of).collect();
        Box::new(Comparing { of: self, asked: Vec::new(), repeated: HashMap::new(), rows: [0; 3], tallies })
    }
}

/// The answer in a column. `None` if the call failed.
type Answer = Option<Cell>;

struct Comparing<'a> {
    of: &'a Comparison,
    /// The numbers of the sampled rows; `None` for a row that is not asked.
    asked: Vec<Option<u64>>,
    /// The repeated answers, by the number of the row in the stage's table.
    repeated: HashMap<u64, Vec<Answer>>,
    /// The number of rows read of each input.
    rows: [u64; 3],
    tallies: IndexMap<(String, String), Tally>,
}

impl Comparing<'_> {
    fn answers(&self, row: Row<'_>) -> Vec<Answer> {
        let columns = self.of.measure.columns.iter();
        columns.map(|c| (row.cell(c.error) == Cell::Null).then(|| row.cell(c.index))).collect()
    }

    fn sampled(&mut self, row: Row<'_>) {
        let at = self.of.measure.sampled;
        let asked = row.cell(at) == Cell::Boolean(true);
        self.asked.push(asked.then(|| row.number()));
    }

    fn repeat(&mut self, row: Row<'_>, number: u64) {
        let fold = self.of.measure.fold;
        if let Some(asked) = self.asked.get((number / fold) as usize).copied().flatten() {
            self.repeated.insert(asked * fold + number % fold, self.answers(row));
        }
    }

    fn compare(&mut self, row: Row<'_>, number: u64) {
        let Some(repeated) = self.repeated.remove(&number) else { return };
        let Measure { columns, model, models, .. } = &self.of.measure;
        let named = model.map(|model| row.cell(model));
        for ((column, first), second) in columns.iter().zip(self.answers(row)).zip(repeated) {
            let model = match &named {
                Some(Cell::Text(name)) => name,
                _ => column.model.as_ref().unwrap_or(&models[0]),
            };
            let tally = self.tallies.entry((model.clone(), column.name.clone())).or_insert_with(|| Tally::new(column));
            tally.add(&column.labels, first, second);
        }
    }
}

impl Pass for Comparing<'_> {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        for i in 0..batch.num_rows() {
            let (row, number) = (Row::new(batch, i, 0), self.rows[input]);
            match input {
                0 => self.sampled(row),
                1 => self.repeat(row, number),
                _ => self.compare(row, number),
            }
            self.rows[input] += 1;
        }
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        let rows = table(self.of, &self.tallies).map_err(sentence)?;
        Ok(vec![rows])
    }
}

struct Tally {
    n: u64,
    equal: u64,
    failed: u64,
    /// The number of rows with each label first (first index) and second.
    labels: Vec<Vec<u64>>,
}

impl Tally {
    fn new(column: &MeasuredColumn) -> Self {
        let labels = column.labels.len();
        Tally { n: 0, equal: 0, failed: 0, labels: vec![vec![0; labels]; labels] }
    }

    fn add(&mut self, labels: &[String], first: Answer, second: Answer) {
        let (Some(first), Some(second)) = (first, second) else {
            self.failed += 1;
            return;
        };
        self.n += 1;
        self.equal += u64::from(first == second);
        let place = |cell: Cell| {
            let label = match cell {
                Cell::Text(text) => text,
                other => other.json().to_string(),
            };
            labels.iter().position(|other| *other == label)
        };
        if let (Some(first), Some(second)) = (place(first), place(second)) {
            self.labels[first][second] += 1;
        }
    }

    /// The share of equal answers and the ends of its interval; `None` without rows.
    fn share(&self) -> Option<(f64, (f64, f64))> {
        (self.n > 0).then(|| (self.equal as f64 / self.n as f64, wilson(self.equal, self.n)))
    }
}

fn table(of: &Comparison, tallies: &IndexMap<(String, String), Tally>) -> Result<RecordBatch, ArrowError> {
    let text = |get: fn(&(String, String)) -> &String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(tallies.keys().map(get)))
    };
    let count = |get: fn(&Tally) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(tallies.values().map(|tally| get(tally) as i64)))
    };
    let number =
        |get: fn(&Tally) -> Option<f64>| -> ArrayRef { Arc::new(tallies.values().map(get).collect::<Float64Array>()) };
    let stage = Arc::new(StringArray::from_iter_values(tallies.keys().map(|_| &of.measure.stage)));
    let columns: Vec<ArrayRef> = vec![
        stage,
        text(|(model, _)| model),
        text(|(_, column)| column),
        count(|tally| tally.n),
        count(|tally| tally.equal),
        number(|tally| Some(tally.share()?.0)),
        number(|tally| Some(tally.share()?.1.0)),
        number(|tally| Some(tally.share()?.1.1)),
        number(|tally| kappa(&tally.labels)),
        count(|tally| tally.failed),
    ];
    RecordBatch::try_new(of.schema.clone(), columns)
}
