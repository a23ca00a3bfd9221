//! Origins: where the columns of a table come from, and what they were asked.

use arrow_array::{Array as _, RecordBatch};
use serde_json::Value;

use crate::spec::{ColumnRole, Guard, SourceSpec, Spec, StageSpec, TableId, TableSpec, TransformSpec};
use crate::table::{Cell, Type};

#[derive(Clone, Copy, Debug)]
pub(super) enum Role<'a> {
    Source(&'a SourceSpec),
    /// A column that a transform adds, such as the number of a piece.
    Made(&'a TransformSpec),
    /// Column `write` of the answers of a stage; of its model `model` if each has its own columns.
    Answer {
        stage: &'a StageSpec,
        write: usize,
        model: Option<usize>,
    },
    /// The name of the model that answered.
    Model(&'a StageSpec),
    /// The number of the replicate.
    Replicate(&'a StageSpec),
    /// Which answers people have corrected.
    Corrected(&'a StageSpec),
    /// The error of a call.
    Error(&'a StageSpec),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) role: Role<'a>,
    /// The stage that fills the column in place.
    pub(super) filled: Option<&'a StageSpec>,
}

/// The origin of a column of `table`.
pub(super) fn origin(spec: &Spec, table: TableId, column: usize) -> Origin<'_> {
    let own = |role| Origin { role, filled: None };
    match spec.table(table) {
        TableSpec::Source(source) => own(Role::Source(source)),
        TableSpec::Transform(transform) => match transform.transform.info.origins[column] {
            Some((input, column)) => origin(spec, transform.inputs[input], column),
            // The universes of a grid were asked about the same columns.
            None => match transform.stacked(column) {
                Some((input, column)) => origin(spec, transform.inputs[input], column),
                None => own(Role::Made(transform)),
            },
        },
        TableSpec::Stage(stage) if column < stage.given => {
            let before = origin(spec, stage.input, column);
            let fills = stage.stage.info.fills.contains(&column);
            Origin { filled: Some(&**stage).filter(|_| fills).or(before.filled), ..before }
        }
        TableSpec::Stage(stage) => own(role(stage, column - stage.given)),
    }
}

/// The role of column `at` of the columns that a stage adds.
fn role(stage: &StageSpec, at: usize) -> Role<'_> {
    match stage.answers.role(stage.stage.info.writes.len(), at) {
        ColumnRole::Replicate => Role::Replicate(stage),
        ColumnRole::Model(_) => Role::Model(stage),
        ColumnRole::Answer { model, write } => Role::Answer { stage, write, model },
        ColumnRole::Source(_) => Role::Corrected(stage),
        ColumnRole::Error(_) => Role::Error(stage),
    }
}

impl<'a> Origin<'a> {
    /// The options of a text answer, in the order of the spec.
    pub(super) fn options(&self) -> &'a [String] {
        match self.role {
            Role::Answer { stage, write, .. } if stage.stage.info.writes[write].kind == Type::Text => {
                &stage.stage.info.labels[write]
            }
            _ => &[],
        }
    }

    /// The question of a survey, or the description of the key of an answer.
    pub(super) fn question(&self) -> Option<&'a str> {
        let Role::Answer { stage, write, .. } = self.role else { return None };
        let info = &stage.stage.info;
        if info.schema.is_some() {
            // Of the columns of a key, the first is its value.
            let first = write == 0 || info.origins[write - 1] != info.origins[write];
            return self.property().filter(|_| first)?["description"].as_str();
        }
        self.survey_question()?["text"].as_str()
    }

    /// The meaning of the ends of a scale, as codes with texts.
    pub(super) fn codes(&self) -> Vec<(Cell, String)> {
        let Some(form) = self.survey_question().map(|question| &question["form"]) else { return Vec::new() };
        let (Some(ends), Some(texts)) = (form["scale"].as_array(), form["labels"].as_array()) else {
            return Vec::new();
        };
        let whole = |end: &Value| match end.as_f64() {
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => Cell::Integer(number as i64),
            _ => Cell::of_json(end.clone()),
        };
        let ends = ends.iter().map(whole).zip(texts);
        ends.filter_map(|(end, text)| Some((end, text.as_str()?.to_owned()))).collect()
    }

    /// The options of an answer, also of one with several.
    pub(super) fn choices(&self) -> Vec<String> {
        let options = self.survey_question().and_then(|question| question["form"]["options"].as_array());
        let texts = options.into_iter().flatten().filter_map(|option| option.as_str().map(str::to_owned));
        if self.options().is_empty() { texts.collect() } else { self.options().to_vec() }
    }

    fn survey_question(&self) -> Option<&'a Value> {
        let Role::Answer { stage, write, .. } = self.role else { return None };
        let info = &stage.stage.info;
        let questions = info.meaning["questions"].as_array()?;
        let column = |question: &Value| question.get("column").unwrap_or(&question["id"]).clone();
        questions.iter().find(|question| column(question) == info.writes[write].name.as_str())
    }

    /// Whether a model may answer the question with null.
    pub(super) fn is_nullable(&self) -> bool {
        self.property().is_some_and(|property| {
            property["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"))
                || property["enum"].as_array().is_some_and(|options| options.iter().any(Value::is_null))
        })
    }

    fn property(&self) -> Option<&'a Value> {
        let Role::Answer { stage, write, .. } = self.role else { return None };
        let info = &stage.stage.info;
        info.schema.as_ref()?["properties"].get(info.answer_key(write)?)
    }
}

/// Why an answer can be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absence {
    /// The column with the error of the call.
    pub(super) error: usize,
    /// The signs that the call was not made.
    pub(super) skips: Vec<Guard>,
    /// The other answers of the call. If all are null, it was not made. Empty if no answer can be null.
    pub(super) others: Vec<usize>,
}

/// Why column `column` of `table` can be missing, if it holds an answer.
pub(super) fn absence(spec: &Spec, table: TableId, column: usize) -> Option<Absence> {
    let answer = |column: usize| matches!(origin(spec, table, column).role, Role::Answer { .. });
    let guards = &spec.relation(table).guards;
    let error = |column: usize| guards[column].last().and_then(Guard::error);
    let own = error(column).filter(|_| answer(column))?;
    let skips = guards[column].iter().copied().filter(|guard| *guard != Guard::Error(own)).collect();
    let nullable = origin(spec, table, column).is_nullable();
    let others = (0..guards.len()).filter(|other| nullable && error(*other) == Some(own) && answer(*other)).collect();
    Some(Absence { error: own, skips, others })
}

/// Why an answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Failed,
    NotAsked,
}

impl Absence {
    /// Why a null in row `row` is missing; `None` if the model answered null.
    pub(super) fn reason(&self, batch: &RecordBatch, row: usize) -> Option<Reason> {
        if batch.column(self.error).is_valid(row) {
            return Some(Reason::Failed);
        }
        let skipped = self.skips.iter().any(|guard| guard.found(batch)(row));
        let unasked = self.others.iter().all(|other| batch.column(*other).is_null(row));
        (skipped || unasked).then_some(Reason::NotAsked)
    }
}
