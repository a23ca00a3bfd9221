//! Coefficients of agreement among any number of coders, with missing codes. Which coder gave a code does not matter.
//!
//! Each coefficient is computed from the weight of each unit, so that equal units may be one, and a bootstrap changes
//! the weights only. Standard errors are for a sample of units (K. L. Gwet, Handbook of Inter-Rater Reliability, 4th
//! edition 2014, chapter 5; the formulas of the package irrCAC).

use std::sync::OnceLock;

use super::scale::{Scale, centred, ranks};

#[derive(Clone, Debug)]
pub(crate) struct Ratings {
    scale: Scale,
    categories: usize,
    units: Vec<Unit>,
    /// For each unit, where its codes end in `codes`.
    ends: Vec<usize>,
    /// A category, and how many coders gave it.
    codes: Vec<(u32, u32)>,
    /// The sum of the similarities of all pairs of categories.
    similarity: OnceLock<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    /// The number of codes.
    size: f64,
    /// The share of pairs of codes that are equal, and their mean similarity.
    equal: f64,
    similar: f64,
    /// The differences of all pairs of codes, divided by the number of codes less one. 0 for ordinal categories, whose
    /// differences depend on the other units.
    apart: f64,
    /// The sum and the sum of squares of the values, less the mean of all categories.
    sum: f64,
    squares: f64,
}

/// How agreement by chance is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chance {
    /// J. L. Fleiss, Measuring nominal scale agreement among many raters, Psychological Bulletin 76 (1971) 378-382.
    Fleiss,
    /// AC1: K. L. Gwet, Computing inter-rater reliability and its variance in the presence of high agreement, British
    /// Journal of Mathematical and Statistical Psychology 61 (2008) 29-48, <https://doi.org/10.1348/000711006X126600>.
    Gwet,
    /// AC2: AC1 with similarities.
    GwetSimilar,
}

/// What Krippendorff's alpha is made of.
struct Coincidences {
    /// The codes of units with two codes or more.
    n: f64,
    totals: Vec<f64>,
    ranks: Vec<f64>,
    observed: f64,
    expected: f64,
}

