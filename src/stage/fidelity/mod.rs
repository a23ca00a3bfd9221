//! `type = "fidelity"`: how far a synthetic sample is from a human one.

mod compared;
mod samples;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::compared::Compared;
use self::samples::{Kind as ColumnKind, Variable};
use super::method::columns::{Read, Reading};
use super::method::frame::Frame;
use super::method::settings::{BootstrapSettings, Confidence, read_column};
use super::transform::{InputTable, Transform, TransformConfig, TransformContext};
use crate::document::{Path, Problems};
use crate::registry::Kind;
use crate::table::Type;

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Fidelity>("fidelity", "How far a synthetic sample is from a human one.");

/// How far the answers of models, or of any synthetic sample, are from those of people. The table has a row for each
/// statistic: the columns of `by`, `statistic`, `column`, `predictors`, `estimate`, `std_error`, `ci_low`, `ci_high`,
/// `level`, `n` (rows of both samples), `left_out`, `method` and `note`. Of each column: `total_variation` (0 to 1) and
/// `jensen_shannon` (bits) for labels and whole numbers; `wasserstein` (in the unit of the column, or in steps of its
/// order) and `variance_ratio` (synthetic by human) for numbers and ordered labels; `group_means_rank_correlation`
/// (Spearman's, over the groups of `by`). Of all numbers and ordered labels: `correlation_rmse`, the root mean squared
/// difference of their correlations. Of each regression: `sign_agreement`, the share of coefficients with the same sign.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fidelity {
    /// The source or the stage with the synthetic sample.
    synthetic: String,
    /// The source or the stage with the answers of people.
    human: String,
    /// The columns with the answers. Both tables have them.
    columns: Vec<String>,
    /// For columns of labels with an order, the labels from the lowest to the highest.
    #[serde(default)]
    order: IndexMap<String, Vec<String>>,
    /// The column with the survey weights of the people, from 0. Default: all people count the same.
    weight: Option<String>,
    /// Linear regressions whose coefficients are compared.
    #[serde(default)]
    regressions: Vec<Regression>,
    /// Columns of both tables whose groups are compared one by one too.
    #[serde(default)]
    by: Vec<String>,
    /// The bootstrap, which draws the rows of each sample by itself.
    #[serde(default)]
    bootstrap: BootstrapSettings,
    /// The confidence of the intervals. Default: 0.95.
    #[serde(default)]
    confidence: Confidence,
}

/// A linear regression in each sample.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Regression {
    /// A column of numbers, or of labels in `order`.
    outcome: String,
    /// Columns of both tables. Labels without an order become a term for each label but the first.
    predictors: Vec<String>,
}

impl Fidelity {
    /// The variables with their places in the spec: the columns, then what only regressions read.
    fn variables(&self, at: &Path) -> IndexMap<&str, Path> {
        let mut variables = IndexMap::new();
        for (i, name) in self.columns.iter().enumerate() {
            variables.insert(name.as_str(), at.key("columns").index(i));
        }
        for (i, regression) in self.regressions.iter().enumerate() {
            let at = at.key("regressions").index(i);
            variables.entry(regression.outcome.as_str()).or_insert(at.key("outcome"));
            for (i, name) in regression.predictors.iter().enumerate() {
                variables.entry(name.as_str()).or_insert(at.key("predictors").index(i));
            }
        }
        variables
    }

