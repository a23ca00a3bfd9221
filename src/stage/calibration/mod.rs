//! `type = "calibration"`: whether stated probabilities are true.

mod scores;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::scores::{Recalibrated, Scored, statistics};
use super::method::columns::{Read, Reading, Rows};
use super::method::frame::{Frame, Method};
use super::method::gold::{Gold, GoldColumns, TEST};
use super::method::settings::{BootstrapSettings, Confidence, read_column};
use super::method::tidy::Statistic;
use super::transform::{DataError, Transform, TransformConfig, TransformContext};
use super::view::{Curve, Estimates, Predictions, Shown, View};
use crate::document::Problems;
use crate::registry::Kind;
use crate::stats::{Bootstrap, Forecast};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Calibration>("calibration", "Whether stated probabilities are true.");

/// The columns of the table after `statistic`.
const OF: [&str; 3] = ["probability", "bin", "threshold"];
const MOST_BINS: u32 = 1000;

/// Whether answers with the probability 0.8 are right in 80 % of the rows. The table has a row for each statistic of the
/// stated probabilities and, with `fit`, of the recalibrated ones. Rows without a probability or a truth are left out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Calibration {
    /// The source or the stage with these columns.
    input: String,
    /// The column with the probabilities, from 0 to 1.
    prob: String,
    /// The column with the answers whose probabilities these are. An answer is right if it equals the truth.
    predicted: Option<String>,
    /// The column with the truth; null in rows without a code. Without `predicted`: true where the event happened.
    truth: String,
    /// Recalibrates the probabilities by a temperature and by isotonic regression, fitted on the rows with this value in
    /// the split, such as `dev`.
    fit: Option<String>,
    /// Only rows with this value in the split, such as `test`. The lock counts how often the part `test` is looked at.
    split: Option<String>,
    /// The column with the split. Default: `split`.
    split_column: Option<String>,
    /// The number of bins, which hold about equally many rows. Default: 10.
    #[serde(default = "bins")]
    bins: u32,
    /// The wanted accuracy of the rows that keep their answer. Finds the smallest probability above which the accuracy is
    /// at least this, by its exact binomial bound; on the rows of `fit`, if there are any.
    accuracy: Option<f64>,
    /// The column with the probability of each row to be in the sample, above 0 and at most 1. A row counts 1 / p.
    /// Default: all rows count the same.
    inclusion_probability: Option<String>,
    /// Repeats everything for each group of these columns, after all rows.
    #[serde(default)]
    by: Vec<String>,
    /// The bootstrap draws all rows with the same value in this column together, such as all speeches of an author.
    cluster: Option<String>,
    /// The bootstrap of all statistics that are not shares.
    #[serde(default)]
    bootstrap: BootstrapSettings,
    /// The confidence of intervals. Default: 0.95.
    #[serde(default)]
    confidence: Confidence,
}

fn bins() -> u32 {
    10
}

impl Calibration {
    fn check(&self, context: &TransformContext<'_>, problems: &mut Problems) {
        let at = context.path;
        if self.bins == 0 || self.bins > MOST_BINS {
            let message = format!("`bins` must be from 1 to {MOST_BINS}, not {}", self.bins);
            problems.error("bad-value", at.key("bins"), message);
        }
        if let Some(wanted) = self.accuracy.filter(|wanted| !(*wanted > 0.0 && *wanted < 1.0)) {
            let message = format!("the wanted accuracy is between 0 and 1, not {wanted}");
            problems.error("bad-value", at.key("accuracy"), message).help("write `accuracy = 0.95`");
        }
        match (&self.fit, &self.split) {
            (Some(_), None) => {
                let message = "the recalibrated probabilities need other rows than those of `fit`";
                problems.error("missing-field", at.key("fit"), message).help("write `split = \"test\"` too");
            }
            (Some(fit), Some(split)) if fit == split => {
                let message = format!("`fit` and `split` are both `{fit}`, so the fit would be shown on its own rows");
                problems
                    .error("bad-value", at.key("fit"), message)
                    .help("name two different parts, such as `dev` and `test`");
            }
            _ => {}
        }
    }
}

impl TransformConfig for Calibration {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let (input, at) = (context.inputs.first()?, context.path);
        let before = problems.mark();
        self.check(context, problems);
        let truth = if self.predicted.is_some() { Reading::Label } else { Reading::Truth };
        let mut reads: Vec<Read> = Vec::new();
        for (key, name, reading) in [("prob", &self.prob, Reading::Number), ("truth", &self.truth, truth)] {
            reads.extend(read_column(input, at.key(key), name, reading, problems));
        }
        if let Some(name) = &self.predicted {
            reads.extend(read_column(input, at.key("predicted"), name, Reading::Label, problems));
        }
        let fit = self.fit.iter().map(|part| ("fit", part.as_str()));
        let parts: Vec<(&str, &str)> = fit.chain(self.split.iter().map(|part| ("split", part.as_str()))).collect();
        let columns = GoldColumns {
            parts: &parts,
            split_column: self.split_column.as_deref(),
            probability: self.inclusion_probability.as_deref(),
            cluster: self.cluster.as_deref(),
        };
        let gold = Gold::bind(columns, input, at, &mut reads, problems);
        if problems.had_errors_since(before) {
            return None;
        }
        let config = Calibration { input: String::new(), ..self.clone() };
        let bootstrap = self.bootstrap.bootstrap(context.seed, KIND.name, self.confidence);
        let frame = Frame {
            kind: KIND.name,
            of: &OF,
            by: &self.by,
            reads,
            merge: self.cluster.is_none(),
            confidence: self.confidence,
            settings: json!(config.clone()),
            method: Box::new(Bound { config, gold, bootstrap }),
        };
        frame.bind(context, problems)
    }
}

