//! The sizes of blocks: how many bytes a row of a stage keeps in memory until its block is written.
//!
//! It is known before the row is asked. The prompts of later rounds are not: each may have as much to say as those of
//! the first. The messages of earlier rounds are kept once.

use arrow_array::RecordBatch;

use super::parts::BLOCK_BYTES;
use crate::spec::StageSpec;
use crate::table::Row;

/// What an answered question keeps besides its new messages: the record and the expected answer.
const CALL_BYTES: usize = 2 << 10;
/// The rows of a batch whose prompts are measured.
const MEASURED: usize = 4;

/// The bytes that the largest of some rows of the batch keeps.
pub(super) fn row_bytes(stage: &StageSpec, batch: &RecordBatch) -> usize {
    let step = batch.num_rows().div_ceil(MEASURED).max(1);
    let size = |row: usize| {
        let row = Row::new(batch, row, 0);
        let prompts = stage.stage.ask.prompts(row, &[]).unwrap_or_default();
        let first = prompts.iter().flat_map(|prompt| &prompt.messages).map(|message| message.content.len()).sum();
        kept(first, prompts.len(), stage.stage.most_prompts(row) as usize, stage.width())
    };
    (0..batch.num_rows()).step_by(step).map(size).max().unwrap_or_default()
}

/// `first` is the bytes of the prompts of the first round, `prompts` their number, `most` the most prompts in all, and
/// `answers` the number of answers about a row to each of them.
fn kept(first: usize, prompts: usize, most: usize, answers: usize) -> usize {
    let rounds = most.div_ceil(prompts.max(1)).max(1);
    first + answers * (first * (rounds - 1) + most * CALL_BYTES)
}

/// Cuts a batch into pieces whose rows keep at most about [`BLOCK_BYTES`]. Packs are not cut.
pub(super) fn pieces(batch: &RecordBatch, row: usize, pack: usize) -> Vec<RecordBatch> {
    let rows = (BLOCK_BYTES / row.max(1)).clamp(1, batch.num_rows()).next_multiple_of(pack);
    (0..batch.num_rows()).step_by(rows).map(|at| batch.slice(at, rows.min(batch.num_rows() - at))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn messages_of_earlier_rounds_count_once() {
        assert_eq!(kept(500, 1, 1, 1), 500 + CALL_BYTES);
        // 200 questions in one round, and one by one.
        assert_eq!(kept(80_000, 200, 200, 1), 80_000 + 200 * CALL_BYTES);
        assert_eq!(kept(400, 1, 200, 1), 80_000 + 200 * CALL_BYTES);
        assert_eq!(kept(400, 1, 200, 5), 400 + 5 * (400 * 199 + 200 * CALL_BYTES));
        assert_eq!(kept(0, 0, 0, 1), 0);
    }

    #[test]
    fn pieces_are_bounded_and_keep_packs() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let rows = |row, pack| -> Vec<usize> {
            let pieces = pieces(&batch, row, pack);
            assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
            pieces.iter().map(RecordBatch::num_rows).take(2).collect()
        };
        assert_eq!(rows(0, 1), [1000]);
        assert_eq!(rows(BLOCK_BYTES / 300, 1), [300, 300]);
        assert_eq!(rows(usize::MAX, 1), [1, 1]);
        assert_eq!(rows(usize::MAX, 8), [8, 8]);
    }
}
