//! Bootstrap intervals.

use super::quantile::nearest_rank;

/// The 95 % percentile bootstrap interval of `estimate` over `items` (Efron 1979,
/// <https://doi.org/10.1214/aos/1176344552>).
///
/// Each of the `draws` samples as many items as there are, with replacement. `stream(draw)` returns the random numbers
/// of a draw: a function from an end to a number from 0 up to, but not including, that end. Needs an item and a draw.
pub(crate) fn bootstrap<T: Copy, R: FnMut(u64) -> u64>(
    items: &[T],
    draws: u64,
    stream: impl Fn(u64) -> R,
    estimate: impl Fn(&[T]) -> f64,
) -> (f64, f64) {
    let mut drawn: Vec<f64> = (0..draws)
        .map(|draw| {
            let mut below = stream(draw);
            let sample: Vec<T> = items.iter().map(|_| items[below(items.len() as u64) as usize]).collect();
            estimate(&sample)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    (nearest_rank(&drawn, 0.025), nearest_rank(&drawn, 0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64 (Steele, Lea and Flood 2014, <https://doi.org/10.1145/2660193.2660195>).
    fn splitmix(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
        move |end| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % end
        }
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_the_binomial_distribution() {
        let mean = |items: &[f64]| items.iter().sum::<f64>() / items.len() as f64;
        let items: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        // The mean of a draw is binomial with n = 100 and p = 0.5: its quantiles at 2.5 and 97.5 % are 40 and 60.
        let (low, high) = bootstrap(&items, 4000, splitmix, mean);
        assert!((low - 0.40).abs() <= 0.0101 && (high - 0.60).abs() <= 0.0101, "{low} {high}");
        assert_eq!(bootstrap(&[2.5; 7], 50, splitmix, mean), (2.5, 2.5));
    }
}
