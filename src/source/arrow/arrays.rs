//! Arrow arrays: converts the types of data files to those of our tables.
//!
//! Small integers become 64-bit ones; every kind of text, list and bytes its plain form; dictionaries their values; and
//! what Parquet can't store (intervals, unions) the text that prompts print. Everything else stays as it is: structs,
//! maps, narrow floating point numbers, decimals, dates and moments with their zone.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, BinaryArray, ListArray, MapArray, StringArray, StructArray, UInt64Array, new_null_array,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields};
use arrow_select::take::{TakeOptions, take};

use crate::table::{Cell, cell_at, run_place};

/// The most levels of lists, structs and maps in a column.
pub(crate) const DEEPEST: usize = 64;

/// The type of our tables for a column of type `of`; `None` if it is nested too deeply.
pub(crate) fn plain_type(of: &DataType) -> Option<DataType> {
    plain_at(of, DEEPEST)
}

fn plain_at(of: &DataType, levels: usize) -> Option<DataType> {
    use DataType as D;
    let inner = |field: &Field| plain_at(field.data_type(), levels.checked_sub(1)?);
    let same = |field: &Field, nullable: bool| Some(Field::new(field.name(), inner(field)?, nullable));
    Some(match of {
        D::LargeUtf8 | D::Utf8View | D::Null | D::Interval(_) | D::Union(..) => D::Utf8,
        D::LargeBinary | D::BinaryView => D::Binary,
        D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 | D::UInt32 => D::Int64,
        D::Dictionary(_, values) => plain_at(values, levels.checked_sub(1)?)?,
        D::RunEndEncoded(_, values) => inner(values)?,
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) | D::ListView(item) | D::LargeListView(item) => {
            D::List(Arc::new(Field::new("item", inner(item)?, true)))
        }
        D::Struct(fields) => D::Struct(fields.iter().map(|field| same(field, true)).collect::<Option<Fields>>()?),
        D::Map(entries, sorted) => {
            let D::Struct(pair) = entries.data_type() else { return None };
            let [key, value] = pair.as_ref() else { return None };
            let pair = Fields::from(vec![same(key, false)?, same(value, true)?]);
            D::Map(Arc::new(Field::new(entries.name(), D::Struct(pair), false)), *sorted)
        }
        other => other.clone(),
    })
}

/// Converts an array to its [`plain_type`]; the error names what does not fit.
pub(crate) fn plain(array: &ArrayRef) -> Result<ArrayRef, String> {
    use DataType as D;
    macro_rules! numbers {
        ($from:ty) => {
            Arc::new(array.as_primitive::<$from>().unary::<_, Int64Type>(i64::from))
        };
    }
    Ok(match array.data_type() {
        D::Null => new_null_array(&D::Utf8, array.len()),
        D::LargeUtf8 => text(array.as_string::<i64>().iter())?,
        D::Utf8View => text(array.as_string_view().iter())?,
        D::LargeBinary => bytes(array.as_binary::<i64>().iter())?,
        D::BinaryView => bytes(array.as_binary_view().iter())?,
        D::Interval(_) | D::Union(..) => {
            let cells: Vec<_> = (0..array.len()).map(|i| cell_at(array.as_ref(), i)).collect();
            let texts: Vec<_> = cells.iter().map(|cell| (*cell != Cell::Null).then(|| cell.text())).collect();
            text(texts.iter().map(Option::as_deref))?
        }
        D::Int8 => numbers!(Int8Type),
        D::Int16 => numbers!(Int16Type),
        D::Int32 => numbers!(Int32Type),
        D::UInt8 => numbers!(UInt8Type),
        D::UInt16 => numbers!(UInt16Type),
        D::UInt32 => numbers!(UInt32Type),
        D::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            taken(&plain(dictionary.values())?, dictionary.keys())?
        }
        D::RunEndEncoded(..) => {
            let places = (0..array.len()).map(|i| run_place(array.as_ref(), i).map(|(_, place)| place as u64));
            match run_place(array.as_ref(), 0).filter(|_| !array.is_empty()) {
                Some((values, _)) => taken(&plain(values)?, &places.collect::<UInt64Array>())?,
                None => new_null_array(&plain_type(array.data_type()).ok_or("it is nested too deeply")?, 0),
            }
        }
        D::Struct(_) => structure(array.as_struct())?,
        D::Map(entries, sorted) => map(array.as_map(), entries, *sorted)?,
        kind if kind.is_nested() => items(array)?,
        _ => Arc::clone(array),
    })
}

