//! Arrow files (Feather, version 2), as pyarrow, Polars and R read them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, UInt64Array};
use arrow_buffer::ScalarBuffer;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Metadata};
use arrow_select::coalesce::BatchCoalescer;
use arrow_select::take::take;

use super::table::Output;
use crate::store::StoreError;

/// Rows per batch of the file. They do not depend on the batches that are read.
const STEP: usize = 8 * 1024;

pub(super) fn write(file: &File, output: &Output<'_>) -> Result<u64, StoreError> {
    let facts: Metadata = output.facts.iter().cloned().collect();
    let schema = Arc::new(output.output.schema.as_ref().clone().with_metadata(facts));
    let mut writer = FileWriter::try_new(BufWriter::new(file), &schema).map_err(|error| output.broken(error))?;
    let mut steps = BatchCoalescer::new(schema, STEP);
    let mut rows = 0;
    for batch in output.rows() {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        steps.push_batch(batch).map_err(|error| output.broken(error))?;
        while let Some(step) = steps.next_completed_batch() {
            write_step(&mut writer, &step).map_err(|error| output.broken(error))?;
        }
    }
    steps.finish_buffered_batch().map_err(|error| output.broken(error))?;
    while let Some(step) = steps.next_completed_batch() {
        write_step(&mut writer, &step).map_err(|error| output.broken(error))?;
    }
    let mut file = writer.into_inner().map_err(|error| output.broken(error))?;
    file.flush().map_err(|error| output.io(error))?;
    Ok(rows)
}

/// Writes copies of the columns, because the bytes of an array also depend on how it was read.
fn write_step(writer: &mut FileWriter<BufWriter<&File>>, step: &RecordBatch) -> Result<(), ArrowError> {
    let columns = step.columns().iter().map(copied).collect::<Result<Vec<_>, _>>()?;
    writer.write(&RecordBatch::try_new(step.schema(), columns)?)
}

/// A copy without a bitmap of nulls that it does not need, and with zeros in the places of nulls.
fn copied(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let nulls = column.nulls().filter(|_| !column.data_type().is_nested());
    // A null index past the end takes the default value.
    let index = |row: usize| if nulls.is_some_and(|nulls| nulls.is_null(row)) { u64::MAX } else { row as u64 };
    let rows: ScalarBuffer<u64> = (0..column.len()).map(index).collect();
    take(column, &UInt64Array::new(rows, nulls.cloned()), None)
}
