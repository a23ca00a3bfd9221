//! The one door to the models: a call is asked here, once, and recorded here. How it is tried stands in `attempts`.

use std::sync::Arc;

use super::budget::Purse;
use super::connect::{Models, Target};
use super::progress::StageProgress;
use super::recent::{Claim, Lookup, Recent};
use super::recorder::Recorder;
use super::replay::Replay;
use super::stop::Stop;
use crate::ask::{Finished, Terms};
use crate::prompt::Prompt;
use crate::spec::Budget;
use crate::store::{Key, LedgerError, Record};

/// The door.
pub struct Calls {
    pub(super) models: Models,
    pub(super) purse: Purse,
    recorder: Recorder,
    replay: Option<Arc<Replay>>,
    pub(super) stop: Stop,
}

/// A call that is wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The model's index in the spec.
    pub model: usize,
    /// How often the same was asked of the model before, for another row of the replicates.
    pub replicate: u64,
    /// What to ask.
    pub prompt: &'a Prompt,
    /// Its key.
    pub key: Key,
    /// What passes for an answer.
    pub terms: Terms<'a>,
}

impl Calls {
    /// The door to `models`.
    pub fn new(models: Models, budget: Budget, recorder: Recorder, replay: Option<Arc<Replay>>, stop: Stop) -> Self {
        Calls { models, purse: Purse::new(budget), recorder, replay, stop }
    }

    /// The recorded calls that go before the ledger's.
    pub fn replay(&self) -> Option<&Replay> {
        self.replay.as_deref()
    }

    /// The model of index `model` in the spec.
    pub fn target(&self, model: usize) -> &Target {
        self.models.target(model)
    }

    /// The ledger's writer and readers.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn recent(&self) -> &Arc<Recent> {
        self.recorder.recent()
    }

    /// The answered calls of `keys`. Blocking.
    pub fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        self.recorder.find(keys)
    }

    /// Asks what is wanted; equal calls are asked once. `lookup`, in which the ledger didn't know the call, is over
    /// when the call is claimed. `None`: the run stops, nothing is known.
    pub async fn ask(
        &self,
        wanted: Wanted<'_>,
        lookup: Option<Arc<Lookup>>,
        progress: &StageProgress,
    ) -> Option<Finished> {
        let mut lookup = lookup;
        loop {
            let claim = self.recent().claim(wanted.key);
            drop(lookup.take());
            match claim {
                Claim::Answered(record) => return Some(Finished::shared(record, wanted.prompt, &wanted.terms)),
                Claim::Wait(mut told) => {
                    let record = tokio::select! {
                        told = told.wait_for(Option::is_some) => told.ok().and_then(|r| r.clone()),
                        () = self.stop.aborted() => return None,
                    };
                    match record {
                        Some(record) => return Some(Finished::shared(record, wanted.prompt, &wanted.terms)),
                        // Whoever was asking has stopped without an answer.
                        None if self.stop.is_draining() => return None,
                        None => continue,
                    }
                }
                Claim::Ask(asking) => {
                    let (record, answer) = tokio::select! {
                        asked = self.try_until_done(wanted, progress) => asked?,
                        () = self.stop.aborted() => return None,
                    };
                    let record = Arc::new(record);
                    let (place, earlier) = self.recorder.record(record.clone()).await?;
                    let earlier = earlier.map(Arc::new);
                    let counts = earlier.clone().unwrap_or_else(|| record.clone());
                    asking.finish(counts, answer.is_ok().then_some(place));
                    return Some(match earlier {
                        // Another process was first: what it left in the ledger is the answer.
                        Some(earlier) => Finished::shared(earlier, wanted.prompt, &wanted.terms),
                        None => Finished { record, answer, from_ledger: false, place: None },
                    });
                }
            }
        }
    }

    /// Asks what is wanted, unless the ledger knows it. `None`: the run stops, nothing is known.
    pub async fn look_up_or_ask(&self, wanted: Wanted<'_>, progress: &StageProgress) -> Option<Finished> {
        let lookup = Arc::new(self.recorder.lookup());
        let found = tokio::task::spawn_blocking({
            let (recorder, key) = (self.recorder.clone(), wanted.key);
            move || recorder.find(&[key])
        });
        let found = found.await.ok().and_then(Result::ok).and_then(|found| found.into_iter().next().flatten());
        let unfit = found.is_some();
        let known = found.and_then(|record| Finished::known(Arc::new(record), wanted.prompt, &wanted.terms));
        if known.is_some() {
            return known;
        }
        if unfit {
            let (recorder, key) = (self.recorder.clone(), wanted.key);
            let _ = tokio::task::spawn_blocking(move || recorder.retire(&[key])).await;
        }
        Box::pin(self.ask(wanted, Some(lookup), progress)).await
    }
}
