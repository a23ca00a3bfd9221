//! The fit: the votes of the coders, and the probability of each label.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::method::columns::Rows;
use crate::stage::method::gold::Gold;
use crate::stage::transform::DataError;
use crate::stats::{
    DawidSkene, Matrices, Pattern, Tie, by_accuracy, dawid_skene, entropy, matrices, prior, shares, winner,
};

/// The type of the stage.
pub(super) const NAME: &str = "ensemble";
/// The part of the second table's name after the stage's.
pub(super) const CODERS: &str = "coders";

/// How one label is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EnsembleMethod {
    /// The most frequent label. Its probability is its share of the votes.
    Majority,
    /// Each coder counts by its accuracy, measured on the rows with a truth.
    Weighted,
    /// The model of Dawid and Skene: the errors of each coder and the share of each label, estimated together.
    DawidSkene,
}

/// How the table holds the labels of the coders. The reads of the method begin with its columns.
#[derive(Debug)]
pub(super) enum Form {
    /// A column for each of these coders.
    Wide(Vec<String>),
    /// A row for each label: columns of the unit, the coder and the label.
    Long,
}

/// What the labels depend on.
#[derive(Debug)]
pub(super) struct Fitting {
    pub(super) form: Form,
    pub(super) method: EnsembleMethod,
    pub(super) tie: Tie,
    /// The read of the column with the truth, and the part of the split whose rows are used.
    pub(super) truth: Option<(usize, Option<String>)>,
    pub(super) gold: Gold,
}

/// The votes on a unit, in the order of the coders.
pub(super) type Votes = Vec<(usize, usize)>;

/// How often a coder is right on the rows with a truth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accuracy {
    pub(super) right: u64,
    pub(super) of: u64,
}

impl Accuracy {
    /// One right and one wrong row more, so that the weight is finite (Laplace's rule of succession). 0.5 without rows.
    fn smoothed(self) -> f64 {
        (self.right as f64 + 1.0) / (self.of as f64 + 2.0)
    }
}

/// The label of a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// `None` after a tie.
    pub(super) label: Option<usize>,
    /// The largest probability.
    pub(super) posterior: f64,
    pub(super) entropy: f64,
}

#[derive(Debug)]
pub(super) struct Fit {
    pub(super) coders: Vec<String>,
    pub(super) labels: Vec<String>,
    pub(super) verdicts: HashMap<Votes, Verdict>,
    /// The votes on each unit of a table in rows, by the unit's name.
    pub(super) units: HashMap<String, Votes>,
    pub(super) prior: Vec<f64>,
    pub(super) matrices: Matrices,
    /// For each coder, the number of its votes.
    pub(super) votes: Vec<u64>,
    /// The number of units with votes.
    pub(super) n: u64,
    /// The number of units without votes.
    pub(super) left_out: u64,
    pub(super) accuracy: Option<Vec<Accuracy>>,
    /// How often each coder is right, if the model is.
    pub(super) expected: Option<Vec<Option<f64>>>,
    pub(super) model: Option<DawidSkene>,
}

