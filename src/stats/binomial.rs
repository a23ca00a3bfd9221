//! Exact bounds of a binomial share.

use statrs::function::beta::inv_beta_reg;

/// The one-sided lower bound of a share: with the confidence `level`, at least this share of all cases is right when
/// `right` of `n` are (Clopper and Pearson 1934, <https://doi.org/10.1093/biomet/26.4.404>).
pub(crate) fn lower_bound(right: u64, n: u64, level: f64) -> f64 {
    if right == 0 {
        return 0.0;
    }
    inv_beta_reg(right as f64, (n - right) as f64 + 1.0, 1.0 - level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_exact() {
        // Of n right ones out of n, the bound b has b^n = 1 - level.
        for n in [1, 10, 59, 1000] {
            assert!((lower_bound(n, n, 0.95) - 0.05f64.powf(1.0 / n as f64)).abs() < 1e-9, "{n}");
        }
        // scipy.stats.beta.ppf(0.05, 90, 11) and (0.025, 15, 24).
        for (right, n, level, expected) in [(90, 100, 0.95, 0.836_282_376_724), (15, 38, 0.975, 0.240_387_893_644)] {
            let found = lower_bound(right, n, level);
            assert!((found - expected).abs() < 1e-11, "{right} of {n}: {found}");
        }
        assert_eq!((lower_bound(0, 10, 0.95), lower_bound(0, 0, 0.95)), (0.0, 0.0));
    }
}
