//! The questions of a `fill-missing` stage: the missing keys of a row, the prompt for them, and the cells of the row.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::value::{converted, is_missing};
use crate::prompt::{self, Answer, Bound, Expect, Failure, FailureKind, Field, Message, Prompt, normalise_option};
use crate::stage::ask::{AnswerColumns, Ask, StageInfo};
use crate::stage::evidence::{Evidence, NO_QUOTE, Quote};
use crate::table::{Cell, Column, Row, Type};

const TASK: &str = "Read the text and give the values that are asked for. Take them from the text alone; a value that the \
                    text does not give is null.";
/// The content of the source column for a value that was already present.
const ORIGINAL: &str = "original";

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) field: Field,
    /// The column of the input that may already contain the value.
    pub(crate) column: Option<usize>,
    pub(crate) filled: Option<usize>,
    pub(crate) target: String,
}

/// The system prompt and the expected answer for one set of missing keys.
#[derive(Debug)]
pub(crate) struct Shape {
    system: String,
    expect: Arc<Expect>,
    schema: Option<Arc<Value>>,
}

#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) prompt: Bound,
    pub(crate) system: Option<String>,
    pub(crate) keys: Vec<Key>,
    pub(crate) nulls: Vec<String>,
    pub(crate) evidence: Option<Evidence>,
    /// The shapes so far, by missing keys. Most rows of a table lack the same keys.
    pub(crate) shapes: Mutex<HashMap<Vec<bool>, Arc<Shape>>>,
}

struct KeyCells {
    value: Cell,
    source: Cell,
    quote: Quote,
}

impl KeyCells {
    const NULL: KeyCells = KeyCells { value: Cell::Null, source: Cell::Null, quote: NO_QUOTE };

    fn original(value: Cell) -> KeyCells {
        KeyCells { value, source: Cell::Text(ORIGINAL.to_owned()), quote: NO_QUOTE }
    }
}

impl Filling {
    pub(crate) fn info(&self, kind: &'static str, text: Option<usize>) -> StageInfo {
        let mut columns = AnswerColumns::default();
        for key in &self.keys {
            let origin = ["fields", key.field.name.as_str()];
            if key.filled.is_none() {
                let column = Column::new(&key.target, key.field.kind.column());
                columns.push(column, &origin, key.field.kind.labels());
            }
            let source = Column::new(format!("{}_source", key.target), Type::Text);
            let quote = self.evidence.iter().flat_map(|_| Evidence::columns(&key.target));
            [source].into_iter().chain(quote).for_each(|column| columns.push(column, &origin, Vec::new()));
        }
        let mut reads = self.prompt.reads();
        reads.extend(text);
        reads.extend(self.keys.iter().filter_map(|k| k.column));
        reads.sort_unstable();
        reads.dedup();
        let all = self.shape(vec![true; self.keys.len()]);
        StageInfo {
            fills: self.keys.iter().filter_map(|k| k.filled).collect(),
            reads,
            needs: text.into_iter().collect(),
            ..StageInfo::new(kind, columns, all.schema.as_deref().cloned(), self.meaning(kind, text, &all))
        }
    }

    fn meaning(&self, kind: &str, text: Option<usize>, all: &Shape) -> Value {
        let keys = self.keys.iter().map(|key| {
            json!({
                "key": key.field.name, "column": key.column, "in_place": key.filled.is_some(), "target": key.target,
                "unknown": key.field.unknown,
            })
        });
        json!({
            "type": kind,
            "prompt": self.prompt.source(),
            "system": all.system,
            "schema": all.schema.as_deref(),
            "text_column": text,
            "keys": keys.collect::<Vec<_>>(),
            "null_values": self.nulls,
            "quote_ratio": self.evidence.as_ref().map(Evidence::ratio),
        })
    }

    /// Returns for each key the value that the row already has, if any.
    fn originals(&self, row: Row<'_>) -> Result<Vec<Option<Cell>>, Failure> {
        let original = |key: &Key| {
            let Some(column) = key.column else { return Ok(None) };
            let cell = row.cell(column);
            if is_missing(&cell, &self.nulls) {
                return Ok(None);
            }
            let name = row.batch().schema_ref().field(column).name().clone();
            let value = converted(&cell, &key.field.kind).map(Some);
            value.map_err(|why| FailureKind::Value.because(format!("the column `{name}`: {why}")))
        };
        self.keys.iter().map(original).collect()
    }

