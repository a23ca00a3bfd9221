//! Gathering: collects the calls to a model until they are worth a batch.
//!
//! A batch is sent when it is full, or when no call has come for a moment and no part of the run is about to add one, or
//! calls wait for the budget that the batch has reserved.
//! The number of rows in memory thus limits the size of a batch, not the number of lanes: a waiting call lends its lane.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::shared::{Asked, Shared, Waiting};
use super::submit::submit;

/// The time without a new call after which a batch is sent.
const QUIET: Duration = Duration::from_millis(250);
/// A batch is sent after this time, also if calls of other models hold up the next ones.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) async fn gather(shared: Arc<Shared>, asked: Asked, mut calls: mpsc::UnboundedReceiver<Waiting>) {
    let guard = shared.stop.on_panic();
    let Ok(limits) = asked.client().map(|client| client.limits()) else { return };
    let (mut held, mut bytes, mut since): (Vec<Waiting>, usize, Instant) = (Vec::new(), 0, Instant::now());
    loop {
        let next = tokio::select! {
            biased;
            () = shared.stop.draining() => break,
            next = timeout(QUIET, calls.recv()) => next,
        };
        let most = limits.calls.min(asked.most.load(Relaxed));
        let is_old = !held.is_empty() && since.elapsed() > LONGEST;
        let (call, is_due) = match next {
            Ok(None) => break,
            Ok(Some(call)) => {
                let is_full = held.len() >= most || bytes + call.entry.len() > limits.bytes && !held.is_empty();
                (Some(call), is_full || is_old)
            }
            Err(_) => {
                let is_awaited = shared.holds.load(Relaxed) == 0 || shared.needs.load(Relaxed) > 0;
                (None, is_old || !held.is_empty() && is_awaited)
            }
        };
        if is_due {
            bytes = 0;
            let mut all = std::mem::take(&mut held);
            while all.len() > most {
                let rest = all.split_off(most);
                submit(&shared, &asked, std::mem::replace(&mut all, rest)).await;
            }
            submit(&shared, &asked, all).await;
        }
        if let Some(call) = call {
            if held.is_empty() {
                since = Instant::now();
            }
            // A comma or a line end follows.
            bytes += call.entry.len() + 1;
            held.push(call);
        }
    }
    drop(guard);
}
