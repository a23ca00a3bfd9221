//! Examples: rows with their answers, which a model is shown before the question. No stage knows of them: [`shown`] puts a
//! stage around another one, which asks about the examples' rows as it asks about any and gives the questions, each with its
//! answer, to every prompt that expects the same.
//!
//! They stand behind what the system says and before the question, the same letter by letter for all rows, so that a server
//! that keeps the beginning of a prompt reads them once.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema};
use serde_json::{Map, Value, json};

use super::{Site, Stage};
use crate::document::{Diagnostic, Path, Problems};
use crate::name::nearest;
use crate::prompt::{Answer, Expect, Failure, Message, Prompt, Role};
use crate::table::{Cell, Column, Row, Simple, Type, array_of};

/// A row with its answer.
#[derive(Clone, Debug)]
pub struct Example {
    /// The cells, by column.
    pub row: Map<String, Value>,
    /// The answer: an object of the keys, or a text.
    pub answer: Value,
    /// Where it stands.
    pub place: Place,
}

/// Where an example stands.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the spec.
    Spec(Path),
    /// In a file that the spec names at this path: the place of its row, from 1. A text there may stand for a value that is
    /// none.
    File(Path, usize),
}

impl Place {
    /// A problem with what stands in the example under these keys.
    fn problem(&self, rule: &'static str, keys: &[&str], message: String) -> Diagnostic {
        match self {
            Place::Spec(path) => {
                Diagnostic::error(rule, keys.iter().fold(path.clone(), |path, key| path.key(key)), message)
            }
            Place::File(path, row) => Diagnostic::error(rule, path.clone(), format!("row {row}: {message}")),
        }
    }

    /// The value that a cell of a file's text stands for, where no text is wanted; any other value as it is.
    fn said(&self, value: &Value) -> Value {
        match (self, value) {
            (Place::File(..), Value::String(text)) => {
                let text = text.trim();
                let read = serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.to_lowercase()));
                read.unwrap_or_else(|_| value.clone())
            }
            _ => value.clone(),
        }
    }
}

/// What stands before the question in prompts that expect this.
#[derive(Debug)]
struct Shots {
    expect: Arc<Expect>,
    turns: Vec<Message>,
}

/// A stage whose prompts show examples.
#[derive(Debug)]
struct Shown {
    stage: Arc<dyn Stage>,
    shots: Vec<Shots>,
}

/// The stage with `examples` in its prompts; reports what is wrong with them.
pub fn shown(
    stage: Arc<dyn Stage>,
    site: &Site<'_>,
    examples: &[Example],
    problems: &mut Problems,
) -> Option<Arc<dyn Stage>> {
    let mut shots: Vec<Shots> = Vec::new();
    let before = problems.mark();
    for example in examples {
        if let Some(prompts) = asked(stage.as_ref(), site, example, problems) {
            for prompt in prompts {
                add(&mut shots, prompt, example, problems);
            }
        }
        // What is wrong with one row of a file is wrong with most.
        if matches!(example.place, Place::File(..)) && problems.had_errors_since(before) {
            break;
        }
    }
    problems.clean_since(before).then(|| Arc::new(Shown { stage, shots }) as Arc<dyn Stage>)
}

/// Adds the question of `prompt` with the example's answer.
fn add(shots: &mut Vec<Shots>, prompt: Prompt, example: &Example, problems: &mut Problems) {
    let answer = match (&*prompt.expect, &example.answer) {
        (Expect::Record(fields), Value::Object(object)) => {
            let wants_text = |key: &String| fields.iter().any(|f| f.name == *key && f.kind.column() == Type::Text);
            let said = |(key, value): (&String, &Value)| {
                (key.clone(), if wants_text(key) { value.clone() } else { example.place.said(value) })
            };
            Value::Object(object.iter().map(said).collect())
        }
        (_, other) => other.clone(),
    };
    let reply = match prompt.expect.written(&answer) {
        Ok(reply) => reply,
        Err(reason) => {
            let message = format!("the answer of an example can't be used: {reason}");
            problems.push(example.place.problem("bad-example", &["answer"], message));
            return;
        }
    };
    let question = prompt.messages.into_iter().filter(|message| message.role != Role::System);
    let turns = question.chain([Message::assistant(reply)]).map(Message::for_all);
    match shots.iter_mut().find(|shots| shots.expect == prompt.expect) {
        Some(shots) => shots.turns.extend(turns),
        None => shots.push(Shots { expect: prompt.expect, turns: turns.collect() }),
    }
}

