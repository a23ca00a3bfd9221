//! Following batches: asks the provider how far a job is, fetches its results, and gives each call its reply.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::results::{Results, path};
use super::shared::{Asked, Halt, Outcome, Patience, Shared, Waiting, Watched, died};
use super::standing::GIVEN_UP;
use crate::provider::{BatchJob, BatchState, CallError, CallErrorKind};
use crate::store::Batch;

/// The provider is asked again after this share of the job's age, with some jitter.
const SHARE: u32 = 10;
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(60);
/// A job that was made so short a time ago may not be known everywhere yet.
const NEW: Duration = Duration::from_secs(60);
/// The wait after the provider refused a batch because too much is queued. It doubles.
const QUEUE_WAIT: Duration = Duration::from_secs(2);
const LONGEST_QUEUE_WAIT: Duration = Duration::from_secs(600);
const MOST_REFUSED: u32 = 200;
/// How often results that are not there, or of a batch that was given up, are fetched, and the wait between.
const ENOUGH: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

type Waiters = HashMap<String, oneshot::Sender<Outcome>>;

/// What became of a job.
enum End {
    /// Also whether it was cancelled while this run waited for it.
    Results(Results, bool),
    /// The provider does not know it.
    Lost,
    Failed(CallError),
    /// It has not ended, and the run does not wait.
    Left,
}

/// Lets calls wait for a batch whose job is known.
pub(super) fn attach(shared: &Arc<Shared>, asked: &Asked, batch: Batch, calls: impl Iterator<Item = Waiting>) {
    shared.is_used.store(true, Relaxed);
    let mut jobs = shared.jobs.lock();
    let watched = jobs.entry(batch.id).or_insert_with(|| Watched {
        batch: batch.clone(),
        model: asked.name.clone(),
        since: Instant::now(),
        waiting: HashMap::new(),
        is_followed: false,
    });
    watched.waiting.extend(calls.map(|call| (call.id, call.done)));
    if !std::mem::replace(&mut watched.is_followed, true) {
        tokio::spawn(follow(shared.clone(), asked.clone(), batch));
    }
}

async fn follow(shared: Arc<Shared>, asked: Asked, batch: Batch) {
    let guard = shared.stop.on_panic();
    if let Err(halt) = follow_to_end(&shared, &asked, &batch).await {
        // Calls that are not told anything end with the run.
        while let Some(waiting) = take(&shared, &batch) {
            if let Halt::Failed(error) = &halt {
                tell(waiting, || Outcome::Failed(error.clone()));
            }
        }
    }
    drop(guard);
}

/// Takes the calls that wait for the batch. Without one, the following ends.
fn take(shared: &Shared, batch: &Batch) -> Option<Waiters> {
    let mut jobs = shared.jobs.lock();
    let watched = jobs.get_mut(&batch.id)?;
    if watched.waiting.is_empty() {
        watched.is_followed = false;
        return None;
    }
    Some(std::mem::take(&mut watched.waiting))
}

fn tell(waiting: Waiters, outcome: impl Fn() -> Outcome) {
    for done in waiting.into_values() {
        // The receiver is gone only if the run stops.
        let _ = done.send(outcome());
    }
}

async fn follow_to_end(shared: &Shared, asked: &Asked, batch: &Batch) -> Result<(), Halt> {
    let end = match open(shared, asked, batch).await? {
        Some(results) => End::Results(results, false),
        None => ended(shared, asked, batch).await?,
    };
    match end {
        End::Results(results, cancelled) => deliver(shared, asked, batch, (results, cancelled)).await,
        End::Lost => {
            forget(shared, batch).await?;
            tell_all(shared, batch, || Outcome::Missing);
            Ok(())
        }
        End::Failed(error) => {
            forget(shared, batch).await?;
            failed(shared, asked, batch, error).await
        }
        End::Left => {
            while let Some(waiting) = take(shared, batch) {
                shared.left.fetch_add(waiting.len() as u64, Relaxed);
                tell(waiting, || Outcome::Left);
            }
            Ok(())
        }
    }
}

fn tell_all(shared: &Shared, batch: &Batch, outcome: impl Fn() -> Outcome) {
    while let Some(waiting) = take(shared, batch) {
        tell(waiting, &outcome);
    }
}

