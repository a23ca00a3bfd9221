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
