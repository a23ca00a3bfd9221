//! `type = "population"`: synthetic respondents, drawn from distributions or raked to margins.
//!
//! Here are the fields of the spec and the source. `read` reads the table; `characteristic`, `numeric` and `margin`
//! read its shapes, `graph` resolves parents, `frame` lays margins over each other; `draw`, `quota` and `raking` make
//! the rows as blocks of options and numbers, `columns` makes Arrow of them; `report` compares them with their targets,
//! `schema` describes the shapes for editors.
//!
//! A characteristic with the key `depends_on` is conditional, one with the key `distribution` numeric, any other table
//! one of weights. To add a shape: a variant of `characteristic::Law`, of `graph::Values`, and a line in `schema`.

mod characteristic;
mod columns;
mod draw;
mod frame;
mod graph;
mod margin;
mod numeric;
mod quota;
mod raking;
mod read;
pub mod report;
mod schema;

use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Batches, Source, SourceError};
use crate::document;
use crate::registry::Kind;
use characteristic::Choice;
use columns::{Columns, Drawn, Fixed, ID};
use draw::{Block, Draws, People};
use frame::Frame;
use graph::{Characteristic, Values};
use margin::MarginTable;
use raking::{Fit, Raked};

/// The registry's row.
pub const KIND: Kind<Box<dyn Source>> = Kind {
    name: "population",
    about: "Synthetic respondents, drawn from distributions or raked to margins.",
    schema: Fields::json_schema,
    fields: document::fields_of::<Fields>,
    decode: read::decode,
};

/// The column of weights.
const WEIGHT: &str = "weight";
/// The most people.
const MOST: u64 = 1_000_000_000;
/// The default of `tolerance`.
const TOLERANCE: f64 = 1e-9;
/// The default of `max_iterations`.
const ITERATIONS: u32 = 1000;

/// Synthetic respondents, drawn from distributions or raked to margins. The column `ID` numbers them from 1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "shapes are read from the tree, which knows the places of what is wrong in them")]
struct Fields {
    /// How many respondents. Output `weights`: what the weights sum to.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    n: NonZeroU64,
    /// The seed of the draws. Default: the spec's seed, else 0. Columns of the same name are drawn alike in all
    /// populations of one seed.
    seed: Option<u64>,
    /// `draw`: each characteristic from its distribution. `raking`: so that the margins are met. Default: `draw`.
    #[serde(default)]
    method: Method,
    /// What the respondents are, by name: a list of options (equally likely), a table of weights, a numeric
    /// distribution (`distribution`, ..), or one of these for each value of other characteristics (`depends_on`,
    /// `distributions`).
    #[schemars(with = "Option<schema::Characteristics>")]
    characteristics: Option<IgnoredAny>,
    /// How options are given out: `random`, each row by itself; or `quota`, in exact numbers (largest remainder) and
    /// shuffled, within each combination of parent values too, where few people can only roughly meet the shares.
    /// Numbers are drawn at random either way. Default: `random`.
    allocation: Option<Allocation>,
    /// Columns with the same value in every row.
    #[schemars(with = "Option<schema::FixedValues>")]
    fixed_values: Option<IgnoredAny>,
    /// Raking: the tables of counts or shares to meet, over one or two characteristics each.
    #[schemars(with = "Option<Vec<MarginTable>>")]
    margins: Option<IgnoredAny>,
    /// Raking: the table to start from, whose associations are kept. Default: the same weight for every cell.
    #[schemars(with = "Option<MarginTable>")]
    seed_table: Option<IgnoredAny>,
    /// Raking: `people`, whole respondents; or `weights`, a row for each combination of values that has a weight, with
    /// a column `weight`. Default: `people`.
    output: Option<Output>,
    /// Raking: how far a share of a margin may be from its target. Default: 1e-9.
    tolerance: Option<f64>,
    /// Raking: how often the margins are gone through before raking is given up. Default: 1000.
    max_iterations: Option<NonZeroU32>,
}

/// Where respondents come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    /// Each characteristic is drawn.
    #[default]
    Draw,
    /// Iterative proportional fitting.
    Raking,
}

/// How options are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Allocation {
    /// Each row by itself.
    #[default]
    Random,
    /// In exact numbers.
    Quota,
}

/// What raking gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Output {
    /// Whole respondents.
    #[default]
    People,
    /// Cells with weights.
    Weights,
}

/// A population.
#[derive(Clone, Debug)]
pub struct Population {
    n: u64,
    /// The seed that its own table gives.
    own_seed: Option<u64>,
    seed: u64,
    how: How,
    fixed: Vec<Fixed>,
}

/// How rows are made.
#[derive(Clone, Debug)]
enum How {
    Drawn(People),
    Raked(Raking),
}

/// The fields of raking.
#[derive(Clone, Debug, Serialize)]
struct Raking {
    margins: Vec<margin::Written>,
    seed_table: Option<margin::Written>,
    output: Output,
    tolerance: f64,
    max_iterations: u32,
}

/// What the rows of a raked population are made from.
#[derive(Clone, Debug)]
struct Fitted {
    frame: Frame,
    fit: Fit,
}

