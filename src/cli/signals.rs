//! Signals: the first one drains the run, the second one aborts the calls in flight.

use std::time::Duration;

use serde_json::json;

use super::terminal::Notes;
use super::{Exit, Terminal};
use crate::run::{First, Stop, StopReason};

/// The time limit of calls in flight after the first signal.
const DRAIN: Duration = Duration::from_secs(30);

#[cfg(unix)]
pub(crate) async fn listen(stop: Stop, terminal: Terminal) {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = signals else { return };
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => StopReason::Interrupted,
            _ = terminate.recv() => StopReason::Terminated,
            _ = hangup.recv() => StopReason::Terminated,
        }
    };
    let reason = next().await;
    drain(&stop, &terminal, reason);
    tokio::select! {
        _ = next() => {}
        () = tokio::time::sleep(DRAIN) => {}
    }
    stop.abort();
}

#[cfg(not(unix))]
pub(crate) async fn listen(stop: Stop, terminal: Terminal) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    drain(&stop, &terminal, StopReason::Interrupted);
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = tokio::time::sleep(DRAIN) => {}
    }
    stop.abort();
}

/// Stops as after a signal when standard input ends.
pub(crate) fn watch_input(stop: Stop, terminal: Terminal) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drain(&stop, &terminal, StopReason::Terminated);
        std::thread::sleep(DRAIN);
        stop.abort();
    });
}

fn drain(stop: &Stop, terminal: &Terminal, reason: StopReason) {
    stop.drain(reason);
    if terminal.notes == Notes::Json {
        return terminal.event(json!({ "event": "stopping" }));
    }
    terminal.note("stopping: waiting up to 30 s for calls in flight; press Ctrl-C again to abort them");
}

pub(crate) fn stopped(reason: &StopReason) -> Exit {
    match reason {
        StopReason::Left { .. } => Exit::Ok,
        StopReason::Interrupted => Exit::Interrupted,
        StopReason::Terminated => Exit::Terminated,
        StopReason::TooManyFailed { .. } => Exit::Failed,
        StopReason::BudgetSpent { .. } => Exit::Budget,
        StopReason::NotRecorded { .. } => Exit::NotRecorded,
        StopReason::BuildChanged(_) => Exit::Lock,
        StopReason::FailedAlike { first: First::Rows { .. }, .. } => Exit::Spec,
        StopReason::Environment { .. }
        | StopReason::LimitedUntil { .. }
        | StopReason::FailedAlike { .. }
        | StopReason::Failed => Exit::Environment,
    }
}
