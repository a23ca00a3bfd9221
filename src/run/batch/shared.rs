//! What the calls of all batches of a run share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::models::Target;
use crate::provider::{BatchClient, CallError, CallErrorKind, Provider, Reply};
use crate::run::stop::Stop;
use crate::store::{Batch, Key, Ledger, LedgerError, Since};

/// The longest time for which a server may be down or refuse requests.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Shared {
    pub(super) ledger: PathBuf,
    /// The folder of results.
    pub(super) folder: PathBuf,
    /// Batches before this do not count.
    pub(super) since: Since,
    pub(super) stop: Stop,
    /// Whether batches that have not ended are left.
    pub(super) leaves: bool,
    pub(super) sends: bool,
    /// Whether an earlier run has left a batch.
    pub(super) had_open: bool,
    /// The calls that were left.
    pub(super) left: AtomicU64,
    /// How many parts of the run have calls that they will add soon.
    pub(super) holds: AtomicUsize,
    /// How many calls wait for the end of a batch, because it has reserved the budget.
    pub(super) needs: AtomicUsize,
    /// Held while a batch is sent. At most one batch has an unknown job when the process is killed.
    pub(super) sending: tokio::sync::Mutex<()>,
    pub(super) jobs: Mutex<HashMap<i64, Watched>>,
    pub(super) is_used: AtomicBool,
}

/// A batch whose job is known.
pub(super) struct Watched {
    pub(super) batch: Batch,
    /// The model's name in the spec.
    pub(super) model: String,
    pub(super) since: Instant,
    pub(super) waiting: HashMap<String, oneshot::Sender<Outcome>>,
    pub(super) is_followed: bool,
}

/// How the wait for a batch ended for a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The results have a reply or an error.
    Reply { reply: Box<Result<Reply, CallError>>, judging: Judging },
    /// The batch ended without the call, for example because it expired.
    Missing,
    /// The provider took no batch of this size at the moment.
    Refused,
    /// The batch can't be sent, or was cancelled.
    Failed(CallError),
    /// The batch has not ended, and the run does not wait for it.
    Left,
}

/// The replies of batches to one model that have come and that no call has judged yet. They come at once, so their order
/// says nothing about the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unjudged(Arc<AtomicUsize>);

/// A reply that is not judged yet; it is when this is dropped.
#[derive(Debug)]
pub(crate) struct Judging(Unjudged);

impl Unjudged {
    pub(crate) fn begin(&self) -> Judging {
        self.0.fetch_add(1, Relaxed);
        Judging(self.clone())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

impl Drop for Judging {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// A call that waits for its reply.
pub(super) struct Waiting {
    /// The id in the job.
    pub(super) id: String,
    pub(super) key: Key,
    /// The call as a part of a job.
    pub(super) entry: Vec<u8>,
    pub(super) done: oneshot::Sender<Outcome>,
}

/// The model that a batch asks.
#[derive(Clone)]
pub(super) struct Asked {
    /// The name in the spec, and the id at the provider.
    pub(super) name: String,
    pub(super) id: String,
    provider: Arc<dyn Provider>,
    /// Whether calls that are in no batch may be sent in one.
    pub(super) sends: bool,
    /// The most calls of a batch that the provider takes at the moment.
    pub(super) most: Arc<AtomicUsize>,
    /// How many batches it has refused.
    pub(super) refused: Arc<AtomicU32>,
    pub(super) unjudged: Unjudged,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Halt {
    Stopped,
    Failed(CallError),
}

impl From<LedgerError> for Halt {
    fn from(error: LedgerError) -> Self {
        Halt::Failed(CallError::new(CallErrorKind::Malformed, error.to_string()))
    }
}

/// The error of a thread that panicked.
pub(super) fn died() -> Halt {
    Halt::Failed(CallError::new(CallErrorKind::Malformed, "a part of the engine failed"))
}

impl Asked {
    pub(super) fn of(target: &Target, sends: bool, unjudged: Unjudged) -> Asked {
        let (name, id, provider) = (target.name.clone(), target.model.id.clone(), target.provider.clone());
        let (most, refused) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::default());
        Asked { name, id, provider, sends: sends && target.batch.is_some(), most, refused, unjudged }
    }

    pub(super) fn client(&self) -> Result<BatchClient<'_>, Halt> {
        let none = || Halt::Failed(CallError::new(CallErrorKind::Rejected, "the provider has no batches"));
        self.provider.batches().ok_or_else(none)
    }

    pub(super) fn server(&self) -> String {
        server(self.provider.as_ref())
    }
}

impl Shared {
    /// Uses the ledger in another thread.
    pub(super) async fn ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Halt> {
        let path = self.ledger.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut Ledger::open(&path)?));
        Ok(done.await.map_err(|_| died())??)
    }

    /// Waits, unless the run stops.
    pub(super) async fn sleep(&self, time: Duration) -> Result<(), Halt> {
        self.stop.unless_draining(tokio::time::sleep(time)).await.ok_or(Halt::Stopped)
    }
}

/// The name under which the ledger stores the batches of a provider.
pub(super) fn server(provider: &dyn Provider) -> String {
    format!("{} {}", provider.kind(), provider.endpoint())
}

/// The tries of a request.
pub(super) struct Patience {
    began: Instant,
    tries: u32,
}

impl Patience {
    pub(super) fn new() -> Self {
        Patience { began: Instant::now(), tries: 0 }
    }

    /// Waits before the next try, or returns why there is none.
    pub(super) async fn wait(&mut self, shared: &Shared, error: CallError) -> Result<(), Halt> {
        let floor = match &error.kind {
            CallErrorKind::RateLimited { retry_after }
            | CallErrorKind::Unavailable { retry_after }
            | CallErrorKind::ServerError { retry_after } => retry_after.unwrap_or_default(),
            CallErrorKind::Lost | CallErrorKind::Timeout | CallErrorKind::TooManyOpenFiles => Duration::ZERO,
            _ => return Err(Halt::Failed(error)),
        };
        let own = FIRST_WAIT.saturating_mul(1 << self.tries.min(10)).min(LONGEST_WAIT);
        let wait = floor + own.mul_f64(0.5 + rand::random::<f64>());
        self.tries += 1;
        match self.began.elapsed() + wait > PATIENCE {
            true => Err(Halt::Failed(error)),
            false => shared.sleep(wait).await,
        }
    }
}
