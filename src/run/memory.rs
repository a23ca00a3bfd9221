//! Memory: limits how much of a stage's rows, prompts and answers is in memory.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::job::Job;
use super::parts::{BLOCK_BYTES, BLOCK_ROWS};
use crate::spec::Order;

/// The number of ordinary blocks in memory in addition to the rows in the lanes.
const LOOKAHEAD: usize = 16;
/// The same for a stage whose questions go in batches: a batch of short rows reaches the limits of the providers.
const LOOKAHEAD_OF_BATCHES: usize = 128;
/// A group of rows that is asked model by model ends at this many bytes.
const GROUP_BYTES: usize = 24 << 20;

/// Permits for blocks. The unit is a row of an ordinary block; a block costs units for its rows and its bytes. A stage
/// that runs model by model holds whole groups of blocks, so there the unit is a group, and two groups fit.
pub(crate) struct MemoryPermits<'a> {
    job: &'a Job,
    by_group: bool,
    units: Arc<Semaphore>,
    /// The first block shows how large rows are. Then each of these lanes adds units for a row or pack.
    lanes: Option<usize>,
    group: Option<Arc<OwnedSemaphorePermit>>,
    group_bytes: usize,
}

impl<'a> MemoryPermits<'a> {
    pub(crate) fn new(job: &'a Job) -> Self {
        let by_group = job.order() == Order::ModelMajor;
        let blocks = if job.has_batches() { LOOKAHEAD_OF_BATCHES } else { LOOKAHEAD };
        let units = Arc::new(Semaphore::new(if by_group { 2 } else { blocks * BLOCK_ROWS }));
        MemoryPermits { job, by_group, units, lanes: Some(job.lanes()), group: None, group_bytes: 0 }
    }

    /// Begins a group of blocks. Waits until one of the two groups before it has ended.
    pub(crate) fn begin_group(&mut self, handle: &Handle) {
        (self.group, self.group_bytes) = (None, 0);
        if self.by_group {
            self.group = self.wait(handle, 1);
        }
    }

    /// Whether the group ends before a block of `input`.
    pub(crate) fn ends_group(&self, input: &RecordBatch, row: usize) -> bool {
        self.by_group && self.group_bytes > 0 && self.group_bytes + bytes(input, row) > GROUP_BYTES
    }

    /// Waits for the memory of a block of `input`. Returns `None` if the run stops.
    pub(crate) fn take(
        &mut self,
        handle: &Handle,
        input: &RecordBatch,
        row: usize,
    ) -> Option<Arc<OwnedSemaphorePermit>> {
        let (rows, bytes) = (input.num_rows(), bytes(input, row));
        if self.by_group {
            self.group_bytes += bytes;
            return self.group.clone();
        }
        let units = rows.max(bytes * BLOCK_ROWS / BLOCK_BYTES).clamp(1, LOOKAHEAD * BLOCK_ROWS);
        if let Some(lanes) = self.lanes.take() {
            let pack = self.job.stage().rows_per_prompt as usize;
            self.units.add_permits(lanes * pack.min(rows) * units.div_ceil(rows));
        }
        self.wait(handle, units as u32)
    }

    fn wait(&self, handle: &Handle, units: u32) -> Option<Arc<OwnedSemaphorePermit>> {
        let permit = self.job.stop.unless_draining(self.units.clone().acquire_many_owned(units));
        handle.block_on(permit)?.ok().map(Arc::new)
    }
}

/// The bytes of a block: its rows, which may be a slice of a larger batch, and the `row` bytes that the calls of each
/// keep.
fn bytes(input: &RecordBatch, row: usize) -> usize {
    let rows: usize = input.columns().iter().filter_map(|column| column.to_data().get_slice_memory_size().ok()).sum();
    rows + row * input.num_rows()
}
