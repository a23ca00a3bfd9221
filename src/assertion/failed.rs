//! `type = "failed"`: how many rows have a failed call.

use schemars::JsonSchema;
use serde::Deserialize;

use super::finding::{Against, Finding, View, shown};
use super::{Assertion, AssertionConfig, Check, Site};
use crate::document::{self, Problems};
use crate::registry::Kind;
use crate::table::MaxFailed;

/// The row of the registry.
pub const KIND: Kind<Box<dyn AssertionConfig>> = Kind {
    name: "failed",
    about: "Few rows have a failed call.",
    schema: |generator| generator.subschema_for::<Failed>(),
    fields: document::fields_of::<Failed>,
    decode: |node, path, problems| {
        document::decode::<Failed>(node, path, problems).map(|a| Box::new(a) as Box<dyn AssertionConfig>)
    },
};

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
    /// The columns with errors.
    errors: Vec<usize>,
    stage: Option<String>,
}

impl AssertionConfig for Failed {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>> {
        let Some(stage) = &self.stage else {
            let errors: Vec<usize> = site.stages.iter().flat_map(|stage| stage.errors.iter().copied()).collect();
            if errors.is_empty() {
                let message = format!("the rows of `{}` went through no stage, so none of them can fail", site.table);
                problems.error("bad-value", site.path.key("type"), message);
                return None;
            }
            return Some(Box::new(Bound { maximum: self.maximum, errors, stage: None }));
        };
        if let Some(asked) = site.stages.iter().find(|asked| asked.name == *stage) {
            let errors = asked.errors.clone();
            return Some(Box::new(Bound { maximum: self.maximum, errors, stage: Some(stage.clone()) }));
        }
        let names: Vec<&str> = site.stages.iter().map(|asked| asked.name.as_str()).collect();
        let message = format!("the rows of `{}` went through no stage `{stage}`", site.table);
        problems.error("unknown-stage", site.path.key("stage"), message).choices(stage, "stages", names);
        None
    }
}

impl Assertion for Bound {
    fn words(&self) -> String {
        let most = match self.maximum {
            MaxFailed::Rows(0) => "no row failed".to_owned(),
            MaxFailed::Rows(rows) => format!("at most {rows} failed"),
            MaxFailed::Share(share) => format!("at most {} % failed", super::finding::rounded(share * 100.0)),
        };
        match &self.stage {
            Some(stage) => format!("{most} in stage {stage}"),
            None => most,
        }
    }

    fn reads(&self) -> Vec<usize> {
        self.errors.clone()
    }

    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Count { bound: self, failed: Against::default() })
    }
}

struct Count<'a> {
    bound: &'a Bound,
    failed: Against,
}

impl Check for Count<'_> {
    fn take(&mut self, rows: &View<'_>) {
        for row in 0..rows.len() {
            let error = self.bound.errors.iter().find(|column| !rows.array(**column).is_null(row));
            if let Some(column) = error {
                self.failed.note(rows, row, || shown(&rows.cell(*column, row)));
            }
        }
    }

    fn finding(self: Box<Self>, rows: u64) -> Finding {
        let failed = self.failed.rows;
        self.failed.finding(failed <= self.bound.maximum.of(rows), format!("{failed} of {rows} failed"))
    }
}
