//! Turns in paused time: pauses, limits per minute, outages and `auto`.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

fn calls(calls: u32) -> Limits {
    Limits { max_concurrent_calls: NonZeroU32::new(calls).map(Concurrency::Calls), ..Limits::default() }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_pause_delays_all_calls() {
    let limiter = Limiter::new(&calls(2));
    let start = Instant::now();
    drop(limiter.turn(0).await);
    assert_eq!(start.elapsed(), Duration::ZERO);
    limiter.pause_for(3 * SECOND);
    let _a = limiter.turn(0).await;
    let _b = limiter.turn(0).await;
    assert!(start.elapsed() >= 3 * SECOND);
    assert!(timeout(60 * SECOND, limiter.turn(0)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_does_not_keep_its_place_in_the_queue() {
    let limiter = Limiter::new(&calls(1));
    let held = limiter.turn(0).await;
    let (mut first, mut second) = (Box::pin(limiter.turn(0)), Box::pin(limiter.turn(0)));
    for waiting in [&mut first, &mut second] {
        assert!(timeout(SECOND, waiting).await.is_err());
    }
    drop(held);
    drop(first);
    drop(timeout(SECOND, second).await.expect("there is room"));
    let state = limiter.state.lock();
    assert_eq!((state.in_flight, state.waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn all_lanes_together_stay_within_requests_and_tokens_per_minute() {
    let limits = |requests, tokens| Limits {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_minute: NonZeroU32::new(tokens),
        ..Limits::default()
    };
    // 120 calls at 60 per minute; 120 calls of 100 tokens at 6,000 per minute; the same with half of the tokens unused.
    for (limits, used, seconds) in
        [(limits(60, 0), 100, 119.0), (limits(0, 6000), 100, 119.0), (limits(0, 6000), 50, 59.5)]
    {
        let limiter = Arc::new(Limiter::new(&limits));
        let (start, mut lanes) = (Instant::now(), JoinSet::new());
        for _ in 0..8 {
            let limiter = Arc::clone(&limiter);
            lanes.spawn(async move {
                for _ in 0..15 {
                    limiter.turn(100).await.answered(Some(used));
                }
            });
        }
        lanes.join_all().await;
        let took = start.elapsed().as_secs_f64();
        assert!((took - seconds).abs() < 2.5, "{limits:?}: {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_server_is_down_one_call_at_a_time_probes_it() {
    let limiter = Arc::new(Limiter::new(&calls(16)));
    let start = Instant::now();
    let (mut lanes, requests) = (JoinSet::new(), Arc::new(Mutex::new(Vec::new())));
    for _ in 0..32 {
        let (limiter, requests) = (Arc::clone(&limiter), Arc::clone(&requests));
        lanes.spawn(async move {
            let mut tries = 0;
            loop {
                let turn = limiter.turn(0).await;
                requests.lock().push(start.elapsed().as_secs_f64());
                tokio::time::sleep(SECOND / 10).await;
                if start.elapsed() > 30 * SECOND {
                    turn.answered(None);
                    return tries;
                }
                // During an outage a failure does not count as an attempt of the call.
                tries += usize::from(turn.failed().is_none());
            }
        });
    }
    let tries = lanes.join_all().await;
    let requests = requests.lock();
    let during = requests.iter().filter(|at| **at > 0.5 && **at < 29.9).count();
    assert!((3..=8).contains(&during), "{during} probes in 30 s: {requests:?}");
    assert!(tries.iter().sum::<usize>() < OUTAGE as usize, "{tries:?}");
    assert!(start.elapsed() < 65 * SECOND, "{:?}", start.elapsed());
}

/// The number of calls that `auto` finds, and the seconds, for 80 lanes at a server whose calls take a second.
async fn served(slots: usize, calls: usize) -> (usize, f64) {
    let limits = Limits { max_concurrent_calls: Some(Concurrency::Auto), ..Limits::default() };
    let (limiter, server) = (Arc::new(Limiter::new(&limits)), Arc::new(Semaphore::new(slots)));
    let (start, mut lanes) = (Instant::now(), JoinSet::new());
    for _ in 0..80 {
        let (limiter, server) = (Arc::clone(&limiter), Arc::clone(&server));
        lanes.spawn(async move {
            for _ in 0..calls / 80 {
                let turn = limiter.turn(0).await;
                let slot = server.acquire().await;
                tokio::time::sleep(SECOND).await;
                drop(slot);
                turn.answered(None);
            }
        });
    }
    lanes.join_all().await;
    let most = limiter.state.lock().most();
    (most, start.elapsed().as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn auto_finds_the_slots_of_a_server() {
    for slots in [1, 4, 32] {
        let (calls, seconds) = served(slots, 1600).await;
        assert!(calls.abs_diff(slots) <= slots.div_ceil(5), "{slots} slots: {calls}");
        let ideal = 1600.0 / slots as f64;
        assert!(seconds < 1.1 * ideal + 10.0, "{slots} slots: {seconds} s, ideal {ideal}");
    }
}
