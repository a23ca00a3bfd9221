//! The bootstrap: standard errors and intervals of statistics by drawing units again.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::normal::{cumulative, quantile};
use super::quantile::nearest_rank;
use crate::random::{Stream, Streams};

/// The most recomputations for the acceleration of a BCa interval. More units are left out in groups.
const MOST_FOLDS: usize = 400;

/// Units are drawn block by block, which the processor's cache holds.
const BLOCK: usize = 4096;

/// Draws units again, with replacement (Efron 1979, <https://doi.org/10.1214/aos/1176344552>). A replicate depends only
/// on its number and on `streams`, so results do not depend on the number of threads.
#[derive(Clone, Debug)]
pub(crate) struct Bootstrap {
    pub(crate) replicates: usize,
    /// The share of an interval, such as 0.95.
    pub(crate) confidence: f64,
    /// Whether intervals are corrected for bias and acceleration (BCa: Efron 1987, <https://doi.org/10.2307/2289144>).
    pub(crate) bca: bool,
    pub(crate) streams: Streams,
}

/// What is drawn. An item is a row or a pattern; `counts` has the number of equal units of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units<'a> {
    pub(crate) counts: &'a [u64],
    /// The cluster of each item, numbered from 0 without a gap. Whole clusters are drawn.
    pub(crate) clusters: Option<&'a [usize]>,
}

/// The spread of a statistic over the replicates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) std_error: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Whether the interval is BCa. Else it has the percentiles, also where BCa is undefined.
    pub(crate) is_bca: bool,
    /// The number of replicates in which the statistic is undefined.
    pub(crate) undefined: usize,
}

