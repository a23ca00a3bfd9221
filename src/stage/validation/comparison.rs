//! The comparison: the figures of predicted columns, and the differences between columns.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use super::texts::{QuoteMatch, TextMatch};
use crate::name::listed;
use crate::stage::method::tidy::{Statistic, add_spreads};
use crate::stats::{
    Average, Bootstrap, Confusion, Errors, Score, Units, confusion_cells, errors, mcnemar, reach, weighted_share,
    wilson_at,
};

const LISTED: usize = 6;
/// The differences between two columns that have the scale of a statistic.
pub(super) const DIFFERENCES: &[&str] = &[
    "accuracy_difference",
    "f1_macro_difference",
    "mae_difference",
    "rmse_difference",
    "exact_match_difference",
    "token_f1_difference",
    "found_difference",
];
/// With more labels, the scores of single labels have no bootstrap, and only confusions that occur are in the table.
const MOST_CLASSES: usize = 100;

/// The rows in which a predicted value is compared with the true one. The others are `None`.
#[derive(Debug)]
pub(super) enum Matching {
    /// The true and the predicted label.
    Labels(Vec<Option<(usize, usize)>>),
    /// The true and the predicted number.
    Numbers(Vec<Option<(f64, f64)>>),
    Texts(Vec<Option<TextMatch>>),
    Quotes(Vec<Option<QuoteMatch>>),
}

/// The rows of one group that have a truth.
pub(super) struct Compared<'a> {
    pub(super) names: &'a [String],
    pub(super) truth: &'a str,
    pub(super) labels: &'a IndexSet<String>,
    pub(super) columns: Vec<Matching>,
    /// The number of units without a truth.
    pub(super) without_truth: u64,
    /// The design weight of a row, and how many units it is.
    pub(super) weights: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) clusters: Option<Vec<usize>>,
}

