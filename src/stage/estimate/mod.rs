//! `type = "estimate"`: a mean or a regression of what a machine has labelled, naive and corrected by gold labels.

mod design;
mod formula;
mod methods;
mod results;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::method::columns::{Read, Reading};
use super::method::frame::Frame;
use super::method::gold::PROBABILITY;
use super::method::outcome;
use super::method::settings::{Confidence, read_column};
use super::transform::{Transform, TransformConfig, TransformContext};
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::Type;

use design::{Designer, Places};
use formula::{Formula, Variable};
use methods::{MethodName, ModelName};
use results::Estimates;

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> = Kind::new::<Estimate>(
    "estimate",
    "A mean or a regression of labels by a machine, and its correction by gold labels.",
);

/// The method's own columns of the table.
const OF: &[&str] = &["term", "reference", "variance"];

/// A mean or a regression of an outcome that a machine has labelled in all rows and people in a random sample of them.
/// The table has a row for each method and term, with `reference` (the level that a term compares with) and `variance`
/// (HC0 or HC1; CR1 with `cluster`). A note marks each naive interval that excludes a corrected estimate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Estimate {
    /// The source or the stage with all rows.
    #[serde(skip_serializing)]
    input: String,
    /// What the machine says: a condition such as `label == "positive"`, or a column of numbers or of true and false. A
    /// row in which a column of the condition is null is left out.
    outcome: String,
    /// What people say, in the same form; missing in rows without a code. Only `naive` needs none.
    gold: Option<String>,
    /// The column with the probability of a row to be in the sample; null outside of it, if only sampled rows have one.
    /// Default: `inclusion_probability`.
    inclusion_probability: Option<String>,
    /// Whether the rows with gold are a simple random sample of all rows. The probability is then their share, and no
    /// column is needed. Default: false.
    #[serde(default)]
    simple_random: bool,
    /// What is estimated: `mean`, `ols` or `logit`. Default: `mean`.
    #[serde(default)]
    model: ModelName,
    /// The regression, such as `y ~ party + year`: `y` is the outcome, `a:b` a product, `a*b` is `a + b + a:b`, and
    /// `C(a)` makes categories of numbers.
    formula: Option<String>,
    /// The reference level of predictors with categories, such as `{ party = "Whig" }`. Default: the first in order.
    #[serde(default)]
    reference: IndexMap<String, String>,
    /// The methods: `naive` (the machine's labels alone), `gold_only`, `dsl` (design-based supervised learning), `ppi`
    /// (prediction-powered inference) and `ppi++`. Default: `naive`, `gold_only` and `dsl`.
    #[serde(default = "methods")]
    methods: Vec<MethodName>,
    /// The column with clusters, such as the author, whose rows depend on each other.
    cluster: Option<String>,
    /// Numbers of gold rows; for each, the standard error to expect.
    #[serde(default)]
    power: Vec<usize>,
    /// Columns whose values divide the rows into groups. The table has the estimates of all rows and of each group.
    #[serde(default)]
    by: Vec<String>,
    /// The confidence of the intervals. Default: 0.95.
    #[serde(default)]
    confidence: Confidence,
}

fn methods() -> Vec<MethodName> {
    vec![MethodName::Naive, MethodName::GoldOnly, MethodName::Dsl]
}

impl Estimate {
    fn check(&self, context: &TransformContext<'_>, problems: &mut Problems) {
        let mut bad = |key: &str, message: &str, help: &str| {
            problems.error("bad-value", context.path.key(key), message).help(help);
        };
        if self.methods.is_empty() {
            bad("methods", "`methods` names no method", "such as `methods = [\"naive\", \"dsl\"]`");
        }
        let corrected = self.methods.iter().any(|method| *method != MethodName::Naive);
        if self.gold.is_none() && corrected {
            bad("methods", "these methods need gold labels", "add `gold`, or set `methods = [\"naive\"]`");
        }
        match (self.model, &self.formula) {
            (ModelName::Mean, Some(_)) => {
                bad("formula", "a mean has no formula", "set `model = \"ols\"` or `\"logit\"`")
            }
            (ModelName::Ols | ModelName::Logit, None) => {
                bad("model", "a regression needs a formula", "such as `formula = \"y ~ party + year\"`");
            }
            _ => {}
        }
        if self.simple_random && self.inclusion_probability.is_some() {
            let message = "a simple random sample needs no column of probabilities";
            bad("inclusion_probability", message, "remove it, or remove `simple_random`");
        }
        if self.power.contains(&0) {
            bad("power", "no standard error can be expected of 0 gold rows", "name numbers above 0");
        }
    }

