//! Prompt digests: hashes the first prompts of each row of a stage.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde_json::Value;

use crate::ask::{Fate, fates};
use crate::prompt::{Failure, Message, Prompt, Role};
use crate::spec::StageSpec;
use crate::table::Row;

#[derive(Clone, Debug)]
pub(crate) struct Prompts {
    pub(crate) prompts: String,
    pub(crate) answers: String,
}

#[derive(Debug, Default)]
pub(crate) struct PromptDigest {
    prompts: blake3::Hasher,
    bytes: Vec<u8>,
    schemas: BTreeSet<String>,
    /// The schema of the last prompt. Most prompts of a stage share one schema.
    last: Option<Arc<Value>>,
}

impl PromptDigest {
    pub(crate) fn unasked(&mut self, fate: &Fate) {
        self.prompts.update(match fate {
            Fate::Skipped => b"s",
            Fate::Failed(_) => b"f",
            Fate::Asked => b"c",
        });
    }

    pub(crate) fn asked(&mut self, prompts: &Result<Vec<Prompt>, Failure>) {
        let prompts = match prompts {
            Ok(prompts) => prompts,
            Err(failure) => return self.unasked(&Fate::Failed(failure.clone())),
        };
        let bytes = &mut self.bytes;
        bytes.clear();
        bytes.push(b'a');
        bytes.extend((prompts.len() as u64).to_le_bytes());
        for prompt in prompts {
            bytes.extend((prompt.messages.len() as u64).to_le_bytes());
            for Message { role, content, .. } in &prompt.messages {
                bytes.push(match role {
                    Role::System => b's',
                    Role::User => b'u',
                    Role::Assistant => b'a',
                });
                bytes.extend((content.len() as u64).to_le_bytes());
                bytes.extend(content.as_bytes());
            }
            // A prompt for another respondent is another call, even with the same text.
            bytes.push(u8::from(prompt.respondent.is_some()));
            bytes.extend(prompt.respondent.unwrap_or(0).to_le_bytes());
            if let Some(schema) = &prompt.schema
                && !self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, schema))
            {
                self.schemas.insert(hash(schema));
                self.last = Some(schema.clone());
            }
        }
        self.prompts.update(bytes);
    }

    pub(crate) fn of_rows<E>(
        stage: &StageSpec,
        batches: impl Iterator<Item = Result<RecordBatch, E>>,
    ) -> Result<Prompts, E> {
        let mut digest = PromptDigest::default();
        let mut first = 0;
        for batch in batches {
            let batch = batch?;
            for (i, fate) in fates(stage, &batch, first).iter().enumerate() {
                let row = Row::new(&batch, i, first);
                match fate {
                    Fate::Asked if stage.stage.most_prompts(row) > 0 => {
                        digest.asked(&stage.stage.ask.prompts(row, &[]));
                    }
                    other => digest.unasked(other),
                }
            }
            first += batch.num_rows() as u64;
        }
        Ok(digest.finish())
    }

    pub(crate) fn finish(self) -> Prompts {
        let schemas = self.schemas.into_iter().map(Value::from).collect();
        Prompts { prompts: self.prompts.finalize().to_hex().to_string(), answers: hash(&Value::Array(schemas)) }
    }
}

/// The BLAKE3 hash of a value's JSON text, in hex.
pub(crate) fn hash(value: &Value) -> String {
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}
