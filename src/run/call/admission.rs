//! Admission: makes a request wait for its share of the budget and its turn at the endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout};

use super::budget::{BudgetMeter, Cost, Reserved};
use super::context::USUAL_REPLY;
use super::endpoint::{EndpointState, Endpoints, ReplyLengths};
use super::limiter::{Turn, Verdict};
use super::residency::{Residencies, Stay};
use super::waiting::Waiting;
use crate::models::{Models, Target};
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Reply};
use crate::run::batch::Batches;
use crate::run::builds::Builds;
use crate::run::lane::Lane;
use crate::run::stop::{Stop, StopReason};
use crate::spec::{CallTokens, Price};

/// How often a call that has fallback models checks whether its turn is far off.
const CHECK: Duration = Duration::from_secs(1);

pub(crate) struct Admission {
    pub(crate) budget: BudgetMeter,
    pub(crate) endpoints: Endpoints,
    pub(crate) builds: Arc<Builds>,
    pub(crate) residencies: Residencies,
    pub(crate) stop: Stop,
    /// `None` if every call is sent at once.
    pub(crate) batches: Option<Batches>,
    /// Whether the budget may wait for calls of batches, which are not sent while rows wait for a lane.
    may_batch: bool,
    pub(super) texts: Waiting,
    calls: AtomicU64,
}

pub(crate) struct Admitted<'a> {
    turn: Turn<'a>,
    stay: Option<Stay<'a>>,
    reserved: Reserved<'a>,
    endpoint: &'a EndpointState,
    builds: &'a Builds,
    replies: &'a ReplyLengths,
    /// Held until the length of a reply is known.
    _first: Option<MutexGuard<'a, ()>>,
    model: usize,
    price: Option<Price>,
    prompt: u64,
}

/// A call that may go in a batch.
pub(crate) struct Batched<'a> {
    reserved: Reserved<'a>,
    replies: &'a ReplyLengths,
    price: Option<Price>,
    prompt: u64,
}

/// What the limiter says about a call that ended without a reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ended {
    /// `None` if the server did not refuse the call.
    pub(crate) verdict: Option<Verdict>,
    /// How long an outage has lasted.
    pub(crate) outage: Option<Duration>,
}

impl Admission {
    pub(crate) fn new(models: &Models, budget: BudgetMeter, endpoints: Endpoints, stop: Stop) -> Self {
        let (builds, residencies) = (Arc::new(Builds::new(models, stop.clone())), Residencies::new(models));
        Admission {
            budget,
            endpoints,
            builds,
            residencies,
            stop,
            batches: None,
            may_batch: false,
            texts: Waiting::default(),
            calls: AtomicU64::new(0),
        }
    }

    /// Lets calls go in batches.
    pub(crate) fn set_batches(&mut self, batches: Batches, models: &Models) {
        self.may_batch = batches.had_open() || models.iter().any(|target| target.batch.is_some());
        self.batches = Some(batches);
    }

    /// Whether calls may wait for batches, which takes hours: for their replies, or for the budget that they reserve.
    pub(crate) fn may_batch(&self) -> bool {
        self.may_batch
    }

    /// The age of a new call: the number of calls before it.
    pub(crate) fn age(&self) -> u64 {
        self.calls.fetch_add(1, Relaxed)
    }