/// Removes all calls from a batch that has no results, so that they may be sent again.
async fn forget(shared: &Shared, batch: &Batch) -> Result<(), Halt> {
    let id = batch.id;
    shared.ledger(move |ledger| ledger.keep_batch_calls(id, |_| false)).await.map(drop)
}

async fn failed(shared: &Shared, asked: &Asked, batch: &Batch, error: CallError) -> Result<(), Halt> {
    match error.kind {
        CallErrorKind::RateLimited { .. } => {
            let refused = asked.refused.fetch_add(1, Relaxed);
            if refused >= MOST_REFUSED {
                return Err(Halt::Failed(error));
            }
            asked.most.fetch_min((batch.calls as usize / 2).max(1), Relaxed);
            shared.sleep(QUEUE_WAIT.saturating_mul(1 << refused.min(12)).min(LONGEST_QUEUE_WAIT)).await?;
            tell_all(shared, batch, || Outcome::Refused);
        }
        CallErrorKind::ServerError { .. } | CallErrorKind::Unavailable { .. } | CallErrorKind::Timeout => {
            tell_all(shared, batch, || Outcome::Missing);
        }
        _ => return Err(Halt::Failed(error)),
    }
    Ok(())
}

/// The results that are on disk.
async fn open(shared: &Shared, asked: &Asked, batch: &Batch) -> Result<Option<Results>, Halt> {
    read(asked, path(&shared.folder, &batch.name)).await
}

async fn read(asked: &Asked, file: PathBuf) -> Result<Option<Results>, Halt> {
    let asked = asked.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let client = asked.client()?;
        Results::open(&file, &client).map_err(|error| unreadable(&error))
    });
    opened.await.map_err(|_| died())?
}

fn unreadable(error: &std::io::Error) -> Halt {
    Halt::Failed(CallError::new(CallErrorKind::Malformed, format!("the results of a batch can't be used: {error}")))
}

/// Gives each waiting call its reply, also those that come meanwhile.
async fn deliver(
    shared: &Shared,
    asked: &Asked,
    batch: &Batch,
    (results, cancelled): (Results, bool),
) -> Result<(), Halt> {
    let results = Arc::new(results);
    let (id, has) = (batch.id, results.clone());
    shared.ledger(move |ledger| ledger.keep_batch_calls(id, |call| has.has(call))).await?;
    while let Some(waiting) = take(shared, batch) {
        let (asked, results) = (asked.clone(), results.clone());
        let delivered = tokio::task::spawn_blocking(move || {
            let client = asked.client()?;
            // All begin before the first call gets its outcome.
            let waiting: Vec<_> = waiting.into_iter().map(|(id, done)| (id, done, asked.unjudged.begin())).collect();
            for (id, done, judging) in waiting {
                let reply = results.get(&id, &client).and_then(|(_, reply)| reply);
                let outcome = match reply {
                    Some(reply) => Outcome::Reply { reply: Box::new(reply), judging },
                    None if cancelled => Outcome::Failed(was_cancelled()),
                    None => Outcome::Missing,
                };
                // The receiver is gone only if the run stops.
                let _ = done.send(outcome);
            }
            Ok::<(), Halt>(())
        });
        delivered.await.map_err(|_| died())??;
    }
    Ok(())
}

fn was_cancelled() -> CallError {
    CallError::new(
        CallErrorKind::Rejected,
        "its batch was cancelled; the next run sends the calls without a reply again",
    )
}

/// Waits for the end of a job, and fetches its results.
async fn ended(shared: &Shared, asked: &Asked, batch: &Batch) -> Result<End, Halt> {
    let client = asked.client()?;
    let Some(id) = batch.job.as_deref() else { return Ok(End::Lost) };
    let (mut patience, mut was_running) = (Patience::new(), false);
    loop {
        let job = match client.look(id).await {
            Ok(job) => job,
            Err(error) => {
                patience.wait(shared, error).await?;
                continue;
            }
        };
        patience = Patience::new();
        let age = age(batch);
        match job {
            None if age >= NEW || was_running => return Ok(End::Lost),
            None => {}
            Some(job) => {
                note(shared, batch, &job).await?;
                match job.state {
                    BatchState::Running if shared.leaves => return Ok(End::Left),
                    BatchState::Running => was_running = true,
                    BatchState::Failed(error) => return Ok(End::Failed(error)),
                    BatchState::Ended | BatchState::Cancelled => {
                        let is_cancelled = job.state == BatchState::Cancelled && was_running;
                        let results = fetch(shared, asked, batch, &job).await?;
                        return Ok(results.map_or(End::Lost, |results| End::Results(results, is_cancelled)));
                    }
                }
            }
        }
        let pause = (age / SHARE).clamp(SHORTEST, LONGEST).mul_f64(0.75 + rand::random::<f64>() / 2.0);
        shared.sleep(pause).await?;
    }
}

