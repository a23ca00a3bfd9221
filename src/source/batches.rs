//! Batches: the rows of every source as a stream of record batches, and the limits on batches, rows and cells.

use arrow_array::RecordBatch;

use super::error::SourceError;

/// Rows at most in one batch.
pub const BATCH_ROWS: usize = 1024;
/// Bytes of text, about, at which a batch ends early, so that long texts don't fill the memory.
pub const BATCH_BYTES: usize = 4 << 20;

/// Bytes, about, that a cell takes besides its text; they count for [`BATCH_BYTES`] where tables are wide.
pub const CELL_COST: usize = 8;
/// Bytes at most in one cell: a longer one is a mistake (mostly a quote that is never closed).
pub const CELL_BYTES: usize = 16 << 20;
/// Bytes at most in one row of text.
pub const ROW_BYTES: usize = 64 << 20;
/// Columns at most in one table.
pub const MOST_COLUMNS: usize = 10_000;

/// The batches of a source, in order; ends after the first error.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, SourceError>> + Send>;

/// The batches that `next` returns, up to its first `None` or error.
pub fn batches(mut next: impl FnMut() -> Result<Option<RecordBatch>, SourceError> + Send + 'static) -> Batches {
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
