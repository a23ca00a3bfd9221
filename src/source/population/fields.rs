//! The fields of a population, as the spec writes them, with their limits and defaults.

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::margin::MarginTable;
use super::schema;

pub(crate) const WEIGHT: &str = "weight";
/// The most people.
pub(crate) const MOST: u64 = 1_000_000_000;
/// The default of `tolerance`.
pub(crate) const TOLERANCE: f64 = 1e-9;
/// The default of `max_iterations`.
pub(crate) const ITERATIONS: u32 = 1000;

/// Synthetic respondents, drawn from distributions or raked to margins. The column `ID` numbers them from 1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "shapes are read from the tree, which knows the places of what is wrong in them")]
pub(crate) struct Fields {
    /// The number of respondents. With output `weights`: the sum of the weights.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(crate) n: NonZeroU64,
    /// The seed of the draws. Default: the spec's seed, else 0, for the first population without a seed; one of its name for
    /// each later one. Columns of the same name have the same draws in all populations of one seed.
    pub(crate) seed: Option<u64>,
    /// `draw`: each characteristic from its distribution. `raking`: to meet the margins. Default: `draw`.
    #[serde(default)]
    pub(crate) method: Method,
    /// The characteristics of the respondents, by name: a list of options (equally likely), a table of weights, a
    /// numeric distribution (`distribution`, ..), the weights of a CSV file (`file`), an expression over other columns
    /// (`expression`, `type`), or a distribution for each value of other characteristics (`depends_on`,
    /// `distributions`).
    #[schemars(with = "Option<schema::Characteristics>")]
    pub(crate) characteristics: Option<IgnoredAny>,
    /// How options are assigned: `random`, each row independently; or `quota`, in exact numbers (largest remainder) and
    /// shuffled, also within each combination of parent values, where few people meet the shares only roughly.
    /// Numbers are always drawn at random. Default: `random`.
    pub(crate) allocation: Option<Allocation>,
    /// Columns with the same value in every row.
    #[schemars(with = "Option<schema::FixedValues>")]
    pub(crate) fixed_values: Option<IgnoredAny>,
    /// Raking: the tables of counts or shares to meet, over one or two characteristics each.
    #[schemars(with = "Option<Vec<MarginTable>>")]
    pub(crate) margins: Option<IgnoredAny>,
    /// Raking: the initial table, whose associations are kept. Default: the same weight for every cell.
    #[schemars(with = "Option<MarginTable>")]
    pub(crate) seed_table: Option<IgnoredAny>,
    /// Raking: `people`, whole respondents; or `weights`, a row for each combination of values that has a weight, with
    /// a column `weight`. Default: `people`.
    pub(crate) output: Option<Output>,
    /// Raking: the largest difference between a share of a margin and its target. Default: 1e-9.
    pub(crate) tolerance: Option<f64>,
    /// Raking: the number of passes over the margins before raking fails. Default: 1000.
    pub(crate) max_iterations: Option<NonZeroU32>,
}

/// How respondents are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    /// Each characteristic is drawn from its distribution.
    #[default]
    Draw,
    /// Iterative proportional fitting.
    Raking,
}

/// How options are assigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Allocation {
    /// Each row independently.
    #[default]
    Random,
    /// In exact numbers, shuffled.
    Quota,
}

/// The rows that raking makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Output {
    /// Whole respondents.
    #[default]
    People,
    /// Cells with weights.
    Weights,
}
