//! Stages: what to do with a row. Pure: a stage never waits, retries, logs or opens anything.
//!
//! A [`StageConfig`] is what the spec says, a [`Stage`] is the same bound to the columns of its input: it asks models about
//! each row. Fan-out, layout, concurrency, resume and failure are `run`'s and come for free. To add a stage type: one file with
//! both, one `mod` line, one row in [`STAGES`]. `question` (text columns and templates), `evidence` and `quote` (the words of a
//! text that support a value) are there for all of them. What makes other rows of rows and asks nobody is a [`Reshape`], and
//! has a registry of its own, [`RESHAPES`]; `reduce` is a stage that has its rows made by one. `examples` is a stage around another
//! one that shows it answers.

mod analysis;
mod evidence;
mod examples;
mod fill_missing;
mod join;
mod question;
mod quote;
mod reduce;
mod reshape;
mod split;
mod survey;

use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;

use crate::document::{Path, Problems};
use crate::prompt::{Answer, Failure, Prompt};
use crate::registry::Kind;
use crate::table::{Cell, Column, Row};

pub use examples::{Example, Place, shown};
pub use reshape::{Given, RESHAPES, Reshape, ReshapeConfig, ReshapeSite, Work};

/// The stage types.
pub static STAGES: &[Kind<Box<dyn StageConfig>>] = &[analysis::KIND, fill_missing::KIND, survey::KIND, reduce::KIND];

/// Something was wrong, and has been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Where a stage is bound: its name, its input and what it may read of the project.
pub struct Site<'a> {
    /// The stage's name; the column of a plain text answer.
    pub name: &'a str,
    /// Where it stands in the document.
    pub path: &'a Path,
    /// The columns of its input.
    pub input: &'a SchemaRef,
    /// How many of them, at the end, are for this stage only.
    pub hidden: usize,
    /// The column of its input that identifies a row of the source.
    pub key: Option<usize>,
    /// Rows of its input for each row of the source.
    pub fold: u64,
    /// The spec's seed, for what it shuffles.
    pub seed: Option<u64>,
    /// Reads a text file named in the spec; the error is a sentence.
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
}

/// A stage as the spec says it.
pub trait StageConfig: Send + Sync + fmt::Debug {
    /// What makes the rows that it asks about of its input, if they are not the input's own: it is bound to that one's table
    /// then. Reports every problem; the error is that there was one.
    fn gathers(&self, _: &ReshapeSite<'_>, _: &mut Problems) -> Result<Option<Arc<dyn Reshape>>, Broken> {
        Ok(None)
    }

    /// Binds it to its input; reports every problem, and gives nothing if one of them is an error.
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Arc<dyn Stage>>;
}

/// What to do with a row.
pub trait Stage: Send + Sync + fmt::Debug {
    /// The columns of an answer, before a suffix for the model.
    fn writes(&self) -> &[Column];

    /// The columns of the input that it fills in place; they keep their types.
    fn fills(&self) -> &[usize] {
        &[]
    }

    /// The keys under the stage's table that column `write` of [`Stage::writes`] comes from, for messages.
    fn origin(&self, write: usize) -> Vec<&str>;

    /// What the cells of column `write` of [`Stage::writes`] can say, where that is one of a few labels (for booleans, `true`);
    /// empty for others.
    fn labels(&self, _write: usize) -> Vec<String> {
        Vec::new()
    }

    /// The columns of the input that the prompts read.
    fn reads(&self) -> &[usize];

    /// Those of the input's columns that must not be null or empty: a row where one is, is skipped.
    fn needs(&self) -> &[usize];

    /// What to ask about `row` next, given the answers so far; nothing more to ask ends the row.
    /// Asked again after each round of answers. An error fails the row.
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure>;

    /// Whether there is anything to ask about `row` at all.
    fn asks(&self, _row: Row<'_>) -> bool {
        true
    }

    /// How many prompts it has for a row at most.
    fn most_prompts(&self) -> u64 {
        1
    }

    /// How many prompts it has for `row` at most, where that depends on the row.
    fn most_prompts_about(&self, _row: Row<'_>) -> u64 {
        self.most_prompts()
    }

    /// Whether the prompts of a round are asked at once, whatever becomes of the others; else one after the other, and none
    /// behind one that failed.
    fn asks_at_once(&self) -> bool {
        false
    }

    /// The cells of [`Stage::writes`] and then of [`Stage::fills`], from the answers to all prompts in order; `model` is the
    /// name of who gave them.
    fn cells(&self, row: Row<'_>, model: &str, answers: &[Answer]) -> Vec<Cell>;

    /// The same cells of a row that is skipped, or where a call failed after these answers. By default all null.
    fn unanswered(&self, row: Row<'_>, _model: &str, _answers: &[Answer]) -> Vec<Cell> {
        let fills = self.fills().iter().map(|column| row.cell(*column));
        self.writes().iter().map(|_| Cell::Null).chain(fills).collect()
    }

    /// Whether its columns hold probabilities of labels, which only some providers report.
    fn needs_probabilities(&self) -> bool;

    /// Why rows with their answers can't be shown to a model before the question, if they can't; a sentence.
    fn refuses_examples(&self) -> Option<&'static str> {
        None
    }

    /// Everything of it that can change an answer, as canonical JSON (for the hash of the spec's meaning).
    fn meaning(&self) -> serde_json::Value;
}
