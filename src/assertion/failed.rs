//! `type = "failed"`: how many rows have a failed call.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::RowRule;
use super::config::{Assertion, AssertionConfig, kind};
use super::context::TestContext;
use super::finding::{RowsView, rounded, shown};
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::MaxFailed;

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> = kind::<Failed>("failed", "Few rows have a failed call.");

/// Few rows have a failed call.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Failed {
    /// The most rows with a failed call: a number, or a share such as `"5%"`.
    maximum: MaxFailed,
    /// Only calls of this stage. Left out: of all stages that the rows went through.
    stage: Option<String>,
}

#[derive(Debug)]
struct Bound {
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
        Some(Assertion::new(words + &stage, errors.clone(), Bound { maximum: self.maximum, errors }))
    }
}

impl RowRule for Bound {
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