fn age(batch: &Batch) -> Duration {
    let now = chrono::Utc::now().timestamp_millis();
    Duration::from_millis(now.saturating_sub(batch.created).max(0) as u64)
}

/// Notes how far a job is.
async fn note(shared: &Shared, batch: &Batch, job: &BatchJob) -> Result<(), Halt> {
    let is_new = shared.jobs.lock().get_mut(&batch.id).is_some_and(|watched| {
        let known = &mut watched.batch;
        let is_new = known.done != job.done || known.state.as_deref() != Some(&job.word);
        (known.done, known.state) = (job.done, Some(job.word.clone()));
        is_new
    });
    // The mark stays until the calls are recorded.
    if !is_new || batch.state.as_deref() == Some(GIVEN_UP) {
        return Ok(());
    }
    let (id, word, done) = (batch.id, job.word.clone(), job.done);
    shared.ledger(move |ledger| ledger.set_batch_state(id, &word, done)).await
}

/// Downloads the results into their file, which gets its name when it is complete. `None` if the provider has none, and the
/// batch was cancelled here.
///
/// A file with fewer results than the job has is fetched again: to send the calls again would pay them twice.
async fn fetch(shared: &Shared, asked: &Asked, batch: &Batch, job: &BatchJob) -> Result<Option<Results>, Halt> {
    let client = asked.client()?;
    let file = path(&shared.folder, &batch.name);
    std::fs::create_dir_all(&shared.folder).map_err(|error| unreadable(&error))?;
    let is_given_up = batch.state.as_deref() == Some(GIVEN_UP);
    let (mut patience, mut missing, mut incomplete) = (Patience::new(), 0, 0);
    loop {
        let mut part = tempfile::NamedTempFile::new_in(&shared.folder).map_err(|error| unreadable(&error))?;
        let done = match client.download(job, &mut part).await {
            Ok(()) => {
                part.flush().and_then(|()| part.as_file().sync_data()).map_err(|error| unreadable(&error))?;
                let found = read(asked, part.path().to_owned()).await?.ok_or(Halt::Stopped)?;
                incomplete += 1;
                let least = match (incomplete < ENOUGH, is_given_up) {
                    (true, _) => job.done,
                    // Servers count differently what was not answered.
                    (false, false) => job.answered,
                    (false, true) => 0,
                };
                complete(&found, least, job).map(|()| found)
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(found) => {
                part.persist(&file).map_err(|error| unreadable(&error.error))?;
                return Ok(Some(found));
            }
            Err(error) if error.kind == CallErrorKind::UnknownModel => {
                missing += 1;
                match (missing < ENOUGH, is_given_up) {
                    (true, _) => shared.sleep(PAUSE).await?,
                    (false, true) => return Ok(None),
                    (false, false) => return Err(Halt::Failed(no_results(job))),
                }
            }
            Err(error) => patience.wait(shared, error).await?,
        }
    }
}

fn no_results(job: &BatchJob) -> CallError {
    let message = format!(
        "the provider has no results of batch {}; `fanfold batches --cancel` gives its calls up, and the next run sends them \
         again, and pays them again",
        job.id
    );
    CallError::new(CallErrorKind::Rejected, message)
}

/// Fails if the results have fewer calls than `least`.
fn complete(found: &Results, least: u64, job: &BatchJob) -> Result<(), CallError> {
    let found = found.calls();
    if found >= least {
        return Ok(());
    }
    let message = format!("the results of batch {} have {found} calls, and {} have ended", job.id, job.done);
    Err(CallError::new(CallErrorKind::ServerError { retry_after: None }, message))
}
