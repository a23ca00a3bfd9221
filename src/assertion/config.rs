//! Configs: a test as written in the spec, the assertion that it becomes, and the check of its rule.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::TestContext;
use super::finding::{Finding, RowsView, Violations};
use crate::document::Problems;

/// The consequence of a test that does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The tests have failed.
    #[default]
    Error,
    /// It is reported.
    Warn,
}

pub(crate) trait AssertionConfig: Send + Sync + fmt::Debug {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion>;
}

impl<C: AssertionConfig + 'static> From<C> for Box<dyn AssertionConfig> {
    fn from(config: C) -> Self {
        Box::new(config)
    }
}

#[derive(Debug)]
pub(crate) struct Assertion {
    /// The rule in a few words, used as the test's name if the spec gives none.
    pub(crate) words: String,
    pub(crate) reads: Vec<usize>,
    pub(crate) rule: Box<dyn Rule>,
}

impl Assertion {
    pub(crate) fn new(words: String, reads: Vec<usize>, rule: impl Rule + 'static) -> Self {
        Assertion { words, reads, rule: Box::new(rule) }
    }
}

pub(crate) trait Rule: Send + Sync + fmt::Debug {
    fn check(&self) -> Box<dyn Check + '_>;
}

pub(crate) trait Check {
    /// Reads the next rows, with all the columns that the assertion needs.
    fn take(&mut self, rows: &RowsView<'_>);

    fn finding(self: Box<Self>, rows: u64) -> Finding;
}

/// A rule that is checked row by row.
pub(crate) trait RowRule: Send + Sync + fmt::Debug {
    type State: Default;

    /// Returns the value in row `row` that violates the rule, as an example.
    fn violation(&self, rows: &RowsView<'_>, row: usize, state: &mut Self::State) -> Option<String>;

    /// Whether a table of `rows` rows may have this many violations.
    fn allows(&self, violations: u64, _rows: u64) -> bool {
        violations == 0
    }

    fn found(&self, violations: u64, rows: u64, state: Self::State) -> String;
}

impl<R: RowRule> Rule for R {
    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(RowCheck { rule: self, state: R::State::default(), violations: Violations::default() })
    }
}

struct RowCheck<'a, R: RowRule> {
    rule: &'a R,
    state: R::State,
    violations: Violations,
}

impl<R: RowRule> Check for RowCheck<'_, R> {
    fn take(&mut self, rows: &RowsView<'_>) {
        for row in 0..rows.len() {
            if let Some(value) = self.rule.violation(rows, row, &mut self.state) {
                self.violations.add(rows, row, value);
            }
        }
    }

    fn finding(self: Box<Self>, rows: u64) -> Finding {
        let violations = self.violations.rows;
        let found = self.rule.found(violations, rows, self.state);
        self.violations.finding(self.rule.allows(violations, rows), found)
    }
}
