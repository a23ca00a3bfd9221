//! Counts of refusals: how many calls a server refused or could not take, and its last words.

use parking_lot::Mutex;

use crate::provider::{CallError, CallErrorKind};

#[derive(Debug, Default)]
pub(crate) struct RefusalCounts(Mutex<Counts>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls that the server refused because of a limit.
    pub(crate) refused: u64,
    /// Calls that the server was too busy for, that did not reach it, or whose reply was cut off.
    pub(crate) unavailable: u64,
    pub(crate) words: String,
}

impl RefusalCounts {
    pub(crate) fn count(&self, error: &CallError) {
        let mut counts = self.0.lock();
        match error.kind {
            CallErrorKind::RateLimited { .. } => counts.refused += 1,
            CallErrorKind::Unavailable { .. } | CallErrorKind::Lost => counts.unavailable += 1,
            _ => return,
        }
        counts.words.clone_from(&error.message);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_are_counted() {
        let refusals = RefusalCounts::default();
        let kinds = [
            CallErrorKind::RateLimited { retry_after: None },
            CallErrorKind::Rejected,
            CallErrorKind::Unavailable { retry_after: None },
            CallErrorKind::ServerError { retry_after: None },
            CallErrorKind::RateLimited { retry_after: None },
        ];
        for (n, kind) in kinds.into_iter().enumerate() {
            refusals.count(&CallError::new(kind, format!("words {n}")));
        }
        assert_eq!(refusals.counts(), Counts { refused: 2, unavailable: 1, words: "words 4".to_owned() });
    }
}
