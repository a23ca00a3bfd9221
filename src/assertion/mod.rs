//! Assertions: what a table of the pipeline must be, as `[[tests]]` of a spec say it. Pure: rows in, a finding out.
//!
//! An [`AssertionConfig`] is what the spec says, an [`Assertion`] is the same bound to the columns of its table. A
//! [`Check`] takes the table's rows batch by batch and keeps little of them. Which tables there are and who reads them is not
//! known here. To add a kind: one file with the three of them, one `mod` line, one row in [`ASSERTIONS`].

mod allowed;
mod between;
mod bounds;
mod expression;
mod failed;
mod finding;
mod not_null;
mod rows;
mod scalar;
mod share;
mod site;
mod unique;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::registry::Kind;

pub use finding::{Example, Finding, View};
pub use site::{Asked, Site};

/// The kinds of tests.
pub static ASSERTIONS: &[Kind<Box<dyn AssertionConfig>>] = &[
    rows::KIND,
    failed::KIND,
    allowed::KIND,
    share::KIND,
    unique::KIND,
    not_null::KIND,
    between::KIND,
    expression::KIND,
];

/// What becomes of a test that does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The tests have failed.
    #[default]
    Error,
    /// It is told.
    Warn,
}

/// An assertion as the spec says it.
pub trait AssertionConfig: Send + Sync + fmt::Debug {
    /// Binds it to its table; reports every problem, and gives nothing if one of them is an error.
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Box<dyn Assertion>>;
}

/// What a table must be.
pub trait Assertion: Send + Sync + fmt::Debug {
    /// It in a few words; the test's name where the spec gives none.
    fn words(&self) -> String;

    /// The columns that it reads.
    fn reads(&self) -> Vec<usize>;

    /// Begins to hold it against a table.
    fn check(&self) -> Box<dyn Check + '_>;
}

/// An assertion at work.
pub trait Check {
    /// Takes the next rows, with all the columns that the assertion reads.
    fn take(&mut self, rows: &View<'_>);

    /// What was found when all of the table's `rows` have been taken.
    fn finding(self: Box<Self>, rows: u64) -> Finding;
}

#[cfg(test)]
mod tests;
