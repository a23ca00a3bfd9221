//! Rows of the calls table: every call behind a block, with what was asked and what came back.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;

use super::connect::Target;
use crate::ask::Finished;
use crate::prompt::{Failure, Message, Prompt, Role};
use crate::store::calls_schema;

/// The calls table of a block, as it grows.
#[derive(Default)]
pub struct CallsTable {
    row: Int64Builder,
    row_key: StringBuilder,
    stage: StringBuilder,
    model: StringBuilder,
    replicate: Int64Builder,
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
    notes: StringBuilder,
    pack_size: Int64Builder,
    pack_position: Int64Builder,
    item_reply: StringBuilder,
    item_error: StringBuilder,
    audit: BooleanBuilder,
}

/// On whose behalf a call was made.
pub struct Asker<'a> {
    /// The row's number, from 1.
    pub row: i64,
    /// Its key.
    pub row_key: Option<&'a str>,
    /// The stage.
    pub stage: &'a str,
    /// Which of the replicates it is, from 1.
    pub replicate: i64,
    /// The model that was asked.
    pub model: &'a str,
    /// Whether its answer is only compared.
    pub audit: bool,
}

/// What was said beside the system text: the question, or with earlier turns before it the whole conversation.
fn conversation(prompt: &Prompt) -> Cow<'_, str> {
    let said: Vec<&Message> = prompt.messages.iter().filter(|m| m.role != Role::System).collect();
    match said.as_slice() {
        [question] => Cow::Borrowed(&question.content),
        turns => {
            let turns = turns.iter().map(|m| format!("[{}]\n{}", format!("{:?}", m.role).to_lowercase(), m.content));
            Cow::Owned(turns.collect::<Vec<_>>().join("\n\n"))
        }
    }
}

impl CallsTable {
    /// Adds a call that `by` answered: the model that was asked, or the one that stood in for it.
    pub fn push(&mut self, of: &Asker<'_>, by: &Target, prompt: &Prompt, finished: &Finished) {
        self.row.append_value(of.row);
        self.row_key.append_option(of.row_key);
        self.stage.append_value(of.stage);
        self.model.append_value(of.model);
        self.replicate.append_value(of.replicate);
        self.provider.append_value(by.provider.kind());
        self.model_id.append_value(&by.model.id);
        self.model_digest.append_option(by.build.digest.as_deref());
        let record = &finished.record;
        let place = finished.place.as_deref();
        // A call about several rows stands in the line of the first one.
        let carries = place.is_none_or(|place| place.carries);
        let count = |number: u64| if carries { number as i64 } else { 0 };
        let system = prompt.messages.iter().find(|m| m.role == Role::System).filter(|_| carries);
        self.call_key.append_value(record.key.to_string());
        self.from_ledger.append_value(finished.from_ledger);
        self.system.append_option(system.map(|m| m.content.as_str()));
        self.prompt.append_option(carries.then(|| conversation(prompt)));
        // A call that got no reply at all has no finish reason either.
        let replied = carries && !record.finish.is_empty();
        self.reply.append_option(replied.then_some(record.reply.as_str()));
        self.probabilities.append_option(record.probabilities.as_deref());
        self.attempts.append_value(count(record.attempts.into()));
        self.prompt_tokens.append_value(count(record.prompt_tokens));
        self.completion_tokens.append_value(count(record.completion_tokens));
        self.latency_ms.append_value(if carries { record.latency_ms } else { 0.0 });
        self.finish_reason.append_option(replied.then_some(record.finish.as_str()));
        self.build.append_option(record.build.as_deref());
        // What became of one row of several is no error of the call.
        let (call, item) = match (&finished.answer, place) {
            (answer, None) => (answer.as_ref().err().map(Failure::to_string), None),
            (answer, Some(_)) => {
                (record.error.clone().filter(|_| carries), answer.as_ref().err().map(Failure::to_string))
            }
        };
        self.error.append_option(call);
        self.earlier_tries.append_option(record.tries.as_deref().filter(|_| carries));
        self.notes.append_option(record.notes.to_json().filter(|_| carries));
        self.pack_size.append_option(place.map(|place| place.size as i64));
        self.pack_position.append_option(place.map(|place| place.position as i64));
        self.item_reply.append_option(place.and_then(|place| place.part.as_deref()));
        self.item_error.append_option(item);
        self.audit.append_value(of.audit);
    }

    /// The rows.
    pub fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.row.finish()),
            Arc::new(self.row_key.finish()),
            Arc::new(self.stage.finish()),
            Arc::new(self.model.finish()),
            Arc::new(self.replicate.finish()),
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
            Arc::new(self.notes.finish()),
            Arc::new(self.pack_size.finish()),
            Arc::new(self.pack_position.finish()),
            Arc::new(self.item_reply.finish()),
            Arc::new(self.item_error.finish()),
            Arc::new(self.audit.finish()),
        ];
        RecordBatch::try_new(calls_schema(), columns)
    }
}