impl Bootstrap {
    /// Returns the spread of each statistic. `statistics` computes them from the weight of each item: how often its
    /// units are drawn. `None` if a statistic is undefined for the units themselves or in half of the replicates.
    pub(crate) fn spreads<S>(&self, units: Units<'_>, statistics: &S) -> Vec<Option<Spread>>
    where
        S: Fn(&[f64]) -> Vec<Option<f64>> + Sync,
    {
        self.spreads_of(&[units], statistics)
    }

    /// Returns the spread of each statistic of several samples without clusters, each of which is drawn by itself. The
    /// weights of their items follow each other.
    ///
    /// Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 8.2.
    pub(crate) fn spreads_of<S>(&self, samples: &[Units<'_>], statistics: &S) -> Vec<Option<Spread>>
    where
        S: Fn(&[f64]) -> Vec<Option<f64>> + Sync,
    {
        let counts: Cow<'_, [u64]> = match samples {
            [one] => Cow::Borrowed(one.counts),
            _ => Cow::Owned(samples.iter().flat_map(|sample| sample.counts).copied().collect()),
        };
        let units = Units { counts: &counts, clusters: samples.first().and_then(|sample| sample.clusters) };
        let weights: Vec<f64> = units.counts.iter().map(|count| *count as f64).collect();
        let found = statistics(&weights);
        if self.replicates == 0 || found.iter().all(Option::is_none) {
            return vec![None; found.len()];
        }
        let draws: Vec<Draw> = samples.iter().map(|sample| Draw::new(*sample)).collect();
        let drawn = in_parallel(self.replicates, |number, weights| {
            let mut stream = self.streams.of(number as u64);
            weights.clear();
            samples.iter().zip(&draws).for_each(|(sample, draw)| draw.draw(*sample, &mut stream, weights));
            statistics(weights)
        });
        let folds = if self.bca { Folds::new(units) } else { Folds::default() };
        let left_out = in_parallel(folds.number, |fold, weights| {
            folds.leave_out(units, fold, weights);
            statistics(weights)
        });
        let of = |i: usize| {
            let mut values: Vec<f64> = drawn.iter().filter_map(|values| values[i]).collect();
            let left_out = left_out.iter().map(|values| values[i]).collect::<Option<Vec<f64>>>();
            let acceleration = left_out.and_then(|left_out| folds.acceleration(found[i]?, &left_out));
            self.spread(found[i]?, &mut values, acceleration)
        };
        (0..found.len()).map(of).collect()
    }

    fn spread(&self, found: f64, values: &mut [f64], acceleration: Option<f64>) -> Option<Spread> {
        let undefined = self.replicates - values.len();
        if undefined * 2 >= self.replicates {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        let corrections = acceleration.zip(bias(values, found));
        let corrected = corrections.map(|(acceleration, bias)| {
            [tail, 1.0 - tail].map(|tail| {
                let z = bias + quantile(tail);
                cumulative(bias + z / (1.0 - acceleration * z))
            })
        });
        // A bias so large that the interval lacks the median of the replicates is beyond the correction.
        let corrected = corrected.filter(|[low, high]| *low < 0.5 && *high > 0.5);
        let [low, high] = corrected.unwrap_or([tail, 1.0 - tail]).map(|share| nearest_rank(values, share));
        Some(Spread { std_error: deviation(values), low, high, is_bca: corrected.is_some(), undefined })
    }
}

/// The standard deviation of a sample.
fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt()
}

/// The bias of sorted replicates, in standard normal units. `None` if all are on one side of `found`.
fn bias(values: &[f64], found: f64) -> Option<f64> {
    let (below, upto) = (values.partition_point(|v| *v < found), values.partition_point(|v| *v <= found));
    let share = (below + upto) as f64 / 2.0 / values.len() as f64;
    (share > 0.0 && share < 1.0).then(|| quantile(share))
}

impl Units<'_> {
    pub(crate) fn number_of_clusters(&self) -> Option<usize> {
        self.clusters.map(|clusters| clusters.iter().max().map_or(0, |last| last + 1))
    }
}

/// How the units of a replicate are drawn. All ways draw as many as there are, each with the same probability.
enum Draw {
    /// Clusters by number.
    Clusters(usize),
    /// Units one by one, with the item of each. For items that are few units each.
    Units(Vec<u32>),
    /// The number of units of each item, which is binomial. For a few items that are many units.
    Items(u64),
}

impl Draw {
    fn new(units: Units<'_>) -> Self {
        let all: u64 = units.counts.iter().sum();
        match units.number_of_clusters() {
            Some(number) => Draw::Clusters(number),
            None if all > 4 * units.counts.len() as u64 => Draw::Items(all),
            None => {
                let items = units.counts.iter().enumerate();
                Draw::Units(items.flat_map(|(item, count)| (0..*count).map(move |_| item as u32)).collect())
            }
        }
    }

