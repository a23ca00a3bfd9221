//! Recent calls: remembers the calls in progress and just finished in this process, so that equal calls are paid once.
//!
//! A block of rows is looked up in the ledger before its calls are sent. Answers from in between are kept here:
//! an answer is forgotten when it is committed and every look-up that began before the commit has ended.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::{Key, Record};

#[derive(Debug, Default)]
pub(crate) struct Recent {
    state: Mutex<RecentState>,
}

#[derive(Debug, Default)]
struct RecentState {
    calls: HashMap<Key, Entry>,
    /// The answered calls with their position in the ledger, oldest first.
    answered: VecDeque<(u64, Key)>,
    /// The number of look-ups in progress, by the number of answers committed when they began.
    lookups: BTreeMap<u64, usize>,
}

#[derive(Clone, Debug)]
enum Entry {
    Asking(watch::Receiver<Option<Arc<Record>>>),
    Answered(Arc<Record>),
}

pub(crate) enum Claim<'a> {
    Answered(Arc<Record>),
    Wait(watch::Receiver<Option<Arc<Record>>>),
    /// Make the call, then call [`Asking::finish`].
    Ask(Asking<'a>),
}

/// The right to make a call. If dropped without an answer, another task makes the call.
pub(crate) struct Asking<'a> {
    recent: &'a Recent,
    key: Key,
    result: watch::Sender<Option<Arc<Record>>>,
    done: bool,
}

/// A look-up in progress; it is kept until the rows are sent.
#[derive(Debug)]
pub(crate) struct Lookup {
    recent: Arc<Recent>,
    committed: u64,
}

impl Recent {
    /// Begins a look-up in the ledger, which contains `committed` answers.
    pub(crate) fn lookup(self: &Arc<Self>, committed: u64) -> Lookup {
        *self.state.lock().lookups.entry(committed).or_default() += 1;
        Lookup { recent: self.clone(), committed }
    }

    pub(crate) fn claim(&self, key: Key) -> Claim<'_> {
        let mut state = self.state.lock();
        match state.calls.get(&key) {
            Some(Entry::Answered(record)) => Claim::Answered(record.clone()),
            Some(Entry::Asking(result)) => Claim::Wait(result.clone()),
            None => {
                let (result, receiver) = watch::channel(None);
                state.calls.insert(key, Entry::Asking(receiver));
                Claim::Ask(Asking { recent: self, key, result, done: false })
            }
        }
    }

    /// Forgets the answers committed before every look-up in progress began; `committed` is the current count.
    pub(crate) fn forget(&self, committed: u64) {
        let mut state = self.state.lock();
        let seen_by_all = state.lookups.keys().next().map_or(committed, |oldest| committed.min(*oldest));
        while let Some((place, key)) = state.answered.front().copied() {
            if place > seen_by_all {
                break;
            }
            state.answered.pop_front();
            state.calls.remove(&key);
        }
    }
}

impl Asking<'_> {
    /// `place` is the answer's position in the ledger, from 1. A failed call has none and is not shared later.
    pub(crate) fn finish(mut self, record: Arc<Record>, place: Option<u64>) {
        self.done = true;
        let mut state = self.recent.state.lock();
        match place {
            Some(place) => {
                state.calls.insert(self.key, Entry::Answered(record.clone()));
                state.answered.push_back((place, self.key));
            }
            None => drop(state.calls.remove(&self.key)),
        }
        drop(state);
        self.result.send_replace(Some(record));
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.recent.state.lock().calls.remove(&self.key);
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut state = self.recent.state.lock();
        let count = state.lookups.entry(self.committed).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            state.lookups.remove(&self.committed);
        }
    }
}
