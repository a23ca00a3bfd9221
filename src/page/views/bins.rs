//! Distributions of numbers in one pass and little memory: exact counts in bins, and a random sample for quantiles.

use std::collections::BTreeMap;

use crate::random::{Stream, Streams};
use crate::stats::interpolated;

/// The most bins. When they are not enough, neighbours are merged.
const MOST: i64 = 40;
/// The bins of a range that is known.
const WANTED: f64 = 20.0;
/// The largest number of a bin that is exact.
const FARTHEST: u64 = 1 << 50;
/// The most numbers that quantiles are computed of.
const SAMPLE: usize = 50_000;

/// A histogram of numbers whose range may be unknown. The width of a bin is 1 or 5 times a power of ten.
#[derive(Clone, Debug, Default)]
pub(super) struct Bins {
    /// Twice the exponent of the width, and one more for a width of 5.
    step: Option<i32>,
    counts: BTreeMap<i64, u64>,
    /// The upper bound; numbers equal to it belong to the bin below.
    top: Option<f64>,
}

impl Bins {
    /// Bins for numbers within `bounds`, if both are known.
    pub(super) fn within(bounds: [Option<f64>; 2], is_whole: bool) -> Bins {
        let [Some(low), Some(high)] = bounds else {
            return Bins { step: is_whole.then_some(0), ..Bins::default() };
        };
        let wanted = (high - low) / WANTED;
        let fits = |step: &i32| width(*step) >= wanted * (1.0 - 1e-9);
        let step = (-40..40).find(fits).map(|step| if is_whole { step.max(0) } else { step });
        Bins { step, counts: BTreeMap::new(), top: Some(high).filter(|_| !is_whole) }
    }

    pub(super) fn add(&mut self, number: f64) {
        let exponent = if number == 0.0 { 0 } else { number.abs().log10().floor() as i32 };
        let mut step = *self.step.get_or_insert(2 * (exponent - 5));
        while place(number, step).unsigned_abs() > FARTHEST {
            self.merge();
            step += 1;
        }
        let mut bin = place(number, step);
        if self.top == Some(number) && edge(bin, step) == number {
            bin -= 1;
        }
        *self.counts.entry(bin).or_default() += 1;
        while self.span() > MOST {
            self.merge();
        }
    }

    fn span(&self) -> i64 {
        let ends = self.counts.first_key_value().zip(self.counts.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last.saturating_sub(*first).saturating_add(1))
    }

    /// Makes the bins wider: five of them become one, or two of them.
    fn merge(&mut self) {
        let step = self.step.unwrap_or_default();
        let of = if step.rem_euclid(2) == 0 { 5 } else { 2 };
        self.step = Some(step + 1);
        for (bin, count) in std::mem::take(&mut self.counts) {
            *self.counts.entry(bin.div_euclid(of)).or_default() += count;
        }
    }

    /// The edges, one more than bins.
    pub(super) fn edges(&self) -> Vec<f64> {
        let Some((first, step)) = self.counts.first_key_value().map(|(first, _)| *first).zip(self.step) else {
            return Vec::new();
        };
        (first..=first + self.span()).map(|bin| edge(bin, step)).collect()
    }

    pub(super) fn counts(&self) -> Vec<u64> {
        let Some((first, _)) = self.counts.first_key_value() else { return Vec::new() };
        (*first..*first + self.span()).map(|bin| self.counts.get(&bin).copied().unwrap_or(0)).collect()
    }

    /// Whether each bin holds one whole number.
    pub(super) fn is_by_one(&self) -> bool {
        self.step == Some(0)
    }
}

fn width(step: i32) -> f64 {
    edge(1, step)
}

/// The lower edge of a bin. Powers of ten are divided by, since 0.1 is not a binary fraction.
fn edge(bin: i64, step: i32) -> f64 {
    let (times, exponent) = (if step.rem_euclid(2) == 0 { 1 } else { 5 }, step.div_euclid(2));
    let whole = bin as f64 * f64::from(times);
    if exponent < 0 { whole / 10f64.powi(-exponent) } else { whole * 10f64.powi(exponent) }
}

fn place(number: f64, step: i32) -> i64 {
    let (times, exponent) = (if step.rem_euclid(2) == 0 { 1.0 } else { 5.0 }, step.div_euclid(2));
    let scaled = if exponent < 0 { number * 10f64.powi(-exponent) } else { number / 10f64.powi(exponent) };
    (scaled / times).floor() as i64
}

/// A random sample of items, of which each set is equally likely (algorithm R: Vitter 1985,
/// <https://doi.org/10.1145/3147.3165>).
#[derive(Debug)]
pub(super) struct Sample<T> {
    pub(super) items: Vec<T>,
    /// The number of items that the sample is drawn from.
    pub(super) of: u64,
    most: usize,
    random: Stream,
}

impl<T> Sample<T> {
    pub(super) fn new(most: usize, seed: u64, name: &str) -> Self {
        Sample { items: Vec::new(), of: 0, most, random: Streams::new(seed, &["report", name]).of(0) }
    }

