//! Tables: rows and columns over Arrow, and Parquet files of them.
//!
//! Knows nothing of ours.

mod cell;
pub mod diff;
mod digest;
mod guard;
mod lookup;
mod max_failed;
pub mod parquet;
mod rechunk;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cell::{Cell, array_of, cell_at};
pub use digest::{Digest, column_words};
pub use guard::Guard;
pub use lookup::{column, listed_columns};
pub use max_failed::MaxFailed;
pub use rechunk::Cutter;

#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    batch: &'a RecordBatch,
    index: usize,
    number: u64,
}

impl<'a> Row<'a> {
    /// Row `index` of `batch`, which must have it and begins with row `first` (from 0) of its table.
    pub fn new(batch: &'a RecordBatch, index: usize, first: u64) -> Self {
        Row { batch, index, number: first + index as u64 }
    }

    /// Its place in the whole table, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn batch(&self) -> &'a RecordBatch {
        self.batch
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn is_null(&self, column: usize) -> bool {
        self.batch.column(column).is_null(self.index)
    }

    pub fn cell(&self, column: usize) -> Cell {
        cell_at(self.batch.column(column).as_ref(), self.index)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A number of 64 bits.
    Number,
    Boolean,
    List(Simple),
}

/// The simple types, which a list can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Simple {
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
    /// The type of columns of this Arrow type, if it is one of ours.
    pub fn of(arrow: &DataType) -> Option<Type> {
        let simple = [Simple::Text, Simple::Integer, Simple::Number, Simple::Boolean];
        let types = [Type::Text, Type::Integer, Type::Number, Type::Boolean];
        types.into_iter().chain(simple.map(Type::List)).find(|kind| kind.arrow() == *arrow)
    }

    /// The type of the cells that [`cell_at`] reads from a column of this Arrow type.
    pub fn of_cells(arrow: &DataType) -> Type {
        match arrow {
            DataType::Boolean => Type::Boolean,
            DataType::UInt64 => Type::Text,
            DataType::Duration(_) => Type::Integer,
            DataType::List(item) => Type::List(Type::of_cells(item.data_type()).simple()),
            kind if kind.is_integer() => Type::Integer,
            kind if kind.is_floating() => Type::Number,
            _ => Type::Text,
        }
    }

    pub fn simple(self) -> Simple {
        match self {
            Type::Text => Simple::Text,
            Type::Integer => Simple::Integer,
            Type::Number => Simple::Number,
            Type::Boolean => Simple::Boolean,
            Type::List(item) => item,
        }
    }

    pub fn is_numeric(self) -> bool {
        matches!(self, Type::Integer | Type::Number)
    }

    pub fn words(self) -> &'static str {
        match self {
            Type::Text => "text",
            Type::Integer => "whole numbers",
            Type::Number => "numbers",
            Type::Boolean => "true and false",
            Type::List(_) => "lists",
        }
    }

    pub fn arrow(self) -> DataType {
        match self {
            Type::Text => DataType::Utf8,
            Type::Integer => DataType::Int64,
            Type::Number => DataType::Float64,
            Type::Boolean => DataType::Boolean,
            Type::List(item) => DataType::new_list(Type::from(item).arrow(), true),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// What it holds; every column is nullable, since every call can fail.
    pub kind: Type,
}

impl Column {
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Column { name: name.into(), kind }
    }

    pub fn field(&self) -> Field {
        Field::new(&self.name, self.kind.arrow(), true)
    }
}

/// The schema of `input` with `more` columns behind it.
pub fn extended(input: &SchemaRef, more: &[Column]) -> SchemaRef {
    let fields = input.fields().iter().map(|f| f.as_ref().clone()).chain(more.iter().map(Column::field));
    std::sync::Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
