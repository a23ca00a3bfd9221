//! Rows of the calls table: made from a finished call and the row that needed it.

use crate::ask::Finished;
use crate::models::Target;
use crate::prompt::Prompt;
use crate::store::{CallRow, PackRow};

/// The row of a stage that needed a call.
pub struct Asker<'a> {
    /// The number of the row, from 1.
    pub row: i64,
    pub row_key: Option<&'a str>,
    pub stage: &'a str,
    /// From 1.
    pub replicate: i64,
    /// The model that was asked.
    pub model: &'a str,
    /// Whether its answer is only compared.
    pub audit: bool,
}

impl<'a> Asker<'a> {
    /// The line of a call that `by` answered: the model that was asked or its fallback.
    pub fn call(&self, by: &'a Target, prompt: &'a Prompt, finished: &'a Finished) -> CallRow<'a> {
        let pack = finished.place.as_deref().map(|place| PackRow {
            size: place.size as i64,
            position: place.position as i64,
            carries: place.carries,
            reply: place.part.as_deref(),
        });
        CallRow {
            row: self.row,
            row_key: self.row_key,
            stage: self.stage,
            model: self.model,
            replicate: self.replicate,
            provider: by.provider.kind(),
            model_id: &by.model.id,
            model_digest: by.build.digest.as_deref(),
            from_ledger: finished.from_ledger,
            prompt,
            record: &finished.record,
            failure: finished.answer.as_ref().err(),
            pack,
            audit: self.audit,
        }
    }
}
