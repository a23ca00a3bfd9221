//! Quotas: whole numbers of people by largest remainder, and shuffled orders of people in constant memory.

use crate::random::Stream;

/// Splits `total` into whole numbers by `shares` (at least 0, not all 0). Each share gets its exact part rounded down.
/// The rest goes, one each, to the largest remainders (Hamilton's method). Of equal remainders, the one that
/// is first in `order`, a permutation of the indices, wins. A share of 0 gets nothing.
pub(crate) fn largest_remainder(total: u64, shares: &[f64], order: &[usize]) -> Vec<u64> {
    let sum: f64 = shares.iter().sum();
    let exact: Vec<f64> = shares.iter().map(|share| total as f64 * (share / sum)).collect();
    let mut counts: Vec<u64> = exact.iter().map(|part| part.floor() as u64).collect();
    // Remainders are compared in steps, since smaller differences are rounding errors.
    let step = 1e-14 * (total as f64).max(100.0);
    let remainder: Vec<f64> = exact.iter().map(|part| (part.fract() / step).round()).collect();
    let mut ranked: Vec<usize> = order.iter().copied().filter(|i| shares[*i] > 0.0).collect();
    ranked.sort_by(|a, b| remainder[*b].total_cmp(&remainder[*a]));
    let left = total.saturating_sub(counts.iter().sum());
    ranked.iter().take(left as usize).for_each(|i| counts[*i] += 1);
    counts
}

/// A permutation of the numbers in [0, `size`), a pure function of its keys.
///
/// A balanced Feistel network of eight rounds (Luby and Rackoff 1988, <https://doi.org/10.1137/0217022>) permutes
/// numbers with an even number of bits. A result of `size` or more is permuted again until it is below (cycle
/// walking, Black and Rogaway 2002, <https://doi.org/10.1007/3-540-45760-7_9>), less than four times on average.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    size: u64,
    half: u32,
    keys: [u64; 8],
}

impl Permutation {
    pub(crate) fn new(size: u64, stream: &mut Stream) -> Permutation {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        Permutation { size, half: bits.div_ceil(2).max(1), keys: [(); 8].map(|()| stream.below(u64::MAX)) }
    }

    /// The number at `index`, which must be below the size.
    pub(crate) fn at(&self, index: u64) -> u64 {
        let mut number = index;
        loop {
            number = self.round(number);
            if number < self.size {
                return number;
            }
        }
    }

    fn round(&self, number: u64) -> u64 {
        let mask = (1_u64 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mixed(right ^ key) & mask));
        }
        (left << self.half) | right
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014, <https://doi.org/10.1145/2660193.2660195>).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[derive(Clone, Debug)]
pub(crate) struct Quota {
    /// The end of each option's range of people.
    ends: Vec<u64>,
    order: Permutation,
}

impl Quota {
    /// The quota of a group of `people` with `shares` of the options. A draw decides between equal remainders;
    /// otherwise the first option would win in every group.
    pub(crate) fn new(people: u64, shares: &[f64], stream: &mut Stream) -> Quota {
        let mut order: Vec<usize> = (0..shares.len()).collect();
        stream.shuffle(&mut order);
        Quota::of(&largest_remainder(people, shares, &order), stream)
    }

    pub(crate) fn of(counts: &[u64], stream: &mut Stream) -> Quota {
        let ends: Vec<u64> = counts
            .iter()
            .scan(0, |end, count| {
                *end += count;
                Some(*end)
            })
            .collect();
        let people = ends.last().copied().unwrap_or(0);
        Quota { ends, order: Permutation::new(people, stream) }
    }

    pub(crate) fn option(&self, rank: u64) -> usize {
        let place = self.order.at(rank);
        self.ends.partition_point(|end| *end <= place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Streams;

    fn split(total: u64, shares: &[f64]) -> Vec<u64> {
        largest_remainder(total, shares, &(0..shares.len()).collect::<Vec<_>>())
    }

    #[test]
    fn largest_remainders() {
        assert_eq!(split(200, &[0.5, 0.45, 0.05]), [100, 90, 10]);
        assert_eq!(split(100, &[0.29, 0.71]), [29, 71]);
        // The exact parts are 4.7, 1.6, 1.58, 1.2, 0.61 and 0.31 of 10.
        let votes = [47_000.0, 16_000.0, 15_800.0, 12_000.0, 6_100.0, 3_100.0];
        assert_eq!(split(10, &votes), [5, 2, 1, 1, 1, 0]);
        assert_eq!(split(2, &[1.0, 1.0, 1.0]), [1, 1, 0]);
        assert_eq!(largest_remainder(2, &[1.0, 1.0, 1.0], &[2, 1, 0]), [0, 1, 1]);
        assert_eq!(split(1_000_000_001, &[1.0, 1.0, 1.0]), [333_333_334, 333_333_334, 333_333_333]);
        assert_eq!(split(1_000_000_000, &[0.12, 0.63, 0.25]), [120_000_000, 630_000_000, 250_000_000]);
        assert_eq!(split(3, &[0.0, 1.0, 0.0]), [0, 3, 0]);
        assert_eq!(split(0, &[0.5, 0.5]), [0, 0]);
    }

    #[test]
    fn the_numbers_always_sum_up_and_are_never_off_by_one() {
        for total in [1, 7, 199, 1000, 999_999_999] {
            for parts in 1..40_u32 {
                let shares: Vec<f64> = (0..parts).map(|i| 1.0 / f64::from(1 + i * i)).collect();
                let (counts, sum) = (split(total, &shares), shares.iter().sum::<f64>());
                assert_eq!(counts.iter().sum::<u64>(), total);
                for (count, share) in counts.iter().zip(&shares) {
                    assert!((*count as f64 - total as f64 * share / sum).abs() < 1.0 + 1e-6, "{total} {parts}");
                }
            }
        }
    }

    #[test]
    fn a_permutation_is_one_and_shuffles() {
        let streams = Streams::new(1, &["order"]);
        for size in [1, 2, 3, 4, 5, 100, 1023, 1024, 1025] {
            let order = Permutation::new(size, &mut streams.of(size));
            let mut found: Vec<u64> = (0..size).map(|i| order.at(i)).collect();
            if size > 99 {
                let kept = (0..size).filter(|i| found[*i as usize] == *i).count();
                assert!(kept < 8, "{kept} of {size} stay where they are");
            }
            found.sort_unstable();
            assert_eq!(found, (0..size).collect::<Vec<_>>());
        }
    }

    /// Under many keys, each number is at each position equally often.
    #[test]
    fn every_place_is_equally_likely() {
        let streams = Streams::new(5, &["order"]);
        // The 99th percentiles of chi-square with (size - 1)^2 degrees of freedom.
        for (size, most) in [(2, 6.63), (3, 13.28), (4, 21.67), (10, 113.51)] {
            let mut counts = vec![0_u32; size * size];
            for key in 0..5000 {
                let order = Permutation::new(size as u64, &mut streams.of(key));
                (0..size).for_each(|i| counts[i * size + order.at(i as u64) as usize] += 1);
            }
            let expected = 5000.0 / size as f64;
            let chi: f64 = counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            assert!(chi < most, "{size}: {chi}");
        }
    }

    #[test]
    fn equal_remainders_do_not_favour_the_first_option() {
        let streams = Streams::new(3, &["ties"]);
        let first =
            (0..1000).filter(|group| Quota::new(1, &[0.5, 0.5], &mut streams.of(*group)).option(0) == 0).count();
        assert!((450..=550).contains(&first), "{first}");
    }
}
