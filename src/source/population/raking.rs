//! Raking: iterative proportional fitting of a table to its margins (Deming and Stephan 1940,
//! <https://doi.org/10.1214/aoms/1177731829>), and the people or weights that result.

use super::draw::{Block, Cells, streams};
use super::frame::{Frame, cell_name, projection, summed};
use super::quota::{Quota, largest_remainder};
use crate::source::batches::BATCH_ROWS;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fit {
    pub(crate) shares: Vec<f64>,
    pub(crate) iterations: u32,
    /// The largest difference of a share in a margin from its target.
    pub(crate) deviation: f64,
    /// Kish's design effect of the weights that fit the seed table to the margins: the factor by which the variance of
    /// a mean grows. With s the seed weights and w the fitted ones: sum(s) sum(w^2 / s) / sum(w)^2. For a uniform seed,
    /// that is n sum(w^2) / sum(w)^2 over the n cells (Kish 1965, Survey Sampling, 11.7).
    pub(crate) design_effect: f64,
}

/// Fits the seed table of `frame` to its margins, until every share of a margin is within `tolerance` of its
/// target. The error names the cell with the largest difference after `most` iterations.
pub(crate) fn fit(frame: &Frame, tolerance: f64, most: u32) -> Result<Fit, String> {
    let places: Vec<Vec<u32>> = frame.targets.iter().map(|target| projection(&frame.axes, &target.axes)).collect();
    let total: f64 = frame.seed.iter().sum();
    let mut shares: Vec<f64> = frame.seed.iter().map(|weight| weight / total).collect();
    let mut iterations = 0;
    loop {
        for (target, places) in frame.targets.iter().zip(&places) {
            let sums = summed(&shares, places, target.shares.len());
            let factors: Vec<f64> = target
                .shares
                .iter()
                .zip(&sums)
                .map(|(share, sum)| if *sum > 0.0 { share / sum } else { 0.0 })
                .collect();
            shares.iter_mut().zip(places).for_each(|(share, place)| *share *= factors[*place as usize]);
        }
        iterations += 1;
        let (deviation, margin, cell) = worst(frame, &places, &shares);
        if deviation <= tolerance {
            let design_effect = design_effect(&frame.seed, &shares);
            return Ok(Fit { shares, iterations, deviation, design_effect });
        }
        if iterations >= most {
            let target = &frame.targets[margin];
            let wanted = target.shares[cell];
            let name = cell_name(&frame.axes, &target.axes, cell);
            return Err(format!(
                "raking doesn't converge: after {iterations} iterations the share of {name} is still {deviation:.2e} \
                 away from {wanted:.6}"
            ));
        }
    }
}

fn worst(frame: &Frame, places: &[Vec<u32>], shares: &[f64]) -> (f64, usize, usize) {
    let mut worst = (0.0, 0, 0);
    for (margin, (target, places)) in frame.targets.iter().zip(places).enumerate() {
        let sums = summed(shares, places, target.shares.len());
        for (cell, (sum, share)) in sums.iter().zip(&target.shares).enumerate() {
            let deviation = (sum - share).abs();
            if deviation > worst.0 {
                worst = (deviation, margin, cell);
            }
        }
    }
    worst
}

fn design_effect(seed: &[f64], shares: &[f64]) -> f64 {
    let squares: f64 = seed.iter().zip(shares).filter(|(seed, _)| **seed > 0.0).map(|(s, w)| w * w / s).sum();
    let weights: f64 = shares.iter().sum();
    seed.iter().sum::<f64>() * squares / (weights * weights)
}

pub(crate) struct Raked {
    rows: Rows,
    widths: Vec<usize>,
    size: u64,
    given: u64,
}

enum Rows {
    /// People, and the cell of each.
    People(Quota),
    Weights(Vec<(usize, f64)>),
}

impl Raked {
    /// `n` people: the cells get whole numbers by largest remainder (of equal remainders, the first cell wins), and
    /// the people of all cells are shuffled under `seed`.
    pub(crate) fn people(frame: &Frame, fit: &Fit, n: u64, seed: u64) -> Raked {
        let order: Vec<usize> = (0..fit.shares.len()).collect();
        let counts = largest_remainder(n, &fit.shares, &order);
        let rows = Rows::People(Quota::of(&counts, &mut streams(seed, "", &["raking"]).of(0)));
        Raked { rows, widths: widths(frame), size: n, given: 0 }
    }

    /// A row for each cell with a weight above 0; the weights sum to `n`.
    pub(crate) fn weights(frame: &Frame, fit: &Fit, n: u64) -> Raked {
        let kept = fit.shares.iter().enumerate().filter(|(_, share)| **share > 0.0);
        let cells: Vec<(usize, f64)> = kept.map(|(cell, share)| (cell, share * n as f64)).collect();
        Raked { size: cells.len() as u64, rows: Rows::Weights(cells), widths: widths(frame), given: 0 }
    }
}

fn widths(frame: &Frame) -> Vec<usize> {
    frame.axes.iter().map(|axis| axis.values.len()).collect()
}

