//! Routing: which models answer a row, and in which order the calls of a part go.

use std::ops::Range;

use crate::spec::{Order, StageSpec};

/// The models (as places in the stage's list) that answer row `row` of the input, counted from 0.
///
/// Without fan-out rows are dealt in turn, or packs of rows where several are asked about at once, so who answers is a
/// function of the row's number alone.
pub fn models_for(stage: &StageSpec, row: u64) -> Range<usize> {
    if stage.answers.fanned_out() {
        0..stage.models.len()
    } else {
        let model = (row / stage.rows_per_prompt % stage.models.len() as u64) as usize;
        model..model + 1
    }
}

/// The model (as a place in the stage's list) of answer `place` about row `row` of the input, both counted from 0; a row's
/// answers stand replicate by replicate, in each model by model.
pub fn model_of(stage: &StageSpec, row: u64, place: usize) -> usize {
    let models = models_for(stage, row);
    models.start + place % models.len()
}

/// The order of a part's calls: what the spec says, else model by model where switching is dear.
pub fn order(stage: &StageSpec, holds_one_model: bool) -> Order {
    let several = stage.models.len() > 1;
    match stage.order {
        Some(order) => order,
        None if holds_one_model && several => Order::ModelMajor,
        None => Order::RowMajor,
    }
}
