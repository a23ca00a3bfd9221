//! Classification: how well predicted classes match the true ones.
//!
//! The definitions and the conventions are those of scikit-learn, except that an undefined value is `None` there 0.

use std::collections::BTreeMap;

/// The weights of the units by their true class and by their predicted class, and those of the right units. Its size
/// grows with the number of classes, not with its square.
#[derive(Clone, Debug)]
pub(crate) struct Confusion {
    truths: Vec<f64>,
    predictions: Vec<f64>,
    hits: Vec<f64>,
}

/// How the values of the classes become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Average {
    /// The mean over all classes.
    Macro,
    /// The mean over all classes, weighted by the units of each class.
    Weighted,
    /// The score of all classes taken together, which is the accuracy.
    Micro,
}

/// A value of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Score {
    Precision,
    Recall,
    F1,
}

impl Confusion {
    pub(crate) fn new(classes: usize) -> Self {
        let none = || vec![0.0; classes];
        Confusion { truths: none(), predictions: none(), hits: none() }
    }

    pub(crate) fn add(&mut self, truth: usize, predicted: usize, weight: f64) {
        self.truths[truth] += weight;
        self.predictions[predicted] += weight;
        if truth == predicted {
            self.hits[truth] += weight;
        }
    }

    fn classes(&self) -> std::ops::Range<usize> {
        0..self.truths.len()
    }

    /// The weight of the units whose true class is `class`.
    pub(crate) fn support(&self, class: usize) -> f64 {
        self.truths[class]
    }

    pub(crate) fn predicted(&self, class: usize) -> f64 {
        self.predictions[class]
    }

    pub(crate) fn total(&self) -> f64 {
        self.truths.iter().sum()
    }

    fn right(&self) -> f64 {
        self.hits.iter().sum()
    }

    /// The share of right units.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        ratio(self.right(), self.total())
    }

    /// The mean recall of the classes that occur in the truth (Brodersen et al. 2010,
    /// <https://doi.org/10.1109/ICPR.2010.764>).
    pub(crate) fn balanced_accuracy(&self) -> Option<f64> {
        let recalls: Vec<f64> = self.classes().filter_map(|class| self.score(Score::Recall, class)).collect();
        ratio(recalls.iter().sum(), recalls.len() as f64)
    }

    /// `None` for the precision of a class that is never predicted, for the recall of one that never occurs, and for F1
    /// of one that does neither.
    pub(crate) fn score(&self, score: Score, class: usize) -> Option<f64> {
        let hits = self.hits[class];
        match score {
            Score::Precision => ratio(hits, self.predicted(class)),
            Score::Recall => ratio(hits, self.support(class)),
            Score::F1 => ratio(2.0 * hits, self.predicted(class) + self.support(class)),
        }
    }

    /// An average over the classes that occur in the truth or among the predictions. A class for which the score is
    /// undefined counts as 0.
    pub(crate) fn average(&self, score: Score, average: Average) -> Option<f64> {
        if average == Average::Micro {
            return self.accuracy();
        }
        let (mut sum, mut of) = (0.0, 0.0);
        for class in self.classes().filter(|class| self.support(*class) + self.predicted(*class) > 0.0) {
            let weight = if average == Average::Macro { 1.0 } else { self.support(class) };
            sum += weight * self.score(score, class).unwrap_or(0.0);
            of += weight;
        }
        ratio(sum, of)
    }

    /// Matthews' correlation for any number of classes (Gorodkin 2004,
    /// <https://doi.org/10.1016/j.compbiolchem.2004.09.006>). `None` if all true or all predicted classes are equal.
    pub(crate) fn matthews(&self) -> Option<f64> {
        let (n, right) = (self.total(), self.right());
        let (mut both, mut truths, mut predictions) = (0.0, 0.0, 0.0);
        for class in self.classes() {
            let (truth, predicted) = (self.support(class), self.predicted(class));
            both += truth * predicted;
            truths += truth * truth;
            predictions += predicted * predicted;
        }
        let spread = (n * n - truths) * (n * n - predictions);
        // A product of sums that cancel is not exactly 0.
        let is_spread = |squares: f64| n * n - squares > 1e-12 * n * n;
        (is_spread(truths) && is_spread(predictions)).then(|| (right * n - both) / spread.sqrt())
    }
}

