//! Calls: what the calls table of a run shows, read once, in aggregates of a fixed size.

mod failures;
mod timeline;

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use indexmap::IndexMap;

pub(crate) use failures::{FailedCall, Failures, kind_name};
pub(crate) use timeline::Timeline;

use crate::prompt::Failure;
use crate::stats::LogHistogram;
use crate::store::{RunDir, StageTotals};
use crate::table::Value;
use crate::table::parquet::TableError;

const BATCH: usize = 8192;
/// The most models with separate timelines.
const MODELS: usize = 8;
const COLUMNS: [&str; 15] = [
    "row",
    "row_key",
    "stage",
    "model",
    "from_ledger",
    "attempts",
    "prompt_tokens",
    "completion_tokens",
    "latency_ms",
    "error",
    "item_error",
    "pack_size",
    "audit",
    "at",
    "usd",
];

#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// In the order of the stages.
    pub(crate) groups: Vec<Group>,
    /// The calls of this run that have ended, by model. Recorded answers are not on the timelines.
    pub(crate) ended: Timeline,
    /// The seconds that calls were in flight, by model.
    pub(crate) in_flight: Timeline,
    /// The cost in US dollars, by model.
    pub(crate) spent: Timeline,
    /// The tokens of prompts and replies, by model.
    pub(crate) tokens: Timeline,
    pub(crate) failures: Failures,
}

/// The calls of a stage to a model.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) stage: String,
    pub(crate) model: String,
    pub(crate) sent: Totals,
    /// Recorded answers, with what they cost when they were recorded.
    pub(crate) reused: Totals,
    /// The milliseconds of sent calls and of recorded ones.
    pub(crate) latency: LogHistogram,
    pub(crate) per_row: CallsPerRow,
}

/// The number of rows by the number of their calls. The calls about a row follow each other.
#[derive(Debug, Default)]
pub(crate) struct CallsPerRow {
    row: Option<i64>,
    calls: u64,
    rows: BTreeMap<u64, u64>,
}

impl CallsPerRow {
    fn add(&mut self, row: Option<i64>) {
        if self.calls > 0 && self.row != row {
            *self.rows.entry(std::mem::take(&mut self.calls)).or_default() += 1;
        }
        self.row = row;
        self.calls += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<u64, u64> {
        let mut rows = self.rows.clone();
        if self.calls > 0 {
            *rows.entry(self.calls).or_default() += 1;
        }
        rows
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) calls: u64,
    pub(crate) retries: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    /// In US dollars; `None` without a price.
    pub(crate) usd: Option<f64>,
}

impl Totals {
    fn add(&mut self, call: &Call<'_>) {
        self.calls += 1;
        self.retries += call.attempts.saturating_sub(1);
        self.prompt_tokens += call.tokens[0];
        self.completion_tokens += call.tokens[1];
        self.usd = call.usd.map(|usd| self.usd.unwrap_or(0.0) + usd).or(self.usd);
    }
}

impl Calls {
    /// Reads the committed calls of a run. The error is a sentence.
    pub(crate) fn read(run: &RunDir, stages: &IndexMap<String, StageTotals>) -> Result<Calls, String> {
        let mut calls = Calls::default();
        let said = |error: TableError| error.to_string();
        for (path, table) in run.call_tables().map_err(|error| error.to_string())? {
            let mut first = 0;
            for batch in table.with_columns(&COLUMNS).read(0, table.rows(), BATCH).map_err(said)? {
                let batch = batch.map_err(said)?;
                calls.add_batch(&batch, &path, first);
                first += batch.num_rows() as u64;
            }
        }
        for timeline in [&mut calls.ended, &mut calls.in_flight, &mut calls.spent, &mut calls.tokens] {
            *timeline = std::mem::take(timeline).largest(MODELS);
        }
        calls.groups.sort_by_key(|group| stages.get_index_of(&group.stage));
        Ok(calls)
    }

    /// `first` is the number of the batch's first row in the file, from 0.
    fn add_batch(&mut self, batch: &RecordBatch, file: &Path, first: u64) {
        let reader = Reader(COLUMNS.map(|name| batch.column_by_name(name)));
        for row in 0..batch.num_rows() {
            let call = reader.call(row);
            self.add(&call);
            if let Some(failure) = reader.failure(row) {
                let at = call.at.filter(|_| !call.is_reused);
                self.failures.add(at, failure, |failure| FailedCall {
                    row: reader.row_name(row),
                    stage: call.stage.to_owned(),
                    model: call.model.to_owned(),
                    failure,
                    place: (file.to_owned(), first + row as u64),
                });
            }
        }
    }