    /// Appends the weights of the items.
    fn draw(&self, units: Units<'_>, stream: &mut Stream, weights: &mut Vec<f64>) {
        match self {
            Draw::Clusters(number) => {
                let mut drawn = vec![0.0; *number];
                (0..*number).for_each(|_| drawn[stream.below(*number as u64) as usize] += 1.0);
                let items = units.clusters.unwrap_or_default().iter().zip(units.counts);
                weights.extend(items.map(|(cluster, count)| drawn[*cluster] * *count as f64));
            }
            Draw::Units(items) => {
                let start = weights.len();
                weights.resize(start + units.counts.len(), 0.0);
                let weights = &mut weights[start..];
                let (mut left, mut draws) = (items.len() as u64, items.len() as u64);
                let mut times = [0u32; BLOCK];
                for block in items.chunks(BLOCK) {
                    let units = block.len() as u64;
                    let drawn = stream.binomial(draws, units as f64 / left as f64);
                    times.fill(0);
                    (0..drawn).for_each(|_| times[stream.below(units) as usize] += 1);
                    block.iter().zip(times).for_each(|(item, times)| weights[*item as usize] += f64::from(times));
                    (left, draws) = (left - units, draws - drawn);
                }
            }
            Draw::Items(all) => {
                let (mut left, mut draws) = (*all, *all);
                for count in units.counts {
                    let drawn = stream.binomial(draws, *count as f64 / left as f64);
                    weights.push(drawn as f64);
                    (left, draws) = (left - count, draws - drawn);
                }
            }
        }
    }
}

/// The jackknife of units, for the acceleration. Many units are left out in groups (Frangos and Schucany 1990,
/// <https://doi.org/10.1016/0167-9473(90)90109-U>).
#[derive(Default)]
struct Folds {
    number: usize,
    /// Whether a fold is one of the equal units of an item.
    single: bool,
    /// For each fold, the number of units that are left out, and how many equal folds it is.
    sizes: Vec<(f64, f64)>,
    units: f64,
}

impl Folds {
    fn new(units: Units<'_>) -> Self {
        let sets = units.number_of_clusters().unwrap_or(units.counts.len());
        let number = sets.min(MOST_FOLDS);
        let single = units.clusters.is_none() && sets == number;
        let mut sizes = vec![(0.0, 1.0); number];
        if single {
            sizes = units.counts.iter().map(|count| (1.0, *count as f64)).collect();
        } else if units.clusters.is_some() {
            (0..sets).for_each(|set| sizes[set % number].0 += 1.0);
        } else {
            units.counts.iter().enumerate().for_each(|(i, count)| sizes[i % number].0 += *count as f64);
        }
        let total = sizes.iter().map(|(size, equal)| size * equal).sum();
        Folds { number, single, sizes, units: total }
    }

    fn leave_out(&self, units: Units<'_>, fold: usize, weights: &mut Vec<f64>) {
        weights.clear();
        weights.extend(units.counts.iter().map(|count| *count as f64));
        if self.single {
            weights[fold] -= 1.0;
            return;
        }
        match units.clusters {
            None => weights.iter_mut().skip(fold).step_by(self.number).for_each(|weight| *weight = 0.0),
            Some(clusters) => {
                let folds = clusters.iter().map(|cluster| cluster % self.number);
                folds.zip(weights).filter(|(own, _)| *own == fold).for_each(|(_, weight)| *weight = 0.0);
            }
        }
    }

