//! Recent calls: what this process is asking or has just asked, so that equal calls are paid once.
//!
//! A block of rows looks its keys up in the ledger some time before they are sent. What was answered in between stands
//! here: an answer is forgotten once it is committed and every look-up that began before that is over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::{Key, Record};

/// The calls that the ledger may not show yet.
#[derive(Debug, Default)]
pub struct Recent {
    state: Mutex<RecentState>,
}

#[derive(Debug, Default)]
struct RecentState {
    calls: HashMap<Key, Entry>,
    /// Answered calls with their place in the ledger, oldest first.
    answered: VecDeque<(u64, Key)>,
    /// For each look-up under way, how many answers were committed when it began.
    lookups: BTreeMap<u64, usize>,
}

#[derive(Clone, Debug)]
enum Entry {
    Asking(watch::Receiver<Option<Arc<Record>>>),
    Answered(Arc<Record>),
}

/// What to do about a call.
pub enum Claim<'a> {
    /// It has been answered just now.
    Answered(Arc<Record>),
    /// Somebody is asking: wait for him.
    Wait(watch::Receiver<Option<Arc<Record>>>),
    /// Ask, and tell the others by [`Asking::finish`].
    Ask(Asking<'a>),
}

/// The duty to ask; dropped without an answer it sets the others free to ask themselves.
pub struct Asking<'a> {
    recent: &'a Recent,
    key: Key,
    tell: watch::Sender<Option<Arc<Record>>>,
    done: bool,
}

/// A look-up under way; keep it until the rows are sent.
#[derive(Debug)]
pub struct Lookup {
    recent: Arc<Recent>,
    committed: u64,
}

impl Recent {
    /// Begins a look-up in the ledger, in which `committed` answers can be seen.
    pub fn lookup(self: &Arc<Self>, committed: u64) -> Lookup {
        *self.state.lock().lookups.entry(committed).or_default() += 1;
        Lookup { recent: self.clone(), committed }
    }

    /// What to do about the call `key`.
    pub fn claim(&self, key: Key) -> Claim<'_> {
        let mut state = self.state.lock();
        match state.calls.get(&key) {
            Some(Entry::Answered(finished)) => Claim::Answered(finished.clone()),
            Some(Entry::Asking(told)) => Claim::Wait(told.clone()),
            None => {
                let (tell, told) = watch::channel(None);
                state.calls.insert(key, Entry::Asking(told));
                Claim::Ask(Asking { recent: self, key, tell, done: false })
            }
        }
    }

    /// Forgets what is committed and was so before every look-up that is under way. `committed`: how many answers are now.
    pub fn forget(&self, committed: u64) {
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
    /// Tells the others. `place` is the answer's place in the ledger, counted from 1; a failed call has none
    /// and is not served to later rows.
    pub fn finish(mut self, finished: Arc<Record>, place: Option<u64>) {
        self.done = true;
        let mut state = self.recent.state.lock();
        match place {
            Some(place) => {
                state.calls.insert(self.key, Entry::Answered(finished.clone()));
                state.answered.push_back((place, self.key));
            }
            None => drop(state.calls.remove(&self.key)),
        }
        drop(state);
        self.tell.send_replace(Some(finished));
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
        if let Some(count) = state.lookups.get_mut(&self.committed) {
            *count -= 1;
            if *count == 0 {
                state.lookups.remove(&self.committed);
            }
        }
    }
}
