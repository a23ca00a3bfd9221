//! Residency: gives a server that holds one model at a time the calls of one model after another, over all stages.
//!
//! Loading a model takes seconds to minutes. A call for another model waits until no call for the loaded one is in
//! flight or ready to be sent. A server that turns out to hold both models gets their calls at the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::models::{Models, Target};
use crate::provider::Provider;
use crate::run::wait::{Wait, WaitKind};

/// The wait for the next call of the loaded model. It covers the time that a lane needs to record an answer and to
/// prepare its next prompt.
const LINGER: Duration = Duration::from_millis(250);

/// What a server loads: a model with a context.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loaded {
    model: String,
    context: Option<u64>,
}

impl Loaded {
    fn of(target: &Target) -> Self {
        Loaded { model: target.model.id.clone(), context: target.context() }
    }
}

/// The servers that hold one model, by the models that are asked of them.
#[derive(Debug, Default)]
pub(crate) struct Residencies(HashMap<usize, (String, Loaded, Arc<Residency>)>);

#[derive(Debug)]
pub(crate) struct Residency {
    provider: Arc<dyn Provider>,
    seats: Mutex<Seats>,
    changed: Notify,
}

/// The models that are loaded or wait to be loaded. Pure.
#[derive(Debug, Default)]
struct Seats {
    /// Whether the server holds several models. Then only two contexts of one model exclude each other.
    several: bool,
    /// The loaded model; if the server holds several, one for each model's name.
    seats: HashMap<String, Seat>,
    /// The waiting calls in order of arrival.
    waiting: Vec<Waiting>,
    calls: u64,
}

#[derive(Debug)]
struct Waiting {
    call: u64,
    wanted: Loaded,
    since: Instant,
}

#[derive(Debug)]
struct Seat {
    loaded: Loaded,
    in_flight: usize,
    /// When the last call ended.
    free: Instant,
    /// Whether the model has answered since it was loaded, so that the server's list of loaded models is right.
    answered: bool,
    listed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Enter,
    /// Ask the server whether it holds this model and the wanted one.
    List(Loaded),
    /// Wait for a change, or until this moment.
    Wait(Option<Instant>),
}

impl Seats {
    /// Whether two models can't be loaded at the same time.
    fn seat_of(&self, wanted: &Loaded) -> String {
        if self.several { wanted.model.clone() } else { String::new() }
    }

    /// The next step of the call with this number.
    fn step(&mut self, call: u64, wanted: &Loaded, now: Instant) -> Step {
        let name = self.seat_of(wanted);
        let first = self.waiting.iter().map(|call| &call.wanted).find(|other| self.seat_of(other) == name).cloned();
        let new = |loaded| Seat { loaded, in_flight: 0, free: now, answered: false, listed: false };
        let seat = self.seats.entry(name).or_insert_with(|| new(wanted.clone()));
        if let Some(first) = first.filter(|_| seat.in_flight == 0 && now >= seat.free + LINGER) {
            *seat = new(first);
        }
        if seat.loaded == *wanted {
            seat.in_flight += 1;
            self.leave(call);
            return Step::Enter;
        }
        let step = if seat.answered && !std::mem::replace(&mut seat.listed, seat.answered) {
            Step::List(seat.loaded.clone())
        } else {
            Step::Wait((seat.in_flight == 0).then(|| seat.free + LINGER))
        };
        if !self.waiting.iter().any(|other| other.call == call) {
            self.waiting.push(Waiting { call, wanted: wanted.clone(), since: now });
        }
        step
    }

    /// The number of a new call.
    fn arrive(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    fn leave(&mut self, call: u64) {
        self.waiting.retain(|other| other.call != call);
    }

    fn answered(&mut self, loaded: &Loaded) {
        if let Some(seat) = self.seats.get_mut(&self.seat_of(loaded)) {
            seat.answered = true;
        }
    }

    fn end(&mut self, loaded: &Loaded, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&self.seat_of(loaded)) {
            seat.in_flight -= 1;
            seat.free = now;
        }
    }

    /// Since when calls wait for this model, and the model that is loaded instead.
    fn held(&self, wanted: &Loaded) -> Option<(Instant, &str)> {
        let first = self.waiting.iter().find(|call| call.wanted == *wanted)?;
        Some((first.since, &self.seats.get(&self.seat_of(wanted))?.loaded.model))
    }

