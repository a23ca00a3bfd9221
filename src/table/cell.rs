//! Cells: one value of a table, read from and written to Arrow arrays.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, RunArray,
    StringArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use chrono::{FixedOffset, NaiveDateTime, TimeZone, Utc};
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
    /// The fields of a struct, or the entries of a map, in their order.
    Object(Vec<(String, Cell)>),
}

impl Cell {
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
            Value::Object(members) => {
                Cell::Object(members.into_iter().map(|(name, value)| (name, Cell::of_json(value))).collect())
            }
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
            Cell::Object(members) => members.iter().map(|(name, cell)| (name.clone(), cell.json())).collect(),
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
            Cell::Null | Cell::Text(_) | Cell::Object(_) => Type::Text,
            Cell::Boolean(_) => Type::Boolean,
            Cell::Integer(_) => Type::Integer,
            Cell::Number(_) => Type::Number,
            Cell::List(items) => Type::List(items.first().map_or(Simple::Text, |item| item.kind().simple())),
        }
    }
}

/// Cell `index` of `array`. Dates, times, decimals and bytes (in hexadecimal) are returned as text, durations as numbers
/// of their unit, structs and maps as objects.
pub(crate) fn cell_at(array: &dyn Array, index: usize) -> Cell {
    if array.is_null(index) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(index).to_owned()),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(index).to_owned()),
        DataType::Utf8View => Cell::Text(array.as_string_view().value(index).to_owned()),
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(index)),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            match cell_at(dictionary.keys(), index) {
                Cell::Integer(key) => cell_at(dictionary.values().as_ref(), key as usize),
                _ => Cell::Null,
            }
        }
        DataType::Binary => hexadecimal(array.as_binary::<i32>().value(index)),
        DataType::LargeBinary => hexadecimal(array.as_binary::<i64>().value(index)),
        DataType::BinaryView => hexadecimal(array.as_binary_view().value(index)),
        DataType::FixedSizeBinary(_) => hexadecimal(array.as_fixed_size_binary().value(index)),
        kind if kind.is_nested() => nested_cell(array, index),
        kind if kind.is_numeric() => number(array, index),
        _ => moment(array, index),
    }
}

fn number(array: &dyn Array, index: usize) -> Cell {
    match array.data_type() {
        DataType::Int64 => Cell::Integer(native::<Int64Type>(array, index)),
        DataType::Float64 => Cell::Number(native::<Float64Type>(array, index)),
        DataType::Int8 => Cell::Integer(native::<Int8Type>(array, index).into()),
        DataType::Int16 => Cell::Integer(native::<Int16Type>(array, index).into()),
        DataType::Int32 => Cell::Integer(native::<Int32Type>(array, index).into()),
        DataType::UInt8 => Cell::Integer(native::<UInt8Type>(array, index).into()),
        DataType::UInt16 => Cell::Integer(native::<UInt16Type>(array, index).into()),
        DataType::UInt32 => Cell::Integer(native::<UInt32Type>(array, index).into()),
        DataType::UInt64 => {
            let number = native::<UInt64Type>(array, index);
            i64::try_from(number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Integer)
        }
        DataType::Float32 => Cell::Number(shortest_of_32(native::<Float32Type>(array, index))),
        DataType::Float16 => Cell::Number(shortest_of_16(native::<Float16Type>(array, index))),
        DataType::Decimal32(_, _) => Cell::Text(array.as_primitive::<Decimal32Type>().value_as_string(index)),
        DataType::Decimal64(_, _) => Cell::Text(array.as_primitive::<Decimal64Type>().value_as_string(index)),
        DataType::Decimal256(_, _) => Cell::Text(array.as_primitive::<Decimal256Type>().value_as_string(index)),
        DataType::Decimal128(_, _) => Cell::Text(array.as_primitive::<Decimal128Type>().value_as_string(index)),
        _ => Cell::Null,
    }
}

/// The number whose shortest decimal is that of the 32-bit `number`: 4.7, where widening returns 4.699999809265137.
fn shortest_of_32(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| number.into())
}

/// Like [`shortest_of_32`], for the at most five digits of 16 bits.
fn shortest_of_16(number: <Float16Type as ArrowPrimitiveType>::Native) -> f64 {
    let same = |text: &String| text.parse().is_ok_and(|back| half_of(back) == number);
    let shortest = (0..5).map(|digits| format!("{:.digits$e}", number.to_f32())).find(same);
    shortest.and_then(|text| text.parse().ok()).unwrap_or_else(|| number.to_f64())
}

fn half_of(number: f32) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_f32(number)
}