    /// Waits until a request may be sent. Returns `None` if the run stops first, for example when the budget is spent.
    /// The error says why a call that has fallback models does not wait.
    pub(crate) async fn admit(
        &self,
        target: &Target,
        call: &Call<'_>,
        encoded: &Encoded,
        (age, lane): (u64, Option<&Lane>),
    ) -> Option<Result<Admitted<'_>, CallError>> {
        self.unless_refused(target)?;
        let (prompt, reply) = estimate(encoded, call);
        let (endpoint, price) = (&*self.endpoints.of(target).endpoint, target.price);
        let stay = self.stop.unless_draining(self.residencies.enter(target)).await?;
        let replies = &self.endpoints.of(target).replies;
        let sampling = &call.model.sampling;
        let is_guess = sampling.max_tokens.is_none() && sampling.embedding.is_none() && self.budget.limits_tokens();
        let first = match is_guess {
            true => self.stop.unless_draining(replies.await_first()).await?,
            false => None,
        };
        let reply = reply.max(replies.longest());
        let cost = Cost::of(CallTokens { prompt, reply, ..CallTokens::default() }, price, false);
        let reserved = self.reserve(cost, lane.filter(|_| self.may_batch)).await?;
        let turn = endpoint.limiter.turn(target.index, age, prompt + reply);
        match self.stop.unless_draining(self.turn_or_fallback(target, turn)).await {
            Some(Ok(turn)) => {
                let (builds, model) = (&*self.builds, target.index);
                Some(Ok(Admitted {
                    turn,
                    stay,
                    reserved,
                    endpoint,
                    builds,
                    replies,
                    _first: first,
                    model,
                    price,
                    prompt,
                }))
            }
            otherwise => {
                reserved.release();
                otherwise.map(|closed| closed.map(|_| unreachable!("a turn was given above")))
            }
        }
    }

    /// Waits until a call may go in a batch. Only the budget limits these. Returns `None` if the run stops first.
    pub(crate) async fn admit_to_batch(
        &self,
        target: &Target,
        call: &Call<'_>,
        encoded: &Encoded,
    ) -> Option<Batched<'_>> {
        self.unless_refused(target)?;
        let (prompt, reply) = estimate(encoded, call);
        let replies = &self.endpoints.of(target).replies;
        let tokens = CallTokens { prompt, reply: reply.max(replies.longest()), ..CallTokens::default() };
        let reserved = self.reserve(Cost::of(tokens, target.price, true), None).await?;
        Some(Batched { reserved, replies, price: target.price, prompt })
    }

    /// Stops the run, and returns `None`, if no call may be sent.
    fn unless_refused(&self, target: &Target) -> Option<()> {
        let Some(error) = target.refusal() else { return Some(()) };
        self.stop.drain(StopReason::Environment { model: target.name.clone(), error: error.clone() });
        None
    }

    /// A call that has to wait gives up `lane`.
    async fn reserve(&self, cost: Cost, lane: Option<&Lane>) -> Option<Reserved<'_>> {
        let reserve = async {
            let mut reserve = std::pin::pin!(self.budget.reserve(cost));
            tokio::select! {
                biased;
                reserved = &mut reserve => return reserved,
                () = std::future::ready(()) => {}
            }
            if let Some(lane) = lane {
                lane.give_up();
            }
            let _need = self.batches.as_ref().map(Batches::need);
            reserve.await
        };
        match self.stop.unless_draining(reserve).await? {
            Ok(reserved) => Some(reserved),
            Err(limit) => {
                self.stop.drain(StopReason::BudgetSpent { limit });
                None
            }
        }
    }

    async fn turn_or_fallback<'a>(
        &self,
        target: &Target,
        turn: impl Future<Output = Turn<'a>>,
    ) -> Result<Turn<'a>, CallError> {
        let limiter = &self.endpoints.of(target).endpoint.limiter;
        let mut turn = std::pin::pin!(turn);
        if target.fallback.is_empty() {
            return Ok(turn.await);
        }
        loop {
            if limiter.is_down(target.index) || limiter.closed_until(target.index).is_some() {
                let kind = CallErrorKind::Unavailable { retry_after: None };
                return Err(CallError { kind, message: "the server is down or lets no call in".to_owned() });
            }
            if let Ok(turn) = timeout(CHECK, &mut turn).await {
                return Ok(turn);
            }
        }
    }

    /// Stops the run if the server lets no call to this model in for longer than the patience.
    pub(crate) fn stop_if_closed(&self, target: &Target) {
        let limiter = &self.endpoints.of(target).endpoint.limiter;
        if let Some((until, error)) = limiter.closed_until(target.index)
            && target.fallback.is_empty()
        {
            let until = Utc::now() + until.duration_since(Instant::now());
            self.stop.drain(StopReason::LimitedUntil { model: target.name.clone(), until, error });
        }
    }
}

impl Batched<'_> {
    pub(crate) fn answered(self, reply: &Reply) -> Cost {
        let tokens = CallTokens {
            prompt: reply.prompt_tokens.unwrap_or(self.prompt),
            cached: reply.cached_tokens,
            cache_writes: reply.cache_writes,
            reply: reply.completion_tokens.unwrap_or(0),
        };
        let cost = Cost::of(tokens, self.price, true);
        self.replies.add(reply.completion_tokens);
        self.reserved.settle(cost);
        cost
    }

    /// The call was not made.
    pub(crate) fn release(self) {
        self.reserved.release();
    }

    /// The call is in a batch that a later run takes over. What it may cost stays reserved.
    pub(crate) fn left(self) {
        self.reserved.keep();
    }
}

impl Admitted<'_> {
    pub(crate) fn answered(self, reply: &Reply) -> Cost {
        let (prompt, completion) = (reply.prompt_tokens, reply.completion_tokens);
        let tokens = CallTokens {
            prompt: prompt.unwrap_or(self.prompt),
            cached: reply.cached_tokens,
            cache_writes: reply.cache_writes,
            reply: completion.unwrap_or(0),
        };
        let cost = Cost::of(tokens, self.price, false);
        self.replies.add(completion);
        self.reserved.settle(cost);
        self.turn.answered(prompt.zip(completion).map(|(prompt, reply)| prompt + reply), &reply.quotas);
        self.endpoint.is_up();
        if let Some(stay) = &self.stay {
            stay.answered();
        }
        cost
    }

    /// Ends the turn without a reply.
    pub(crate) fn failed(self, error: &CallError) -> Ended {
        if matches!(error.kind, CallErrorKind::Unavailable { .. } | CallErrorKind::Lost) {
            self.builds.lost(self.model);
        }
        match error.kind {
            CallErrorKind::RateLimited { retry_after } | CallErrorKind::Unavailable { retry_after } => {
                let (verdict, outage) = self.turn.refused(retry_after, error);
                Ended { verdict: Some(verdict), outage }
            }
            CallErrorKind::Lost => {
                let (verdict, outage) = self.turn.lost();
                Ended { verdict: Some(verdict), outage }
            }
            CallErrorKind::Timeout => Ended { verdict: None, outage: self.turn.timed_out() },
            // The request did not leave this machine.
            CallErrorKind::TooManyOpenFiles => Ended::default(),
            _ => {
                self.turn.failed();
                Ended::default()
            }
        }
    }
}

/// Estimates the tokens of prompt and reply: one token per 4 bytes, and the longest reply allowed.
fn estimate(encoded: &Encoded, call: &Call<'_>) -> (u64, u64) {
    let reply = match call.model.sampling.embedding {
        Some(_) => 0,
        None => call.model.sampling.max_tokens.map_or(USUAL_REPLY, u64::from),
    };
    (encoded.body.len() as u64 / 4, reply)
}
