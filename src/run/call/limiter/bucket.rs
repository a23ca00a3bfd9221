//! Token buckets (Turner 1986; RFC 2697): limit requests or tokens per minute. Pure.
//!
//! A bucket fills evenly. A call may overdraw it; the next calls wait for the debt.

use std::time::Duration;

use tokio::time::Instant;

use crate::provider::Quota;

/// The longest wait for a quota that a server reports. Then a call shows whether the report still holds.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    /// The capacity, at least 1.
    most: f64,
    /// The available amount; negative if the bucket is overdrawn.
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_minute: f64, most: f64, now: Instant) -> Bucket {
        let (rate, most) = (per_minute / 60.0, most.max(1.0));
        Bucket { rate, most, level: most, at: now }
    }

    /// The bucket of a server, from the quota in a reply and the amount that calls sent later need. `None` if the quota
    /// does not say how fast it fills.
    pub(crate) fn of_server(quota: &Quota, later: f64, now: Instant) -> Option<Bucket> {
        let used = quota.limit.map_or(1.0, |limit| limit - quota.remaining);
        let rate = used / quota.reset?.as_secs_f64();
        let most = quota.limit.unwrap_or(quota.remaining).max(1.0);
        let sensible = rate.is_finite() && rate > 0.0 && (quota.limit.is_some() || quota.remaining < 1.0);
        sensible.then_some(Bucket { rate, most, level: quota.remaining - later, at: now })
    }

    /// How long to wait before a call that needs `amount`; `None` if it may begin. A call that needs more than the
    /// capacity waits for a full bucket.
    pub(crate) fn wait(&mut self, amount: f64, now: Instant) -> Option<Duration> {
        self.level = (self.level + self.rate * now.saturating_duration_since(self.at).as_secs_f64()).min(self.most);
        self.at = self.at.max(now);
        let lacking = amount.min(self.most) - self.level;
        // Waits slightly longer than computed, so that the bucket is full enough.
        (lacking > 0.0).then(|| Duration::try_from_secs_f64(lacking / self.rate + 1e-6).unwrap_or(LONGEST))
    }

    /// [`Bucket::wait`] for a server's bucket.
    pub(crate) fn brief_wait(&mut self, amount: f64, now: Instant) -> Option<Duration> {
        self.wait(amount, now).map(|wait| wait.min(LONGEST))
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
            match bucket.wait(1.0, now) {
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
            let times = spent(&mut Bucket::new(per_minute, per_minute / 60.0, now), 1.0, now, 120.0);
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
        let times = spent(&mut Bucket::new(600.0, 10.0, now), 300.0, now, 100.0);
        assert!((3..=5).contains(&times.len()), "{times:?}");
        assert!(times[0] == 0.0 && times[1] > 28.0, "{times:?}");
    }

    #[test]
    fn an_unused_reservation_is_returned() {
        let now = Instant::now();
        let mut bucket = Bucket::new(60.0, 1.0, now);
        bucket.spend(60.0);
        assert!(bucket.wait(1.0, now).is_some_and(|wait| wait > Duration::from_secs(58)));
        bucket.spend(-60.0);
        assert_eq!(bucket.wait(1.0, now), None);
    }
}
