//! Structured output: remembers the level at which a server accepts each schema. Level 0 follows the spec; higher
//! levels are more relaxed ([`Provider::encode_relaxed`](crate::provider::Provider::encode_relaxed)).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;
use serde_json::Value;
pub(crate) use tokio::sync::MutexGuard as Turn;

use super::first_answer::alike;
use crate::models::Target;
use crate::prompt::Failure;
use crate::provider::{Call, CallError};

#[derive(Debug)]
pub(crate) struct StructuredOutput {
    levels: usize,
    /// The level of the first answer, by the hash of the schema.
    known: Mutex<HashMap<u64, usize>>,
    search: tokio::sync::Mutex<()>,
    /// A rejection that no relaxed form avoided.
    unavoidable: Mutex<Option<Failure>>,
}

fn hash(schema: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    schema.hash(&mut hasher);
    hasher.finish()
}

impl StructuredOutput {
    pub(crate) fn new(target: &Target) -> Self {
        let probe = Call { model: &target.model, messages: &[], schema: Some(&Value::Bool(true)) };
        let levels = (1..).take_while(|level| target.provider.encode_relaxed(&probe, *level).is_some()).count();
        StructuredOutput {
            levels,
            known: Mutex::default(),
            search: tokio::sync::Mutex::default(),
            unavoidable: Mutex::default(),
        }
    }

    /// The highest level.
    pub(crate) fn levels(&self) -> usize {
        self.levels
    }

    pub(crate) fn known(&self, schema: &Value) -> Option<usize> {
        self.known.lock().get(&hash(schema)).copied()
    }

    /// Records that a call with the schema was answered at this level. The first answer counts.
    pub(crate) fn answered(&self, schema: &Value, level: usize) {
        self.known.lock().entry(hash(schema)).or_insert(level);
    }

    pub(crate) async fn search(&self) -> Turn<'_, ()> {
        self.search.lock().await
    }

    /// Whether relaxed forms did not avoid such a rejection before.
    pub(crate) fn is_unavoidable(&self, rejection: &CallError) -> bool {
        self.unavoidable.lock().as_ref().is_some_and(|known| alike(known, &rejection.clone().into()))
    }

    /// Records that all forms were rejected alike.
    pub(crate) fn unavoidable(&self, rejection: &CallError) {
        *self.unavoidable.lock() = Some(rejection.clone().into());
    }
}
