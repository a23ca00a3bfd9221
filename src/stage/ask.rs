//! Asking stages: the prompts about each row, and the cells of the answers.
//!
//! A [`StageConfig`] is the stage as written in the spec. Binding it to the columns of its input makes a [`Stage`]. A
//! stage has data ([`StageInfo`]) and questions ([`Ask`]).

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use arrow_schema::{DataType, SchemaRef};
use serde_json::Value;

use super::transform::{Transform, TransformContext};
use super::view::View;
use crate::document::{Diagnostic, Path, Problems};
use crate::prompt::{Answer, AnswerType, Distribution, Expect, Failure, Mode, Prompt};
use crate::table::{Cell, Column, Row, Type};

/// The most labels of a column that are counted label by label.
pub(crate) const MOST_LABELS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

pub(crate) struct BindContext<'a> {
    /// The stage's name, which is also the column of a plain text answer.
    pub(crate) name: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) input: &'a SchemaRef,
    /// The number of columns at the end that only this stage reads.
    pub(crate) hidden: usize,
    /// The column of the input that identifies a row of the source.
    pub(crate) key: Option<usize>,
    /// The number of input rows for each row of the source.
    pub(crate) fold: u64,
    pub(crate) seed: Option<u64>,
    /// Reads a text file named in the spec; the error is a sentence.
    pub(crate) read: &'a dyn Fn(&str) -> Result<String, String>,
}

pub(crate) trait StageConfig: Send + Sync + fmt::Debug {
    /// The fields that name the models, if the stage has no `models`: the model that answers a row, and the model that it
    /// calls.
    fn roles(&self) -> Option<[&'static str; 2]> {
        None
    }

    /// The tables that the stage makes beside its own, as the parts of their names after the stage's.
    fn parts(&self) -> &'static [&'static str] {
        &[]
    }

    /// Binds one of these tables to the columns of the stage's own table.
    fn bind_part(&self, _part: &str, _context: &TransformContext<'_>) -> Option<Transform> {
        None
    }

    /// Returns the transform that prepares the rows to ask about, if the input's own rows are not used. The stage is
    /// then bound to the transform's table. Reports every problem.
    fn gathers(&self, _: &TransformContext<'_>, _: &mut Problems) -> Result<Option<Transform>, Broken> {
        Ok(None)
    }

    /// Binds the stage to its input. Reports every problem. Returns `None` after an error.
    fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Stage>;
}

impl<C: StageConfig + 'static> From<C> for Box<dyn StageConfig> {
    fn from(config: C) -> Self {
        Box::new(config)
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) info: StageInfo,
    pub(crate) ask: Box<dyn Ask>,
}

impl Stage {
    pub(crate) fn most_prompts(&self, row: Row<'_>) -> u64 {
        self.ask.most_prompts(row).unwrap_or(self.info.most_prompts)
    }

    /// What the report page shows of the stage's table.
    pub(crate) fn views(&self) -> Vec<View> {
        self.ask.views(&self.info)
    }
}

#[derive(Debug, Default)]
pub(crate) struct StageInfo {
    pub(crate) kind: &'static str,
    pub(crate) writes: Vec<Column>,
    /// The columns of the input that the stage fills in place. They keep their types.
    pub(crate) fills: Vec<usize>,
    pub(crate) reads: Vec<usize>,
    /// The columns of `reads` whose values matter: of a prompt with `row["a name"]` only that one, not the whole row.
    pub(crate) uses: Vec<usize>,
    /// The columns of the input that must not be null or empty. A row without one of these values is skipped.
    pub(crate) needs: Vec<usize>,
    /// For each column of `writes`, its possible values if they are labels; otherwise empty.
    pub(crate) labels: Vec<Vec<String>>,
    /// For each column of `writes`, what its values are, if they are parts of a reply.
    pub(crate) types: Vec<Option<AnswerType>>,
    /// The distributions of answers.
    pub(crate) distributions: Vec<Distributed>,
    /// For each column of `writes`, the keys of the stage's table that define it, for messages.
    pub(crate) origins: Vec<Vec<String>>,
    /// The most prompts that a row needs.
    pub(crate) most_prompts: u64,
    /// How many of them are for the model that the row's model calls.
    pub(crate) most_sub_prompts: u64,
    /// Whether the prompts of a round are sent concurrently. Otherwise they are sent in order until one fails.
    pub(crate) at_once: bool,
    /// Whether the columns contain probabilities of labels, which only some providers report.
    pub(crate) probabilities: bool,
    /// Whether the stage asks for vectors, which only some providers have.
    pub(crate) embeds: bool,
    /// The default of `batch_size`, if it is not that of other stages.
    pub(crate) batch_size: Option<u32>,
    /// The problem of a prompt that is the same for all rows, unless several answers to one question are wanted.
    pub(crate) constant: Option<Diagnostic>,
    /// Why the stage can't have examples; a sentence.
    pub(crate) refuses_examples: Option<&'static str>,
    pub(crate) schema: Option<Value>,
    /// Everything that can change an answer, as canonical JSON. It is hashed: its bytes must not change.
    pub(crate) meaning: Value,
}