/// The rows of a group, and the labels of each column.
struct Prepared<'a> {
    of: &'a Compared<'a>,
    /// Of each column; empty if it has no labels.
    confusions: Vec<Confusion>,
    /// The labels that occur in each column or in its truth.
    classes: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Accuracy,
    BalancedAccuracy,
    Mean(Score, Average),
    Matthews,
    Class(Score, usize),
    MeanAbsoluteError,
    RootMeanSquareError,
    Bias,
    Pearson,
    Concordance,
    ExactMatch,
    NormalisedMatch,
    TokenF1,
    FoundExactly,
    Found,
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Figure::Accuracy => "accuracy",
            Figure::BalancedAccuracy => "balanced_accuracy",
            Figure::Mean(Score::Precision, Average::Macro) => "precision_macro",
            Figure::Mean(Score::Recall, Average::Macro) => "recall_macro",
            Figure::Mean(Score::F1, Average::Macro) => "f1_macro",
            Figure::Mean(Score::Precision, Average::Weighted) => "precision_weighted",
            Figure::Mean(Score::Recall, Average::Weighted) => "recall_weighted",
            Figure::Mean(Score::F1, Average::Weighted) => "f1_weighted",
            Figure::Mean(_, Average::Micro) => "f1_micro",
            Figure::Matthews => "matthews",
            Figure::Class(Score::Precision, _) => "precision",
            Figure::Class(Score::Recall, _) => "recall",
            Figure::Class(Score::F1, _) => "f1",
            Figure::MeanAbsoluteError => "mae",
            Figure::RootMeanSquareError => "rmse",
            Figure::Bias => "bias",
            Figure::Pearson => "pearson_r",
            Figure::Concordance => "concordance",
            Figure::ExactMatch => "exact_match",
            Figure::NormalisedMatch => "normalised_match",
            Figure::TokenF1 => "token_f1",
            Figure::FoundExactly => "found_exactly",
            Figure::Found => "found",
        }
    }

    /// The name of the difference between two columns.
    fn difference(self) -> &'static str {
        match self {
            Figure::Accuracy => "accuracy_difference",
            Figure::Mean(..) => "f1_macro_difference",
            Figure::MeanAbsoluteError => "mae_difference",
            Figure::RootMeanSquareError => "rmse_difference",
            Figure::ExactMatch => "exact_match_difference",
            Figure::TokenF1 => "token_f1_difference",
            Figure::Found => "found_difference",
            other => other.name(),
        }
    }

    fn class(self) -> Option<usize> {
        match self {
            Figure::Class(_, class) => Some(class),
            _ => None,
        }
    }

    fn of_errors(self, errors: &Errors) -> Option<f64> {
        match self {
            Figure::MeanAbsoluteError => Some(errors.mean_absolute),
            Figure::RootMeanSquareError => Some(errors.root_mean_square),
            Figure::Bias => Some(errors.bias),
            Figure::Pearson => errors.pearson,
            Figure::Concordance => errors.concordance,
            _ => None,
        }
    }

    fn of_confusion(self, confusion: &Confusion) -> Option<f64> {
        match self {
            Figure::Accuracy => confusion.accuracy(),
            Figure::BalancedAccuracy => confusion.balanced_accuracy(),
            Figure::Mean(score, average) => confusion.average(score, average),
            Figure::Matthews => confusion.matthews(),
            Figure::Class(score, class) => confusion.score(score, class),
            _ => None,
        }
    }

    /// Why the figure is undefined, or what its value hides.
    fn note(self, confusion: &Confusion, labels: &IndexSet<String>) -> Option<String> {
        let classes = || 0..labels.len();
        let undefined = |score: Score| {
            let is_counted = |class: &usize| confusion.support(*class) + confusion.predicted(*class) > 0.0;
            let classes = classes().filter(is_counted).filter(|class| confusion.score(score, *class).is_none());
            classes.map(|class| labels[class].as_str()).collect::<Vec<_>>()
        };
        match self {
            _ if confusion.total() == 0.0 => Some("no row has both values".to_owned()),
            Figure::Class(Score::Precision, class) if confusion.predicted(class) == 0.0 => {
                Some("undefined: the label is never predicted".to_owned())
            }
            Figure::Class(Score::Recall, class) if confusion.support(class) == 0.0 => {
                Some("undefined: the label never occurs in the truth".to_owned())
            }
            Figure::Matthews if confusion.matthews().is_none() => {
                let is_one = classes().any(|class| confusion.support(class) == confusion.total());
                let side = if is_one { "true" } else { "predicted" };
                Some(format!("undefined: all {side} labels are equal"))
            }
            Figure::Mean(score, _) if !undefined(score).is_empty() => {
                let name = if score == Score::Precision { "precision" } else { "recall" };
                let all = undefined(score);
                Some(format!("the {name} of {} is undefined and counts as 0", listed(all.into_iter().take(LISTED))))
            }
            Figure::BalancedAccuracy => {
                let only: Vec<&str> = undefined(Score::Recall);
                let words = || listed(only.iter().copied().take(LISTED));
                (!only.is_empty()).then(|| format!("{} never occurs in the truth and is left out", words()))
            }
            _ => None,
        }
    }
}

impl Matching {
    /// The figures of the column; `classes` are the labels that occur.
    fn figures(&self, classes: &[usize]) -> Vec<Figure> {
        match self {
            Matching::Labels(_) => {
                let mut figures =
                    vec![Figure::Accuracy, Figure::BalancedAccuracy, Figure::Mean(Score::F1, Average::Micro)];
                let scores = [Score::Precision, Score::Recall, Score::F1];
                for average in [Average::Macro, Average::Weighted] {
                    figures.extend(scores.map(|score| Figure::Mean(score, average)));
                }
                figures.push(Figure::Matthews);
                figures.extend(classes.iter().flat_map(|class| scores.map(|score| Figure::Class(score, *class))));
                figures
            }
            Matching::Numbers(_) => vec![
                Figure::MeanAbsoluteError,
                Figure::RootMeanSquareError,
                Figure::Bias,
                Figure::Pearson,
                Figure::Concordance,
            ],
            Matching::Texts(_) => vec![Figure::ExactMatch, Figure::NormalisedMatch, Figure::TokenF1],
            Matching::Quotes(_) => vec![Figure::Found, Figure::FoundExactly],
        }
    }

