//! Student's t distribution.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::normal;

/// From here on a series is exact; `statrs` is not for very many degrees.
const MANY: f64 = 1000.0;

/// How many standard errors an interval of this confidence reaches to either side with these degrees of freedom.
/// `None` without a degree of freedom.
pub(crate) fn student_reach(confidence: f64, freedom: f64) -> Option<f64> {
    let share = (1.0 + confidence) / 2.0;
    if freedom >= MANY {
        return Some(series(normal::quantile(share), freedom));
    }
    Some(StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(share))
}

/// The quantile by the normal one (Abramowitz and Stegun 1964, 26.7.5).
fn series(z: f64, freedom: f64) -> f64 {
    let polynomial = |factors: &[f64]| factors.iter().rev().fold(0.0, |sum, factor| sum * z * z + factor) * z;
    z + polynomial(&[1.0, 1.0]) / (4.0 * freedom)
        + polynomial(&[3.0, 16.0, 5.0]) / (96.0 * freedom.powi(2))
        + polynomial(&[-15.0, 17.0, 19.0, 3.0]) / (384.0 * freedom.powi(3))
        + polynomial(&[-945.0, -1920.0, 1482.0, 776.0, 79.0]) / (92160.0 * freedom.powi(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_have_their_reference_values() {
        for (freedom, expected) in [
            (11.0, 2.200_985_160_082_949),
            (1.0, 12.706_204_736_174_707),
            (999.9, 1.962_339_318_642_607),
            (1000.1, 1.962_338_843_057_822),
            (1e6, 1.959_966_356_814_107),
        ] {
            let found = student_reach(0.95, freedom).unwrap();
            assert!((found - expected).abs() < 1e-9, "{freedom}: {found}");
        }
        assert_eq!(student_reach(0.95, 0.0), None);
    }
}
