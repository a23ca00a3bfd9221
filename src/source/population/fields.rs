//! The fields of a population, as the spec writes them, with their limits and defaults.

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::margin::MarginTable;
use super::schema;

pub const WEIGHT: &str = "weight";
/// The most people.
pub const MOST: u64 = 1_000_000_000;
/// The default of `tolerance`.
pub const TOLERANCE: f64 = 1e-9;
/// The default of `max_iterations`.
pub const ITERATIONS: u32 = 1000;

/// Synthetic respondents, drawn from distributions or raked to margins. The column `ID` numbers them from 1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "shapes are read from the tree, which knows the places of what is wrong in them")]
pub struct Fields {
    /// How many respondents. Output `weights`: what the weights sum to.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub n: NonZeroU64,
    /// The seed of the draws. Default: the spec's seed, else 0. Columns of the same name are drawn alike in all
    /// populations of one seed.
    pub seed: Option<u64>,
    /// `draw`: each characteristic from its distribution. `raking`: so that the margins are met. Default: `draw`.
    #[serde(default)]
    pub method: Method,
    /// What the respondents are, by name: a list of options (equally likely), a table of weights, a numeric
    /// distribution (`distribution`, ..), or one of these for each value of other characteristics (`depends_on`,
    /// `distributions`).
    #[schemars(with = "Option<schema::Characteristics>")]
    pub characteristics: Option<IgnoredAny>,
    /// How options are given out: `random`, each row by itself; or `quota`, in exact numbers (largest remainder) and
    /// shuffled, within each combination of parent values too, where few people can only roughly meet the shares.
    /// Numbers are drawn at random either way. Default: `random`.
    pub allocation: Option<Allocation>,
    /// Columns with the same value in every row.
    #[schemars(with = "Option<schema::FixedValues>")]
    pub fixed_values: Option<IgnoredAny>,
    /// Raking: the tables of counts or shares to meet, over one or two characteristics each.
    #[schemars(with = "Option<Vec<MarginTable>>")]
    pub margins: Option<IgnoredAny>,
    /// Raking: the table to start from, whose associations are kept. Default: the same weight for every cell.
    #[schemars(with = "Option<MarginTable>")]
    pub seed_table: Option<IgnoredAny>,
    /// Raking: `people`, whole respondents; or `weights`, a row for each combination of values that has a weight, with
    /// a column `weight`. Default: `people`.
    pub output: Option<Output>,
    /// Raking: how far a share of a margin may be from its target. Default: 1e-9.
    pub tolerance: Option<f64>,
    /// Raking: how often the margins are gone through before raking is given up. Default: 1000.
    pub max_iterations: Option<NonZeroU32>,
}

/// Where respondents come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Each characteristic is drawn.
    #[default]
    Draw,
    /// Iterative proportional fitting.
    Raking,
}

/// How options are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// Each row by itself.
    #[default]
    Random,
    /// In exact numbers.
    Quota,
}

/// What raking gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Whole respondents.
    #[default]
    People,
    /// Cells with weights.
    Weights,
}
