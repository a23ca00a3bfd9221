//! Operations that are under way: how many, since when, and since when none has ended.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    began: BTreeMap<u64, Instant>,
    ended: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Busy {
    pub(crate) count: usize,
    pub(crate) oldest: Instant,
    /// When the last operation ended, or the oldest of the present ones began.
    pub(crate) quiet_since: Instant,
}

/// An operation; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Operation<'a>(&'a UnderWay, u64);

impl UnderWay {
    pub(crate) fn begin(&self) -> Operation<'_> {
        let mut state = self.0.lock();
        let id = state.next;
        state.next += 1;
        state.began.insert(id, Instant::now());
        Operation(self, id)
    }

    pub(crate) fn busy(&self) -> Option<Busy> {
        let state = self.0.lock();
        let (_, oldest) = state.began.first_key_value()?;
        let quiet_since = state.ended.map_or(*oldest, |ended| ended.max(*oldest));
        Some(Busy { count: state.began.len(), oldest: *oldest, quiet_since })
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.began.remove(&self.1);
        state.ended = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_known_since_when_nothing_has_ended() {
        let (calls, start) = (UnderWay::default(), Instant::now());
        let pass = || tokio::time::advance(Duration::from_secs(1));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(calls.busy(), None);
        let first = calls.begin();
        pass().await;
        let second = calls.begin();
        assert_eq!(calls.busy(), Some(Busy { count: 2, oldest: at(0), quiet_since: at(0) }));
        pass().await;
        drop(second);
        assert_eq!(calls.busy(), Some(Busy { count: 1, oldest: at(0), quiet_since: at(2) }));
        pass().await;
        drop(first);
        let _third = calls.begin();
        assert_eq!(calls.busy(), Some(Busy { count: 1, oldest: at(3), quiet_since: at(3) }));
    }
}