fn moment(array: &dyn Array, index: usize) -> Cell {
    match array.data_type() {
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            text(days.value_as_date(index).map(|d| d.to_string()))
        }
        DataType::Timestamp(unit, zone) => text(timestamp(array, index, *unit).map(|utc| zoned(utc, zone.as_deref()))),
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
        DataType::Interval(IntervalUnit::YearMonth) => interval(native::<IntervalYearMonthType>(array, index), 0, 0),
        DataType::Interval(IntervalUnit::DayTime) => {
            let days = native::<IntervalDayTimeType>(array, index);
            interval(0, days.days, i64::from(days.milliseconds) * 1_000_000)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let all = native::<IntervalMonthDayNanoType>(array, index);
            interval(all.months, all.days, all.nanoseconds)
        }
        _ => Cell::Null,
    }
}

fn nested_cell(array: &dyn Array, index: usize) -> Cell {
    let items = match array.data_type() {
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            return Cell::Object(
                columns.map(|(f, column)| (f.name().clone(), cell_at(column.as_ref(), index))).collect(),
            );
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(index);
            let entry = |i| (cell_at(entries.column(0).as_ref(), i).text(), cell_at(entries.column(1).as_ref(), i));
            return Cell::Object((0..entries.len()).map(entry).collect());
        }
        DataType::Union(..) => return cell_at(array.as_union().value(index).as_ref(), 0),
        DataType::RunEndEncoded(..) => {
            return run_place(array, index).map_or(Cell::Null, |(values, place)| cell_at(values.as_ref(), place));
        }
        DataType::List(_) => array.as_list::<i32>().value(index),
        DataType::LargeList(_) => array.as_list::<i64>().value(index),
        DataType::ListView(_) => array.as_list_view::<i32>().value(index),
        DataType::LargeListView(_) => array.as_list_view::<i64>().value(index),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(index),
        _ => return Cell::Null,
    };
    Cell::List((0..items.len()).map(|i| cell_at(items.as_ref(), i)).collect())
}

/// The values of a run-end encoded array, and the place of row `index` among them.
pub(crate) fn run_place(array: &dyn Array, index: usize) -> Option<(&ArrayRef, usize)> {
    fn place<T: RunEndIndexType>(array: &dyn Array, index: usize) -> Option<(&ArrayRef, usize)> {
        let runs = array.as_any().downcast_ref::<RunArray<T>>()?;
        Some((runs.values(), runs.get_physical_index(index)))
    }
    place::<Int16Type>(array, index)
        .or_else(|| place::<Int32Type>(array, index))
        .or_else(|| place::<Int64Type>(array, index))
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

fn hexadecimal(bytes: &[u8]) -> Cell {
    Cell::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An interval in the notation of ISO 8601.
fn interval(months: i32, days: i32, nanoseconds: i64) -> Cell {
    let (sign, size) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let fraction = format!(".{:09}", size % 1_000_000_000);
    Cell::Text(format!("P{months}M{days}DT{sign}{}{}S", size / 1_000_000_000, fraction.trim_end_matches(['.', '0'])))
}

fn timestamp(array: &dyn Array, index: usize, unit: TimeUnit) -> Option<NaiveDateTime> {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value_as_datetime(index),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value_as_datetime(index),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value_as_datetime(index),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value_as_datetime(index),
    }
}

/// A moment in the notation of RFC 3339: with the offset of its zone, or without one if it has no zone. An unknown zone
/// is read as UTC.
fn zoned(utc: NaiveDateTime, zone: Option<&str>) -> String {
    const LOCAL: &str = "%Y-%m-%dT%H:%M:%S%.f";
    const ZONED: &str = "%Y-%m-%dT%H:%M:%S%.f%:z";
    let Some(zone) = zone else { return utc.format(LOCAL).to_string() };
    let fixed = zone.parse::<FixedOffset>().or_else(|_| format!("{zone}:00").parse());
    match (fixed, zone.parse::<chrono_tz::Tz>()) {
        (Ok(offset), _) => offset.from_utc_datetime(&utc).format(ZONED).to_string(),
        (_, Ok(place)) => place.from_utc_datetime(&utc).format(ZONED).to_string(),
        _ => Utc.from_utc_datetime(&utc).format(ZONED).to_string(),
    }
}

/// Converts `array` of whole numbers or of numbers to the type `to`, if `to` is a narrower type of such numbers.
pub(crate) fn narrowed(array: ArrayRef, to: &DataType) -> ArrayRef {
    match (array.data_type(), to) {
        (DataType::Float64, DataType::Float32) => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float32Type>(|number| number as f32))
        }
        (DataType::Float64, DataType::Float16) => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float16Type>(|number| half_of(number as f32)))
        }
        (DataType::Int64, DataType::UInt64) => {
            let unsigned = |number| u64::try_from(number).ok();
            Arc::new(array.as_primitive::<Int64Type>().unary_opt::<_, UInt64Type>(unsigned))
        }
        _ => array,
    }
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
        Type::List(item) => lists(cells, |items| array_of(item.into(), items)),
        Type::Vector => lists(cells, |items| {
            let number = |cell| if let &Cell::Number(number) = cell { Some(number as f32) } else { None };
            Arc::new(items.map(number).collect::<Float32Array>())
        }),
    }
}

