//! The sizes of blocks: how many bytes a row of a stage keeps in memory, before it is asked.
//!
//! The prompts of later rounds are not known yet. Each may contain the conversation so far and one turn more.

use arrow_array::RecordBatch;

use super::parts::BLOCK_BYTES;
use crate::spec::StageSpec;
use crate::table::Row;

/// What an answered question keeps besides its new messages: the record, the expected answer and its schema.
const CALL_BYTES: usize = 6 << 10;
/// The rows of a batch whose prompts are measured.
const MEASURED: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowBytes {
    /// The prompts of the row in the calls table: each with the whole conversation before it.
    pub(super) table: usize,
    /// What is kept until the block is written: each message once.
    pub(super) kept: usize,
}

impl RowBytes {
    /// `first` is the bytes of the prompts of the first round, `prompts` their number, `most` the most prompts in all,
    /// and `answers` the number of answers about a row to each of them.
    fn new(first: usize, prompts: usize, most: usize, answers: usize) -> RowBytes {
        let rounds = most.div_ceil(prompts.max(1)).max(1);
        let table = answers.saturating_mul(first).saturating_mul(rounds * (rounds + 1) / 2);
        RowBytes { table, kept: first + answers * (first * (rounds - 1) + most * CALL_BYTES) }
    }

    /// The sizes of the largest of some rows of the batch.
    pub(super) fn of(stage: &StageSpec, batch: &RecordBatch) -> RowBytes {
        let step = batch.num_rows().div_ceil(MEASURED).max(1);
        let size = |row: usize| {
            let row = Row::new(batch, row, 0);
            let prompts = stage.stage.ask.prompts(row, &[]).unwrap_or_default();
            let first = prompts.iter().flat_map(|prompt| &prompt.messages).map(|message| message.content.len()).sum();
            RowBytes::new(first, prompts.len(), stage.stage.most_prompts(row) as usize, stage.width())
        };
        (0..batch.num_rows()).step_by(step).map(size).max_by_key(|size| size.table).unwrap_or_default()
    }
}

/// Cuts a batch into pieces whose prompts have at most about [`BLOCK_BYTES`]. Packs are not cut.
pub(super) fn pieces(batch: &RecordBatch, size: RowBytes, pack: usize) -> Vec<RecordBatch> {
    let rows = (BLOCK_BYTES / size.table.max(1)).clamp(1, batch.num_rows()).next_multiple_of(pack);
    (0..batch.num_rows()).step_by(rows).map(|at| batch.slice(at, rows.min(batch.num_rows() - at))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn conversations_count_with_their_earlier_turns() {
        let one = RowBytes::new(500, 1, 1, 1);
        assert_eq!((one.table, one.kept), (500, 500 + CALL_BYTES));
        // 200 questions in one round, one by one, and one by one of five models.
        assert_eq!(RowBytes::new(80_000, 200, 200, 1).table, 80_000);
        let memory = RowBytes::new(400, 1, 200, 1);
        assert_eq!(memory.table, 400 * 200 * 201 / 2);
        assert!(memory.kept < 400 * 200 + 200 * CALL_BYTES + 400);
        assert_eq!(RowBytes::new(400, 1, 200, 5).table, 5 * memory.table);
        assert_eq!(RowBytes::new(0, 0, 0, 1), RowBytes { table: 0, kept: 0 });
    }

    #[test]
    fn pieces_are_bounded_and_keep_packs() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let rows = |table, pack| -> Vec<usize> {
            let pieces = pieces(&batch, RowBytes { table, kept: 0 }, pack);
            assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
            pieces.iter().map(RecordBatch::num_rows).take(2).collect()
        };
        assert_eq!(rows(0, 1), [1000]);
        assert_eq!(rows(BLOCK_BYTES / 300, 1), [300, 300]);
        assert_eq!(rows(usize::MAX, 1), [1, 1]);
        assert_eq!(rows(usize::MAX, 8), [8, 8]);
    }
}
