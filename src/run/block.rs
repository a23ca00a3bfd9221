//! Blocks: some rows of a part, with a slot for each answer and a counter of open tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::ask::{Exchange, Fate, SlotResult, fates};
use crate::plan::routing;
use crate::prompt::Failure;
use crate::spec::StageSpec;
use crate::table::{Cell, Row, cell_at};

#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockPlace {
    pub(crate) part: u64,
    /// The index of the block in the part, from 0.
    pub(crate) index: u64,
    /// The number of the first row in the stage's input, from 0.
    pub(crate) first_row: u64,
}

pub(crate) struct Block {
    pub(crate) place: BlockPlace,
    pub(crate) input: RecordBatch,
    pub(crate) fates: Vec<Fate>,
    slots: Mutex<Vec<Slot>>,
    /// The answers of rows that are also asked one by one, by slot.
    audits: Mutex<BTreeMap<usize, Slot>>,
    open: AtomicUsize,
    _memory: Arc<OwnedSemaphorePermit>,
}

#[derive(Default)]
pub(crate) struct Slot {
    /// The index in the stage's list of models.
    pub(crate) model: usize,
    pub(crate) asked: Vec<Exchange>,
    pub(crate) failure: Option<Failure>,
    filled: bool,
}

impl Slot {
    fn fill(&mut self, result: SlotResult) {
        (self.asked, self.failure, self.filled) = (result.asked, result.failure, true);
    }
}

impl Block {
    pub(crate) fn new(
        place: BlockPlace,
        input: RecordBatch,
        stage: &StageSpec,
        memory: Arc<OwnedSemaphorePermit>,
    ) -> Self {
        let fates = fates(stage, &input, place.first_row);
        let mut slots = Vec::with_capacity(input.num_rows() * stage.width());
        for row in 0..input.num_rows() {
            let models = routing::models_for(stage, Row::new(&input, row, place.first_row).number());
            let model = |slot: usize| models.start + slot % models.len();
            slots.extend((0..stage.width()).map(|slot| Slot { model: model(slot), ..Slot::default() }));
        }
        let (slots, open) = (Mutex::new(slots), AtomicUsize::new(0));
        Block { place, input, fates, slots, audits: Mutex::default(), open, _memory: memory }
    }

    /// Fills a slot. If this completes the row's `width` slots, returns whether the row failed.
    pub(crate) fn fill(&self, result: SlotResult, width: usize) -> Option<bool> {
        let mut slots = self.slots.lock();
        let (slot, first) = (result.slot, result.slot - result.slot % width);
        slots[slot].fill(result);
        let row = &slots[first..first + width];
        row.iter().all(|slot| slot.filled).then(|| row.iter().any(|slot| slot.failure.is_some()))
    }

    pub(crate) fn fill_audit(&self, result: SlotResult) {
        self.audits.lock().entry(result.slot).or_default().fill(result);
    }

    pub(crate) fn take(&self) -> (Vec<Slot>, BTreeMap<usize, Slot>) {
        (std::mem::take(&mut *self.slots.lock()), std::mem::take(&mut *self.audits.lock()))
    }

    pub(crate) fn set_open(&self, tasks: usize) {
        self.open.store(tasks, Ordering::Release);
    }

    /// Marks a task as finished. Returns whether it was the last one.
    pub(crate) fn close_one(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn is_done(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// The number of a row, from 1, and its key as text.
    pub(crate) fn row_name(&self, key: Option<usize>, row: usize) -> (i64, Option<String>) {
        let number = self.row(row).number() as i64 + 1;
        let key = key.map(|column| match cell_at(self.input.column(column).as_ref(), row) {
            Cell::Text(text) => text,
            Cell::Integer(number) => number.to_string(),
            Cell::Number(number) => number.to_string(),
            Cell::Boolean(value) => value.to_string(),
            Cell::Null | Cell::List(_) | Cell::Object(_) => String::new(),
        });
        (number, key)
    }

    pub(crate) fn row(&self, row: usize) -> Row<'_> {
        Row::new(&self.input, row, self.place.first_row)
    }
}
