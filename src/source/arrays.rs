//! Arrow arrays: converts the types of Parquet to those of our tables (text, integers, numbers, booleans, lists of
//! them).
//!
//! Dates, times, timestamps and decimals stay as they are. To accept a type, add a line to [`plain_type`] and one to
//! [`plain`].

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ListArray, StringArray, new_null_array};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use arrow_select::take::{TakeOptions, take};

/// The type of our tables for a column of type `of`; `None` if no type fits.
pub(crate) fn plain_type(of: &DataType) -> Option<DataType> {
    match of {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = scalar_type(item.data_type())?;
            let simple = matches!(item, DataType::Utf8 | DataType::Int64 | DataType::Float64 | DataType::Boolean);
            simple.then(|| DataType::List(Arc::new(Field::new("item", item, true))))
        }
        _ => scalar_type(of),
    }
}

fn scalar_type(of: &DataType) -> Option<DataType> {
    use DataType as D;
    match of {
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Null => Some(D::Utf8),
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => Some(D::Int64),
        D::Float16 | D::Float32 | D::Float64 => Some(D::Float64),
        D::Boolean => Some(D::Boolean),
        D::Dictionary(_, values) => scalar_type(values),
        D::Date32 | D::Date64 | D::Time32(_) | D::Time64(_) | D::Timestamp(..) | D::Duration(_) => Some(of.clone()),
        D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..) => Some(of.clone()),
        _ => None,
    }
}

/// Converts an array to its [`plain_type`]; the error names what does not fit.
pub(crate) fn plain(array: &ArrayRef) -> Result<ArrayRef, String> {
    use DataType as D;
    macro_rules! numbers {
        ($from:ty => $to:ty) => {
            Arc::new(array.as_primitive::<$from>().unary::<_, $to>(<$to as ArrowPrimitiveType>::Native::from))
        };
    }
    Ok(match array.data_type() {
        D::Null => new_null_array(&D::Utf8, array.len()),
        D::LargeUtf8 => text(array.as_string::<i64>().iter())?,
        D::Utf8View => text(array.as_string_view().iter())?,
        D::Int8 => numbers!(Int8Type => Int64Type),
        D::Int16 => numbers!(Int16Type => Int64Type),
        D::Int32 => numbers!(Int32Type => Int64Type),
        D::UInt8 => numbers!(UInt8Type => Int64Type),
        D::UInt16 => numbers!(UInt16Type => Int64Type),
        D::UInt32 => numbers!(UInt32Type => Int64Type),
        D::UInt64 => {
            let signed = |n: u64| i64::try_from(n).map_err(|_| format!("{n} is above the largest integer of 64 bits"));
            Arc::new(array.as_primitive::<UInt64Type>().try_unary::<_, Int64Type, _>(signed)?)
        }
        D::Float16 => numbers!(Float16Type => Float64Type),
        D::Float32 => numbers!(Float32Type => Float64Type),
        D::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = plain(dictionary.values())?;
            take(values.as_ref(), dictionary.keys(), Some(TakeOptions { check_bounds: true }))
                .map_err(|e| e.to_string())?
        }
        D::List(_) => {
            let lists = array.as_list::<i32>();
            list(lists.offsets().iter().map(|&n| i64::from(n)), lists.values(), lists)?
        }
        D::LargeList(_) => {
            let lists = array.as_list::<i64>();
            list(lists.offsets().iter().copied(), lists.values(), lists)?
        }
        D::FixedSizeList(_, size) => {
            let lists = array.as_fixed_size_list();
            list((0..=lists.len() as i64).map(|i| i * i64::from(*size)), lists.values(), lists)?
        }
        _ => Arc::clone(array),
    })
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
    let bytes: usize = cells.clone().flatten().map(str::len).sum();
    match i32::try_from(bytes) {
        Ok(_) => Ok(Arc::new(cells.collect::<StringArray>())),
        Err(_) => Err("its texts are too long".to_owned()),
    }
}
