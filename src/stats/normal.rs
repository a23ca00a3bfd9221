//! The standard normal distribution.

use statrs::distribution::{ContinuousCDF, Normal};

fn standard() -> Normal {
    Normal::standard()
}

pub(crate) fn cumulative(z: f64) -> f64 {
    standard().cdf(z)
}

/// The value below which the share `p` of the distribution lies.
pub(crate) fn quantile(p: f64) -> f64 {
    standard().inverse_cdf(p)
}

/// How many standard errors an interval of this confidence reaches to either side: 1.96 for 0.95.
pub(crate) fn reach(confidence: f64) -> f64 {
    quantile((1.0 + confidence) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_have_their_reference_values() {
        assert!((reach(0.95) - 1.959_963_984_540_054).abs() < 1e-12);
        assert!((cumulative(-1.0) - 0.158_655_253_931_457_05).abs() < 1e-10);
        assert_eq!((quantile(0.5), cumulative(0.0)), (0.0, 0.5));
    }
}
