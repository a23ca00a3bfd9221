//! The report of a population: compares the shares and means of its rows with their targets.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use serde::Serialize;

use super::draw::{Block, Cells, combinations};
use super::frame::{Frame, Target, cell_values, projection, summed};
use super::graph::{Characteristic, Values};
use super::respondents::{Basis, Population};
use crate::source::batches::SourceError;

#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) rows: u64,
    pub(crate) parts: Vec<Part>,
    pub(crate) raking: Option<RakingReport>,
    pub(crate) first: RecordBatch,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Shares {
        of: Vec<String>,
        depends_on: Vec<String>,
        options: Vec<Share>,
    },
    Numbers {
        of: Vec<String>,
        depends_on: Vec<String>,
        mean: f64,
        /// The population standard deviation (divided by n).
        sd: f64,
        minimum: f64,
        maximum: f64,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Share {
    pub(crate) option: String,
    /// The expected share. For a characteristic with parents: given the parents as drawn.
    pub(crate) target: f64,
    pub(crate) drawn: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RakingReport {
    pub(crate) iterations: u32,
    /// The largest difference between a share of a margin and its target, before rounding to whole people.
    pub(crate) largest_deviation: f64,
    pub(crate) design_effect: f64,
    /// `n` / design effect.
    pub(crate) effective_sample_size: f64,
}

impl Population {
    /// Makes and counts the whole population; keeps the first `show` rows.
    pub(crate) fn report(&self, folder: &Path, show: usize) -> Result<Report, SourceError> {
        let basis = self.basis(folder)?;
        let columns = self.columns(&basis)?;
        let (mut counted, raking) = match &basis {
            Basis::Drawn(people) => (Counted::Columns(people.characteristics.iter().map(Tally::new).collect()), None),
            Basis::Raked(_, frame, fit) => {
                let report = RakingReport {
                    iterations: fit.iterations,
                    largest_deviation: fit.deviation,
                    design_effect: fit.design_effect,
                    effective_sample_size: self.n as f64 / fit.design_effect,
                };
                (Counted::Cells(frame, vec![0.0; frame.seed.len()]), Some(report))
            }
        };
        let (mut rows, mut first) = (0, Vec::new());
        for block in self.blocks(&basis) {
            if rows < show as u64 {
                let batch = columns.batch(&block)?;
                first.push(batch.slice(0, batch.num_rows().min(show - rows as usize)));
            }
            rows += block.rows as u64;
            counted.add(&block);
        }
        let parts = counted.parts(rows);
        let schema = columns.schema();
        let first = concat_batches(&schema, &first).map_err(|error| SourceError::new(error.to_string()))?;
        Ok(Report { rows, parts, raking, first })
    }
}

enum Counted<'a> {
    Columns(Vec<Tally<'a>>),
    Cells(&'a Frame, Vec<f64>),
}

impl Counted<'_> {
    fn add(&mut self, block: &Block) {
        match self {
            Counted::Columns(tallies) => {
                tallies.iter_mut().zip(&block.columns).for_each(|(tally, cells)| tally.add(cells, block))
            }
            Counted::Cells(frame, cells) => {
                for row in 0..block.rows {
                    let cell = frame.axes.iter().zip(&block.columns).fold(0, |cell, (axis, column)| match column {
                        Cells::Options(options) => cell * axis.values.len() + options[row] as usize,
                        Cells::Numbers(_) => cell,
                    });
                    // Weights are the last column if there are any.
                    cells[cell] += match block.columns.last() {
                        Some(Cells::Numbers(weights)) => weights[row],
                        _ => 1.0,
                    };
                }
            }
        }
    }

    fn parts(self, rows: u64) -> Vec<Part> {
        match self {
            Counted::Columns(tallies) => {
                let names: Vec<String> = tallies.iter().map(|tally| tally.characteristic.name.clone()).collect();
                tallies.into_iter().map(|tally| tally.part(&names, rows)).collect()
            }
            Counted::Cells(frame, cells) => margins(frame, &cells),
        }
    }
}

struct Tally<'a> {
    characteristic: &'a Characteristic,
    options: Vec<u64>,
    combinations: BTreeMap<usize, u64>,
    numbers: Moments,
}

/// Count, mean and sum of squared differences from it (Welford 1962, <https://doi.org/10.1080/00401706.1962.10490022>).
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
    ends: Option<(f64, f64)>,
}

impl<'a> Tally<'a> {
    fn new(characteristic: &'a Characteristic) -> Self {
        let options = vec![0; characteristic.choices().map_or(0, <[_]>::len)];
        Tally { characteristic, options, combinations: BTreeMap::new(), numbers: Moments::default() }
    }

    fn add(&mut self, cells: &Cells, block: &Block) {
        match cells {
            Cells::Options(options) => {
                options.iter().for_each(|option| self.options[*option as usize] += 1);
                for combination in combinations(self.characteristic, block) {
                    *self.combinations.entry(combination).or_default() += 1;
                }
            }
            Cells::Numbers(numbers) => numbers.iter().for_each(|number| self.numbers.add(*number)),
        }
    }

    fn part(self, names: &[String], rows: u64) -> Part {
        let of = vec![self.characteristic.name.clone()];
        let depends_on = self.characteristic.parents.iter().map(|parent| names[*parent].clone()).collect();
        let Values::Options { choices, shares } = &self.characteristic.values else {
            let (minimum, maximum) = self.numbers.ends.unwrap_or_default();
            let sd = (self.numbers.squares / self.numbers.count).sqrt();
            return Part::Numbers { of, depends_on, mean: self.numbers.mean, sd, minimum, maximum };
        };
        let mut targets = vec![0.0; choices.len()];
        for (combination, count) in self.combinations {
            let part = count as f64 / rows as f64;
            let shares = shares[combination].iter().flatten();
            targets.iter_mut().zip(shares).for_each(|(target, share)| *target += part * share);
        }
        let counts = choices.iter().zip(targets).zip(self.options);
        let options = counts.map(|((choice, target), count)| Share {
            option: choice.text(),
            target,
            drawn: count as f64 / rows as f64,
        });
        Part::Shares { of, depends_on, options: options.collect() }
    }
}

impl Moments {
    fn add(&mut self, number: f64) {
        self.count += 1.0;
        let before = number - self.mean;
        self.mean += before / self.count;
        self.squares += before * (number - self.mean);
        let (least, most) = self.ends.unwrap_or((number, number));
        self.ends = Some((least.min(number), most.max(number)));
    }
}

fn margins(frame: &Frame, cells: &[f64]) -> Vec<Part> {
    let total: f64 = cells.iter().sum();
    let part = |target: &Target| {
        let sums = summed(cells, &projection(&frame.axes, &target.axes), target.shares.len());
        let options = target.shares.iter().zip(sums).enumerate().map(|(cell, (share, sum))| Share {
            option: cell_values(&frame.axes, &target.axes, cell).join(", "),
            target: *share,
            drawn: sum / total,
        });
        let of = target.axes.iter().map(|axis| frame.axes[*axis].name.clone()).collect();
        Part::Shares { of, depends_on: Vec::new(), options: options.collect() }
    };
    frame.targets.iter().map(part).collect()
}