    /// Notes that the server holds several models.
    fn holds_several(&mut self) {
        self.several = true;
        let seats = std::mem::take(&mut self.seats).into_values();
        self.seats = seats.map(|seat| (seat.loaded.model.clone(), seat)).collect();
    }
}

impl Residencies {
    pub(crate) fn new(models: &Models) -> Self {
        let mut servers: Vec<(Arc<Residency>, Vec<&Target>)> = Vec::new();
        for target in models.iter().filter(|target| target.holds_one_model()) {
            let same = |other: &Target| {
                (other.provider.kind(), other.provider.endpoint())
                    == (target.provider.kind(), target.provider.endpoint())
            };
            match servers.iter_mut().find(|(_, targets)| same(targets[0])) {
                Some((_, targets)) => targets.push(target),
                None => {
                    let (seats, changed) = (Mutex::default(), Notify::new());
                    let provider = target.provider.clone();
                    servers.push((Arc::new(Residency { provider, seats, changed }), vec![target]));
                }
            }
        }
        servers.retain(|(_, targets)| targets.iter().any(|target| Loaded::of(target) != Loaded::of(targets[0])));
        let all = servers.iter().flat_map(|(server, targets)| {
            targets.iter().map(|target| (target.index, (target.name.clone(), Loaded::of(target), server.clone())))
        });
        Residencies(all.collect())
    }

    /// Waits until calls of this model may be sent. `None`: the model's server needs no turns.
    pub(crate) async fn enter(&self, target: &Target) -> Option<Stay<'_>> {
        let (_, wanted, server) = self.0.get(&target.index)?;
        Some(server.enter(wanted.clone()).await)
    }

    /// The models whose calls wait for the end of another model's.
    pub(crate) fn waits(&self) -> Vec<Wait> {
        let waits = self.0.values().filter_map(|(name, wanted, server)| {
            let seats = server.seats.lock();
            let (since, loaded) = seats.held(wanted)?;
            let because = format!("`{loaded}` is loaded");
            Some(Wait { kind: WaitKind::OtherModel, on: name.clone(), since, until: None, because })
        });
        waits.collect()
    }
}

impl Residency {
    async fn enter(&self, wanted: Loaded) -> Stay<'_> {
        let call = self.seats.lock().arrive();
        let place = Place { residency: self, call };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let step = self.seats.lock().step(call, &wanted, Instant::now());
            match step {
                Step::Enter => break,
                Step::List(loaded) => self.list(&loaded, &wanted).await,
                Step::Wait(None) => changed.await,
                Step::Wait(Some(until)) => drop(timeout_at(until, changed).await),
            }
        }
        drop(place);
        Stay { residency: self, loaded: wanted }
    }

    /// Asks the server which models are loaded.
    async fn list(&self, loaded: &Loaded, wanted: &Loaded) {
        if loaded.model == wanted.model {
            return;
        }
        let found = self.provider.inventory(&[&loaded.model, &wanted.model]).await;
        let listed = found.map(|found| found.asked).unwrap_or_default();
        if listed.len() == 2 && listed.iter().flatten().filter(|model| model.loaded == Some(true)).count() == 2 {
            self.seats.lock().holds_several();
            self.changed.notify_waiters();
        }
    }
}

/// The place of a waiting call; it may be dropped before its turn.
struct Place<'a> {
    residency: &'a Residency,
    call: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.residency.seats.lock().leave(self.call);
        // Another call may be the first one now, or its model was just loaded.
        self.residency.changed.notify_waiters();
    }
}

/// A call of the loaded model, ready to be sent or in flight.
#[derive(Debug)]
pub(crate) struct Stay<'a> {
    residency: &'a Residency,
    loaded: Loaded,
}

