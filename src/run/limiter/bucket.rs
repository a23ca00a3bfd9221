//! Buckets: how much may be spent per minute, of requests or of tokens. Pure.
//!
//! A token bucket (Turner 1986; RFC 2697): it fills evenly, holds what comes in within a second, and what is spent
//! before it is known may leave it in debt, which the next ones wait for.

use std::time::Duration;

use tokio::time::Instant;

/// For how long unused allowance is kept: a server may count by the second as well as by the minute.
const KEPT: f64 = 1.0;

/// An allowance per minute.
#[derive(Debug)]
pub struct Bucket {
    /// What comes in, per second.
    rate: f64,
    /// The most that is kept; one request is whole, also where less than one comes in per second.
    most: f64,
    /// What is there; below zero it is owed.
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket of so much per minute.
    pub fn new(per_minute: f64, now: Instant) -> Bucket {
        let rate = per_minute / 60.0;
        let most = (rate * KEPT).max(1.0);
        Bucket { rate, most, level: most, at: now }
    }

    /// How long to wait until something may be spent; nothing when it may be at once. What is there may be overdrawn, so that
    /// a call that needs more than a second's allowance can ever be made.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.level = (self.level + self.rate * now.saturating_duration_since(self.at).as_secs_f64()).min(self.most);
        self.at = self.at.max(now);
        // A hair more than exact, so that a wait is over when it ends.
        (self.level < 1.0).then(|| Duration::from_secs_f64((1.0 - self.level) / self.rate + 1e-6))
    }

    /// Spends so much; less than nothing gives back.
    pub fn spend(&mut self, amount: f64) {
        self.level -= amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spends `amount` as often as it may be for so many seconds; gives when.
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
    fn what_was_reserved_in_vain_is_given_back() {
        let now = Instant::now();
        let mut bucket = Bucket::new(60.0, now);
        bucket.spend(60.0);
        assert!(bucket.wait(now).is_some_and(|wait| wait > Duration::from_secs(58)));
        bucket.spend(-60.0);
        assert_eq!(bucket.wait(now), None);
    }
}
