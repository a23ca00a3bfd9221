//! Calls: makes and records every call to the models, each once.

use std::sync::Arc;

use super::call::{Admission, Attempts, CallRequest, FailedAttempt, Tally};
use super::progress::StageProgress;
use super::recent::{Claim, Lookup};
use super::recorder::Recorder;
use super::replay::Replay;
use crate::ask::{Finished, Terms};
use crate::models::{Models, Target};
use crate::prompt::{Answer, Failure, FailureKind};
use crate::store::Record;

/// Failures of a pack that smaller packs may avoid. Fallback models are not asked for such a pack.
const TOO_LARGE: [FailureKind; 4] =
    [FailureKind::ContextTooLong, FailureKind::Rejected, FailureKind::Timeout, FailureKind::Refused];

pub(crate) struct Calls {
    models: Models,
    admission: Admission,
    recorder: Recorder,
    replay: Option<Arc<Replay>>,
}

impl Calls {
    pub(crate) fn new(models: Models, admission: Admission, recorder: Recorder, replay: Option<Arc<Replay>>) -> Self {
        Calls { models, admission, recorder, replay }
    }

    /// The recorded calls that take precedence over the ledger's.
    pub(crate) fn replay(&self) -> Option<&Replay> {
        self.replay.as_deref()
    }

    pub(crate) fn target(&self, model: usize) -> &Target {
        self.models.target(model)
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
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
                    let record = tokio::select! {
                        record = answer.wait_for(Option::is_some) => record.ok().and_then(|record| record.clone()),
                        () = stop.aborted() => return None,
                    };
                    match record {
                        Some(record) => return shared(record),
                        // The task that made the call stopped without an answer.
                        None if stop.is_draining() => return None,
                        None => continue,
                    }
                }
                Claim::Ask(asking) => {
                    let (record, answer) = tokio::select! {
                        asked = self.try_models(request, progress) => asked?,
                        () = stop.aborted() => return None,
                    };
                    let record = Arc::new(record);
                    let (place, earlier) = self.recorder.record(record.clone()).await?;
                    let earlier = earlier.map(Arc::new);
                    let counts = earlier.clone().unwrap_or_else(|| record.clone());
                    asking.finish(counts, answer.is_ok().then_some(place));
                    return match earlier {
                        // Another process answered first, so its answer counts.
                        Some(earlier) => shared(earlier),
                        None => Some(Finished { record, answer, from_ledger: false, place: None }),
                    };
                }
            }
        }
    }

    /// Asks the model, then its fallbacks until one has an answer. Returns `None` if the run stops.
    async fn try_models(
        &self,
        request: CallRequest<'_>,
        progress: &StageProgress,
    ) -> Option<(Record, Result<Answer, Failure>)> {
        let target = self.target(request.model);
        let mut tally = Tally::default();
        let attempts = Attempts { admission: &self.admission, target, request, progress };
        let given_up = match attempts.until_done(&mut tally).await? {
            Ok((reply, answer)) => return Some((tally.record(&request, target, Some(&reply), None), Ok(answer))),
            Err(given_up) => given_up,
        };
        let failure = given_up.failure.clone();
        let too_large = request.prompt.pack.is_some() && TOO_LARGE.contains(&failure.kind);
        if target.fallback.is_empty() || too_large {
            let record = tally.record(&request, target, given_up.reply.as_ref(), Some(&failure));
            return Some((record, Err(failure)));
        }
        tally.note(given_up);
        for (name, model) in &target.fallback {
            let key = self.target(*model).key(request.prompt, request.replicate);
            let terms = Terms { fallback: &[], ..request.terms };
            let finished = self.look_up_or_ask(CallRequest { model: *model, key, terms, ..request }, progress).await?;
            match finished.answer {
                Ok(answer) => return Some((tally.record_of_fallback(&request, name, &finished.record), Ok(answer))),
                Err(other) => {
                    let failure = FailureKind::Fallback.because(format!("{name}: {other}"));
                    tally.note(FailedAttempt { failure, reply: None });
                }
            }
        }
        Some((tally.record(&request, target, None, Some(&failure)), Err(failure)))
    }

    /// Makes a call, unless the ledger has its answer. Returns `None` if the run stops without an answer.
    async fn look_up_or_ask(&self, request: CallRequest<'_>, progress: &StageProgress) -> Option<Finished> {
        let lookup = Arc::new(self.recorder.lookup());
        let (recorder, key) = (self.recorder.clone(), request.key);
        let found = tokio::task::spawn_blocking(move || recorder.find(&[key])).await.ok().and_then(Result::ok);
        if let Some(record) = found.and_then(|found| found.into_iter().next().flatten()) {
            let known = Finished::known(Arc::new(record), request.prompt, &request.terms);
            if known.is_some() {
                return known;
            }
            let recorder = self.recorder.clone();
            let _ = tokio::task::spawn_blocking(move || recorder.retire(&[key])).await;
        }
        Box::pin(self.ask(request, Some(lookup), progress)).await
    }
}