    fn formula(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Formula> {
        let formula = Formula::parse(self.formula.as_ref()?);
        let bad = |message| {
            let message = format!("the formula can't be read: {message}");
            problems.error("bad-value", context.path.key("formula"), message).help("such as `y ~ party + year`");
        };
        formula.map_err(bad).ok()
    }

    /// What is read of each row, and where it is.
    fn reads(
        &self,
        context: &TransformContext<'_>,
        formula: Option<&Formula>,
        problems: &mut Problems,
    ) -> Option<(Vec<Read>, Places)> {
        let input = context.inputs.first()?;
        let mut places = Places::default();
        let mut reads = vec![outcome::read(context, "outcome", &self.outcome, problems)];
        if let Some(gold) = &self.gold {
            places.gold = Some(reads.len());
            reads.push(outcome::read(context, "gold", gold, problems));
        }
        // Prediction-powered inference needs no probabilities, but it uses unequal ones.
        let needed = self.methods.iter().any(|method| matches!(method, MethodName::GoldOnly | MethodName::Dsl));
        let column = self.inclusion_probability.as_deref().unwrap_or(PROBABILITY);
        let is_there = input.schema.index_of(column).is_ok();
        if self.gold.is_some() && !self.simple_random && needed && !is_there && self.inclusion_probability.is_none() {
            let message = format!("`{}` has no column `{PROBABILITY}`, which {} needs", input.name, self.needing());
            problems.error("missing-column", context.path.key("methods"), message).help(
                "join the table of the sample, name a column in `inclusion_probability`, or set `simple_random = true`",
            );
        } else if self.gold.is_some() && !self.simple_random && (is_there || self.inclusion_probability.is_some()) {
            places.probability = Some(reads.len());
            let at = context.path.key("inclusion_probability");
            reads.push(read_column(input, at, column, Reading::Number, problems));
        }
        if let Some(cluster) = &self.cluster {
            places.cluster = Some(reads.len());
            reads.push(read_column(input, context.path.key("cluster"), cluster, Reading::Name, problems));
        }
        places.variables = reads.len();
        for Variable { name, categories } in formula.into_iter().flat_map(|formula| &formula.variables) {
            let column = input.column(context.path.key("formula"), name, problems);
            let kind = column.map(|column| Type::of_cells(input.schema.field(column).data_type()));
            let is_number = kind.is_some_and(Type::is_numeric) && !categories;
            let reading = if is_number { Reading::Number } else { Reading::Name };
            reads.push(column.and_then(|_| read_column(input, context.path.key("formula"), name, reading, problems)));
            if self.reference.contains_key(name) && is_number {
                let message = format!("`{name}` holds numbers, so it has no reference level");
                let help = format!("write `C({name})` in `formula` if its numbers are categories");
                problems.error("bad-value", context.path.key("reference").key(name), message).help(help);
            }
        }
        for name in self.reference.keys() {
            let variables =
                formula.map(|formula| formula.variables.iter().map(|v| v.name.as_str()).collect::<Vec<_>>());
            if let Some(variables) = variables.filter(|variables| !variables.contains(&name.as_str())) {
                let message = format!("`{name}` is not in `formula`");
                let place = context.path.key("reference").key(name);
                problems.error_at_key("bad-value", place, message).choices(name, "the predictors are", variables);
            }
        }
        Some((reads.into_iter().collect::<Option<_>>()?, places))
    }

    /// The methods that need probabilities.
    fn needing(&self) -> &'static str {
        if self.methods.contains(&MethodName::Dsl) { "`dsl`" } else { "`gold_only`" }
    }
}

impl TransformConfig for Estimate {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let before = problems.mark();
        self.check(context, problems);
        let formula = self.formula(context, problems);
        let reads = self.reads(context, formula.as_ref(), problems);
        if problems.had_errors_since(before) {
            return None;
        }
        let (reads, places) = reads?;
        let designer = Designer {
            numeric: reads.iter().map(Read::is_number).collect(),
            places,
            formula,
            references: self.reference.clone(),
            simple_random: self.simple_random,
            is_logit: self.model == ModelName::Logit,
        };
        let method = Estimates {
            designer,
            model: self.model,
            methods: self.methods.clone(),
            power: self.power.clone(),
            confidence: self.confidence.0,
        };
        let frame = Frame {
            kind: KIND.name,
            of: OF,
            by: &self.by,
            reads,
            merge: false,
            confidence: self.confidence,
            settings: json!(self),
            method: Box::new(method),
        };
        frame.bind(context, problems)
    }
}

#[cfg(test)]
mod tests;
