//! Coefficients of agreement among any number of coders, with missing codes. Which coder gave a code does not matter.
//!
//! Each coefficient is computed from the weight of each unit, so that equal units may be one, and a bootstrap changes
//! the weights only. One pass over the units makes the sums that the coefficients share. Standard errors are for a sample of units (K. L. Gwet, Handbook of Inter-Rater Reliability, 4th
//! edition 2014, chapter 5; the formulas of the package irrCAC).

use std::sync::OnceLock;

use super::ratio::Ratios;
use super::scale::{Scale, centred, ranks};

#[derive(Clone, Debug)]
pub(crate) struct Ratings {
    scale: Scale,
    categories: usize,
    units: Vec<Unit>,
    /// A category, and how many coders gave it: for each unit those of [`Unit::shared`] first.
    codes: Vec<(u32, u32)>,
    /// One more than the last category that several units have.
    shared: usize,
    ratios: Option<Ratios>,
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
    /// The sum of the squared numbers of codes in the categories that no other unit has.
    own: f64,
    /// The number of categories that other units have too, and of all.
    shared: u32,
    categories: u32,
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

/// The units with their weights, and sums over them.
#[derive(Debug)]
pub(crate) struct Weighted<'a> {
    ratings: &'a Ratings,
    pub(crate) weights: &'a [f64],
    /// The weight of the units with a code, and of those with two codes or more.
    pub(crate) coded: f64,
    pub(crate) paired: f64,
    /// Sums over the units with two codes or more.
    n: f64,
    equal: f64,
    similar: f64,
    apart: f64,
    sum: f64,
    squares: f64,
}

/// What Krippendorff's alpha is made of.
struct Coincidences {
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
        let (mut codes, mut numbers): (Vec<(u32, u32)>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut users = vec![0u8; categories];
        let mut sorted = Vec::new();
        for unit in units {
            sorted.clear();
            sorted.extend_from_slice(unit);
            sorted.sort_unstable();
            let before = codes.len();
            codes.extend(sorted.chunk_by(|a, b| a == b).map(|run| (run[0] as u32, run.len() as u32)));
            codes[before..].iter().for_each(|(category, _)| {
                users[*category as usize] = users[*category as usize].saturating_add(1);
            });
            numbers.push(codes.len() - before);
        }
        let is_own = |(category, _): &(u32, u32)| users[*category as usize] == 1;
        let shared = users.iter().rposition(|users| *users > 1).map_or(0, |last| last + 1);
        let ratios = if let Scale::Ratio(values) = &scale { Some(Ratios::new(values)) } else { None };
        let similarity = OnceLock::new();
        let mut ratings =
            Ratings { scale, categories, units: Vec::new(), codes: Vec::new(), shared, ratios, similarity };
        codes.shrink_to_fit();
        ratings.units.reserve_exact(numbers.len());
        let mut rest = codes.as_mut_slice();
        for number in numbers {
            let (unit, after) = std::mem::take(&mut rest).split_at_mut(number);
            rest = after;
            unit.sort_by_key(is_own);
            let own = unit.iter().filter(|code| is_own(code)).map(|(_, count)| f64::from(*count).powi(2)).sum();
            let shared = unit.partition_point(|code| !is_own(code)) as u32;
            let made = Unit { own, shared, categories: number as u32, ..ratings.unit(unit, &values) };
            ratings.units.push(made);
        }
        ratings.codes = codes;
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
            own: 0.0,
            shared: 0,
            categories: 0,
        }
    }

    /// The units, each with its codes and weight, that have a weight and `least` codes or more.
    fn weighted_units<'a>(
        &'a self,
        weights: &'a [f64],
        least: f64,
    ) -> impl Iterator<Item = (&'a Unit, &'a [(u32, u32)], f64)> {
        let mut start = 0;
        let units = self.units.iter().zip(weights).map(move |(unit, weight)| {
            let codes = start..start + unit.categories as usize;
            start = codes.end;
            (unit, codes, *weight)
        });
        let units = units.filter(move |(unit, _, weight)| *weight > 0.0 && unit.size >= least);
        units.map(|(unit, codes, weight)| (unit, &self.codes[codes], weight))
    }

    fn total_similarity(&self) -> f64 {
        let q = self.categories as f64;
        *self.similarity.get_or_init(|| match (&self.scale, &self.ratios) {
            (Scale::Ratio(values), Some(ratios)) if self.categories > 1 => {
                let most = self.scale.difference(&[], 0, values.len() - 1);
                q * q - ratios.expected(&vec![1.0; self.categories]) / most
            }
            _ => self.scale.total_similarity(self.categories),
        })
    }

    pub(crate) fn weighted<'a>(&'a self, weights: &'a [f64]) -> Weighted<'a> {
        let mut sums = Weighted {
            ratings: self,
            weights,
            coded: 0.0,
            paired: 0.0,
            n: 0.0,
            equal: 0.0,
            similar: 0.0,
            apart: 0.0,
            sum: 0.0,
            squares: 0.0,
        };
        for (unit, weight) in self.units.iter().zip(weights) {
            let paired = if unit.size >= 2.0 { *weight } else { 0.0 };
            sums.coded += if unit.size >= 1.0 { *weight } else { 0.0 };
            sums.paired += paired;
            sums.n += paired * unit.size;
            sums.equal += paired * unit.equal;
            sums.similar += paired * unit.similar;
            sums.apart += paired * unit.apart;
            sums.sum += paired * unit.sum;
            sums.squares += paired * unit.squares;
        }
        sums
    }
}

