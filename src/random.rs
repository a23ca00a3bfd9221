//! Reproducible randomness: streams of ChaCha8 numbers by seed, name and number. Depends on no other module.
//!
//! A value depends only on the seed, the name and the number, not on earlier draws or their order.
//! The sampling methods are implemented here, since those of the `rand` crate may change between its releases.

use std::collections::HashSet;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The streams of one name, such as a column's. Each number, such as a row's, has a separate stream.
#[derive(Clone, Debug)]
pub(crate) struct Streams([u8; 32]);

#[derive(Debug)]
pub(crate) struct Stream(ChaCha8Rng);

impl Streams {
    /// Returns the streams of `name` under `seed`. The parts of a name are separate: `["a", "b"]` is not `["ab"]`.
    pub(crate) fn new(seed: u64, name: &[&str]) -> Streams {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        for part in name {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Streams(*hasher.finalize().as_bytes())
    }

    pub(crate) fn of(&self, number: u64) -> Stream {
        let mut numbers = ChaCha8Rng::from_seed(self.0);
        numbers.set_stream(number);
        Stream(numbers)
    }
}

impl Stream {
    /// Returns a number from 0 up to, but not including, 1: a multiple of 2^-53, all equally likely.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Returns a number from 0 up to, but not including, `end` (0 when `end` is 0), all equally likely (Lemire 2019,
    /// <https://doi.org/10.1145/3230636>).
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(end);
            let low = wide as u64;
            if low >= end || low >= end.wrapping_neg() % end.max(1) {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Returns `size` numbers from 0 up to, but not including, `end`, or all of them; each set is equally likely
    /// (Floyd's sampling: Bentley and Floyd 1987, <https://doi.org/10.1145/30401.315746>).
    pub(crate) fn sample(&mut self, size: u64, end: u64) -> HashSet<u64> {
        let mut sample = HashSet::new();
        for last in end.saturating_sub(size)..end {
            let number = self.below(last + 1);
            if !sample.insert(number) {
                sample.insert(last);
            }
        }
        sample
    }

    /// Returns the number of successes in `n` trials with the probability `p`: by inversion for a small mean, else by
    /// transformed rejection (BTRS: Hormann 1993, <https://doi.org/10.1080/00949659308811496>).
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if n == 0 || p <= 0.0 {
            0
        } else if p >= 1.0 {
            n
        } else if p > 0.5 {
            n - self.binomial(n, 1.0 - p)
        } else if n as f64 * p < 10.0 {
            self.binomial_by_inversion(n, p)
        } else {
            self.binomial_by_rejection(n as f64, p)
        }
    }

    fn binomial_by_inversion(&mut self, n: u64, p: f64) -> u64 {
        let odds = p / (1.0 - p);
        let (mut left, mut term, mut k) = (self.unit(), (n as f64 * (-p).ln_1p()).exp(), 0);
        while left >= term && k < n {
            left -= term;
            k += 1;
            term *= odds * (n - k + 1) as f64 / k as f64;
        }
        k
    }

    fn binomial_by_rejection(&mut self, n: f64, p: f64) -> u64 {
        /// What Stirling's formula leaves out of the logarithm of k!.
        fn rest(k: f64) -> f64 {
            const FIRST: [f64; 10] = [
                0.081_061_466_795_327_26,
                0.041_340_695_955_409_29,
                0.027_677_925_684_998_34,
                0.020_790_672_103_765_09,
                0.016_644_691_189_821_19,
                0.013_876_128_823_070_75,
                0.011_896_709_945_891_77,
                0.010_411_265_261_972_09,
                0.009_255_462_182_712_733,
                0.008_330_563_433_362_87,
            ];
            let next = k + 1.0;
            let series = || (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / (next * next)) / (next * next)) / next;
            FIRST.get(k as usize).copied().unwrap_or_else(series)
        }
        let (spread, odds) = ((n * p * (1.0 - p)).sqrt(), p / (1.0 - p));
        let b = 1.15 + 2.53 * spread;
        let a = -0.0873 + 0.0248 * b + 0.01 * p;
        let (centre, quick, scale) = (n * p + 0.5, 0.92 - 4.2 / b, (2.83 + 5.1 / b) * spread);
        let mode = ((n + 1.0) * p).floor();
        loop {
            let (u, v) = (self.unit() - 0.5, self.unit());
            let edge = 0.5 - u.abs();
            let k = ((2.0 * a / edge + b) * u + centre).floor();
            if edge >= 0.07 && v <= quick {
                return k as u64;
            }
            if !(0.0..=n).contains(&k) {
                continue;
            }
            let height = (v * scale / (a / (edge * edge) + b)).ln();
            let limit = (mode + 0.5) * ((mode + 1.0) / (odds * (n - mode + 1.0))).ln()
                + (n + 1.0) * ((n - mode + 1.0) / (n - k + 1.0)).ln()
                + (k + 0.5) * (odds * (n - k + 1.0) / (k + 1.0)).ln()
                + (rest(mode) + rest(n - mode) - rest(k) - rest(n - k));
            if height <= limit {
                return k as u64;
            }
        }
    }

