//! Refusals: decides from the refused calls of a model how long its other calls wait, and how many may be in flight.
//! Pure.
//!
//! A refused call waits for its Retry-After, or for a wait that doubles each time. For the other calls:
//! 1. *Noise*: at most 12 % of the last 100 replies (of at least 20) were refusals; for a call that is refused again,
//!    only first refusals of calls count. Then the refusals concern single calls, and no other call waits. Such a call
//!    fails at its 8th refusal, if a call that was sent after its first one was let in.
//! 2. *Known*: the refused call was sent before the last cut. Only the end of the pause and the cap follow it.
//! 3. *Cut*: the cap becomes the number of calls in flight, since the server let these in. With Retry-After, no call is
//!    sent until it is over. If the calls that were sent between the refused one and the cut are answered, the refusal
//!    concerned a single call: the cut is undone.
//! 4. *Hold*: a call is refused while no other is in flight. The cap becomes 1, and the pause lasts at least a second.
//!    Without Retry-After it doubles with each hold in a row. If the server let one call in since the last pause, the
//!    distance becomes the least time between two calls.
//!
//! The cap grows by one with every call let in that was sent at the cap, and more slowly after a second cut.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::run::call::retry::{PATIENCE, own_wait};

const NOISE: f64 = 0.12;
const ENOUGH: usize = 20;
const MEMORY: usize = 100;
/// The number of refusals, each a single call's, after which a call fails.
const SINGLE: u32 = 8;
const FIRST_HOLD: Duration = Duration::from_secs(1);
const LAST_HOLD: Duration = Duration::from_secs(30);
/// Distances between calls below this are not kept.
const SHORTEST_GAP: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Refusals {
    /// The most calls that the stages send at once.
    lanes: usize,
    replies: Recent,
    /// Without repeated refusals of the same call.
    first_replies: Recent,
    /// Calls by age that were refused and not let in since.
    refused: HashMap<u64, Refused>,
    in_flight: usize,
    sent: u64,
    cap: Cap,
    resume: Option<Instant>,
    /// The number of calls sent before the last cut.
    cut: u64,
    /// Holds in a row.
    holds: u32,
    undo: Option<Undo>,
    /// The least time between two calls, counted from the last one let in.
    gap: Duration,
    last_let_in: Option<Instant>,
    /// The highest number of a call that was let in.
    newest_let_in: u64,
    let_in_since_hold: u32,
    refusing_since: Option<Instant>,
}

/// Whether the last calls were let in.
#[derive(Debug, Default)]
struct Recent(VecDeque<bool>);

impl Recent {
    fn push(&mut self, let_in: bool) {
        if self.0.len() == MEMORY {
            self.0.pop_front();
        }
        self.0.push_back(let_in);
    }

    fn is_noise(&self) -> bool {
        is_noise(self.0.iter().filter(|let_in| !**let_in).count(), self.0.len())
    }
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    times: u32,
    /// The number of calls sent before the first refusal.
    sent: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cap {
    calls: Option<usize>,
    is_slow: bool,
    /// The calls let in at the cap since it last grew.
    grown: usize,
}

/// A cut that may prove wrong.
#[derive(Debug)]
struct Undo {
    /// The number of calls sent before the refused one.
    from: u64,
    let_in: usize,
    refused: usize,
    cap: Cap,
    resume: Option<Instant>,
}

/// A call in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(super) age: u64,
    number: u64,
    pub(crate) at: Instant,
    in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The call waits, then tries again.
    Wait(Duration),
    /// Only this call is refused, again and again.
    GiveUp,
    /// No call is let in within the patience.
    Beyond,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gate {
    Open,
    ClosedUntil(Instant),
    Full,
}

impl Refusals {
    pub(crate) fn new(lanes: usize) -> Self {
        Refusals {
            lanes,
            replies: Recent::default(),
            first_replies: Recent::default(),
            refused: HashMap::new(),
            in_flight: 0,
            sent: 0,
            cap: Cap::default(),
            resume: None,
            cut: 0,
            holds: 0,
            undo: None,
            gap: Duration::ZERO,
            last_let_in: None,
            newest_let_in: 0,
            let_in_since_hold: 0,
            refusing_since: None,
        }
    }

    pub(crate) fn gate(&self, now: Instant) -> Gate {
        let next = self.last_let_in.filter(|_| !self.gap.is_zero()).map(|last| last + self.gap);
        match self.resume.max(next).filter(|at| *at > now) {
            Some(at) => Gate::ClosedUntil(at),
            None if self.cap.calls.is_some_and(|cap| self.in_flight >= cap) => Gate::Full,
            None => Gate::Open,
        }
    }

    /// When the first of the refusals came since the last call that was let in.
    pub(crate) fn refusing_since(&self) -> Option<Instant> {
        self.refusing_since
    }

    /// The end of a pause that is longer than the patience, if no call in flight can still undo it.
    pub(crate) fn beyond(&self, now: Instant) -> Option<Instant> {
        self.resume.filter(|resume| self.in_flight == 0 && *resume > now + PATIENCE)
    }

    /// The number of calls sent after `call`.
    pub(crate) fn sent_since(&self, call: Sent) -> u64 {
        self.sent - call.number
    }

    pub(crate) fn send(&mut self, age: u64, now: Instant) -> Sent {
        self.sent += 1;
        self.in_flight += 1;
        Sent { age, number: self.sent, at: now, in_flight: self.in_flight }
    }

    /// Ends a call of which it is not known whether the server let it in.
    pub(crate) fn lost(&mut self) {
        self.in_flight -= 1;
    }