impl Iterator for Raked {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let rows = (self.size - self.given).min(BATCH_ROWS as u64);
        if rows == 0 {
            return None;
        }
        let range = self.given..self.given + rows;
        let (mut cells, weights): (Vec<usize>, Option<Vec<f64>>) = match &self.rows {
            Rows::People(quota) => (range.map(|row| quota.option(row)).collect(), None),
            Rows::Weights(all) => {
                let (cells, weights) = all[range.start as usize..range.end as usize].iter().copied().unzip();
                (cells, Some(weights))
            }
        };
        let mut columns = Vec::with_capacity(self.widths.len() + 1);
        for width in self.widths.iter().rev() {
            columns.push(Cells::Options(cells.iter().map(|cell| (cell % width) as u32).collect()));
            cells.iter_mut().for_each(|cell| *cell /= width);
        }
        columns.reverse();
        columns.extend(weights.map(Cells::Numbers));
        let first = self.given + 1;
        self.given += rows;
        Some(Block { first, rows: rows as usize, columns })
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Axis, Target};
    use super::*;

    fn frame(seed: &[[f64; 4]; 4]) -> Frame {
        let axis = |name: &str| Axis { name: name.to_owned(), values: ["1", "2", "3", "4"].map(str::to_owned).into() };
        let target = |axis, shares: [f64; 4]| Target { axes: vec![axis], shares: shares.map(|n| n / 1000.0).to_vec() };
        Frame {
            axes: vec![axis("row"), axis("column")],
            targets: vec![target(0, [150.0, 300.0, 400.0, 150.0]), target(1, [200.0, 300.0, 400.0, 100.0])],
            seed: seed.concat(),
        }
    }

    const SEED: [[f64; 4]; 4] =
        [[40.0, 30.0, 20.0, 10.0], [35.0, 50.0, 100.0, 75.0], [30.0, 80.0, 70.0, 120.0], [20.0, 30.0, 40.0, 50.0]];

    #[test]
    fn the_worked_example() {
        let fit = fit(&frame(&SEED), 1e-10, 100).unwrap();
        let found: Vec<String> = fit.shares.iter().map(|share| format!("{:.2}", share * 1000.0)).collect();
        let expected = [
            ["64.56", "46.23", "35.38", "3.82"],
            ["49.97", "68.16", "156.50", "25.37"],
            ["56.72", "144.43", "145.08", "53.77"],
            ["28.75", "41.18", "63.03", "17.03"],
        ];
        assert_eq!(found, expected.concat());
        assert!(fit.deviation <= 1e-10 && fit.iterations < 30, "{fit:?}");
    }

    #[test]
    fn a_uniform_seed_gives_the_product_of_the_margins_and_kishs_formula() {
        let fit = fit(&frame(&[[1.0; 4]; 4]), 1e-12, 100).unwrap();
        assert!((fit.shares[0] - 0.15 * 0.2).abs() < 1e-12);
        let squares: f64 = fit.shares.iter().map(|w| w * w).sum();
        assert!((fit.design_effect - 16.0 * squares).abs() < 1e-9, "{}", fit.design_effect);
        // A table that meets its margins already needs no weights.
        let same: Vec<f64> = fit.shares.clone();
        let again = super::fit(&Frame { seed: same, ..frame(&SEED) }, 1e-9, 100).unwrap();
        assert_eq!(again.iterations, 1);
        assert!((again.design_effect - 1.0).abs() < 1e-9);
    }

    /// With only the diagonal of the table, rows and columns would have to be the same.
    #[test]
    fn structural_zeros_that_can_not_be_are_named() {
        let mut seed = [[0.0; 4]; 4];
        (0..4).for_each(|i| seed[i][i] = 1.0);
        let error = fit(&frame(&seed), 1e-9, 50).unwrap_err();
        let expected = "raking doesn't converge: after 50 iterations the share of `row` = \"1\" is still 5.00e-2 \
                        away from 0.150000";
        assert_eq!(error, expected);
    }

    #[test]
    fn people_are_whole_and_shuffled_and_weights_sum_to_n() {
        let frame = frame(&SEED);
        let fit = fit(&frame, 1e-10, 100).unwrap();
        let cells = |raked: Raked| -> Vec<(u32, u32)> {
            raked
                .flat_map(|block| match &block.columns[..] {
                    [Cells::Options(rows), Cells::Options(columns), ..] => {
                        rows.iter().copied().zip(columns.iter().copied()).collect::<Vec<_>>()
                    }
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        let people = cells(Raked::people(&frame, &fit, 3000, 1));
        assert_eq!(people.len(), 3000);
        let mut counts = [0_u64; 16];
        people.iter().for_each(|(row, column)| counts[(row * 4 + column) as usize] += 1);
        for (count, share) in counts.iter().zip(&fit.shares) {
            assert!((*count as f64 - share * 3000.0).abs() < 1.0, "{count} for {}", share * 3000.0);
        }
        assert!(!people.is_sorted());
        assert_ne!(people, cells(Raked::people(&frame, &fit, 3000, 2)));
        let mut sum = 0.0;
        for block in Raked::weights(&frame, &fit, 3000) {
            let Some(Cells::Numbers(weights)) = block.columns.last() else { panic!("no weights") };
            sum += weights.iter().sum::<f64>();
            assert_eq!((block.first, block.rows), (1, 16));
        }
        assert!((sum - 3000.0).abs() < 1e-6, "{sum}");
    }
}
