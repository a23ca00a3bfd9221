//! Columns: what a table of the pipeline holds, and where a stage's answers go in it.

use arrow_schema::SchemaRef;

use super::read::Layout;
use crate::table::{Column, Type, extended};

/// The columns of a source or a stage.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Names and types.
    pub schema: SchemaRef,
    /// For each column, what tells that it holds no answer although it should.
    pub guards: Vec<Vec<Guard>>,
    /// The column that identifies a row of the source.
    pub key: Option<usize>,
    /// Rows here for each row of the source.
    pub fold: u64,
}

/// A sign in a row that an answer is missing there: a call failed, or was never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// This column is not null: it holds an error.
    Error(usize),
    /// This column is null or empty: it holds the text that was to be read.
    Missing(usize),
}

/// Where the answers of a stage go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// One model answers each row; with several, they share the rows and a column says which it was.
    Dealt {
        /// Whether there are several.
        named: bool,
    },
    /// Every model answers every row, side by side.
    Wide,
    /// Every model answers every row, one below the other; a column says which.
    Long,
}

impl Answers {
    /// The form for `models` models.
    pub fn new(fanout: bool, layout: Layout, models: usize) -> Self {
        match (fanout, layout) {
            (false, _) => Answers::Dealt { named: models > 1 },
            (true, Layout::Wide) => Answers::Wide,
            (true, Layout::Long) => Answers::Long,
        }
    }

    /// Its name in the hash of the spec's meaning.
    pub fn layout(&self) -> &'static str {
        match self {
            Answers::Dealt { .. } => "dealt",
            Answers::Wide => "wide",
            Answers::Long => "long",
        }
    }

    /// Whether every model reads every row.
    pub fn fanned_out(&self) -> bool {
        !matches!(self, Answers::Dealt { .. })
    }

    /// Output rows for each input row.
    pub fn fold(&self, models: usize) -> u64 {
        if *self == Answers::Long { models as u64 } else { 1 }
    }

    /// The columns that a stage called `stage` adds when it writes `writes` and asks `models`.
    pub fn columns(&self, stage: &str, writes: &[Column], models: &[&str]) -> Vec<Column> {
        let error = format!("{stage}_error");
        match self {
            Answers::Dealt { named } => {
                let mut columns = writes.to_vec();
                columns.extend(named.then(|| Column::new(format!("{stage}_model"), Type::Text)));
                columns.push(Column::new(error, Type::Text));
                columns
            }
            Answers::Long => {
                let mut columns = vec![Column::new("model", Type::Text)];
                columns.extend_from_slice(writes);
                columns.push(Column::new(error, Type::Text));
                columns
            }
            Answers::Wide => models
                .iter()
                .flat_map(|model| {
                    let answers = writes.iter().map(move |c| Column::new(format!("{}_{model}", c.name), c.kind));
                    answers.chain([Column::new(format!("{error}_{model}"), Type::Text)])
                })
                .collect(),
        }
    }

    /// The table that `input` becomes when `columns` (of [`Answers::columns`]) are added by a stage that skips a row
    /// where one of `skips` says so.
    pub fn relation(
        &self,
        input: &Relation,
        columns: &[Column],
        writes: usize,
        models: usize,
        skips: &[Guard],
    ) -> Relation {
        let first = input.schema.fields().len();
        let mut guards = input.guards.clone();
        let block = writes + 1;
        for i in 0..columns.len() {
            let error = match self {
                Answers::Wide => first + (i / block) * block + writes,
                Answers::Dealt { .. } | Answers::Long => first + columns.len() - 1,
            };
            guards.push(skips.iter().copied().chain([Guard::Error(error)]).collect());
        }
        let fold = input.fold * self.fold(models);
        Relation { schema: extended(&input.schema, columns), guards, key: input.key, fold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field, Schema};
    use std::sync::Arc;

    fn names(answers: &Answers) -> (Vec<String>, Vec<Vec<Guard>>) {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
        let input = Relation { schema, guards: vec![vec![]], key: Some(0), fold: 1 };
        let writes = [Column::new("label", Type::Text), Column::new("prob", Type::Number)];
        let columns = answers.columns("tone", &writes, &["a", "b"]);
        let relation = answers.relation(&input, &columns, 2, 2, &[Guard::Missing(0)]);
        (relation.schema.fields().iter().map(|f| f.name().clone()).collect(), relation.guards)
    }

    #[test]
    fn every_answer_column_knows_what_tells_that_it_is_missing() {
        let guards = |error: usize| vec![Guard::Missing(0), Guard::Error(error)];
        let (wide, found) = names(&Answers::Wide);
        let expected = ["id", "label_a", "prob_a", "tone_error_a", "label_b", "prob_b", "tone_error_b"];
        assert_eq!(wide, expected);
        assert_eq!(found, [vec![], guards(3), guards(3), guards(3), guards(6), guards(6), guards(6)]);
        let (long, found) = names(&Answers::Long);
        assert_eq!(long, ["id", "model", "label", "prob", "tone_error"]);
        assert_eq!(found, [vec![], guards(4), guards(4), guards(4), guards(4)]);
        assert_eq!(names(&Answers::Dealt { named: true }).0, ["id", "label", "prob", "tone_model", "tone_error"]);
        assert_eq!(names(&Answers::Dealt { named: false }).0, ["id", "label", "prob", "tone_error"]);
    }
}
