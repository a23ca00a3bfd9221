//! Calls: makes and records every call to the models, each once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batches;
use super::builds::{Builds, Occasion};
use super::call::{Admission, Alike, Attempts, CallRequest, Endpoints, FailedAttempt, Pass, Tally};
use super::progress::StageProgress;
use super::recent::{Claim, Lookup};
use super::recorder::Recorder;
use super::replay::Replay;
use super::stop::First;
use super::wait::Wait;
use crate::ask::{Finished, Terms};
use crate::models::{Models, Target};
use crate::prompt::{Answer, Failure, FailureKind, Prompt};
use crate::store::{Lease, Leases, Record};

/// Failures of a pack that smaller packs may avoid. Fallback models are not asked for such a pack.
const TOO_LARGE: [FailureKind; 4] =
    [FailureKind::ContextTooLong, FailureKind::Rejected, FailureKind::Timeout, FailureKind::Refused];

pub(crate) struct Calls {
    models: Models,
    admission: Admission,
    recorder: Recorder,
    leases: Leases,
    replay: Option<Arc<Replay>>,
}

/// How often a call looks for the answer that another process is waiting for.
const LOOK: Duration = Duration::from_millis(50);

impl Calls {
    pub(crate) fn new(
        models: Models,
        admission: Admission,
        (recorder, leases): (Recorder, Leases),
        replay: Option<Arc<Replay>>,
    ) -> Self {
        Calls { models, admission, recorder, leases, replay }
    }

    /// The recorded calls that take precedence over the ledger's.
    pub(crate) fn replay(&self) -> Option<&Replay> {
        self.replay.as_deref()
    }

    pub(crate) fn target(&self, model: usize) -> &Target {
        self.models.target(model)
    }

    pub(crate) fn builds(&self) -> &Builds {
        &self.admission.builds
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Notes that the model can answer, for example because the ledger has an answer of it.
    pub(crate) fn can_answer(&self, model: usize) {
        self.admission.endpoints.of(self.target(model)).first_answer.answered();
    }

    /// Notes that the ledger has an answer of the model to this question.
    pub(crate) fn has_answered(&self, model: usize, prompt: &Prompt, record: &Record) {
        self.can_answer(model);
        if let (Some(schema), None, None) = (&prompt.schema, &record.notes.structured_output, &record.notes.fallback) {
            self.admission.endpoints.of(self.target(model)).structured_output.answered(schema, 0);
        }
    }

    /// The batches of the run, if it may have some.
    pub(crate) fn batches(&self) -> Option<&Batches> {
        self.admission.batches.as_ref()
    }

    /// What holds back calls now.
    pub(crate) fn waits(&self, now: Instant) -> Vec<Wait> {
        let mut waits = self.admission.endpoints.waits(now);
        waits.extend(self.admission.residencies.waits());
        waits.extend(self.batches().map(Batches::waits).unwrap_or_default());
        waits.extend([self.admission.budget.wait(), self.recorder.wait()].into_iter().flatten());
        waits
    }

    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.admission.endpoints
    }

