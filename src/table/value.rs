//! Values: converts one cell to and from SQLite and Arrow, and builds columns of them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// `None` for a blob or for text that is not UTF-8. Records contain neither.
    pub(crate) fn of_sql(value: ValueRef<'a>) -> Option<Self> {
        Some(match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(number) => Value::Number(number),
            ValueRef::Text(text) => Value::Text(str::from_utf8(text).ok()?.into()),
            ValueRef::Blob(_) => return None,
        })
    }

    pub(crate) fn at(column: &'a dyn Array, row: usize) -> Self {
        match column.data_type() {
            _ if column.is_null(row) => Value::Null,
            DataType::Int64 => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Value::Number(column.as_primitive::<Float64Type>().value(row)),
            DataType::Boolean => Value::Boolean(column.as_boolean().value(row)),
            DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).into()),
            _ => Value::Null,
        }
    }

    pub(crate) fn of(column: Option<&'a ArrayRef>, row: usize) -> Self {
        column.map_or(Value::Null, |column| Value::at(column, row))
    }

    pub(crate) fn into_text(self) -> String {
        if let Value::Text(text) = self { text.into_owned() } else { String::new() }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Number(number) => ValueRef::Real(*number),
            Value::Boolean(truth) => ValueRef::Integer((*truth).into()),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Value<'_> {
            fn from(value: $type) -> Self {
                Value::$variant(value.into())
            }
        }
    )*};
}
from!(i64 => Integer, f64 => Number, bool => Boolean, String => Text);

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text.into())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

pub(crate) struct TableBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    text_bytes: usize,
}

impl TableBuilder {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|field| ColumnBuilder::new(field.data_type())).collect();
        TableBuilder { schema, columns, text_bytes: 0 }
    }

    pub(crate) fn push<'a>(&mut self, row: impl Iterator<Item = Value<'a>>) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            self.text_bytes += if let Value::Text(text) = &value { text.len() } else { 0 };
            column.push(value);
        }
    }

    /// The bytes of all texts so far.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Returns the rows so far and empties the builder.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.text_bytes = 0;
        RecordBatch::try_new(self.schema.clone(), self.columns.iter_mut().map(ColumnBuilder::finish).collect())
    }
}

pub(crate) enum ColumnBuilder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
}

impl ColumnBuilder {
    pub(crate) fn new(kind: &DataType) -> Self {
        match kind {
            DataType::Int64 => ColumnBuilder::Integer(Int64Builder::new()),
            DataType::Float64 => ColumnBuilder::Number(Float64Builder::new()),
            DataType::Boolean => ColumnBuilder::Boolean(BooleanBuilder::new()),
            _ => ColumnBuilder::Text(StringBuilder::new()),
        }
    }

    /// Appends null for a value of another type.
    pub(crate) fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (ColumnBuilder::Text(column), Value::Text(text)) => column.append_value(text),
            (ColumnBuilder::Integer(column), Value::Integer(number)) => column.append_value(number),
            (ColumnBuilder::Number(column), Value::Number(number)) => column.append_value(number),
            (ColumnBuilder::Boolean(column), Value::Boolean(truth)) => column.append_value(truth),
            (ColumnBuilder::Text(column), _) => column.append_null(),
            (ColumnBuilder::Integer(column), _) => column.append_null(),
            (ColumnBuilder::Number(column), _) => column.append_null(),
            (ColumnBuilder::Boolean(column), _) => column.append_null(),
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Text(column) => Arc::new(column.finish()),
            ColumnBuilder::Integer(column) => Arc::new(column.finish()),
            ColumnBuilder::Number(column) => Arc::new(column.finish()),
            ColumnBuilder::Boolean(column) => Arc::new(column.finish()),
        }
    }
}
