//! Cells: one value of a table, read from and written to Arrow arrays.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use serde_json::Value;

use super::{Simple, Type};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Cell>),
}

impl Cell {
    /// The value in JSON; NaN and infinities are null.
    pub(crate) fn json(&self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Boolean(truth) => Value::from(*truth),
            Cell::Integer(number) => Value::from(*number),
            Cell::Number(number) => Value::from(*number),
            Cell::Text(text) => Value::from(text.as_str()),
            Cell::List(items) => Value::Array(items.iter().map(Cell::json).collect()),
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
    match kind {
        Type::Text => {
            let mut out = StringBuilder::new();
            cells.for_each(|c| out.append_option(as_text(c)));
            Arc::new(out.finish())
        }
        Type::Integer => {
            let mut out = Int64Builder::new();
            cells.for_each(|c| out.append_option(as_integer(c)));
            Arc::new(out.finish())
        }
        Type::Number => {
            let mut out = Float64Builder::new();
            cells.for_each(|c| out.append_option(as_number(c)));
            Arc::new(out.finish())
        }
        Type::Boolean => {
            let mut out = BooleanBuilder::new();
            cells.for_each(|c| out.append_option(as_boolean(c)));
            Arc::new(out.finish())
        }
        Type::List(item) => list_of(item, cells),
    }
}

fn list_of<'a>(item: Simple, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    macro_rules! lists {
        ($builder:expr, $read:expr) => {{
            let mut out = ListBuilder::new($builder);
            for cell in cells {
                if let Cell::List(items) = cell {
                    items.iter().for_each(|i| out.values().append_option($read(i)));
                }
                out.append(matches!(cell, Cell::List(_)));
            }
            Arc::new(out.finish())
        }};
    }
    match item {
        Simple::Text => lists!(StringBuilder::new(), as_text),
        Simple::Integer => lists!(Int64Builder::new(), as_integer),
        Simple::Number => lists!(Float64Builder::new(), as_number),
        Simple::Boolean => lists!(BooleanBuilder::new(), as_boolean),
    }
}

fn as_text(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Text(t) => Some(t),
        _ => None,
    }
}

fn as_integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Integer(i) => Some(*i),
        _ => None,
    }
}

fn as_number(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Number(n) => Some(*n),
        _ => None,
    }
}

fn as_boolean(cell: &Cell) -> Option<bool> {
    match cell {
        Cell::Boolean(b) => Some(*b),
        _ => None,
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