    pub(crate) fn let_in(&mut self, call: Sent, now: Instant) {
        self.in_flight -= 1;
        self.replies.push(true);
        self.first_replies.push(true);
        self.refused.remove(&call.age);
        self.newest_let_in = self.newest_let_in.max(call.number);
        self.let_in_since_hold += 1;
        self.last_let_in = Some(call.at);
        self.refusing_since = None;
        if call.number > self.cut {
            self.holds = 0;
            self.gap = self.gap.mul_f64(0.95);
            if self.gap < SHORTEST_GAP {
                self.gap = Duration::ZERO;
            }
            self.grow(call);
        } else if let Some(undo) = self.undo.as_mut().filter(|undo| call.number > undo.from)
            && self.resume.is_some_and(|resume| now < resume)
        {
            undo.let_in += 1;
            if undo.let_in >= ENOUGH && is_noise(undo.refused, undo.let_in + undo.refused) {
                (self.cap, self.resume) = (undo.cap, undo.resume);
                self.undo = None;
            }
        }
    }

    fn grow(&mut self, call: Sent) {
        let Some(calls) = self.cap.calls.filter(|calls| call.in_flight >= *calls && self.gap.is_zero()) else { return };
        self.cap.grown += 1;
        if self.cap.grown >= if self.cap.is_slow { 4 * calls } else { 1 } {
            self.cap.grown = 0;
            self.cap.calls = Some(calls + 1).filter(|calls| *calls < self.lanes);
        }
    }

    /// `after` is the server's Retry-After, `jitter` a random number from 0 to 1. Returns the verdict on the call, and
    /// whether the refusal was a cut.
    pub(crate) fn refused(
        &mut self,
        call: Sent,
        after: Option<Duration>,
        jitter: f64,
        now: Instant,
    ) -> (Verdict, bool) {
        self.in_flight -= 1;
        self.replies.push(false);
        let since = *self.refusing_since.get_or_insert(now);
        let (times, overtaken) = self.refuse(call);
        let noise = match times {
            1 => {
                self.first_replies.push(false);
                self.replies.is_noise()
            }
            _ => self.first_replies.is_noise(),
        };
        if let Some(undo) = self.undo.as_mut().filter(|undo| call.number > undo.from) {
            undo.refused += 1;
        }
        let wait = after.unwrap_or_else(|| own_wait(times, jitter));
        let (lasts, cut) = (wait > PATIENCE, call.number > self.cut);
        // A limit that lasts may concern this call alone. Until that is known, the gate holds the call back.
        let wait = if lasts { LAST_HOLD } else { wait };
        if noise && times >= SINGLE && overtaken {
            self.refused.remove(&call.age);
            return (Verdict::GiveUp, false);
        }
        if cut && noise && times < SINGLE {
            return (Verdict::Wait(wait), false);
        }
        match cut {
            true => self.cut(call, after, now),
            false => self.follow(after, now),
        }
        if self.in_flight == 0 {
            self.hold(after, now);
        }
        let verdict = if now - since + wait > PATIENCE { Verdict::Beyond } else { Verdict::Wait(wait) };
        (verdict, cut)
    }

    /// The verdict on a call whose reply was cut off, which says nothing of other calls. It fails as a call that is
    /// refused again and again does.
    pub(crate) fn cut_off(&mut self, call: Sent, jitter: f64) -> Verdict {
        let (times, overtaken) = self.refuse(call);
        if times >= SINGLE && overtaken {
            self.refused.remove(&call.age);
            return Verdict::GiveUp;
        }
        Verdict::Wait(own_wait(times, jitter))
    }

    /// Returns how often the call was refused, and whether a call sent after its first refusal was let in.
    fn refuse(&mut self, call: Sent) -> (u32, bool) {
        let refused = self.refused.entry(call.age).or_insert(Refused { times: 0, sent: self.sent });
        refused.times += 1;
        (refused.times, self.newest_let_in > refused.sent)
    }

    /// A server that answers no call is probed by one call at a time.
    pub(crate) fn unanswered(&mut self, call: Sent, now: Instant) {
        self.in_flight -= 1;
        if call.number > self.cut {
            self.cut = self.sent;
            self.hold(None, now);
        }
    }

    fn follow(&mut self, after: Option<Duration>, now: Instant) {
        if let (Some(after), Some(resume)) = (after, self.resume.filter(|resume| *resume > now)) {
            self.resume = Some(resume.max(now + after));
        }
        self.cap.calls = self.cap.calls.map(|calls| calls.min(self.in_flight).max(1));
    }

    fn cut(&mut self, call: Sent, after: Option<Duration>, now: Instant) {
        let (cap, resume) = (self.cap, self.resume);
        self.undo = Some(Undo { from: call.number - 1, let_in: 0, refused: 1, cap, resume });
        self.cut = self.sent;
        self.cap = Cap { calls: Some(self.in_flight.max(1)), is_slow: cap.calls.is_some(), grown: 0 };
        self.resume = self.resume.max(after.map(|after| now + after));
    }

    /// No call is in flight, so the limit is not one of calls in flight.
    fn hold(&mut self, after: Option<Duration>, now: Instant) {
        self.cap = Cap { calls: Some(1), is_slow: false, grown: 0 };
        let least = if self.gap.is_zero() { FIRST_HOLD } else { Duration::ZERO };
        let doubled = FIRST_HOLD.saturating_mul(1 << self.holds.min(10)).min(LAST_HOLD);
        self.holds += 1;
        let resume = now + after.map_or(doubled, |after| after.max(least));
        self.resume = self.resume.max(Some(resume));
        if let (1, Some(last)) = (self.let_in_since_hold, self.last_let_in) {
            self.gap = self.gap.max(self.resume.unwrap_or(resume) - last);
        }
        self.let_in_since_hold = 0;
    }
}

fn is_noise(refused: usize, of: usize) -> bool {
    of >= ENOUGH && refused as f64 <= NOISE * of as f64
}
