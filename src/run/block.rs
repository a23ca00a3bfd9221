//! Blocks: some rows of a part on their way: prompts, answers as they come, and at the end columns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::ArrowError;
use arrow_select::take::take_record_batch;
use tokio::sync::OwnedSemaphorePermit;

use super::calls::{Calls, Finished};
use crate::plan::{Plan, routing};
use crate::prompt::{Answer, Prompt};
use crate::spec::{Answers, Guard, StageSpec};
use crate::store::calls_schema;
use crate::table::{Cell, Row, array_of, cell_at};

/// Some rows of a part.
pub struct Block {
    /// The part.
    pub part: u64,
    /// Its place in the part, from 0.
    pub index: u64,
    /// The number of its first row in the input, from 0.
    pub first_row: u64,
    /// The rows.
    pub input: RecordBatch,
    /// Whether each row is skipped.
    pub skipped: Vec<bool>,
    slots: Mutex<Vec<Slot>>,
    open: AtomicUsize,
    /// The right to be in memory.
    _room: Arc<OwnedSemaphorePermit>,
}

/// One row and one model.
#[derive(Default)]
struct Slot {
    asked: Vec<Asked>,
    failure: Option<String>,
    filled: bool,
}

/// A prompt and what became of it.
pub type Asked = (Arc<Prompt>, Finished);

/// What became of the rows of a block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Rows that every model answered.
    pub answered: u64,
    /// Rows with a failed call.
    pub failed: u64,
    /// Rows that were not asked about.
    pub skipped: u64,
}

