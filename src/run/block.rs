//! Blocks: some rows of a part on their way: prompts, answers as they come, and at the end columns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::calls::Calls;
use super::calls_table::Asker;
use super::labels::Count;
use crate::ask::{Fate, Finished, columns, fates};
use crate::plan::{Plan, routing};
use crate::prompt::{Answer, Failure, Prompt};
use crate::spec::StageSpec;
use crate::store::{Audit, CallsTable, Replies, RowCounts, Shares};
use crate::table::{Cell, Row, cell_at};

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
    /// What becomes of each row before anything is asked.
    pub fates: Vec<Fate>,
    slots: Mutex<Vec<Slot>>,
    /// What was asked one by one as well, by slot.
    audits: Mutex<BTreeMap<usize, Slot>>,
    open: AtomicUsize,
    /// The right to be in memory.
    _room: Arc<OwnedSemaphorePermit>,
}

/// One row and one model.
#[derive(Default)]
struct Slot {
    asked: Vec<Asked>,
    failure: Option<Failure>,
    filled: bool,
}

/// A prompt and what became of it.
pub type Asked = (Arc<Prompt>, Finished);

/// What became of the rows of a block.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub rows: RowCounts,
    /// Calls behind them, each once.
    pub calls: u64,
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
        let fates = fates(stage, &input, first_row);
        let slots = Mutex::new((0..input.num_rows() * stage.width()).map(|_| Slot::default()).collect());
        let audits = Mutex::default();
        Block { part, index, first_row, input, fates, slots, audits, open: AtomicUsize::new(0), _room: room }
    }

    /// Keeps what was asked in a slot, in order, and why it failed, if it did. Says whether the slot's row failed, if
    /// this was the last of its `width` slots.
    pub fn fill(&self, slot: usize, width: usize, asked: Vec<Asked>, failure: Option<Failure>) -> Option<bool> {
        let mut slots = self.slots.lock();
        slots[slot] = Slot { asked, failure, filled: true };
        let first = slot - slot % width;
        let row = &slots[first..first + width];
        row.iter().all(|s| s.filled).then(|| row.iter().any(|s| s.failure.is_some()))
    }

    /// Keeps what was asked about a slot's row alone, to be compared with what stands in the slot.
    pub fn compare(&self, slot: usize, asked: Vec<Asked>, failure: Option<Failure>) {
        let mut audits = self.audits.lock();
        audits.insert(slot, Slot { asked, failure, filled: true });
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
        let slots = std::mem::take(&mut *self.slots.lock());
        let width = stage.width();
        let mut counts = Counts::default();
        for row in 0..self.input.num_rows() {
            if self.fates[row] == Fate::Skipped {
                counts.rows.skipped += 1;
            } else if slots[row * width..(row + 1) * width].iter().any(|s| s.failure.is_some()) {
                counts.rows.failed += 1;
            } else {
                counts.rows.answered += 1;
            }
        }
        let cells = self.cells(stage, &slots);
        let who: Vec<Option<&str>> = slots.iter().enumerate().map(|(i, slot)| self.who(stage, i, slot)).collect();
        let failures: Vec<Option<String>> = slots.iter().map(|s| s.failure.as_ref().map(Failure::to_string)).collect();
        let failures: Vec<Option<&str>> = failures.iter().map(Option::as_deref).collect();
        let rows = columns(stage, &self.input, &cells, &who, &failures)?;
        let shares = self.shares(plan, stage, &slots, &cells);
        let replies = self.replies(stage, &slots);
        let audits = std::mem::take(&mut *self.audits.lock());
        let audit = stage.audit.map(|_| self.audit(stage, &cells, &slots, &audits));
        let calls = self.calls(plan, stage, calls, &slots, &audits)?;
        // A call about several rows has a prompt in the line of the first one only.
        let prompts = calls.column_by_name("prompt").map_or(0, |prompts| prompts.len() - prompts.null_count());
        counts.calls = prompts as u64;
        Ok(Done { rows, calls, counts, shares, replies, audit })
    }

    /// How often each label was given.
    fn shares(&self, plan: &Plan, stage: &StageSpec, slots: &[Slot], cells: &[Vec<Cell>]) -> Shares {
        let mut count = Count::new(plan, stage);
        for (i, (slot, cells)) in slots.iter().zip(cells).enumerate() {
            count.add(i % stage.width(), cells, slot.failure.is_none().then_some(&slot.asked));
        }
        count.finish()
    }

    /// The builds that the replies named.
    fn replies(&self, stage: &StageSpec, slots: &[Slot]) -> Replies {
        let mut replies = Replies::new();
        for (i, slot) in slots.iter().enumerate() {
            for build in slot.asked.iter().filter_map(|(_, finished)| finished.record.build.as_ref()) {
                let row = self.first_row + (i / stage.width()) as u64;
                let model = &stage.model_names[routing::model_of(stage, row, i % stage.width())];
                // Mostly it is known: nothing is copied then.
                if !replies.get(model).is_some_and(|known| known.contains(build)) {
                    replies.entry(model.clone()).or_default().insert(build.clone());
                }
            }
        }
        replies
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

    /// Row `row` of the block.
    pub fn row(&self, row: usize) -> Row<'_> {
        Row::new(&self.input, row, self.first_row)
    }

    /// Who answered slot `i`: the model that was asked, or the last one that stood in for it.
    fn who<'a>(&self, stage: &'a StageSpec, i: usize, slot: &'a Slot) -> Option<&'a str> {
        let (row, place) = (i / stage.width(), i % stage.width());
        let asked = &stage.model_names[routing::model_of(stage, self.first_row + row as u64, place)];
        // A row of a pack whose answer was bad is asked again.
        let mut answers = slot.asked.iter().rev().filter(|(_, f)| f.place.is_none() || f.answer.is_ok());
        let stood_in = answers.find_map(|(_, finished)| finished.record.notes.fallback.as_deref());
        (self.fates[row] != Fate::Skipped).then(|| stood_in.unwrap_or(asked))
    }

    /// The answer cells of each slot.
    fn cells(&self, stage: &StageSpec, slots: &[Slot]) -> Vec<Vec<Cell>> {
        let width = stage.width();
        let cells = slots.iter().enumerate().map(|(i, slot)| {
            let row = self.row(i / width);
            let model = &stage.model_names[routing::model_of(stage, row.number(), i % width)];
            let answers: Vec<Answer> = slot.asked.iter().filter_map(|(_, f)| f.answer.clone().ok()).collect();
            match (&self.fates[i / width], &slot.failure) {
                (Fate::Asked, None) => stage.stage.ask.cells(row, model, &answers),
                _ => stage.stage.ask.unanswered(row, &answers),
            }
        });
        cells.collect()
    }

    /// What the rows that were asked one by one as well show.
    fn audit(&self, stage: &StageSpec, cells: &[Vec<Cell>], slots: &[Slot], audits: &BTreeMap<usize, Slot>) -> Audit {
        let tokens = |slot: &Slot| -> u64 {
            let once = slot.asked.iter().filter(|(_, f)| f.place.as_ref().is_none_or(|place| place.carries));
            once.map(|(_, f)| f.record.prompt_tokens + f.record.completion_tokens).sum()
        };
        let mut audit = Audit::default();
        for slot in slots.iter().filter(|slot| !slot.asked.is_empty()) {
            audit.packed.answers += 1;
            audit.packed.tokens += tokens(slot);
        }
        for (i, single) in audits {
            audit.single.answers += 1;
            audit.single.tokens += tokens(single);
            if single.failure.is_some() || slots[*i].failure.is_some() {
                audit.failed += 1;
                continue;
            }
            audit.compared += 1;
            let (row, place) = (self.row(i / stage.width()), i % stage.width());
            let model = &stage.model_names[routing::model_of(stage, row.number(), place)];
            let answers: Vec<Answer> = single.asked.iter().filter_map(|(_, f)| f.answer.clone().ok()).collect();
            let single = stage.stage.ask.cells(row, model, &answers);
            for (write, column) in stage.stage.info.writes.iter().enumerate() {
                let labels = stage.stage.info.compared_labels(write);
                if labels.is_empty() {
                    continue;
                }
                let name = match stage.answers.models_per_row() {
                    1 => column.name.clone(),
                    _ => format!("{} ({model})", column.name),
                };
                audit.compare(&name, labels, label(&cells[*i][write]).as_deref(), label(&single[write]).as_deref());
            }
        }
        audit
    }

    /// The calls behind the rows, as rows of the calls table.
    fn calls(
        &self,
        plan: &Plan,
        stage: &StageSpec,
        calls: &Calls,
        slots: &[Slot],
        audits: &BTreeMap<usize, Slot>,
    ) -> Result<RecordBatch, ArrowError> {
        let width = stage.width();
        let key_column = plan.spec.relation(stage.input).key;
        let mut table = CallsTable::default();
        for (i, slot) in slots.iter().enumerate() {
            let (row, place) = (i / width, i % width);
            let (number, key) = self.row_name(key_column, row);
            let model = routing::model_of(stage, self.first_row + row as u64, place);
            let target = calls.target(stage.models[model]);
            let mut of = Asker {
                row: number,
                row_key: key.as_deref(),
                stage: stage.name.as_str(),
                replicate: (place / stage.answers.models_per_row()) as i64 + 1,
                model: &target.name,
                audit: false,
            };
            let audits = audits.get(&i).into_iter().flat_map(|slot| &slot.asked).map(|asked| (asked, true));
            for ((prompt, finished), audit) in slot.asked.iter().map(|asked| (asked, false)).chain(audits) {
                of.audit = audit;
                let other = finished.record.notes.fallback.as_ref();
                let other = other.and_then(|name| target.fallback.iter().find(|(other, _)| other == name));
                let by = other.map_or(target, |(_, index)| calls.target(*index));
                table.push(&of.call(by, prompt, finished));
            }
        }
        table.finish()
    }
}

/// A block that is done.
pub struct Done {
    /// The output rows.
    pub rows: RecordBatch,
    /// The calls behind them.
    pub calls: RecordBatch,
    /// What became of the rows.
    pub counts: Counts,
    /// How often each label was given, by column of labels.
    pub shares: Shares,
    /// The builds that the replies named.
    pub replies: Replies,
    /// What asking rows one by one as well showed, where the spec says so.
    pub audit: Option<Audit>,
}

/// A label or a truth as text.
fn label(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
