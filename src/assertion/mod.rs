//! Assertions: the requirements for a table, from the `[[tests]]` of a spec. Pure: rows in, a finding out.
//!
//! An [`AssertionConfig`] is the test as written in the spec. An [`Assertion`] is the test bound to the columns of its
//! table. A [`Check`] reads the table's rows batch by batch and keeps little of them. To add a type, write a config and a
//! rule (a `RowRule` in `columns` if each row is checked alone), and a row in [`ASSERTIONS`].

mod columns;
mod config;
mod context;
mod expression;
mod finding;
mod shares;
mod statistic;

use crate::registry::Kind;

pub(crate) use config::{Assertion, AssertionConfig, Check, Severity};
pub(crate) use context::{StageErrors, TestContext};
pub(crate) use finding::{Finding, RowsView};

pub(crate) static ASSERTIONS: &[Kind<Box<dyn AssertionConfig>>] = &[
    shares::ROWS,
    shares::FAILED,
    columns::ALLOWED,
    shares::SHARE,
    columns::UNIQUE,
    columns::NOT_NULL,
    columns::BETWEEN,
    expression::KIND,
    statistic::KIND,
];

#[cfg(test)]
mod tests;