    /// The figures that are compared between columns. A share is the first, if there is one.
    fn compared(&self) -> &'static [Figure] {
        match self {
            Matching::Labels(_) => &[Figure::Accuracy, Figure::Mean(Score::F1, Average::Macro)],
            Matching::Numbers(_) => &[Figure::MeanAbsoluteError, Figure::RootMeanSquareError],
            Matching::Texts(_) => &[Figure::ExactMatch, Figure::TokenF1],
            Matching::Quotes(_) => &[Figure::Found],
        }
    }

    fn len(&self) -> usize {
        match self {
            Matching::Labels(rows) => rows.len(),
            Matching::Numbers(rows) => rows.len(),
            Matching::Texts(rows) => rows.len(),
            Matching::Quotes(rows) => rows.len(),
        }
    }

    fn is_compared(&self, row: usize) -> bool {
        match self {
            Matching::Labels(rows) => rows[row].is_some(),
            Matching::Numbers(rows) => rows[row].is_some(),
            Matching::Texts(rows) => rows[row].is_some(),
            Matching::Quotes(rows) => rows[row].is_some(),
        }
    }

    /// Whether a row counts for a share, and is one of those that it counts. `None` for figures that are not shares.
    fn outcome(&self, figure: Figure, row: usize) -> Option<Option<bool>> {
        Some(match (self, figure) {
            (Matching::Labels(rows), Figure::Accuracy | Figure::Mean(_, Average::Micro)) => {
                rows[row].map(|(truth, predicted)| truth == predicted)
            }
            (Matching::Labels(rows), Figure::Class(Score::Precision, class)) => {
                rows[row].filter(|(_, predicted)| *predicted == class).map(|(truth, _)| truth == class)
            }
            (Matching::Labels(rows), Figure::Class(Score::Recall, class)) => {
                rows[row].filter(|(truth, _)| *truth == class).map(|(_, predicted)| predicted == class)
            }
            (Matching::Texts(rows), Figure::ExactMatch) => rows[row].map(|found| found.exact),
            (Matching::Texts(rows), Figure::NormalisedMatch) => rows[row].map(|found| found.normalised),
            (Matching::Quotes(rows), Figure::Found) => rows[row].map(|found| found.found),
            (Matching::Quotes(rows), Figure::FoundExactly) => rows[row].map(|found| found.exact),
            _ => return None,
        })
    }

    fn confusion(&self, weights: &[f64], classes: usize) -> Confusion {
        let mut confusion = Confusion::new(classes);
        if let Matching::Labels(rows) = self {
            let rows = rows.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
            rows.filter_map(|(row, weight)| Some((row.as_ref()?, weight)))
                .for_each(|((truth, predicted), weight)| confusion.add(*truth, *predicted, *weight));
        }
        confusion
    }

    fn values(&self, figures: &[Figure], weights: &[f64], classes: usize) -> Vec<Option<f64>> {
        match self {
            Matching::Labels(_) => {
                let confusion = self.confusion(weights, classes);
                figures.iter().map(|figure| figure.of_confusion(&confusion)).collect()
            }
            Matching::Numbers(rows) => {
                let pairs = rows.iter().zip(weights).filter_map(|(row, w)| row.map(|(t, p)| (t, p, *w)));
                let errors = errors(pairs.filter(|(.., weight)| *weight > 0.0));
                figures.iter().map(|figure| figure.of_errors(errors.as_ref()?)).collect()
            }
            Matching::Texts(rows) => {
                let score = |figure: Figure, found: &TextMatch| match figure {
                    Figure::ExactMatch => f64::from(u8::from(found.exact)),
                    Figure::NormalisedMatch => f64::from(u8::from(found.normalised)),
                    _ => found.token_f1,
                };
                figures.iter().map(|figure| mean(rows, weights, |found| score(*figure, found))).collect()
            }
            Matching::Quotes(rows) => {
                let is = |figure: Figure, found: &QuoteMatch| match figure {
                    Figure::Found => found.found,
                    _ => found.exact,
                };
                let of = |figure: &Figure| mean(rows, weights, |found| f64::from(u8::from(is(*figure, found))));
                figures.iter().map(of).collect()
            }
        }
    }
}

