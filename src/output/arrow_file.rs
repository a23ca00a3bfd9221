//! Arrow files (Feather, version 2), as pyarrow, Polars and R read them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;

use arrow_array::{RecordBatch, UInt64Array};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Metadata};
use arrow_select::coalesce::BatchCoalescer;
use arrow_select::take::take_record_batch;

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

/// Writes copies of the columns. A column without nulls may or may not have a bitmap of them; its copy has none.
fn write_step(writer: &mut FileWriter<BufWriter<&File>>, step: &RecordBatch) -> Result<(), ArrowError> {
    let rows = UInt64Array::from_iter_values(0..step.num_rows() as u64);
    writer.write(&take_record_batch(step, &rows)?)
}
