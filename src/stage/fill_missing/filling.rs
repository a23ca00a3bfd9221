//! The questions of a `fill-missing` stage: the missing keys of a row, the prompt for them, and the cells of the row.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::prompt::{
    self, Addressee, Answer, AnswerType, Expect, Failure, FailureKind, Field, Message, Prompt, normalise_option,
};
use crate::stage::ask::{AnswerColumns, Ask, StageInfo, distinct};
use crate::stage::evidence::{Evidence, NO_QUOTE, Quote};
use crate::stage::row_prompt::RowPrompt;
use crate::stage::view::{Shown, View};
use crate::table::{Cell, Column, Row, Type};

const TASK: &str = "Read the text and give the values that are asked for. Take them from the text alone; a value that the \
                    text does not give is null.";
/// The content of the source column for a value that was already present, before the column's name if there are several.
const ORIGINAL: &str = "original";

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) field: Field,
    /// The columns of the input that may already contain the value. The first that is not empty counts.
    pub(crate) columns: Vec<usize>,
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
    pub(crate) prompt: RowPrompt,
    pub(crate) system: Option<String>,
    pub(crate) keys: Vec<Key>,
    pub(crate) nulls: Vec<String>,
    pub(crate) evidence: Option<Evidence>,
    /// The shapes so far, by missing keys. Most rows of a table lack the same keys.
    pub(crate) shapes: Mutex<HashMap<Vec<bool>, Arc<Shape>>>,
}

/// A value that the row already has.
#[derive(Debug, PartialEq)]
struct Original {
    value: Cell,
    /// The name of its column, if the key has several.
    column: Option<String>,
}

impl Key {
    /// The value that the row already has. The error is a sentence.
    fn original(&self, row: Row<'_>, nulls: &[String]) -> Result<Option<Original>, String> {
        let found = self.columns.iter().map(|column| (*column, row.cell(*column)));
        let Some((column, cell)) = found.into_iter().find(|(_, cell)| !is_missing(cell, nulls)) else {
            return Ok(None);
        };
        let name = row.batch().schema_ref().field(column).name().clone();
        let value = converted(&cell, &self.field.kind).map_err(|why| format!("the column `{name}`: {why}"))?;
        Ok(Some(Original { value, column: Some(name).filter(|_| self.columns.len() > 1) }))
    }
}

struct KeyCells {
    value: Cell,
    source: Cell,
    quote: Quote,
}

impl KeyCells {
    const NULL: KeyCells = KeyCells { value: Cell::Null, source: Cell::Null, quote: NO_QUOTE };

    fn original(Original { value, column }: Original) -> KeyCells {
        let source = column.map_or_else(|| ORIGINAL.to_owned(), |name| format!("{ORIGINAL}:{name}"));
        KeyCells { value, source: Cell::Text(source), quote: NO_QUOTE }
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
                columns.type_last(key.field.kind.clone());
            }
            let source = Column::new(format!("{}_source", key.target), Type::Text);
            let quote = self.evidence.iter().flat_map(|_| Evidence::columns(&key.target));
            [source].into_iter().chain(quote).for_each(|column| columns.push(column, &origin, Vec::new()));
        }
        let columns_of = |prompt: Vec<usize>| {
            let original = self.keys.iter().flat_map(|key| key.columns.iter().copied());
            distinct(prompt.into_iter().chain(text).chain(original))
        };
        let all = self.shape(vec![true; self.keys.len()]);
        StageInfo {
            fills: self.keys.iter().filter_map(|k| k.filled).collect(),
            reads: columns_of(self.prompt.reads()),
            uses: columns_of(self.prompt.uses()),
            needs: text.into_iter().collect(),
            ..StageInfo::new(kind, columns, all.schema.as_deref().cloned(), self.meaning(kind, text, &all))
        }
    }

    fn meaning(&self, kind: &str, text: Option<usize>, all: &Shape) -> Value {
        let keys = self.keys.iter().map(|key| {
            let column = match key.columns.as_slice() {
                [] | [_] => json!(key.columns.first()),
                several => json!(several),
            };
            json!({
                "key": key.field.name, "column": column, "in_place": key.filled.is_some(), "target": key.target,
                "unknown": key.field.unknown,
            })
        });
        let mut meaning = json!({
            "type": kind,
            "prompt": self.prompt.source(),
            "system": all.system,
            "schema": all.schema.as_deref(),
            "text_column": text,
            "keys": keys.collect::<Vec<_>>(),
            "null_values": self.nulls,
            "quote_ratio": self.evidence.as_ref().map(Evidence::ratio),
        });
        if let Some(block) = self.prompt.block() {
            meaning["prompt_columns"] = json!(block);
        }
        meaning
    }

    /// Returns for each key the value that the row already has, if any.
    fn originals(&self, row: Row<'_>) -> Result<Vec<Option<Original>>, Failure> {
        let originals = self.keys.iter().map(|key| key.original(row, &self.nulls));
        originals.collect::<Result<_, String>>().map_err(|why| FailureKind::Value.because(why))
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
    fn views(&self, _: &StageInfo) -> Vec<View> {
        let name = |key: &Key| key.target.clone();
        let columns = self.keys.iter().map(|key| (name(key), format!("{}_source", key.target))).collect();
        let origins = View::new("Where the values come from", Shown::Origins { columns });
        let values = self.keys.iter().map(|key| {
            let column = Column::new(&key.target, key.field.kind.column());
            View::of_answer(&column, &key.field.kind, None)
        });
        let quotes = self.evidence.iter().map(|evidence| evidence.view(self.keys.iter().map(name).collect()));
        [origins].into_iter().chain(values).chain(quotes).collect()
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
        let text = self.prompt.message(row)?;
        let messages = vec![Message::system(&shape.system).for_all(), text];
        let (expect, schema) = (shape.expect.clone(), shape.schema.clone());
        Ok(vec![Prompt { messages, expect, schema, respondent: None, pack: None, to: Addressee::Row }])
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
        let value = |key: &Key| key.original(row, &self.nulls).ok().flatten();
        let cells = self.keys.iter().map(|key| value(key).map_or(KeyCells::NULL, KeyCells::original)).collect();
        self.lay_out(cells, row)
    }

    fn most_prompts(&self, row: Row<'_>) -> Option<u64> {
        let complete = self.originals(row).is_ok_and(|originals| !originals.contains(&None));
        Some(u64::from(!complete))
    }
}

