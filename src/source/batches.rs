//! Batches: the rows of every source as a stream of record batches, and the limits on batches, rows and cells.

use arrow_array::RecordBatch;

use super::error::SourceError;

pub(crate) const BATCH_ROWS: usize = 1024;
/// A batch ends early at about this many bytes of text, so that long texts do not fill the memory.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// The approximate bytes of a cell besides its text; they count towards [`BATCH_BYTES`] in wide tables.
pub(crate) const CELL_COST: usize = 8;
/// The most bytes in a cell: a longer one is a mistake (usually a quote that is never closed).
pub(crate) const CELL_BYTES: usize = 16 << 20;
pub(crate) const ROW_BYTES: usize = 64 << 20;
pub(crate) const MOST_COLUMNS: usize = 10_000;

pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, SourceError>> + Send>;

pub(crate) fn batches(mut next: impl FnMut() -> Result<Option<RecordBatch>, SourceError> + Send + 'static) -> Batches {
    let mut ended = false;
    Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let batch = next().transpose();
        ended = !matches!(batch, Some(Ok(_)));
        batch
    }))
}
