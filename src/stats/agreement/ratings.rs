//! Coefficients of agreement among any number of coders, with missing codes. Which coder gave a code does not matter.
//!
//! Each coefficient is computed from the weight of each unit, so that equal units may be one, and a bootstrap changes
//! the weights only. One pass over the units makes the sums that the coefficients share. Standard errors are for a
//! sample of units (K. L. Gwet, Handbook of Inter-Rater Reliability, 4th edition 2014, chapter 5; the formulas of the
//! package irrCAC).

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::ratio::Ratios;
use super::scale::{Scale, mean};

/// How many units are looked at together.
const BLOCK: usize = 128;
/// The fewest units for a thread.
const PIECE: usize = 1 << 16;
/// In place of the unit of a category.
const NO_UNIT: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(crate) struct Ratings {
    scale: Scale,
    categories: usize,
    units: Vec<Unit>,
    sums: Vec<Sums>,
    /// The categories of the codes of each unit, those that occur once last.
    codes: Vec<u32>,
    /// One more than the last category that is not that of one code in a unit with others.
    shared: usize,
    /// The unit of each ordinal category that one code in a unit with others has.
    owners: Vec<u32>,
    ratios: Option<Ratios>,
    /// The sum of the similarities of all pairs of categories.
    similarity: OnceLock<f64>,
    /// Numbers of all categories, which replicates use again.
    buffers: Arc<Mutex<Vec<Vec<f64>>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Unit {
    /// Where the codes end.
    end: u32,
    size: u32,
    /// The number of codes in categories that occur more than once.
    shared: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
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

/// A unit with its codes and weight.
struct WeightedUnit<'a> {
    unit: Unit,
    sums: &'a Sums,
    codes: &'a [u32],
    weight: f64,
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
    /// The sum of the squared shares of the categories.
    repeated: OnceLock<f64>,
    /// The observed and the expected differences of ordinal categories.
    ordinal: OnceLock<(f64, f64)>,
}

impl Ratings {
    /// `codes` has the categories that the coders gave to each unit, unit after unit, and `ends` where those of each unit
    /// end.
    pub(crate) fn new(scale: Scale, categories: usize, mut codes: Vec<u32>, ends: &[u32]) -> Self {
        let mut uses = vec![0u8; categories];
        codes.iter().for_each(|code| uses[*code as usize] = uses[*code as usize].saturating_add(1));
        let is_single = |category: &u32| uses[*category as usize] == 1;
        let mut units = Vec::with_capacity(ends.len());
        let mut owners = if scale == Scale::Ordinal { vec![NO_UNIT; categories] } else { Vec::new() };
        let mut start = 0;
        for (end, number) in ends.iter().zip(0..) {
            let unit = &mut codes[start..*end as usize];
            unit.sort_unstable_by_key(|category| (is_single(category), *category));
            let shared = unit.partition_point(|category| !is_single(category));
            if unit.len() > 1 && !owners.is_empty() {
                unit[shared..].iter().for_each(|category| owners[*category as usize] = number);
            }
            units.push(Unit { end: *end, size: unit.len() as u32, shared: shared as u32 });
            start = *end as usize;
        }
        let sums = sums_of(&scale, categories, &units, &codes);
        let has_owner = |category: usize| owners.get(category).map_or(uses[category] == 1, |owner| *owner != NO_UNIT);
        let shared = (0..categories).rfind(|category| !has_owner(*category)).map_or(0, |last| last + 1);
        let ratios = if let Scale::Ratio(values) = &scale { Some(Ratios::new(values)) } else { None };
        let (similarity, buffers) = (OnceLock::new(), Arc::default());
        Ratings { scale, categories, units, sums, codes, shared, owners, ratios, similarity, buffers }
    }

    /// `units` has the categories that the coders gave to each unit.
    pub(crate) fn of_units(scale: Scale, categories: usize, units: &[Vec<usize>]) -> Self {
        let codes: Vec<u32> = units.iter().flatten().map(|category| *category as u32).collect();
        let mut end = 0;
        let ends: Vec<u32> = units
            .iter()
            .map(|unit| {
                end += unit.len() as u32;
                end
            })
            .collect();
        Ratings::new(scale, categories, codes, &ends)
    }

    /// The units that have a weight and `least` codes or more.
    fn weighted_units<'a>(&'a self, weights: &'a [f64], least: u32) -> impl Iterator<Item = WeightedUnit<'a>> {
        let units = self.units.iter().zip(&self.sums).zip(weights);
        let units = units.filter(move |((unit, _), weight)| **weight > 0.0 && unit.size >= least);
        units.map(|((unit, sums), weight)| {
            let codes = &self.codes[(unit.end - unit.size) as usize..unit.end as usize];
            WeightedUnit { unit: *unit, sums, codes, weight: *weight }
        })
    }

    /// Lends `work` a number of each category, which earlier work has left there.
    fn with_buffer<T>(&self, work: impl FnOnce(&mut [f64]) -> T) -> T {
        let buffers = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = buffers().pop().unwrap_or_default();
        buffer.resize(self.categories, 0.0);
        let result = work(&mut buffer);
        buffers().push(buffer);
        result
    }

    fn total_similarity(&self) -> f64 {
        let q = self.categories as f64;
        *self.similarity.get_or_init(|| match (&self.scale, &self.ratios) {
            (Scale::Ratio(values), Some(ratios)) if self.categories > 1 => {
                let most = self.scale.difference(0, values.len() - 1);
                q * q - ratios.expected(&vec![1.0; self.categories]) / most
            }
            _ => self.scale.total_similarity(self.categories),
        })
    }

    pub(crate) fn weighted<'a>(&'a self, weights: &'a [f64]) -> Weighted<'a> {
        let mut all = Weighted {
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
            repeated: OnceLock::new(),
            ordinal: OnceLock::new(),
        };
        for ((unit, sums), weight) in self.units.iter().zip(&self.sums).zip(weights) {
            let paired = if unit.size >= 2 { *weight } else { 0.0 };
            all.coded += if unit.size >= 1 { *weight } else { 0.0 };
            all.paired += paired;
            all.n += paired * f64::from(unit.size);
            all.equal += paired * sums.equal;
            all.similar += paired * sums.similar;
            all.apart += paired * sums.apart;
            all.sum += paired * sums.sum;
            all.squares += paired * sums.squares;
        }
        all
    }
}

/// The sums of each unit, whose equal codes lie beside each other.
fn sums_of(scale: &Scale, categories: usize, units: &[Unit], codes: &[u32]) -> Vec<Sums> {
    let (values, mean): (&[f64], f64) = match scale {
        Scale::Interval(values) => (values, mean(values)),
        _ => (&[], 0.0),
    };
    let mut sums = vec![Sums::default(); units.len()];
    let fill = |(units, sums): (&[Unit], &mut [Sums])| {
        let mut runs = Vec::new();
        for (unit, sums) in units.iter().zip(sums) {
            let unit = &codes[(unit.end - unit.size) as usize..unit.end as usize];
            runs.clear();
            runs.extend(unit.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)));
            *sums = Sums::new(scale, categories, &runs, (values, mean));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let piece = units.len().div_ceil(threads).max(PIECE);
    std::thread::scope(|scope| {
        let mut pieces = units.chunks(piece).zip(sums.chunks_mut(piece));
        let first = pieces.next();
        pieces.for_each(|piece| drop(scope.spawn(move || fill(piece))));
        first.into_iter().for_each(fill);
    });
    sums
}

impl Sums {
    /// `runs` has the categories of a unit, each with its number of codes.
    fn new(scale: &Scale, categories: usize, runs: &[(u32, u32)], (values, mean): (&[f64], f64)) -> Self {
        let (mut size, mut equal, mut similar, mut apart, mut sum, mut squares) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for (a, m) in runs {
            let (a, m) = (*a as usize, f64::from(*m));
            size += m;
            equal += m * m;
            let (mut close, mut far) = (0.0, 0.0);
            for (b, n) in runs {
                let (b, n) = (*b as usize, f64::from(*n));
                close += m * n * scale.similarity(categories, a, b);
                far += m * n * scale.difference(a, b);
            }
            (similar, apart) = (similar + close, apart + far);
            let value = values.get(a).map_or(0.0, |value| value - mean);
            (sum, squares) = (sum + value * m, squares + value * value * m);
        }
        let share = |sum: f64| if size > 1.0 { (sum - size) / (size * (size - 1.0)) } else { 0.0 };
        let apart = if size > 1.0 { apart / (size - 1.0) } else { 0.0 };
        Sums { equal: share(equal), similar: share(similar), apart, sum, squares }
    }
}

impl Weighted<'_> {
    fn units(&self, least: u32) -> impl Iterator<Item = WeightedUnit<'_>> {
        self.ratings.weighted_units(self.weights, least)
    }

    /// Adds the weight of the codes of each category, in units with two codes or more.
    fn add_totals(&self, totals: &mut [f64]) {
        for WeightedUnit { codes, weight, .. } in self.units(2) {
            codes.iter().for_each(|category| totals[*category as usize] += weight);
        }
    }

    /// Replaces the numbers of all ordinal categories by their ranks, and returns the sum of the squared distances of
    /// all codes from the mean rank, which is half the number of codes. A rank is the number of codes below the category
    /// and half of those in it, so that squared differences are those of Krippendorff's alpha.
    fn rank(&self, ranks: &mut [f64]) -> f64 {
        let owners = &self.ratings.owners;
        ranks[..self.ratings.shared].fill(0.0);
        let units = self.units(2).filter(|one| one.unit.shared > 0);
        for WeightedUnit { unit, codes, weight, .. } in units {
            codes[..unit.shared as usize].iter().for_each(|category| ranks[*category as usize] += weight);
        }
        let (mut below, mut squares) = (0.0, 0.0);
        for (rank, owner) in ranks.iter_mut().zip(owners) {
            let total = if *owner == NO_UNIT { *rank } else { self.weights[*owner as usize] };
            *rank = below + total / 2.0;
            squares += (*rank - self.n / 2.0).powi(2) * total;
            below += total;
        }
        squares
    }

    /// The sum over all categories of their squared weight, where a code of a unit with `least` codes or more weighs
    /// `each`. The square of a category that occurs once needs no total.
    fn squared_totals(&self, least: u32, each: impl Fn(Unit, f64) -> f64) -> f64 {
        self.ratings.with_buffer(|totals| {
            let totals = &mut totals[..self.ratings.shared];
            totals.fill(0.0);
            let mut own = 0.0;
            for WeightedUnit { unit, codes, weight, .. } in self.units(least) {
                let each = each(unit, weight);
                own += each * each * f64::from(unit.size - unit.shared);
                codes[..unit.shared as usize].iter().for_each(|category| totals[*category as usize] += each);
            }
            own + totals.iter().map(|total| total * total).sum::<f64>()
        })
    }

    /// Krippendorff's alpha. `None` if no unit has two codes, or if all codes are equal.
    ///
    /// K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), <https://repository.upenn.edu/asc_papers/43>.
    pub(crate) fn alpha(&self) -> Option<f64> {
        let Ratings { scale, ratios, .. } = self.ratings;
        let n = self.n;
        let (observed, expected, least) = match (scale, ratios) {
            (Scale::Interval(_), _) => {
                (self.apart, 2.0 * (n * self.squares - self.sum * self.sum), 1e-12 * n * self.squares)
            }
            (Scale::Nominal, _) => (self.apart, n * n - self.squared_totals(2, |_, weight| weight), 1e-12 * n * n),
            (Scale::Ordinal, _) => {
                let (observed, expected) = self.ordinal();
                (observed, expected, 0.0)
            }
            _ => {
                let expected = self.ratings.with_buffer(|totals| {
                    totals.fill(0.0);
                    self.add_totals(totals);
                    self.expected(totals)
                });
                (self.apart, expected, 0.0)
            }
        };
        (expected > least).then(|| 1.0 - (n - 1.0) * observed / expected)
    }

    /// The observed and the expected differences of ordinal categories.
    fn ordinal(&self) -> (f64, f64) {
        *self.ordinal.get_or_init(|| {
            self.ratings.with_buffer(|ranks| {
                let squares = self.rank(ranks);
                (self.apart_in(ranks), 2.0 * self.n * squares)
            })
        })
    }

    /// The observed differences of ordinal categories. The ranks of many units are read at once, so that the processor
    /// does not wait for the memory at each.
    fn apart_in(&self, ranks: &[f64]) -> f64 {
        let Ratings { units, codes, .. } = self.ratings;
        let (mut observed, mut near, mut start) = (0.0, Vec::new(), 0);
        for (units, weights) in units.chunks(BLOCK).zip(self.weights.chunks(BLOCK)) {
            let end = units.last().map_or(start, |unit| unit.end as usize);
            near.clear();
            near.extend(codes[start..end].iter().map(|category| ranks[*category as usize]));
            let mut rest = near.as_slice();
            for (unit, weight) in units.iter().zip(weights) {
                let (own, others) = rest.split_at(unit.size as usize);
                observed += if unit.size >= 2 { weight * apart(own.iter().copied()) } else { 0.0 };
                rest = others;
            }
            start = end;
        }
        observed
    }

    /// The expected differences, from the weight of the codes of each category.
    fn expected(&self, totals: &[f64]) -> f64 {
        match &self.ratings.ratios {
            Some(ratios) => ratios.expected(totals),
            None => self.differences(totals).iter().zip(totals).map(|(sum, total)| sum * total).sum(),
        }
    }

    /// The sum of the differences of each category from all, weighted by `totals`. Not for ordinal categories.
    fn differences(&self, totals: &[f64]) -> Vec<f64> {
        let all: f64 = totals.iter().sum();
        match (&self.ratings.scale, &self.ratings.ratios) {
            (_, Some(ratios)) => ratios.sums(totals),
            (Scale::Nominal, _) => totals.iter().map(|total| all - total).collect(),
            (Scale::Interval(values), _) => {
                let (mean, squares) = spread(values, totals);
                values.iter().map(|v| (v - mean).powi(2) * all + squares).collect()
            }
            (scale, _) => {
                let used: Vec<usize> = (0..totals.len()).filter(|category| totals[*category] > 0.0).collect();
                let sum = |a: usize| used.iter().map(|b| totals[*b] * scale.difference(a, *b)).sum();
                (0..totals.len()).map(|a| if totals[a] > 0.0 { sum(a) } else { 0.0 }).collect()
            }
        }
    }

    /// The standard error of alpha.
    pub(crate) fn alpha_error(&self) -> Option<f64> {
        self.alpha()?;
        let (n, units) = (self.n, self.paired);
        let mut totals = vec![0.0; self.ratings.categories];
        // The ranks of ordinal categories. Else the differences of each category from all.
        let is_ordinal = self.ratings.scale == Scale::Ordinal;
        let (observed, expected, numbers) = if is_ordinal {
            self.rank(&mut totals);
            let (observed, expected) = self.ordinal();
            (observed, expected, totals)
        } else {
            self.add_totals(&mut totals);
            (self.apart, self.expected(&totals), self.differences(&totals))
        };
        let squares = expected / (2.0 * n);
        let from_all = |category: &u32| {
            let number = numbers[*category as usize];
            if is_ordinal { (number - n / 2.0).powi(2) + squares / n } else { number / n }
        };
        let (size, expected) = (n / units, expected / (n * n));
        let observed = observed / units / size;
        let alpha = 1.0 - observed / expected;
        let adjusted = (1.0 - 1.0 / n) * observed;
        let term = |WeightedUnit { unit, sums, codes, weight }: WeightedUnit<'_>| {
            let larger = (f64::from(unit.size) - size) / size;
            let ranks = codes.iter().map(|category| numbers[*category as usize]);
            let apart = if is_ordinal { apart(ranks) } else { sums.apart };
            let of_unit = apart / size - adjusted * larger;
            let by_chance = codes.iter().map(from_all).sum::<f64>() / size - expected * larger;
            let linear = 1.0 - of_unit / expected - 2.0 * (1.0 - alpha) * (expected - by_chance) / expected;
            weight * (linear - alpha).powi(2)
        };
        let squares: f64 = self.units(2).map(term).sum();
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
        let squares: f64 = self.units(2).map(|unit| unit.weight * (unit.sums.equal - mean).powi(2)).sum();
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
        // A category's share is its mean share among the codes of a unit.
        let repeated = *self.repeated.get_or_init(|| {
            self.squared_totals(1, |unit, weight| weight / f64::from(unit.size)) / (self.coded * self.coded)
        });
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
        for WeightedUnit { unit, codes, weight, .. } in self.units(1) {
            let each = weight / f64::from(unit.size) / self.coded;
            codes.iter().for_each(|category| shares[*category as usize] += each);
        }
        let of = |share: &f64| self.by_chance(chance, *share);
        let by_chance: f64 = shares.iter().map(|share| of(share) * share).sum();
        let (n, paired) = (self.coded, self.paired);
        let term = |WeightedUnit { unit, sums, codes, weight }: WeightedUnit<'_>| {
            let observed = if chance == Chance::GwetSimilar { sums.similar } else { sums.equal };
            let own = if unit.size > 1 { n / paired * (observed - by_chance) / (1.0 - by_chance) } else { 0.0 };
            let codes = codes.iter().map(|category| of(&shares[*category as usize]));
            let here = codes.sum::<f64>() / f64::from(unit.size);
            weight * (own - 2.0 * (1.0 - found) * (here - by_chance) / (1.0 - by_chance) - found).powi(2)
        };
        let squares: f64 = self.units(1).map(term).sum();
        (n > 1.0).then(|| (squares / (n * (n - 1.0))).sqrt())
    }
}

/// The mean of the values, and the sum of their squared distances from it.
fn spread(values: &[f64], totals: &[f64]) -> (f64, f64) {
    let all: f64 = totals.iter().sum();
    let mean = values.iter().zip(totals).map(|(v, total)| v * total).sum::<f64>() / all.max(1.0);
    (mean, values.iter().zip(totals).map(|(v, total)| (v - mean).powi(2) * total).sum())
}

/// The squared differences of all pairs of ranks, divided by their number less one. Distances from the first rank lose no
/// digits.
fn apart(mut ranks: impl ExactSizeIterator<Item = f64>) -> f64 {
    let size = ranks.len() as f64;
    let Some(first) = ranks.next() else { return 0.0 };
    let (sum, squares) = ranks.fold((0.0, 0.0), |(sum, squares), rank| {
        let away = rank - first;
        (sum + away, squares + away * away)
    });
    2.0 * (size * squares - sum * sum) / (size - 1.0)
}
