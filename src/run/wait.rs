//! Waits: what holds calls back, since when, and until when. The parts of a run name their waits; a watcher asks them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// The reason of a wait, the most telling one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WaitKind {
    /// The server is down; it is asked again now and then.
    Outage,
    /// The server refuses calls, or the spec limits them per minute.
    RateLimit,
    /// Records are being written.
    Disk,
    /// Calls in flight may use the rest of the budget.
    Budget,
    /// The provider has not answered the calls of a batch.
    Batch,
    /// The server holds one model, and has calls of another model.
    OtherModel,
    /// No call has ended for some time. The server may be loading the model.
    Loading,
    /// No call has ended for some time.
    Stall,
    /// Other calls wait until the model has answered once.
    FirstAnswer,
    /// As many calls are in flight as may be.
    Concurrency,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wait {
    pub(crate) kind: WaitKind,
    /// The model, or what else holds calls back.
    pub(crate) on: String,
    pub(crate) since: Instant,
    pub(crate) until: Option<Instant>,
    /// The server's words, or numbers that explain the wait; may be empty.
    pub(crate) because: String,
}

/// The wait of a part that does not know the model's name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) kind: WaitKind,
    pub(crate) since: Instant,
    pub(crate) until: Option<Instant>,
}

/// Waits shorter than this are not worth a word.
const SHORT: Duration = Duration::from_secs(3);
const LOADING: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(30);

impl Wait {
    /// Whether the wait is, or will be, long enough to be shown.
    pub(crate) fn is_long(&self, now: Instant) -> bool {
        let least = match self.kind {
            WaitKind::Stall | WaitKind::Concurrency => STALL,
            WaitKind::OtherModel | WaitKind::Loading | WaitKind::FirstAnswer => LOADING,
            _ => SHORT,
        };
        now.max(self.until.unwrap_or(now)).duration_since(self.since) >= least
    }
}

/// The waits of a run: those of now, and how long servers have held back calls so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) now: Vec<Wait>,
    at: Option<Instant>,
    refused: BTreeMap<String, Duration>,
}

impl Waits {
    /// Takes over the waits of `now`. The time since the last look counts for refusals and outages that still last.
    pub(crate) fn look(&mut self, waits: Vec<Wait>, now: Instant) {
        let by_server = |wait: &&Wait| matches!(wait.kind, WaitKind::Outage | WaitKind::RateLimit);
        for wait in waits.iter().filter(by_server) {
            let from = self.at.map_or(wait.since, |at| at.max(wait.since));
            *self.refused.entry(wait.on.clone()).or_default() += now.saturating_duration_since(from);
        }
        (self.now, self.at) = (waits, Some(now));
    }

    /// The waits of the last look that are long enough to be shown, one for each model, with the time of that look.
    pub(crate) fn shown(&self) -> (Vec<Wait>, Instant) {
        self.chosen(Wait::is_long)
    }

    /// Like [`Waits::shown`], with short waits.
    pub(crate) fn all(&self) -> (Vec<Wait>, Instant) {
        self.chosen(|_, _| true)
    }

    fn chosen(&self, is_wanted: impl Fn(&Wait, Instant) -> bool) -> (Vec<Wait>, Instant) {
        let now = self.at.unwrap_or_else(Instant::now);
        let mut shown: Vec<Wait> = Vec::new();
        let mut wanted: Vec<&Wait> = self.now.iter().filter(|wait| is_wanted(wait, now)).collect();
        wanted.sort_by_key(|wait| wait.kind);
        for wait in wanted {
            if !shown.iter().any(|known| known.on == wait.on) {
                shown.push(wait.clone());
            }
        }
        (shown, now)
    }

    /// How long calls to the model had to wait for its server.
    pub(crate) fn waited(&self, model: &str) -> Duration {
        self.refused.get(model).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wait(kind: WaitKind, on: &str, since: Instant, until: Option<Instant>) -> Wait {
        Wait { kind, on: on.to_owned(), since, until, because: String::new() }
    }

    #[test]
    fn only_long_waits_are_shown_and_one_for_each_model() {
        let start = Instant::now();
        let mut waits = Waits::default();
        let all = vec![
            wait(WaitKind::Concurrency, "a", start, None),
            wait(WaitKind::RateLimit, "a", start, Some(start + 20 * SECOND)),
            wait(WaitKind::RateLimit, "b", start, Some(start + SECOND)),
            wait(WaitKind::Stall, "c", start, None),
        ];
        let shown = |waits: &Waits| waits.shown().0.into_iter().map(|wait| (wait.on, wait.kind)).collect::<Vec<_>>();
        waits.look(all.clone(), start + SECOND);
        assert_eq!(shown(&waits), [("a".to_owned(), WaitKind::RateLimit)], "its end is known to be far");
        assert_eq!(waits.all().0.len(), 3);
        waits.look(all, start + 31 * SECOND);
        let kinds = [("a", WaitKind::RateLimit), ("b", WaitKind::RateLimit), ("c", WaitKind::Stall)];
        assert_eq!(shown(&waits), kinds.map(|(on, kind)| (on.to_owned(), kind)));
    }

    #[test]
    fn the_time_of_refusals_adds_up() {
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let (mut waits, limited) = (Waits::default(), |since| vec![wait(WaitKind::RateLimit, "a", since, None)]);
        waits.look(limited(at(1)), at(3));
        waits.look(limited(at(1)), at(5));
        waits.look(Vec::new(), at(20));
        waits.look(limited(at(19)), at(21));
        waits.look(vec![wait(WaitKind::Stall, "a", at(0), None)], at(60));
        assert_eq!((waits.waited("a"), waits.waited("b")), (5 * SECOND, Duration::ZERO));
    }
}
