//! Confidence intervals of shares.

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % Wilson score interval of a share of `yes` in `of` (Wilson 1927, <https://doi.org/10.2307/2276774>): its
/// ends, from 0 to 1. The interval is 0 to 1 if `of` is 0.
pub(crate) fn wilson(yes: u64, of: u64) -> (f64, f64) {
    wilson_of_share(if of == 0 { 0.0 } else { yes as f64 / of as f64 }, of as f64)
}

/// The same for a share `p` of `n` items; `n` need not be whole.
pub(crate) fn wilson_of_share(p: f64, n: f64) -> (f64, f64) {
    wilson_at(p, n, Z)
}

/// The same for another confidence: `z` is the percentile of the normal distribution at the upper end.
pub(crate) fn wilson_at(p: f64, n: f64, z: f64) -> (f64, f64) {
    if n == 0.0 {
        return (0.0, 1.0);
    }
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // The ends of 0 and 1 are exact; rounding would leave a trace of them.
    let low = if p == 0.0 { 0.0 } else { ((middle - half) / scale).max(0.0) };
    let high = if p == 1.0 { 1.0 } else { ((middle + half) / scale).min(1.0) };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By its definition an end is the share from which the one that was found is just Z standard errors away.
    #[test]
    fn the_ends_are_as_many_standard_errors_away_as_they_should_be() {
        for (yes, of) in [(5, 38), (0, 10), (10, 10), (500, 1000), (1, 1), (3, 1_000_000)] {
            let (found, (low, high)) = (yes as f64 / of as f64, wilson(yes, of));
            for end in [low, high].into_iter().filter(|end| (end - found).abs() > 1e-12) {
                let away = (found - end).abs() / (end * (1.0 - end) / of as f64).sqrt();
                assert!((away - Z).abs() < 1e-6, "{yes} of {of}: {end} is {away} away");
            }
            assert!(
                low >= 0.0 && low < found + 1e-12 && high > found - 1e-12 && high <= 1.0,
                "{yes} of {of}: {low} {high}"
            );
        }
        let (low, high) = wilson(5, 38);
        assert!((low - 0.0575).abs() < 5e-5 && (high - 0.2733).abs() < 5e-5, "{low} {high}");
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        assert!((1..50).all(|n| wilson(0, n).0 == 0.0 && wilson(n, n).1 == 1.0));
    }
}
