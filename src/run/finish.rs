//! Finishing: makes the output rows, the calls and the counts of a block whose slots are filled.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::ArrowError;

use super::block::{Block, Slot};
use super::calls::Calls;
use super::changes::changes;
use super::job::Job;
use super::label_counts::LabelCounts;
use crate::ask::{Fate, OutputSlot, PackPosition, answered_by, answers, asked_model, columns, correct};
use crate::plan::Plan;
use crate::spec::StageSpec;
use crate::store::{
    Audit, CallRow, PackRow, PartFacts, PartWriter, Replies, RowCounts, Shares, StoreError, calls_schema,
};
use crate::table::parquet::TableError;
use crate::table::{Cell, TableBuilder};

/// The bytes of the texts of calls to write at once. A call in a long conversation has all its messages.
const CALLS_BYTES: usize = 1 << 20;

struct Finish<'a> {
    block: &'a Block,
    plan: &'a Plan,
    stage: &'a StageSpec,
    slots: Vec<Slot>,
    audits: BTreeMap<usize, Slot>,
}

/// Writes the calls of a block, moving the answers out of it. Returns its output rows, which are not written yet, and
/// its counts.
pub(crate) fn finish(
    job: &Job,
    block: &Block,
    writer: &mut PartWriter,
) -> Result<(RecordBatch, PartFacts), StoreError> {
    let (plan, stage) = (&job.plan, job.stage());
    let failed = |error: ArrowError| StoreError::from(TableError::at(job.dir.root())(error));
    let (slots, audits) = block.take();
    let finish = Finish { block, plan, stage, slots, audits };
    let mut outputs = finish.outputs();
    let audit = stage.audit.map(|_| finish.audit(&outputs));
    correct(stage, &block.input, block.place.first_row, &mut outputs);
    let rows = columns(stage, &block.input, &outputs).map_err(failed)?;
    let mut count = 0;
    finish.calls(&job.calls, |table| {
        let calls = table.finish().map_err(failed)?;
        count += sent(&calls);
        writer.write_calls(calls)
    })?;
    let facts = PartFacts {
        calls: count,
        shares: finish.shares(&outputs),
        audit,
        replies: finish.replies(),
        changes: changes(stage, &finish.slots, &job.calls),
        counts: finish.counts(),
        ..PartFacts::default()
    };
    Ok((rows, facts))
}

