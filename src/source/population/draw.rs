//! Drawing: makes the values of the characteristics, block by block, in constant memory.
//!
//! - Random: a cell depends only on the seed, the column, the row number and the parents' cells.
//! - Quota: the option of a row depends on its position among the rows with the same parent values. So every pass over
//!   the rows counts them. Before the first block, there is one pass per level of parents.

use std::sync::Arc;

use super::expression::Expression;
use super::graph::{Characteristic, Values};
use super::quota::Quota;
use crate::random::Streams;
use crate::source::batches::BATCH_ROWS;

#[derive(Clone, Debug)]
pub(crate) struct People {
    pub(crate) n: u64,
    pub(crate) characteristics: Arc<[Characteristic]>,
    /// The indices of the characteristics, parents before children.
    pub(crate) order: Arc<[usize]>,
    pub(crate) quota: bool,
    /// The characteristics that are computed from the others.
    pub(crate) expressions: Arc<[Expression]>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cells {
    Options(Vec<u32>),
    Numbers(Vec<f64>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    /// The number of the first row, from 1.
    pub(crate) first: u64,
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Cells>,
}

pub(crate) struct Draws {
    people: People,
    columns: Vec<Column>,
    given: u64,
}

struct Column {
    streams: Streams,
    quotas: Option<Quotas>,
    /// Cumulative shares of the options, for each combination of parent values.
    sums: Vec<Vec<f64>>,
}

struct Quotas {
    /// For each combination of parent values; `None` for one without rows.
    groups: Vec<Option<Quota>>,
    ranks: Vec<u64>,
}

pub(crate) fn streams(seed: u64, column: &str, purpose: &[&str]) -> Streams {
    let name: Vec<&str> = ["population", column].iter().chain(purpose).copied().collect();
    Streams::new(seed, &name)
}

impl Draws {
    /// The blocks of `people` under `seed`. With quotas, this first passes over the rows once per level of parents.
    pub(crate) fn new(people: People, seed: u64) -> Draws {
        let columns = people.characteristics.iter().map(|c| Column::new(c, seed)).collect();
        let mut draws = Draws { people, columns, given: 0 };
        if draws.people.quota {
            let levels = draws.levels();
            for level in 0..=levels.iter().copied().max().unwrap_or(0) {
                draws.allot(&levels, level, seed);
            }
        }
        draws
    }

    /// The number of generations of parents above each characteristic.
    fn levels(&self) -> Vec<usize> {
        let mut levels = vec![0; self.columns.len()];
        for i in self.people.order.iter() {
            let parents = &self.people.characteristics[*i].parents;
            levels[*i] = parents.iter().map(|p| levels[*p] + 1).max().unwrap_or(0);
        }
        levels
    }

    /// Makes the quotas of the columns of `level`; their parents must have quotas already.
    fn allot(&mut self, levels: &[usize], level: usize, seed: u64) {
        let characteristics = Arc::clone(&self.people.characteristics);
        let here: Vec<usize> =
            (0..levels.len()).filter(|i| levels[*i] == level && characteristics[*i].choices().is_some()).collect();
        let mut counts: Vec<Vec<u64>> = here.iter().map(|i| vec![0; characteristics[*i].combinations()]).collect();
        if level == 0 {
            counts.iter_mut().for_each(|counts| counts[0] = self.people.n);
        } else if !here.is_empty() {
            let above = |i: usize| levels[i] < level && characteristics[i].choices().is_some();
            while let Some(block) = self.block(&above) {
                for (i, counts) in here.iter().zip(&mut counts) {
                    combinations(&characteristics[*i], &block).for_each(|combination| counts[combination] += 1);
                }
            }
            self.given = 0;
            self.columns.iter_mut().filter_map(|c| c.quotas.as_mut()).for_each(|q| q.ranks.fill(0));
        }
        for (i, counts) in here.into_iter().zip(counts) {
            let Values::Options { shares, .. } = &characteristics[i].values else { continue };
            let streams = streams(seed, &characteristics[i].name, &["quota"]);
            let quota = |(combination, (count, shares)): (usize, (&u64, &Option<Vec<f64>>))| {
                let shares = shares.as_ref().filter(|_| *count > 0)?;
                Some(Quota::new(*count, shares, &mut streams.of(combination as u64)))
            };
            let groups = counts.iter().zip(shares).enumerate().map(quota).collect();
            self.columns[i].quotas = Some(Quotas { groups, ranks: vec![0; counts.len()] });
        }
    }

    /// The next block, with the columns that are `wanted`, which must include their parents. The others are empty.
    fn block(&mut self, wanted: &dyn Fn(usize) -> bool) -> Option<Block> {
        let left = self.people.n - self.given;
        if left == 0 {
            return None;
        }
        let rows = left.min(BATCH_ROWS as u64) as usize;
        let mut block =
            Block { first: self.given + 1, rows, columns: vec![Cells::Options(Vec::new()); self.columns.len()] };
        let order = Arc::clone(&self.people.order);
        for i in order.iter().copied().filter(|i| wanted(*i)) {
            block.columns[i] = self.columns[i].cells(&self.people.characteristics[i], &block);
        }
        self.given += rows as u64;
        Some(block)
    }
}

impl Iterator for Draws {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        self.block(&|_| true)
    }
}

impl Column {
    fn new(characteristic: &Characteristic, seed: u64) -> Column {
        let sums = match &characteristic.values {
            Values::Options { shares, .. } => {
                shares.iter().map(|s| s.as_deref().map(sums).unwrap_or_default()).collect()
            }
            Values::Numbers { .. } => Vec::new(),
        };
        Column { streams: streams(seed, &characteristic.name, &[]), quotas: None, sums }
    }