impl StageInfo {
    /// Returns a stage with one prompt per row that reads no column.
    pub(crate) fn new(kind: &'static str, columns: AnswerColumns, schema: Option<Value>, meaning: Value) -> Self {
        let AnswerColumns { writes, origins, labels, types, distributions } = columns;
        let most_prompts = 1;
        StageInfo {
            kind,
            writes,
            labels,
            origins,
            types,
            distributions,
            most_prompts,
            schema,
            meaning,
            ..StageInfo::default()
        }
    }

    /// Returns the labels of column `write` that an audit compares. For booleans only `true`, since `false` mirrors it.
    pub(crate) fn compared_labels(&self, write: usize) -> &[String] {
        match (self.writes[write].kind, self.labels[write].as_slice()) {
            (Type::Boolean, [yes, ..]) => std::slice::from_ref(yes),
            (Type::Text, labels) => labels,
            _ => &[],
        }
    }

    /// Whether column `write` is an answer, or a part of one. A survey also records orders, which only the seed decides,
    /// and a recursive stage its rounds. Distributions are about an answer.
    pub(crate) fn is_answer(&self, write: usize) -> bool {
        const OTHERS: [&str; 4] = ["question_order", "rounds", "calls", "trajectory"];
        if self.distributions.iter().any(|distributed| distributed.columns.contains(&write)) {
            return false;
        }
        let shown = write.checked_sub(1).map(|before| format!("{}_shown", self.writes[before].name));
        let is_other = matches!(self.origins[write].as_slice(), [only] if OTHERS.contains(&only.as_str()));
        !is_other && shown.is_none_or(|shown| self.writes[write].name != shown)
    }

    /// What the values of cell `place` of an answer are; `arrow` is the type of its column.
    pub(crate) fn answer_type(&self, place: usize, arrow: &DataType) -> AnswerType {
        let known = self.types.get(place).cloned().flatten();
        known.unwrap_or_else(|| AnswerType::any(Type::of_cells(arrow)))
    }

    /// The views that fit the types of the answers.
    pub(crate) fn views(&self) -> Vec<View> {
        let view = |(write, column): (usize, &Column)| {
            let kind = match &self.types[write] {
                Some(kind) => kind,
                None if column.kind == Type::Text && self.origins[write].is_empty() => &AnswerType::Text(None),
                None => return None,
            };
            let probability = self.writes.get(write + 1).filter(|next| next.name == format!("{}_prob", column.name));
            Some(View::of_answer(column, kind, probability.map(|next| next.name.as_str())))
        };
        self.writes.iter().enumerate().filter_map(view).collect()
    }

    pub(crate) fn answer_key(&self, write: usize) -> Option<&str> {
        self.schema.as_ref().and(self.origins[write].last()).map(String::as_str)
    }
}

/// The distributions of one answer, by their places in [`StageInfo::writes`].
#[derive(Clone, Debug)]
pub(crate) struct Distributed {
    pub(crate) answer: usize,
    pub(crate) modes: Vec<(Mode, usize)>,
    /// All columns about the answer.
    pub(crate) columns: Range<usize>,
}