impl Finish<'_> {
    fn counts(&self) -> RowCounts {
        let mut counts = RowCounts::default();
        for (fate, slots) in self.block.fates.iter().zip(self.slots.chunks(self.stage.width())) {
            if *fate == Fate::Skipped {
                counts.skipped += 1;
            } else if slots.iter().any(|slot| slot.failure.is_some()) {
                counts.failed += 1;
            } else {
                counts.answered += 1;
            }
        }
        counts
    }

    fn model(&self, slot: &Slot) -> &str {
        &self.stage.model_names[slot.model]
    }

    fn outputs(&self) -> Vec<OutputSlot<'_>> {
        let slots = self.slots.iter().enumerate().map(|(i, slot)| {
            let (row, model) = (self.block.row(i / self.stage.width()), self.model(slot));
            let fate = &self.block.fates[i / self.stage.width()];
            let answers = answers(&slot.asked);
            let cells = match (fate, &slot.failure) {
                (Fate::Asked, None) => self.stage.stage.ask.cells(row, model, &answers),
                _ => self.stage.stage.ask.unanswered(row, &answers),
            };
            let who = (*fate != Fate::Skipped).then(|| answered_by(&slot.asked).unwrap_or(model));
            OutputSlot::new(cells, who, slot.failure.as_ref())
        });
        slots.collect()
    }

    fn shares(&self, outputs: &[OutputSlot<'_>]) -> Shares {
        let mut counts = LabelCounts::new(self.plan, self.stage);
        for (i, (slot, output)) in self.slots.iter().zip(outputs).enumerate() {
            counts.add(i % self.stage.width(), &output.cells, slot.failure.is_none().then_some(&slot.asked));
        }
        counts.finish()
    }

    fn replies(&self) -> Replies {
        let mut replies = Replies::new();
        for slot in &self.slots {
            for (prompt, finished) in &slot.asked {
                let Some(build) = &finished.record.build else { continue };
                let model = self.stage.model_names[asked_model(self.stage, prompt, slot.model)].as_str();
                // Most builds are known already; then nothing is copied.
                if !replies.get(model).is_some_and(|known| known.contains(build)) {
                    replies.entry(model.to_owned()).or_default().insert(build.clone());
                }
            }
        }
        replies
    }

    fn audit(&self, outputs: &[OutputSlot<'_>]) -> Audit {
        let mut audit = Audit::default();
        for slot in self.slots.iter().filter(|slot| !slot.asked.is_empty()) {
            audit.packed.answers += 1;
            audit.packed.tokens += tokens(slot);
        }
        for (i, single) in &self.audits {
            audit.single.answers += 1;
            audit.single.tokens += tokens(single);
            if single.failure.is_some() || self.slots[*i].failure.is_some() {
                audit.failed += 1;
                continue;
            }
            audit.compared += 1;
            let (row, model) = (self.block.row(i / self.stage.width()), self.model(&self.slots[*i]));
            let single = self.stage.stage.ask.cells(row, model, &answers(&single.asked));
            for (write, column) in self.stage.stage.info.writes.iter().enumerate() {
                let labels = self.stage.stage.info.compared_labels(write);
                if labels.is_empty() {
                    continue;
                }
                let name = match self.stage.answers.models_per_row() {
                    1 => column.name.clone(),
                    _ => format!("{} ({model})", column.name),
                };
                let (packed, single) = (label(&outputs[*i].cells[write]), label(&single[write]));
                audit.compare(&name, labels, packed.as_deref(), single.as_deref());
            }
        }
        audit
    }

    /// Passes the calls to `write`, some at a time.
    fn calls(
        &self,
        calls: &Calls,
        mut write: impl FnMut(&mut TableBuilder) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (width, models) = (self.stage.width(), self.stage.answers.models_per_row());
        let key_column = self.plan.spec.relation(self.stage.input).key;
        let mut table = TableBuilder::new(calls_schema());
        for (i, slot) in self.slots.iter().enumerate() {
            let (row, row_key) = self.block.row_name(key_column, i / width);
            let audits = self.audits.get(&i).into_iter().flat_map(|slot| &slot.asked).map(|asked| (asked, true));
            let mut messages = Vec::new();
            for ((prompt, finished), audit) in slot.asked.iter().map(|asked| (asked, false)).chain(audits) {
                prompt.continues(&mut messages);
                let asked = asked_model(self.stage, prompt, slot.model);
                let (target, model) = (calls.target(self.stage.models[asked]), self.stage.model_names[asked].as_str());
                let by = calls.target(calls.answered_by(target.index, &finished.record));
                let [direct, batched] = finished.record.divided_tokens();
                let call = CallRow {
                    row,
                    row_key: row_key.as_deref(),
                    stage: self.stage.name.as_str(),
                    model,
                    replicate: (i % width / models) as i64 + 1,
                    provider: by.provider.kind(),
                    model_id: &by.model.id,
                    model_digest: by.build.digest.as_deref(),
                    from_ledger: finished.from_ledger,
                    messages: &messages,
                    record: &finished.record,
                    failure: finished.answer.as_ref().err(),
                    pack: finished.place.as_deref().map(pack_row),
                    audit,
                    usd: by.price.map(|price| price.cost(direct, false) + price.cost(batched, true)),
                };
                table.push(call.values());
                if table.text_bytes() >= CALLS_BYTES {
                    write(&mut table)?;
                }
            }
        }
        write(&mut table)
    }
}

/// The number of calls that were sent, now or earlier. Of the rows of a pack, only the first has the attempts.
fn sent(calls: &RecordBatch) -> u64 {
    let attempts = calls.column_by_name("attempts").and_then(|column| column.as_primitive_opt::<Int64Type>());
    attempts.map_or(0, |attempts| attempts.values().iter().filter(|number| **number > 0).count() as u64)
}

fn pack_row(place: &PackPosition) -> PackRow<'_> {
    let (size, position, reply) = (place.size as i64, place.position as i64, place.part.as_deref());
    PackRow { size, position, carries: place.carries, reply }
}

/// The tokens of a slot's calls. Each call is counted once.
fn tokens(slot: &Slot) -> u64 {
    let once = slot.asked.iter().filter(|(_, f)| f.place.as_ref().is_none_or(|place| place.carries));
    once.map(|(_, f)| f.record.prompt_tokens + f.record.completion_tokens).sum()
}

fn label(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