/// Whether a cell holds no value: null, NaN, an empty text or white space, the text `NaN`, or one of `nulls`.
fn is_missing(cell: &Cell, nulls: &[String]) -> bool {
    if let Cell::List(items) = cell {
        return items.is_empty();
    }
    if let Cell::Object(_) = cell {
        return false;
    }
    let text = plain(cell).unwrap_or_default();
    let text = text.trim();
    text.is_empty() || text.eq_ignore_ascii_case("nan") || nulls.iter().any(|null| null.trim() == text)
}

/// Converts a present value to a cell of type `kind`. The error is a sentence. Bounds and options are not checked.
fn converted(cell: &Cell, kind: &AnswerType) -> Result<Cell, String> {
    let or = |found: Option<Cell>, what: &str| found.ok_or_else(|| format!("{} is not {what}", shown(cell)));
    match (kind, cell) {
        (AnswerType::List(item), Cell::List(items)) => {
            items.iter().map(|cell| converted(cell, item)).collect::<Result<Vec<_>, _>>().map(Cell::List)
        }
        (AnswerType::List(_) | AnswerType::Some(..), _) => or(None, "a list"),
        (_, Cell::List(_) | Cell::Object(_) | Cell::Null) => or(None, "a single value"),
        (AnswerType::Text(_) | AnswerType::Enum(_) | AnswerType::Labelled(_) | AnswerType::Probabilities(_), cell) => {
            or(plain(cell).map(Cell::Text), "a single value")
        }
        (AnswerType::Integer(..), cell) => or(integer(cell).map(Cell::Integer), "a whole number"),
        (AnswerType::Number(..), cell) => or(number(cell).map(Cell::Number), "a number"),
        (AnswerType::Boolean, cell) => {
            let truth = plain(cell).and_then(|text| text.trim().to_ascii_lowercase().parse().ok());
            or(truth.map(Cell::Boolean), "true or false")
        }
    }
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Integer(n) => Some(*n),
        Cell::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => Some(*n as i64),
        Cell::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn number(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Number(n) => Some(*n),
        Cell::Integer(n) => Some(*n as f64),
        Cell::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

fn plain(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Number(number) => Some(number.to_string()),
        Cell::Boolean(value) => Some(value.to_string()),
        Cell::Null | Cell::List(_) | Cell::Object(_) => None,
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => match text.char_indices().nth(60) {
            Some((end, _)) => format!("\"{}…\"", &text[..end]),
            None => format!("\"{text}\""),
        },
        Cell::List(_) => "a list".to_owned(),
        Cell::Object(_) => "an object".to_owned(),
        other => plain(other).unwrap_or_else(|| "null".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn what_counts_as_missing() {
        let nulls = ["-99".to_owned(), "?".to_owned(), "-1.5".to_owned()];
        for missing in ["", "  \u{a0}", "NaN", " nan ", "?", " -99"] {
            assert!(is_missing(&text(missing), &nulls), "{missing:?}");
        }
        for missing in [Cell::Null, Cell::Number(f64::NAN), Cell::Integer(-99), Cell::Number(-1.5), Cell::List(vec![])]
        {
            assert!(is_missing(&missing, &nulls), "{missing:?}");
        }
        for there in [text("nano"), text("-9"), Cell::Integer(0), Cell::Number(0.0), Cell::Boolean(false)] {
            assert!(!is_missing(&there, &nulls), "{there:?}");
        }
    }

    #[test]
    fn values_that_are_there_keep_their_meaning() {
        let (whole, number) = (AnswerType::Integer(Some(0.0), Some(1.0)), AnswerType::Number(None, None));
        let good = [
            (text(" 1790 "), &whole, Cell::Integer(1790)),
            (Cell::Number(3.0), &whole, Cell::Integer(3)),
            (text("1e3"), &number, Cell::Number(1000.0)),
            (Cell::Integer(2), &number, Cell::Number(2.0)),
            (text("TRUE"), &AnswerType::Boolean, Cell::Boolean(true)),
            (text("else"), &AnswerType::Enum(vec!["a".into()]), text("else")),
            (Cell::Integer(7), &AnswerType::Text(None), text("7")),
            (
                Cell::List(vec![text("1")]),
                &AnswerType::List(Box::new(AnswerType::Integer(None, None))),
                Cell::List(vec![Cell::Integer(1)]),
            ),
        ];
        for (cell, kind, expected) in good {
            assert_eq!(converted(&cell, kind).unwrap(), expected);
        }
        assert_eq!(converted(&text("c. 1790"), &whole).unwrap_err(), "\"c. 1790\" is not a whole number");
        assert_eq!(converted(&Cell::Number(1.5), &whole).unwrap_err(), "1.5 is not a whole number");
        for (cell, kind) in [
            (text("inf"), number),
            (text("1"), AnswerType::Boolean),
            (text("a"), AnswerType::List(Box::new(AnswerType::Boolean))),
        ] {
            assert!(converted(&cell, &kind).is_err(), "{cell:?}");
        }
    }
}