    fn add(&mut self, call: &Call<'_>) {
        // The other rows of a pack repeat its call.
        if call.is_packed && call.attempts == 0 {
            return;
        }
        let group = self.group(call.stage, call.model);
        group.per_row.add(call.row);
        // A replay file has no times.
        if call.attempts > 0 && call.latency_ms > 0.0 {
            group.latency.add(call.latency_ms);
        }
        if call.is_reused {
            return group.reused.add(call);
        }
        group.sent.add(call);
        let Some(at) = call.at else { return };
        self.ended.add(at, call.model, 1.0);
        self.in_flight.add_span(at - call.latency_ms as i64, at, call.model);
        self.tokens.add(at, call.model, (call.tokens[0] + call.tokens[1]) as f64);
        if let Some(usd) = call.usd {
            self.spent.add(at, call.model, usd);
        }
    }

    fn group(&mut self, stage: &str, model: &str) -> &mut Group {
        let is_same = |group: &Group| group.stage == stage && group.model == model;
        // Rows of a stage follow each other.
        let place = self.groups.iter().rposition(is_same).unwrap_or_else(|| {
            self.groups.push(Group { stage: stage.to_owned(), model: model.to_owned(), ..Group::default() });
            self.groups.len() - 1
        });
        &mut self.groups[place]
    }

    /// The sums over all groups.
    pub(crate) fn total(&self, totals: impl Fn(&Group) -> Totals) -> Totals {
        self.groups.iter().map(totals).fold(Totals::default(), |sum, more| Totals {
            calls: sum.calls + more.calls,
            retries: sum.retries + more.retries,
            prompt_tokens: sum.prompt_tokens + more.prompt_tokens,
            completion_tokens: sum.completion_tokens + more.completion_tokens,
            usd: sum.usd.into_iter().chain(more.usd).reduce(|a, b| a + b),
        })
    }
}

/// A row of the calls table.
struct Call<'a> {
    row: Option<i64>,
    stage: &'a str,
    model: &'a str,
    is_reused: bool,
    is_packed: bool,
    attempts: u64,
    tokens: [u64; 2],
    latency_ms: f64,
    at: Option<i64>,
    usd: Option<f64>,
}

/// The columns of a batch, in the order of [`COLUMNS`]. Tables of older versions lack some.
struct Reader<'a>([Option<&'a ArrayRef>; COLUMNS.len()]);

impl<'a> Reader<'a> {
    fn call(&self, row: usize) -> Call<'a> {
        let [number_of_row, _, stage, model, reused, attempts, prompt, completion, latency, _, _, pack, _, at, usd] =
            self.0;
        let text = |column: Option<&'a ArrayRef>| column.and_then(|column| column.as_string_opt::<i32>());
        let text = |column| text(column).filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row));
        let count = |column| if let Value::Integer(count) = Value::of(column, row) { count.max(0) as u64 } else { 0 };
        let number = |column| if let Value::Number(number) = Value::of(column, row) { Some(number) } else { None };
        let at = text(at).and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
        Call {
            row: if let Value::Integer(number) = Value::of(number_of_row, row) { Some(number) } else { None },
            stage: text(stage).unwrap_or_default(),
            model: text(model).unwrap_or_default(),
            is_reused: Value::of(reused, row) == Value::Boolean(true),
            is_packed: pack.is_some_and(|pack| pack.is_valid(row)),
            attempts: count(attempts),
            tokens: [count(prompt), count(completion)],
            latency_ms: number(latency).unwrap_or(0.0),
            at: at.map(|at| at.timestamp_millis()),
            usd: number(usd),
        }
    }

    /// Why the row has no answer from this call. `None` for audits, which do not matter to the row.
    fn failure(&self, row: usize) -> Option<Failure> {
        let [.., error, item_error, _, audit, _, _] = self.0;
        let text = |column| Some(Value::of(column, row).into_text()).filter(|text| !text.is_empty());
        let is_audit = Value::of(audit, row) == Value::Boolean(true);
        let text = text(item_error).or_else(|| text(error)).filter(|_| !is_audit)?;
        Some(Failure::read(&text))
    }

    fn row_name(&self, row: usize) -> String {
        match (Value::of(self.0[1], row), Value::of(self.0[0], row)) {
            (Value::Text(key), _) => key.into_owned(),
            (_, Value::Integer(number)) => format!("#{number}"),
            _ => String::new(),
        }
    }
}
