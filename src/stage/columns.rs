//! The columns of an answer.

use crate::prompt::Expect;
use crate::table::{Column, Type};

#[derive(Debug, Default)]
pub(crate) struct AnswerColumns {
    pub(crate) writes: Vec<Column>,
    pub(crate) origins: Vec<Vec<String>>,
    pub(crate) labels: Vec<Vec<String>>,
}

impl AnswerColumns {
    pub(crate) fn push(&mut self, column: Column, origin: &[&str], labels: Vec<String>) {
        self.writes.push(column);
        self.origins.push(origin.iter().map(|key| (*key).to_owned()).collect());
        self.labels.push(labels);
    }

    /// Returns the columns of an answer to stage `stage`. `more` returns further columns for each key.
    pub(crate) fn of(stage: &str, expect: &Expect, more: impl Fn(&str) -> Vec<Column>) -> Self {
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
