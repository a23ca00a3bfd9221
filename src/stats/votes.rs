//! Votes: one label for each unit from the labels of several coders.

/// The units whose votes are equal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    /// Coders with their labels, in the order of the coders. A coder may have none or several.
    pub(crate) votes: Vec<(usize, usize)>,
    /// The number of units.
    pub(crate) units: f64,
}

/// A table for each coder: the share of a label (column) if another or the same label is the true one (row).
pub(crate) type Matrices = Vec<Vec<Vec<f64>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    Null,
    /// The first vote for one of the equal labels.
    First,
    /// The more frequent label.
    Prior,
}

/// The probabilities that a model of the coders assigns to the labels of each pattern.
#[derive(Clone, Debug)]
pub(crate) struct DawidSkene {
    pub(crate) posterior: Vec<Vec<f64>>,
    pub(crate) prior: Vec<f64>,
    pub(crate) matrices: Matrices,
    pub(crate) log_likelihood: f64,
    pub(crate) iterations: usize,
    pub(crate) converged: bool,
}

const MOST_ITERATIONS: usize = 10_000;
/// The largest change of a probability at which the iterations end.
const CHANGE: f64 = 1e-10;
/// Probabilities that differ by less are equal.
const EQUAL: f64 = 1e-9;

/// The share of each label in the votes of each pattern; empty without votes.
pub(crate) fn shares(patterns: &[Pattern], labels: usize) -> Vec<Vec<f64>> {
    patterns.iter().map(|pattern| shares_of(pattern, labels)).collect()
}

fn shares_of(pattern: &Pattern, labels: usize) -> Vec<f64> {
    if pattern.votes.is_empty() {
        return Vec::new();
    }
    let mut shares = vec![0.0; labels];
    pattern.votes.iter().for_each(|(_, label)| shares[*label] += 1.0 / pattern.votes.len() as f64);
    shares
}

/// The share of each label in all votes.
pub(crate) fn prior(patterns: &[Pattern], labels: usize) -> Vec<f64> {
    let mut counts = vec![0.0; labels];
    for pattern in patterns {
        pattern.votes.iter().for_each(|(_, label)| counts[*label] += pattern.units);
    }
    normalised(counts)
}

/// The probabilities of the labels if each coder is right with its `accuracy`, which lies between 0 and 1, and wrong
/// labels and all true ones are equally likely. The largest is that of the vote with the weights
/// ln((labels - 1) a / (1 - a)), which errs least (Nitzan and Paroush 1982, <https://doi.org/10.2307/2526438>).
pub(crate) fn by_accuracy(patterns: &[Pattern], labels: usize, accuracy: &[f64]) -> Vec<Vec<f64>> {
    let weight = |coder: usize| (labels.max(2) as f64 - 1.0).ln() + (accuracy[coder] / (1.0 - accuracy[coder])).ln();
    let of = |pattern: &Pattern| {
        let mut sums = vec![0.0; labels];
        pattern.votes.iter().for_each(|(coder, label)| sums[*label] += weight(*coder));
        if pattern.votes.is_empty() { Vec::new() } else { softmax(&sums).0 }
    };
    patterns.iter().map(of).collect()
}

/// The model of Dawid and Skene 1979 (<https://doi.org/10.2307/2346806>): each coder has a matrix of errors, and each label
/// a probability. Fitted by expectation and maximisation from the shares of the votes.
pub(crate) fn dawid_skene(patterns: &[Pattern], labels: usize, coders: usize) -> DawidSkene {
    let mut posterior = shares(patterns, labels);
    let mut iterations = 0;
    loop {
        iterations += 1;
        let prior = class_shares(patterns, &posterior, labels);
        let matrices = matrices(patterns, &posterior, labels, coders);
        let logs = Logs::new(&prior, &matrices);
        let (mut change, mut log_likelihood) = (0.0f64, 0.0);
        for (pattern, old) in patterns.iter().zip(&mut posterior).filter(|(_, old)| !old.is_empty()) {
            let (new, log) = softmax(&logs.of(pattern));
            log_likelihood += pattern.units * log;
            change = old.iter().zip(&new).map(|(old, new)| (old - new).abs()).fold(change, f64::max);
            *old = new;
        }
        let converged = change < CHANGE;
        if converged || iterations == MOST_ITERATIONS {
            return DawidSkene { posterior, prior, matrices, log_likelihood, iterations, converged };
        }
    }
}