/// The reads of the method.
const PROB: usize = 0;
const TRUTH: usize = 1;
const PREDICTED: usize = 2;

#[derive(Debug)]
struct Bound {
    config: Calibration,
    gold: Gold,
    bootstrap: Bootstrap,
}

impl Method for Bound {
    fn views(&self) -> Vec<View> {
        let reliability = Curve {
            x: "bin_probability",
            y: "bin_accuracy",
            point: &["bin"],
            series: &["probability"],
            titles: ["Stated probability", "Share that is right"],
            shares: true,
            diagonal: true,
        };
        let coverage = Curve {
            x: "coverage",
            y: "accuracy_kept",
            point: &["threshold"],
            titles: ["Share of rows kept, the most certain first", "Accuracy of these rows"],
            diagonal: false,
            ..reliability.clone()
        };
        let wrong = self.config.predicted.as_ref().map(|predicted| {
            let (truth, part) = (self.config.truth.clone(), self.gold.part_of(self.config.split.as_deref()));
            let probability = Some(self.config.prob.clone());
            View::new(predicted, Shown::Wrong(Predictions { truth, predicted: predicted.clone(), probability, part }))
        });
        let scores = Estimates {
            statistics: &["brier", "log_loss", "ece", "auroc"],
            lines: &["statistic"],
            series: Some("probability"),
            ..Estimates::default()
        };
        let kept = Estimates {
            statistics: &["accuracy", "threshold", "threshold_coverage", "threshold_accuracy"],
            lines: &["statistic"],
            shares: true,
            ..Estimates::default()
        };
        [
            View::new("Reliability of the probabilities", Shown::Curve(reliability)),
            View::new("Accuracy and coverage", Shown::Curve(coverage)),
            View::new("Scores of the probabilities", Shown::Estimates(scores)),
            View::new("Accuracy, and the threshold", Shown::Estimates(kept)),
        ]
        .into_iter()
        .chain(wrong)
        .collect()
    }

    fn looks_at_test(&self) -> bool {
        self.config.split.as_deref() == Some(TEST)
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let hits = self.hits(rows);
        let shown = self.scored(rows, &hits, self.config.split.as_deref()).map_err(|error| error.or_at("split"))?;
        let fit = self.config.fit.as_deref();
        let fit =
            fit.map(|part| self.scored(rows, &hits, Some(part)).map_err(|error| error.or_at("fit"))).transpose()?;
        let threshold = self.config.accuracy;
        let recalibrated = fit.map(|fit| Recalibrated::fit(fit, self.config.fit.as_deref().unwrap_or_default()));
        Ok(statistics(&shown, recalibrated.as_ref(), (self.config.bins as usize, threshold), &self.bootstrap))
    }
}

impl Bound {
    /// Whether each row is right; `None` without a truth.
    fn hits(&self, rows: &Rows<'_>) -> Vec<Option<bool>> {
        match self.config.predicted {
            None => rows.truths(TRUTH),
            Some(_) => {
                let pairs = rows.labels(TRUTH).into_iter().zip(rows.labels(PREDICTED));
                pairs.map(|(truth, predicted)| Some(truth? == predicted?)).collect()
            }
        }
    }

    /// The rows of a part of the split with a truth and a probability.
    fn scored(&self, rows: &Rows<'_>, hits: &[Option<bool>], part: Option<&str>) -> Result<Scored, DataError> {
        let is_inside = self.gold.part(rows, part)?;
        let is_gold: Vec<bool> = hits.iter().zip(&is_inside).map(|(hit, inside)| hit.is_some() && *inside).collect();
        let Calibration { prob: name, truth, .. } = &self.config;
        let (weights, counts, probabilities) =
            (self.gold.weights(rows, &is_gold, truth)?, rows.counts(), rows.numbers(PROB));
        let (mut kept, mut forecasts, mut missing) = (Vec::new(), Vec::new(), [0, 0]);
        for row in (0..hits.len()).filter(|row| is_inside[*row]) {
            match (hits[row], probabilities[row]) {
                (Some(_), Some(p)) if !(0.0..=1.0).contains(&p) => {
                    return Err(DataError::at("prob", format!("`{name}` holds {p}, but a probability is from 0 to 1")));
                }
                (Some(hit), Some(p)) => {
                    kept.push(row);
                    forecasts.push(Forecast { p, hit, weight: weights[row] });
                }
                (None, _) => missing[0] += counts[row],
                (Some(_), None) => missing[1] += counts[row],
            }
        }
        let clusters = self.gold.clusters(rows, &kept)?;
        let mut order: Vec<usize> = (0..kept.len()).collect();
        order.sort_by(|a, b| forecasts[*a].p.total_cmp(&forecasts[*b].p));
        let why = missing.iter().zip([truth, name]).filter(|(n, _)| **n > 0);
        let why: Vec<String> = why.map(|(n, name)| format!("{n} without `{name}`")).collect();
        Ok(Scored {
            counts: order.iter().map(|place| counts[kept[*place]]).collect(),
            clusters: clusters.map(|clusters| order.iter().map(|place| clusters[*place]).collect()),
            forecasts: order.into_iter().map(|place| forecasts[place]).collect(),
            left_out: missing.iter().sum(),
            note: (!why.is_empty()).then(|| format!("left out: {}", why.join(", "))),
        })
    }
}
