//! Examples: rows with their answers, which are shown to a model before the question.
//!
//! [`with_examples`] wraps a stage. It asks the stage for its prompts about the example rows, and adds these questions
//! with their answers to every prompt that expects the same answer. Examples go between the system prompt and the
//! question and are byte-identical for all rows, so that a server that caches prompt prefixes reads them once.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{Field, Schema};
use serde_json::{Map, Value, json};

use super::ask::{Ask, BindContext, Stage, StageInfo};
use super::view::View;
use crate::document::{Diagnostic, Path, Problems};
use crate::name::nearest;
use crate::prompt::{Answer, Expect, Failure, Message, Prompt, Role};
use crate::table::{Cell, Row, Simple, Type, array_of};

#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// The cells by column name.
    pub(crate) row: Map<String, Value>,
    /// The answer: an object of the keys, or a text.
    pub(crate) answer: Value,
    pub(crate) origin: ExampleOrigin,
}

#[derive(Clone, Debug)]
pub(crate) enum ExampleOrigin {
    Spec(Path),
    /// The row with this number (from 1) in a file that the spec names at this path. All its values may be texts.
    File(Path, usize),
}

impl ExampleOrigin {
    fn problem(&self, rule: &'static str, keys: &[&str], message: String) -> Diagnostic {
        match self {
            ExampleOrigin::Spec(path) => {
                Diagnostic::error(rule, keys.iter().fold(path.clone(), |path, key| path.key(key)), message)
            }
            ExampleOrigin::File(path, row) => Diagnostic::error(rule, path.clone(), format!("row {row}: {message}")),
        }
    }

    /// Parses a text from a file where another type is expected. Returns any other value unchanged.
    fn parsed(&self, value: &Value) -> Value {
        match (self, value) {
            (ExampleOrigin::File(..), Value::String(text)) => {
                let text = text.trim();
                let read = serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.to_lowercase()));
                read.unwrap_or_else(|_| value.clone())
            }
            _ => value.clone(),
        }
    }
}

#[derive(Debug)]
struct Shots {
    expect: Arc<Expect>,
    turns: Vec<Message>,
}

#[derive(Debug)]
struct WithExamples {
    ask: Box<dyn Ask>,
    shots: Vec<Shots>,
}

pub(crate) fn with_examples(
    stage: Stage,
    context: &BindContext<'_>,
    examples: &[Example],
    problems: &mut Problems,
) -> Option<Stage> {
    let mut shots: Vec<Shots> = Vec::new();
    let before = problems.mark();
    for example in examples {
        if let Some(prompts) = prompts_about(&stage, context, example, problems) {
            for prompt in prompts {
                add(&mut shots, prompt, example, problems);
            }
        }
        // The other rows of a file usually have the same problem.
        if matches!(example.origin, ExampleOrigin::File(..)) && problems.had_errors_since(before) {
            break;
        }
    }
    if problems.had_errors_since(before) {
        return None;
    }
    let Stage { mut info, ask } = stage;
    let turns = shots.iter().map(|shots| shots.turns.iter().map(|turn| turn.content.as_str()).collect());
    info.meaning["examples"] = json!(turns.collect::<Vec<Vec<&str>>>());
    Some(Stage { info, ask: Box::new(WithExamples { ask, shots }) })
}

