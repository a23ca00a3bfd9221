//! A checked population: how its respondents are drawn or raked, as blocks of options and numbers.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::columns::{self, Columns, Drawn, Fixed};
use super::draw::{Block, Draws, People};
use super::fields::{Output, WEIGHT};
use super::frame::{self, Frame};
use super::graph::{Characteristic, Values};
use super::margin;
use super::raking::{self, Fit, Raked};
use crate::source::error::SourceError;
use crate::table::Cell;

#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) n: u64,
    pub(crate) own_seed: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) how: How,
    pub(crate) fixed: Vec<Fixed>,
}

#[derive(Clone, Debug)]
pub(crate) enum How {
    Drawn(People),
    Raked(Raking),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Raking {
    pub(crate) margins: Vec<margin::Written>,
    pub(crate) seed_table: Option<margin::Written>,
    pub(crate) output: Output,
    pub(crate) tolerance: f64,
    pub(crate) max_iterations: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct FittedFrame {
    pub(crate) frame: Frame,
    pub(crate) fit: Fit,
}

impl Population {
    pub(crate) fn n(&self) -> u64 {
        self.n
    }

    pub(crate) fn about(&self) -> String {
        match &self.how {
            How::Drawn(people) if people.quota => format!("drawn by quota, seed {}", self.seed),
            How::Drawn(_) => format!("drawn at random, seed {}", self.seed),
            How::Raked(raking) if raking.output == Output::Weights => "raked, weights".to_owned(),
            How::Raked(_) => format!("raked, seed {}", self.seed),
        }
    }

    /// The frame and its fit; `None` for a drawn population.
    pub(crate) fn fitted(&self, folder: &Path) -> Result<Option<FittedFrame>, SourceError> {
        let How::Raked(raking) = &self.how else { return Ok(None) };
        let (frame, faults) = frame::frame(&raking.margins, raking.seed_table.as_ref(), folder)?;
        let Some(frame) = frame else {
            let fault = faults.into_iter().find(|fault| !fault.harmless);
            let (message, help, field) = match fault {
                None => ("the margins cannot be read".to_owned(), None, "margins"),
                Some(fault) => match fault.margin {
                    Some(i) => (format!("`margins[{i}]`: {}", fault.message), fault.help, "margins"),
                    None => (fault.message, fault.help, "seed_table"),
                },
            };
            return Err(SourceError { message, help, field: vec![field.to_owned()] });
        };
        let fit = raking::fit(&frame, raking.tolerance, raking.max_iterations).map_err(|message| {
            let help =
                "possible causes: margins that contradict each other, many zeros in the seed table, a `tolerance` that is too small";
            SourceError::new(message).help(help).at(["margins"])
        })?;
        Ok(Some(FittedFrame { frame, fit }))
    }

    pub(crate) fn columns(&self, fitted: Option<&FittedFrame>) -> Columns {
        let drawn = match (&self.how, fitted) {
            (How::Drawn(people), _) => people.characteristics.iter().map(drawn).collect(),
            (How::Raked(raking), fitted) => {
                let axes = fitted.into_iter().flat_map(|fitted| &fitted.frame.axes);
                let options = axes.map(|axis| Drawn {
                    name: axis.name.clone(),
                    kind: columns::Kind::Options(axis.values.iter().cloned().map(Cell::Text).collect()),
                });
                let weight = Drawn { name: WEIGHT.to_owned(), kind: columns::Kind::Number };
                options.chain((raking.output == Output::Weights).then_some(weight)).collect()
            }
        };
        Columns::new(drawn, &self.fixed)
    }

    pub(crate) fn blocks(&self, fitted: Option<&FittedFrame>) -> Box<dyn Iterator<Item = Block> + Send> {
        match (&self.how, fitted) {
            (How::Drawn(people), _) => Box::new(Draws::new(people.clone(), self.seed)),
            (How::Raked(raking), Some(FittedFrame { frame, fit })) => match raking.output {
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
