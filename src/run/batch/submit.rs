//! Sending batches: finds the open batches that have some of the calls already, and sends the others as a new one.

use std::sync::Arc;
use std::time::Duration;

use super::follow::attach;
use super::shared::{Asked, Halt, Outcome, Patience, Shared, Waiting};
use crate::provider::{BatchJob, CallError, CallErrorKind, LostJob};
use crate::store::{Batch, NewBatch, Placed};

/// A job that was sent so short a time ago may not be in the list of jobs yet.
const RECENT_MS: i64 = 60_000;
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Puts the calls into batches. Calls that can't be sent get the error.
pub(super) async fn submit(shared: &Arc<Shared>, asked: &Asked, mut calls: Vec<Waiting>) {
    let _turn = shared.sending.lock().await;
    match place(shared, asked, &mut calls).await {
        Ok(()) | Err(Halt::Stopped) => {}
        Err(Halt::Failed(error)) => {
            for call in calls {
                // The receiver is gone only if the run stops.
                let _ = call.done.send(Outcome::Failed(error.clone()));
            }
        }
    }
}

/// Takes the calls away that are in a batch now.
async fn place(shared: &Arc<Shared>, asked: &Asked, calls: &mut Vec<Waiting>) -> Result<(), Halt> {
    loop {
        if shared.stop.is_draining() {
            return Err(Halt::Stopped);
        }
        let keys: Vec<_> = calls.iter().map(|call| (call.id.clone(), call.key)).collect();
        let (name, server, model, since) = (new_name(), asked.server(), asked.id.clone(), shared.since);
        let placed = shared.ledger(move |ledger| {
            ledger.place_calls(NewBatch { name: &name, server: &server, model: &model, since }, &keys)
        });
        let (known, made) = match placed.await? {
            Placed::Unknown(batches) => {
                for batch in batches {
                    recover(shared, asked, batch).await?;
                }
                continue;
            }
            Placed::Known(known, made) => (known, made),
        };
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (call, batch) in std::mem::take(calls).into_iter().zip(known) {
            match batch {
                Some(batch) => old.push((batch, call)),
                None => new.push(call),
            }
        }
        while let Some((batch, _)) = old.first() {
            let id = batch.id;
            let (its, others): (Vec<_>, Vec<_>) = old.into_iter().partition(|(batch, _)| batch.id == id);
            old = others;
            let batch = its[0].0.clone();
            attach(shared, asked, batch, its.into_iter().map(|(_, call)| call));
        }
        let Some(batch) = made else { return Ok(()) };
        if !asked.sends {
            // The batch in which they were has ended without them meanwhile.
            shared.ledger(move |ledger| ledger.drop_batch(batch.id)).await?;
            for call in new {
                // The receiver is gone only if the run stops.
                let _ = call.done.send(Outcome::Missing);
            }
            return Ok(());
        }
        match send(shared, asked, &batch, &mut new).await {
            Ok(batch) => attach(shared, asked, batch, new.into_iter()),
            Err(halt) => {
                *calls = new;
                return Err(halt);
            }
        }
        return Ok(());
    }
}

/// Sends a new batch. Its job is in the ledger when this returns.
async fn send(shared: &Shared, asked: &Asked, batch: &Batch, calls: &mut [Waiting]) -> Result<Batch, Halt> {
    let entries: Vec<Vec<u8>> = calls.iter_mut().map(|call| std::mem::take(&mut call.entry)).collect();
    let sent = send_entries(shared, asked, batch, &entries).await;
    match &sent {
        Err(Halt::Failed(error)) if is_refusal(error) => {
            let id = batch.id;
            shared.ledger(move |ledger| ledger.drop_batch(id)).await?;
        }
        // The server may have the job. The next run looks for it.
        _ => {}
    }
    sent
}

async fn send_entries(shared: &Shared, asked: &Asked, batch: &Batch, entries: &[Vec<u8>]) -> Result<Batch, Halt> {
    let client = asked.client()?;
    let (id, mut batch) = (batch.id, batch.clone());
    let mut patience = Patience::new();
    batch.file = loop {
        match client.upload(&batch.name, entries).await {
            Ok(file) => break file,
            Err(error) => patience.wait(shared, error).await?,
        }
    };
    if let Some(file) = batch.file.clone() {
        shared.ledger(move |ledger| ledger.set_batch_file(id, &file)).await?;
    }
    let mut patience = Patience::new();
    let job = loop {
        match client.create((&batch.name, &asked.id), batch.file.as_deref(), entries).await {
            Ok(job) => break job,
            Err(error) => patience.wait(shared, error).await?,
        }
        // The server may have made the job before the connection was lost.
        if let Some(job) = find(shared, asked, &batch).await? {
            break job;
        }
    };
    batch.job = Some(job.id.clone());
    shared.ledger(move |ledger| ledger.set_batch_job(id, &job.id)).await?;
    Ok(batch)
}

/// Whether the server has certainly made no job.
fn is_refusal(error: &CallError) -> bool {
    matches!(
        error.kind,
        CallErrorKind::Rejected
            | CallErrorKind::Unauthorized
            | CallErrorKind::UnknownModel
            | CallErrorKind::QuotaExhausted
            | CallErrorKind::RateLimited { .. }
            | CallErrorKind::ContextTooLong
            | CallErrorKind::Tls
    )
}

/// Finds the job of a batch that an earlier process was sending when it ended. Without a job, the batch is forgotten.
async fn recover(shared: &Shared, asked: &Asked, batch: Batch) -> Result<(), Halt> {
    let mut found = find(shared, asked, &batch).await?;
    if found.is_none() && chrono::Utc::now().timestamp_millis() - batch.created < RECENT_MS {
        shared.sleep(LOOK_AGAIN).await?;
        found = find(shared, asked, &batch).await?;
    }
    let id = batch.id;
    shared
        .ledger(move |ledger| match found {
            Some(job) => ledger.set_batch_job(id, &job.id),
            None => ledger.drop_batch(id),
        })
        .await
}

async fn find(shared: &Shared, asked: &Asked, batch: &Batch) -> Result<Option<BatchJob>, Halt> {
    let client = asked.client()?;
    let known = shared.ledger(|ledger| ledger.batch_jobs()).await?;
    let (name, file) = (batch.name.as_str(), batch.file.as_deref());
    let lost = LostJob { name, file, calls: batch.calls, created: batch.created, known: &known };
    let mut patience = Patience::new();
    loop {
        match client.find(lost).await {
            Ok(found) => return Ok(found),
            Err(error) => patience.wait(shared, error).await?,
        }
    }
}

fn new_name() -> String {
    format!("fanfold-{:032x}", rand::random::<u128>())
}
