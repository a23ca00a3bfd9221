//! `type = "embed"`: a vector of each row's text, by a model of embeddings.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ask::{AnswerColumns, Ask, BindContext, Stage, StageConfig, StageInfo, distinct};
use super::question::{TextColumn, Written};
use super::row_prompt::{RowFields, RowPrompt};
use super::view::View;
use crate::document::Problems;
use crate::prompt::{Addressee, Answer, Expect, Failure, Prompt};
use crate::registry::Kind;
use crate::table::{Cell, Column, Row, Type};

pub(crate) const KIND: Kind<Box<dyn StageConfig>> =
    Kind::new::<Embed>("embed", "A vector of each row's text, to find rows with a similar meaning.");

/// The texts of a request to the server, if the spec does not say `batch_size`.
const TEXTS: u32 = 32;

/// A vector of each row's text, in one column named after the stage: a list of numbers of 32 bits. The model must be one
/// of embeddings, on `ollama`, `openai` (or a similar server) or `gemini`; `mock` makes vectors of words, to try a spec.
/// A request has up to `batch_size` texts (default: 32), and each of `workers` sends one at a time. Each text is a call
/// in the ledger, so that an answered text is never sent again. A text that is too long for the model is a failed row.
/// A `retrieve` or a `deduplicate` compares the vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Embed {
    /// The column with the text; a row where it is empty is skipped.
    text_column: Option<String>,
    /// What is sent, a Jinja template, for models that expect a prefix: `search_document: {{ text }}`. Default: the text
    /// alone.
    prompt: Option<String>,
    /// The length of the vectors, for models that offer several. Default: the model's own.
    dimensions: Option<u32>,
    /// Whether the vectors are divided by their length. It changes the table, and no comparison by cosine similarity.
    /// Default: false.
    #[serde(default)]
    normalise: bool,
}

impl StageConfig for Embed {
    fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Stage> {
        let before = problems.mark();
        let text = TextColumn::find(context, self.text_column.as_deref(), problems);
        if self.dimensions == Some(0) {
            problems.error("bad-value", context.path.key("dimensions"), "`dimensions` must be at least 1");
        }
        let written = Written { source: self.prompt.as_deref(), file: None };
        let fields = RowFields { written, text, columns: None, system: None };
        let prompt = fields.bind(context, problems)?;
        if problems.had_errors_since(before) {
            return None;
        }
        let mut columns = AnswerColumns::default();
        columns.push(Column::new(context.name, Type::Vector), &[], Vec::new());
        let meaning = json!({
            "type": KIND.name,
            "prompt": prompt.source(),
            "text_column": self.text_column,
            "dimensions": self.dimensions,
            "normalise": self.normalise,
            "columns": [context.name],
        });
        let info = StageInfo {
            reads: distinct(prompt.reads().into_iter().chain(text.index)),
            uses: distinct(prompt.uses().into_iter().chain(text.index)),
            needs: text.index.into_iter().collect(),
            refuses_examples: Some("an embed can't have examples: its model answers with vectors"),
            embeds: true,
            batch_size: Some(TEXTS),
            ..StageInfo::new(KIND.name, columns, None, meaning)
        };
        let expect = Arc::new(Expect::Vector(self.dimensions));
        Some(Stage { info, ask: Box::new(BoundEmbed { prompt, expect, normalise: self.normalise }) })
    }
}

#[derive(Debug)]
struct BoundEmbed {
    prompt: RowPrompt,
    expect: Arc<Expect>,
    normalise: bool,
}

impl Ask for BoundEmbed {
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        if !so_far.is_empty() {
            return Ok(Vec::new());
        }
        let messages = vec![self.prompt.message(row)?];
        Ok(vec![Prompt {
            messages,
            expect: self.expect.clone(),
            schema: None,
            respondent: None,
            pack: None,
            to: Addressee::Row,
        }])
    }

    fn cells(&self, _: Row<'_>, _: &str, answers: &[Answer]) -> Vec<Cell> {
        let cells = answers.concat();
        if self.normalise { cells.into_iter().map(normalised).collect() } else { cells }
    }

    fn unanswered(&self, _: Row<'_>, _: &[Answer]) -> Vec<Cell> {
        vec![Cell::Null]
    }

    fn views(&self, _: &StageInfo) -> Vec<View> {
        Vec::new()
    }
}

/// The vector divided by its length. A vector of zeros stays.
fn normalised(cell: Cell) -> Cell {
    let Cell::List(items) = &cell else { return cell };
    let number = |item: &Cell| if let Cell::Number(number) = item { *number } else { 0.0 };
    let length = items.iter().map(|item| number(item) * number(item)).sum::<f64>().sqrt();
    if length == 0.0 {
        return cell;
    }
    Cell::List(items.iter().map(|item| Cell::Number(number(item) / length)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalised_vector_has_the_length_1() {
        let vector = |numbers: &[f64]| Cell::List(numbers.iter().map(|number| Cell::Number(*number)).collect());
        assert_eq!(normalised(vector(&[3.0, -4.0])), vector(&[0.6, -0.8]));
        assert_eq!(normalised(vector(&[0.0, 0.0])), vector(&[0.0, 0.0]));
        assert_eq!(normalised(Cell::Null), Cell::Null);
    }
}