/// What the stage asks about the row of an example; reports what is wrong with it.
fn asked(stage: &dyn Stage, site: &Site<'_>, example: &Example, problems: &mut Problems) -> Option<Vec<Prompt>> {
    let before = problems.mark();
    let columns = || site.input.fields().iter().map(|field| field.name().as_str());
    for name in example.row.keys().filter(|name| site.input.index_of(name).is_err()) {
        let message = format!("the input has no column `{name}`");
        let problem = example.place.problem("unknown-column", &["row", name], message);
        problems.push(problem.meant(nearest(name, columns())));
    }
    let mut cells = Vec::new();
    for field in site.input.fields() {
        let value = example.row.get(field.name()).unwrap_or(&Value::Null);
        match cell(field, value, &example.place) {
            Ok(array) => cells.push(array),
            Err(message) => problems.push(example.place.problem("bad-example", &["row", field.name()], message)),
        }
    }
    if problems.had_errors_since(before) {
        return None;
    }
    let mut bad = |message: String| problems.push(example.place.problem("bad-example", &["row"], message));
    let batch = batch(site, &cells);
    let row = Row::new(&batch, 0, 0);
    for column in stage.needs() {
        if matches!(row.cell(*column), Cell::Null)
            || matches!(row.cell(*column), Cell::Text(text) if text.trim().is_empty())
        {
            bad(format!("the row of an example lacks `{}`; such a row is skipped", site.input.field(*column).name()));
            return None;
        }
    }
    let prompts = match stage.prompts(row, &[]) {
        Ok(prompts) if prompts.is_empty() => {
            bad("the row of an example lacks nothing, so that nothing is asked about it".to_owned());
            return None;
        }
        Ok(prompts) => prompts,
        Err(message) => {
            bad(format!("the row of an example can't be asked about: {message}"));
            return None;
        }
    };
    let missing = |column: &&usize| {
        let field = site.input.field(**column);
        if example.row.contains_key(field.name()) {
            return false;
        }
        let mut cells = cells.clone();
        cells[**column] = array_of(kind(field.data_type()), [anything(kind(field.data_type()))].iter());
        let batch = self::batch(site, &cells);
        let other = stage.prompts(Row::new(&batch, 0, 0), &[]);
        other.is_ok_and(|other| questions(&other).zip(questions(&prompts)).any(|(a, b)| a != b))
    };
    for column in stage.reads().iter().filter(missing) {
        bad(format!("the row of an example lacks `{}`, which the prompt reads", site.input.field(*column).name()));
    }
    problems.clean_since(before).then_some(prompts)
}

/// The questions of prompts, without what the system says.
fn questions(prompts: &[Prompt]) -> impl Iterator<Item = &str> {
    prompts.iter().filter_map(|prompt| prompt.messages.last()).map(|message| message.content.as_str())
}

/// The one row of these cells, whose types are theirs.
fn batch(site: &Site<'_>, cells: &[ArrayRef]) -> RecordBatch {
    let fields = site.input.fields().iter().zip(cells);
    let fields: Vec<Field> =
        fields.map(|(field, cell)| Field::new(field.name(), cell.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), cells.to_vec()).expect("every column has one cell of its type")
}

/// What an example gives for a column of this type: dates, times and decimals are read as text.
fn kind(column: &DataType) -> Type {
    Type::of(column).unwrap_or(match column {
        DataType::UInt64 => Type::Text,
        whole if whole.is_integer() => Type::Integer,
        number if number.is_floating() => Type::Number,
        DataType::Duration(_) => Type::Integer,
        _ => Type::Text,
    })
}

/// Some value of a kind.
fn anything(kind: Type) -> Cell {
    let simple = |kind: Simple| match kind {
        Simple::Text => Cell::Text("?".to_owned()),
        Simple::Integer => Cell::Integer(1),
        Simple::Number => Cell::Number(1.5),
        Simple::Boolean => Cell::Boolean(true),
    };
    match kind {
        Type::Text => simple(Simple::Text),
        Type::Integer => simple(Simple::Integer),
        Type::Number => simple(Simple::Number),
        Type::Boolean => simple(Simple::Boolean),
        Type::List(item) => Cell::List(vec![simple(item)]),
    }
}

