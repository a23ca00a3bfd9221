//! Corrections: replaces answers by the values of people. No question depends on them.

use arrow_array::RecordBatch;

use super::columns::OutputSlot;
use crate::spec::{CorrectedCell, StageSpec};
use crate::table::{Row, cell_at};

/// Corrects the slots of the rows of `input`, whose first row has the number `first_row`, from 0. Slots are ordered by row,
/// then replicate, then model.
pub(crate) fn correct(stage: &StageSpec, input: &RecordBatch, first_row: u64, slots: &mut [OutputSlot<'_>]) {
    let Some(corrections) = &stage.corrections else { return };
    let (width, models) = (stage.width(), stage.answers.models_per_row());
    for (row, slots) in slots.chunks_mut(width).enumerate() {
        let row = row_name(input, stage.relation.key, (row, first_row));
        for cell in corrections.of(&row) {
            for (i, slot) in slots.iter_mut().enumerate() {
                let is_asked = cell.correction.model.as_ref().is_none_or(|name| match stage.answers.fanned_out() {
                    true => stage.model_names[i % models] == *name,
                    false => slot.who == Some(name),
                });
                let is_model = is_asked && cell.model.is_none_or(|model| model == i % models);
                if is_model && cell.correction.replicate.is_none_or(|number| number == (i / models) as u64 + 1) {
                    replace(stage, slot, cell);
                }
            }
        }
    }
}

/// The key of a row as text, or its number from 1.
fn row_name(input: &RecordBatch, key: Option<usize>, (row, first_row): (usize, u64)) -> String {
    match key {
        Some(key) => cell_at(input.column(key).as_ref(), row).text(),
        None => (Row::new(input, row, first_row).number() + 1).to_string(),
    }
}

fn replace(stage: &StageSpec, slot: &mut OutputSlot<'_>, correction: &CorrectedCell) {
    slot.cells[correction.place] = correction.cell.clone();
    slot.corrected.push(correction.place);
    let name = &correction.correction.column;
    let words = match &correction.correction.by {
        Some(by) => format!("{name} ({by})"),
        None => name.clone(),
    };
    slot.source = Some(slot.source.take().map_or_else(|| words.clone(), |before| format!("{before}, {words}")));
    // A failed call does not matter any more if people have given the whole answer.
    let info = &stage.stage.info;
    if (0..info.writes.len()).filter(|write| info.is_answer(*write)).all(|write| slot.corrected.contains(&write)) {
        slot.failure = None;
    }
}
