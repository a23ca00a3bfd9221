//! The table of the labels: the rows of the input with the label of their unit.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, SchemaRef};
use serde_json::{Value as Json, json};

use super::fit::{Fit, Fitting, Form, NAME, Votes};
use crate::document::Problems;
use crate::stage::method::columns::{Columns, Read, label, text};
use crate::stage::transform::{self, DataError, Pass, Transform, TransformContext, TransformInfo, Work, sentence};
use crate::stage::view::{self, Shown, View};
use crate::table::{Cell, ColumnBuilder, Type, Value, cell_at};

pub(super) fn transform(
    context: &TransformContext<'_>,
    (fitting, reads): (Fitting, Vec<Read>),
    settings: Json,
    problems: &mut Problems,
) -> Option<Transform> {
    let input = context.inputs.first()?;
    let coded: Vec<usize> = reads.iter().filter_map(column).collect();
    let coded = match &fitting.form {
        Form::Wide(coders) => coded[..coders.len()].to_vec(),
        Form::Long => coded[..3].to_vec(),
    };
    let labels = if matches!(fitting.form, Form::Long) { &coded[2..] } else { &coded[..] };
    let kinds: Vec<Type> = labels.iter().map(|c| Type::of_cells(input.schema.field(*c).data_type())).collect();
    let kind = if kinds.iter().all(|kind| *kind == kinds[0]) { kinds[0].arrow() } else { DataType::Utf8 };
    let name = context.name;
    let added = [
        (name.to_owned(), kind),
        (format!("{name}_posterior"), DataType::Float64),
        (format!("{name}_entropy"), DataType::Float64),
    ];
    let mut fields: Vec<Field> = input.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.extend(added.map(|(name, kind)| Field::new(name, kind, true)));
    let own = input.schema.fields().len();
    let info = TransformInfo {
        kind: NAME,
        reads: reads.iter().flat_map(Read::uses).map(|column| (0, column)).collect(),
        schema: transform::schema(fields, context.path, problems)?,
        origins: (0..own).map(|column| Some((1, column))).chain([None; 3]).collect(),
        key: input.key,
        hidden: 0,
        meaning: json!({ "type": NAME, "settings": settings, "name": name }),
    };
    Some(Transform { work: Box::new(Labels { schema: info.schema.clone(), fitting, reads, coded }), info })
}

fn column(read: &Read) -> Option<usize> {
    match read {
        Read::Column(column, _) => Some(*column),
        Read::Condition(_) | Read::Same(_) => None,
    }
}

#[derive(Debug)]
struct Labels {
    schema: SchemaRef,
    fitting: Fitting,
    reads: Vec<Read>,
    /// The columns of the coders; of labels in rows the unit, the coder and the label.
    coded: Vec<usize>,
}

impl Work for Labels {
    fn views(&self) -> Vec<View> {
        let first = self.schema.fields().len() - 3;
        let name = |place: usize| self.schema.field(first + place).name();
        let probability = Shown::Numbers { column: name(1).clone(), bounds: [Some(0.0), Some(1.0)] };
        vec![
            view::labels("Labels", name(0)),
            View::new("Probability of the label", probability),
            view::numbers("Entropy of the labels, in bits", name(2)),
        ]
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        let merge = matches!(self.fitting.form, Form::Wide(_));
        Box::new(Labelling {
            labels: self,
            columns: Columns::new(self.reads.len(), merge),
            cells: HashMap::new(),
            fit: None,
        })
    }
}

struct Labelling<'a> {
    labels: &'a Labels,
    columns: Columns,
    /// The cells of the labels, so that the new column has the type of the coders' columns.
    cells: HashMap<String, Cell>,
    fit: Option<Fitted>,
}

struct Fitted {
    fit: Fit,
    /// The number of each label.
    codes: HashMap<String, usize>,
}

impl Labelling<'_> {
    fn collect(&mut self, batch: &RecordBatch) -> Result<(), DataError> {
        let Labels { fitting, coded, reads, .. } = self.labels;
        let labels = if matches!(fitting.form, Form::Long) { &coded[2..] } else { &coded[..] };
        // A label can win that only the truth has.
        let truth = fitting.truth.as_ref().and_then(|(read, _)| column(&reads[*read]));
        let truth = truth.filter(|truth| batch.column(*truth).data_type() == batch.column(labels[0]).data_type());
        let labels = labels.iter().copied().chain(truth);
        for (column, row) in labels.flat_map(|column| (0..batch.num_rows()).map(move |row| (column, row))) {
            let column = batch.column(column).as_ref();
            if let Some(text) = text(column, row).filter(|text| !self.cells.contains_key(text.as_ref())) {
                self.cells.insert(text.into_owned(), cell_at(column, row));
            }
        }
        Ok(self.columns.add(batch, &self.labels.reads, std::iter::repeat_n(None, batch.num_rows()))?)
    }

    /// Fits the votes, after the last of them.
    fn fit(&mut self) -> Result<Fitted, DataError> {
        self.columns.finish(&self.labels.reads);
        let fit = self.labels.fitting.fit(&self.columns.rows(None))?;
        let codes = fit.labels.iter().enumerate().map(|(code, label)| (label.clone(), code)).collect();
        Ok(Fitted { fit, codes })
    }

    fn label(&mut self, batch: &RecordBatch) -> Result<RecordBatch, DataError> {
        let added = self.labels.schema.fields().len() - 3;
        let mut columns: Vec<ColumnBuilder> =
            (0..3).map(|i| ColumnBuilder::new(self.labels.schema.field(added + i).data_type())).collect();
        let labels = self.labels;
        let fitted = match self.fit.take() {
            Some(fitted) => fitted,
            None => self.fit()?,
        };
        let Fitted { fit, codes } = self.fit.insert(fitted);
        let is_text = *labels.schema.field(added).data_type() == DataType::Utf8;
        for row in 0..batch.num_rows() {
            let text = |column: usize| text(batch.column(column).as_ref(), row);
            let votes: Option<Votes> = match &labels.fitting.form {
                Form::Wide(_) => {
                    let votes = labels.coded.iter().enumerate();
                    Some(
                        votes
                            .filter_map(|(coder, column)| Some((coder, *codes.get(text(*column)?.as_ref())?)))
                            .collect(),
                    )
                }
                Form::Long => text(labels.coded[0]).and_then(|unit| fit.units.get(unit.as_ref()).cloned()),
            };
            let verdict = votes.and_then(|votes| fit.verdicts.get(&votes));
            let found = verdict.and_then(|verdict| self.cells.get(&fit.labels[verdict.label?]));
            let text = found.filter(|_| is_text).and_then(|cell| label(cell.clone()));
            columns[0].push(match found {
                Some(_) if is_text => Value::from(text.as_deref()),
                Some(Cell::Boolean(truth)) => Value::Boolean(*truth),
                Some(Cell::Integer(number)) => Value::Integer(*number),
                Some(Cell::Number(number)) => Value::Number(*number),
                _ => Value::Null,
            });
            columns[1].push(Value::from(verdict.map(|verdict| verdict.posterior)));
            columns[2].push(Value::from(verdict.map(|verdict| verdict.entropy)));
        }
        let columns = batch.columns().iter().cloned().chain(columns.iter_mut().map(ColumnBuilder::finish));
        Ok(RecordBatch::try_new(labels.schema.clone(), columns.collect()).map_err(sentence)?)
    }
}

impl Pass for Labelling<'_> {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        match input {
            0 => self.collect(batch).map(|()| Vec::new()),
            _ => Ok(vec![self.label(batch)?]),
        }
    }
}
