//! Collectors: each gathers the numbers of one view while the rows of a table pass by.

use super::table::{Batch, Grouping, TableRows};
use crate::page::content::Block;

pub(super) trait Collect {
    /// The columns of the table that it reads.
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    fn add(&mut self, _: &Batch<'_>) {}

    /// What the page shows after the last row. Empty if there is nothing to say. The error is a sentence.
    fn blocks(&mut self, table: &TableRows<'_>, groupings: &[Grouping]) -> Result<Vec<Block>, String>;
}
