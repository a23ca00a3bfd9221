//! Parts as they appear: who waits for rows of a table waits here until the parts that hold them are committed.

use std::sync::Mutex;

use tokio::sync::watch;

use crate::store::CommittedPart;
use crate::table::parquet::Table;

/// Rows at most in a block.
pub const BLOCK_ROWS: usize = 1024;
/// Bytes, about, at most in a block of long rows.
pub const BLOCK_BYTES: usize = 4 << 20;

/// The parts of a stage, or the one table of a source.
#[derive(Debug)]
pub struct Parts {
    parts: Mutex<Vec<Option<PartTables>>>,
    changed: watch::Sender<u64>,
    /// Rows of every part but the last; 0 for a source.
    size: u64,
}

/// A table that is there, with its mark.
#[derive(Clone, Debug)]
pub struct PartTables {
    /// The mark of its content.
    pub id: String,
    /// Its rows.
    pub table: Table,
}

/// A range of rows of one table.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The table.
    pub table: Table,
    /// The first row in it.
    pub start: u64,
    /// How many.
    pub rows: u64,
}

impl Parts {
    /// `count` parts that will appear, each but the last with `size` rows.
    pub fn new(count: usize, size: u64) -> Self {
        Parts { parts: Mutex::new(vec![None; count]), changed: watch::Sender::new(0), size }
    }

    /// The whole table of a source, which is there.
    pub fn whole(table: Table, id: String) -> Self {
        let parts = Parts::new(1, 0);
        parts.lock()[0] = Some(PartTables { id, table });
        parts
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<PartTables>>> {
        self.parts.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Part `number` is there.
    pub fn commit(&self, number: u64, part: CommittedPart) {
        self.lock()[number as usize] = Some(PartTables { id: part.facts.id, table: part.table });
        self.changed.send_modify(|n| *n += 1);
    }

    /// All the parts, in order; none if one is not there.
    pub fn tables(&self) -> Option<Vec<PartTables>> {
        self.lock().iter().cloned().collect()
    }

    /// Waits until the rows from `start` on are there; gives the marks of the parts that hold them, and the slices.
    pub async fn rows(&self, start: u64, rows: u64) -> (Vec<String>, Vec<Slice>) {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = self.rows_now(start, rows) {
                return found;
            }
            if changed.changed().await.is_err() {
                return (Vec::new(), Vec::new());
            }
        }
    }

    fn rows_now(&self, start: u64, rows: u64) -> Option<(Vec<String>, Vec<Slice>)> {
        let size = self.size;
        let parts = self.lock();
        let (first, last) = match size {
            0 => (0, 0),
            size => (start / size, (start + rows - 1) / size),
        };
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

/// Rows of a block of `table`: few where rows are long.
pub fn batch_rows(table: &Table) -> usize {
    (BLOCK_BYTES / table.bytes_per_row().max(1) as usize).clamp(1, BLOCK_ROWS)
}