    fn shape(&self, missing: Vec<bool>) -> Arc<Shape> {
        let mut shapes = self.shapes.lock();
        let known = shapes.entry(missing).or_insert_with_key(|missing| {
            let asked = self.keys.iter().zip(missing).filter(|(_, missing)| **missing).map(|(key, _)| &key.field);
            let expect = Expect::Record(Evidence::asked(self.evidence.as_ref(), asked));
            let instruction = expect.instruction();
            let parts = [self.system.as_deref(), Some(TASK), instruction.as_deref()];
            let system = prompt::system(parts).unwrap_or_default();
            Arc::new(Shape { system, schema: expect.schema().map(Arc::new), expect: Arc::new(expect) })
        });
        known.clone()
    }

    fn answered(&self, key: &Key, row: Row<'_>, model: &str, answer: &mut impl Iterator<Item = Cell>) -> KeyCells {
        let words = self.evidence.as_ref().and_then(|evidence| Some((evidence, answer.next()?)));
        let value = known_items(answer.next().unwrap_or(Cell::Null), &key.field);
        if value == Cell::Null {
            return KeyCells::NULL;
        }
        let quote = words.map_or(NO_QUOTE, |(evidence, words)| evidence.quote(row, words));
        KeyCells { value, source: Cell::Text(model.to_owned()), quote }
    }

    fn lay_out(&self, keys: Vec<KeyCells>, row: Row<'_>) -> Vec<Cell> {
        let (mut cells, mut in_place) = (Vec::new(), Vec::new());
        for (key, filled) in self.keys.iter().zip(keys) {
            match key.filled {
                // The present value stays unchanged, even if it counts as missing and no better value was found.
                Some(column) if filled.value == Cell::Null => in_place.push(row.cell(column)),
                Some(_) => in_place.push(filled.value),
                None => cells.push(filled.value),
            }
            cells.push(filled.source);
            if self.evidence.is_some() {
                cells.extend(filled.quote);
            }
        }
        cells.extend(in_place);
        cells
    }
}

/// Removes the items of a list that mean unknown. An empty list becomes null.
fn known_items(value: Cell, field: &Field) -> Cell {
    let Cell::List(mut items) = value else { return value };
    items.retain(|item| match item {
        Cell::Text(text) => !field.unknown.iter().any(|unknown| normalise_option(unknown) == normalise_option(text)),
        _ => true,
    });
    if items.is_empty() { Cell::Null } else { Cell::List(items) }
}

impl Ask for Filling {
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        if !so_far.is_empty() {
            return Ok(Vec::new());
        }
        let missing: Vec<bool> = self.originals(row)?.iter().map(Option::is_none).collect();
        if !missing.contains(&true) {
            return Ok(Vec::new());
        }
        let shape = self.shape(missing);
        let text = self.prompt.message(row).map_err(|message| FailureKind::Template.because(message))?;
        let messages = vec![Message::system(&shape.system).for_all(), text];
        let (expect, schema) = (shape.expect.clone(), shape.schema.clone());
        Ok(vec![Prompt { messages, expect, schema, respondent: None, pack: None }])
    }

    fn cells(&self, row: Row<'_>, model: &str, answers: &[Answer]) -> Vec<Cell> {
        let Ok(originals) = self.originals(row) else { return self.unanswered(row, answers) };
        let mut answer = answers.concat().into_iter();
        let cells = self.keys.iter().zip(originals).map(|(key, value)| match value {
            Some(value) => KeyCells::original(value),
            None => self.answered(key, row, model, &mut answer),
        });
        let cells = cells.collect();
        self.lay_out(cells, row)
    }

    fn unanswered(&self, row: Row<'_>, _: &[Answer]) -> Vec<Cell> {
        // A present value is kept whatever the calls returned. A value that does not fit its type is left out.
        let value = |key: &Key| {
            let cell = row.cell(key.column?);
            converted(&cell, &key.field.kind).ok().filter(|_| !is_missing(&cell, &self.nulls))
        };
        let cells = self.keys.iter().map(|key| value(key).map_or(KeyCells::NULL, KeyCells::original)).collect();
        self.lay_out(cells, row)
    }

    fn most_prompts(&self, row: Row<'_>) -> Option<u64> {
        let complete = self.originals(row).is_ok_and(|originals| !originals.contains(&None));
        Some(u64::from(!complete))
    }
}
