//! Lanes: the number of calls that a stage may make at once. A call that waits before it is tried again is parked: it
//! lends its lane to other calls meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// The most parked calls for each lane. They keep their rows in memory.
const PARKED: usize = 16;

#[derive(Debug)]
pub(crate) struct Lanes {
    count: usize,
    free: Arc<Semaphore>,
    /// As many requests of calls that have given their lanes up may be in flight.
    without: Semaphore,
    parked: AtomicUsize,
    unparked: Notify,
}

#[derive(Debug)]
pub(crate) struct Lane {
    lanes: Arc<Lanes>,
    permit: Mutex<Permit>,
    retaken: Notify,
}

#[derive(Debug)]
enum Permit {
    Held { _permit: OwnedSemaphorePermit },
    Lent,
    GivenUp,
}

impl Lanes {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        let (free, without) = (Arc::new(Semaphore::new(count)), Semaphore::new(count));
        Arc::new(Lanes { count, free, without, parked: AtomicUsize::new(0), unparked: Notify::new() })
    }

    pub(crate) async fn lane(self: &Arc<Self>) -> Lane {
        let permit = self.free.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.with(permit)
    }

    pub(crate) fn free_lane(self: &Arc<Self>) -> Option<Lane> {
        self.free.clone().try_acquire_owned().ok().map(|permit| self.with(permit))
    }

    fn with(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Lane {
        let permit = Mutex::new(Permit::Held { _permit: permit });
        Lane { lanes: self.clone(), permit, retaken: Notify::new() }
    }

    /// Waits until no call is running or parked.
    pub(crate) async fn idle(&self) {
        loop {
            let mut unparked = std::pin::pin!(self.unparked.notified());
            unparked.as_mut().enable();
            let all = self.free.acquire_many(self.count as u32).await;
            if self.parked.load(Relaxed) == 0 {
                return;
            }
            drop(all);
            unparked.await;
        }
    }
}

impl Lane {
    /// Waits for `wait` without the lane, unless many calls are parked already.
    pub(crate) async fn park<T>(&self, wait: impl Future<Output = T>) -> T {
        match self.lanes.parked.load(Relaxed) >= PARKED * self.lanes.count {
            true => wait.await,
            false => self.wait_for_call(wait).await,
        }
    }

    /// Waits for another call, which may need the lane. What limits memory limits the number of such calls.
    pub(crate) async fn wait_for_call<T>(&self, wait: impl Future<Output = T>) -> T {
        self.lanes.parked.fetch_add(1, Relaxed);
        let parked = Parked(&self.lanes);
        let waited = self.lend(wait).await;
        drop(parked);
        waited
    }

    /// Gives the lane up. The call goes on without one, so that it never waits for calls that wait for it.
    pub(crate) fn give_up(&self) {
        *self.permit.lock() = Permit::GivenUp;
        self.retaken.notify_waiters();
    }

    /// Waits for `wait` without the lane, perhaps for hours. What limits memory limits the number of such calls.
    pub(crate) async fn lend<T>(&self, wait: impl Future<Output = T>) -> T {
        let had_one = self.let_go();
        let waited = wait.await;
        if had_one {
            self.take_back().await;
        }
        waited
    }

    /// Lends the lane until it is taken back. Returns whether it was there.
    pub(crate) fn let_go(&self) -> bool {
        let mut permit = self.permit.lock();
        let is_held = matches!(*permit, Permit::Held { .. });
        if is_held {
            *permit = Permit::Lent;
        }
        is_held
    }

    /// Waits until the lane is there again, unless it was given up. A lane that several questions share has one permit,
    /// which any of them gets.
    pub(crate) async fn take_back(&self) {
        loop {
            let mut retaken = std::pin::pin!(self.retaken.notified());
            retaken.as_mut().enable();
            if !matches!(*self.permit.lock(), Permit::Lent) {
                return;
            }
            tokio::select! {
                permit = self.lanes.free.clone().acquire_owned() => {
                    let permit = permit.expect("the semaphore is never closed");
                    let mut lent = self.permit.lock();
                    if matches!(*lent, Permit::Lent) {
                        *lent = Permit::Held { _permit: permit };
                    }
                    drop(lent);
                    self.retaken.notify_waiters();
                    return;
                }
                () = retaken => {}
            }
        }
    }