impl Fitting {
    pub(super) fn fit(&self, rows: &Rows<'_>) -> Result<Fit, DataError> {
        let labels: Vec<String> = rows.label_names().iter().cloned().collect();
        let (coders, grouped, units) = self.votes(rows);
        let patterns: Vec<Pattern> =
            grouped.iter().map(|(votes, units)| Pattern { votes: votes.clone(), units: *units as f64 }).collect();
        let (size, of) = (labels.len(), coders.len());
        let accuracy = self.truth.as_ref().map(|_| self.accuracy(rows, &coders)).transpose()?;
        let mut model = None;
        let posterior = match (self.method, &accuracy) {
            (EnsembleMethod::DawidSkene, _) => {
                let mut fit = dawid_skene(&patterns, size, of);
                let posterior = std::mem::take(&mut fit.posterior);
                model = Some(fit);
                posterior
            }
            // Nothing is known about the coders before the first row has a truth.
            (EnsembleMethod::Weighted, Some(accuracy)) if accuracy.iter().all(|accuracy| accuracy.of == 0) => {
                vec![Vec::new(); patterns.len()]
            }
            (EnsembleMethod::Weighted, Some(accuracy)) => {
                let smoothed: Vec<f64> = accuracy.iter().map(|accuracy| accuracy.smoothed()).collect();
                by_accuracy(&patterns, size, &smoothed)
            }
            _ => shares(&patterns, size),
        };
        let prior = model.as_ref().map_or_else(|| prior(&patterns, size), |model| model.prior.clone());
        let verdict = |(pattern, posterior): (&Pattern, &Vec<f64>)| {
            let most = posterior.iter().copied().reduce(f64::max)?;
            let label = winner(pattern, posterior, self.tie, &prior);
            Some((pattern.votes.clone(), Verdict { label, posterior: most, entropy: entropy(posterior) }))
        };
        let mut votes = vec![0; of];
        grouped.iter().for_each(|(pattern, units)| pattern.iter().for_each(|(coder, _)| votes[*coder] += units));
        let expected = |coder: usize| {
            let of = patterns.iter().zip(&posterior).map(|(pattern, posterior)| {
                let own = pattern.votes.iter().filter(|(other, _)| *other == coder);
                own.map(|(_, label)| pattern.units * posterior[*label]).sum::<f64>()
            });
            (votes[coder] > 0).then(|| of.sum::<f64>() / votes[coder] as f64)
        };
        let expected = model.as_ref().map(|_| (0..of).map(expected).collect());
        let left_out = grouped.get(&Vec::new()).copied().unwrap_or(0);
        Ok(Fit {
            verdicts: patterns.iter().zip(&posterior).filter_map(verdict).collect(),
            matrices: model
                .as_mut()
                .map_or_else(|| matrices(&patterns, &posterior, size, of), |model| std::mem::take(&mut model.matrices)),
            n: grouped.values().sum::<u64>() - left_out,
            coders,
            labels,
            units,
            prior,
            votes,
            left_out,
            accuracy,
            expected,
            model,
        })
    }

    /// The names of the coders, how many units have the same votes, and the votes of units in rows.
    fn votes(&self, rows: &Rows<'_>) -> (Vec<String>, BTreeMap<Votes, u64>, HashMap<String, Votes>) {
        let mut grouped = BTreeMap::new();
        match &self.form {
            Form::Wide(coders) => {
                let columns: Vec<Vec<Option<usize>>> = (0..coders.len()).map(|read| rows.labels(read)).collect();
                for (row, count) in rows.counts().into_iter().enumerate() {
                    let votes = columns.iter().enumerate().filter_map(|(coder, column)| Some((coder, column[row]?)));
                    *grouped.entry(votes.collect()).or_default() += count;
                }
                (coders.clone(), grouped, HashMap::new())
            }
            Form::Long => {
                let (units, coders, labels) = (rows.labels(0), rows.labels(1), rows.labels(2));
                let mut by_unit = vec![Votes::new(); rows.names(0).len()];
                for ((unit, coder), label) in units.into_iter().zip(coders).zip(labels) {
                    let (Some(unit), Some(coder), Some(label)) = (unit, coder, label) else { continue };
                    by_unit[unit].push((coder, label));
                }
                for votes in &mut by_unit {
                    votes.sort_unstable();
                    *grouped.entry(votes.clone()).or_default() += 1;
                }
                (rows.names(1).iter().cloned().collect(), grouped, rows.names(0).iter().cloned().zip(by_unit).collect())
            }
        }
    }

    fn accuracy(&self, rows: &Rows<'_>, coders: &[String]) -> Result<Vec<Accuracy>, DataError> {
        let Some((read, part)) = &self.truth else { return Ok(Vec::new()) };
        let is_inside = self.gold.part(rows, part.as_deref()).map_err(|error| error.or_at("fit"))?;
        let (truth, counts) = (rows.labels(*read), rows.counts());
        let mut accuracy = vec![Accuracy::default(); coders.len()];
        let mut add = |coder: usize, label: usize, row: usize| {
            let Some(truth) = truth[row].filter(|_| is_inside[row]) else { return };
            accuracy[coder].of += counts[row];
            accuracy[coder].right += if truth == label { counts[row] } else { 0 };
        };
        match &self.form {
            Form::Wide(coders) => {
                for coder in 0..coders.len() {
                    let labels = rows.labels(coder).into_iter().enumerate();
                    labels.for_each(|(row, label)| label.into_iter().for_each(|label| add(coder, label, row)));
                }
            }
            Form::Long => {
                let votes = rows.labels(1).into_iter().zip(rows.labels(2)).enumerate();
                votes.for_each(|(row, (coder, label))| {
                    coder.zip(label).into_iter().for_each(|(coder, label)| add(coder, label, row));
                });
            }
        }
        Ok(accuracy)
    }
}