fn add(shots: &mut Vec<Shots>, prompt: Prompt, example: &Example, problems: &mut Problems) {
    let answer = match (&*prompt.expect, &example.answer) {
        (Expect::Record(fields), Value::Object(object)) => {
            let wants_text = |key: &String| fields.iter().any(|f| f.name == *key && f.kind.column() == Type::Text);
            let said = |(key, value): (&String, &Value)| {
                (key.clone(), if wants_text(key) { value.clone() } else { example.origin.parsed(value) })
            };
            Value::Object(object.iter().map(said).collect())
        }
        (_, other) => other.clone(),
    };
    let reply = match prompt.expect.written(&answer) {
        Ok(reply) => reply,
        Err(reason) => {
            let message = format!("the answer of an example can't be used: {reason}");
            problems.push(example.origin.problem("bad-example", &["answer"], message));
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

fn prompts_about(
    stage: &Stage,
    context: &BindContext<'_>,
    example: &Example,
    problems: &mut Problems,
) -> Option<Vec<Prompt>> {
    let before = problems.mark();
    let columns = || context.input.fields().iter().map(|field| field.name().as_str());
    for name in example.row.keys().filter(|name| context.input.index_of(name).is_err()) {
        let message = format!("the input has no column `{name}`");
        let problem = example.origin.problem("unknown-column", &["row", name], message);
        problems.push(problem.meant(nearest(name, columns())));
    }
    let mut cells = Vec::new();
    for field in context.input.fields() {
        let value = example.row.get(field.name()).unwrap_or(&Value::Null);
        match column(field, value, &example.origin) {
            Ok(array) => cells.push(array),
            Err(message) => problems.push(example.origin.problem("bad-example", &["row", field.name()], message)),
        }
    }
    if problems.had_errors_since(before) {
        return None;
    }
    let mut bad = |message: String| problems.push(example.origin.problem("bad-example", &["row"], message));
    let batch = batch(context, &cells);
    let row = Row::new(&batch, 0, 0);
    for column in &stage.info.needs {
        if matches!(row.cell(*column), Cell::Null)
            || matches!(row.cell(*column), Cell::Text(text) if text.trim().is_empty())
        {
            bad(format!(
                "the row of an example lacks `{}`; such a row is skipped",
                context.input.field(*column).name()
            ));
            return None;
        }
    }
    let prompts = match stage.ask.prompts(row, &[]) {
        Ok(prompts) if prompts.is_empty() => {
            bad("the row of an example has all values, so the stage has nothing to ask about it".to_owned());
            return None;
        }
        Ok(prompts) => prompts,
        Err(message) => {
            bad(format!("the row of an example can't be asked about: {message}"));
            return None;
        }
    };
    let missing = |column: &&usize| {
        let field = context.input.field(**column);
        if example.row.contains_key(field.name()) {
            return false;
        }
        let (mut cells, kind) = (cells.clone(), Type::of_cells(field.data_type()));
        cells[**column] = array_of(kind, [anything(kind)].iter());
        let batch = self::batch(context, &cells);
        let other = stage.ask.prompts(Row::new(&batch, 0, 0), &[]);
        other.is_ok_and(|other| questions(&other).zip(questions(&prompts)).any(|(a, b)| a != b))
    };
    for column in stage.info.reads.iter().filter(missing) {
        bad(format!("the row of an example lacks `{}`, which the prompt reads", context.input.field(*column).name()));
    }
    problems.clean_since(before).then_some(prompts)
}

fn questions(prompts: &[Prompt]) -> impl Iterator<Item = &str> {
    prompts.iter().filter_map(|prompt| prompt.messages.last()).map(|message| message.content.as_str())
}

fn batch(context: &BindContext<'_>, cells: &[ArrayRef]) -> RecordBatch {
    let fields = context.input.fields().iter().zip(cells);
    let fields: Vec<Field> =
        fields.map(|(field, cell)| Field::new(field.name(), cell.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), cells.to_vec()).expect("every column has one cell of its type")
}

fn anything(kind: Type) -> Cell {
    match kind {
        Type::Text => Cell::Text("?".to_owned()),
        Type::Integer => Cell::Integer(1),
        Type::Number => Cell::Number(1.5),
        Type::Boolean => Cell::Boolean(true),
        Type::List(item) => Cell::List(vec![anything(item.into())]),
        Type::Vector => Cell::List(vec![anything(Type::Number)]),
    }
}

fn column(field: &Field, value: &Value, origin: &ExampleOrigin) -> Result<ArrayRef, String> {
    let kind = Type::of_cells(field.data_type());
    let value = if kind == Type::Text { value.clone() } else { origin.parsed(value) };
    if value.is_null() {
        return Ok(new_null_array(field.data_type(), 1));
    }
    match cell(kind, &value) {
        Some(cell) => Ok(array_of(kind, [cell].iter())),
        None => Err(format!("the column `{}` holds {}, not {value}", field.name(), kind.words())),
    }
}

fn cell(kind: Type, value: &Value) -> Option<Cell> {
    match (kind, value) {
        (Type::Text, Value::String(text)) => Some(Cell::Text(text.clone())),
        // Many columns of numbers are read as text.
        (Type::Text, Value::Number(_) | Value::Bool(_)) => Some(Cell::Text(value.to_string())),
        (Type::Text, _) => None,
        (Type::Integer, value) => value.as_i64().map(Cell::Integer),
        (Type::Number, value) => value.as_f64().map(Cell::Number),
        (Type::Boolean, value) => value.as_bool().map(Cell::Boolean),
        (Type::Vector, value) => cell(Type::List(Simple::Number), value),
        (Type::List(item), value) => {
            let items = value.as_array()?.iter().map(|value| cell(item.into(), value));
            items.collect::<Option<_>>().map(Cell::List)
        }
    }
}

impl Ask for WithExamples {
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        let mut prompts = self.ask.prompts(row, so_far)?;
        for prompt in &mut prompts {
            let same = |shots: &&Shots| Arc::ptr_eq(&shots.expect, &prompt.expect) || shots.expect == prompt.expect;
            if let Some(shots) = self.shots.iter().find(same) {
                let at = prompt.messages.iter().take_while(|message| message.role == Role::System).count();
                prompt.messages.splice(at..at, shots.turns.iter().cloned());
            }
        }
        Ok(prompts)
    }

    fn cells(&self, row: Row<'_>, model: &str, answers: &[Answer]) -> Vec<Cell> {
        self.ask.cells(row, model, answers)
    }

    fn views(&self, info: &StageInfo) -> Vec<View> {
        self.ask.views(info)
    }

    fn unanswered(&self, row: Row<'_>, answers: &[Answer]) -> Vec<Cell> {
        self.ask.unanswered(row, answers)
    }

    fn most_prompts(&self, row: Row<'_>) -> Option<u64> {
        self.ask.most_prompts(row)
    }
}

#[cfg(test)]
mod tests;
