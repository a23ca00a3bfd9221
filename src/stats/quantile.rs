//! Percentiles.

/// Returns the nearest-rank percentile of sorted values. Needs at least one value. `share` is from 0 to 1.
pub(crate) fn nearest_rank(sorted: &[f64], share: f64) -> f64 {
    // Subtracts a little, so that 0.95 of 20 is the 19th although 0.95 is not a binary fraction.
    let rank = (share * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    sorted[rank.min(sorted.len()) - 1]
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
}
