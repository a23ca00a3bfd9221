//! Cells: one value of a table, read from and written to Arrow arrays.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, TimeUnit};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Simple, Type};

/// A value. In the meaning of a spec it has the name of its type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Cell {
    Null,
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Cell>),
}

impl Cell {
    /// The cell of a JSON value. A cell is never an object: one is compared as text.
    pub(crate) fn of_json(value: Value) -> Cell {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(truth) => Cell::Boolean(truth),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Cell::Integer(whole),
                None => number.as_f64().map_or(Cell::Null, Cell::Number),
            },
            Value::String(text) => Cell::Text(text),
            Value::Array(items) => Cell::List(items.into_iter().map(Cell::of_json).collect()),
            Value::Object(_) => Cell::Text(value.to_string()),
        }
    }

    /// The value in JSON; NaN and infinities are null.
    pub(crate) fn json(&self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Boolean(truth) => (*truth).into(),
            Cell::Integer(number) => (*number).into(),
            Cell::Number(number) => (*number).into(),
            Cell::Text(text) => text.as_str().into(),
            Cell::List(items) => items.iter().map(Cell::json).collect(),
        }
    }

    /// A text as it is, null as an empty text, and any other value in JSON.
    pub(crate) fn text(&self) -> String {
        match self {
            Cell::Null => String::new(),
            Cell::Text(text) => text.clone(),
            other => other.json().to_string(),
        }
    }

    /// The type of a column of such cells; text for null.
    pub(crate) fn kind(&self) -> Type {
        match self {
            Cell::Null | Cell::Text(_) => Type::Text,
            Cell::Boolean(_) => Type::Boolean,
            Cell::Integer(_) => Type::Integer,
            Cell::Number(_) => Type::Number,
            Cell::List(items) => Type::List(items.first().map_or(Simple::Text, |item| item.kind().simple())),
        }
    }
}

/// Cell `index` of `array`. Dates, times and decimals are returned as text, durations as numbers of their unit. A type
/// that no source accepts is null.
pub(crate) fn cell_at(array: &dyn Array, index: usize) -> Cell {
    if array.is_null(index) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(index).to_owned()),
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(index)),
        DataType::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(index)),
        DataType::Float64 => Cell::Number(array.as_primitive::<Float64Type>().value(index)),
        DataType::Int8 => Cell::Integer(native::<Int8Type>(array, index).into()),
        DataType::Int16 => Cell::Integer(native::<Int16Type>(array, index).into()),
        DataType::Int32 => Cell::Integer(native::<Int32Type>(array, index).into()),
        DataType::UInt8 => Cell::Integer(native::<UInt8Type>(array, index).into()),
        DataType::UInt16 => Cell::Integer(native::<UInt16Type>(array, index).into()),
        DataType::UInt32 => Cell::Integer(native::<UInt32Type>(array, index).into()),
        DataType::UInt64 => Cell::Text(native::<UInt64Type>(array, index).to_string()),
        DataType::Float32 => Cell::Number(native::<Float32Type>(array, index).into()),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(index);
            Cell::List((0..items.len()).map(|i| cell_at(items.as_ref(), i)).collect())
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            text(days.value_as_date(index).map(|d| d.to_string()))
        }
        DataType::Timestamp(unit, _) => text(timestamp(array, index, *unit)),
        DataType::Date64 => text(array.as_primitive::<Date64Type>().value_as_datetime(index).map(|d| d.to_string())),
        DataType::Time32(TimeUnit::Second) => time(array.as_primitive::<Time32SecondType>().value_as_time(index)),
        DataType::Time32(_) => time(array.as_primitive::<Time32MillisecondType>().value_as_time(index)),
        DataType::Time64(TimeUnit::Microsecond) => {
            time(array.as_primitive::<Time64MicrosecondType>().value_as_time(index))
        }
        DataType::Time64(_) => time(array.as_primitive::<Time64NanosecondType>().value_as_time(index)),
        DataType::Duration(TimeUnit::Second) => Cell::Integer(native::<DurationSecondType>(array, index)),
        DataType::Duration(TimeUnit::Millisecond) => Cell::Integer(native::<DurationMillisecondType>(array, index)),
        DataType::Duration(TimeUnit::Microsecond) => Cell::Integer(native::<DurationMicrosecondType>(array, index)),
        DataType::Duration(TimeUnit::Nanosecond) => Cell::Integer(native::<DurationNanosecondType>(array, index)),
        DataType::Decimal32(_, _) => Cell::Text(array.as_primitive::<Decimal32Type>().value_as_string(index)),
        DataType::Decimal64(_, _) => Cell::Text(array.as_primitive::<Decimal64Type>().value_as_string(index)),
        DataType::Decimal256(_, _) => Cell::Text(array.as_primitive::<Decimal256Type>().value_as_string(index)),
        DataType::Decimal128(_, _) => Cell::Text(array.as_primitive::<Decimal128Type>().value_as_string(index)),
        _ => Cell::Null,
    }
}