impl Ratings {
    /// `units` has the categories that the coders gave to each unit.
    pub(crate) fn new<'a>(scale: Scale, categories: usize, units: impl Iterator<Item = &'a [usize]>) -> Self {
        let values: Vec<f64> =
            if let Scale::Interval(values) = &scale { centred(values).collect() } else { Vec::new() };
        let (ends, codes, similarity) = (Vec::new(), Vec::new(), OnceLock::new());
        let mut ratings = Ratings { scale, categories, units: Vec::new(), ends, codes, similarity };
        let mut sorted = Vec::new();
        for unit in units {
            sorted.clear();
            sorted.extend_from_slice(unit);
            sorted.sort_unstable();
            let codes = sorted.chunk_by(|a, b| a == b).map(|run| (run[0] as u32, run.len() as u32));
            let start = ratings.codes.len();
            ratings.codes.extend(codes);
            let unit = ratings.unit(&ratings.codes[start..], &values);
            ratings.units.push(unit);
            ratings.ends.push(ratings.codes.len());
        }
        ratings
    }

    fn unit(&self, codes: &[(u32, u32)], values: &[f64]) -> Unit {
        let size: f64 = codes.iter().map(|(_, count)| f64::from(*count)).sum();
        let pairs = |value: &dyn Fn(usize, usize) -> f64| -> f64 {
            let of = |(a, m): &(u32, u32)| {
                codes.iter().map(|(b, n)| f64::from(*m) * f64::from(*n) * value(*a as usize, *b as usize)).sum::<f64>()
            };
            codes.iter().map(of).sum()
        };
        let share = |sum: f64| if size > 1.0 { (sum - size) / (size * (size - 1.0)) } else { 0.0 };
        let apart = match self.scale {
            Scale::Ordinal => 0.0,
            _ => pairs(&|a, b| self.scale.difference(&[], a, b)),
        };
        let moment = |power| {
            let value =
                |(a, count): &(u32, u32)| values.get(*a as usize).map_or(0.0, |v| v.powi(power) * f64::from(*count));
            codes.iter().map(value).sum::<f64>()
        };
        Unit {
            size,
            equal: share(pairs(&|a, b| f64::from(u8::from(a == b)))),
            similar: share(pairs(&|a, b| self.scale.similarity(self.categories, a, b))),
            apart: if size > 1.0 { apart / (size - 1.0) } else { 0.0 },
            sum: moment(1),
            squares: moment(2),
        }
    }

    fn codes(&self, unit: usize) -> &[(u32, u32)] {
        let start = if unit == 0 { 0 } else { self.ends[unit - 1] };
        &self.codes[start..self.ends[unit]]
    }

    /// The units with a weight and `least` codes or more, with their places and weights.
    fn weighted<'a>(&'a self, weights: &'a [f64], least: f64) -> impl Iterator<Item = (usize, &'a Unit, f64)> {
        let units = self.units.iter().zip(weights).enumerate().map(|(i, (unit, weight))| (i, unit, *weight));
        units.filter(move |(_, unit, weight)| *weight > 0.0 && unit.size >= least)
    }

    /// The weight of the units with `least` codes or more.
    pub(crate) fn number(&self, weights: &[f64], least: f64) -> f64 {
        self.weighted(weights, least).map(|(_, _, weight)| weight).sum()
    }

    /// The weight of the codes of each category, in units with `least` codes or more.
    pub(crate) fn totals(&self, weights: &[f64], least: f64) -> Vec<f64> {
        let mut totals = vec![0.0; self.categories];
        for (i, _, weight) in self.weighted(weights, least) {
            self.codes(i).iter().for_each(|(category, count)| totals[*category as usize] += weight * f64::from(*count));
        }
        totals
    }

    /// Krippendorff's alpha. `None` if no unit has two codes, or if all codes are equal.
    ///
    /// K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), <https://repository.upenn.edu/asc_papers/43>.
    pub(crate) fn alpha(&self, weights: &[f64]) -> Option<f64> {
        if matches!(self.scale, Scale::Interval(_)) {
            let (mut n, mut observed, mut sum, mut squares) = (0.0, 0.0, 0.0, 0.0);
            for (_, unit, weight) in self.weighted(weights, 2.0) {
                n += weight * unit.size;
                observed += weight * unit.apart;
                sum += weight * unit.sum;
                squares += weight * unit.squares;
            }
            let expected = 2.0 * (n * squares - sum * sum);
            return (expected > 1e-12 * n * squares).then(|| 1.0 - (n - 1.0) * observed / expected);
        }
        let parts = self.coincidences(weights);
        (parts.expected > 0.0).then(|| 1.0 - (parts.n - 1.0) * parts.observed / parts.expected)
    }

    fn coincidences(&self, weights: &[f64]) -> Coincidences {
        let totals = self.totals(weights, 2.0);
        let ranks = if self.scale == Scale::Ordinal { ranks(&totals) } else { Vec::new() };
        let observed = self.weighted(weights, 2.0).map(|(i, unit, w)| w * self.apart(i, unit, &ranks)).sum();
        let expected = self.differences(&totals, &ranks).iter().zip(&totals).map(|(sum, total)| sum * total).sum();
        Coincidences { n: totals.iter().sum(), totals, ranks, observed, expected }
    }

    fn apart(&self, i: usize, unit: &Unit, ranks: &[f64]) -> f64 {
        if self.scale != Scale::Ordinal {
            return unit.apart;
        }
        let codes = self.codes(i);
        let from = |(a, m): &(u32, u32)| {
            let to = |(b, n): &(u32, u32)| f64::from(*n) * (ranks[*a as usize] - ranks[*b as usize]).powi(2);
            f64::from(*m) * codes.iter().map(to).sum::<f64>()
        };
        codes.iter().map(from).sum::<f64>() / (unit.size - 1.0)
    }

    /// The sum of the differences of each category from all, weighted by `totals`.
    fn differences(&self, totals: &[f64], ranks: &[f64]) -> Vec<f64> {
        let all: f64 = totals.iter().sum();
        let of_squares = |values: &[f64]| -> Vec<f64> {
            let mean = values.iter().zip(totals).map(|(v, total)| v * total).sum::<f64>() / all.max(1.0);
            let squares: f64 = values.iter().zip(totals).map(|(v, total)| (v - mean).powi(2) * total).sum();
            values.iter().map(|v| (v - mean).powi(2) * all + squares).collect()
        };
        match &self.scale {
            Scale::Nominal => totals.iter().map(|total| all - total).collect(),
            Scale::Ordinal => of_squares(ranks),
            Scale::Interval(values) => of_squares(values),
            scale => {
                let used: Vec<usize> = (0..totals.len()).filter(|category| totals[*category] > 0.0).collect();
                let sum = |a: usize| used.iter().map(|b| totals[*b] * scale.difference(&[], a, *b)).sum();
                (0..totals.len()).map(|a| if totals[a] > 0.0 { sum(a) } else { 0.0 }).collect()
            }
        }
    }

    /// The standard error of alpha.
    pub(crate) fn alpha_error(&self, weights: &[f64]) -> Option<f64> {
        self.alpha(weights)?;
        let Coincidences { n, totals, ranks, observed, expected } = self.coincidences(weights);
        let units = self.number(weights, 2.0);
        let (size, expected) = (n / units, expected / (n * n));
        let observed = observed / units / size;
        let alpha = 1.0 - observed / expected;
        let adjusted = (1.0 - 1.0 / n) * observed;
        let from_all: Vec<f64> = self.differences(&totals, &ranks).into_iter().map(|sum| sum / n).collect();
        let term = |(i, unit, weight): (usize, &Unit, f64)| {
            let larger = (unit.size - size) / size;
            let of_unit = self.apart(i, unit, &ranks) / size - adjusted * larger;
            let codes = self.codes(i).iter().map(|(category, n)| f64::from(*n) * from_all[*category as usize]);
            let by_chance = codes.sum::<f64>() / size - expected * larger;
            let linear = 1.0 - of_unit / expected - 2.0 * (1.0 - alpha) * (expected - by_chance) / expected;
            weight * (linear - alpha).powi(2)
        };
        let squares: f64 = self.weighted(weights, 2.0).map(term).sum();
        (units > 1.0).then(|| (squares / (units * (units - 1.0))).sqrt())
    }

    /// The mean share of equal pairs of codes, over the units with two codes or more.
    pub(crate) fn percent(&self, weights: &[f64]) -> Option<f64> {
        self.observed(weights, false)
    }

    fn observed(&self, weights: &[f64], similar: bool) -> Option<f64> {
        let (mut sum, mut n) = (0.0, 0.0);
        for (_, unit, weight) in self.weighted(weights, 2.0) {
            sum += weight * if similar { unit.similar } else { unit.equal };
            n += weight;
        }
        (n > 0.0).then(|| sum / n)
    }

    pub(crate) fn percent_error(&self, weights: &[f64]) -> Option<f64> {
        let (mean, n) = (self.percent(weights)?, self.number(weights, 2.0));
        let squares: f64 = self.weighted(weights, 2.0).map(|(_, unit, w)| w * (unit.equal - mean).powi(2)).sum();
        (n > 1.0).then(|| (squares / (n * (n - 1.0))).sqrt())
    }

    /// The mean share of each category among the codes of a unit, over all units with a code.
    fn shares(&self, weights: &[f64]) -> Vec<f64> {
        let (mut shares, mut n) = (vec![0.0; self.categories], 0.0);
        for (i, unit, weight) in self.weighted(weights, 1.0) {
            n += weight;
            let each = weight / unit.size;
            self.codes(i).iter().for_each(|(category, count)| shares[*category as usize] += each * f64::from(*count));
        }
        shares.iter_mut().for_each(|share| *share /= f64::max(n, 1.0));
        shares
    }

    /// Returns for each category how much a code of it agrees by chance. Its mean over the shares is agreement by chance.
    fn by_chance(&self, chance: Chance, shares: &[f64]) -> Vec<f64> {
        let q = self.categories as f64;
        let factor = match chance {
            Chance::Fleiss => return shares.to_vec(),
            Chance::Gwet => 1.0 / (q - 1.0),
            Chance::GwetSimilar => {
                let total = || self.scale.total_similarity(self.categories);
                self.similarity.get_or_init(total) / (q * (q - 1.0))
            }
        };
        shares.iter().map(|share| factor * (1.0 - share)).collect()
    }

    /// Fleiss' kappa, or Gwet's AC1 or AC2. `None` if no unit has two codes, or if all codes are equal.
    pub(crate) fn coefficient(&self, chance: Chance, weights: &[f64]) -> Option<f64> {
        let observed = self.observed(weights, chance == Chance::GwetSimilar)?;
        let shares = self.shares(weights);
        let is_one = shares.iter().filter(|share| **share > 0.0).count() < 2;
        let defined = self.categories > 1 && (chance != Chance::Fleiss || !is_one);
        let by_chance: f64 = self.by_chance(chance, &shares).iter().zip(&shares).map(|(by, share)| by * share).sum();
        (defined && by_chance < 1.0).then(|| (observed - by_chance) / (1.0 - by_chance))
    }

    /// The standard error of [`Ratings::coefficient`].
    pub(crate) fn coefficient_error(&self, chance: Chance, weights: &[f64]) -> Option<f64> {
        let found = self.coefficient(chance, weights)?;
        let shares = self.shares(weights);
        let of_category = self.by_chance(chance, &shares);
        let by_chance: f64 = of_category.iter().zip(&shares).map(|(by, share)| by * share).sum();
        let (n, paired) = (self.number(weights, 1.0), self.number(weights, 2.0));
        let term = |(i, unit, weight): (usize, &Unit, f64)| {
            let observed = if chance == Chance::GwetSimilar { unit.similar } else { unit.equal };
            let own = if unit.size > 1.0 { n / paired * (observed - by_chance) / (1.0 - by_chance) } else { 0.0 };
            let codes = self.codes(i).iter().map(|(category, n)| f64::from(*n) * of_category[*category as usize]);
            let here = codes.sum::<f64>() / unit.size;
            weight * (own - 2.0 * (1.0 - found) * (here - by_chance) / (1.0 - by_chance) - found).powi(2)
        };
        let squares: f64 = self.weighted(weights, 1.0).map(term).sum();
        (n > 1.0).then(|| (squares / (n * (n - 1.0))).sqrt())
    }
}
