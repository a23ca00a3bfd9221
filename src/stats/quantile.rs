//! Percentiles.

/// Returns the nearest-rank percentile of sorted values. Needs at least one value. `share` is from 0 to 1.
pub(crate) fn nearest_rank(sorted: &[f64], share: f64) -> f64 {
    // Subtracts a little, so that 0.95 of 20 is the 19th although 0.95 is not a binary fraction.
    let rank = (share * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    sorted[rank.min(sorted.len()) - 1]
}

/// Returns the quantile of sorted values as R and NumPy do by default: type 7 of Hyndman and Fan (1996), linear between
/// the two nearest values. Needs at least one value. `share` is from 0 to 1.
pub(crate) fn interpolated(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // Between equal values, and not through the sum of two that are too large for it.
    if low == high { low } else { low * (1.0 - place.fract()) + high * place.fract() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        // The example of nearest ranks: the 5th, 30th, 40th, 50th and 100th percentile of five values.
        let values = [15.0, 20.0, 35.0, 40.0, 50.0];
        let at = |share| nearest_rank(&values, share);
        assert_eq!([at(0.05), at(0.3), at(0.4), at(0.5), at(1.0)], [15.0, 20.0, 20.0, 35.0, 50.0]);
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(nearest_rank(&twenty, 0.95), 19.0);
        assert_eq!(nearest_rank(&twenty[..19], 0.95), 19.0, "of fewer than 20 the largest");
    }

    #[test]
    fn quantiles_are_those_of_r() {
        // quantile(c(0, 2, 8, 9), c(0, 0.25, 0.5, 0.75, 1)) in R.
        let quartiles = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| interpolated(&[0.0, 2.0, 8.0, 9.0], share));
        assert_eq!(quartiles, [0.0, 1.5, 5.0, 8.25, 9.0]);
        assert_eq!(interpolated(&[7.0], 0.5), 7.0);
        assert_eq!(interpolated(&[1e308, 1.5e308], 0.5), 1.25e308);
    }
}
