//! Asking stages: the questions to models about each row, and the cells that the answers become.
//!
//! A [`StageConfig`] is the stage as the spec writes it. Binding it to the columns of its input makes a [`Stage`]: data about
//! it ([`StageInfo`]) and the questions ([`Ask`]).

use std::fmt;

use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::columns::AnswerColumns;
use super::transform::{Transform, TransformContext};
use crate::document::{self, Path, Problems};
use crate::prompt::{Answer, Failure, Prompt};
use crate::registry::Kind;
use crate::table::{Cell, Column, Row, Type};

/// A column with more labels than this is not counted label by label.
pub(crate) const MOST_LABELS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

pub(crate) struct BindContext<'a> {
    /// The stage's name; also the column of a plain text answer.
    pub(crate) name: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) input: &'a SchemaRef,
    /// How many of these columns, at the end, only this stage reads.
    pub(crate) hidden: usize,
    /// The column of its input that identifies a row of the source.
    pub(crate) key: Option<usize>,
    /// Rows of its input for each row of the source.
    pub(crate) fold: u64,
    pub(crate) seed: Option<u64>,
    /// Reads a text file named in the spec; the error is a sentence.
    pub(crate) read: &'a dyn Fn(&str) -> Result<String, String>,
}

pub(crate) trait StageConfig: Send + Sync + fmt::Debug {
    /// The transform that prepares the rows to ask about, if the input's own rows are not used. The stage is then bound to
    /// the transform's table. Reports every problem.
    fn gathers(&self, _: &TransformContext<'_>, _: &mut Problems) -> Result<Option<Transform>, Broken> {
        Ok(None)
    }

    /// Binds it to its input. Reports every problem; `None` if one of them is an error.
    fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Stage>;
}

pub(crate) const fn kind<C>(name: &'static str, about: &'static str) -> Kind<Box<dyn StageConfig>>
where
    C: StageConfig + DeserializeOwned + JsonSchema + 'static,
{
    Kind::new::<C>(name, about, |node, path, problems| {
        document::decode::<C>(node, path, problems).map(|config| Box::new(config) as Box<dyn StageConfig>)
    })
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
}

#[derive(Debug)]
pub(crate) struct StageInfo {
    pub(crate) kind: &'static str,
    pub(crate) writes: Vec<Column>,
    /// The columns of the input that it fills in place; they keep their types.
    pub(crate) fills: Vec<usize>,
    pub(crate) reads: Vec<usize>,
    /// The columns of the input that must not be null or empty; a row where one is, is skipped.
    pub(crate) needs: Vec<usize>,
    /// For each column of `writes`, the values it can hold if they are labels; else empty.
    pub(crate) labels: Vec<Vec<String>>,
    /// For each column of `writes`, the keys under the stage's table that it comes from, for messages.
    pub(crate) origins: Vec<Vec<String>>,
    /// How many prompts a row needs at most.
    pub(crate) most_prompts: u64,
    /// Whether the prompts of a round are asked concurrently; else in order, and none after one that failed.
    pub(crate) at_once: bool,
    /// Whether its columns hold probabilities of labels, which only some providers report.
    pub(crate) probabilities: bool,
    /// Why examples are not possible; a sentence.
    pub(crate) refuses_examples: Option<&'static str>,
    pub(crate) schema: Option<Value>,
    /// Everything that can change an answer, as canonical JSON. It is hashed: its bytes must not change.
    pub(crate) meaning: Value,
}

impl StageInfo {
    /// A stage with one prompt per row that reads nothing.
    pub(crate) fn new(kind: &'static str, columns: AnswerColumns, schema: Option<Value>, meaning: Value) -> Self {
        let AnswerColumns { writes, origins, labels } = columns;
        StageInfo {
            kind,
            writes,
            fills: Vec::new(),
            reads: Vec::new(),
            needs: Vec::new(),
            labels,
            origins,
            most_prompts: 1,
            at_once: false,
            probabilities: false,
            refuses_examples: None,
            schema,
            meaning,
        }
    }

    /// The labels of column `write` that an audit compares: of booleans only `true`, since `false` mirrors it.
    pub(crate) fn compared_labels(&self, write: usize) -> &[String] {
        match (self.writes[write].kind, self.labels[write].as_slice()) {
            (Type::Boolean, [yes, ..]) => std::slice::from_ref(yes),
            (Type::Text, labels) => labels,
            _ => &[],
        }
    }

    pub(crate) fn answer_key(&self, write: usize) -> Option<&str> {
        self.schema.as_ref().and(self.origins[write].last()).map(String::as_str)
    }
}

/// The questions about a row and the cells of their answers. Pure: it never waits, retries, logs or opens anything.
pub(crate) trait Ask: Send + Sync + fmt::Debug {
    /// The next prompts about `row`, given the answers so far; none ends the row. Called again after each round of answers.
    /// The error fails the row.
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure>;

    /// The cells of [`StageInfo::writes`], then of [`StageInfo::fills`]; `model` is the name of the one that answered.
    fn cells(&self, row: Row<'_>, model: &str, answers: &[Answer]) -> Vec<Cell>;

    /// The same cells of a row that is skipped, or where a call failed after these answers.
    fn unanswered(&self, row: Row<'_>, answers: &[Answer]) -> Vec<Cell>;

    /// How many prompts `row` needs at most, if that depends on the row; 0 if there is nothing to ask.
    fn most_prompts(&self, _row: Row<'_>) -> Option<u64> {
        None
    }
}
