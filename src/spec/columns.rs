//! Columns of the tables of a pipeline, and the columns and rows that hold a stage's answers.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};

use super::language::Layout;
use crate::table::{Column, Guard, Type, extended};

#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) schema: SchemaRef,
    /// For each column, the guards that show that an answer is missing.
    pub(crate) guards: Vec<Vec<Guard>>,
    /// The column that identifies a row of the source.
    pub(crate) key: Option<usize>,
    /// The number of rows for each row of the source, or of the transform that made them.
    pub(crate) fold: u64,
    /// The number of columns at the end that only the stage reading the table sees.
    pub(crate) hidden: usize,
}

impl Relation {
    /// Returns the number of columns visible to other stages (without the hidden ones at the end).
    pub(crate) fn shown(&self) -> usize {
        self.schema.fields().len() - self.hidden
    }
}

/// The number of answers for a row, and the columns and rows that hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) form: Form,
    pub(crate) models: usize,
    /// How many times a model is asked about the same row. If this is more than 1, a column numbers the answers.
    pub(crate) replicates: usize,
    /// Whether a fallback may answer. A column then names the model that answered.
    pub(crate) fallback: bool,
    /// Whether people correct answers. A column then names the corrected ones.
    pub(crate) corrected: bool,
}

/// The layout of the answers of several models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One model answers each row; several models share the rows, and a column names the model.
    Dealt,
    /// Every model answers every row. Each model has its own columns.
    Wide,
    /// Every model answers every row. Each answer has its own row, and a column names the model.
    Long,
}

/// What a column that a stage adds contains. The number is the model's, if each model has its own columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnRole {
    Replicate,
    Model(Option<usize>),
    Answer {
        model: Option<usize>,
        write: usize,
    },
    /// Which answers people have corrected.
    Source(Option<usize>),
    Error(Option<usize>),
}

impl ColumnRole {
    pub(crate) fn model(self) -> Option<usize> {
        match self {
            ColumnRole::Replicate => None,
            ColumnRole::Model(model)
            | ColumnRole::Answer { model, .. }
            | ColumnRole::Source(model)
            | ColumnRole::Error(model) => model,
        }
    }
}

impl Answers {
    pub(crate) fn new(fanout: bool, layout: Layout, models: usize, replicates: usize, fallback: bool) -> Self {
        let form = match (fanout, layout) {
            (false, _) => Form::Dealt,
            (true, Layout::Wide) => Form::Wide,
            (true, Layout::Long) => Form::Long,
        };
        Answers { form, models, replicates, fallback, corrected: false }
    }