    /// The permission to send a request: the lane, or for a call without one that of a few others.
    pub(crate) async fn sending(&self) -> Option<SemaphorePermit<'_>> {
        if matches!(*self.permit.lock(), Permit::Held { .. }) {
            return None;
        }
        Some(self.lanes.without.acquire().await.expect("the semaphore is never closed"))
    }
}

struct Parked<'a>(&'a Lanes);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(1, Relaxed);
        self.0.unparked.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_parked_call_lends_its_lane_and_gets_one_back() {
        let lanes = Lanes::new(1);
        let first = lanes.lane().await;
        assert!(lanes.free_lane().is_none());
        let mut parked = Box::pin(first.park(sleep(SECOND)));
        assert!(timeout(SECOND / 2, &mut parked).await.is_err());
        let second = lanes.free_lane().expect("the first lends its lane");
        assert!(timeout(SECOND, &mut parked).await.is_err(), "the lane is taken");
        drop(second);
        parked.await;
        assert!(lanes.free_lane().is_none(), "the first has its lane again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_let_go_is_free_until_it_is_taken_back() {
        let lanes = Lanes::new(1);
        let lane = lanes.lane().await;
        assert!(lane.let_go() && !lane.let_go());
        lane.lend(sleep(SECOND)).await;
        let other = lanes.free_lane().expect("a wait does not take it back");
        assert!(timeout(SECOND, lane.take_back()).await.is_err());
        drop(other);
        timeout(SECOND, lane.take_back()).await.expect("it is free again");
        assert!(lanes.free_lane().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_that_share_a_lane_never_wait_for_each_other() {
        let lanes = Lanes::new(1);
        let lane = lanes.lane().await;
        let late = lane.lend(sleep(2 * SECOND));
        let early = async {
            sleep(SECOND / 2).await;
            lane.park(sleep(SECOND)).await;
        };
        let third = async {
            sleep(SECOND / 4).await;
            lane.lend(sleep(2 * SECOND)).await;
        };
        timeout(5 * SECOND, async { tokio::join!(late, early, third) }).await.expect("all end");
        assert!(lanes.free_lane().is_none(), "the lane has its permit");
        lane.give_up();
        lane.lend(sleep(SECOND)).await;
        assert!(lanes.free_lane().is_some(), "a lane that was given up stays so");
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_are_idle_when_no_call_is_parked() {
        let lanes = Lanes::new(2);
        let lane = lanes.lane().await;
        let mut parked = Box::pin(lane.park(sleep(SECOND)));
        assert!(timeout(SECOND / 2, &mut parked).await.is_err());
        let mut idle = Box::pin(lanes.idle());
        assert!(timeout(SECOND / 4, &mut idle).await.is_err());
        parked.await;
        assert!(timeout(SECOND, &mut idle).await.is_err(), "the call is running");
        drop(lane);
        assert!(timeout(SECOND, idle).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn only_some_calls_are_parked() {
        let lanes = Lanes::new(1);
        let mut parked = Vec::new();
        for _ in 0..PARKED {
            let lane = lanes.lane().await;
            let mut wait = Box::pin(async move { lane.park(sleep(SECOND)).await });
            assert!(timeout(SECOND / 100, &mut wait).await.is_err());
            parked.push(wait);
        }
        let last = lanes.lane().await;
        let mut wait = Box::pin(last.park(sleep(SECOND)));
        assert!(timeout(SECOND / 100, &mut wait).await.is_err());
        assert!(lanes.free_lane().is_none(), "it keeps its lane");
    }
}
