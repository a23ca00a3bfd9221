//! Histograms of positive values in bins of one ratio: quantiles of any number of values in a fixed memory.

use std::collections::BTreeMap;

/// The ratio of the ends of a bin. A quantile is the middle of its bin, so it is at most 1 % away.
const RATIO: f64 = 1.02;
/// Smaller values count as this one.
const SMALLEST: f64 = 1e-3;

#[derive(Clone, Debug, Default)]
pub(crate) struct LogHistogram {
    bins: BTreeMap<i32, u64>,
    count: u64,
}

impl LogHistogram {
    pub(crate) fn add(&mut self, value: f64) {
        let bin = (value.max(SMALLEST).ln() / RATIO.ln()).floor();
        *self.bins.entry(bin as i32).or_default() += 1;
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &LogHistogram) {
        other.bins.iter().for_each(|(bin, count)| *self.bins.entry(*bin).or_default() += count);
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The values of the bins in order, each with the share of all values up to it.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (f64, f64)> {
        let mut sum = 0;
        self.bins.iter().map(move |(bin, count)| {
            sum += count;
            (RATIO.powf(f64::from(*bin) + 0.5), sum as f64 / self.count as f64)
        })
    }

    /// The nearest-rank percentile, at most 1 % away. `share` is from 0 to 1. `None` without values.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        self.shares().find(|(_, up_to)| *up_to >= share - 1e-12).map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::nearest_rank;

    #[test]
    fn quantiles_are_within_one_percent_of_the_measured_values() {
        let values: Vec<f64> = (1..5000).map(|i| 0.7 * f64::from(i).powf(1.7)).collect();
        let (mut all, mut odd, mut even) = (LogHistogram::default(), LogHistogram::default(), LogHistogram::default());
        for (i, value) in values.iter().enumerate() {
            all.add(*value);
            if i % 2 == 0 { even.add(*value) } else { odd.add(*value) }
        }
        odd.merge(&even);
        for share in [0.001, 0.05, 0.5, 0.9, 0.95, 0.999, 1.0] {
            let (found, expected) = (all.quantile(share).unwrap(), nearest_rank(&values, share));
            assert!((found / expected - 1.0).abs() <= 0.01, "{share}: {found} and {expected}");
            assert_eq!(odd.quantile(share), Some(found));
        }
        assert!(all.shares().map(|(value, _)| value).is_sorted());
        assert_eq!(all.shares().last().map(|(_, share)| share), Some(1.0));
        assert!(all.bins.len() < 1000, "{} bins", all.bins.len());
    }

    #[test]
    fn a_value_of_zero_counts_and_no_value_has_no_quantile() {
        let mut zero = LogHistogram::default();
        assert_eq!((zero.quantile(0.5), zero.count()), (None, 0));
        zero.add(0.0);
        assert!(zero.quantile(0.5).is_some_and(|value| value < 0.0011));
    }
}
