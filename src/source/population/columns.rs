//! Columns: converts blocks of drawn cells to Arrow batches: first the `ID`, then the drawn columns, then the fixed
//! ones.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;

use super::characteristic::Choice;
use super::draw::{Block, Cells};
use crate::table::{Cell, Type, array_of};

/// The key of the source: a column that numbers the rows from 1.
pub(crate) const ID: &str = "ID";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Options(Arc<[Choice]>),
    Whole,
    Number,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Fixed {
    pub(crate) name: String,
    pub(crate) value: FixedValue,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum FixedValue {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
}

#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) drawn: Vec<Drawn>,
    fixed: Vec<Fixed>,
    schema: SchemaRef,
}

impl Columns {
    pub(crate) fn new(drawn: Vec<Drawn>, fixed: &[Fixed]) -> Columns {
        let id = Field::new(ID, DataType::Int64, true);
        let cells = drawn.iter().map(|column| Field::new(&column.name, column.kind.data_type(), true));
        let same = fixed.iter().map(|column| Field::new(&column.name, column.value.cell().0.arrow(), true));
        let fields: Vec<Field> = [id].into_iter().chain(cells).chain(same).collect();
        Columns { schema: Arc::new(Schema::new(fields)), drawn, fixed: fixed.to_vec() }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(crate) fn batch(&self, block: &Block) -> Result<RecordBatch, String> {
        let id: ArrayRef = Arc::new((block.first..).take(block.rows).map(u64::cast_signed).collect::<Int64Array>());
        let cells = self.drawn.iter().zip(&block.columns).map(|(column, cells)| column.kind.array(cells));
        let same = self.fixed.iter().map(|column| {
            let (kind, cell) = column.value.cell();
            array_of(kind, std::iter::repeat_n(&cell, block.rows))
        });
        let arrays = [id].into_iter().chain(cells).chain(same).collect();
        RecordBatch::try_new(self.schema(), arrays).map_err(|error| error.to_string())
    }
}

impl FixedValue {
    fn cell(&self) -> (Type, Cell) {
        match self {
            FixedValue::Text(text) => (Type::Text, Cell::Text(text.clone())),
            FixedValue::Integer(number) => (Type::Integer, Cell::Integer(*number)),
            FixedValue::Number(number) => (Type::Number, Cell::Number(*number)),
            FixedValue::Boolean(truth) => (Type::Boolean, Cell::Boolean(*truth)),
        }
    }
}

impl Kind {
    fn data_type(&self) -> DataType {
        match self {
            Kind::Options(choices) => match choices.first() {
                Some(Choice::Integer(_)) => DataType::Int64,
                Some(Choice::Boolean(_)) => DataType::Boolean,
                Some(Choice::Text(_)) | None => DataType::Utf8,
            },
            Kind::Whole => DataType::Int64,
            Kind::Number => DataType::Float64,
        }
    }

    fn array(&self, cells: &Cells) -> ArrayRef {
        match (self, cells) {
            (Kind::Whole, Cells::Numbers(numbers)) => {
                Arc::new(numbers.iter().map(|number| *number as i64).collect::<Int64Array>())
            }
            (_, Cells::Numbers(numbers)) => Arc::new(Float64Array::from(numbers.clone())),
            (_, Cells::Options(options)) => options_array(self.choices(), options),
        }
    }

    pub(crate) fn choices(&self) -> &[Choice] {
        match self {
            Kind::Options(choices) => choices,
            Kind::Whole | Kind::Number => &[],
        }
    }
}

fn options_array(choices: &[Choice], options: &[u32]) -> ArrayRef {
    let chosen = options.iter().map(|option| &choices[*option as usize]);
    match choices.first() {
        Some(Choice::Integer(_)) => {
            let mut out = Int64Builder::with_capacity(options.len());
            chosen.for_each(|choice| {
                if let Choice::Integer(number) = choice {
                    out.append_value(*number)
                }
            });
            Arc::new(out.finish())
        }
        Some(Choice::Boolean(_)) => {
            let mut out = BooleanBuilder::with_capacity(options.len());
            chosen.for_each(|choice| {
                if let Choice::Boolean(truth) = choice {
                    out.append_value(*truth)
                }
            });
            Arc::new(out.finish())
        }
        Some(Choice::Text(_)) | None => {
            let mut out = StringBuilder::new();
            chosen.for_each(|choice| {
                if let Choice::Text(text) = choice {
                    out.append_value(text)
                }
            });
            Arc::new(out.finish())
        }
    }
}