struct Logs {
    prior: Vec<f64>,
    matrices: Matrices,
}

impl Logs {
    fn new(prior: &[f64], matrices: &Matrices) -> Logs {
        // A large number instead of infinity, so that 0 times it is 0.
        let log = |p: &f64| p.max(1e-300).ln();
        let rows = |matrix: &Vec<Vec<f64>>| matrix.iter().map(|row| row.iter().map(log).collect()).collect();
        Logs { prior: prior.iter().map(log).collect(), matrices: matrices.iter().map(rows).collect() }
    }

    fn of(&self, pattern: &Pattern) -> Vec<f64> {
        let votes = |truth: usize| pattern.votes.iter().map(move |(coder, label)| self.matrices[*coder][truth][*label]);
        self.prior.iter().enumerate().map(|(truth, prior)| prior + votes(truth).sum::<f64>()).collect()
    }
}

/// The mean of the probabilities over all units with votes.
fn class_shares(patterns: &[Pattern], posterior: &[Vec<f64>], labels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; labels];
    for (pattern, posterior) in patterns.iter().zip(posterior) {
        posterior.iter().zip(&mut sums).for_each(|(p, sum)| *sum += pattern.units * p);
    }
    normalised(sums)
}

/// The matrices of the coders if the true labels have the probabilities `posterior`. A row is empty if its label is never
/// the true one of a unit with a vote of that coder.
pub(crate) fn matrices(patterns: &[Pattern], posterior: &[Vec<f64>], labels: usize, coders: usize) -> Matrices {
    let mut sums = vec![vec![vec![0.0; labels]; labels]; coders];
    for (pattern, posterior) in patterns.iter().zip(posterior) {
        for (coder, label) in &pattern.votes {
            for (truth, p) in posterior.iter().enumerate() {
                sums[*coder][truth][*label] += pattern.units * p;
            }
        }
    }
    sums.into_iter().map(|rows| rows.into_iter().map(normalised).collect()).collect()
}

/// The label with the largest probability. `None` without votes, or after a tie that is not resolved.
pub(crate) fn winner(pattern: &Pattern, posterior: &[f64], tie: Tie, prior: &[f64]) -> Option<usize> {
    let equal = largest(posterior, &(0..posterior.len()).collect::<Vec<_>>());
    match (equal.as_slice(), tie) {
        ([one], _) => Some(*one),
        ([], _) | (_, Tie::Null) => None,
        (_, Tie::First) => pattern.votes.iter().map(|(_, label)| *label).find(|label| equal.contains(label)),
        (_, Tie::Prior) => match largest(prior, &equal).as_slice() {
            [one] => Some(*one),
            _ => None,
        },
    }
}

fn largest(values: &[f64], of: &[usize]) -> Vec<usize> {
    let most = of.iter().map(|i| values[*i]).fold(f64::NEG_INFINITY, f64::max);
    of.iter().copied().filter(|i| values[*i] >= most - EQUAL).collect()
}

/// The entropy of a distribution in bits.
pub(crate) fn entropy(distribution: &[f64]) -> f64 {
    let terms = distribution.iter().filter(|p| **p > 0.0).map(|p| -p * p.log2());
    terms.sum::<f64>().max(0.0)
}

/// The values divided by their sum; if that is 0, as they are.
fn normalised(mut values: Vec<f64>) -> Vec<f64> {
    let sum: f64 = values.iter().sum();
    if sum > 0.0 {
        values.iter_mut().for_each(|value| *value /= sum);
    }
    values
}