fn mean<T>(rows: &[Option<T>], weights: &[f64], value: impl Fn(&T) -> f64) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0.0);
    for (row, weight) in rows.iter().zip(weights).filter_map(|(row, weight)| Some((row.as_ref()?, weight))) {
        sum += weight * value(row);
        total += weight;
    }
    (total > 0.0).then(|| sum / total)
}

/// The figures that are computed in each replicate: not those of very many labels, which are the last.
fn drawn(figures: &[Figure]) -> &[Figure] {
    let scores = figures.iter().filter(|figure| figure.class().is_some()).count();
    if scores > 3 * MOST_CLASSES { &figures[..figures.len() - scores] } else { figures }
}

/// The statistics of all columns, then those of all pairs of columns.
pub(super) fn statistics(compared: &Compared<'_>, bootstrap: &Bootstrap) -> Vec<Statistic> {
    let prepared = &Prepared::new(compared);
    let figures: Vec<Vec<Figure>> =
        compared.columns.iter().zip(&prepared.classes).map(|(column, classes)| column.figures(classes)).collect();
    let pairs: Vec<(usize, usize)> =
        (0..figures.len()).flat_map(|a| (a + 1..figures.len()).map(move |b| (a, b))).collect();
    let counts: Vec<f64> = compared.counts.iter().map(|count| *count as f64).collect();
    let values = |drawn: &[f64]| compared.values(&figures, &pairs, drawn);
    let mut estimates = values(&counts).into_iter();
    let mut made: Vec<Statistic> = Vec::new();
    for (column, figures) in figures.iter().enumerate() {
        let estimates = drawn(figures).iter().zip(estimates.by_ref());
        made.extend(estimates.map(|(figure, estimate)| prepared.statistic(column, *figure, estimate)));
    }
    for pair in &pairs {
        let estimates = compared.columns[pair.0].compared().iter().zip(estimates.by_ref());
        made.extend(estimates.map(|(figure, estimate)| compared.difference(*pair, *figure, estimate)));
    }
    if bootstrap.replicates > 0 {
        let units = Units { counts: &compared.counts, clusters: compared.clusters.as_deref() };
        add_spreads(&mut made, bootstrap, &[units], &values);
    }
    let z = reach(bootstrap.confidence);
    let mut all = Vec::new();
    let mut made = made.into_iter();
    for (column, figures) in figures.iter().enumerate() {
        let own = drawn(figures).iter().zip(made.by_ref());
        all.extend(own.map(|(figure, made)| prepared.wilson(column, *figure, z).unwrap_or(made)));
        all.extend(figures[drawn(figures).len()..].iter().map(|figure| prepared.undrawn(column, *figure, z)));
        all.extend(prepared.cells(column));
    }
    for pair in &pairs {
        let figures = compared.columns[pair.0].compared();
        all.extend(made.by_ref().take(figures.len()));
        all.extend(compared.mcnemar(*pair, figures[0]));
    }
    all
}

