//! `type = "validation"`: how well predictions match the truth that people coded.

mod comparison;
mod texts;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::comparison::{Compared, DIFFERENCES, Matching, statistics};
use super::method::columns::{Reading, Rows};
use super::method::frame::{Frame, Method};
use super::method::gold::{Gold, GoldColumns, TEST};
use super::method::settings::{BootstrapSettings, Confidence, read_column};
use super::method::tidy::Statistic;
use super::transform::{DataError, InputTable, Transform, TransformConfig, TransformContext, declaration};
use super::view::{Estimates, Predictions, Shown, View};
use crate::document::{Path, Problems};
use crate::registry::Kind;
use crate::stats::Bootstrap;
use crate::table::Type;

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Validation>("validation", "How well predictions match the truth that people coded.");

/// The columns of the table after `statistic`.
const OF: [&str; 4] = ["column", "versus", "label", "predicted"];

/// How well predicted values match the true ones. The table has a row for each statistic of each predicted column, and
/// of each pair of predicted columns. `versus` names the second column of a pair, whose difference the row holds. Rows
/// without a true or a predicted value are left out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Validation {
    /// The source or the stage with both columns.
    input: String,
    /// The columns with the predictions. Several are also compared with each other.
    predicted: Vec<String>,
    /// The column with the truth; null in rows without a code. Quotes need none.
    truth: Option<String>,
    /// What the columns hold. Default: `numbers` for numbers with decimals, else `labels`.
    compare: Option<Content>,
    /// The column with the text in which quotes are looked up.
    text: Option<String>,
    /// Only rows with this value in the split, such as `test`. The lock counts how often the part `test` is looked at.
    split: Option<String>,
    /// The column with the split. Default: `split`.
    split_column: Option<String>,
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

/// What predicted columns hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Content {
    /// Labels: accuracy, precision, recall, F1, Matthews' correlation and the confusion matrix.
    Labels,
    /// Numbers: mean errors and correlations.
    Numbers,
    /// Texts: equal ones, and the tokens that they share.
    Texts,
    /// Quotes: the share that is found in the text.
    Quotes,
}

impl Content {
    fn reading(self) -> Reading {
        match self {
            Content::Numbers => Reading::Number,
            Content::Labels | Content::Texts | Content::Quotes => Reading::Label,
        }
    }
}

impl Validation {
    fn content(&self, input: &InputTable<'_>) -> Content {
        let is_number = |name: &String| {
            let kind = input.schema.field_with_name(name).map(|field| field.data_type());
            kind.is_ok_and(|kind| Type::of_cells(kind) == Type::Number)
        };
        let guess = if self.predicted.iter().any(is_number) { Content::Numbers } else { Content::Labels };
        self.compare.unwrap_or(guess)
    }

    /// The field that names the other side of the comparison, and its column.
    fn other(&self, content: Content, at: &Path, problems: &mut Problems) -> Option<(&'static str, &str)> {
        let (key, name, unused, why) = match content {
            Content::Quotes => {
                ("text", &self.text, ("truth", &self.truth), "quotes are looked up in the column `text`")
            }
            _ => ("truth", &self.truth, ("text", &self.text), "only quotes are looked up in a text"),
        };
        if unused.1.is_some() {
            problems.error("unused-field", at.key(unused.0), why).help(format!("leave `{}` out", unused.0));
        }
        if name.is_none() {
            let message = format!("`{key}` is missing: it names the column that the predictions are compared with");
            problems.error("missing-field", at.clone(), message).help(format!("write `{key} = \"..\"`"));
        }
        name.as_deref().map(|name| (key, name))
    }
}

impl TransformConfig for Validation {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let (input, at) = (context.inputs.first()?, context.path);
        let before = problems.mark();
        let content = self.content(input);
        let mut reads = Vec::new();
        if let Some((key, name)) = self.other(content, at, problems) {
            reads.extend(read_column(input, at.key(key), name, content.reading(), problems));
        }
        if self.predicted.is_empty() {
            problems.error("bad-value", at.key("predicted"), "`predicted` must name at least one column");
        }
        for (i, name) in self.predicted.iter().enumerate() {
            let place = at.key("predicted").index(i);
            if self.predicted[..i].contains(name) || self.truth.as_ref() == Some(name) {
                let message = format!("`{name}` would be compared with itself");
                problems.error("bad-value", place, message).help("name another column");
                continue;
            }
            reads.extend(read_column(input, place, name, content.reading(), problems));
        }
        let parts: Vec<(&str, &str)> = self.split.iter().map(|part| ("split", part.as_str())).collect();
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
        let config = Validation { input: String::new(), ..self.clone() };
        let settings = json!({ "validation": config, "content": content });
        let bootstrap = self.bootstrap.bootstrap(context.seed, KIND.name, self.confidence);
        let truth = self.truth.clone().or(self.text.clone()).unwrap_or_default();
        let method =
            Bound { predicted: self.predicted.clone(), truth, content, split: self.split.clone(), gold, bootstrap };
        let frame = Frame {
            kind: KIND.name,
            of: &OF,
            by: &self.by,
            reads,
            merge: self.cluster.is_none(),
            confidence: self.confidence,
            settings,
            method: Box::new(method),
        };
        frame.bind(context, problems)
    }
}

#[derive(Debug)]
struct Bound {
    predicted: Vec<String>,
    /// The column of the other side, which is read first; the predicted columns follow.
    truth: String,
    content: Content,
    split: Option<String>,
    gold: Gold,
    bootstrap: Bootstrap,
}

