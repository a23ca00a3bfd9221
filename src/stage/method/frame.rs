//! The frame: reads the columns of a method, repeats it for each group and writes its table.

use std::fmt;

use arrow_array::RecordBatch;
use arrow_schema::{Field, SchemaRef};
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::columns::{Columns, Read, Reading, Rows};
use super::settings::{Confidence, read_column};
use super::tidy::{self, Statistic, Tidy};
use crate::document::Problems;
use crate::stage::transform::{self, DataError, Pass, Transform, TransformContext, TransformInfo, Work, sentence};
use crate::stage::view::{Shown, View};
use crate::table::{Cell, cell_at};

pub(crate) trait Method: Send + Sync + fmt::Debug {
    /// Computes the statistics of the rows of one group.
    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError>;

    /// Whether the statistics are of the test part of a split.
    fn looks_at_test(&self) -> bool {
        false
    }

    /// Returns what the report page shows of the table, for all rows and for each group.
    fn views(&self) -> Vec<View> {
        Vec::new()
    }
}

/// A method with what the frame needs to know about it. It reads the first input of the stage, or the first two.
pub(crate) struct Frame<'a> {
    pub(crate) kind: &'static str,
    /// The method's own columns, after `statistic`.
    pub(crate) of: &'static [&'static str],
    pub(crate) by: &'a [String],
    pub(crate) reads: Vec<Read>,
    /// Whether equal rows are merged: no result depends on the order of the rows or on which row is which.
    pub(crate) merge: bool,
    pub(crate) confidence: Confidence,
    /// The settings, as JSON. They are hashed: equal settings make equal tables.
    pub(crate) settings: Value,
    pub(crate) method: Box<dyn Method>,
}

impl Frame<'_> {
    pub(crate) fn bind(self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        self.bind_two(Vec::new(), context, problems)
    }

    /// Binds a method that reads two inputs. `second` reads the same from the second one; empty if there is one input.
    pub(crate) fn bind_two(
        self,
        second: Vec<Read>,
        context: &TransformContext<'_>,
        problems: &mut Problems,
    ) -> Option<Transform> {
        let before = problems.mark();
        let mut inputs = Vec::new();
        let reads = [self.reads, second].into_iter().filter(|reads| !reads.is_empty());
        for (input, reads) in context.inputs.iter().zip(reads) {
            let mut by = Vec::new();
            for (i, name) in self.by.iter().enumerate() {
                let at = context.path.key("by").index(i);
                let own = tidy::fields(&[], self.of);
                if own.iter().any(|field| field.name() == name) {
                    let message = format!("`{name}` is a column of the statistics too");
                    problems.error("duplicate-column", at, message).help("give the column another name in its source");
                } else if let Some(Read::Column(column, _)) = read_column(input, at, name, Reading::Name, problems) {
                    by.push(column);
                }
            }
            inputs.push(InputReads { by, reads });
        }
        let by = &inputs.first()?.by;
        let fields: Vec<&Field> = by.iter().map(|column| context.inputs[0].schema.field(*column)).collect();
        let schema = transform::schema(tidy::fields(&fields, self.of), context.path, problems)?;
        if problems.had_errors_since(before) {
            return None;
        }
        let info = TransformInfo {
            kind: self.kind,
            origins: vec![None; schema.fields().len()],
            schema: schema.clone(),
            reads: inputs
                .iter()
                .enumerate()
                .flat_map(|(i, input)| input.uses().map(move |column| (i, column)))
                .collect(),
            key: None,
            hidden: 0,
            meaning: json!({ "type": self.kind, "seed": context.seed, "settings": self.settings }),
        };
        let Frame { merge, method, .. } = self;
        let bound = Bound { schema, inputs, merge, confidence: self.confidence.0, method };
        Some(Transform { info, work: Box::new(bound) })
    }
}

/// What is read of an input.
#[derive(Debug)]
struct InputReads {
    by: Vec<usize>,
    reads: Vec<Read>,
}

impl InputReads {
    fn uses(&self) -> impl Iterator<Item = usize> {
        self.by.iter().copied().chain(self.reads.iter().flat_map(Read::uses))
    }
}

#[derive(Debug)]
struct Bound {
    schema: SchemaRef,
    inputs: Vec<InputReads>,
    merge: bool,
    confidence: f64,
    method: Box<dyn Method>,
}

impl Work for Bound {
    fn start(&self) -> Box<dyn Pass + '_> {
        Box::new(Gathering {
            bound: self,
            columns: Columns::new(self.inputs[0].reads.len(), self.merge),
            groups: IndexMap::new(),
        })
    }

    fn looks_at_test(&self) -> bool {
        self.method.looks_at_test()
    }

    fn views(&self) -> Vec<View> {
        let by: Vec<String> =
            self.schema.fields().iter().take(self.inputs[0].by.len()).map(|field| field.name().clone()).collect();
        let views = self.method.views().into_iter().map(|view| View { by: by.clone(), ..view });
        views.chain([View::new("All statistics", Shown::Rows)]).collect()
    }
}

struct Gathering<'a> {
    bound: &'a Bound,
    columns: Columns,
    /// The values of `by` of each group, by their JSON.
    groups: IndexMap<String, Vec<Cell>>,
}

impl Gathering<'_> {
    /// The group of a row; `None` if a value of `by` is missing.
    fn group(&mut self, by: &[usize], batch: &RecordBatch, row: usize) -> Option<usize> {
        if by.is_empty() {
            return None;
        }
        let cells: Vec<Cell> = by.iter().map(|column| cell_at(batch.column(*column).as_ref(), row)).collect();
        if cells.iter().any(is_missing) {
            return None;
        }
        let key = cells.iter().map(|cell| cell.json().to_string()).collect::<Vec<_>>().join(",");
        let group = self.groups.get_index_of(&key);
        Some(group.unwrap_or_else(|| self.groups.insert_full(key, cells).0))
    }

    /// The groups in the order of their values.
    fn sorted(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by(|a, b| {
            let pairs = self.groups[*a].iter().zip(&self.groups[*b]);
            pairs.map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        });
        order
    }
}

fn is_missing(cell: &Cell) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Text(text) => text.trim().is_empty(),
        Cell::Number(number) => number.is_nan(),
        _ => false,
    }
}

fn compare(a: &Cell, b: &Cell) -> std::cmp::Ordering {
    match (a, b) {
        (Cell::Integer(a), Cell::Integer(b)) => a.cmp(b),
        (Cell::Number(a), Cell::Number(b)) => a.total_cmp(b),
        _ => a.text().cmp(&b.text()),
    }
}

impl Pass for Gathering<'_> {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        // A further input is not read.
        let Some(InputReads { by, reads }) = self.bound.inputs.get(input) else { return Ok(Vec::new()) };
        let groups: Vec<Option<usize>> = (0..batch.num_rows()).map(|row| self.group(by, batch, row)).collect();
        self.columns.add(batch, reads, groups.into_iter())?;
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        self.columns.finish(&self.bound.inputs[0].reads);
        let mut tidy = Tidy::new(self.bound.schema.clone(), self.bound.confidence);
        let all = vec![Cell::Null; self.bound.inputs[0].by.len()];
        tidy.push(&all, self.bound.method.statistics(&self.columns.rows(None))?);
        for group in self.sorted() {
            tidy.push(&self.groups[group], self.bound.method.statistics(&self.columns.rows(Some(group)))?);
        }
        Ok(vec![tidy.finish().map_err(sentence)?])
    }
}
