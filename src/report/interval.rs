//! Confidence intervals of shares.

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % Wilson score interval of a share of `yes` in `of` (Wilson 1927, <https://doi.org/10.2307/2276774>): its ends, from
/// 0 to 1. From 0 to 1 when `of` is 0.
pub fn wilson(yes: u64, of: u64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (of as f64, yes as f64 / of as f64);
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of R's `prop.test(yes, of, correct = FALSE)`.
    #[test]
    fn intervals_are_those_of_r() {
        let near = |(low, high): (f64, f64), expected: (f64, f64)| {
            assert!((low - expected.0).abs() < 5e-5 && (high - expected.1).abs() < 5e-5, "{low} {high}");
        };
        near(wilson(5, 38), (0.0575, 0.2733));
        near(wilson(0, 10), (0.0, 0.2775));
        near(wilson(10, 10), (0.7225, 1.0));
        near(wilson(500, 1000), (0.4691, 0.5309));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }
}