    fn pass(&self, request: &CallRequest<'_>, target: &Target) -> Pass<'_> {
        let first_answer = &self.admission.endpoints.of(target).first_answer;
        if request.fallback_of.is_some() { first_answer.free_pass() } else { first_answer.pass() }
    }

    /// The first model whose calls all failed alike, with their failure and the number of their requests.
    pub(crate) fn failed_alike(&self) -> Option<(First, Failure)> {
        self.models.iter().filter(|target| self.admission.endpoints.depend_on(target)).find_map(|target| {
            let Alike { failure, requests: count, .. } = self.admission.endpoints.of(target).first_answer.alike()?;
            Some((First::Requests { model: target.name.clone(), count }, failure))
        })
    }

    /// Makes equal calls once. Ends `lookup` when the call is claimed. Returns `None` if the run stops without answer.
    pub(crate) async fn ask(
        &self,
        request: CallRequest<'_>,
        lookup: Option<Arc<Lookup>>,
        progress: &StageProgress,
    ) -> Option<Finished> {
        let mut lookup = lookup;
        let stop = &self.admission.stop;
        let shared = |record| Some(Finished::shared(record, request.prompt, &request.terms));
        loop {
            let claim = self.recorder.recent().claim(request.key);
            drop(lookup.take());
            match claim {
                Claim::Answered(record) => return shared(record),
                Claim::Wait(mut answer) => {
                    let wait = async {
                        tokio::select! {
                            record = answer.wait_for(Option::is_some) => {
                                Some(record.ok().and_then(|record| record.clone()))
                            }
                            () = stop.aborted() => None,
                        }
                    };
                    let record = match self.may_take_long(&request) {
                        true => request.lane.lend(wait).await?,
                        false => request.lane.wait_for_call(wait).await?,
                    };
                    match record {
                        Some(record) => return shared(record),
                        // The task that made the call stopped without an answer.
                        None if stop.is_draining() => return None,
                        None => continue,
                    }
                }
                Claim::Ask(asking) => {
                    let _lease = match self.lease(&request).await? {
                        Ok(lease) => lease,
                        Err(known) => {
                            asking.finish(known.record.clone(), None);
                            return Some(known);
                        }
                    };
                    let (record, answer, from_ledger) = tokio::select! {
                        asked = self.try_models(request, progress) => asked?,
                        () = stop.aborted() => return None,
                    };
                    let record = Arc::new(record);
                    let by = [request.model, self.answered_by(request.model, &record)];
                    let (place, earlier) = self.recorder.record(record.clone(), by).await?;
                    let earlier = earlier.map(Arc::new);
                    let counts = earlier.clone().unwrap_or_else(|| record.clone());
                    asking.finish(counts, answer.is_ok().then_some(place));
                    self.admission.builds.confirm(Occasion::Answer).await;
                    return match earlier {
                        // Another process answered first, so its answer counts.
                        Some(earlier) => shared(earlier),
                        None => Some(self.finished(request, record, (answer, from_ledger))),
                    };
                }
            }
        }
    }

    /// Waits while another process makes the call. Returns its answer, or else the right to make the call. Returns
    /// `None` if the run stops.
    async fn lease(&self, request: &CallRequest<'_>) -> Option<Result<Lease<'_>, Finished>> {
        if let Some(lease) = self.leases.take(request.key) {
            let known = if self.leases.is_alone() { None } else { self.known(request).await };
            return Some(known.map_or(Ok(lease), Err));
        }
        let wait = async {
            loop {
                self.admission.stop.unless_draining(tokio::time::sleep(LOOK)).await?;
                let lease = self.leases.take(request.key);
                match (self.known(request).await, lease) {
                    (Some(known), _) => return Some(Err(known)),
                    (None, Some(lease)) => return Some(Ok(lease)),
                    (None, None) => {}
                }
            }
        };
        match self.may_take_long(request) {
            true => request.lane.lend(wait).await,
            false => request.lane.park(wait).await,
        }
    }

    /// Whether the call may wait for a batch, which takes hours.
    fn may_take_long(&self, request: &CallRequest<'_>) -> bool {
        self.admission.may_batch() && !request.prompt.expect.is_vector()
    }

    fn finished(
        &self,
        request: CallRequest<'_>,
        record: Arc<Record>,
        (answer, from_ledger): (Result<Answer, Failure>, bool),
    ) -> Finished {
        let finished = Finished { record, answer, from_ledger, place: None };
        if let Some(pack) = &request.prompt.pack
            && !self.admission.endpoints.of(self.target(request.model)).first_answer.is_over()
            && finished.items(pack, request.terms.repair).iter().any(|item| item.answer.is_ok())
        {
            self.can_answer(request.model);
        }
        finished
    }

    /// The model that gave the answer to a call to `model`.
    pub(crate) fn answered_by(&self, model: usize, record: &Record) -> usize {
        let name = record.notes.fallback.as_ref();
        let other = name.and_then(|name| self.target(model).fallback.iter().find(|(other, _)| other == name));
        other.map_or(model, |(_, index)| *index)
    }

    /// Asks the model, then its fallbacks until one has an answer. Also returns whether no request was needed, because
    /// the ledger has the answer of a fallback. Returns `None` if the run stops.
    async fn try_models(
        &self,
        request: CallRequest<'_>,
        progress: &StageProgress,
    ) -> Option<(Record, Result<Answer, Failure>, bool)> {
        let target = self.target(request.model);
        let stopped = self.recorder.stopped(request.key, self.leases.is_alone()).await;
        let mut tally = stopped.map_or_else(Tally::default, |stopped| Tally::of_stopped(&stopped, request.prompt));
        let attempts = Attempts { admission: &self.admission, recorder: &self.recorder, target, request, progress };
        // Kept until the fallbacks have answered.
        let mut pass = self.pass(&request, target);
        let failure = match tally.given_up.take().filter(|_| !target.fallback.is_empty()) {
            Some(failure) => failure,
            None => match attempts.until_done(&mut tally, &mut pass).await {
                Some(Ok((reply, answer))) => {
                    return Some((tally.record(&request, target, Some(&reply), None), Ok(answer), false));
                }
                Some(Err(given_up)) => {
                    let failure = given_up.failure.clone();
                    let too_large = request.prompt.pack.is_some() && TOO_LARGE.contains(&failure.kind);
                    if target.fallback.is_empty() || too_large {
                        let record = tally.record(&request, target, given_up.reply.as_ref(), Some(&failure));
                        return Some((record, Err(failure), false));
                    }
                    tally.note(given_up);
                    failure
                }
                None => return self.keep_tries(&request, tally, progress).await,
            },
        };
        let fallback_of = Some(&self.admission.endpoints.of(target).first_answer);
        for (name, model) in &target.fallback {
            let other = self.target(*model);
            let key = other.key(request.prompt, request.replicate);
            let terms = Terms { fallback: &[], context: other.context_size(), ..request.terms };
            let finished = self
                .look_up_or_ask(
                    CallRequest { model: *model, key, terms, fallback_of, is_first: false, ..request },
                    progress,
                )
                .await;
            let Some(finished) = finished else { return self.keep_tries(&request, tally, progress).await };
            match finished.answer {
                Ok(answer) => {
                    self.can_answer(request.model);
                    let from_ledger = finished.from_ledger && tally.attempts == 0;
                    let record = tally.record_of_fallback(&request, name, &finished.record);
                    return Some((record, Ok(answer), from_ledger));
                }
                Err(other) => {
                    let failure = FailureKind::Fallback.because(format!("{name}: {other}"));
                    tally.note(FailedAttempt { failure, reply: None });
                }
            }
        }
        Some((tally.record(&request, target, None, Some(&failure)), Err(failure), false))
    }

    /// Records the tries of a call that the end of the run stops between two of them, for the next run.
    async fn keep_tries<T>(&self, request: &CallRequest<'_>, tally: Tally, progress: &StageProgress) -> Option<T> {
        if tally.has_news() {
            progress.stopped();
            let record = Arc::new(tally.record_of_stopped(request, self.target(request.model)));
            self.recorder.record(record, [request.model; 2]).await?;
        }
        None
    }

    /// Makes a call, unless the ledger has its answer. Returns `None` if the run stops without an answer.
    pub(super) async fn look_up_or_ask(&self, request: CallRequest<'_>, progress: &StageProgress) -> Option<Finished> {
        let lookup = Arc::new(self.recorder.lookup());
        match self.known(&request).await {
            Some(known) => Some(known),
            None => Box::pin(self.ask(request, Some(lookup), progress)).await,
        }
    }

    /// The answer in the ledger. Retires an answer that no longer fits the question.
    async fn known(&self, request: &CallRequest<'_>) -> Option<Finished> {
        let (recorder, key) = (self.recorder.clone(), request.key);
        let found = tokio::task::spawn_blocking(move || recorder.find(&[key])).await.ok().and_then(Result::ok);
        let record = found.and_then(|found| found.into_iter().next().flatten())?;
        let known = Finished::known(Arc::new(record), request.prompt, &request.terms);
        if known.is_none() {
            let recorder = self.recorder.clone();
            let _ = tokio::task::spawn_blocking(move || recorder.retire(&[key])).await;
        }
        known
    }
}
