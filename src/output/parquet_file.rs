//! Parquet files. The format has no times in seconds and no days in milliseconds, so that readers other than Arrow's take
//! such columns for plain integers. They are written as moments and times in milliseconds.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date64Type, Time32MillisecondType, Time32SecondType, TimestampMillisecondType, TimestampSecondType,
};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef, TimeUnit};

use super::table::Output;
use crate::store::StoreError;
use crate::table::parquet::{Options, TableWriter};

pub(super) fn write(output: &Output<'_>) -> Result<u64, StoreError> {
    let options = Options { facts: output.facts.clone(), ..Options::default() };
    let schema = stored(&output.output.schema);
    let mut writer = TableWriter::create(&output.output.file, schema.clone(), &options)?;
    for batch in output.rows() {
        writer.write(in_milliseconds(&batch?, &schema).map_err(|error| output.broken(error))?)?;
    }
    let rows = writer.rows();
    writer.commit()?;
    Ok(rows)
}

/// The schema of the file.
fn stored(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &arrow_schema::Field| {
        let kind = match field.data_type() {
            DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
            DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
            DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
            other => other.clone(),
        };
        field.clone().with_data_type(kind)
    };
    let fields: Vec<_> = schema.fields().iter().map(|each| field(each)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn in_milliseconds(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let too_late = || ArrowError::ComputeError("a moment is too far away for milliseconds".to_owned());
    let column = |column: &ArrayRef| -> Result<ArrayRef, ArrowError> {
        Ok(match column.data_type() {
            DataType::Timestamp(TimeUnit::Second, zone) => {
                let seconds = column.as_primitive::<TimestampSecondType>();
                let all: PrimitiveArray<TimestampMillisecondType> =
                    seconds.try_unary(|seconds| seconds.checked_mul(1000).ok_or_else(too_late))?;
                Arc::new(all.with_timezone_opt(zone.clone()))
            }
            DataType::Date64 => {
                Arc::new(column.as_primitive::<Date64Type>().reinterpret_cast::<TimestampMillisecondType>())
            }
            DataType::Time32(TimeUnit::Second) => {
                let all: PrimitiveArray<Time32MillisecondType> = column
                    .as_primitive::<Time32SecondType>()
                    .try_unary(|seconds| seconds.checked_mul(1000).ok_or_else(too_late))?;
                Arc::new(all)
            }
            _ => column.clone(),
        })
    };
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &rows)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Date64Array, Int64Array, Time32SecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn seconds_and_days_become_milliseconds() {
        let moment: ArrayRef =
            Arc::new(TimestampSecondArray::from(vec![Some(-1), None]).with_timezone("Europe/Berlin"));
        let time: ArrayRef = Arc::new(Time32SecondArray::from(vec![Some(3723), None]));
        let day: ArrayRef = Arc::new(Date64Array::from(vec![Some(86_400_000), None]));
        let other: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let batch =
            RecordBatch::try_from_iter([("moment", moment), ("time", time), ("day", day), ("other", other)]).unwrap();
        let made = in_milliseconds(&batch, &stored(&batch.schema())).unwrap();
        let types: Vec<String> = made.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(types, ["Timestamp(ms, \"Europe/Berlin\")", "Time32(ms)", "Timestamp(ms)", "Int64"]);
        assert_eq!(made.column(0).as_primitive::<TimestampMillisecondType>().value(0), -1000);
        assert_eq!(made.column(1).as_primitive::<Time32MillisecondType>().value(0), 3_723_000);
        assert_eq!(made.column(2).as_primitive::<TimestampMillisecondType>().value(0), 86_400_000);
        assert!((0..4).all(|column| made.column(column).is_null(1)));
        let late: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
        let batch = RecordBatch::try_from_iter([("late", late)]).unwrap();
        assert!(in_milliseconds(&batch, &stored(&batch.schema())).is_err());
    }
}