    pub(crate) fn layout(&self) -> &'static str {
        match self.form {
            Form::Dealt => "dealt",
            Form::Wide => "wide",
            Form::Long => "long",
        }
    }

    pub(crate) fn fanned_out(&self) -> bool {
        self.form != Form::Dealt
    }

    /// Whether a column names the model, because the models share the rows or have fallbacks.
    pub(crate) fn names_model(&self) -> bool {
        self.fallback || self.form == Form::Dealt && self.models > 1
    }

    pub(crate) fn models_per_row(&self) -> usize {
        if self.fanned_out() { self.models } else { 1 }
    }

    pub(crate) fn width(&self) -> usize {
        self.replicates * self.models_per_row()
    }

    pub(crate) fn fold(&self) -> u64 {
        (if self.form == Form::Long { self.width() } else { self.replicates }) as u64
    }

    /// The number of columns before the answers.
    fn lead(&self) -> usize {
        usize::from(self.replicates > 1) + usize::from(self.form == Form::Long)
    }

    /// The number of columns of one model: its answers, its name and the corrections if the table has those columns, and
    /// its error.
    pub(crate) fn group(&self, writes: usize) -> usize {
        writes + usize::from(self.names_model()) + usize::from(self.corrected) + 1
    }

    /// The place of an answer among the columns that a stage adds. `model` counts only if each model has its own
    /// columns.
    pub(crate) fn place(&self, writes: usize, model: usize, write: usize) -> usize {
        let before = if self.form == Form::Wide { model * self.group(writes) } else { 0 };
        self.lead() + before + write
    }

    /// What the column at `place` contains, of the columns that a stage adds.
    pub(crate) fn role(&self, writes: usize, place: usize) -> ColumnRole {
        let Some(at) = place.checked_sub(self.lead()) else {
            return if place == 0 && self.replicates > 1 { ColumnRole::Replicate } else { ColumnRole::Model(None) };
        };
        let group = self.group(writes);
        let model = (self.form == Form::Wide).then_some(at / group);
        match at % group {
            write if write < writes => ColumnRole::Answer { model, write },
            write if write == writes && self.names_model() => ColumnRole::Model(model),
            write if write + 1 < group => ColumnRole::Source(model),
            _ => ColumnRole::Error(model),
        }
    }

    /// The columns that a stage called `stage` adds when it writes `writes` and asks `models`.
    pub(crate) fn columns(&self, stage: &str, writes: &[Column], models: &[String]) -> Vec<Column> {
        let who = self.names_model().then(|| Column::new(format!("{stage}_model"), Type::Text));
        let source = self.corrected.then(|| Column::new(format!("{stage}_source"), Type::Text));
        let answer =
            [writes, who.as_slice(), source.as_slice(), &[Column::new(format!("{stage}_error"), Type::Text)]].concat();
        let mut columns = Vec::new();
        if self.replicates > 1 {
            columns.push(Column::new("replicate", Type::Integer));
        }
        match self.form {
            Form::Dealt => columns.extend(answer),
            Form::Long => {
                columns.push(Column::new("model", Type::Text));
                columns.extend(answer);
            }
            Form::Wide => columns.extend(models.iter().flat_map(|model| {
                answer.iter().map(move |c| Column { name: format!("{}_{model}", c.name), ..c.clone() })
            })),
        }
        columns
    }

    /// Returns the columns of a stage's table: those of `input`, then `columns` (from [`Answers::columns`]). The stage
    /// writes `writes` columns, fills the columns `fills`, and skips a row if one of `skips` applies.
    pub(crate) fn relation(
        &self,
        input: &Relation,
        columns: &[Column],
        (writes, fills): (usize, &[usize]),
        skips: &[Guard],
    ) -> Relation {
        let first = input.shown();
        let lead = usize::from(self.replicates > 1);
        let group = self.group(writes);
        let mut guards = input.guards[..first].to_vec();
        let skips: Vec<Guard> = skips.iter().copied().filter(|guard| guard.column() < first).collect();
        let missing = |error: usize| skips.iter().copied().chain([Guard::Error(error)]);
        let last = first + columns.len() - 1;
        for i in 0..columns.len() {
            guards.push(match self.form {
                _ if i < lead => Vec::new(),
                Form::Wide => missing(first + lead + (i - lead) / group * group + group - 1).collect(),
                Form::Dealt | Form::Long => missing(last).collect(),
            });
        }
        for column in fills {
            guards[*column].extend(missing(last));
        }
        let fold = input.fold * self.fold();
        let shown: SchemaRef = match input.hidden {
            0 => input.schema.clone(),
            _ => Arc::new(Schema::new(input.schema.fields()[..first].to_vec())),
        };
        Relation { schema: extended(&shown, columns), guards, key: input.key, fold, hidden: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field};

    fn names(form: Form, models: &[&str], replicates: usize, fallback: bool) -> (Vec<String>, Vec<Vec<Guard>>) {
        let answers = Answers { form, models: models.len(), replicates, fallback, corrected: false };
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
        let input = Relation { schema, guards: vec![vec![]], key: Some(0), fold: 1, hidden: 0 };
        let writes = [Column::new("label", Type::Text), Column::new("prob", Type::Number)];
        let models: Vec<String> = models.iter().map(|model| (*model).to_owned()).collect();
        let columns = answers.columns("tone", &writes, &models);
        let relation = answers.relation(&input, &columns, (2, &[]), &[Guard::Missing(0)]);
        (relation.schema.fields().iter().map(|f| f.name().clone()).collect(), relation.guards)
    }

    #[test]
    fn every_answer_column_knows_what_tells_that_it_is_missing() {
        let guards = |error: usize| vec![Guard::Missing(0), Guard::Error(error)];
        let (wide, found) = names(Form::Wide, &["a", "b"], 1, false);
        let expected = ["id", "label_a", "prob_a", "tone_error_a", "label_b", "prob_b", "tone_error_b"];
        assert_eq!(wide, expected);
        assert_eq!(found, [vec![], guards(3), guards(3), guards(3), guards(6), guards(6), guards(6)]);
        let (long, found) = names(Form::Long, &["a", "b"], 1, false);
        assert_eq!(long, ["id", "model", "label", "prob", "tone_error"]);
        assert_eq!(found, [vec![], guards(4), guards(4), guards(4), guards(4)]);
        assert_eq!(names(Form::Dealt, &["a", "b"], 1, false).0, ["id", "label", "prob", "tone_model", "tone_error"]);
        assert_eq!(names(Form::Dealt, &["a"], 1, false).0, ["id", "label", "prob", "tone_error"]);
        let (wide, found) = names(Form::Wide, &["a", "b"], 1, true);
        let answered =
            |model: &str| ["label", "prob", "tone_model", "tone_error"].map(|name| format!("{name}_{model}"));
        assert_eq!(wide[1..], [answered("a"), answered("b")].concat());
        assert_eq!(found[1..], [vec![guards(4); 4], vec![guards(8); 4]].concat());
        let long = names(Form::Long, &["a"], 1, true).0;
        assert_eq!(long, ["id", "model", "label", "prob", "tone_model", "tone_error"]);
        assert_eq!(names(Form::Dealt, &["a"], 1, true).0, ["id", "label", "prob", "tone_model", "tone_error"]);
        let (wide, found) = names(Form::Wide, &["a"], 2, false);
        assert_eq!(wide, ["id", "replicate", "label_a", "prob_a", "tone_error_a"]);
        assert_eq!(found, [vec![], vec![], guards(4), guards(4), guards(4)]);
    }
}