    pub(super) fn add(&mut self, item: impl FnOnce() -> T) {
        self.of += 1;
        if self.items.len() < self.most {
            return self.items.push(item());
        }
        if let Some(place) = self.items.get_mut(self.random.below(self.of) as usize) {
            *place = item();
        }
    }

    pub(super) fn is_partial(&self) -> bool {
        self.of > self.items.len() as u64
    }
}

/// The distribution of some numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) bins: Bins,
    pub(super) sample: Sample<f64>,
    pub(super) mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
    pub(super) ends: Option<(f64, f64)>,
}

impl Numbers {
    pub(super) fn new(bins: Bins, seed: u64, name: &str) -> Numbers {
        Numbers { bins, sample: Sample::new(SAMPLE, seed, name), mean: 0.0, squares: 0.0, ends: None }
    }

    /// Adds a number. The mean and the squares are updated by Welford's method (<https://doi.org/10.2307/1266577>).
    pub(super) fn add(&mut self, number: f64) {
        self.bins.add(number);
        self.sample.add(|| number);
        let away = number - self.mean;
        self.mean += away / self.sample.of as f64;
        self.squares += away * (number - self.mean);
        self.ends = Some(self.ends.map_or((number, number), |(low, high)| (low.min(number), high.max(number))));
    }

    pub(super) fn n(&self) -> u64 {
        self.sample.of
    }

    /// The standard deviation of the population that the numbers are a sample of.
    pub(super) fn deviation(&self) -> Option<f64> {
        (self.n() > 1).then(|| (self.squares / (self.n() - 1) as f64).sqrt())
    }

    /// The quartiles.
    pub(super) fn quartiles(&self) -> Option<[f64; 3]> {
        let mut sorted = self.sample.items.clone();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| [0.25, 0.5, 0.75].map(|share| interpolated(&sorted, share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut bins: Bins, numbers: &[f64]) -> Bins {
        numbers.iter().for_each(|number| bins.add(*number));
        bins
    }

    /// The bins hold the same numbers as a direct count between their edges.
    #[test]
    fn bins_count_each_number_between_its_edges() {
        let none = [None, None];
        let wide: Vec<f64> = (0..1000).map(|i| f64::from(i * i) - 3000.0).collect();
        let small: Vec<f64> = (0..500).map(|i| f64::from(i % 7) * 1e-7).collect();
        let whole: Vec<f64> = (0..100).map(|i| f64::from(i % 5)).collect();
        for (bins, numbers) in [
            (Bins::within(none, false), &wide),
            (Bins::within(none, false), &small),
            (Bins::within(none, true), &whole),
        ] {
            let bins = filled(bins, numbers);
            let (edges, counts) = (bins.edges(), bins.counts());
            assert_eq!(edges.len(), counts.len() + 1);
            assert!(counts.len() as i64 <= MOST, "{counts:?}");
            assert_eq!(counts.iter().sum::<u64>(), numbers.len() as u64);
            for (i, count) in counts.iter().enumerate() {
                // Rounding may move a number that lies on an edge.
                let room = (edges[i + 1] - edges[i]) * 1e-9;
                let inside = |room: f64| {
                    numbers.iter().filter(|n| **n >= edges[i] - room && **n < edges[i + 1] - room).count() as u64
                };
                assert!([inside(0.0), inside(room), inside(-room)].contains(count), "{i} of {edges:?}: {count}");
            }
        }
        assert_eq!(filled(Bins::within(none, true), &whole).edges(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn known_bounds_make_twenty_bins_and_keep_the_upper_one_inside() {
        let bins = filled(Bins::within([Some(0.0), Some(1.0)], false), &[0.0, 0.05, 0.95, 0.97, 1.0]);
        let (edges, counts) = (bins.edges(), bins.counts());
        assert_eq!((edges[0], edges[1], *edges.last().unwrap(), counts.len()), (0.0, 0.05, 1.0, 20));
        assert_eq!((counts[0], counts[1], counts[19]), (1, 1, 3));
    }

    #[test]
    fn a_sample_is_everything_if_it_fits_and_else_spread_evenly() {
        let mut all = Sample::new(10, 7, "x");
        (0..10).for_each(|i| all.add(|| i));
        assert_eq!((all.items.clone(), all.is_partial()), ((0..10).collect(), false));
        let mut some = Sample::new(1000, 7, "x");
        (0..100_000).for_each(|i| some.add(|| f64::from(i)));
        let mean = some.items.iter().sum::<f64>() / 1000.0;
        assert!(some.is_partial() && (mean - 50_000.0).abs() < 5_000.0, "{mean}");
    }

    #[test]
    fn moments_and_quartiles_are_those_of_all_numbers() {
        let mut numbers = Numbers::new(Bins::default(), 1, "x");
        [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].iter().for_each(|n| numbers.add(*n));
        assert!((numbers.mean - 5.0).abs() < 1e-12);
        assert!((numbers.deviation().unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!((numbers.quartiles(), numbers.ends, numbers.n()), (Some([4.0, 4.5, 5.5]), Some((2.0, 9.0)), 8));
    }
}
