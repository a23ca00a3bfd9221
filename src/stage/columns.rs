//! The columns of an answer.

use crate::prompt::Expect;
use crate::table::{Column, Type};

/// The columns of an answer, each with the keys of the spec that it comes from and its labels.
#[derive(Debug, Default)]
pub struct AnswerColumns {
    pub writes: Vec<Column>,
    pub origins: Vec<Vec<String>>,
    pub labels: Vec<Vec<String>>,
}

impl AnswerColumns {
    pub fn push(&mut self, column: Column, origin: &[&str], labels: Vec<String>) {
        self.writes.push(column);
        self.origins.push(origin.iter().map(|key| (*key).to_owned()).collect());
        self.labels.push(labels);
    }

    /// The columns of an answer to stage `stage`; `more` are added for each key.
    pub fn of(stage: &str, expect: &Expect, more: impl Fn(&str) -> Vec<Column>) -> Self {
        let mut columns = AnswerColumns::default();
        let Expect::Record(fields) = expect else {
            columns.push(Column::new(stage, Type::Text), &[], Vec::new());
            return columns;
        };
        for field in fields {
            let origin = ["output", field.name.as_str()];
            let mut labels = field.kind.labels();
            for (name, kind) in field.columns() {
                columns.push(Column::new(name, kind), &origin, std::mem::take(&mut labels));
            }
            more(&field.name).into_iter().for_each(|column| columns.push(column, &origin, Vec::new()));
        }
        columns
    }
}
