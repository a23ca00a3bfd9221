//! `type = "repeatability"`: how often a stage's models give the same answer again (test-retest).
//!
//! A repeatability is three tables. [`Sample`] draws rows of the stage's input, the stage is asked about them a second
//! time, and [`Measure`] compares both answers.

mod measure;
mod sample;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::transform::{Repeats, Transform, TransformConfig, TransformContext};
use crate::document::Problems;
use crate::registry::Kind;

pub(crate) use measure::{Measure, MeasuredColumn};
pub(crate) use sample::{Asked, Sample};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Repeatability>(measure::KIND, "How often the models of a stage give the same answer again.");

/// How often the models of a stage give the same answer again (test-retest). A sample of rows is asked a second time,
/// with the same request. The table has a row for each model and column: `stage`, `model`, `column`, `n` (rows with
/// both answers), `equal` (of these, rows with equal answers), `share`, the ends `low` and `high` of its 95 % Wilson
/// interval, `kappa` (Cohen's, for labels) and `failed` (rows that lack one of the answers).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Repeatability {
    /// The stage whose answers are repeated.
    input: String,
    /// The number of rows to ask again, drawn by the spec's seed among the rows that the stage asks about. A larger
    /// sample contains the smaller one. With `rows_per_prompt`, whole packs are drawn.
    sample: NonZeroU32,
}

impl TransformConfig for Repeatability {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, _: &TransformContext<'_>, _: &mut Problems) -> Option<Transform> {
        None
    }

    fn repeats(&self) -> Option<Repeats<'_>> {
        Some(Repeats { stage: &self.input, rows: self.sample })
    }
}
