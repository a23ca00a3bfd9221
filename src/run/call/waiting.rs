//! Waiting texts: those that will share a request for vectors.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::limiter::Verdict;
use crate::provider::{CallError, Encoded, Reply};

/// What is the same for the texts of a request: the model's index in the spec, and the length of the vectors.
pub(super) type Request = (usize, Option<u32>);

#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<Request, Vec<Text>>>);

pub(super) struct Text {
    pub(super) call: Encoded,
    pub(super) done: oneshot::Sender<Result<Reply, Unanswered>>,
}

/// A text without a vector, with what the limiter says about it.
#[derive(Clone, Debug)]
pub(super) struct Unanswered {
    pub(super) error: CallError,
    pub(super) verdict: Option<Verdict>,
    pub(super) outage: Option<Duration>,
}

impl Waiting {
    /// Adds a text. Returns all waiting texts of the request if there are `most`.
    pub(super) fn push(&self, of: Request, text: Text, most: usize) -> Vec<Text> {
        let mut waiting = self.0.lock();
        let texts = waiting.entry(of).or_default();
        texts.push(text);
        if texts.len() < most { Vec::new() } else { std::mem::take(texts) }
    }

    pub(super) fn take(&self, of: Request) -> Vec<Text> {
        self.0.lock().get_mut(&of).map(std::mem::take).unwrap_or_default()
    }
}
