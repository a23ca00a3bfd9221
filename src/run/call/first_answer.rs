//! The first answer of a model. Until it arrives, only a few calls are in flight, and equal failures are counted: after
//! enough of them, no further call is expected to be answered.
//!
//! The limiter waits for servers that are down or refuse calls, so refusals and outages do not count here.

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::prompt::{Failure, FailureKind};
use crate::run::batch::Unjudged;

/// The calls in flight before the first answer.
const CALLS: usize = 4;
/// The equal failures of requests after which the run stops. With the other calls in flight, at most 10 are sent outside of
/// batches.
const ENOUGH: u32 = 6;
/// The calls and the attempts that must have failed. A single one may fail because of its row.
const SEVERAL: u32 = 2;
/// The requests with other failures after which the failures are taken to differ from row to row.
const MIXED: u32 = 12;

#[derive(Debug)]
pub(crate) struct FirstAnswer {
    /// Closed after the first answer.
    gate: Semaphore,
    evidence: Mutex<Evidence>,
    /// While there are some, the evidence is not complete.
    pub(crate) unjudged: Unjudged,
}

/// What is known about a model that has not answered.
#[derive(Clone, Debug, Default)]
enum Evidence {
    #[default]
    None,
    Alike(Alike),
    /// The model has answered, or its failures differ from row to row.
    Over,
}

/// Failures of the same kind with the same words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alike {
    pub(crate) failure: Failure,
    pub(crate) requests: u32,
    attempts: u32,
    calls: u32,
    /// The earlier requests, which failed in other ways.
    others: u32,
}

/// The permission of a call to send its requests.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    first: &'a FirstAnswer,
    permit: Option<SemaphorePermit<'a>>,
    is_free: bool,
    has_failed: bool,
}

impl Alike {
    fn is_enough(&self) -> bool {
        self.requests >= ENOUGH && self.attempts >= SEVERAL && self.calls >= SEVERAL
    }
}

impl FirstAnswer {
    pub(crate) fn awaited() -> FirstAnswer {
        FirstAnswer { gate: Semaphore::new(CALLS), evidence: Mutex::default(), unjudged: Unjudged::default() }
    }

    /// For a model whose calls may all fail.
    pub(crate) fn not_awaited() -> FirstAnswer {
        let first = FirstAnswer::awaited();
        first.answered();
        first
    }

    pub(crate) fn pass(&self) -> Pass<'_> {
        Pass { first: self, permit: None, is_free: false, has_failed: false }
    }

    /// For a call that is made for another model's call, which has a permission already.
    pub(crate) fn free_pass(&self) -> Pass<'_> {
        Pass { is_free: true, ..self.pass() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.gate.is_closed()
    }

    pub(crate) fn answered(&self) {
        if !self.is_over() {
            *self.evidence.lock() = Evidence::Over;
            self.gate.close();
        }
    }

    /// The failures, if there were several calls and all failed alike.
    pub(crate) fn alike(&self) -> Option<Alike> {
        match &*self.evidence.lock() {
            Evidence::Alike(alike) if alike.calls >= SEVERAL && alike.others == 0 => Some(alike.clone()),
            _ => None,
        }
    }

    /// The failures, once no call is expected to be answered.
    pub(crate) fn hopeless(&self) -> Option<Alike> {
        match &*self.evidence.lock() {
            Evidence::Alike(alike) if alike.is_enough() && self.unjudged.is_empty() => Some(alike.clone()),
            _ => None,
        }
    }

    fn failed(&self, failure: &Failure, requests: u32, is_new: bool) {
        let mut evidence = self.evidence.lock();
        let others = match &mut *evidence {
            Evidence::Over => return,
            Evidence::Alike(known) if alike(&known.failure, failure) => {
                known.requests += requests;
                known.attempts += 1;
                known.calls += u32::from(is_new);
                return;
            }
            Evidence::Alike(known) => known.others + known.requests,
            Evidence::None => 0,
        };
        *evidence = Evidence::Alike(Alike { failure: failure.clone(), requests, attempts: 1, calls: 1, others });
        drop(evidence);
        if others >= MIXED {
            self.answered();
        }
    }
}