/// The distribution with these logarithms, and the logarithm of the sum of the exponentials.
fn softmax(logs: &[f64]) -> (Vec<f64>, f64) {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    (powers.into_iter().map(|power| power / sum).collect(), most + sum.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dawid and Skene's 45 patients: three codes by the first observer, one by each of the four others.
    const PATIENTS: &str = include_str!("../../tests/data/methods/dawid_skene.txt");

    fn patients() -> Vec<Pattern> {
        let votes = |patient: &str| {
            let codes = patient.split_whitespace().enumerate();
            codes.flat_map(|(coder, codes)| codes.bytes().map(move |code| (coder, usize::from(code - b'1')))).collect()
        };
        PATIENTS.lines().map(|patient| Pattern { votes: votes(patient), units: 1.0 }).collect()
    }

    #[test]
    fn the_patients_of_dawid_and_skene() {
        let fit = dawid_skene(&patients(), 4, 5);
        let near = |found: &[f64], expected: [f64; 4], within: f64| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < within), "{found:?}, not {expected:?}");
        };
        near(&fit.prior, [0.3996, 0.4220, 0.1118, 0.0667], 5e-5);
        let first = [[0.889, 0.111, 0.0, 0.0], [0.071, 0.876, 0.053, 0.0], [0.0, 0.339, 0.661, 0.0]];
        for (found, expected) in fit.matrices[0].iter().zip(first.into_iter().chain([[0.0, 0.0, 0.556, 0.444]])) {
            near(found, expected, 5e-4);
        }
        assert!((fit.log_likelihood + 192.8909).abs() < 5e-5 && fit.converged, "{}", fit.log_likelihood);
    }

    #[test]
    fn grouped_units_and_another_order_have_the_same_fit() {
        let patients = patients();
        let mut grouped: Vec<Pattern> = Vec::new();
        for patient in patients.iter().rev() {
            match grouped.iter_mut().find(|pattern| pattern.votes == patient.votes) {
                Some(pattern) => pattern.units += 1.0,
                None => grouped.push(patient.clone()),
            }
        }
        let (one, other) = (dawid_skene(&patients, 4, 5), dawid_skene(&grouped, 4, 5));
        assert!(grouped.len() < 45 && (one.log_likelihood - other.log_likelihood).abs() < 1e-9);
        let of = |pattern: &Pattern| grouped.iter().position(|other| other.votes == pattern.votes).unwrap();
        for (i, patient) in patients.iter().enumerate() {
            let pairs = one.posterior[i].iter().zip(&other.posterior[of(patient)]);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-8));
        }
    }

    #[test]
    fn ties_are_resolved_as_asked() {
        let votes = |votes: &[(usize, usize)], units| Pattern { votes: votes.to_vec(), units };
        let all = [votes(&[(0, 1), (1, 0)], 1.0), votes(&[(0, 0), (2, 0)], 2.0), votes(&[], 5.0)];
        let (shares, prior) = (shares(&all, 2), prior(&all, 2));
        let won = |tie| [0, 1, 2].map(|i| winner(&all[i], &shares[i], tie, &prior));
        assert_eq!(won(Tie::Null), [None, Some(0), None]);
        assert_eq!(won(Tie::First), [Some(1), Some(0), None]);
        assert_eq!(won(Tie::Prior), [Some(0), Some(0), None]);
        assert_eq!(winner(&all[0], &shares[0], Tie::Prior, &[0.5, 0.5]), None);
        assert_eq!((entropy(&shares[0]), entropy(&shares[1]), entropy(&shares[2])), (1.0, 0.0, 0.0));
        let fit = dawid_skene(&all, 2, 3);
        assert!(fit.posterior[2].is_empty() && fit.posterior[1][0] > 0.5);
    }

    #[test]
    fn one_good_coder_outvotes_two_bad_ones() {
        let pattern = [Pattern { votes: vec![(0, 0), (1, 1), (2, 1)], units: 1.0 }];
        let of = |accuracy: [f64; 3]| by_accuracy(&pattern, 2, &accuracy)[0][0];
        // The odds are 9 to 1 against 1.5 * 1.5.
        assert!((of([0.9, 0.6, 0.6]) - 9.0 / 11.25).abs() < 1e-12 && of([0.7, 0.7, 0.7]) < 0.5);
        // With three labels a coder who is right in a third of the cases says nothing.
        let three = by_accuracy(&pattern, 3, &[1.0 / 3.0; 3]);
        assert!(three[0].iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-12));
    }
}
