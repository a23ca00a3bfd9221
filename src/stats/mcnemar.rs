//! McNemar's test.

/// The two-sided p value of McNemar's test (McNemar 1947, <https://doi.org/10.1007/BF02295996>) in its exact form: of
/// `b + c` discordant pairs, each falls on either side with probability 1/2. Returns 1 without discordant pairs.
pub(crate) fn mcnemar(b: u64, c: u64) -> f64 {
    let (less, pairs) = (b.min(c), b + c);
    // The binomial terms are logarithms, since 2^-n soon underflows.
    let mut term = -(pairs as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=less {
        tail += term.exp();
        term += ((pairs - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_test_is_the_binomial_one() {
        // 2 * (C(10,0) + C(10,1) + C(10,2)) / 2^10, and so on, by hand.
        let cases =
            [(0, 0, 1.0), (0, 1, 1.0), (5, 5, 1.0), (2, 8, 112.0 / 1024.0), (0, 6, 2.0 / 64.0), (9, 1, 22.0 / 1024.0)];
        for (b, c, p) in cases {
            assert!((mcnemar(b, c) - p).abs() < 1e-12, "{b}, {c}: {}", mcnemar(b, c));
            assert_eq!(mcnemar(b, c), mcnemar(c, b));
        }
        // The normal approximation with continuity correction is 0.0478 here.
        assert!((mcnemar(4900, 5099) - 0.0478).abs() < 1e-3, "{}", mcnemar(4900, 5099));
        assert!(mcnemar(0, 100_000) >= 0.0 && mcnemar(0, 100_000) < 1e-300);
    }
}
