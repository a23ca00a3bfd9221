//! Methods: transforms that compute statistics of a table. Each makes a tidy table with a row for each statistic.
//!
//! A [`Method`](frame::Method) computes the statistics of the rows of one group. The frame around it reads the columns, repeats the
//! method for each group of `by` and writes the table.

pub(crate) mod columns;
pub(crate) mod frame;
pub(crate) mod gold;
pub(crate) mod outcome;
pub(crate) mod settings;
pub(crate) mod tidy;