impl Block {
    /// A block whose slots are still empty.
    pub fn new(
        part: u64,
        index: u64,
        first_row: u64,
        input: RecordBatch,
        stage: &StageSpec,
        room: Arc<OwnedSemaphorePermit>,
    ) -> Self {
        let skipped = skipped(stage, &input);
        let slots = Mutex::new((0..input.num_rows() * stage.width()).map(|_| Slot::default()).collect());
        Block { part, index, first_row, input, skipped, slots, open: AtomicUsize::new(0), _room: room }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Keeps what was asked in a slot, in order, and why it failed, if it did. Says whether the slot's row failed, if
    /// this was the last of its `width` slots.
    pub fn fill(&self, slot: usize, width: usize, asked: Vec<Asked>, failure: Option<String>) -> Option<bool> {
        let mut slots = self.slots();
        slots[slot] = Slot { asked, failure, filled: true };
        let first = slot - slot % width;
        let row = &slots[first..first + width];
        row.iter().all(|s| s.filled).then(|| row.iter().any(|s| s.failure.is_some()))
    }

    /// Says how many slots have still to be asked about.
    pub fn set_open(&self, slots: usize) {
        self.open.store(slots, Ordering::Release);
    }

    /// One slot less is open; whether it was the last.
    pub fn close_one(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether every slot is filled.
    pub fn is_done(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// The rows with their answers, and the calls behind them.
    pub fn finish(&self, plan: &Plan, stage: &StageSpec, calls: &Calls) -> Result<Done, ArrowError> {
        let slots = std::mem::take(&mut *self.slots());
        let width = stage.width();
        let mut counts = Counts::default();
        for row in 0..self.input.num_rows() {
            if self.skipped[row] {
                counts.skipped += 1;
            } else if slots[row * width..(row + 1) * width].iter().any(|s| s.failure.is_some()) {
                counts.failed += 1;
            } else {
                counts.answered += 1;
            }
        }
        let cells = self.cells(stage, &slots);
        let failures: Vec<Option<&str>> = slots.iter().map(|s| s.failure.as_deref()).collect();
        let rows = columns(stage, &self.input, self.first_row, &self.skipped, &cells, &failures)?;
        let calls = self.calls(plan, stage, calls, &slots)?;
        Ok(Done { rows, calls, counts })
    }

    /// The name of a row in messages: its key, or its number from 1.
    pub fn row_name(&self, key: Option<usize>, row: usize) -> (i64, Option<String>) {
        let number = (self.first_row as usize + row + 1) as i64;
        let key = key.map(|column| match cell_at(self.input.column(column).as_ref(), row) {
            Cell::Text(text) => text,
            Cell::Integer(number) => number.to_string(),
            Cell::Number(number) => number.to_string(),
            Cell::Boolean(value) => value.to_string(),
            Cell::Null | Cell::List(_) => String::new(),
        });
        (number, key)
    }

    /// The answer cells of each slot; none where it failed or was skipped.
    fn cells(&self, stage: &StageSpec, slots: &[Slot]) -> Vec<Option<Vec<Cell>>> {
        let width = stage.width();
        let cells = slots.iter().enumerate().map(|(i, slot)| {
            let row = i / width;
            if self.skipped[row] || slot.failure.is_some() {
                return None;
            }
            let answers: Vec<Answer> = slot.asked.iter().filter_map(|(_, f)| f.answer.clone().ok()).collect();
            Some(stage.stage.cells(Row::new(&self.input, row), &answers))
        });
        cells.collect()
    }

    /// The calls behind the rows, as rows of the calls table.
    fn calls(&self, plan: &Plan, stage: &StageSpec, calls: &Calls, slots: &[Slot]) -> Result<RecordBatch, ArrowError> {
        let width = stage.width();
        let key_column = plan.spec.relation(stage.input).key;
        let mut table = CallsTable::default();
        for (i, slot) in slots.iter().enumerate() {
            let row = i / width;
            let model = stage.models[routing::models_for(stage, self.first_row + row as u64).start + i % width];
            let (number, key) = self.row_name(key_column, row);
            for (prompt, finished) in &slot.asked {
                let target = calls.target(model);
                table.row.append_value(number);
                table.row_key.append_option(key.as_deref());
                table.stage.append_value(stage.name.as_str());
                table.model.append_value(&target.name);
                table.provider.append_value(target.provider.kind());
                table.model_id.append_value(&target.model.id);
                table.model_digest.append_option(target.build.digest.as_deref());
                table.push(prompt, finished);
            }
        }
        table.finish()
    }
}

/// Which rows are skipped: those where something is missing that the prompts read.
pub fn skipped(stage: &StageSpec, input: &RecordBatch) -> Vec<bool> {
    let mut skipped = vec![false; input.num_rows()];
    for guard in &stage.guards {
        let (Guard::Error(column) | Guard::Missing(column)) = *guard;
        let column = input.column(column);
        let texts = column.as_string_opt::<i32>();
        for (row, skip) in skipped.iter_mut().enumerate() {
            *skip |= match guard {
                Guard::Error(_) => column.is_valid(row),
                Guard::Missing(_) => column.is_null(row) || texts.is_some_and(|t| t.value(row).trim().is_empty()),
            };
        }
    }
    skipped
}

/// The output rows of `input`: by slot (row by row, model by model) the answer's cells, or why there are none.
pub fn columns(
    stage: &StageSpec,
    input: &RecordBatch,
    first_row: u64,
    skipped: &[bool],
    cells: &[Option<Vec<Cell>>],
    failures: &[Option<&str>],
) -> Result<RecordBatch, ArrowError> {
    let rows = input.num_rows();
    let models = stage.models.len();
    let names = &stage.model_names;
    // The columns of every `step`-th slot, beginning with slot `from`.
    let block = |from: usize, step: usize| -> Vec<ArrayRef> {
        let mine = || (from..cells.len()).step_by(step);
        let answers = stage.stage.writes().iter().enumerate().map(|(c, column)| {
            array_of(column.kind, mine().map(|i| cells[i].as_ref().map_or(&Cell::Null, |cells| &cells[c])))
        });
        let errors: ArrayRef = Arc::new(mine().map(|i| failures[i]).collect::<StringArray>());
        answers.chain([errors]).collect()
    };
    let (input, added) = match &stage.answers {
        Answers::Dealt { named } => {
            let mut added = block(0, 1);
            if *named {
                let who = (0..rows).map(|row| {
                    let model = routing::models_for(stage, first_row + row as u64).start;
                    (!skipped[row]).then(|| names[model].as_str())
                });
                added.insert(added.len() - 1, Arc::new(who.collect::<StringArray>()));
            }
            (input.clone(), added)
        }
        Answers::Wide => (input.clone(), (0..models).flat_map(|model| block(model, models)).collect()),
        Answers::Long => {
            let take = UInt64Array::from_iter_values((0..rows * models).map(|i| (i / models) as u64));
            let who = (0..rows * models).map(|i| Some(names[i % models].as_str())).collect::<StringArray>();
            let mut added: Vec<ArrayRef> = vec![Arc::new(who)];
            added.extend(block(0, 1));
            (take_record_batch(input, &take)?, added)
        }
    };
    let columns = input.columns().iter().cloned().chain(added).collect();
    RecordBatch::try_new(stage.relation.schema.clone(), columns)
}

/// A block that is done.
pub struct Done {
    /// The output rows.
    pub rows: RecordBatch,
    /// The calls behind them.
    pub calls: RecordBatch,
    /// What became of the rows.
    pub counts: Counts,
}

#[derive(Default)]
struct CallsTable {
    row: Int64Builder,
    row_key: StringBuilder,
    stage: StringBuilder,
    model: StringBuilder,
    provider: StringBuilder,
    model_id: StringBuilder,
    model_digest: StringBuilder,
    call_key: StringBuilder,
    from_ledger: BooleanBuilder,
    system: StringBuilder,
    prompt: StringBuilder,
    reply: StringBuilder,
    probabilities: StringBuilder,
    attempts: Int64Builder,
    prompt_tokens: Int64Builder,
    completion_tokens: Int64Builder,
    latency_ms: Float64Builder,
    finish_reason: StringBuilder,
    build: StringBuilder,
    error: StringBuilder,
    earlier_tries: StringBuilder,
}

impl CallsTable {
    fn push(&mut self, prompt: &Prompt, finished: &Finished) {
        use crate::prompt::Role;
        let record = &finished.record;
        let system = prompt.messages.iter().find(|m| m.role == Role::System);
        self.call_key.append_value(record.key.to_string());
        self.from_ledger.append_value(finished.from_ledger);
        self.system.append_option(system.map(|m| m.content.as_str()));
        self.prompt.append_value(prompt.messages.last().map_or("", |m| m.content.as_str()));
        // A call that got no reply at all has no finish reason either.
        let replied = !record.finish.is_empty();
        self.reply.append_option(replied.then_some(record.reply.as_str()));
        self.probabilities.append_option(record.probabilities.as_deref());
        self.attempts.append_value(record.attempts.into());
        self.prompt_tokens.append_value(record.prompt_tokens as i64);
        self.completion_tokens.append_value(record.completion_tokens as i64);
        self.latency_ms.append_value(record.latency_ms);
        self.finish_reason.append_option(replied.then_some(record.finish.as_str()));
        self.build.append_option(record.build.as_deref());
        self.error.append_option(finished.answer.as_ref().err());
        self.earlier_tries.append_option(record.tries.as_deref());
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.row.finish()),
            Arc::new(self.row_key.finish()),
            Arc::new(self.stage.finish()),
            Arc::new(self.model.finish()),
            Arc::new(self.provider.finish()),
            Arc::new(self.model_id.finish()),
            Arc::new(self.model_digest.finish()),
            Arc::new(self.call_key.finish()),
            Arc::new(self.from_ledger.finish()),
            Arc::new(self.system.finish()),
            Arc::new(self.prompt.finish()),
            Arc::new(self.reply.finish()),
            Arc::new(self.probabilities.finish()),
            Arc::new(self.attempts.finish()),
            Arc::new(self.prompt_tokens.finish()),
            Arc::new(self.completion_tokens.finish()),
            Arc::new(self.latency_ms.finish()),
            Arc::new(self.finish_reason.finish()),
            Arc::new(self.build.finish()),
            Arc::new(self.error.finish()),
            Arc::new(self.earlier_tries.finish()),
        ];
        RecordBatch::try_new(calls_schema(), columns)
    }
}
