//! Predicted numbers beside true ones: mean errors and correlations.

/// The errors of predicted numbers. Correlations are `None` if one side does not vary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Errors {
    pub(crate) mean_absolute: f64,
    pub(crate) root_mean_square: f64,
    /// The mean of predicted minus true.
    pub(crate) bias: f64,
    /// Pearson's r.
    pub(crate) pearson: Option<f64>,
    /// Lin's concordance correlation (Lin 1989, <https://doi.org/10.2307/2532051>).
    pub(crate) concordance: Option<f64>,
}

/// Compares pairs of a true and a predicted number, each with a weight. `None` without weight.
pub(crate) fn errors(pairs: impl Iterator<Item = (f64, f64, f64)> + Clone) -> Option<Errors> {
    let (mut n, mut truth, mut predicted) = (0.0, 0.0, 0.0);
    for (t, p, weight) in pairs.clone() {
        n += weight;
        truth += weight * t;
        predicted += weight * p;
    }
    if n <= 0.0 {
        return None;
    }
    let (truth, predicted) = (truth / n, predicted / n);
    let (mut absolute, mut squares, mut bias) = (0.0, 0.0, 0.0);
    let (mut truths, mut predictions, mut both) = (0.0, 0.0, 0.0);
    for (t, p, weight) in pairs {
        let (error, from_truth, from_predicted) = (p - t, t - truth, p - predicted);
        absolute += weight * error.abs();
        squares += weight * error * error;
        bias += weight * error;
        truths += weight * from_truth * from_truth;
        predictions += weight * from_predicted * from_predicted;
        both += weight * from_truth * from_predicted;
    }
    let (truths, predictions, both) = (truths / n, predictions / n, both / n);
    let varies = |variance: f64, mean: f64| variance > 1e-28 * mean * mean;
    let vary = varies(truths, truth) && varies(predictions, predicted);
    let apart = truths + predictions + (truth - predicted).powi(2);
    Some(Errors {
        mean_absolute: absolute / n,
        root_mean_square: (squares / n).sqrt(),
        bias: bias / n,
        pearson: vary.then(|| (both / (truths.sqrt() * predictions.sqrt())).clamp(-1.0, 1.0)),
        concordance: vary.then(|| 2.0 * both / apart),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_has_errors_but_no_correlation() {
        let pairs = [(1.0, 2.0), (2.0, 2.0), (4.0, 2.0)].map(|(t, p)| (t, p, 1.0));
        let found = errors(pairs.into_iter()).unwrap();
        assert_eq!((found.pearson, found.concordance), (None, None));
        assert!((found.mean_absolute - 1.0).abs() < 1e-15 && (found.bias + 1.0 / 3.0).abs() < 1e-15);
        assert!((found.root_mean_square - (5.0f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(errors([(0.1, 0.3, 1.0); 3].into_iter()).unwrap().pearson, None);
        assert_eq!(errors(std::iter::empty()), None);
    }

    #[test]
    fn concordance_punishes_a_shift_that_correlation_ignores() {
        let pairs = [1.0, 2.0, 3.0].map(|t| (t, t + 1.0, 1.0));
        let found = errors(pairs.into_iter()).unwrap();
        // 2 * 2/3 / (2/3 + 2/3 + 1).
        assert!((found.pearson.unwrap() - 1.0).abs() < 1e-15 && (found.concordance.unwrap() - 4.0 / 7.0).abs() < 1e-15);
    }
}