impl Pass<'_> {
    /// Waits for the permission, unless the call has it. After the first answer, every call has it.
    pub(crate) async fn wait(&mut self) {
        if self.permit.is_none() && !self.is_free {
            self.permit = self.first.gate.acquire().await.ok();
        }
    }

    /// Whether other calls may have to wait for this one.
    pub(crate) fn is_held(&self) -> bool {
        self.permit.is_some() && !self.first.is_over()
    }

    /// Lets another call go first, for example while the server refuses this one.
    pub(crate) fn step_back(&mut self) {
        self.permit = None;
    }

    /// Counts a failed attempt with all its requests.
    pub(crate) fn failed(&mut self, failure: &Failure, requests: u32) {
        match failure.kind {
            FailureKind::RateLimited | FailureKind::Unavailable => {}
            // The model, or its provider, has judged the prompt.
            FailureKind::Refused => self.first.answered(),
            _ => {
                let is_new = !std::mem::replace(&mut self.has_failed, true);
                self.first.failed(failure, requests, is_new)
            }
        }
    }
}

/// Whether two failures are of one kind and have the same words. Words with a digit may be numbers, ids or names. A
/// beginning of the reply may follow our own words about it.
pub(crate) fn alike(one: &Failure, other: &Failure) -> bool {
    let words = |text: &str| -> Vec<String> {
        let text =
            text.split_once("): ").map_or(text, |(own, _)| if own.starts_with("the reply ") { own } else { text });
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_');
        words
            .filter(|word| !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    };
    one.kind == other.kind && words(&one.message) == words(&other.message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_replies_begin_with_makes_no_difference() {
        let cut = |place: &str| FailureKind::Truncated.because(format!("the reply ends too early (line 1, {place}"));
        assert!(alike(&cut("column 244): {\"id\": \"a\", \"text\": \"war"), &cut("column 7): {\"text\": \"peace and")));
        assert!(!alike(&cut("column 244): {"), &FailureKind::Truncated.because("it was cut off")));
        let status = |reason: &str| server_error(&format!("status 500 (busy): {reason}"));
        assert!(!alike(&status("no memory"), &status("no model")));
    }

    fn server_error(message: &str) -> Failure {
        FailureKind::ServerError.because(message)
    }

    /// The number of requests after which the run stops, for calls with this number of attempts and of requests in each.
    fn stops_after(attempts: u32, requests: u32, failure: impl Fn(u32) -> Failure) -> Option<u32> {
        let (first, mut sent) = (FirstAnswer::awaited(), 0);
        for _ in 0..100 {
            let mut pass = first.pass();
            for _ in 0..attempts {
                sent += requests;
                pass.failed(&failure(sent), requests);
                if first.hopeless().is_some() {
                    return Some(sent);
                }
            }
        }
        None
    }

    #[test]
    fn equal_failures_stop_the_run_whatever_their_kind() {
        let kinds = [
            FailureKind::Rejected,
            FailureKind::ServerError,
            FailureKind::Malformed,
            FailureKind::Truncated,
            FailureKind::ContextTooLong,
            FailureKind::Timeout,
        ];
        for kind in kinds {
            let failure = |n| kind.because(format!("row {n} (request req_{n}a): no"));
            for (attempts, requests, most) in [(1, 1, 6), (3, 1, 6), (1, 3, 6), (3, 3, 12), (7, 1, 8), (20, 1, 21)] {
                assert_eq!(stops_after(attempts, requests, failure), Some(most), "{kind:?} {attempts} x {requests}");
            }
        }
    }

    #[test]
    fn refusals_outages_and_different_failures_do_not_stop_it() {
        for kind in [FailureKind::RateLimited, FailureKind::Unavailable, FailureKind::Refused] {
            assert_eq!(stops_after(3, 1, |_| kind.because("no")), None, "{kind:?}");
        }
        assert_eq!(stops_after(1, 1, |n| server_error(if n % 2 == 0 { "verbs" } else { "words" })), None);
        let kinds = [FailureKind::Malformed, FailureKind::Truncated];
        assert_eq!(stops_after(1, 1, |n| kinds[n as usize % 2].because("no")), None);
        assert_eq!(stops_after(1, 1, |n| server_error(if n == 1 { "loading" } else { "no" })), Some(7));
    }

    #[test]
    fn an_answer_ends_the_count_for_good() {
        let first = FirstAnswer::awaited();
        let fail = |times: u32| (0..times).for_each(|_| first.pass().failed(&server_error("no"), 1));
        fail(5);
        assert_eq!((first.hopeless(), first.alike().map(|alike| alike.requests)), (None, Some(5)));
        first.answered();
        fail(100);
        assert!(first.hopeless().is_none() && first.alike().is_none());
        assert!(FirstAnswer::not_awaited().is_over());
    }

    #[test]
    fn one_call_alone_proves_nothing() {
        let first = FirstAnswer::awaited();
        let mut pass = first.pass();
        (0..50).for_each(|_| pass.failed(&server_error("no"), 1));
        assert_eq!((first.hopeless(), first.alike()), (None, None));
    }

    #[test]
    fn replies_that_come_at_once_prove_nothing_before_all_are_judged() {
        let first = FirstAnswer::awaited();
        let mut judging: Vec<_> = (0..20).map(|_| first.unjudged.begin()).collect();
        while let Some(last) = judging.pop() {
            first.pass().failed(&server_error("no"), 1);
            assert_eq!(first.hopeless(), None);
            drop(last);
        }
        assert_eq!(first.hopeless().map(|alike| alike.requests), Some(20));
    }

    #[tokio::test(start_paused = true)]
    async fn few_calls_go_first_and_an_answer_lets_all_others_go() {
        let first = FirstAnswer::awaited();
        let mut passes: Vec<Pass<'_>> = (0..CALLS + 2).map(|_| first.pass()).collect();
        let (early, late) = passes.split_at_mut(CALLS);
        for pass in early.iter_mut() {
            timeout(SECOND, pass.wait()).await.expect("there is room");
            timeout(SECOND, pass.wait()).await.expect("it has the permission already");
        }
        assert!(timeout(SECOND, late[0].wait()).await.is_err());
        timeout(SECOND, first.free_pass().wait()).await.expect("it never waits");
        assert!(early[0].is_held() && !late[0].is_held());
        // A call that the server refuses lets the next one go, and waits for its turn again.
        early[0].step_back();
        timeout(SECOND, late[0].wait()).await.expect("there is room");
        assert!(timeout(SECOND, early[0].wait()).await.is_err());
        let waiting = async {
            late[1].wait().await;
            early[0].wait().await;
        };
        let answer = async { first.answered() };
        timeout(SECOND, async { tokio::join!(waiting, answer) }).await.expect("all go");
        assert!(passes.iter().all(|pass| !pass.is_held()));
        timeout(SECOND, first.pass().wait()).await.expect("new calls go at once");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_differ_open_the_gate_too() {
        let first = FirstAnswer::awaited();
        let mut passes: Vec<Pass<'_>> = (0..=CALLS).map(|_| first.pass()).collect();
        for pass in &mut passes[..CALLS] {
            pass.wait().await;
        }
        for n in 0..=MIXED as usize {
            assert!(!first.is_over() && first.hopeless().is_none());
            passes[n % CALLS].failed(&server_error(if n % 2 == 0 { "a" } else { "b" }), 1);
        }
        assert!(first.is_over());
        timeout(SECOND, first.pass().wait()).await.expect("the gate is open");
    }
}