/// A list of the items of each cell; `array` makes an array of all items.
fn lists<'a>(
    cells: impl Iterator<Item = &'a Cell>,
    array: impl FnOnce(&mut dyn Iterator<Item = &'a Cell>) -> ArrayRef,
) -> ArrayRef {
    let lists: Vec<Option<&Vec<Cell>>> =
        cells.map(|cell| if let Cell::List(items) = cell { Some(items) } else { None }).collect();
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
    let nulls = NullBuffer::from_iter(lists.iter().map(Option::is_some));
    let items = array(&mut lists.iter().flatten().copied().flatten());
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    Arc::new(ListArray::new(field, offsets, items, Some(nulls)))
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
            (Type::Vector, vec![Cell::List(vec![Cell::Number(0.1), Cell::Number(-2.5)]), Cell::Null]),
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

    fn shown(array: &dyn Array) -> Vec<String> {
        (0..array.len()).map(|i| cell_at(array, i).text()).collect()
    }

    #[test]
    fn narrow_floats_have_their_shortest_decimal() {
        let numbers = [4.7, 0.1, 799.32, 1e-45, f32::MAX, -0.0, 16_777_216.0, 1.0e10];
        let array = Float32Array::from(numbers.to_vec());
        for (i, number) in numbers.iter().enumerate() {
            let Cell::Number(cell) = cell_at(&array, i) else { panic!("{number} is not a number") };
            assert_eq!(cell.to_string(), number.to_string());
            assert_eq!(cell as f32, *number);
        }
        let halves = [4.7, 0.1, 65504.0, 0.3333].map(half_of);
        let array = arrow_array::Float16Array::from(halves.to_vec());
        assert_eq!(shown(&array), ["4.7", "0.1", "65500.0", "0.3333"]);
        let special = Float32Array::from(vec![f32::NAN, f32::INFINITY]);
        assert!(matches!(cell_at(&special, 0), Cell::Number(n) if n.is_nan()));
        assert_eq!(cell_at(&special, 1), Cell::Number(f64::INFINITY));
    }

    #[test]
    fn moments_keep_their_zone() {
        let at = |zone: Option<&str>| {
            let array = arrow_array::TimestampMillisecondArray::from(vec![1_719_835_200_500, 1_704_067_200_000]);
            shown(&array.with_timezone_opt(zone))
        };
        assert_eq!(at(None), ["2024-07-01T12:00:00.500", "2024-01-01T00:00:00"]);
        assert_eq!(at(Some("UTC")), ["2024-07-01T12:00:00.500+00:00", "2024-01-01T00:00:00+00:00"]);
        assert_eq!(at(Some("+05:30")), ["2024-07-01T17:30:00.500+05:30", "2024-01-01T05:30:00+05:30"]);
        assert_eq!(at(Some("Europe/Berlin")), ["2024-07-01T14:00:00.500+02:00", "2024-01-01T01:00:00+01:00"]);
        assert_eq!(at(Some("-03"))[1], "2023-12-31T21:00:00-03:00");
    }

    #[test]
    fn bytes_decimals_and_intervals_are_exact_texts() {
        assert_eq!(shown(&arrow_array::BinaryArray::from_vec(vec![b"\x00\xff", b""])), ["00ff", ""]);
        let exact = "123456789012345678901234567890";
        let decimals = arrow_array::Decimal128Array::from(vec![exact.parse::<i128>().unwrap()]);
        let decimals = decimals.with_precision_and_scale(38, 2).unwrap();
        assert_eq!(shown(&decimals), ["1234567890123456789012345678.90"]);
        let large = arrow_array::UInt64Array::from(vec![7, u64::MAX]);
        assert_eq!(shown(&large), ["7", "18446744073709551615"]);
        assert_eq!(interval(14, -2, 1_500_000_000), Cell::Text("P14M-2DT1.5S".into()));
        assert_eq!(interval(0, 0, 10_000_000_000), Cell::Text("P0M0DT10S".into()));
    }
}