/// A column of one cell; the error is a sentence.
fn cell(field: &Field, value: &Value, place: &Place) -> Result<ArrayRef, String> {
    let kind = kind(field.data_type());
    let value = if kind == Type::Text { value.clone() } else { place.said(value) };
    if value.is_null() {
        return Ok(new_null_array(field.data_type(), 1));
    }
    let cell = match kind {
        Type::Text => simple(Simple::Text, &value),
        Type::Integer => simple(Simple::Integer, &value),
        Type::Number => simple(Simple::Number, &value),
        Type::Boolean => simple(Simple::Boolean, &value),
        Type::List(item) => value
            .as_array()
            .and_then(|items| items.iter().map(|value| simple(item, value)).collect::<Option<Vec<_>>>())
            .map(Cell::List),
    };
    match cell {
        Some(cell) => Ok(array_of(kind, [cell].iter())),
        None => Err(format!("the column `{}` holds {}, not {value}", field.name(), kind.words())),
    }
}

fn simple(kind: Simple, value: &Value) -> Option<Cell> {
    match (kind, value) {
        (Simple::Text, Value::String(text)) => Some(Cell::Text(text.clone())),
        // Many columns of numbers are read as the text that they are.
        (Simple::Text, Value::Number(_) | Value::Bool(_)) => Some(Cell::Text(value.to_string())),
        (Simple::Integer, value) => value.as_i64().map(Cell::Integer),
        (Simple::Number, value) => value.as_f64().map(Cell::Number),
        (Simple::Boolean, value) => value.as_bool().map(Cell::Boolean),
        (Simple::Text, _) => None,
    }
}

impl Stage for Shown {
    fn writes(&self) -> &[Column] {
        self.stage.writes()
    }

    fn fills(&self) -> &[usize] {
        self.stage.fills()
    }

    fn origin(&self, write: usize) -> Vec<&str> {
        self.stage.origin(write)
    }

    fn labels(&self, write: usize) -> Vec<String> {
        self.stage.labels(write)
    }

    fn reads(&self) -> &[usize] {
        self.stage.reads()
    }

    fn needs(&self) -> &[usize] {
        self.stage.needs()
    }

    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        let mut prompts = self.stage.prompts(row, so_far)?;
        for prompt in &mut prompts {
            let same = |shots: &&Shots| Arc::ptr_eq(&shots.expect, &prompt.expect) || shots.expect == prompt.expect;
            if let Some(shots) = self.shots.iter().find(same) {
                let at = prompt.messages.iter().take_while(|message| message.role == Role::System).count();
                prompt.messages.splice(at..at, shots.turns.iter().cloned());
            }
        }
        Ok(prompts)
    }

    fn asks(&self, row: Row<'_>) -> bool {
        self.stage.asks(row)
    }

    fn asks_at_once(&self) -> bool {
        self.stage.asks_at_once()
    }

    fn most_prompts(&self) -> u64 {
        self.stage.most_prompts()
    }

    fn most_prompts_about(&self, row: Row<'_>) -> u64 {
        self.stage.most_prompts_about(row)
    }

    fn cells(&self, row: Row<'_>, model: &str, answers: &[Answer]) -> Vec<Cell> {
        self.stage.cells(row, model, answers)
    }

    fn unanswered(&self, row: Row<'_>, model: &str, answers: &[Answer]) -> Vec<Cell> {
        self.stage.unanswered(row, model, answers)
    }

    fn needs_probabilities(&self) -> bool {
        self.stage.needs_probabilities()
    }

    fn refuses_examples(&self) -> Option<&'static str> {
        self.stage.refuses_examples()
    }

    fn meaning(&self) -> Value {
        let mut meaning = self.stage.meaning();
        let said = self.shots.iter().map(|shots| shots.turns.iter().map(|turn| turn.content.as_str()).collect());
        meaning["examples"] = json!(said.collect::<Vec<Vec<&str>>>());
        meaning
    }
}

#[cfg(test)]
mod tests;
