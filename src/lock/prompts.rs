//! Prompt digests: hashes the first prompts of each row of a stage.
//!
//! The digest of a stage depends only on the order of its rows, not on the batches in which they are read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

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

/// BLAKE3 is several times as fast with many bytes at once as with those of one prompt.
const HASHED_AT_ONCE: usize = 64 << 10;
/// More threads would hold more rows at a time: each has some megabytes of a wide table.
const MOST_THREADS: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct PromptDigest {
    prompts: blake3::Hasher,
    schemas: BTreeSet<String>,
    /// Those that are not hashed yet.
    encoded: Encoded,
}

impl PromptDigest {
    pub(crate) fn unasked(&mut self, fate: &Fate) {
        self.encoded.unasked(fate);
    }

    pub(crate) fn asked(&mut self, prompts: &Result<Vec<Prompt>, Failure>) {
        self.encoded.asked(prompts);
        if self.encoded.bytes.len() >= HASHED_AT_ONCE {
            self.hash();
        }
    }

    fn hash(&mut self) {
        self.prompts.update(&self.encoded.bytes);
        self.encoded.bytes.clear();
        self.schemas.append(&mut self.encoded.schemas);
    }

    /// The digest of a stage's rows. Other threads render the prompts, and this one hashes them in the order of the rows.
    pub(crate) fn of_rows<E>(
        stage: &StageSpec,
        batches: impl Iterator<Item = Result<RecordBatch, E>>,
    ) -> Result<Prompts, E> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        thread::scope(|scope| {
            let renderer = |_| {
                let ((batches, rows), (prompts, rendered)) = (sync_channel(1), sync_channel(2));
                scope.spawn(move || render(stage, rows, prompts));
                (batches, rendered)
            };
            let renderers: Vec<(SyncSender<_>, Receiver<_>)> = (0..threads).map(renderer).collect();
            let (mut digest, mut first, mut sent) = (PromptDigest::default(), 0, 0);
            for batch in batches {
                let batch = batch?;
                let rows = batch.num_rows() as u64;
                let (batches, rendered) = &renderers[sent % threads];
                if sent >= threads {
                    digest.take(rendered);
                }
                // A thread ends before this one only by a panic, which the scope passes on.
                let _ = batches.send((batch, first));
                first += rows;
                sent += 1;
            }
            (sent.saturating_sub(threads)..sent).for_each(|batch| digest.take(&renderers[batch % threads].1));
            Ok(digest.finish())
        })
    }

    /// Takes the prompts of one batch.
    fn take(&mut self, rendered: &Receiver<Option<Encoded>>) {
        while let Ok(Some(encoded)) = rendered.recv() {
            self.encoded = encoded;
            self.hash();
        }
    }

    pub(crate) fn finish(mut self) -> Prompts {
        self.hash();
        let schemas = self.schemas.into_iter().map(Value::from).collect();
        Prompts { prompts: self.prompts.finalize().to_hex().to_string(), answers: hash(&Value::Array(schemas)) }
    }
}

/// Renders the prompts of batches, each with the number of its first row. `None` follows those of a batch.
fn render(stage: &StageSpec, batches: Receiver<(RecordBatch, u64)>, prompts: SyncSender<Option<Encoded>>) {
    let mut encoded = Encoded::default();
    for (batch, first) in batches {
        for (i, fate) in fates(stage, &batch, first).iter().enumerate() {
            let row = Row::new(&batch, i, first);
            match fate {
                Fate::Asked if stage.stage.most_prompts(row) > 0 => {
                    encoded.asked(&stage.stage.ask.prompts(row, &[]));
                }
                other => encoded.unasked(other),
            }
            // The other end is dropped only after an error.
            if encoded.bytes.len() >= HASHED_AT_ONCE && prompts.send(Some(encoded.take())).is_err() {
                return;
            }
        }
        if prompts.send(Some(encoded.take())).and_then(|()| prompts.send(None)).is_err() {
            return;
        }
    }
}

/// Prompts in the form that is hashed.
#[derive(Debug, Default)]
struct Encoded {
    bytes: Vec<u8>,
    /// The hashes of their schemas.
    schemas: BTreeSet<String>,
    /// The schema of the last prompt. Most prompts of a stage share one schema.
    last: Option<Arc<Value>>,
}

impl Encoded {
    fn unasked(&mut self, fate: &Fate) {
        self.bytes.push(match fate {
            Fate::Skipped => b's',
            Fate::Failed(_) => b'f',
            Fate::Asked => b'c',
        });
    }

    fn asked(&mut self, prompts: &Result<Vec<Prompt>, Failure>) {
        let prompts = match prompts {
            Ok(prompts) => prompts,
            Err(failure) => return self.unasked(&Fate::Failed(failure.clone())),
        };
        let bytes = &mut self.bytes;
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
    }

    /// Takes the prompts so far, and remembers the last schema.
    fn take(&mut self) -> Encoded {
        let last = self.last.clone();
        std::mem::replace(self, Encoded { last, ..Encoded::default() })
    }
}

/// The BLAKE3 hash of a value's JSON text, in hex.
pub(crate) fn hash(value: &Value) -> String {
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}
