//! Token buckets (Turner 1986; RFC 2697): limit requests or tokens per minute. Pure.
//!
//! A bucket fills evenly and holds the allowance of one second. A call may overdraw it; the next calls wait for the
//! debt.

use std::time::Duration;

use tokio::time::Instant;

/// The time for which unused allowance is kept. A server may count by the second as well as by the minute.
const KEPT: f64 = 1.0;

#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    /// The capacity: at least one request, even if the rate is lower than one per second.
    most: f64,
    /// The available amount; negative if the bucket is overdrawn.
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_minute: f64, now: Instant) -> Bucket {
        let rate = per_minute / 60.0;
        let most = (rate * KEPT).max(1.0);
        Bucket { rate, most, level: most, at: now }
    }

    /// How long to wait before the next call; `None` if it may begin. A call may overdraw the bucket; otherwise one
    /// that needs more than the allowance of a second could never begin.
    pub(crate) fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.level = (self.level + self.rate * now.saturating_duration_since(self.at).as_secs_f64()).min(self.most);
        self.at = self.at.max(now);
        // Waits slightly longer than computed, so that the bucket is full enough.
        (self.level < 1.0).then(|| Duration::from_secs_f64((1.0 - self.level) / self.rate + 1e-6))
    }

    /// Removes an amount; a negative amount is returned to the bucket.
    pub(crate) fn spend(&mut self, amount: f64) {
        self.level -= amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times at which `amount` can be spent within `seconds`.
    fn spent(bucket: &mut Bucket, amount: f64, start: Instant, seconds: f64) -> Vec<f64> {
        let (mut now, mut times) = (start, Vec::new());
        while now.duration_since(start).as_secs_f64() < seconds {
            match bucket.wait(now) {
                Some(wait) => now += wait,
                None => {
                    bucket.spend(amount);
                    times.push(now.duration_since(start).as_secs_f64());
                }
            }
        }
        times
    }

    #[test]
    fn requests_are_spread_over_the_minute() {
        let now = Instant::now();
        for per_minute in [6.0, 60.0, 500.0] {
            let times = spent(&mut Bucket::new(per_minute, now), 1.0, now, 120.0);
            let most = |window: f64| {
                let within = |start: &f64| times.iter().filter(|t| **t >= *start && **t < start + window).count();
                times.iter().map(within).max().unwrap_or(0) as f64
            };
            assert!((times.len() as f64 - 2.0 * per_minute).abs() <= per_minute / 60.0 + 1.0, "{}", times.len());
            assert!(most(60.0) <= per_minute + per_minute / 60.0 + 1.0, "{per_minute}: {} in a minute", most(60.0));
        }
    }

    #[test]
    fn a_call_larger_than_the_bucket_is_made_and_waited_for() {
        let now = Instant::now();
        let times = spent(&mut Bucket::new(600.0, now), 300.0, now, 100.0);
        assert!((3..=5).contains(&times.len()), "{times:?}");
        assert!(times[0] == 0.0 && times[1] > 28.0, "{times:?}");
    }

    #[test]
    fn an_unused_reservation_is_returned() {
        let now = Instant::now();
        let mut bucket = Bucket::new(60.0, now);
        bucket.spend(60.0);
        assert!(bucket.wait(now).is_some_and(|wait| wait > Duration::from_secs(58)));
        bucket.spend(-60.0);
        assert_eq!(bucket.wait(now), None);
    }
}
