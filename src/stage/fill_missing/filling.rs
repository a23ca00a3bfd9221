//! A `fill-missing` stage bound to its input: what is missing of a row, how it is asked for, and what becomes of it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::Stage;
use super::super::evidence::{Evidence, NO_QUOTE, Quote};
use super::value::{converted, is_missing};
use crate::prompt::{Answer, Bound, Expect, Failure, FailureKind, Field, Message, Prompt, normal};
use crate::table::{Cell, Column, Row, Type};

/// What the model is told about its task.
const TASK: &str = "Read the text and give the values that are asked for. Take them from the text alone; a value that the \
                    text does not give is null.";
/// What the source column says of a value that was there.
const ORIGINAL: &str = "original";

/// A key to fill.
#[derive(Debug)]
pub struct Key {
    /// What its value must be.
    pub field: Field,
    /// The column of the input that may hold it already.
    pub column: Option<usize>,
    /// The column of the input that is filled in place.
    pub filled: Option<usize>,
    /// The column that holds it.
    pub target: String,
}

/// What is asked when certain keys are missing.
#[derive(Debug)]
struct Shape {
    system: String,
    expect: Arc<Expect>,
    schema: Option<Arc<Value>>,
}

/// The stage.
#[derive(Debug)]
pub struct Filling {
    prompt: Bound,
    system: Option<String>,
    text: Option<usize>,
    keys: Vec<Key>,
    nulls: Vec<String>,
    evidence: Option<Evidence>,
    writes: Vec<Column>,
    fills: Vec<usize>,
    reads: Vec<usize>,
    needs: Vec<usize>,
    /// What is asked, by which keys are missing: most rows of a table lack the same ones.
    shapes: Mutex<HashMap<Vec<bool>, Arc<Shape>>>,
}

/// What one key of a row comes to.
struct Filled {
    value: Cell,
    source: Cell,
    quote: Quote,
}

impl Filled {
    fn nothing() -> Filled {
        Filled { value: Cell::Null, source: Cell::Null, quote: NO_QUOTE }
    }
}

impl Filling {
    /// Binds the keys; `text` is the column of the text, `nulls` are more texts that count as missing.
    pub fn new(
        prompt: Bound,
        system: Option<String>,
        text: Option<usize>,
        keys: Vec<Key>,
        nulls: Vec<String>,
        evidence: Option<Evidence>,
    ) -> Filling {
        let mut writes = Vec::new();
        for key in &keys {
            if key.filled.is_none() {
                writes.push(Column::new(&key.target, key.field.kind.column()));
            }
            writes.push(Column::new(format!("{}_source", key.target), Type::Text));
            if evidence.is_some() {
                writes.extend(Evidence::columns(&key.target));
            }
        }
        let mut reads = prompt.reads();
        reads.extend(text);
        reads.extend(keys.iter().filter_map(|k| k.column));
        reads.sort_unstable();
        reads.dedup();
        let (fills, needs) = (keys.iter().filter_map(|k| k.filled).collect(), text.into_iter().collect());
        Filling { prompt, system, text, keys, nulls, evidence, writes, fills, reads, needs, shapes: Mutex::default() }
    }

    /// For each key the value that the row has already, if it has one.
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

    /// What is asked for the keys that are missing.
    fn shape(&self, missing: Vec<bool>) -> Arc<Shape> {
        let mut shapes = self.shapes.lock();
        let known = shapes.entry(missing).or_insert_with_key(|missing| {
            let asked = self.keys.iter().zip(missing).filter(|(_, missing)| **missing).map(|(key, _)| &key.field);
            let expect = Expect::Record(Evidence::asked(self.evidence.as_ref(), asked));
            let told =
                [self.system.as_deref(), Some(TASK), expect.instruction().as_deref()].map(|t| t.map(str::to_owned));
            let system = told.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
            Arc::new(Shape { system, schema: expect.schema().map(Arc::new), expect: Arc::new(expect) })
        });
        known.clone()
    }