    /// `None` without folds.
    fn acceleration(&self, found: f64, left_out: &[f64]) -> Option<f64> {
        let influence = |((size, _), value): (&(f64, f64), &f64)| (self.units - size) * (found - value);
        let influences: Vec<f64> = self.sizes.iter().zip(left_out).map(influence).collect();
        let sum = |of: &dyn Fn(f64) -> f64| -> f64 {
            self.sizes.iter().zip(&influences).map(|((_, equal), value)| equal * of(*value)).sum()
        };
        let mean = sum(&|value| value) / sum(&|_| 1.0);
        let (squares, cubes) = (sum(&|value| (value - mean).powi(2)), sum(&|value| (value - mean).powi(3)));
        let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
        (self.number > 0).then_some(acceleration)
    }
}

/// Returns the results of `work` for the numbers from 0 to `n`, in this order. Uses all processors; each thread lends
/// `work` a buffer.
pub(crate) fn in_parallel<T: Send>(n: usize, work: impl Fn(usize, &mut Vec<f64>) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(n);
    let next = AtomicUsize::new(0);
    let one = || {
        let (mut done, mut buffer) = (Vec::new(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= n {
                return done;
            }
            done.push((number, work(number, &mut buffer)));
        }
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(replicates: usize, bca: bool, seed: u64) -> Bootstrap {
        Bootstrap { replicates, confidence: 0.95, bca, streams: Streams::new(seed, &["bootstrap"]) }
    }

    fn mean(values: &[f64]) -> impl Fn(&[f64]) -> Vec<Option<f64>> + Sync {
        move |weights: &[f64]| {
            let (sum, n) = values.iter().zip(weights).fold((0.0, 0.0), |(sum, n), (v, w)| (sum + v * w, n + w));
            vec![(n > 0.0).then(|| sum / n)]
        }
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_the_binomial_distribution() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let units = Units { counts: &[1; 100], clusters: None };
        // The mean of a draw is binomial with n = 100 and p = 0.5: its quantiles at 2.5 and 97.5 % are 40 and 60.
        let each = bootstrap(4000, false, 1).spreads(units, &mean(&values))[0].unwrap();
        assert!((each.low - 0.40).abs() <= 0.0101 && (each.high - 0.60).abs() <= 0.0101, "{each:?}");
        assert!((each.std_error - 0.05).abs() < 0.002, "{each:?}");
        // Equal units may be one item.
        let merged = Units { counts: &[50, 50], clusters: None };
        let merged = bootstrap(4000, true, 1).spreads(merged, &mean(&[0.0, 1.0]))[0].unwrap();
        assert!((merged.low - 0.40).abs() <= 0.0101 && (merged.high - 0.60).abs() <= 0.0101, "{merged:?}");
        assert!(merged.is_bca && !each.is_bca && (merged.std_error - 0.05).abs() < 0.002);
        let equal = bootstrap(50, true, 1).spreads(Units { counts: &[1; 7], clusters: None }, &mean(&[2.5; 7]));
        assert_eq!(equal[0].map(|s| (s.low, s.high, s.std_error)), Some((2.5, 2.5, 0.0)));
    }

    #[test]
    fn clusters_are_drawn_whole() {
        // Four clusters of equal values: the mean of 40 rows is as uncertain as that of 4 values.
        let values: Vec<f64> = (0..40).map(|i| f64::from(i / 10)).collect();
        let clusters: Vec<usize> = (0..40).map(|i| i / 10).collect();
        let units = Units { counts: &[1; 40], clusters: Some(&clusters) };
        let found = bootstrap(4000, true, 1).spreads(units, &mean(&values))[0].unwrap();
        let expected = (1.25f64 / 4.0).sqrt();
        assert!((found.std_error / expected - 1.0).abs() < 0.05, "{found:?} {expected}");
    }

    #[test]
    fn bca_moves_the_interval_of_a_skewed_statistic() {
        // The spatial test data of Efron and Tibshirani (1993), section 14.3: the variance of A, with the 90 %
        // percentile interval 100.8 to 233.9 and the BCa interval 115.8 to 259.6.
        let a = [
            48.0, 36.0, 20.0, 29.0, 42.0, 42.0, 20.0, 42.0, 22.0, 41.0, 45.0, 14.0, 6.0, 0.0, 33.0, 28.0, 34.0, 4.0,
            32.0, 24.0, 47.0, 41.0, 24.0, 26.0, 30.0, 41.0,
        ];
        let variance = |weights: &[f64]| {
            let n: f64 = weights.iter().sum();
            let mean = a.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / n;
            vec![Some(a.iter().zip(weights).map(|(v, w)| w * (v - mean) * (v - mean)).sum::<f64>() / n)]
        };
        let units = Units { counts: &[1; 26], clusters: None };
        let of = |bca| Bootstrap { confidence: 0.9, ..bootstrap(20_000, bca, 3) }.spreads(units, &variance)[0].unwrap();
        let (found, percentile) = (of(true), of(false));
        let near = |end: f64, expected: f64| (end - expected).abs() < 3.0;
        assert!(near(found.low, 115.8) && near(found.high, 259.6), "{found:?}");
        assert!(near(percentile.low, 100.8) && near(percentile.high, 233.9), "{percentile:?}");
    }

    #[test]
    fn an_interval_covers_the_truth_as_often_as_it_says() {
        let mut inside = [0, 0];
        for seed in 0..1000 {
            let mut stream = Streams::new(seed, &["coverage"]).of(0);
            // Sums of uniform numbers around 2.
            let values: Vec<f64> = (0..40).map(|_| (0..4).map(|_| stream.unit()).sum()).collect();
            let units = Units { counts: &[1; 40], clusters: None };
            for (bca, inside) in [false, true].into_iter().zip(&mut inside) {
                let found = bootstrap(200, bca, seed).spreads(units, &mean(&values))[0].unwrap();
                *inside += usize::from(found.low <= 2.0 && 2.0 <= found.high);
            }
        }
        assert!(inside.iter().all(|n| (930..=970).contains(n)), "{inside:?}");
    }

    #[test]
    fn samples_are_drawn_by_themselves() {
        // The difference of the means of 20 and of 80 coin tosses: its variance is 1 / (4 * 20) + 1 / (4 * 80).
        let tosses = |n: u32| (0..n).map(|i| f64::from(i % 2)).collect::<Vec<f64>>();
        let (few, many) = (tosses(20), tosses(80));
        let difference = |weights: &[f64]| {
            let mean = |values: &[f64], weights: &[f64]| {
                assert_eq!(weights.iter().sum::<f64>(), values.len() as f64, "as many as the sample has");
                values.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / values.len() as f64
            };
            vec![Some(mean(&few, &weights[..20]) - mean(&many, &weights[20..]))]
        };
        let samples = [Units { counts: &[1; 20], clusters: None }, Units { counts: &[1; 80], clusters: None }];
        let found = bootstrap(4000, false, 1).spreads_of(&samples, &difference)[0].unwrap();
        let expected = (0.25f64 / 20.0 + 0.25 / 80.0).sqrt();
        assert!((found.std_error / expected - 1.0).abs() < 0.05, "{found:?} {expected}");
    }

    #[test]
    fn work_in_parallel_comes_back_in_order() {
        let found = in_parallel(1000, |number, buffer| {
            buffer.push(number as f64);
            number * number
        });
        assert_eq!(found, (0..1000).map(|number| number * number).collect::<Vec<_>>());
    }

    #[test]
    fn units_one_by_one_in_blocks_and_merged_have_the_same_spread() {
        // Each of 20 skewed values 500 times: 10,000 units are drawn in blocks, and left out in groups.
        let values: Vec<f64> = (0..20).map(|i| f64::from(i).exp()).collect();
        let each: Vec<f64> = (0..10_000).map(|i| values[i % 20]).collect();
        let one_by_one = Units { counts: &[1; 10_000], clusters: None };
        let found = bootstrap(1000, true, 5).spreads(one_by_one, &mean(&each))[0].unwrap();
        let merged = bootstrap(1000, true, 6).spreads(Units { counts: &[500; 20], clusters: None }, &mean(&values));
        let merged = merged[0].unwrap();
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.1;
        assert!(near(found.std_error, merged.std_error), "{found:?} {merged:?}");
        assert!(near(found.low, merged.low) && near(found.high, merged.high), "{found:?} {merged:?}");
        let total = |weights: &[f64]| vec![Some(weights.iter().sum())];
        let totals = bootstrap(20, false, 1).spreads(one_by_one, &total)[0].unwrap();
        assert_eq!((totals.low, totals.high), (10_000.0, 10_000.0), "as many units as there are");
    }

    #[test]
    fn an_undefined_statistic_has_no_spread() {
        let units = Units { counts: &[1, 1, 1], clusters: None };
        let sometimes = |weights: &[f64]| {
            vec![
                None,
                (weights[0] > 0.0).then_some(weights[0]),
                (weights[0] == 1.0 && weights[1] == 1.0).then_some(1.0),
            ]
        };
        let found = bootstrap(300, true, 1).spreads(units, &sometimes);
        assert_eq!((found[0], found[2]), (None, None));
        let spread = found[1].unwrap();
        // A unit is missing in 8 of 27 draws. It is missing when it is left out too, so BCa is undefined.
        assert!((60..120).contains(&spread.undefined) && !spread.is_bca, "{spread:?}");
        assert_eq!(bootstrap(0, true, 1).spreads(units, &sometimes), [None, None, None]);
    }
}
