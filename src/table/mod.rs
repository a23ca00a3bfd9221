//! Tables: rows, cells and columns over Arrow; Parquet files, and files that appear completely; comparison of tables.

mod cell;
pub(crate) mod diff;
mod digest;
pub(crate) mod files;
mod guard;
pub(crate) mod json;
mod labels;
mod lookup;
mod max_failed;
pub(crate) mod parquet;
mod path;
mod rechunk;
mod shape;
pub(crate) mod stored;
mod value;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use cell::{Cell, array_of, cell_at, cells_at, narrowed, run_place};
pub(crate) use digest::{Digest, cell_bytes, column_words, type_words};
pub(crate) use guard::Guard;
pub(crate) use labels::{Labels, relabelled};
pub(crate) use lookup::{column, listed_columns};
pub(crate) use max_failed::MaxFailed;
pub(crate) use path::PathColumn;
pub(crate) use rechunk::Cutter;
pub(crate) use shape::Shape;
pub(crate) use value::{ColumnBuilder, TableBuilder, Value};

/// A last column of this name holds the numbers of the rows in the table that they are drawn from. No data file has a
/// column with such a name.
pub(crate) const ROW_NUMBER: &str = "\u{1f}row number";

/// Ends a page in a text of several pages, as `pdftotext` writes it.
pub(crate) const PAGE_END: char = '\u{c}';

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    batch: &'a RecordBatch,
    index: usize,
    number: u64,
}

impl<'a> Row<'a> {
    /// Row `index` of `batch`, which must have it. The batch begins with row `first` (from 0) of its table.
    pub(crate) fn new(batch: &'a RecordBatch, index: usize, first: u64) -> Self {
        let drawn = batch.schema_ref().fields().last().is_some_and(|field| field.name() == ROW_NUMBER);
        let numbers =
            batch.columns().last().filter(|_| drawn).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let number = numbers.map_or(first + index as u64, |numbers| numbers.value(index) as u64);
        Row { batch, index, number }
    }

    /// The row's number in the whole table, from 0; of a sample, in the table that it is drawn from.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn batch(&self) -> &'a RecordBatch {
        self.batch
    }

    pub(crate) fn cell(&self, column: usize) -> Cell {
        cell_at(self.batch.column(column).as_ref(), self.index)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A number of 64 bits.
    Number,
    Boolean,
    List(Simple),
    /// A list of numbers of 32 bits.
    Vector,
}

/// The types that a list can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Simple {
    /// Text.
    #[serde(rename = "string")]
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
}

impl From<Simple> for Type {
    fn from(simple: Simple) -> Type {
        match simple {
            Simple::Text => Type::Text,
            Simple::Integer => Type::Integer,
            Simple::Number => Type::Number,
            Simple::Boolean => Type::Boolean,
        }
    }
}

impl Type {
    /// The type of the answers that can fill columns of this Arrow type; `None` if none can.
    pub(crate) fn of(arrow: &DataType) -> Option<Type> {
        match arrow {
            DataType::Float16 | DataType::Float32 => return Some(Type::Number),
            DataType::UInt64 => return Some(Type::Integer),
            _ => {}
        }
        let simple = [Simple::Text, Simple::Integer, Simple::Number, Simple::Boolean];
        let types = [Type::Text, Type::Integer, Type::Number, Type::Boolean];
        types.into_iter().chain(simple.map(Type::List)).find(|kind| kind.arrow() == *arrow)
    }

    /// The type of the cells that [`cell_at`] reads from a column of this Arrow type.
    pub(crate) fn of_cells(arrow: &DataType) -> Type {
        match arrow {
            DataType::Boolean => Type::Boolean,
            DataType::Duration(_) => Type::Integer,
            DataType::List(item) => Type::List(Type::of_cells(item.data_type()).simple()),
            kind if kind.is_integer() => Type::Integer,
            kind if kind.is_floating() => Type::Number,
            _ => Type::Text,
        }
    }

    pub(crate) fn simple(self) -> Simple {
        match self {
            Type::Text => Simple::Text,
            Type::Integer => Simple::Integer,
            Type::Number => Simple::Number,
            Type::Boolean => Simple::Boolean,
            Type::List(item) => item,
            Type::Vector => Simple::Number,
        }
    }

    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Type::Integer | Type::Number)
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Type::Text => "text",
            Type::Integer => "whole numbers",
            Type::Number => "numbers",
            Type::Boolean => "true and false",
            Type::List(_) => "lists",
            Type::Vector => "vectors",
        }
    }

    pub(crate) fn arrow(self) -> DataType {
        match self {
            Type::Text => DataType::Utf8,
            Type::Integer => DataType::Int64,
            Type::Number => DataType::Float64,
            Type::Boolean => DataType::Boolean,
            Type::List(item) => DataType::new_list(Type::from(item).arrow(), true),
            Type::Vector => DataType::new_list(DataType::Float32, true),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Every column is nullable, since every call can fail.
    pub(crate) kind: Type,
    /// What its values are, if they are JSON text.
    pub(crate) shape: Option<Shape>,
}

impl Column {
    pub(crate) fn new(name: impl Into<String>, kind: Type) -> Self {
        Column { name: name.into(), kind, shape: None }
    }

    /// A column of JSON text.
    pub(crate) fn json(name: impl Into<String>, shape: Shape) -> Self {
        Column { name: name.into(), kind: Type::Text, shape: Some(shape) }
    }

    pub(crate) fn field(&self) -> Field {
        let field = Field::new(&self.name, self.kind.arrow(), true);
        match &self.shape {
            Some(shape) => shape.marked(field),
            None => field,
        }
    }
}

/// The schema of `input`, followed by `more` columns.
pub(crate) fn extended(input: &SchemaRef, more: &[Column]) -> SchemaRef {
    let fields = input.fields().iter().map(|f| f.as_ref().clone()).chain(more.iter().map(Column::field));
    std::sync::Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
