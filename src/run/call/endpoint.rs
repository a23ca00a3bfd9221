//! Endpoints: state that all calls to an endpoint or to a model share during a run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout};

use super::first_answer::FirstAnswer;
use super::form::Forms;
use super::limiter::Limiter;
use super::refusal_counts::{Counts, RefusalCounts};
use super::structured_output::StructuredOutput;
use crate::models::{Models, Target};
use crate::run::under_way::UnderWay;
use crate::run::wait::{Held, Wait, WaitKind};
use crate::spec::{OnOutage, Spec, StageSpec};

/// How long calls wait for the first reply, whose length says what a call costs.
const FIRST_REPLY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Endpoints(HashMap<usize, ModelState>);

#[derive(Debug)]
pub(crate) struct ModelState {
    pub(crate) endpoint: Arc<EndpointState>,
    pub(crate) structured_output: StructuredOutput,
    pub(crate) forms: Forms,
    pub(crate) first_answer: FirstAnswer,
    pub(crate) refusals: RefusalCounts,
    /// The calls that wait for their turn or are in flight.
    pub(crate) pending: UnderWay,
    /// The requests in flight.
    pub(crate) sent: UnderWay,
    pub(crate) replies: ReplyLengths,
    /// The model's name in the spec.
    name: String,
    /// `timeout_secs` of the provider.
    deadline: Option<u64>,
    holds_one_model: bool,
    /// Whether a stage asks the model itself, not only as another model's fallback.
    is_asked: bool,
}

/// How long the replies of a model are: a call without `max_tokens` may cost as much as the longest one.
#[derive(Debug, Default)]
pub(crate) struct ReplyLengths {
    /// In tokens; 0 before the first reply.
    longest: AtomicU64,
    first: tokio::sync::Mutex<()>,
}

impl ReplyLengths {
    pub(crate) fn longest(&self) -> u64 {
        self.longest.load(Relaxed)
    }

    /// A server need not count the tokens.
    pub(crate) fn add(&self, tokens: Option<u64>) {
        self.longest.fetch_max(tokens.unwrap_or_default().max(1), Relaxed);
    }

    /// Waits a moment for the first reply. The first call does not wait, and makes the others wait while it has the result.
    pub(crate) async fn await_first(&self) -> Option<MutexGuard<'_, ()>> {
        if self.longest() > 0 {
            return None;
        }
        let first = timeout(FIRST_REPLY, self.first.lock()).await.ok()?;
        (self.longest() == 0).then_some(first)
    }
}

#[derive(Debug)]
pub(crate) struct EndpointState {
    pub(crate) limiter: Limiter,
    pub(crate) on_outage: OnOutage,
    down: AtomicBool,
}

impl Endpoints {
    /// `may_all_fail` returns whether the spec lets all rows of a stage fail.
    pub(crate) fn new(spec: &Spec, models: &Models, may_all_fail: impl Fn(&StageSpec) -> bool) -> Self {
        let mut by_name: HashMap<&str, Arc<EndpointState>> = HashMap::new();
        let lanes = spec.stages().map(|(_, stage)| stage.workers * stage.batch_size).sum::<usize>().max(1);
        let of_endpoint = |name: &str| {
            let is_its = |target: &&Target| spec.model(target.index).1.endpoint.as_str() == name;
            models.iter().filter(is_its).map(|target| (target.index, lanes)).collect::<Vec<_>>()
        };
        let state = |target: &Target| {
            let name = spec.model(target.index).1.endpoint.as_str();
            let limits = &spec.endpoints[name].limits;
            let endpoint = by_name.entry(name).or_insert_with(|| {
                Arc::new(EndpointState {
                    limiter: Limiter::new(limits, of_endpoint(name)),
                    on_outage: limits.on_outage,
                    down: AtomicBool::new(false),
                })
            });
            endpoint.down.fetch_or(target.was_down, Relaxed);
            let mut stages = spec.stages().filter(|(_, stage)| stage.models.contains(&target.index)).peekable();
            let is_asked = stages.peek().is_some();
            let all_may_fail = is_asked && stages.all(|(_, stage)| may_all_fail(stage));
            let first_answer = if all_may_fail { FirstAnswer::not_awaited() } else { FirstAnswer::awaited() };
            let state = ModelState {
                endpoint: endpoint.clone(),
                structured_output: StructuredOutput::new(target),
                forms: Forms::default(),
                first_answer,
                refusals: RefusalCounts::default(),
                pending: UnderWay::default(),
                sent: UnderWay::default(),
                replies: ReplyLengths::default(),
                name: target.name.clone(),
                deadline: spec.endpoints[name].endpoint.timeout_secs(),
                holds_one_model: target.holds_one_model(),
                is_asked,
            };
            (target.index, state)
        };
        Endpoints(models.iter().map(state).collect())
    }

    pub(crate) fn of(&self, target: &Target) -> &ModelState {
        &self.0[&target.index]
    }

    /// Whether no row can be answered if `target` answers nothing. As a fallback, it may only get the difficult rows.
    pub(crate) fn depend_on(&self, target: &Target) -> bool {
        let state = self.of(target);
        target.fallback.is_empty() && (state.is_asked || self.0.values().all(|model| !model.first_answer.is_over()))
    }

    /// What holds back the calls of each model.
    pub(crate) fn waits(&self, now: Instant) -> Vec<Wait> {
        self.0.iter().flat_map(|(index, model)| model.waits(*index, now)).collect()
    }

    /// The models with refused calls, by name in the spec.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&str, Counts)> {
        let models = self.0.values().map(|model| (model.name.as_str(), model.refusals.counts()));
        models.filter(|(_, counts)| counts.refused + counts.unavailable > 0)
    }
}

impl ModelState {
    fn waits(&self, index: usize, now: Instant) -> Vec<Wait> {
        let Some(pending) = self.pending.busy() else { return Vec::new() };
        let wait = |kind, since, until, because| Wait { kind, on: self.name.clone(), since, until, because };
        let mut waits = Vec::new();
        if let Some(Held { kind, since, until }) = self.endpoint.limiter.wait(index, now) {
            let Counts { words, .. } = self.refusals.counts();
            // Refusals and outages may have begun before this call.
            let since = if kind == WaitKind::Concurrency { since } else { since.max(pending.oldest) };
            waits.push(wait(kind, since, until, words));
        }
        if let Some(sent) = self.sent.busy() {
            let deadline = self.deadline.map_or(String::new(), |secs| format!("; `timeout_secs` is {secs}"));
            let because = format!("{} in flight{deadline}", sent.count);
            let is_first = !self.first_answer.is_over();
            let kind = if is_first && self.holds_one_model { WaitKind::Loading } else { WaitKind::Stall };
            waits.push(wait(kind, sent.quiet_since, None, because.clone()));
            if is_first && pending.count > sent.count {
                waits.push(wait(WaitKind::FirstAnswer, sent.oldest, None, because));
            }
        }
        waits
    }
}

impl EndpointState {
    /// Whether the server was down when the run began and has not answered since.
    pub(crate) fn was_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    pub(crate) fn is_up(&self) {
        self.down.store(false, Relaxed);
    }
}