    /// What a column holds, by its types in both tables.
    fn kind(&self, name: &str, inputs: &[InputTable<'_>]) -> ColumnKind {
        let types = || {
            let fields = inputs.iter().filter_map(|input| input.schema.field_with_name(name).ok());
            fields.map(|field| Type::of_cells(field.data_type()))
        };
        match self.order.get(name) {
            Some(order) => ColumnKind::Ordered(order.clone()),
            None if types().all(|kind| kind == Type::Integer) => ColumnKind::Whole,
            None if types().all(|kind| kind.is_numeric()) => ColumnKind::Real,
            None => ColumnKind::Labels,
        }
    }

    fn check(&self, variables: &IndexMap<&str, Path>, context: &TransformContext<'_>, problems: &mut Problems) {
        let at = context.path;
        let mut bad = |at: Path, message: String, help: &str| {
            problems.error("bad-value", at, message).help(help);
        };
        if self.columns.is_empty() {
            bad(at.key("columns"), "`columns` is empty".to_owned(), "name a column that both tables have");
        }
        for (i, name) in self.columns.iter().enumerate().filter(|(i, name)| self.columns[..*i].contains(name)) {
            bad(at.key("columns").index(i), format!("`{name}` is listed twice"), "leave one out");
        }
        for (name, order) in &self.order {
            let at = at.key("order").key(name);
            if !variables.contains_key(name.as_str()) {
                bad(at, format!("`{name}` is not one of `columns`"), "add it there, or leave its order out");
            } else if order.len() < 2 {
                bad(at, format!("the order of `{name}` needs two labels or more"), "list all labels");
            } else if let Some((_, label)) = order.iter().enumerate().find(|(i, label)| order[..*i].contains(label)) {
                bad(at, format!("`{label}` is listed twice"), "leave one out");
            }
        }
        for (i, regression) in self.regressions.iter().enumerate() {
            let at = at.key("regressions").index(i);
            let outcome = &regression.outcome;
            if regression.predictors.is_empty() {
                bad(at.key("predictors"), "`predictors` is empty".to_owned(), "name a column that both tables have");
            }
            if regression.predictors.contains(outcome) {
                bad(at.key("predictors"), format!("`{outcome}` is the outcome too"), "leave it out");
            }
            let is_known = context.inputs.iter().all(|input| input.schema.index_of(outcome).is_ok());
            if is_known && self.kind(outcome, context.inputs) == ColumnKind::Labels {
                let message = format!("`{outcome}` holds labels, but an outcome needs numbers or ordered labels");
                bad(at.key("outcome"), message, "list its labels in `order`, from the lowest to the highest");
            }
        }
    }

    /// The reads of one input: the sample, the weight, the groups, then the variables.
    fn reads(
        &self,
        input: (usize, &InputTable<'_>),
        variables: &[(Path, Variable)],
        at: &Path,
        problems: &mut Problems,
    ) -> Option<Vec<Read>> {
        let (sample, input) = input;
        let weight = match &self.weight {
            Some(name) if sample == 1 => read_column(input, at.key("weight"), name, Reading::Number, problems),
            _ => Some(Read::Same(1f64.to_bits())),
        };
        let mut reads = vec![Some(Read::Same(sample as u64)), weight];
        for (i, name) in self.by.iter().enumerate() {
            reads.push(read_column(input, at.key("by").index(i), name, Reading::Name, problems));
        }
        for (at, variable) in variables {
            let reading = if variable.kind.is_number() { Reading::Number } else { Reading::Label };
            reads.push(read_column(input, at.clone(), &variable.name, reading, problems));
        }
        reads.into_iter().collect()
    }
}

impl TransformConfig for Fidelity {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("synthetic", &self.synthetic), ("human", &self.human)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let [synthetic, human] = context.inputs else { return None };
        let before = problems.mark();
        let places = self.variables(context.path);
        self.check(&places, context, problems);
        let variable = |(name, at): (&&str, &Path)| {
            let kind = self.kind(name, context.inputs);
            (at.clone(), Variable { name: (*name).to_owned(), kind })
        };
        let variables: Vec<(Path, Variable)> = places.iter().map(variable).collect();
        let first = self.reads((0, synthetic), &variables, context.path, problems);
        // A column that both tables lack is reported once.
        let second = first.as_ref().and_then(|_| self.reads((1, human), &variables, context.path, problems));
        if problems.had_errors_since(before) {
            return None;
        }
        let place = |name: &String| places.get_index_of(name.as_str()).unwrap_or_default();
        let regressions = self.regressions.iter().map(|one| samples::Regression {
            outcome: place(&one.outcome),
            predictors: one.predictors.iter().map(place).collect(),
        });
        let frame = Frame {
            kind: KIND.name,
            of: &["column", "predictors"],
            by: &self.by,
            reads: first?,
            merge: true,
            confidence: self.confidence,
            settings: json!(Fidelity { synthetic: String::new(), human: String::new(), ..self.clone() }),
            method: Box::new(Compared {
                variables: variables.into_iter().map(|(_, variable)| variable).collect(),
                columns: self.columns.len(),
                groups: self.by.len(),
                regressions: regressions.collect(),
                bootstrap: self.bootstrap.bootstrap(context.seed, KIND.name, self.confidence),
            }),
        };
        frame.bind_two(second?, context, problems)
    }
}
