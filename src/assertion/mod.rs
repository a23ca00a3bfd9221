//! Assertions: the requirements for a table, from the `[[tests]]` of a spec. Pure: rows in, a finding out.
//!
//! An [`AssertionConfig`] is the test as written in the spec. An [`Assertion`] is the test bound to the columns of its
//! table. A [`Check`] reads the table's rows batch by batch and keeps little of them. To add a type, write one file
//! with a config and a rule (a `RowRule` if each row is checked alone), one `mod` line and one row in [`ASSERTIONS`].

mod allowed;
mod between;
mod bounds;
mod check;
mod config;
mod context;
mod expression;
mod failed;
mod finding;
mod not_null;
mod rows;
mod scalar;
mod share;
mod unique;

use crate::registry::Kind;

pub(crate) use check::Check;
pub(crate) use config::{Assertion, AssertionConfig, Severity};
pub(crate) use context::{StageErrors, TestContext};
pub(crate) use finding::{Finding, RowsView};

pub(crate) static ASSERTIONS: &[Kind<Box<dyn AssertionConfig>>] = &[
    rows::KIND,
    failed::KIND,
    allowed::KIND,
    share::KIND,
    unique::KIND,
    not_null::KIND,
    between::KIND,
    expression::KIND,
];

#[cfg(test)]
mod tests;
