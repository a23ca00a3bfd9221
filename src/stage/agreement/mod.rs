//! `type = "agreement"`: how well coders agree. Models, prompts, replicates and people are all coders.
//!
//! Units have no weights for sampling. The coefficients describe coders on the units that they coded, and neither Gwet
//! (Handbook of Inter-Rater Reliability, 4th edition 2014) nor the packages `krippendorff` and irrCAC define them for
//! unequal probabilities. `by` shows the strata of a sample.

mod alpha;
mod coded;
mod coefficient;
mod compute;
mod order;

use arrow_schema::Field;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::coded::{Layout, Values};
use self::coefficient::Coefficient;
use self::compute::Agreeing;
use self::order::check_order;
use super::method::columns::{Read, Reading};
use super::method::frame::Frame;
use super::method::settings::{BootstrapSettings, Confidence, read_column};
use super::transform::{InputTable, Transform, TransformConfig, TransformContext};
use crate::document::{Path, Problems};
use crate::registry::Kind;
use crate::table::Type;

pub(crate) use self::alpha::{Alpha, ReadColumn};
pub(super) use self::coded::Level;
pub(super) use self::order::Checks;

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> = Kind::new::<Agreement>(
    "agreement",
    "How well coders agree: models, people, prompts and replicates; Krippendorff's alpha and other coefficients.",
);

/// How well coders agree. Models, prompts, replicates and people are all coders. The table has a row for each statistic:
/// the columns of `by`, `statistic`, `coders`, `label` (of lists of labels), `estimate`, `std_error`, `ci_low`,
/// `ci_high`, `level` (of the interval), `n` (units with two codes or more), `left_out` (other units), `method` (what
/// made the interval) and `note`. A missing code is not a category. A statistic that is undefined is null, and the note
/// says why.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Agreement {
    /// The source or the stage with the codes.
    input: String,
    /// The columns with the codes, one for each coder, if a row is a unit.
    coders: Option<Vec<String>>,
    /// The column that names the unit, if a row is one code of one unit; then `coder` and `value` are needed too.
    unit: Option<String>,
    /// The column that names the coder.
    coder: Option<String>,
    /// The column with the code.
    value: Option<String>,
    /// What the codes are: `nominal` (labels, or lists of labels), `ordinal` (labels in an `order`, or numbers),
    /// `interval` (numbers) or `ratio` (numbers from 0). Default: `nominal`.
    #[serde(default)]
    level: Level,
    /// The labels from the lowest to the highest, for `level = "ordinal"`. Needed for texts. Default for numbers: those
    /// that occur.
    order: Option<Vec<String>>,
    /// The statistics. Cohen's kappa is of two coders: with more coders it has a row for each pair. Default: those that
    /// fit the level and the number of coders.
    statistics: Option<Vec<Coefficient>>,
    /// Whether to compare every pair of coders too. Default: false.
    #[serde(default)]
    pairs: bool,
    /// Columns whose groups are looked at one by one too. Rows without a value count only for all rows, for which these
    /// columns are null.
    #[serde(default)]
    by: Vec<String>,
    /// Standard errors and intervals by the bootstrap of units. Default: by the formulas for large samples.
    bootstrap: Option<BootstrapSettings>,
    /// The column of clusters, such as authors, that the bootstrap draws instead of units.
    cluster: Option<String>,
    /// The confidence of the intervals, between 0 and 1. Default: 0.95.
    #[serde(default)]
    confidence: Confidence,
}

impl Agreement {
    /// How the codes lie in the table. Reports fields that are missing or do not go together.
    fn layout(&self, checks: &mut Checks<'_>) -> Option<Layout> {
        let long = [("unit", &self.unit), ("coder", &self.coder), ("value", &self.value)];
        let Some(coders) = &self.coders else {
            let missing: Vec<&str> = long.iter().filter(|(_, name)| name.is_none()).map(|(key, _)| *key).collect();
            if missing.len() == long.len() {
                let message = "the stage does not say where the codes are";
                let help = "write `coders = [..]` with a column for each coder, or `unit`, `coder` and `value`";
                checks.problems.error("missing-field", checks.path.clone(), message).help(help);
            } else if let Some(key) = missing.first() {
                let message = format!("`{key}` is missing");
                let help = "a table with a row for each code needs `unit`, `coder` and `value`";
                checks.problems.error("missing-field", checks.path.clone(), message).help(help);
            }
            return missing.is_empty().then_some(Layout::Long);
        };
        if let Some((key, _)) = long.iter().find(|(_, name)| name.is_some()) {
            let message = format!("`{key}` does not go with `coders`");
            checks.bad(key, message, "leave one of them out: `coders` are columns, and `coder` is a column of names");
        }
        if coders.len() < 2 {
            checks.bad("coders", "agreement needs two coders or more", "name another column");
        }
        for (i, coder) in coders.iter().enumerate().filter(|(i, coder)| coders[..*i].contains(coder)) {
            let message = format!("`{coder}` is listed in `coders` twice");
            checks.problems.error("bad-value", checks.path.key("coders").index(i), message).help("leave one out");
        }
        Some(Layout::Wide(coders.clone()))
    }

