//! Parts: lets readers wait until the parts with their rows are committed.

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::CommittedPart;
use crate::table::parquet::Table;

pub(crate) const BLOCK_ROWS: usize = 1024;
/// The largest estimated size of a block of long rows, in bytes.
pub(crate) const BLOCK_BYTES: usize = 4 << 20;

/// The parts of a stage, or the single table of a source or a transform.
#[derive(Debug)]
pub(crate) struct Parts {
    parts: Mutex<Appeared>,
    changed: watch::Sender<u64>,
    /// The number of rows of every part but the last; 0 for a single table.
    size: u64,
}

#[derive(Debug, Default)]
struct Appeared {
    rows: Option<u64>,
    parts: Vec<Option<PartTables>>,
    /// Whether no further part appears.
    is_closed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct PartTables {
    /// An id of the content; different contents have different ids.
    pub(crate) id: String,
    pub(crate) table: Table,
}

#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) table: Table,
    /// The number of the first row, from 0.
    pub(crate) start: u64,
    pub(crate) rows: u64,
}

impl Parts {
    pub(crate) fn new(size: u64) -> Self {
        Parts { parts: Mutex::default(), changed: watch::Sender::new(0), size }
    }

    pub(crate) fn whole(part: PartTables) -> Self {
        let parts = Parts::new(0);
        parts.put(part);
        parts
    }

    pub(crate) fn expect(&self, rows: u64) {
        let mut appeared = self.parts.lock();
        appeared.rows = Some(rows);
        appeared.parts.resize(rows.div_ceil(self.size.max(1)) as usize, None);
        drop(appeared);
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn put(&self, part: PartTables) {
        *self.parts.lock() = Appeared { rows: Some(part.table.rows()), parts: vec![Some(part)], is_closed: true };
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn commit(&self, number: u64, part: CommittedPart) {
        self.parts.lock().parts[number as usize] = Some(PartTables { id: part.facts.id, table: part.table });
        self.changed.send_modify(|n| *n += 1);
    }

    /// The numbers of the parts with these rows that have not appeared.
    pub(crate) fn missing(&self, start: u64, rows: u64) -> Vec<u64> {
        let parts = &self.parts.lock().parts;
        let (first, last) = self.numbers(start, rows);
        (first..=last).filter(|number| parts.get(*number as usize).is_none_or(Option::is_none)).collect()
    }

    /// The numbers of the first and the last part with these rows.
    fn numbers(&self, start: u64, rows: u64) -> (u64, u64) {
        match self.size {
            0 => (0, 0),
            size => (start / size, (start + rows - 1) / size),
        }
    }

    /// All parts in order; `None` if one is missing.
    pub(crate) fn tables(&self) -> Option<Vec<PartTables>> {
        let appeared = self.parts.lock();
        appeared.rows?;
        appeared.parts.iter().cloned().collect()
    }

    /// Ends the waits for parts that have not appeared.
    pub(crate) fn close(&self) {
        self.parts.lock().is_closed = true;
        self.changed.send_modify(|n| *n += 1);
    }

    /// Waits for all parts. Returns `None` if some never appear.
    pub(crate) async fn all(&self) -> Option<Vec<PartTables>> {
        self.wait(|| self.tables()).await
    }

    /// Waits for the number of rows. Returns `None` if it never becomes known.
    pub(crate) async fn total(&self) -> Option<u64> {
        self.wait(|| self.parts.lock().rows).await
    }

    async fn wait<T>(&self, look: impl Fn() -> Option<T>) -> Option<T> {
        let mut changed = self.changed.subscribe();
        loop {
            let is_closed = self.parts.lock().is_closed;
            if let Some(found) = look() {
                return Some(found);
            }
            if is_closed {
                return None;
            }
            changed.changed().await.ok()?;
        }
    }

    /// Waits for `rows` rows from `start` on. Returns the ids of their parts, and the slices; `None` if some never appear.
    pub(crate) async fn rows(&self, start: u64, rows: u64) -> Option<(Vec<String>, Vec<Slice>)> {
        self.wait(|| self.rows_now(start, rows)).await
    }

    fn rows_now(&self, start: u64, rows: u64) -> Option<(Vec<String>, Vec<Slice>)> {
        let size = self.size;
        let parts = &self.parts.lock().parts;
        let (first, last) = self.numbers(start, rows);
        let mut ids = Vec::new();
        let mut slices = Vec::new();
        for number in first..=last {
            let part = parts.get(number as usize)?.as_ref()?;
            let begins = number * size;
            let from = start.max(begins) - begins;
            let until = (start + rows - begins).min(part.table.rows());
            ids.push(part.id.clone());
            slices.push(Slice { table: part.table.clone(), start: from, rows: until - from });
        }
        Some((ids, slices))
    }
}

/// The number of rows in a block of `table`; smaller if rows are long.
pub(crate) fn batch_rows(table: &Table) -> usize {
    (BLOCK_BYTES / table.bytes_per_row().max(1) as usize).clamp(1, BLOCK_ROWS)
}