    /// The cells of a key that was asked for.
    fn asked(&self, key: &Key, row: Row<'_>, model: &str, answer: &mut impl Iterator<Item = Cell>) -> Filled {
        let words = self.evidence.as_ref().and_then(|evidence| Some((evidence, answer.next()?)));
        let value = known_items(answer.next().unwrap_or(Cell::Null), &key.field);
        if value == Cell::Null {
            return Filled::nothing();
        }
        let quote = words.map_or(NO_QUOTE, |(evidence, words)| evidence.quote(row, words));
        Filled { value, source: Cell::Text(model.to_owned()), quote }
    }

    /// The cells of a row from what each key comes to.
    fn lay_out(&self, filled: Vec<Filled>, row: Row<'_>) -> Vec<Cell> {
        let (mut cells, mut in_place) = (Vec::with_capacity(self.writes.len()), Vec::new());
        for (key, filled) in self.keys.iter().zip(filled) {
            match key.filled {
                // What is there stays letter by letter, also where it counts as missing and no better value came.
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

/// A value without the items of a list that say that nothing is known; a list of nothing is null.
fn known_items(value: Cell, field: &Field) -> Cell {
    let Cell::List(mut items) = value else { return value };
    items.retain(|item| match item {
        Cell::Text(text) => !field.unknown.iter().any(|unknown| normal(unknown) == normal(text)),
        _ => true,
    });
    if items.is_empty() { Cell::Null } else { Cell::List(items) }
}

fn original(value: Cell) -> Filled {
    Filled { value, source: Cell::Text(ORIGINAL.to_owned()), ..Filled::nothing() }
}

impl Stage for Filling {
    fn writes(&self) -> &[Column] {
        &self.writes
    }

    fn fills(&self) -> &[usize] {
        &self.fills
    }

    fn origin(&self, write: usize) -> Vec<&str> {
        let name = &self.writes[write].name;
        let longest = self.keys.iter().filter(|key| name.starts_with(&key.target)).max_by_key(|key| key.target.len());
        longest.iter().flat_map(|key| ["fields", key.field.name.as_str()]).collect()
    }

    fn labels(&self, write: usize) -> Vec<String> {
        let key = self.keys.iter().find(|key| key.filled.is_none() && key.target == self.writes[write].name);
        key.map(|key| key.field.kind.labels()).unwrap_or_default()
    }

    fn reads(&self) -> &[usize] {
        &self.reads
    }

    fn needs(&self) -> &[usize] {
        &self.needs
    }

    fn asks(&self, row: Row<'_>) -> bool {
        self.originals(row).map_or(true, |originals| originals.contains(&None))
    }

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
        let Ok(originals) = self.originals(row) else { return self.unanswered(row, model, answers) };
        let mut answer = answers.concat().into_iter();
        let filled = self.keys.iter().zip(originals).map(|(key, value)| match value {
            Some(value) => original(value),
            None => self.asked(key, row, model, &mut answer),
        });
        let filled = filled.collect();
        self.lay_out(filled, row)
    }

    fn unanswered(&self, row: Row<'_>, _: &str, _: &[Answer]) -> Vec<Cell> {
        // What is there is there whatever became of the calls; a value that doesn't fit its type is left out.
        let value = |key: &Key| {
            let cell = row.cell(key.column?);
            converted(&cell, &key.field.kind).ok().filter(|_| !is_missing(&cell, &self.nulls))
        };
        let filled = self.keys.iter().map(|key| value(key).map_or_else(Filled::nothing, original)).collect();
        self.lay_out(filled, row)
    }

    fn needs_probabilities(&self) -> bool {
        false
    }

    fn meaning(&self) -> Value {
        let all = self.shape(vec![true; self.keys.len()]);
        let keys = self.keys.iter().map(|key| {
            json!({
                "key": key.field.name, "column": key.column, "in_place": key.filled.is_some(), "target": key.target,
                "unknown": key.field.unknown,
            })
        });
        json!({
            "type": "fill-missing",
            "prompt": self.prompt.source(),
            "system": all.system,
            "schema": all.schema.as_deref(),
            "text_column": self.text,
            "keys": keys.collect::<Vec<_>>(),
            "null_values": self.nulls,
            "quote_ratio": self.evidence.as_ref().map(Evidence::ratio),
        })
    }
}