impl Compared<'_> {
    /// The values of the drawn figures of all columns, then the differences of the pairs. `drawn` has how many units each
    /// row is.
    fn values(&self, figures: &[Vec<Figure>], pairs: &[(usize, usize)], units: &[f64]) -> Vec<Option<f64>> {
        let weights: Vec<f64> = units.iter().zip(&self.weights).map(|(units, weight)| units * weight).collect();
        let classes = self.labels.len();
        let columns = self.columns.iter().zip(figures);
        let mut values: Vec<Option<f64>> =
            columns.flat_map(|(column, figures)| column.values(drawn(figures), &weights, classes)).collect();
        for (a, b) in pairs {
            let (a, b) = (&self.columns[*a], &self.columns[*b]);
            let common = |row: usize| a.is_compared(row) && b.is_compared(row);
            let weights: Vec<f64> =
                weights.iter().enumerate().map(|(row, weight)| if common(row) { *weight } else { 0.0 }).collect();
            let [a, b] = [a, b].map(|column| column.values(column.compared(), &weights, classes));
            values.extend(a.into_iter().zip(b).map(|(a, b)| Some(a? - b?)));
        }
        values
    }

    /// The rows that count for a column.
    fn used(&self, column: usize) -> impl Iterator<Item = usize> {
        let matching = &self.columns[column];
        (0..matching.len()).filter(|row| matching.is_compared(*row))
    }

    fn weighted(&self) -> Vec<f64> {
        self.counts.iter().zip(&self.weights).map(|(count, weight)| *count as f64 * weight).collect()
    }

    /// The number of all units, with and without a truth.
    fn all(&self) -> u64 {
        self.without_truth + self.counts.iter().sum::<u64>()
    }

    fn units(&self, rows: impl Iterator<Item = usize>) -> u64 {
        rows.map(|row| self.counts[row]).sum()
    }

    fn of(&self, column: usize, versus: Option<usize>, [label, predicted]: [Option<usize>; 2]) -> Vec<Option<String>> {
        let text = |label: Option<usize>| label.map(|label| self.labels[label].clone());
        vec![
            Some(self.names[column].clone()),
            versus.map(|other| self.names[other].clone()),
            text(label),
            text(predicted),
        ]
    }

    /// Which rows are left out.
    fn missing(&self, column: usize) -> Option<String> {
        let rest = (0..self.counts.len()).filter(|row| !self.columns[column].is_compared(*row));
        let why = [(self.without_truth, self.truth), (self.units(rest), self.names[column].as_str())];
        let why = why.iter().filter(|(n, _)| *n > 0);
        let words: Vec<String> = why.map(|(n, name)| format!("{n} without `{name}`")).collect();
        (!words.is_empty()).then(|| format!("left out: {}", words.join(", ")))
    }

    fn common(&self, (a, b): (usize, usize)) -> impl Iterator<Item = usize> {
        self.used(a).filter(move |row| self.columns[b].is_compared(*row))
    }

    fn difference(&self, pair: (usize, usize), figure: Figure, estimate: Option<f64>) -> Statistic {
        let n = self.units(self.common(pair));
        let note = estimate.is_none().then(|| "no row has all three values".to_owned());
        Statistic {
            name: figure.difference(),
            of: self.of(pair.0, Some(pair.1), [None, None]),
            estimate,
            n,
            left_out: self.all() - n,
            note,
            ..Statistic::default()
        }
    }

    /// McNemar's test of two columns, from units without their weights.
    fn mcnemar(&self, pair: (usize, usize), figure: Figure) -> Option<Statistic> {
        let [a, b] = [pair.0, pair.1].map(|column| &self.columns[column]);
        let mut only = [0, 0];
        self.common(pair).next()?;
        for row in self.common(pair) {
            let [a, b] = [a, b].map(|column| column.outcome(figure, row).map(Option::unwrap_or_default));
            match (a?, b?) {
                (true, false) => only[0] += self.counts[row],
                (false, true) => only[1] += self.counts[row],
                _ => {}
            }
        }
        let [first, second] = [pair.0, pair.1].map(|column| &self.names[column]);
        let note = format!("{} rows where only `{first}` is right, {} where only `{second}` is", only[0], only[1]);
        let p = mcnemar(only[0], only[1]);
        let method = Some("mcnemar_exact");
        Some(Statistic { name: "mcnemar_p", method, note: Some(note), ..self.difference(pair, figure, Some(p)) })
    }
}

