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

#[cfg(test)]
mod tests {
    use super::*;

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