/// The cells of row `row` in JSON, by column.
pub(crate) fn cells_at(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns());
    cells.map(|(field, column)| (field.name().clone(), cell_at(column.as_ref(), row).json())).collect()
}

fn native<T: ArrowPrimitiveType>(array: &dyn Array, index: usize) -> T::Native {
    array.as_primitive::<T>().value(index)
}

fn text(value: Option<String>) -> Cell {
    value.map_or(Cell::Null, Cell::Text)
}

fn time(value: Option<chrono::NaiveTime>) -> Cell {
    text(value.map(|t| t.to_string()))
}

fn timestamp(array: &dyn Array, index: usize, unit: TimeUnit) -> Option<String> {
    let when = match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value_as_datetime(index),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value_as_datetime(index),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value_as_datetime(index),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value_as_datetime(index),
    };
    when.map(|w| w.format("%Y-%m-%dT%H:%M:%S%.f").to_string())
}

/// An array of `cells` for a column of `kind`. A cell of a different type is null; the caller has checked the types.
pub(crate) fn array_of<'a>(kind: Type, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    macro_rules! array {
        ($array:ty, $variant:ident($value:ident) => $own:expr) => {{
            let value = |cell: &'a Cell| if let Cell::$variant($value) = cell { Some($own) } else { None };
            Arc::new(cells.map(value).collect::<$array>())
        }};
    }
    match kind {
        Type::Text => array!(StringArray, Text(text) => text),
        Type::Integer => array!(Int64Array, Integer(number) => *number),
        Type::Number => array!(Float64Array, Number(number) => *number),
        Type::Boolean => array!(BooleanArray, Boolean(truth) => *truth),
        Type::List(item) => {
            let lists: Vec<Option<&Vec<Cell>>> =
                cells.map(|cell| if let Cell::List(items) = cell { Some(items) } else { None }).collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
            let nulls = NullBuffer::from_iter(lists.iter().map(Option::is_some));
            let items = array_of(item.into(), lists.iter().flatten().copied().flatten());
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
            Arc::new(ListArray::new(field, offsets, items, Some(nulls)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_from_arrays() {
        let cases = [
            (Type::Text, vec![Cell::Text("a".into()), Cell::Null, Cell::Text(String::new())]),
            (Type::Integer, vec![Cell::Integer(i64::MAX), Cell::Null]),
            (Type::Number, vec![Cell::Null, Cell::Number(0.5)]),
            (Type::Boolean, vec![Cell::Boolean(true), Cell::Null, Cell::Boolean(false)]),
            (Type::List(Simple::Text), vec![Cell::List(vec![Cell::Text("x".into()), Cell::Null]), Cell::Null]),
            (Type::List(Simple::Integer), vec![Cell::List(vec![]), Cell::List(vec![Cell::Integer(1)])]),
        ];
        for (kind, cells) in cases {
            let array = array_of(kind, cells.iter());
            assert_eq!(array.data_type(), &kind.arrow());
            let back: Vec<Cell> = (0..array.len()).map(|i| cell_at(array.as_ref(), i)).collect();
            assert_eq!(back, cells);
        }
    }

    #[test]
    fn an_all_null_column_keeps_its_type() {
        let array = array_of(Type::List(Simple::Number), [Cell::Null, Cell::Null].iter());
        assert_eq!(array.data_type(), &DataType::new_list(DataType::Float64, true));
        assert_eq!(array.null_count(), 2);
    }
}