impl<'a> Prepared<'a> {
    fn new(of: &'a Compared<'a>) -> Prepared<'a> {
        let (weighted, size) = (of.weighted(), of.labels.len());
        let confusions: Vec<Confusion> = of.columns.iter().map(|column| column.confusion(&weighted, size)).collect();
        let classes = |confusion: &Confusion| {
            (0..size).filter(|class| confusion.support(*class) + confusion.predicted(*class) > 0.0).collect()
        };
        Prepared { of, classes: confusions.iter().map(classes).collect(), confusions }
    }

    fn statistic(&self, column: usize, figure: Figure, estimate: Option<f64>) -> Statistic {
        let compared = self.of;
        let n = compared.units(compared.used(column));
        let mut statistic = Statistic {
            name: figure.name(),
            of: compared.of(column, None, [figure.class(), None]),
            estimate,
            n,
            left_out: compared.all() - n,
            ..Statistic::default()
        };
        if let Matching::Labels(_) = &compared.columns[column] {
            let note = figure.note(&self.confusions[column], compared.labels);
            note.into_iter().for_each(|note| statistic.add_note(note));
        } else if estimate.is_none() {
            let note = if n == 0 { "no row has both values" } else { "undefined: one of the columns does not vary" };
            statistic.add_note(note);
        }
        if figure == compared.columns[column].figures(&[])[0] {
            compared.missing(column).into_iter().for_each(|note| statistic.add_note(note));
        }
        statistic
    }

    /// A score of one of very many labels.
    fn undrawn(&self, column: usize, figure: Figure, z: f64) -> Statistic {
        self.wilson(column, figure, z).unwrap_or_else(|| {
            let mut statistic = self.statistic(column, figure, figure.of_confusion(&self.confusions[column]));
            statistic.add_note(format!("without an interval, since there are more than {MOST_CLASSES} labels"));
            statistic
        })
    }

    /// A share with its Wilson interval. With clusters the bootstrap has the right one.
    fn wilson(&self, column: usize, figure: Figure, z: f64) -> Option<Statistic> {
        let compared = self.of;
        let matching = &compared.columns[column];
        if compared.clusters.is_some() || matching.len() == 0 {
            return None;
        }
        matching.outcome(figure, 0)?;
        let rows: Vec<(usize, bool)> =
            compared.used(column).filter_map(|row| Some((row, matching.outcome(figure, row)??))).collect();
        let shares = rows.iter().map(|(row, yes)| (*yes, compared.weights[*row], compared.counts[*row] as f64));
        let Some((share, std_error, effective)) = weighted_share(shares) else {
            return Some(self.statistic(column, figure, None));
        };
        Some(Statistic {
            std_error: Some(std_error),
            interval: Some(wilson_at(share, effective, z)),
            n: compared.units(rows.iter().map(|(row, _)| *row)),
            method: Some("wilson"),
            ..self.statistic(column, figure, Some(share))
        })
    }

    /// The support of each label, and the confusion matrix in long form. Of very many labels, only the cells that occur.
    fn cells(&self, column: usize) -> Vec<Statistic> {
        let compared = self.of;
        let Matching::Labels(rows) = &compared.columns[column] else { return Vec::new() };
        let classes = &self.classes[column];
        let weighted = compared.weighted();
        let pairs =
            || compared.used(column).filter_map(|row| rows[row].map(|(truth, predicted)| (row, truth, predicted)));
        let weights = confusion_cells(pairs().map(|(row, truth, predicted)| (truth, predicted, weighted[row])));
        let units =
            confusion_cells(pairs().map(|(row, truth, predicted)| (truth, predicted, compared.counts[row] as f64)));
        let made = |name, labels, estimate, n: f64| Statistic {
            name,
            of: compared.of(column, None, labels),
            estimate: Some(estimate),
            n: n as u64,
            ..Statistic::default()
        };
        let mut of_truth = vec![0.0; compared.labels.len()];
        units.iter().for_each(|((truth, _), n)| of_truth[*truth] += n);
        let support = |class: &usize| {
            made("support", [Some(*class), None], self.confusions[column].support(*class), of_truth[*class])
        };
        let at = |cells: &BTreeMap<(usize, usize), f64>, cell| cells.get(&cell).copied().unwrap_or_default();
        let cell = |(truth, predicted)| {
            let cell = (truth, predicted);
            made("confusion", [Some(truth), Some(predicted)], at(&weights, cell), at(&units, cell))
        };
        let all = classes.iter().flat_map(|truth| classes.iter().map(move |predicted| (*truth, *predicted)));
        let cells: Vec<(usize, usize)> =
            if classes.len() > MOST_CLASSES { units.keys().copied().collect() } else { all.collect() };
        classes.iter().map(support).chain(cells.into_iter().map(cell)).collect()
    }
}

/// The first of the labels that are `found`, for a sentence.
pub(super) fn some_of(labels: &IndexSet<String>, found: &[bool]) -> String {
    let found = labels.iter().zip(found).filter(|(_, found)| **found).map(|(label, _)| label.as_str());
    listed(found.take(LISTED))
}
