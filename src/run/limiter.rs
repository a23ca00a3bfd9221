//! The limiter: one per endpoint, shared by all stages: how many calls at once, and a pause for all when the server asks.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

/// Whose turn it is at an endpoint.
#[derive(Debug)]
pub struct Limiter {
    slots: Option<Semaphore>,
    resume: Mutex<Option<Instant>>,
}

/// The right to have one call in flight.
#[derive(Debug)]
pub struct Turn<'a> {
    _slot: Option<SemaphorePermit<'a>>,
}

impl Limiter {
    /// A limiter for at most `calls` at once.
    pub fn new(calls: Option<u32>) -> Self {
        Limiter { slots: calls.map(|n| Semaphore::new(n as usize)), resume: Mutex::new(None) }
    }

    /// Waits for a free slot and for the end of a pause.
    pub async fn turn(&self) -> Turn<'_> {
        loop {
            if let Some(resume) = self.pause() {
                sleep_until(resume).await;
                continue;
            }
            let slot = match &self.slots {
                Some(slots) => Some(slots.acquire().await.expect("the semaphore is never closed")),
                None => None,
            };
            // A pause may have begun while waiting for the slot.
            if self.pause().is_none() {
                return Turn { _slot: slot };
            }
        }
    }

    fn pause(&self) -> Option<Instant> {
        let mut resume = self.resume.lock().unwrap_or_else(|e| e.into_inner());
        if resume.is_some_and(|at| at <= Instant::now()) {
            *resume = None;
        }
        *resume
    }

    /// Lets nobody start a call for `delay`.
    pub fn pause_for(&self, delay: Duration) {
        let until = Instant::now() + delay;
        let mut resume = self.resume.lock().unwrap_or_else(|e| e.into_inner());
        *resume = Some(resume.map_or(until, |at| at.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone_back() {
        let limiter = Limiter::new(Some(2));
        let start = Instant::now();
        drop(limiter.turn().await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        limiter.pause_for(Duration::from_secs(3));
        let _a = limiter.turn().await;
        let _b = limiter.turn().await;
        assert!(start.elapsed() >= Duration::from_secs(3));
        assert!(tokio::time::timeout(Duration::from_secs(60), limiter.turn()).await.is_err());
    }
}
