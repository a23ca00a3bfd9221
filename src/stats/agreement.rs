//! Agreement of two raters.

/// Cohen's kappa of a square table. `counts[i][j]` items are class `i` for one rater and class `j` for the other.
/// `None` without items, or if chance alone explains the agreement completely.
///
/// J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20 (1960) 37-46.
pub(crate) fn kappa(counts: &[Vec<u64>]) -> Option<f64> {
    let n = counts.iter().flatten().sum::<u64>() as f64;
    let observed = (0..counts.len()).map(|i| counts[i][i]).sum::<u64>() as f64 / n;
    let row = |i: usize| counts[i].iter().sum::<u64>() as f64;
    let column = |j: usize| counts.iter().map(|row| row[j]).sum::<u64>() as f64;
    let expected: f64 = (0..counts.len()).map(|i| row(i) / n * (column(i) / n)).sum();
    (n > 0.0 && expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

/// Krippendorff's alpha for nominal values. `units` has the values of each item, one for each rater that judged it.
/// `None` if no two raters judged the same item, or if all values are equal.
///
/// K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), <https://repository.upenn.edu/asc_papers/43>.
pub(crate) fn alpha(units: &[Vec<usize>]) -> Option<f64> {
    let classes = units.iter().flatten().max().map_or(0, |most| most + 1);
    let (mut totals, mut disagreed) = (vec![0.0; classes], 0.0);
    let mut counts = vec![0.0; classes];
    for values in units.iter().filter(|values| values.len() > 1) {
        counts.fill(0.0);
        values.iter().for_each(|value| counts[*value] += 1.0);
        let (m, equal) = (values.len() as f64, counts.iter().map(|n| n * (n - 1.0)).sum::<f64>());
        // Each pair of values weighs 1 / (m - 1).
        disagreed += (m * (m - 1.0) - equal) / (m - 1.0);
        totals.iter_mut().zip(&counts).for_each(|(total, n)| *total += n);
    }
    let n: f64 = totals.iter().sum();
    let expected = n * n - totals.iter().map(|total| total * total).sum::<f64>();
    (expected > 0.0).then(|| 1.0 - (n - 1.0) * disagreed / expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Krippendorff's paper: four observers, twelve units, missing values; alpha is 0.743.
    #[test]
    fn alpha_has_its_reference_value() {
        let observers = [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ];
        let unit = |i: usize| observers.iter().map(|values| values[i]).filter(|value| *value > 0).collect();
        let units: Vec<Vec<usize>> = (0..12).map(unit).collect();
        let found = alpha(&units).expect("alpha");
        assert!((found - 0.743).abs() < 5e-4, "{found}");
        assert_eq!((alpha(&[vec![0, 0], vec![0, 0]]), alpha(&[vec![1], vec![0]]), alpha(&[])), (None, None, None));
    }

    #[test]
    fn kappa_has_its_reference_values() {
        // Two raters of 50 proposals: both yes 20, only the first 5, only the second 10, both no 15.
        assert!((kappa(&[vec![20, 5], vec![10, 15]]).unwrap() - 0.4).abs() < 1e-12);
        // Observed agreement 0.70, expected by chance 0.475: 0.225 / 0.525.
        let three = [vec![53, 5, 2], vec![11, 14, 5], vec![1, 6, 3]];
        assert!((kappa(&three).unwrap() - 3.0 / 7.0).abs() < 1e-12, "{:?}", kappa(&three));
        assert_eq!(kappa(&[vec![3, 0], vec![0, 4]]), Some(1.0));
        assert_eq!((kappa(&[vec![0, 0], vec![0, 7]]), kappa(&[vec![0]]), kappa(&[])), (None, None, None));
    }
}
