//! Trajectories: the rounds of each row, as JSON in a column and as a table with a row for each round.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, SchemaRef};
use arrow_select::take::take;
use serde_json::{Value, json};

use super::calls::Tokens;
use super::session::Round;
use crate::document::Problems;
use crate::stage::transform::{self, DataError, Pass, Transform, TransformContext, TransformInfo, Work, sentence};
use crate::table::{Cell, Row, Type, array_of};

/// The name of the column and of the table, after the stage's.
pub(crate) const TRAJECTORY: &str = "trajectory";

/// The columns of a round, after the row's number and key.
const COLUMNS: [(&str, Type); 11] = [
    ("round", Type::Integer),
    ("reply", Type::Text),
    ("code", Type::Text),
    ("printed", Type::Text),
    ("outcome", Type::Text),
    ("calls", Type::Integer),
    ("failed_calls", Type::Integer),
    ("root_prompt_tokens", Type::Integer),
    ("root_completion_tokens", Type::Integer),
    ("sub_prompt_tokens", Type::Integer),
    ("sub_completion_tokens", Type::Integer),
];

/// The rounds as JSON.
pub(crate) fn written(rounds: &[Round]) -> String {
    let tokens = |tokens: Tokens| [tokens.prompt, tokens.completion];
    let round = |(number, round): (usize, &Round)| {
        let ([root, root_reply], [sub, sub_reply]) = (tokens(round.root), tokens(round.sub));
        json!({
            "round": number + 1, "reply": round.reply, "code": round.code, "printed": round.printed,
            "outcome": round.outcome.name(), "calls": round.calls, "failed_calls": round.failed_calls,
            "root_prompt_tokens": root, "root_completion_tokens": root_reply, "sub_prompt_tokens": sub,
            "sub_completion_tokens": sub_reply,
        })
    };
    Value::Array(rounds.iter().enumerate().map(round).collect()).to_string()
}

/// The table of the rounds, made from the stage's table.
pub(crate) fn transform(context: &TransformContext<'_>) -> Option<Transform> {
    let input = context.inputs.first()?;
    let name = format!("{}_{TRAJECTORY}", context.name);
    let column = input.schema.index_of(&name).ok()?;
    let mut fields = vec![Field::new("row", DataType::Int64, true)];
    let key = input.key.filter(|key| *key < input.schema.fields().len());
    fields.extend(key.map(|key| input.schema.field(key).clone()));
    fields.extend(COLUMNS.iter().map(|(name, kind)| Field::new(*name, kind.arrow(), true)));
    let schema = transform::schema(fields, context.path, &mut Problems::default())?;
    let meaning = json!({ "type": "trajectory", "column": name, "key": key.map(|key| input.schema.field(key).name()) });
    let info = TransformInfo {
        kind: TRAJECTORY,
        schema: schema.clone(),
        origins: (0..schema.fields().len()).map(|at| key.filter(|_| at == 1).map(|key| (0, key))).collect(),
        reads: [Some(column), key].into_iter().flatten().map(|column| (0, column)).collect(),
        key: None,
        hidden: 0,
        meaning,
    };
    Some(Transform { info, work: Box::new(Trajectory { schema, column, key }) })
}

#[derive(Debug)]
struct Trajectory {
    schema: SchemaRef,
    column: usize,
    key: Option<usize>,
}

impl Work for Trajectory {
    fn start(&self) -> Box<dyn Pass + '_> {
        Box::new(Writing { of: self, rows: 0 })
    }
}

struct Writing<'a> {
    of: &'a Trajectory,
    /// The number of rows so far.
    rows: u64,
}

impl Pass for Writing<'_> {
    fn take(&mut self, _: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        let (mut numbers, mut places, mut lines) = (Vec::new(), Vec::new(), Vec::<Vec<Cell>>::new());
        for place in 0..batch.num_rows() {
            let row = Row::new(batch, place, self.rows);
            let Cell::Text(written) = row.cell(self.of.column) else { continue };
            let rounds: Vec<Value> = serde_json::from_str(&written)
                .map_err(|fault| DataError::from(format!("row {} has no trajectory: {fault}", row.number() + 1)))?;
            for round in rounds {
                numbers.push(row.number() as i64 + 1);
                places.push(place as u64);
                let cells = COLUMNS.iter().map(|(name, _)| match &round[*name] {
                    Value::String(text) => Cell::Text(text.clone()),
                    Value::Number(number) => number.as_i64().map_or(Cell::Null, Cell::Integer),
                    _ => Cell::Null,
                });
                lines.push(cells.collect());
            }
        }
        self.rows += batch.num_rows() as u64;
        let places = UInt64Array::from(places);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(numbers))];
        if let Some(key) = self.of.key {
            columns.push(take(batch.column(key).as_ref(), &places, None).map_err(sentence)?);
        }
        let rounds =
            COLUMNS.iter().enumerate().map(|(at, (_, kind))| array_of(*kind, lines.iter().map(|line| &line[at])));
        columns.extend(rounds);
        let made = RecordBatch::try_new(self.of.schema.clone(), columns).map_err(sentence)?;
        Ok(vec![made])
    }
}
