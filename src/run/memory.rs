//! Memory: limits how many blocks a stage holds.

use std::sync::Arc;

use arrow_array::RecordBatch;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::job::Job;
use super::parts::{BLOCK_BYTES, BLOCK_ROWS};
use crate::spec::Order;

/// The number of ordinary blocks in memory in addition to the rows in the lanes.
const LOOKAHEAD: usize = 16;

/// Permits for blocks. The unit is a row of an ordinary block; a block costs units for its rows and its bytes. A stage
/// that runs model by model holds whole parts, so there the unit is a part, and two parts fit.
pub(crate) struct MemoryPermits<'a> {
    job: &'a Job,
    by_part: bool,
    units: Arc<Semaphore>,
    /// The first block shows how large rows are. Then each of these lanes adds units for two rows or packs.
    lanes: Option<usize>,
    part: Option<Arc<OwnedSemaphorePermit>>,
}

impl<'a> MemoryPermits<'a> {
    pub(crate) fn new(job: &'a Job) -> Self {
        let by_part = job.order() == Order::ModelMajor;
        let units = Arc::new(Semaphore::new(if by_part { 2 } else { LOOKAHEAD * BLOCK_ROWS }));
        MemoryPermits { job, by_part, units, lanes: Some(job.lanes()), part: None }
    }

    pub(crate) fn begin_part(&mut self, handle: &Handle) {
        self.part = None;
        if self.by_part {
            self.part = self.wait(handle, 1);
        }
    }

    /// Waits for the memory of a block of `input`. Returns `None` if the run stops.
    pub(crate) fn take(&mut self, handle: &Handle, input: &RecordBatch) -> Option<Arc<OwnedSemaphorePermit>> {
        if self.by_part {
            return self.part.clone();
        }
        let rows = input.num_rows();
        let bytes = input.get_array_memory_size();
        let units = rows.max(bytes * BLOCK_ROWS / BLOCK_BYTES).clamp(1, LOOKAHEAD * BLOCK_ROWS);
        if let Some(lanes) = self.lanes.take() {
            let pack = self.job.stage().rows_per_prompt as usize;
            self.units.add_permits(2 * lanes * pack.min(rows) * units.div_ceil(rows));
        }
        self.wait(handle, units as u32)
    }

    fn wait(&self, handle: &Handle, units: u32) -> Option<Arc<OwnedSemaphorePermit>> {
        let permit = self.job.stop.unless_draining(self.units.clone().acquire_many_owned(units));
        handle.block_on(permit)?.ok().map(Arc::new)
    }
}
