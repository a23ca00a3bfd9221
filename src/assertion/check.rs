//! Checks: apply rules to the rows of a table.

use std::fmt;

use super::finding::{Finding, RowsView, Violations};

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
