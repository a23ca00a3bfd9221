//! Forms: how each schema is asked for, found out once where a server refuses the form that the spec says.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::MutexGuard as Turn;

/// What is known of the forms in which a model takes schemas.
#[derive(Debug, Default)]
pub struct Forms {
    known: Mutex<HashMap<u64, usize>>,
    /// Only one finds out at a time.
    turn: tokio::sync::Mutex<()>,
}

fn hash(schema: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    schema.hash(&mut hasher);
    hasher.finish()
}

impl Forms {
    /// How many steps looser than the spec says the schema has to be asked for, once an answer has shown it.
    pub fn known(&self, schema: &Value) -> Option<usize> {
        self.known.lock().get(&hash(schema)).copied()
    }

    /// A call with the schema was answered in the form of so many steps. The first answer settles it.
    pub fn answered(&self, schema: &Value, steps: usize) {
        self.known.lock().entry(hash(schema)).or_insert(steps);
    }

    /// Waits for the turn to find a form out.
    pub async fn turn(&self) -> Turn<'_, ()> {
        self.turn.lock().await
    }
}
