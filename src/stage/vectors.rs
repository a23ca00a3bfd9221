//! Vectors in columns: lists of numbers, as files and `embed` stages have them.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field};

use super::transform::DataError;
use crate::search::{VectorFault, Vectors};
use crate::table::Shape;

/// Whether a column can hold vectors: it has lists of numbers, or JSON text of them.
pub(super) fn is_vector(field: &Field) -> bool {
    matches!(Shape::of(field), Shape::List(item) if matches!(*item, Shape::Number | Shape::Integer))
}

/// The vector in row `row` of a column for which [`is_vector`] holds. `None` if the cell is null or empty. A null among
/// the numbers becomes NaN.
pub(super) fn vector_at(column: &dyn Array, row: usize) -> Option<Vec<f32>> {
    if column.is_null(row) {
        return None;
    }
    let nan = f32::NAN;
    if let Some(texts) = column.as_string_opt::<i32>() {
        let numbers: Vec<Option<f32>> = serde_json::from_str(texts.value(row)).ok()?;
        return (!numbers.is_empty()).then(|| numbers.into_iter().map(|n| n.unwrap_or(nan)).collect());
    }
    let items = column.as_list_opt::<i32>()?.value(row);
    let numbers: Vec<f32> = match items.data_type() {
        DataType::Float32 => items.as_primitive::<Float32Type>().iter().map(|n| n.unwrap_or(nan)).collect(),
        DataType::Float64 => items.as_primitive::<Float64Type>().iter().map(|n| n.map_or(nan, |n| n as f32)).collect(),
        DataType::Int64 => items.as_primitive::<Int64Type>().iter().map(|n| n.map_or(nan, |n| n as f32)).collect(),
        _ => return None,
    };
    (!numbers.is_empty()).then_some(numbers)
}

/// A column with vectors, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct VectorSource<'a> {
    pub(super) column: usize,
    /// The field of the stage that names the column.
    pub(super) field: &'static str,
    /// The field that names the table.
    pub(super) table: &'a str,
}

impl VectorSource<'_> {
    /// Adds the vector of a row to `vectors`. Returns whether the row has one. A vector of zeros is like none.
    pub(super) fn push(
        &self,
        vectors: &mut Vectors,
        batch: &RecordBatch,
        (row, number): (usize, u64),
    ) -> Result<bool, DataError> {
        let Some(vector) = vector_at(batch.column(self.column).as_ref(), row) else { return Ok(false) };
        let name = batch.schema_ref().field(self.column).name().clone();
        let place = format!("row {} of `{}`", number + 1, self.table);
        match vectors.push(&vector) {
            Ok(()) => Ok(true),
            Err(VectorFault::Zero) => Ok(false),
            Err(VectorFault::Length { found, expected }) => Err(DataError::at(
                self.field,
                format!("`{name}` has a vector of {found} numbers in {place}, but of {expected} before it"),
            )
            .help("compare vectors of the same model with the same `dimensions`")),
            Err(VectorFault::NotFinite) => {
                let message = format!("the vector `{name}` in {place} contains a value that is not a finite number");
                Err(DataError::at(self.field, message))
            }
        }
    }
}
