//! A checked population: how its respondents are drawn or raked, as blocks of options and numbers.

use std::path::Path as FilePath;
use std::sync::Arc;

use serde::Serialize;

use super::columns::{self, Columns, Drawn, Fixed};
use super::draw::{Block, Draws, People};
use super::fields::{Output, WEIGHT};
use super::frame::{Frame, frame};
use super::graph::{Characteristic, Values};
use super::margin;
use super::raking::{self, Fit, Raked};
use crate::document::{Diagnostic, Path, SourcePosition};
use crate::source::batches::SourceError;
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

/// What the respondents are made from.
pub(crate) enum Basis<'a> {
    Drawn(People),
    Raked(&'a Raking, Frame, Fit),
}

impl Population {
    pub(crate) fn about(&self) -> String {
        match &self.how {
            How::Drawn(people) if people.quota => format!("drawn by quota, seed {}", self.seed),
            How::Drawn(_) => format!("drawn at random, seed {}", self.seed),
            How::Raked(raking) if raking.output == Output::Weights => "raked, weights".to_owned(),
            How::Raked(_) => format!("raked, seed {}", self.seed),
        }
    }

    /// Reads the files of the characteristics, or reads and fits the margins of a raked population.
    pub(crate) fn basis(&self, folder: &FilePath) -> Result<Basis<'_>, SourceError> {
        let raking = match &self.how {
            How::Drawn(people) => return people.with_files(folder).map(Basis::Drawn),
            How::Raked(raking) => raking,
        };
        let (frame, problems) = frame(&raking.margins, raking.seed_table.as_ref(), folder, &Path::root())?;
        let Some(frame) = frame else {
            let fault = problems.into_iter().find(Diagnostic::is_error).expect("without a frame there is an error");
            let field = fault.place.field_of(&Path::root()).unwrap_or_default();
            let message = match &fault.place {
                SourcePosition::Value(weights) if field == "margins" => {
                    format!("`{}`: {}", weights.parent().unwrap_or_default(), fault.message)
                }
                _ => fault.message,
            };
            return Err(SourceError { message, help: fault.help, field: vec![field] });
        };
        let fit = raking::fit(&frame, raking.tolerance, raking.max_iterations).map_err(|message| {
            let help =
                "possible causes: margins that contradict each other, many zeros in the seed table, a `tolerance` that is too small";
            SourceError::new(message).help(help).at(["margins"])
        })?;
        Ok(Basis::Raked(raking, frame, fit))
    }

    pub(crate) fn columns(&self, basis: &Basis<'_>) -> Result<Columns, SourceError> {
        let drawn = match basis {
            Basis::Drawn(people) => {
                let drawn = people.characteristics.iter().map(drawn).collect();
                return Columns::new(drawn, &self.fixed).with(&people.expressions);
            }
            Basis::Raked(raking, frame, _) => {
                let options = frame.axes.iter().map(|axis| Drawn {
                    name: axis.name.clone(),
                    kind: columns::Kind::Options(axis.values.iter().cloned().map(Cell::Text).collect()),
                });
                let weight = Drawn { name: WEIGHT.to_owned(), kind: columns::Kind::Number };
                options.chain((raking.output == Output::Weights).then_some(weight)).collect()
            }
        };
        Ok(Columns::new(drawn, &self.fixed))
    }

    pub(crate) fn blocks(&self, basis: &Basis<'_>) -> Box<dyn Iterator<Item = Block> + Send> {
        match basis {
            Basis::Drawn(people) => Box::new(Draws::new(people.clone(), self.seed)),
            Basis::Raked(raking, frame, fit) => match raking.output {
                Output::People => Box::new(Raked::people(frame, fit, self.n, self.seed)),
                Output::Weights => Box::new(Raked::weights(frame, fit, self.n)),
            },
        }
    }
}

impl People {
    /// The same with the options and shares that are in files.
    fn with_files(&self, folder: &FilePath) -> Result<People, SourceError> {
        let mut characteristics = self.characteristics.to_vec();
        for characteristic in &mut characteristics {
            if let Some(file) = &characteristic.file {
                characteristic.values = file_values(file, folder, &characteristic.name)?;
            }
        }
        Ok(People { characteristics: characteristics.into(), ..self.clone() })
    }
}

/// The options of a file with their shares.
fn file_values(file: &margin::Written, folder: &FilePath, name: &str) -> Result<Values, SourceError> {
    let at = ["characteristics", name, "file"];
    let entries = file.entries(folder).map_err(|error| error.at(at))?;
    let sum: f64 = entries.iter().map(|(_, weight)| weight).sum();
    let (mut choices, mut shares) = (Vec::new(), Vec::new());
    for (values, weight) in entries {
        let choice = Cell::Text(values.concat());
        if choices.contains(&choice) {
            let message = format!("{}: `{}` has two weights", file.file().unwrap_or_default(), choice.text());
            return Err(SourceError::new(message).at(at));
        }
        choices.push(choice);
        shares.push(weight / sum);
    }
    Ok(Values::Options { choices, shares: vec![Some(shares)] })
}

pub(super) fn drawn(characteristic: &Characteristic) -> Drawn {
    let kind = match &characteristic.values {
        Values::Options { choices, .. } => columns::Kind::Options(Arc::from(choices.as_slice())),
        Values::Numbers { whole: true, .. } => columns::Kind::Whole,
        Values::Numbers { whole: false, .. } => columns::Kind::Number,
    };
    Drawn { name: characteristic.name.clone(), kind }
}