impl Weighted<'_> {
    fn units(&self, least: f64) -> impl Iterator<Item = (&Unit, &[(u32, u32)], f64)> {
        self.ratings.weighted_units(self.weights, least)
    }

    /// The weight of the codes of each category, in units with two codes or more.
    fn totals(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.ratings.categories];
        for (_, codes, weight) in self.units(2.0) {
            codes.iter().for_each(|(category, count)| totals[*category as usize] += weight * f64::from(*count));
        }
        totals
    }

    /// The sum over all categories of their squared weight, where a code of a unit with `least` codes or more weighs
    /// `each`. The square of a category that only one unit has needs no total.
    fn squared_totals(&self, least: f64, each: impl Fn(&Unit, f64) -> f64) -> f64 {
        let (mut totals, mut own) = (vec![0.0; self.ratings.shared], 0.0);
        for (unit, codes, weight) in self.units(least) {
            let each = each(unit, weight);
            own += each * each * unit.own;
            let shared = &codes[..unit.shared as usize];
            shared.iter().for_each(|(category, count)| totals[*category as usize] += each * f64::from(*count));
        }
        own + totals.iter().map(|total| total * total).sum::<f64>()
    }

    /// Krippendorff's alpha. `None` if no unit has two codes, or if all codes are equal.
    ///
    /// K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), <https://repository.upenn.edu/asc_papers/43>.
    pub(crate) fn alpha(&self) -> Option<f64> {
        let n = self.n;
        let (observed, expected, least) = match &self.ratings.scale {
            Scale::Interval(_) => {
                (self.apart, 2.0 * (n * self.squares - self.sum * self.sum), 1e-12 * n * self.squares)
            }
            Scale::Nominal => (self.apart, n * n - self.squared_totals(2.0, |_, weight| weight), 1e-12 * n * n),
            _ => {
                let parts = self.coincidences();
                (parts.observed, parts.expected, 0.0)
            }
        };
        (expected > least).then(|| 1.0 - (n - 1.0) * observed / expected)
    }

    fn coincidences(&self) -> Coincidences {
        let Ratings { scale, ratios, .. } = self.ratings;
        let totals = self.totals();
        let ranks = if *scale == Scale::Ordinal { ranks(&totals) } else { Vec::new() };
        let observed = match scale {
            Scale::Ordinal => self.units(2.0).map(|(unit, codes, w)| w * apart(unit, codes, &ranks)).sum(),
            _ => self.apart,
        };
        let expected = match (scale, ratios) {
            (_, Some(ratios)) => ratios.expected(&totals),
            (Scale::Ordinal, _) => 2.0 * self.n * spread(&ranks, &totals).1,
            _ => self.differences(&totals, &ranks).iter().zip(&totals).map(|(sum, total)| sum * total).sum(),
        };
        Coincidences { totals, ranks, observed, expected }
    }

    /// The sum of the differences of each category from all, weighted by `totals`.
    fn differences(&self, totals: &[f64], ranks: &[f64]) -> Vec<f64> {
        let all: f64 = totals.iter().sum();
        let of_squares = |values: &[f64]| -> Vec<f64> {
            let (mean, squares) = spread(values, totals);
            values.iter().map(|v| (v - mean).powi(2) * all + squares).collect()
        };
        match (&self.ratings.scale, &self.ratings.ratios) {
            (_, Some(ratios)) => ratios.sums(totals),
            (Scale::Nominal, _) => totals.iter().map(|total| all - total).collect(),
            (Scale::Ordinal, _) => of_squares(ranks),
            (Scale::Interval(values), _) => of_squares(values),
            (scale, _) => {
                let used: Vec<usize> = (0..totals.len()).filter(|category| totals[*category] > 0.0).collect();
                let sum = |a: usize| used.iter().map(|b| totals[*b] * scale.difference(&[], a, *b)).sum();
                (0..totals.len()).map(|a| if totals[a] > 0.0 { sum(a) } else { 0.0 }).collect()
            }
        }
    }

    /// The standard error of alpha.
    pub(crate) fn alpha_error(&self) -> Option<f64> {
        self.alpha()?;
        let Coincidences { totals, ranks, observed, expected } = self.coincidences();
        let (n, units) = (self.n, self.paired);
        let (size, expected) = (n / units, expected / (n * n));
        let observed = observed / units / size;
        let alpha = 1.0 - observed / expected;
        let adjusted = (1.0 - 1.0 / n) * observed;
        let from_all: Vec<f64> = self.differences(&totals, &ranks).into_iter().map(|sum| sum / n).collect();
        let term = |(unit, codes, weight): (&Unit, &[(u32, u32)], f64)| {
            let larger = (unit.size - size) / size;
            let apart = if ranks.is_empty() { unit.apart } else { apart(unit, codes, &ranks) };
            let of_unit = apart / size - adjusted * larger;
            let codes = codes.iter().map(|(category, n)| f64::from(*n) * from_all[*category as usize]);
            let by_chance = codes.sum::<f64>() / size - expected * larger;
            let linear = 1.0 - of_unit / expected - 2.0 * (1.0 - alpha) * (expected - by_chance) / expected;
            weight * (linear - alpha).powi(2)
        };
        let squares: f64 = self.units(2.0).map(term).sum();
        (units > 1.0).then(|| (squares / (units * (units - 1.0))).sqrt())
    }

    /// The mean share of equal pairs of codes, over the units with two codes or more.
    pub(crate) fn percent(&self) -> Option<f64> {
        self.observed(false)
    }

    fn observed(&self, similar: bool) -> Option<f64> {
        let sum = if similar { self.similar } else { self.equal };
        (self.paired > 0.0).then(|| sum / self.paired)
    }

    pub(crate) fn percent_error(&self) -> Option<f64> {
        let (mean, n) = (self.percent()?, self.paired);
        let squares: f64 = self.units(2.0).map(|(unit, _, w)| w * (unit.equal - mean).powi(2)).sum();
        (n > 1.0).then(|| (squares / (n * (n - 1.0))).sqrt())
    }

    /// How much a code of a category with the share `share` agrees by chance. The mean is agreement by chance.
    fn by_chance(&self, chance: Chance, share: f64) -> f64 {
        match chance {
            Chance::Fleiss => share,
            Chance::Gwet | Chance::GwetSimilar => self.factor(chance) * (1.0 - share),
        }
    }

    fn factor(&self, chance: Chance) -> f64 {
        let q = self.ratings.categories as f64;
        match chance {
            Chance::GwetSimilar => self.ratings.total_similarity() / (q * (q - 1.0)),
            _ => 1.0 / (q - 1.0),
        }
    }

    /// Fleiss' kappa, or Gwet's AC1 or AC2. `None` if no unit has two codes, or if all codes are equal.
    pub(crate) fn coefficient(&self, chance: Chance) -> Option<f64> {
        let observed = self.observed(chance == Chance::GwetSimilar)?;
        // The sum of the squared shares of the categories, each the mean share among the codes of a unit.
        let repeated = self.squared_totals(1.0, |unit, weight| weight / unit.size) / (self.coded * self.coded);
        let by_chance = match chance {
            Chance::Fleiss => repeated,
            Chance::Gwet | Chance::GwetSimilar => self.factor(chance) * (1.0 - repeated),
        };
        let defined = self.ratings.categories > 1 && (chance != Chance::Fleiss || repeated < 1.0 - 1e-12);
        (defined && by_chance < 1.0).then(|| (observed - by_chance) / (1.0 - by_chance))
    }

    /// The standard error of [`Weighted::coefficient`].
    pub(crate) fn coefficient_error(&self, chance: Chance) -> Option<f64> {
        let found = self.coefficient(chance)?;
        let mut shares = vec![0.0; self.ratings.categories];
        for (unit, codes, weight) in self.units(1.0) {
            let each = weight / unit.size / self.coded;
            codes.iter().for_each(|(category, count)| shares[*category as usize] += each * f64::from(*count));
        }
        let of_category: Vec<f64> = shares.iter().map(|share| self.by_chance(chance, *share)).collect();
        let by_chance: f64 = of_category.iter().zip(&shares).map(|(by, share)| by * share).sum();
        let (n, paired) = (self.coded, self.paired);
        let term = |(unit, codes, weight): (&Unit, &[(u32, u32)], f64)| {
            let observed = if chance == Chance::GwetSimilar { unit.similar } else { unit.equal };
            let own = if unit.size > 1.0 { n / paired * (observed - by_chance) / (1.0 - by_chance) } else { 0.0 };
            let codes = codes.iter().map(|(category, n)| f64::from(*n) * of_category[*category as usize]);
            let here = codes.sum::<f64>() / unit.size;
            weight * (own - 2.0 * (1.0 - found) * (here - by_chance) / (1.0 - by_chance) - found).powi(2)
        };
        let squares: f64 = self.units(1.0).map(term).sum();
        (n > 1.0).then(|| (squares / (n * (n - 1.0))).sqrt())
    }
}

/// The mean of the values, and the sum of their squared distances from it.
fn spread(values: &[f64], totals: &[f64]) -> (f64, f64) {
    let all: f64 = totals.iter().sum();
    let mean = values.iter().zip(totals).map(|(v, total)| v * total).sum::<f64>() / all.max(1.0);
    (mean, values.iter().zip(totals).map(|(v, total)| (v - mean).powi(2) * total).sum())
}

/// The squared differences of the ranks of all pairs of codes, divided by the number of codes less one.
fn apart(unit: &Unit, codes: &[(u32, u32)], ranks: &[f64]) -> f64 {
    let from = |(a, m): &(u32, u32)| {
        let to = |(b, n): &(u32, u32)| f64::from(*n) * (ranks[*a as usize] - ranks[*b as usize]).powi(2);
        f64::from(*m) * codes.iter().map(to).sum::<f64>()
    };
    codes.iter().map(from).sum::<f64>() / (unit.size - 1.0)
}
