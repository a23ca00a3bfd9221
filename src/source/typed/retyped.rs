//! Typed files, such as Parquet, with the types and nulls that the spec declares.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::nullif::nullif;

use super::{Raw, array, fit, refused};
use crate::source::batches::{Batches, SourceError};
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::{Changes, Reading};
use crate::source::settings::{File, means_null, rules_of_nulls};
use crate::table::{Cell, cell_at};

pub(crate) struct Retyped<R>(pub(crate) R);

impl<R: Reader> Reader for Retyped<R> {
    fn file_schema(&self, file: &DataFile, options: &File) -> Result<SchemaRef, SourceError> {
        let schema = self.0.file_schema(file, options)?;
        let fields = schema.fields().iter().enumerate();
        let fields = fields.map(|(index, field)| match options.type_of(index, field.name()) {
            Some(ty) => Arc::new(field.as_ref().clone().with_data_type(ty.data_type())),
            None => Arc::clone(field),
        });
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    fn reading(&self, file: &DataFile, options: &File) -> Result<Reading, SourceError> {
        let mut reading = self.0.reading(file, options)?;
        reading.rules.extend(rules_of_nulls(&options.null_values));
        Ok(reading)
    }

    fn read(
        &self,
        file: &DataFile,
        options: &File,
        schema: &SchemaRef,
        changes: &Changes,
    ) -> Result<Batches, SourceError> {
        let batches = self.0.read(file, options, schema, changes)?;
        if options.types.is_empty() && options.null_values.is_empty() {
            return Ok(batches);
        }
        let (schema, shown, nulls) = (schema.clone(), file.shown.clone(), options.null_values.clone());
        let changes = changes.clone();
        let mut rows = 0;
        Ok(Box::new(batches.map(move |batch| {
            let batch = batch?;
            let columns = schema.fields().iter().zip(batch.columns()).enumerate();
            let arrays = columns.map(|(index, (field, column))| {
                let tolerate = |error| changes.unreadable(index, 1, error);
                converted(field, column, &nulls, (&shown, rows), &tolerate)
            });
            let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
            rows += batch.num_rows() as u64;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options);
            batch.map_err(|error| SourceError::of_file(&shown, error))
        })))
    }
}

/// The column in the type of `field`. The column begins with row `first` (from 0) of its file. A cell that does not fit
/// is null if `tolerate` does not return its error.
fn converted(
    field: &Field,
    column: &ArrayRef,
    nulls: &[String],
    (shown, first): (&str, u64),
    tolerate: &dyn Fn(SourceError) -> Result<(), SourceError>,
) -> Result<ArrayRef, SourceError> {
    let means_null = |cell: &Cell| !nulls.is_empty() && means_null(nulls, &cell.text(), number(cell));
    if field.data_type() == column.data_type() {
        if nulls.is_empty() {
            return Ok(Arc::clone(column));
        }
        let nulled: BooleanArray = (0..column.len()).map(|i| Some(means_null(&cell_at(column.as_ref(), i)))).collect();
        return nullif(column.as_ref(), &nulled).map_err(|error| SourceError::of_file(shown, error));
    }
    let cells = (0..column.len()).map(|index| {
        let cell = cell_at(column.as_ref(), index);
        let raw = if means_null(&cell) { Raw::Null } else { raw(cell) };
        match fit(raw.clone(), field.data_type()) {
            Some(cell) => Ok(cell),
            None => {
                let place = format!("row {}", first + index as u64 + 1);
                tolerate(refused(shown, &place, field, &raw)).map(|()| Raw::Null)
            }
        }
    });
    Ok(array(field.data_type(), &cells.collect::<Result<Vec<_>, _>>()?))
}

fn number(cell: &Cell) -> Option<f64> {
    if let Cell::Number(number) = cell { Some(*number) } else { None }
}

fn raw(cell: Cell) -> Raw {
    match cell {
        Cell::Null => Raw::Null,
        Cell::Boolean(truth) => Raw::Boolean(truth),
        Cell::Integer(number) => Raw::Integer(number),
        Cell::Number(number) => Raw::Number(number),
        other => Raw::Text(other.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{File, Source};
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Float64Array, Int64Array, StringArray};
    use arrow_schema::DataType;
    use parquet::arrow::ArrowWriter;

    fn read(json: &str) -> Result<RecordBatch, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("a.parquet")).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![1, -9]))),
            ("x", Arc::new(Float64Array::from(vec![2.0, 0.5]))),
            ("t", Arc::new(StringArray::from(vec!["7", "NA"]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let source: File = serde_json::from_str(json).unwrap();
        let schema = source.schema(folder.path()).map_err(|error| error.message)?;
        let mut batches = source.read(folder.path()).map_err(|error| error.message)?;
        let batch = batches.next().unwrap().map_err(|error| error.message)?;
        assert_eq!(batch.schema(), schema);
        Ok(batch)
    }

    #[test]
    fn types_and_nulls_of_the_spec_apply_to_parquet() {
        let batch =
            read(r#"{"path": "a.parquet", "null_values": ["-9", "NA"], "types": {"id": "string", "t": "integer"}}"#);
        let batch = batch.unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("1"), None]);
        assert_eq!(batch.column(1).data_type(), &DataType::Float64);
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(7), None]);
    }

    #[test]
    fn a_number_is_null_if_a_text_is_that_number() {
        let batch = read(r#"{"path": "a.parquet", "null_values": ["2", "7.0"]}"#).unwrap();
        assert_eq!((batch.column(1).is_null(0), batch.column(1).is_null(1)), (true, false));
        assert_eq!(batch.column(2).null_count(), 0, "a text is not a number");
    }

    #[test]
    fn a_cell_that_does_not_fit_is_named() {
        let error = |types: &str| read(&format!(r#"{{"path": "a.parquet", "types": {{{types}}}}}"#)).unwrap_err();
        assert_eq!(error(r#""x": "integer""#), "a.parquet: row 2: column `x` is \"0.5\", not a whole number");
        assert_eq!(error(r#""t": "number""#), "a.parquet: row 2: column `t` is \"NA\", not a number");
        assert_eq!(error(r#""y": "number""#), "a.parquet: has no column `y`");
    }
}
