//! Build checks: asks servers during a run which build of a model they have. Answers since the last good look are on
//! trial: if the build has changed, they are retired, and the parts that use them are removed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::stop::{Stop, StopReason};
use crate::models::{BuildChange, Models, Target, differences};
use crate::provider::{Build, CallError, CallErrorKind, Model, Provider};
use crate::store::{Ledger, Retired, RunDir, StoreError};

/// The least time between two looks when parts are committed.
const PAUSE: Duration = Duration::from_secs(2);
/// The time after which an answer causes a look, so that a long part does not stay on trial as a whole.
const INTERVAL: Duration = Duration::from_secs(300);
/// The time after which an answer causes a look again if an outage prevented the last look.
const AGAIN: Duration = Duration::from_millis(50);

/// When a look may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    Answer,
    Commit,
    /// The end of the run. The look is due whenever answers are on trial.
    End,
}

#[derive(Debug)]
pub(crate) struct Builds {
    models: Vec<Watched>,
    /// Held during a look, so that there is one at a time.
    look: tokio::sync::Mutex<()>,
    stop: Stop,
}

#[derive(Debug)]
struct Watched {
    index: usize,
    name: String,
    model: Model,
    provider: Arc<dyn Provider>,
    build: Build,
    trial: Mutex<Trial>,
}

/// What depends on the build since the last good look.
#[derive(Debug)]
struct Trial {
    /// The ids of the answers in the ledger.
    answers: Vec<i64>,
    /// The parts by stage and number.
    parts: Vec<(String, u64)>,
    looked: Instant,
    /// From when a look is due because the connection was lost, so that another server may answer now.
    lost: Option<Instant>,
    new: Option<Build>,
    /// Why the server has not confirmed the build.
    unchecked: Option<String>,
}

/// The answers and parts on trial when a look began.
#[derive(Clone, Copy)]
struct Mark(usize, usize);

impl Trial {
    fn new(unchecked: Option<String>) -> Self {
        let lost = unchecked.is_some().then(Instant::now);
        Trial { answers: Vec::new(), parts: Vec::new(), looked: Instant::now(), lost, new: None, unchecked }
    }

    fn is_due(&self, occasion: Occasion, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.looked);
        let late = match occasion {
            Occasion::Answer => since >= INTERVAL,
            Occasion::Commit => since >= PAUSE,
            Occasion::End => true,
        };
        self.new.is_none() && !self.answers.is_empty() && (late || self.lost.is_some_and(|from| now >= from))
    }

    fn begin(&mut self) -> Mark {
        self.lost = None;
        Mark(self.answers.len(), self.parts.len())
    }

    /// Ends a look. Returns whether the build has changed.
    fn end(&mut self, Mark(answers, parts): Mark, known: &Build, found: Result<Build, CallError>) -> bool {
        self.looked = Instant::now();
        match found {
            Ok(found) if differences(known, &found).is_empty() => {
                self.answers.drain(..answers);
                self.parts.drain(..parts);
                self.unchecked = None;
                false
            }
            Ok(found) => {
                self.new = Some(found);
                true
            }
            Err(error) => {
                if matches!(error.kind, CallErrorKind::Unavailable { .. } | CallErrorKind::Lost) {
                    self.lost.get_or_insert(self.looked + AGAIN);
                }
                self.unchecked = Some(error.message);
                false
            }
        }
    }
}

impl Builds {
    pub(crate) fn new(models: &Models, stop: Stop) -> Self {
        let watched = |target: &Target| Watched {
            index: target.index,
            name: target.name.clone(),
            model: target.model.clone(),
            provider: target.provider.clone(),
            build: target.build.clone(),
            trial: Mutex::new(Trial::new(target.unasked.as_ref().map(|error| error.message.clone()))),
        };
        Builds { models: models.iter().map(watched).collect(), look: tokio::sync::Mutex::default(), stop }
    }

    fn of(&self, model: usize) -> Option<&Watched> {
        self.models.iter().find(|watched| watched.index == model)
    }

    /// Puts an answer on trial: its id in the ledger, the model that was asked, and the one that answered.
    pub(crate) fn answered(&self, id: i64, by: [usize; 2]) {
        let models = if by[0] == by[1] { &by[..1] } else { &by[..] };
        for watched in models.iter().filter_map(|model| self.of(*model)) {
            let mut trial = watched.trial.lock();
            match watched.tells_build() {
                true => trial.answers.push(id),
                false => trial.unchecked = None,
            }
        }
    }

    /// Puts a part on trial if answers of its models are.
    pub(crate) fn committed(&self, stage: &str, part: u64, models: impl Iterator<Item = usize>) {
        for watched in models.filter_map(|model| self.of(model)) {
            let mut trial = watched.trial.lock();
            if !trial.answers.is_empty() {
                trial.parts.push((stage.to_owned(), part));
            }
        }
    }

    /// Notes that the connection to a model's server was lost.
    pub(crate) fn lost(&self, model: usize) {
        let Some(lost) = self.of(model) else { return };
        for watched in self.models.iter().filter(|other| Arc::ptr_eq(&other.provider, &lost.provider)) {
            watched.trial.lock().lost = Some(Instant::now());
        }
    }