/// The confusion matrix: the weight of each pair of a true and a predicted class that occurs.
pub(crate) fn confusion_cells(pairs: impl Iterator<Item = (usize, usize, f64)>) -> BTreeMap<(usize, usize), f64> {
    let mut cells = BTreeMap::new();
    pairs.for_each(|(truth, predicted, weight)| *cells.entry((truth, predicted)).or_default() += weight);
    cells
}

fn ratio(part: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| part / of)
}

/// A weighted share of units (whether it counts the unit, its weight, and how many equal units) with its standard error,
/// and the number of units of equal weight that would have the same error.
///
/// The error is that of a ratio of sums, linearised, for units drawn independently (Cochran, Sampling Techniques, 1977,
/// section 6.4); the number of units is that of Korn and Graubard 1998 (Survey Methodology 24, 193-201), for a share of
/// 0 or 1 that of Kish. Without weights they are those of the binomial distribution.
pub(crate) fn weighted_share(units: impl Iterator<Item = (bool, f64, f64)> + Clone) -> Option<(f64, f64, f64)> {
    let (mut yes, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (is_yes, weight, n) in units.clone() {
        yes += if is_yes { n * weight } else { 0.0 };
        sum += n * weight;
        squares += n * weight * weight;
    }
    let share = ratio(yes, sum)?;
    let residual = |(is_yes, weight, n): (bool, f64, f64)| n * (weight * (f64::from(u8::from(is_yes)) - share)).powi(2);
    let variance = units.map(residual).sum::<f64>() / (sum * sum);
    let effective = if variance > 0.0 { share * (1.0 - share) / variance } else { sum * sum / squares };
    Some((share, variance.sqrt(), effective))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&[f64]]) -> Confusion {
        let mut confusion = Confusion::new(rows.len());
        for (truth, row) in rows.iter().enumerate() {
            row.iter().enumerate().for_each(|(predicted, weight)| confusion.add(truth, predicted, *weight));
        }
        confusion
    }

    #[test]
    fn undefined_scores_are_none_and_count_as_0_in_averages() {
        // The second class is never predicted, the third never occurs, the fourth does neither.
        let some = of(&[&[3.0, 0.0, 1.0, 0.0], &[2.0, 0.0, 0.0, 0.0], &[0.0; 4], &[0.0; 4]]);
        let scores = |score| [0, 1, 2, 3].map(|class| some.score(score, class));
        assert_eq!(scores(Score::Precision), [Some(0.6), None, Some(0.0), None]);
        assert_eq!(scores(Score::Recall), [Some(0.75), Some(0.0), None, None]);
        assert_eq!(scores(Score::F1), [Some(6.0 / 9.0), Some(0.0), Some(0.0), None]);
        assert_eq!(some.average(Score::Precision, Average::Macro), Some(0.6 / 3.0));
        assert_eq!(some.balanced_accuracy(), Some(0.375));
        let empty = of(&[&[0.0]]);
        assert_eq!((empty.accuracy(), empty.balanced_accuracy(), empty.matthews()), (None, None, None));
        assert_eq!(empty.average(Score::F1, Average::Weighted), None);
    }

    #[test]
    fn matthews_of_one_class_is_undefined() {
        assert_eq!(of(&[&[7.0, 3.0], &[0.0, 0.0]]).matthews(), None);
        assert_eq!(of(&[&[7.0, 0.0], &[3.0, 0.0]]).matthews(), None);
        assert_eq!(of(&[&[0.1, 0.0], &[0.0, 0.2]]).matthews().map(|r| (r * 1e12).round()), Some(1e12));
    }

    #[test]
    fn a_share_without_weights_is_binomial() {
        let units = [(true, 1.0, 15.0), (false, 1.0, 23.0)].into_iter();
        let (share, error, n) = weighted_share(units).unwrap();
        assert!((share - 15.0 / 38.0).abs() < 1e-15 && (n - 38.0).abs() < 1e-12);
        assert!((error - (share * (1.0 - share) / 38.0).sqrt()).abs() < 1e-15);
        // Equal weights change nothing; unequal ones make the sample worth less.
        let (_, other, m) = weighted_share((0..38).map(|i| (i < 15, 3.0, 1.0))).unwrap();
        assert!((other - error).abs() < 1e-15 && (m - n).abs() < 1e-12);
        let (_, _, kish) = weighted_share([(true, 1.0, 1.0), (true, 3.0, 1.0)].into_iter()).unwrap();
        assert!((kish - 1.6).abs() < 1e-15);
        assert_eq!(weighted_share(std::iter::empty()), None);
    }
}
