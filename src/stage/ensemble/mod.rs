//! `type = "ensemble"`: one label for each unit from the labels of several coders.
//!
//! The main table has the rows of the input with the label. A second table describes the coders.

mod coders;
mod fit;
mod labels;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::fit::{CODERS, EnsembleMethod, Fitting, Form, NAME};
use super::method::columns::{Read, Reading};
use super::method::gold::{Gold, GoldColumns};
use super::method::settings::{Confidence, read_column};
use super::transform::{Transform, TransformConfig, TransformContext};
use crate::document::Problems;
use crate::registry::Kind;
use crate::stats::Tie;

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Ensemble>(NAME, "One label from the labels of several coders.");

/// One label from the labels of several coders: models, prompts, replicates or people. Adds the columns `NAME` (the
/// label), `NAME_posterior` (its probability) and `NAME_entropy` (of the probabilities of all labels, in bits), where
/// NAME is the stage's. A missing label is not a vote. A row without votes has nulls. The table `NAME.coders` has the
/// confusion matrix of each coder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ensemble {
    /// The source or the stage with the labels.
    input: String,
    /// The columns with the labels, one for each coder.
    #[serde(default)]
    coders: Vec<String>,
    /// If each label has its own row: the column that identifies what is labelled.
    unit: Option<String>,
    /// The column that names the coder, beside `unit`.
    coder: Option<String>,
    /// The column with the label, beside `unit`.
    value: Option<String>,
    /// How the label is found.
    method: EnsembleMethod,
    /// What the label is if several have the largest probability. Default: `null`.
    #[serde(default)]
    ties: Ties,
    /// The column with the truth; null in rows without a code. Only for `weighted`.
    truth: Option<String>,
    /// Learns the accuracy of the coders only from rows with this value in the split, such as `dev`.
    fit: Option<String>,
    /// The column with the split. Default: `split`.
    split_column: Option<String>,
}

/// What the label is if several have the largest probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Ties {
    /// Null.
    #[default]
    Null,
    /// The label of the first coder; of coders in rows, by their names.
    First,
    /// The label that is more frequent in the table.
    Prior,
}

impl From<Ties> for Tie {
    fn from(ties: Ties) -> Tie {
        match ties {
            Ties::Null => Tie::Null,
            Ties::First => Tie::First,
            Ties::Prior => Tie::Prior,
        }
    }
}

impl Ensemble {
    fn form(&self, context: &TransformContext<'_>, reads: &mut Vec<Read>, problems: &mut Problems) -> Option<Form> {
        let (input, at) = (context.inputs.first()?, context.path);
        let long = [("unit", &self.unit), ("coder", &self.coder), ("value", &self.value)];
        if long.iter().all(|(_, name)| name.is_none()) {
            if self.coders.len() < 2 {
                let message = "`coders` must name at least two columns";
                problems.error_at_key("bad-value", at.key("coders"), message).help(
                    "write `coders = [\"a\", \"b\"]`; or `unit`, `coder` and `value` if each label has its own row",
                );
            }
            for (i, name) in self.coders.iter().enumerate() {
                let place = at.key("coders").index(i);
                if self.coders[..i].contains(name) {
                    problems.error("bad-value", place, format!("`{name}` is a coder twice")).help("leave one out");
                    continue;
                }
                reads.extend(read_column(input, place, name, Reading::Label, problems));
            }
            return Some(Form::Wide(self.coders.clone()));
        }
        if !self.coders.is_empty() {
            let message =
                "`coders` names a column for each coder, but `unit`, `coder` and `value` describe labels in rows";
            problems.error("bad-value", at.key("coders"), message).help("leave one of them out");
        }
        for ((key, name), reading) in long.into_iter().zip([Reading::Name, Reading::Name, Reading::Label]) {
            match name {
                Some(name) => reads.extend(read_column(input, at.key(key), name, reading, problems)),
                None => {
                    let message = format!("`{key}` is missing: labels in rows need `unit`, `coder` and `value`");
                    problems.error("missing-field", at.clone(), message).help(format!("write `{key} = \"..\"`"));
                }
            }
        }
        Some(Form::Long)
    }

    /// Binds what both tables share. Reports every problem.
    fn fitting(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<(Fitting, Vec<Read>)> {
        let (input, at) = (context.inputs.first()?, context.path);
        let before = problems.mark();
        let mut reads = Vec::new();
        let form = self.form(context, &mut reads, problems);
        let is_weighted = self.method == EnsembleMethod::Weighted;
        let unused = [("truth", self.truth.is_some()), ("fit", self.fit.is_some())];
        for (key, _) in unused.into_iter().filter(|(_, is_set)| *is_set && !is_weighted) {
            let message = format!("`{key}` has no effect without `method = \"weighted\"`");
            problems.error("unused-field", at.key(key), message).help("leave it out");
        }
        let truth = match &self.truth {
            Some(name) => {
                reads.extend(read_column(input, at.key("truth"), name, Reading::Label, problems));
                Some(reads.len().saturating_sub(1))
            }
            None if is_weighted => {
                let message = "`truth` is missing: the accuracy of the coders is measured on rows with a truth";
                problems.error("missing-field", at.clone(), message).help("write `truth = \"..\"`");
                None
            }
            None => None,
        };
        let parts: Vec<(&str, &str)> = self.fit.iter().map(|part| ("fit", part.as_str())).collect();
        let columns =
            GoldColumns { parts: &parts, split_column: self.split_column.as_deref(), ..GoldColumns::default() };
        let gold = Gold::bind(columns, input, at, &mut reads, problems);
        if problems.had_errors_since(before) {
            return None;
        }
        let fitting = Fitting {
            form: form?,
            method: self.method,
            tie: self.ties.into(),
            truth: truth.map(|read| (read, self.fit.clone())),
            gold,
        };
        Some((fitting, reads))
    }

    fn settings(&self) -> Value {
        json!(Ensemble { input: String::new(), ..self.clone() })
    }
}

impl TransformConfig for Ensemble {
    /// The rows are read twice: first for the votes, then to add the labels.
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input), ("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let (fitting, reads) = self.fitting(context, problems)?;
        labels::transform(context, (fitting, reads), self.settings(), problems)
    }

    fn parts(&self) -> &'static [&'static str] {
        &[CODERS]
    }

    fn bind_part(&self, _: &str, context: &TransformContext<'_>) -> Option<Transform> {
        let problems = &mut Problems::default();
        let (fitting, reads) = self.fitting(context, problems)?;
        coders::frame(fitting, reads, self.settings(), Confidence::default()).bind(context, problems)
    }
}
