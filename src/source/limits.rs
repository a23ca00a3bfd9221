//! Limits on batches, rows and cells of every source.

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
