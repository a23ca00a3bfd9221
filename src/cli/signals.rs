//! Signals: the first asks the run to drain, the second drops what is in flight.

use std::time::Duration;

use super::terminal::Terminal;
use crate::run::{Stop, StopReason};

/// How long the calls in flight may take after the first signal.
const DRAIN: Duration = Duration::from_secs(30);

/// Listens for signals and turns the switch.
#[cfg(unix)]
pub async fn listen(stop: Stop, terminal: Terminal) {
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

/// Listens for Ctrl-C and turns the switch.
#[cfg(not(unix))]
pub async fn listen(stop: Stop, terminal: Terminal) {
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

fn drain(stop: &Stop, terminal: &Terminal, reason: StopReason) {
    stop.drain(reason);
    terminal.note("stopping: calls in flight may end (30 s); once more to drop them");
}