    /// Shuffles `items`; all orders are equally likely (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator itself: its first words for `seed_from_u64(42)` were taken from rand_chacha 0.10.
    #[test]
    fn the_generator_is_chacha8() {
        let mut numbers = ChaCha8Rng::seed_from_u64(42);
        let words = [0; 4].map(|_: u32| numbers.next_u32());
        assert_eq!(words, [962_419_617, 2_928_721_845, 628_724_104, 4_081_401_798]);
    }

    #[test]
    fn a_stream_depends_on_its_seed_name_and_number_alone() {
        let first = |seed, name: &[&str], number| Streams::new(seed, name).of(number).unit();
        assert_eq!(first(1, &["age"], 7), first(1, &["age"], 7));
        for other in [first(2, &["age"], 7), first(1, &["a", "ge"], 7), first(1, &["age"], 8)] {
            assert_ne!(first(1, &["age"], 7), other);
        }
        // Pinned: another value would be another population for the same spec.
        let mut stream = Streams::new(42, &["age"]).of(3);
        assert_eq!((stream.unit(), stream.below(10)), (0.722_634_115_895_725_2, 7));
    }

    #[test]
    fn binomial_numbers_have_their_distribution() {
        for (n, p) in [(5, 0.3), (1000, 0.002), (40, 0.5), (200, 0.9), (1_000_000, 0.25), (37, 0.45)] {
            let streams = Streams::new(1, &["binomial"]);
            let draws: Vec<f64> = (0..20_000).map(|number| streams.of(number).binomial(n, p) as f64).collect();
            let (mean, variance) = (n as f64 * p, n as f64 * p * (1.0 - p));
            let found = draws.iter().sum::<f64>() / 20_000.0;
            let spread = draws.iter().map(|k| (k - mean) * (k - mean)).sum::<f64>() / 20_000.0;
            // Four standard errors of a mean and of a variance.
            assert!((found - mean).abs() < 4.0 * (variance / 20_000.0).sqrt(), "{n}, {p}: {found}");
            assert!((spread / variance - 1.0).abs() < 4.0 * (3.0f64 / 20_000.0).sqrt(), "{n}, {p}: {spread}");
            // The share of draws up to the mean is that of the distribution.
            let mut term = (n as f64 * (-p).ln_1p()).exp();
            let below = (0..=(mean as u64)).map(|k| {
                let this = term;
                term *= p / (1.0 - p) * (n - k) as f64 / (k + 1) as f64;
                this
            });
            let (below, n_below) = (below.sum::<f64>(), draws.iter().filter(|k| **k <= mean.floor()).count());
            let underflows = n as f64 * (-p).ln_1p() < -700.0;
            assert!(underflows || (n_below as f64 / 20_000.0 - below).abs() < 0.015, "{n}, {p}: {n_below} {below}");
        }
        let mut stream = Streams::new(1, &[]).of(0);
        assert_eq!((stream.binomial(0, 0.5), stream.binomial(9, 0.0), stream.binomial(9, 1.0)), (0, 0, 9));
    }

    #[test]
    fn every_value_and_every_order_is_equally_likely() {
        let streams = Streams::new(0, &["dice"]);
        let (mut sides, mut orders) = ([0u32; 6], std::collections::HashMap::new());
        for number in 0..60_000 {
            let mut stream = streams.of(number);
            sides[stream.below(6) as usize] += 1;
            let mut order = [0, 1, 2];
            stream.shuffle(&mut order);
            *orders.entry(order).or_insert(0u32) += 1;
        }
        // 15.09 is the 99th percentile of chi-square with 5 degrees of freedom; the draws are fixed, so this can't
        // flicker.
        let chi =
            |counts: &mut dyn Iterator<Item = u32>| counts.map(|n| (f64::from(n) - 1e4).powi(2) / 1e4).sum::<f64>();
        assert!(chi(&mut sides.into_iter()) < 15.09, "{sides:?}");
        assert_eq!(orders.len(), 6);
        assert!(chi(&mut orders.values().copied()) < 15.09, "{orders:?}");
        assert_eq!((Streams::new(0, &[]).of(0).below(0), Streams::new(0, &[]).of(0).below(1)), (0, 0));
    }
}
