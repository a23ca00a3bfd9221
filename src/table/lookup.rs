//! Look-up of a column by the name that a spec gives.

use arrow_schema::Schema;

use crate::document::{Path, Problems};
use crate::name::{listed, nearest};

const LISTED: usize = 12;

/// The index of the column `name`; reports an unknown one at `at`. Messages call the table `of` ("the input").
pub(crate) fn column(schema: &Schema, name: &str, of: &str, at: Path, problems: &mut Problems) -> Option<usize> {
    let index = schema.index_of(name).ok();
    if index.is_none() {
        let names = || schema.fields().iter().map(|field| field.name().as_str());
        let problem = problems.error("unknown-column", at, format!("{of} has no column `{name}`"));
        match nearest(name, names()) {
            None if names().next().is_some() => problem.help(format!("the columns are {}", listed_columns(schema))),
            near => problem.meant(near),
        };
    }
    index
}

pub(crate) fn listed_columns(schema: &Schema) -> String {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let more = schema.fields().len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    listed(names.take(LISTED)) + &more
}