/// The columns of an answer.
#[derive(Debug, Default)]
pub(crate) struct AnswerColumns {
    pub(crate) writes: Vec<Column>,
    pub(crate) origins: Vec<Vec<String>>,
    pub(crate) labels: Vec<Vec<String>>,
    pub(crate) types: Vec<Option<AnswerType>>,
    pub(crate) distributions: Vec<Distributed>,
}

impl AnswerColumns {
    pub(crate) fn push(&mut self, column: Column, origin: &[&str], labels: Vec<String>) {
        self.writes.push(column);
        self.origins.push(origin.iter().map(|key| (*key).to_owned()).collect());
        self.labels.push(labels);
        self.types.push(None);
    }

    /// Says what the values of the last column are.
    pub(crate) fn type_last(&mut self, kind: AnswerType) {
        if let Some(last) = self.types.last_mut() {
            *last = Some(kind);
        }
    }

    /// Adds the columns of the distribution of the answer at `answer`.
    pub(crate) fn push_distribution(&mut self, answer: usize, distribution: &Distribution, labels: &[String]) {
        let (name, origin) = (self.writes[answer].name.clone(), self.origins[answer].clone());
        let origin: Vec<&str> = origin.iter().map(String::as_str).collect();
        let first = self.writes.len();
        let mut modes = Vec::new();
        for (column, mode) in distribution.columns(&name, labels) {
            modes.extend(mode.map(|mode| (mode, self.writes.len())));
            self.push(column, &origin, Vec::new());
        }
        self.distributions.push(Distributed { answer, modes, columns: first..self.writes.len() });
    }

    /// Returns the columns of an answer to stage `stage`. `more` returns further columns for each key.
    pub(crate) fn of(stage: &str, expect: &Expect, more: impl Fn(&str) -> Vec<Column>) -> Self {
        let mut columns = AnswerColumns::default();
        let Expect::Record(fields) = expect else {
            columns.push(Column::new(stage, Type::Text), &[], Vec::new());
            if *expect == Expect::CutText {
                let flag = Column::new(format!("{stage}_cut_off"), Type::Boolean);
                columns.push(flag, &["cut_off"], AnswerType::Boolean.labels());
            }
            return columns;
        };
        for field in fields {
            let origin = ["output", field.name.as_str()];
            let (answer, all) = (columns.writes.len(), field.kind.labels());
            let mut labels = all.clone();
            for (i, (name, kind)) in field.columns().enumerate() {
                columns.push(Column::new(name, kind), &origin, std::mem::take(&mut labels));
                if i == 0 {
                    columns.type_last(field.kind.clone());
                }
            }
            if let Some(distribution) = &field.distribution {
                columns.push_distribution(answer, distribution, &all);
            }
            more(&field.name).into_iter().for_each(|column| columns.push(column, &origin, Vec::new()));
        }
        columns
    }
}

/// Returns the items once each, in order.
pub(crate) fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}

/// The prompts about a row and the cells of their answers. Pure: it never waits, retries, logs or opens anything.
pub(crate) trait Ask: Send + Sync + fmt::Debug {
    /// Returns the next prompts about `row`, given the answers so far. Called again after each round, until it returns
    /// none. The error fails the row.
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure>;

    /// Returns the cells of [`StageInfo::writes`], then of [`StageInfo::fills`]. `model` names the model that answered.
    fn cells(&self, row: Row<'_>, model: &str, answers: &[Answer]) -> Vec<Cell>;

    /// Returns the same cells for a row that was skipped, or for a row where a call failed after these answers.
    fn unanswered(&self, row: Row<'_>, answers: &[Answer]) -> Vec<Cell>;

    /// Returns what the report page shows of the stage's table.
    fn views(&self, info: &StageInfo) -> Vec<View> {
        info.views()
    }

    /// Returns the most prompts that `row` needs, if this depends on the row; 0 if there is nothing to ask.
    fn most_prompts(&self, _row: Row<'_>) -> Option<u64> {
        None
    }
}
