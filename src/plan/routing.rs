//! Routing: the models that answer a row, and the order of the calls of a part.

use std::ops::Range;

use crate::spec::{Order, StageSpec};

/// Returns the models (as indices in the stage's list) that answer row `row` of the input, from 0.
/// Without a fan-out, models take rows (or packs of rows) in turn, so that the model depends only on the row's number.
pub(crate) fn models_for(stage: &StageSpec, row: u64) -> Range<usize> {
    if stage.answers.fanned_out() {
        0..stage.answers.models
    } else {
        let model = (row / stage.rows_per_prompt % stage.answers.models as u64) as usize;
        model..model + 1
    }
}

/// Returns the model (as an index in the stage's list) of answer `place`, from 0. Replicates come first, then models.
pub(crate) fn model_of(stage: &StageSpec, row: u64, place: usize) -> usize {
    let models = models_for(stage, row);
    models.start + place % models.len()
}

/// Returns the order of a part's calls: the spec's, or model by model if switching models is slow.
pub(crate) fn order(stage: &StageSpec, holds_one_model: bool) -> Order {
    let several = stage.answers.models > 1;
    match stage.order {
        Some(order) => order,
        None if holds_one_model && several => Order::ModelMajor,
        None => Order::RowMajor,
    }
}
