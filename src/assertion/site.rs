//! Where an assertion is bound: its table, and what its columns hold.

use arrow_schema::{DataType, Schema};

use crate::document::{Path, Problems};
use crate::name::{listed, nearest};

/// Columns that a message names.
const NAMED: usize = 12;

/// Where an assertion is bound.
pub struct Site<'a> {
    /// Where it stands in the document.
    pub path: &'a Path,
    /// The name of its table.
    pub table: &'a str,
    /// The columns of its table.
    pub schema: &'a Schema,
    /// The stages that its rows went through.
    pub stages: &'a [Asked],
}

/// A stage that the rows of a table went through.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// The columns of the table that hold its errors.
    pub errors: Vec<usize>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Boolean,
    Integer,
    Number,
    /// Text; dates and decimals come as text too.
    Text,
}

impl Holds {
    pub(super) fn words(self) -> &'static str {
        match self {
            Holds::Boolean => "true and false",
            Holds::Integer => "whole numbers",
            Holds::Number => "numbers",
            Holds::Text => "text",
        }
    }

    pub(super) fn is_numeric(self) -> bool {
        matches!(self, Holds::Integer | Holds::Number)
    }
}

impl Site<'_> {
    /// The column that field `field` names.
    pub(super) fn column(&self, field: &str, name: &str, problems: &mut Problems) -> Option<usize> {
        self.column_at(self.path.key(field), name, problems)
    }

    /// The columns of a field `column` or `columns`, of which there must be one.
    pub(super) fn columns(
        &self,
        one: Option<&str>,
        many: Option<&[String]>,
        problems: &mut Problems,
    ) -> Option<Vec<usize>> {
        match (one, many) {
            (Some(name), None) => self.column("column", name, problems).map(|column| vec![column]),
            (None, Some(names)) => {
                let at = self.path.key("columns");
                if names.is_empty() {
                    problems.error("bad-value", at, "`columns` is empty");
                    return None;
                }
                let found = names.iter().enumerate().map(|(i, name)| self.column_at(at.index(i), name, problems));
                found.collect::<Vec<_>>().into_iter().collect()
            }
            (Some(_), Some(_)) => {
                let message = "a test has `column` or `columns`, not both";
                problems.error("bad-value", self.path.key("columns"), message);
                None
            }
            (None, None) => {
                problems
                    .error("missing-field", self.path.clone(), "`column` is missing")
                    .help("name a column in `column`, or several in `columns`");
                None
            }
        }
    }

    fn column_at(&self, at: Path, name: &str, problems: &mut Problems) -> Option<usize> {
        if let Ok(column) = self.schema.index_of(name) {
            return Some(column);
        }
        let names = || self.schema.fields().iter().map(|f| f.name().as_str());
        let message = format!("the table `{}` has no column `{name}`", self.table);
        let problem = problems.error("unknown-column", at, message);
        match nearest(name, names()) {
            Some(near) => problem.meant(Some(near)),
            None => {
                let more = names().count().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                problem.help(format!("the columns are {}{more}", listed(names().take(NAMED))))
            }
        };
        None
    }

    /// The name of a column.
    pub(super) fn name(&self, column: usize) -> &str {
        self.schema.field(column).name()
    }

    /// What a column holds, as [`cell_at`](crate::table::cell_at) gives it, and whether it holds lists of that.
    pub(super) fn holds(&self, column: usize) -> (Holds, bool) {
        match self.schema.field(column).data_type() {
            DataType::List(item) => (holds(item.data_type()), true),
            other => (holds(other), false),
        }
    }

    /// Reports a column that holds something else than this kind of test needs.
    pub(super) fn unfit(&self, column: usize, needs: &str, problems: &mut Problems) {
        let (holds, list) = self.holds(column);
        let is = if list { "lists" } else { holds.words() };
        let message = format!("`{}` holds {is}, and this test is for {needs}", self.name(column));
        problems.error("wrong-type", self.path.key("column"), message);
    }
}

fn holds(kind: &DataType) -> Holds {
    match kind {
        DataType::Boolean => Holds::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Holds::Integer,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::Duration(_) => Holds::Integer,
        DataType::Float32 | DataType::Float64 => Holds::Number,
        _ => Holds::Text,
    }
}