    /// Looks at the builds that are due. Returns `false` if a build has changed during the run.
    pub(crate) async fn confirm(&self, occasion: Occasion) -> bool {
        let due = |watched: &&Watched| watched.trial.lock().is_due(occasion, Instant::now());
        if self.models.iter().any(|watched| due(&watched)) {
            let _one = self.look.lock().await;
            for watched in self.models.iter().filter(due) {
                let mark = watched.trial.lock().begin();
                let found = watched.provider.inspect(&watched.model).await;
                if watched.trial.lock().end(mark, &watched.build, found) {
                    self.stop.drain(StopReason::BuildChanged(Vec::new()));
                }
            }
        }
        self.models.iter().all(|watched| watched.trial.lock().new.is_none())
    }

    /// Takes everything on trial of the changed models out of service. Blocking; called after the last call.
    pub(crate) fn withdraw(&self, ledger: &Path, dir: &RunDir) -> Result<Vec<BuildChange>, StoreError> {
        let mut changes = Vec::new();
        for watched in &self.models {
            let trial = watched.trial.lock();
            let Some(new) = trial.new.clone() else { continue };
            Ledger::open(ledger)?.retire_ids(&trial.answers, Retired::Changed)?;
            trial.parts.iter().try_for_each(|(stage, part)| dir.remove_part(stage, *part))?;
            let (old, retired) = (watched.build.clone(), trial.answers.len());
            changes.push(BuildChange { model: watched.name.clone(), old, new, retired });
        }
        Ok(changes)
    }

    /// Why the server of this model has not confirmed the build of all its answers.
    pub(crate) fn unchecked(&self, model: &str) -> Option<String> {
        let trial = self.models.iter().find(|watched| watched.name == model)?.trial.lock();
        let when = if trial.answers.is_empty() { "" } else { " again at the end" };
        trial.unchecked.as_ref().map(|why| format!("the server was not asked{when} ({why})"))
    }
}

impl Watched {
    /// Whether the server tells a build that may change while it runs.
    fn tells_build(&self) -> bool {
        let Build { digest, quantization, template, .. } = &self.build;
        [digest, quantization, template].into_iter().any(Option::is_some) && self.provider.build_may_change()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(digest: &str) -> Build {
        Build { digest: Some(digest.to_owned()), ..Build::default() }
    }

    fn on_trial(answers: &[i64]) -> Trial {
        Trial { answers: answers.to_vec(), parts: vec![("tone".to_owned(), 0)], ..Trial::new(None) }
    }

    #[test]
    fn a_look_is_due_only_if_answers_are_on_trial() {
        let start = Instant::now();
        let trial = Trial { looked: start, ..on_trial(&[1]) };
        let due = |trial: &Trial, occasion, secs| trial.is_due(occasion, start + Duration::from_secs(secs));
        assert!(!due(&trial, Occasion::Commit, 1) && due(&trial, Occasion::Commit, 2));
        assert!(!due(&trial, Occasion::Answer, 60) && due(&trial, Occasion::Answer, 300));
        assert!(due(&trial, Occasion::End, 0));
        for occasion in [Occasion::Answer, Occasion::Commit, Occasion::End] {
            assert!(due(&Trial { lost: Some(start), ..on_trial(&[1]) }, occasion, 0), "after an outage at once");
            assert!(!due(&Trial { looked: start, ..on_trial(&[]) }, occasion, 1000));
            assert!(!due(&Trial { new: Some(build("b")), ..on_trial(&[1]) }, occasion, 1000));
        }
    }

    #[test]
    fn a_good_look_confirms_what_was_there_when_it_began() {
        let mut trial = on_trial(&[1, 2]);
        let mark = trial.begin();
        trial.answers.push(3);
        trial.parts.push(("tone".to_owned(), 1));
        assert!(!trial.end(mark, &build("a"), Ok(build("a"))));
        assert_eq!((trial.answers, trial.parts), (vec![3], vec![("tone".to_owned(), 1)]));
    }

    #[test]
    fn a_change_leaves_all_on_trial_and_a_failed_look_too() {
        let mut trial = on_trial(&[1, 2]);
        let mark = trial.begin();
        let down = CallError::new(CallErrorKind::Timeout, "no reply");
        assert!(!trial.end(mark, &build("a"), Err(down)));
        assert_eq!((trial.answers.len(), trial.unchecked.as_deref()), (2, Some("no reply")));
        let mark = trial.begin();
        assert!(trial.end(mark, &build("a"), Ok(build("b"))));
        assert_eq!((trial.answers.len(), trial.parts.len(), trial.new), (2, 1, Some(build("b"))));
    }

    #[test]
    fn an_outage_concerns_the_next_look_also_if_it_falls_into_one() {
        let mut trial = Trial { lost: Some(Instant::now()), ..on_trial(&[1]) };
        let mark = trial.begin();
        trial.lost = Some(Instant::now());
        trial.end(mark, &build("a"), Ok(build("a")));
        assert!(trial.lost.is_some());
    }

    #[test]
    fn a_look_that_an_outage_prevented_is_due_again() {
        let mut trial = Trial { lost: Some(Instant::now()), ..on_trial(&[1]) };
        let mark = trial.begin();
        let down = CallError::new(CallErrorKind::Unavailable { retry_after: None }, "connection refused");
        trial.end(mark, &build("a"), Err(down));
        let looked = trial.looked;
        assert!(!trial.is_due(Occasion::Answer, looked) && trial.is_due(Occasion::Answer, looked + AGAIN));
    }
}