impl Stay<'_> {
    pub(crate) fn answered(&self) {
        self.residency.seats.lock().answered(&self.loaded);
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.residency.seats.lock().end(&self.loaded, Instant::now());
        self.residency.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(model: &str, context: u64) -> Loaded {
        Loaded { model: model.to_owned(), context: Some(context) }
    }

    struct Clock(Instant);

    impl Clock {
        fn at(&self, ms: u64) -> Instant {
            self.0 + Duration::from_millis(ms)
        }
    }

    #[test]
    fn another_model_waits_until_the_loaded_one_has_no_calls() {
        let (mut seats, clock) = (Seats::default(), Clock(Instant::now()));
        let (a, b) = (loaded("a", 4096), loaded("b", 4096));
        assert_eq!(seats.step(1, &a, clock.at(0)), Step::Enter);
        assert_eq!(seats.step(2, &b, clock.at(0)), Step::Wait(None));
        assert_eq!((seats.held(&a), seats.held(&b)), (None, Some((clock.at(0), "a"))));
        assert_eq!(seats.step(3, &a, clock.at(1000)), Step::Enter, "more calls of `a` go first");
        seats.end(&a, clock.at(1100));
        assert_eq!(seats.step(2, &b, clock.at(1900)), Step::Wait(None));
        seats.end(&a, clock.at(2000));
        assert_eq!(seats.step(2, &b, clock.at(2100)), Step::Wait(Some(clock.at(2250))));
        assert_eq!(seats.step(4, &a, clock.at(2200)), Step::Enter, "the next call of a lane comes in time");
        seats.end(&a, clock.at(2300));
        assert_eq!(seats.step(2, &b, clock.at(2550)), Step::Enter);
        assert_eq!(seats.step(5, &a, clock.at(2550)), Step::Wait(None));
    }

    #[test]
    fn two_contexts_of_a_model_are_two_loads() {
        let (mut seats, clock) = (Seats::default(), Clock(Instant::now()));
        let (small, large) = (loaded("a", 2048), loaded("a", 4096));
        assert_eq!(seats.step(1, &small, clock.at(0)), Step::Enter);
        assert_eq!(seats.step(2, &large, clock.at(0)), Step::Wait(None));
        seats.holds_several();
        assert_eq!(seats.step(2, &large, clock.at(0)), Step::Wait(None), "also if it holds several models");
        assert_eq!(seats.step(3, &loaded("b", 2048), clock.at(0)), Step::Enter);
        seats.end(&small, clock.at(0));
        assert_eq!(seats.step(2, &large, clock.at(250)), Step::Enter);
    }

    #[test]
    fn the_first_call_that_waits_decides_which_model_is_next() {
        let (mut seats, clock) = (Seats::default(), Clock(Instant::now()));
        let [a, b, c] = ["a", "b", "c"].map(|model| loaded(model, 1));
        assert_eq!(seats.step(1, &a, clock.at(0)), Step::Enter);
        assert_eq!(seats.step(2, &b, clock.at(0)), Step::Wait(None));
        assert_eq!(seats.step(3, &c, clock.at(0)), Step::Wait(None));
        seats.end(&a, clock.at(0));
        assert_eq!(seats.step(3, &c, clock.at(300)), Step::Wait(Some(clock.at(550))), "`b` is next");
        assert_eq!(seats.step(2, &b, clock.at(300)), Step::Enter);
        seats.end(&b, clock.at(300));
        assert_eq!(seats.step(3, &c, clock.at(550)), Step::Enter);
    }

    #[test]
    fn a_call_that_leaves_does_not_block_the_others() {
        let (mut seats, clock) = (Seats::default(), Clock(Instant::now()));
        let [a, b, c] = ["a", "b", "c"].map(|model| loaded(model, 1));
        assert_eq!(seats.step(1, &a, clock.at(0)), Step::Enter);
        seats.step(2, &b, clock.at(0));
        seats.step(3, &c, clock.at(0));
        seats.leave(2);
        seats.end(&a, clock.at(0));
        assert_eq!(seats.step(3, &c, clock.at(250)), Step::Enter);
    }

    #[test]
    fn the_loaded_models_are_listed_once_and_after_an_answer() {
        let (mut seats, clock) = (Seats::default(), Clock(Instant::now()));
        let (a, b) = (loaded("a", 1), loaded("b", 1));
        assert_eq!(seats.step(1, &a, clock.at(0)), Step::Enter);
        assert_eq!(seats.step(2, &b, clock.at(0)), Step::Wait(None));
        seats.answered(&a);
        assert_eq!(seats.step(2, &b, clock.at(0)), Step::List(a.clone()));
        assert_eq!(seats.step(2, &b, clock.at(0)), Step::Wait(None));
        seats.holds_several();
        assert_eq!(seats.step(2, &b, clock.at(0)), Step::Enter);
        seats.end(&a, clock.at(0));
        seats.end(&b, clock.at(0));
    }
}