    fn cells(&mut self, characteristic: &Characteristic, block: &Block) -> Cells {
        let combinations = combinations(characteristic, block);
        let unit = |row: u64| self.streams.of(row).unit();
        match (&characteristic.values, &mut self.quotas) {
            (Values::Options { .. }, Some(quotas)) => {
                Cells::Options(combinations.map(|combination| quotas.next(combination)).collect())
            }
            (Values::Options { .. }, None) => {
                let option = |(combination, row): (usize, u64)| {
                    let unit = unit(row);
                    self.sums[combination].partition_point(|sum| *sum <= unit) as u32
                };
                Cells::Options(combinations.zip(block.first..).map(option).collect())
            }
            (Values::Numbers { laws, .. }, _) => {
                let number = |(combination, row): (usize, u64)| {
                    laws[combination].as_ref().map_or(f64::NAN, |law| law.at(unit(row)))
                };
                Cells::Numbers(combinations.zip(block.first..).map(number).collect())
            }
        }
    }
}

impl Quotas {
    fn next(&mut self, combination: usize) -> u32 {
        let rank = self.ranks[combination];
        self.ranks[combination] += 1;
        self.groups[combination].as_ref().map_or(0, |group| group.option(rank) as u32)
    }
}

pub(crate) fn combinations<'a>(
    characteristic: &'a Characteristic,
    block: &'a Block,
) -> impl Iterator<Item = usize> + use<'a> {
    (0..block.rows).map(|row| {
        characteristic.combination(characteristic.parents.iter().map(|parent| match &block.columns[*parent] {
            Cells::Options(options) => options[row] as usize,
            Cells::Numbers(_) => 0,
        }))
    })
}

/// Cumulative `shares`. They are exactly 1 from the last option with a share on, so that rounding never draws an option
/// without a share.
fn sums(shares: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums: Vec<f64> = shares
        .iter()
        .map(|share| {
            sum += share;
            sum
        })
        .collect();
    let last = shares.iter().rposition(|share| *share > 0.0).unwrap_or(0);
    sums[last..].fill(1.0);
    sums
}