fn taken(values: &ArrayRef, places: &dyn Array) -> Result<ArrayRef, String> {
    take(values.as_ref(), places, Some(TakeOptions { check_bounds: true })).map_err(|e| e.to_string())
}

fn structure(array: &StructArray) -> Result<ArrayRef, String> {
    let columns = array.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let fields = array.fields().iter().zip(&columns);
    let fields: Fields = fields.map(|(field, c)| Field::new(field.name(), c.data_type().clone(), true)).collect();
    let made = StructArray::try_new_with_length(fields, columns, array.nulls().cloned(), array.len());
    Ok(Arc::new(made.map_err(|e| e.to_string())?))
}

fn map(array: &MapArray, entries: &Field, sorted: bool) -> Result<ArrayRef, String> {
    let (keys, values) = (plain(array.keys())?, plain(array.values())?);
    let field = |place: usize, column: &ArrayRef| {
        let name = array.entries().fields()[place].name();
        Field::new(name, column.data_type().clone(), place == 1)
    };
    let fields = Fields::from(vec![field(0, &keys), field(1, &values)]);
    let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None).map_err(|e| e.to_string())?;
    let entries = Arc::new(Field::new(entries.name(), DataType::Struct(fields), false));
    let made = MapArray::try_new(entries, array.offsets().clone(), pairs, array.nulls().cloned(), sorted);
    Ok(Arc::new(made.map_err(|e| e.to_string())?))
}

fn items(array: &ArrayRef) -> Result<ArrayRef, String> {
    use DataType as D;
    match array.data_type() {
        D::List(_) => {
            let lists = array.as_list::<i32>();
            list(lists.offsets().iter().map(|&n| i64::from(n)), lists.values(), lists)
        }
        D::LargeList(_) => {
            let lists = array.as_list::<i64>();
            list(lists.offsets().iter().copied(), lists.values(), lists)
        }
        D::FixedSizeList(_, size) => {
            let lists = array.as_fixed_size_list();
            list((0..=lists.len() as i64).map(|i| i * i64::from(*size)), lists.values(), lists)
        }
        D::ListView(_) => {
            let lists = array.as_list_view::<i32>();
            let spans = lists.offsets().iter().zip(lists.sizes()).map(|(from, size)| (*from as u64, *size as u64));
            views(spans, lists.values(), lists)
        }
        D::LargeListView(_) => {
            let lists = array.as_list_view::<i64>();
            let spans = lists.offsets().iter().zip(lists.sizes()).map(|(from, size)| (*from as u64, *size as u64));
            views(spans, lists.values(), lists)
        }
        other => Err(format!("the type {other} can't be read")),
    }
}

/// Lists whose items lie anywhere in `values`, as lists whose items follow each other.
fn views(
    spans: impl Iterator<Item = (u64, u64)> + Clone,
    values: &ArrayRef,
    lists: &dyn Array,
) -> Result<ArrayRef, String> {
    let places: UInt64Array = spans.clone().flat_map(|(from, size)| from..from + size).map(Some).collect();
    let ends = spans.scan(0, |end, (_, size)| {
        *end += size as i64;
        Some(*end)
    });
    list(std::iter::once(0).chain(ends), &taken(values, &places)?, lists)
}

fn list(offsets: impl Iterator<Item = i64>, values: &ArrayRef, lists: &dyn Array) -> Result<ArrayRef, String> {
    let offsets: Vec<i32> = offsets
        .map(|n| i32::try_from(n).map_err(|_| "its lists are too long".to_owned()))
        .collect::<Result<_, String>>()?;
    let values = plain(values)?;
    let item = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let lists = ListArray::try_new(item, offsets, values, lists.nulls().cloned());
    Ok(Arc::new(lists.map_err(|e| e.to_string())?))
}

fn text<'a>(cells: impl Iterator<Item = Option<&'a str>> + Clone) -> Result<ArrayRef, String> {
    fits(cells.clone().flatten().map(str::len))?;
    Ok(Arc::new(cells.collect::<StringArray>()))
}

fn bytes<'a>(cells: impl Iterator<Item = Option<&'a [u8]>> + Clone) -> Result<ArrayRef, String> {
    fits(cells.clone().flatten().map(<[u8]>::len))?;
    Ok(Arc::new(cells.collect::<BinaryArray>()))
}

fn fits(lengths: impl Iterator<Item = usize>) -> Result<(), String> {
    i32::try_from(lengths.sum::<usize>()).map(drop).map_err(|_| "its texts are too long".to_owned())
}
