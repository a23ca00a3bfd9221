//! Adaptive concurrency with simulated servers that have a number of slots and a queue.

use super::*;
use crate::random::{Stream, Streams};

/// A server: processes `slots` calls at once, each for about `seconds`; the others wait.
struct Server {
    slots: usize,
    seconds: f64,
    /// The largest deviation of a call's time, as a share.
    noise: f64,
    /// More calls than this, queue included, are refused at once.
    most: usize,
    dice: Stream,
    start: Instant,
    now: f64,
    /// Calls in progress (the first `slots`) and in the queue: their start and epoch.
    calls: Vec<(f64, u64)>,
    /// When the calls in progress end.
    ends: Vec<f64>,
    answered: usize,
    refused: usize,
}

impl Server {
    fn new(slots: usize, noise: f64) -> Server {
        let dice = Streams::new(7, &["server"]).of(slots as u64);
        let (calls, ends) = (Vec::new(), Vec::new());
        Server {
            slots,
            seconds: 1.0,
            noise,
            most: usize::MAX,
            dice,
            start: Instant::now(),
            now: 0.0,
            calls,
            ends,
            answered: 0,
            refused: 0,
        }
    }

    /// Keeps as many calls in flight as the law says, until `count` more are answered. Returns the seconds.
    fn serve(&mut self, law: &mut Adaptive, count: usize) -> f64 {
        let (start, goal) = (self.now, self.answered + count);
        while self.answered < goal {
            while self.calls.len() < law.calls() {
                if self.calls.len() >= self.most {
                    self.refused += 1;
                    law.refused(law.epoch(), self.instant());
                    break;
                }
                self.calls.push((self.now, law.epoch()));
                self.work();
            }
            let next = (0..self.ends.len())
                .min_by(|a, b| self.ends[*a].total_cmp(&self.ends[*b]))
                .expect("a call is in progress");
            self.now = self.ends.remove(next);
            let (began, epoch) = self.calls.remove(next);
            self.work();
            self.answered += 1;
            law.answered(epoch, Duration::from_secs_f64(self.now - began), self.instant());
        }
        self.now - start
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.now)
    }

    fn work(&mut self) {
        if self.ends.len() < self.slots.min(self.calls.len()) {
            let noise = 1.0 + self.noise * (2.0 * self.dice.unit() - 1.0);
            self.ends.push(self.now + self.seconds * noise);
        }
    }
}

#[test]
fn it_settles_at_the_slots_of_a_server_in_under_200_calls() {
    for (slots, within) in
        [(1, 199), (4, 199), (32, 199), (2, 400), (3, 400), (6, 400), (12, 400), (16, 400), (24, 400)]
    {
        for noise in [0.0, 0.1] {
            let mut server = Server::new(slots, noise);
            let mut law = Adaptive::new(server.instant());
            server.serve(&mut law, within);
            let calls = law.calls() as f64;
            // If all calls take the same time, they end together, and few of them say less about the queue.
            let most = if within < 200 { (1.2 * slots as f64).max(1.0) } else { 1.5 * slots as f64 };
            assert!(calls >= (0.8 * slots as f64).ceil() && calls <= most, "{slots} slots, noise {noise}: {calls}");
            // Compared with the best fixed number.
            let took = server.serve(&mut law, 400);
            assert!(400.0 / slots as f64 / took >= 0.95, "{slots} slots, noise {noise}: {took} s");
        }
    }
}

#[test]
fn it_stays_near_the_slots_for_a_long_time() {
    for slots in [1, 4, 32] {
        let mut server = Server::new(slots, 0.2);
        let mut law = Adaptive::new(server.instant());
        server.serve(&mut law, 200);
        let (mut near, mut took) = (0, 0.0);
        for _ in 0..50 {
            took += server.serve(&mut law, 100);
            near += usize::from(law.calls().abs_diff(slots) <= slots.div_ceil(5));
        }
        assert!(near >= 45, "{slots} slots: {near} of 50");
        assert!(5000.0 / slots as f64 / took >= 0.95, "{slots} slots: {took} s");
    }
}

#[test]
fn a_server_with_a_short_queue_refuses_few_calls() {
    let mut server = Server::new(8, 0.1);
    let mut law = Adaptive::new(server.instant());
    server.most = 10;
    server.serve(&mut law, 200);
    let refused = server.refused;
    let took = server.serve(&mut law, 800);
    assert!(800.0 / 8.0 / took >= 0.85, "{took} s at {}", law.calls());
    assert!(refused < 10 && server.refused - refused < 40, "{refused} and {}", server.refused);
}

#[test]
fn a_server_that_becomes_slow_or_fast_is_measured_again() {
    let mut server = Server::new(16, 0.05);
    let mut law = Adaptive::new(server.instant());
    server.serve(&mut law, 200);
    server.slots = 4;
    server.serve(&mut law, 400);
    assert!(law.calls() <= 8, "{}", law.calls());
    server.slots = 16;
    server.serve(&mut law, 3000);
    let took = server.serve(&mut law, 400);
    assert!(400.0 / 16.0 / took >= 0.8, "{took} s at {}", law.calls());
}

#[test]
fn after_an_outage_it_grows_again() {
    let mut server = Server::new(32, 0.1);
    let mut law = Adaptive::new(server.instant());
    server.serve(&mut law, 200);
    // All calls are refused for a while.
    for _ in 0..50 {
        law.refused(law.epoch(), server.instant());
    }
    assert_eq!(law.calls(), 1);
    server.calls.clear();
    server.ends.clear();
    server.serve(&mut law, 600);
    let took = server.serve(&mut law, 400);
    assert!(400.0 / 32.0 / took >= 0.9, "{took} s at {}", law.calls());
}
