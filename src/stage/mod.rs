//! Stages: the types of stages that a pipeline can have.
//!
//! There are two families, each with its own registry:
//!
//! - Stages in [`STAGES`] ask models about each row and implement [`Ask`]. The engine handles fan-out, layout,
//!   concurrency, resume and failures.
//! - Stages in [`TRANSFORMS`] call no model, derive a table from other tables and implement [`Work`](transform::Work).
//!
//! To add a type, write one file with its config and trait, one `mod` line and one row in the registry of its family.
//! Each lists the [`View`]s of its table for the report page, by `views` of its trait.
//! A `reduce` is an asking stage whose rows a transform prepares. A `repeatability` asks another stage again, between
//! two transforms. A `stability` asks another stage with several wordings.

mod agreement;
mod analysis;
mod ask;
mod calibration;
mod deduplicate;
mod distributed;
mod embed;
mod ensemble;
mod estimate;
mod evidence;
mod examples;
mod fidelity;
mod fill_missing;
mod filter;
mod join;
mod method;
mod order_effects;
mod placeholder;
mod question;
mod quote;
mod recursive;
mod reduce;
mod repeatability;
mod retrieve;
mod row_prompt;
mod sample;
mod split;
mod stability;
mod survey;
mod transform;
mod universes;
mod validation;
mod vectors;
mod view;
mod wordings;

use crate::registry::Kind;

pub(crate) use ask::{Ask, BindContext, Broken, MOST_LABELS, Stage, StageConfig, StageInfo};
pub(crate) use examples::{Example, ExampleOrigin, with_examples};
pub(crate) use question::condition;
pub(crate) use repeatability::{Asked, Measure, MeasuredColumn, Sample};
pub(crate) use transform::{
    ColumnOrigin, DataError, InputTable, Repeats, Transform, TransformConfig, TransformContext, TransformInfo,
};
pub(crate) use universes::{UNIVERSE, Universes};
pub(crate) use view::{Curve, Estimates, Predictions, Shown, View};
pub(crate) use wordings::{Paraphrase, Wordings};

pub(crate) static STAGES: &[Kind<Box<dyn StageConfig>>] =
    &[analysis::KIND, fill_missing::KIND, survey::KIND, reduce::KIND, recursive::KIND, embed::KIND];

pub(crate) static TRANSFORMS: &[Kind<Box<dyn TransformConfig>>] = &[
    split::KIND,
    join::KIND,
    retrieve::KIND,
    deduplicate::KIND,
    filter::KIND,
    repeatability::KIND,
    agreement::KIND,
    sample::KIND,
    estimate::KIND,
    validation::KIND,
    calibration::KIND,
    ensemble::KIND,
    fidelity::KIND,
    order_effects::KIND,
    stability::KIND,
];