impl Population {
    /// How many respondents.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// How its rows are made, in a few words.
    pub fn about(&self) -> String {
        match &self.how {
            How::Drawn(people) if people.quota => format!("drawn by quota, seed {}", self.seed),
            How::Drawn(_) => format!("drawn at random, seed {}", self.seed),
            How::Raked(raking) if raking.output == Output::Weights => "raked, weights".to_owned(),
            How::Raked(_) => format!("raked, seed {}", self.seed),
        }
    }

    /// The frame and its fit, if this is raked.
    fn fitted(&self, folder: &Path) -> Result<Option<Fitted>, SourceError> {
        let How::Raked(raking) = &self.how else { return Ok(None) };
        let (frame, faults) = frame::frame(&raking.margins, raking.seed_table.as_ref(), folder)?;
        let Some(frame) = frame else {
            let fault = faults.into_iter().find(|fault| !fault.harmless);
            let (message, help, field) = match fault {
                None => ("the margins can't be read".to_owned(), None, "margins"),
                Some(fault) => match fault.margin {
                    Some(i) => (format!("`margins[{i}]`: {}", fault.message), fault.help, "margins"),
                    None => (fault.message, fault.help, "seed_table"),
                },
            };
            return Err(SourceError { message, help, field: vec![field.to_owned()] });
        };
        let fit = raking::fit(&frame, raking.tolerance, raking.max_iterations).map_err(|message| {
            let help =
                "margins that no table can have together, a seed table with many zeros, or too small a `tolerance`";
            SourceError::new(message).help(help).at(["margins"])
        })?;
        Ok(Some(Fitted { frame, fit }))
    }

    fn columns(&self, fitted: Option<&Fitted>) -> Columns {
        let drawn = match (&self.how, fitted) {
            (How::Drawn(people), _) => people.characteristics.iter().map(drawn).collect(),
            (How::Raked(raking), fitted) => {
                let axes = fitted.into_iter().flat_map(|fitted| &fitted.frame.axes);
                let options = axes.map(|axis| Drawn {
                    name: axis.name.clone(),
                    kind: columns::Kind::Options(axis.values.iter().cloned().map(Choice::Text).collect()),
                });
                let weight = Drawn { name: WEIGHT.to_owned(), kind: columns::Kind::Number };
                options.chain((raking.output == Output::Weights).then_some(weight)).collect()
            }
        };
        Columns::new(drawn, &self.fixed)
    }

    fn blocks(&self, fitted: Option<&Fitted>) -> Box<dyn Iterator<Item = Block> + Send> {
        match (&self.how, fitted) {
            (How::Drawn(people), _) => Box::new(Draws::new(people.clone(), self.seed)),
            (How::Raked(raking), Some(Fitted { frame, fit })) => match raking.output {
                Output::People => Box::new(Raked::people(frame, fit, self.n, self.seed)),
                Output::Weights => Box::new(Raked::weights(frame, fit, self.n)),
            },
            (How::Raked(_), None) => Box::new(std::iter::empty()),
        }
    }
}

fn drawn(characteristic: &Characteristic) -> Drawn {
    let kind = match &characteristic.values {
        Values::Options { choices, .. } => columns::Kind::Options(Arc::from(choices.as_slice())),
        Values::Numbers { whole: true, .. } => columns::Kind::Whole,
        Values::Numbers { whole: false, .. } => columns::Kind::Number,
    };
    Drawn { name: characteristic.name.clone(), kind }
}

impl Source for Population {
    fn seed(&mut self, seed: Option<u64>) {
        self.seed = self.own_seed.or(seed).unwrap_or(0);
    }

    fn schema(&self, folder: &Path) -> Result<SchemaRef, SourceError> {
        Ok(self.columns(self.fitted(folder)?.as_ref()).schema())
    }

    fn read(&self, folder: &Path) -> Result<Batches, SourceError> {
        let fitted = self.fitted(folder)?;
        let columns = self.columns(fitted.as_ref());
        let blocks = self.blocks(fitted.as_ref());
        Ok(Box::new(blocks.map(move |block| columns.batch(&block).map_err(SourceError::new))))
    }

    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
        Ok(self.paths().into_iter().map(|(_, path)| folder.join(path)).collect())
    }

    fn key(&self) -> Option<&str> {
        Some(ID)
    }

    fn paths(&self) -> Vec<(&'static str, String)> {
        let How::Raked(raking) = &self.how else { return Vec::new() };
        let margins = raking.margins.iter().map(|margin| ("margins", margin.file()));
        let seed = raking.seed_table.iter().map(|table| ("seed_table", table.file()));
        margins.chain(seed).filter_map(|(field, file)| Some((field, file?.to_owned()))).collect()
    }

    fn meaning(&self) -> serde_json::Value {
        let how = match &self.how {
            How::Drawn(people) => json!({ "quota": people.quota, "characteristics": &people.characteristics[..] }),
            How::Raked(raking) => json!({ "raking": raking }),
        };
        json!({ "population": 1, "n": self.n, "seed": self.seed, "how": how, "fixed": self.fixed })
    }

    fn population(&self) -> Option<&Population> {
        Some(self)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