impl Method for Bound {
    fn views(&self) -> Vec<View> {
        let of = |lines| Estimates { lines, series: Some("column"), ..Estimates::default() };
        let whole = Estimates { without: &["versus", "label"], ..of(&["statistic"]) };
        let labels = Estimates {
            statistics: &["precision", "recall", "f1"],
            with: &["label"],
            shares: true,
            ..of(&["label", "statistic"])
        };
        let differences = Estimates {
            statistics: DIFFERENCES,
            series: Some("statistic"),
            mark: Some(0.0),
            ..of(&["column", "versus"])
        };
        let wrong = (self.content == Content::Labels).then(|| {
            self.predicted.iter().map(|predicted| {
                let (truth, part) = (self.truth.clone(), self.gold.part_of(self.split.as_deref()));
                let columns = Predictions { truth, predicted: predicted.clone(), probability: None, part };
                View::new(predicted, Shown::Wrong(columns))
            })
        });
        let confusion =
            Shown::Confusion { statistic: "confusion", of: "column", truth: "label", predicted: "predicted" };
        [
            View::new(format!("Predictions against {}", self.truth), Shown::Estimates(whole)),
            View::new("Each label", Shown::Estimates(labels)),
            View::new("Confusion", confusion),
            View::new("Differences between the predictions", Shown::Estimates(differences)),
        ]
        .into_iter()
        .chain(wrong.into_iter().flatten())
        .collect()
    }

    fn looks_at_test(&self) -> bool {
        self.split.as_deref() == Some(TEST)
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let is_inside = self.gold.part(rows, self.split.as_deref()).map_err(|error| error.or_at("split"))?;
        // The words of numbers are not codes, but they are missing in the same rows.
        let truth = rows.labels(0);
        let is_gold: Vec<bool> =
            truth.iter().zip(&is_inside).map(|(truth, inside)| truth.is_some() && *inside).collect();
        let weights = self.gold.weights(rows, &is_gold, &self.truth)?;
        let kept: Vec<usize> = (0..is_gold.len()).filter(|row| is_gold[*row]).collect();
        let matching = |read| self.matching(rows, read, &kept);
        let columns = (1..=self.predicted.len()).map(matching).collect::<Result<_, _>>()?;
        let counts = rows.counts();
        let without = (0..is_gold.len()).filter(|row| is_inside[*row] && !is_gold[*row]).map(|row| counts[row]);
        let compared = Compared {
            names: &self.predicted,
            truth: &self.truth,
            labels: rows.label_names(),
            columns,
            without_truth: without.sum(),
            weights: kept.iter().map(|row| weights[*row]).collect(),
            counts: kept.iter().map(|row| counts[*row]).collect(),
            clusters: self.gold.clusters(rows, &kept)?,
        };
        Ok(statistics(&compared, &self.bootstrap))
    }
}

impl Bound {
    fn matching(&self, rows: &Rows<'_>, read: usize, kept: &[usize]) -> Result<Matching, DataError> {
        let pairs = || {
            let (truth, predicted) = (rows.labels(0), rows.labels(read));
            kept.iter().map(move |row| (truth[*row], predicted[*row]))
        };
        let texts = rows.label_names();
        match self.content {
            Content::Labels => {
                let pairs: Vec<_> = pairs().map(|(truth, predicted)| Some((truth?, predicted?))).collect();
                self.share_labels(rows, read)?;
                Ok(Matching::Labels(pairs))
            }
            Content::Numbers => {
                let (truth, predicted) = (rows.numbers(0), rows.numbers(read));
                Ok(Matching::Numbers(kept.iter().map(|row| Some((truth[*row]?, predicted[*row]?))).collect()))
            }
            Content::Texts => {
                let of = |(truth, predicted): (Option<usize>, Option<usize>)| {
                    Some(texts::compare(&texts[truth?], &texts[predicted?]))
                };
                Ok(Matching::Texts(pairs().map(of).collect()))
            }
            Content::Quotes => {
                let of =
                    |(text, quote): (Option<usize>, Option<usize>)| Some(texts::find(&texts[text?], &texts[quote?]));
                Ok(Matching::Quotes(pairs().map(of).collect()))
            }
        }
    }

    /// Refuses columns without a common label, since they are probably written differently. While one of them has a
    /// single label, as after the first codes, that shows nothing.
    fn share_labels(&self, rows: &Rows<'_>, read: usize) -> Result<(), DataError> {
        let found = |read: usize| {
            let mut found = vec![false; rows.label_names().len()];
            rows.labels(read).into_iter().flatten().for_each(|label| found[label] = true);
            found
        };
        let (truth, predicted) = (found(0), found(read));
        let is_shared = truth.iter().zip(&predicted).any(|(a, b)| *a && *b);
        let has_several = |found: &[bool]| found.iter().filter(|found| **found).count() > 1;
        if !rows.is_whole() || is_shared || !has_several(&truth) || !has_several(&predicted) {
            return Ok(());
        }
        let labels = |found: &[bool]| comparison::some_of(rows.label_names(), found);
        let (name, other) = (&self.predicted[read - 1], &self.truth);
        let (predicted, truth) = (labels(&predicted), labels(&truth));
        let are_numbers = rows.label_names().iter().all(|label| label.parse::<f64>().is_ok());
        let message =
            format!("`{name}` and `{other}` have no label in common: `{name}` has {predicted}, `{other}` has {truth}");
        Err(DataError::at("truth", message).help(match are_numbers {
            true => {
                let [name, other] = [name, other].map(|name| declaration(name, "number"));
                format!("to compare numbers, write {name} and {other} in their sources")
            }
            false => "both columns need the same labels; `compare = \"texts\"` compares free texts".to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests;
