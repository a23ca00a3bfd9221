//! Stopping: stops the whole run. It first drains (sends no new calls, lets those in flight end), then aborts.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::call::SpentLimit;
use super::replay::MissingCall;
use crate::models::BuildChange;
use crate::prompt::Failure;
use crate::provider::CallError;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StopReason {
    Interrupted,
    Terminated,
    TooManyFailed {
        stage: String,
        failed: u64,
        allowed: u64,
    },
    /// All other calls would fail too: a wrong key, a missing model, a server that is down.
    Environment {
        model: String,
        error: CallError,
    },
    /// The server refuses all calls until `until`, which is later than the run can wait.
    LimitedUntil {
        model: String,
        until: DateTime<Utc>,
        error: CallError,
    },
    /// Nothing was answered, and the first requests of a model (or the first rows of a stage) failed alike.
    FailedAlike {
        first: First,
        failure: Failure,
    },
    BudgetSpent {
        limit: SpentLimit,
    },
    /// Servers had another build of these models at the end than at the start.
    BuildChanged(Vec<BuildChange>),
    /// Batches with these calls are at their providers, and the run does not wait for them.
    Left {
        calls: u64,
    },
    NotRecorded {
        count: u64,
        first: Vec<MissingCall>,
    },
    /// The engine itself failed; its error is reported elsewhere.
    Failed,
}

/// What failed before anything was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum First {
    Requests { model: String, count: u32 },
    Rows { stage: String, count: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Going,
    Draining,
    Aborted,
}

/// The stop signal of a run; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    level: Arc<watch::Sender<Level>>,
    reason: Arc<Mutex<Option<StopReason>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { level: Arc::new(watch::Sender::new(Level::Going)), reason: Arc::default() }
    }
}

impl Stop {
    /// Sends no new call and lets those in flight end. The first reason counts.
    pub(crate) fn drain(&self, reason: StopReason) {
        let mut first = self.reason.lock();
        first.get_or_insert(reason);
        self.raise(Level::Draining);
    }

    pub(crate) fn abort(&self) {
        self.raise(Level::Aborted);
    }

    /// Stops the run when dropped during a panic; other tasks would wait forever for this one.
    pub(crate) fn on_panic(&self) -> StopOnPanic<'_> {
        StopOnPanic(self)
    }

    fn raise(&self, level: Level) {
        self.level.send_if_modified(|now| {
            let higher = level > *now;
            *now = (*now).max(level);
            higher
        });
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.reason.lock().clone()
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.level.borrow() >= Level::Draining
    }

    pub(crate) async fn draining(&self) {
        let mut level = self.level.subscribe();
        // The sender lives in `self`, so waiting can't fail.
        let _ = level.wait_for(|l| *l >= Level::Draining).await;
    }

    /// Waits for `future`. Returns `None` once no new call may be sent.
    pub(crate) async fn unless_draining<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.draining() => None,
            value = future => Some(value),
        }
    }

    pub(crate) async fn aborted(&self) {
        let mut level = self.level.subscribe();
        let _ = level.wait_for(|l| *l >= Level::Aborted).await;
    }
}

pub(crate) struct StopOnPanic<'a>(&'a Stop);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.drain(StopReason::Failed);
        }
    }
}