    /// The statistics, in the order of the spec. Reports those that do not fit.
    fn statistics(&self, lists: bool, coders: Option<usize>, checks: &mut Checks<'_>) -> Vec<Coefficient> {
        let Some(statistics) = &self.statistics else {
            let is_pair = self.pairs || coders == Some(2);
            return Coefficient::fitting(self.level, is_pair).filter(|c| !lists || !c.is_ordered()).collect();
        };
        if statistics.is_empty() {
            checks.bad("statistics", "`statistics` is empty", "name one, or leave the field out");
        }
        for (i, statistic) in statistics.iter().enumerate() {
            let at = checks.path.key("statistics").index(i);
            if statistics[..i].contains(statistic) {
                let message = format!("`{}` is listed twice", statistic.name());
                checks.problems.error("bad-value", at, message).help("leave one out");
            } else if statistic.is_ordered() && self.level == Level::Nominal {
                let message = format!("`{}` needs codes in an order", statistic.name());
                let help = "write `level = \"ordinal\"`, `interval` or `ratio`, or leave it out";
                checks.problems.error("bad-value", at, message).help(help);
            }
        }
        statistics.clone()
    }

    /// The columns of the codes, with the places of their names in the spec.
    fn code_columns<'a>(&'a self, path: &Path) -> Vec<(Path, &'a str)> {
        match (&self.coders, &self.value) {
            (Some(coders), _) => {
                let at = |(i, coder): (usize, &'a String)| (path.key("coders").index(i), coder.as_str());
                coders.iter().enumerate().map(at).collect()
            }
            (None, value) => value.iter().map(|value| (path.key("value"), value.as_str())).collect(),
        }
    }

    /// The reads of the method: the codes, then the unit and the coder of a long table, then the cluster.
    fn reads(&self, input: &InputTable<'_>, reading: Reading, checks: &mut Checks<'_>) -> Option<Vec<Read>> {
        let mut reads = Vec::new();
        for (at, name) in self.code_columns(checks.path) {
            reads.push(read_column(input, at, name, reading, checks.problems));
        }
        let names = [("unit", &self.unit), ("coder", &self.coder), ("cluster", &self.cluster)];
        for (key, name) in names.iter().filter_map(|(key, name)| Some((key, name.as_ref()?))) {
            reads.push(read_column(input, checks.path.key(key), name, Reading::Name, checks.problems));
        }
        reads.into_iter().collect()
    }
}

impl TransformConfig for Agreement {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let input = context.inputs.first()?;
        let before = problems.mark();
        let mut checks = Checks { path: context.path, problems };
        let layout = self.layout(&mut checks);
        let columns = self.code_columns(context.path);
        let fields: Vec<&Field> =
            columns.iter().filter_map(|(_, name)| input.schema.field_with_name(name).ok()).collect();
        let texts = fields.iter().any(|field| Type::of_cells(field.data_type()) == Type::Text);
        let values = Values::new(self.level, self.order.clone(), &fields);
        let lists = values.reading == Reading::Labels;
        let reads = self.reads(input, values.reading, &mut checks);
        check_order(&values, texts, columns.first().map(|(_, name)| *name), &mut checks);
        let statistics = self.statistics(lists, self.coders.as_ref().map(Vec::len), &mut checks);
        if checks.problems.had_errors_since(before) {
            return None;
        }
        let bootstrap = self.bootstrap.as_ref().map(|b| b.bootstrap(context.seed, KIND.name, self.confidence));
        let layout = layout?;
        let frame = Frame {
            kind: KIND.name,
            of: &["coders", "label"],
            by: &self.by,
            reads: reads?,
            merge: layout != Layout::Long,
            confidence: self.confidence,
            settings: json!(Agreement { input: String::new(), ..self.clone() }),
            method: Box::new(Agreeing {
                layout,
                values,
                clustered: self.cluster.is_some(),
                statistics,
                pairs: self.pairs,
                bootstrap,
                confidence: self.confidence.0,
            }),
        };
        frame.bind(context, problems)
    }
}
