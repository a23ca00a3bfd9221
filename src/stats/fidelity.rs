//! How far two distributions are apart, and whether two samples say the same about groups.

/// The total variation distance: half the sum of the absolute differences of two distributions, from 0 to 1.
pub(crate) fn total_variation(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0
}

/// The Jensen-Shannon divergence in bits, from 0 to 1.
///
/// J. Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37 (1991) 145-151,
/// <https://doi.org/10.1109/18.61115>.
pub(crate) fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * (2.0 * a / (a + b)).log2() } else { 0.0 };
    p.iter().zip(q).map(|(p, q)| part(*p, *q) + part(*q, *p)).sum::<f64>().max(0.0) / 2.0
}

/// The first Wasserstein distance in the unit of the values, which ascend: the area between the cumulative
/// distributions.
///
/// S. S. Vallender, Calculation of the Wasserstein distance between probability distributions on the line, Theory of
/// Probability and Its Applications 18 (1974) 784-786, <https://doi.org/10.1137/1118101>.
pub(crate) fn wasserstein(values: &[f64], p: &[f64], q: &[f64]) -> f64 {
    let mut above = 0.0;
    let gaps = values.windows(2).zip(p.iter().zip(q));
    gaps.map(|(pair, (p, q))| {
        above += p - q;
        above.abs() * (pair[1] - pair[0])
    })
    .sum()
}

/// The mean and the variance of a distribution.
pub(crate) fn mean_and_variance(values: &[f64], p: &[f64]) -> (f64, f64) {
    let mean: f64 = values.iter().zip(p).map(|(value, p)| value * p).sum();
    (mean, values.iter().zip(p).map(|(value, p)| (value - mean).powi(2) * p).sum())
}

/// Pearson's correlation of pairs of values with a weight each. `None` if either does not vary.
pub(crate) fn correlation(pairs: impl Iterator<Item = (f64, f64, f64)> + Clone) -> Option<f64> {
    let total: f64 = pairs.clone().map(|(_, _, weight)| weight).sum();
    let mean = |of: fn((f64, f64, f64)) -> f64| pairs.clone().map(|pair| of(pair) * pair.2).sum::<f64>() / total;
    let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b, weight) in pairs {
        let (a, b) = (a - x, b - y);
        (xx, yy, xy) = (xx + a * a * weight, yy + b * b * weight, xy + a * b * weight);
    }
    (xx > 0.0 && yy > 0.0).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation; equal values share their mean rank. `None` if either does not vary.
pub(crate) fn rank_correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let ranks = |of: fn(&(f64, f64)) -> f64| {
        let values: Vec<f64> = pairs.iter().map(of).collect();
        let below = |value: f64| values.iter().filter(|other| **other < value).count() as f64;
        let equal = |value: f64| values.iter().filter(|other| **other == value).count() as f64;
        values.iter().map(|value| below(*value) + equal(*value) / 2.0).collect::<Vec<f64>>()
    };
    let (x, y) = (ranks(|pair| pair.0), ranks(|pair| pair.1));
    correlation(x.iter().zip(&y).map(|(x, y)| (*x, *y, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    const P: [f64; 5] = [0.1, 0.2, 0.4, 0.2, 0.1];
    const Q: [f64; 5] = [0.05, 0.15, 0.5, 0.25, 0.05];

    #[test]
    fn distances_have_their_reference_values() {
        near(total_variation(&P, &Q), 0.15);
        // scipy.spatial.distance.jensenshannon(p, q, 2) ** 2 and scipy.stats.wasserstein_distance, SciPy 1.15.
        assert!((jensen_shannon(&P, &Q) - 0.020_864_4).abs() < 5e-8);
        near(wasserstein(&[1.0, 2.0, 3.0, 4.0, 5.0], &P, &Q), 0.2);
        near(wasserstein(&[0.0, 10.0], &[1.0, 0.0], &[0.0, 1.0]), 10.0);
        let apart = [[1.0, 0.0], [0.0, 1.0]];
        assert_eq!((total_variation(&apart[0], &apart[1]), jensen_shannon(&apart[0], &apart[1])), (1.0, 1.0));
        assert_eq!((total_variation(&P, &P), jensen_shannon(&P, &P), wasserstein(&P, &P, &P)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn moments_and_correlations_are_weighted() {
        let (mean, variance) = mean_and_variance(&[1.0, 2.0, 4.0], &[0.25, 0.5, 0.25]);
        near(mean, 2.25);
        near(variance, 1.1875);
        // numpy.corrcoef of the rows repeated by their weights.
        let pairs = [(1.0, 2.0, 2.0), (2.0, 1.0, 1.0), (4.0, 5.0, 3.0)];
        let repeated = [(1.0, 2.0), (1.0, 2.0), (2.0, 1.0), (4.0, 5.0), (4.0, 5.0), (4.0, 5.0)];
        let each = correlation(repeated.iter().map(|(x, y)| (*x, *y, 1.0))).unwrap();
        near(correlation(pairs.into_iter()).unwrap(), each);
        assert_eq!(correlation([(1.0, 2.0, 1.0), (1.0, 3.0, 1.0)].into_iter()), None);
    }

    #[test]
    fn ranks_are_shared_by_equal_values() {
        // scipy.stats.spearmanr([1, 2, 2, 4], [1, 3, 2, 4]): 0.9486832980505139.
        near(rank_correlation(&[(1.0, 1.0), (2.0, 3.0), (2.0, 2.0), (4.0, 4.0)]).unwrap(), 0.948_683_298_050_513_9);
        assert_eq!(rank_correlation(&[(1.0, 9.0), (2.0, 8.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(rank_correlation(&[(1.0, 9.0), (1.0, 8.0)]), None);
    }
}
