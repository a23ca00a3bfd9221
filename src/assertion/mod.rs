//! Assertions: what a table of the pipeline must be, as `[[tests]]` of a spec state it. Pure: rows in, a finding out.
//!
//! An [`AssertionConfig`] is the test as the spec writes it, an [`Assertion`] is the same bound to the columns of its table.
//! A [`Check`] takes the table's rows batch by batch and keeps little of them. To add a type: one file with a config and a
//! rule (a `RowRule` if each row is checked alone), one `mod` line, one row in [`ASSERTIONS`].

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
