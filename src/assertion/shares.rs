//! Rules about the rows of a whole table: `rows`, `failed` and `share`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::config::{Assertion, AssertionConfig, Check, RowRule, Rule};
use super::context::{Bounds, Scalar, TestContext};
use super::finding::{Finding, RowsView, count, rounded, shown};
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::{Cell, MaxFailed, Type};

pub(crate) const ROWS: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<Rows>("rows", "The table has a certain number of rows.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// The fewest rows.
    minimum: Option<u64>,
    /// The most rows.
    maximum: Option<u64>,
    /// The exact number of rows, instead of `minimum` and `maximum`.
    equals: Option<u64>,
}

impl AssertionConfig for Rows {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        if self.equals.is_some() && self.minimum.or(self.maximum).is_some() {
            let message = "a test has `equals`, or `minimum` and `maximum`, not both";
            problems.error("bad-value", context.path.key("equals"), message);
            return None;
        }
        let (minimum, maximum) = (self.equals.or(self.minimum), self.equals.or(self.maximum));
        let bounds = Bounds::new(context, (minimum, maximum), "`equals`", problems)?;
        let words = self.equals.map_or_else(|| format!("{} rows", bounds.words()), |rows| count(rows, "row"));
        Some(Assertion::new(words, Vec::new(), bounds))
    }
}

impl Rule for Bounds<u64> {
    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(self)
    }
}

impl Check for &Bounds<u64> {
    fn take(&mut self, _: &RowsView<'_>) {}

    fn finding(self: Box<Self>, rows: u64) -> Finding {
        Finding::whole(self.hold(rows), count(rows, "row"))
    }
}

pub(crate) const FAILED: Kind<Box<dyn AssertionConfig>> = Kind::new::<Failed>("failed", "Few rows have a failed call.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Failed {
    /// The most rows with a failed call: a number, or a share such as `"5%"`.
    maximum: MaxFailed,
    /// Only calls of this stage. Left out: of all stages that the rows went through.
    stage: Option<String>,
}

#[derive(Debug)]
struct FewFailed {
    maximum: MaxFailed,
    errors: Vec<usize>,
}

impl AssertionConfig for Failed {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let named = |name: &str| self.stage.as_deref().is_none_or(|stage| stage == name);
        let stages = || context.stages.iter().filter(|stage| named(&stage.name));
        let errors: Vec<usize> = stages().flat_map(|stage| stage.errors.iter().copied()).collect();
        match &self.stage {
            Some(stage) if stages().next().is_none() => {
                let names: Vec<&str> = context.stages.iter().map(|stage| stage.name.as_str()).collect();
                let message = format!("the rows of `{}` went through no stage `{stage}`", context.table);
                problems.error("unknown-stage", context.path.key("stage"), message).choices(stage, "stages", names);
                return None;
            }
            None if errors.is_empty() => {
                let message =
                    format!("the rows of `{}` went through no stage, so none of them can fail", context.table);
                problems.error("bad-value", context.path.key("type"), message);
                return None;
            }
            _ => {}
        }
        let words = match self.maximum {
            MaxFailed::Rows(0) => "no row failed".to_owned(),
            MaxFailed::Rows(rows) => format!("at most {rows} failed"),
            MaxFailed::Share(share) => format!("at most {} % failed", rounded(share * 100.0)),
        };
        let stage = self.stage.iter().map(|stage| format!(" in stage {stage}")).collect::<String>();
        Some(Assertion::new(words + &stage, errors.clone(), FewFailed { maximum: self.maximum, errors }))
    }
}

impl RowRule for FewFailed {
    type State = ();

    fn violation(&self, rows: &RowsView<'_>, row: usize, (): &mut ()) -> Option<String> {
        let error = self.errors.iter().find(|column| !rows.array(**column).is_null(row));
        error.map(|column| shown(&rows.cell(*column, row)))
    }

    fn allows(&self, violations: u64, rows: u64) -> bool {
        violations <= self.maximum.of(rows)
    }

    fn found(&self, violations: u64, rows: u64, (): ()) -> String {
        format!("{violations} of {rows} failed")
    }
}

pub(crate) const SHARE: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<Share>("share", "A column holds a value in a certain share of its rows.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Share {
    /// The column. Rows where it is null do not count.
    column: String,
    /// The value; of a column of booleans, `true` or `false`.
    value: Scalar,
    /// The least share of the rows, from 0 to 1.
    minimum: Option<f64>,
    /// The greatest share of the rows, from 0 to 1.
    maximum: Option<f64>,
}

#[derive(Debug)]
struct ShareOf {
    column: usize,
    value: Cell,
    bounds: Bounds<f64>,
}

impl AssertionConfig for Share {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let before = problems.mark();
        for (key, share) in [("minimum", self.minimum), ("maximum", self.maximum)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                let message = format!("`{key}` is a share, from 0 to 1");
                problems.error("bad-value", context.path.key(key), message);
            }
        }
        let in_range = problems.clean_since(before);
        let bounds = in_range.then(|| Bounds::new(context, (self.minimum, self.maximum), "both", problems)).flatten();
        let column = context.column("column", &self.column, problems)?;
        let kind = context.kind(column);
        if matches!(kind, Type::List(_)) {
            context.unfit(column, "single values", problems);
            return None;
        }
        let Some(value) = self.value.cell(kind.simple()) else {
            let message = format!("`{}` holds {}, so it is never {}", self.column, kind.words(), self.value);
            problems.error("wrong-type", context.path.key("value"), message);
            return None;
        };
        let bounds = bounds?;
        let words = format!("share of {} = {} {}", self.column, self.value, bounds.words());
        Some(Assertion::new(words, vec![column], ShareOf { column, value, bounds }))
    }
}

impl Rule for ShareOf {
    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Count { bound: self, equal: 0, of: 0 })
    }
}

struct Count<'a> {
    bound: &'a ShareOf,
    equal: u64,
    of: u64,
}

impl Check for Count<'_> {
    fn take(&mut self, rows: &RowsView<'_>) {
        let column = self.bound.column;
        self.of += (rows.len() - rows.array(column).null_count()) as u64;
        self.equal += (0..rows.len()).filter(|row| rows.cell(column, *row) == self.bound.value).count() as u64;
    }

    fn finding(self: Box<Self>, _: u64) -> Finding {
        if self.of == 0 {
            return Finding::whole(false, "no row has a value".to_owned());
        }
        let share = self.equal as f64 / self.of as f64;
        let found = format!("{} ({} of {})", rounded(share), self.equal, self.of);
        Finding::whole(self.bound.bounds.hold(share), found)
    }
}
