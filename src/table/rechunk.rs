//! Re-chunking: cuts batches so that each has a multiple of a number of rows.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;

/// Cuts batches so that each but the last has a multiple of `size` rows.
pub(crate) struct Cutter {
    size: usize,
    rest: Option<RecordBatch>,
}

impl Cutter {
    /// `size` is at least 1.
    pub(crate) fn new(size: usize) -> Self {
        Cutter { size, rest: None }
    }

    /// Adds a batch; returns the rows that make a multiple of the size, if there are any.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
        let batch = match self.rest.take() {
            Some(rest) => concat_batches(&rest.schema(), [&rest, &batch])?,
            None => batch,
        };
        let whole = batch.num_rows() / self.size * self.size;
        if whole < batch.num_rows() {
            self.rest = Some(batch.slice(whole, batch.num_rows() - whole));
        }
        Ok((whole > 0).then(|| batch.slice(0, whole)))
    }

    pub(crate) fn finish(&mut self) -> Option<RecordBatch> {
        self.rest.take()
    }
}
