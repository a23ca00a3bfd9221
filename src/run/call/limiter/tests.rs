//! Turns in paused time: pauses, limits per minute, outages and `auto`.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::provider::Quota;

fn calls(calls: u32) -> Limits {
    Limits { max_concurrent_calls: NonZeroU32::new(calls).map(Concurrency::Calls), ..Limits::default() }
}

const SECOND: Duration = Duration::from_secs(1);

const MODEL: usize = 0;

fn limiter(limits: &Limits) -> Limiter {
    Limiter::new(limits, [(MODEL, 64), (MODEL + 1, 64)])
}

fn limited() -> CallError {
    CallError::new(CallErrorKind::RateLimited { retry_after: None }, "slow down")
}

fn gone() -> CallError {
    CallError::new(CallErrorKind::Unavailable { retry_after: None }, "connection refused")
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_delays_all_calls_of_its_model() {
    let limiter = limiter(&calls(2));
    let start = Instant::now();
    let turn = limiter.turn(MODEL, 0, 0).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let (verdict, outage) = turn.refused(Some(3 * SECOND), &limited());
    assert_eq!((verdict, outage), (Verdict::Wait(3 * SECOND), None));
    let _other = timeout(SECOND / 10, limiter.turn(MODEL + 1, 1, 0)).await.expect("the other model was not refused");
    let _same = limiter.turn(MODEL, 2, 0).await;
    assert!(start.elapsed() >= 3 * SECOND);
    assert!(timeout(60 * SECOND, limiter.turn(MODEL, 3, 0)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_cut_off_delays_no_other_call() {
    let limiter = limiter(&calls(64));
    let start = Instant::now();
    for age in 0..300 {
        let turn = limiter.turn(MODEL, age, 0).await;
        match age % 10 {
            0 | 1 => assert!(matches!(turn.lost(), (Verdict::Wait(wait), None) if wait < SECOND)),
            2 if age > 40 && age % 20 == 2 => assert_eq!(turn.refused(None, &gone()).1, None),
            _ => turn.answered(None, &Quotas::default()),
        }
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    // The same call, again and again, while others are answered.
    for times in 1..=8 {
        let (verdict, _) = limiter.turn(MODEL, 300, 0).await.lost();
        assert_eq!(verdict == Verdict::GiveUp, times == 8, "{verdict:?} at {times}");
        limiter.turn(MODEL, 300 + times, 0).await.answered(None, &Quotas::default());
    }
    // All calls.
    let mut outages = Vec::new();
    for age in 400..410 {
        outages.push(limiter.turn(MODEL, age, 0).await.lost().1.is_some());
    }
    assert_eq!(outages, [[false; 9].as_slice(), &[true]].concat());
    assert!(limiter.is_down(MODEL));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_call_goes_first() {
    let limiter = Arc::new(limiter(&calls(1)));
    let held = limiter.turn(MODEL, 0, 0).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for age in [9, 3, 7, 1] {
        let (limiter, order) = (limiter.clone(), order.clone());
        waiting.spawn(async move {
            let turn = limiter.turn(MODEL + age as usize % 2, age, 0).await;
            order.lock().push(age);
            turn.answered(None, &Quotas::default());
        });
        tokio::time::sleep(SECOND).await;
    }
    drop(held);
    waiting.join_all().await;
    assert_eq!(*order.lock(), [1, 3, 7, 9]);
}

#[tokio::test(start_paused = true)]
async fn requests_keep_their_distance() {
    let interval = Some(crate::spec::Interval(SECOND / 10));
    let paced = Limits { min_interval: interval, ..Limits::default() };
    let per_minute = |burst| Limits { requests_per_minute: NonZeroU32::new(600), burst, ..Limits::default() };
    for (limits, at_once) in [(paced, 1), (per_minute(None), 1), (per_minute(NonZeroU32::new(5)), 5)] {
        let (limiter, start) = (limiter(&limits), Instant::now());
        let mut times = Vec::new();
        for age in 0..20 {
            limiter.turn(MODEL, age, 0).await.answered(None, &Quotas::default());
            times.push(start.elapsed().as_secs_f64());
        }
        for (number, time) in times.iter().enumerate() {
            let earliest = (number as f64 + 1.0 - f64::from(at_once)).max(0.0) / 10.0;
            assert!((time - earliest).abs() < 0.02, "{limits:?}: request {number} at {time} s, expected {earliest} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_quota_of_a_server_is_kept() {
    let quota = |remaining, reset: u64| Quota { limit: Some(10.0), remaining, reset: Some(Duration::from_secs(reset)) };
    let limiter = limiter(&Limits::default());
    let (first, second) = (limiter.turn(MODEL, 0, 0).await, limiter.turn(MODEL, 1, 0).await);
    // The server counted the first call only: of the two that are left the second takes one.
    first.answered(None, &Quotas { requests: Some(quota(2.0, 8)), tokens: None });
    let third = timeout(SECOND / 100, limiter.turn(MODEL, 2, 0)).await.expect("one is left");
    let start = Instant::now();
    let fourth = limiter.turn(MODEL, 3, 0).await;
    // The bucket fills by one a second: 8 of 10 are missing, and full in 8 seconds.
    assert!((start.elapsed().as_secs_f64() - 1.0).abs() < 0.05, "{:?}", start.elapsed());
    drop((second, third));
    fourth.answered(None, &Quotas { requests: None, tokens: Some(quota(0.0, 5)) });
    let start = Instant::now();
    drop(limiter.turn(MODEL, 4, 6).await);
    assert!((start.elapsed().as_secs_f64() - 3.0).abs() < 0.05, "6 of 10 tokens: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_limit_beyond_the_patience_is_reported_when_no_call_is_in_flight() {
    let limiter = limiter(&Limits::default());
    let (first, second) = (limiter.turn(MODEL, 0, 0).await, limiter.turn(MODEL, 1, 0).await);
    let (verdict, _) = first.refused(Some(7200 * SECOND), &limited());
    assert!(matches!(verdict, Verdict::Wait(_)));
    assert_eq!(limiter.closed_until(MODEL), None, "the second call may still be answered");
    second.refused(Some(7200 * SECOND), &limited());
    let (until, error) = limiter.closed_until(MODEL).expect("no call is let in");
    assert_eq!((until - Instant::now(), error), (7200 * SECOND, limited()));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_does_not_keep_its_place_in_the_queue() {
    let limiter = limiter(&calls(1));
    let held = limiter.turn(MODEL, 0, 0).await;
    let (mut first, mut second) = (Box::pin(limiter.turn(MODEL, 1, 0)), Box::pin(limiter.turn(MODEL, 2, 0)));
    for waiting in [&mut first, &mut second] {
        assert!(timeout(SECOND, waiting).await.is_err());
    }
    drop(held);
    drop(first);
    drop(timeout(SECOND, second).await.expect("there is room"));
    let mut state = limiter.state.lock();
    assert_eq!((state.in_flight, state.model(MODEL).queue.len()), (0, 0));
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
        let limiter = Arc::new(limiter(&limits));
        let (start, mut lanes) = (Instant::now(), JoinSet::new());
        for lane in 0..8 {
            let limiter = Arc::clone(&limiter);
            lanes.spawn(async move {
                for call in 0..15 {
                    limiter.turn(MODEL, 15 * lane + call, 100).await.answered(Some(used), &Quotas::default());
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
    let limiter = Arc::new(limiter(&calls(16)));
    let start = Instant::now();
    let (mut lanes, requests) = (JoinSet::new(), Arc::new(Mutex::new(Vec::new())));
    for age in 0..32 {
        let (limiter, requests) = (Arc::clone(&limiter), Arc::clone(&requests));
        lanes.spawn(async move {
            loop {
                let turn = limiter.turn(MODEL, age, 0).await;
                requests.lock().push(start.elapsed().as_secs_f64());
                tokio::time::sleep(SECOND / 10).await;
                if start.elapsed() > 30 * SECOND {
                    return turn.answered(None, &Quotas::default());
                }
                let Verdict::Wait(wait) = turn.refused(None, &gone()).0 else { panic!("given up") };
                tokio::time::sleep(wait).await;
            }
        });
    }
    lanes.join_all().await;
    let requests = requests.lock();
    let during = requests.iter().filter(|at| **at > 0.5 && **at < 29.9).count();
    assert!((3..=8).contains(&during), "{during} probes in 30 s: {requests:?}");
    assert!(start.elapsed() < 65 * SECOND, "{:?}", start.elapsed());
}

/// The number of calls that `auto` finds, and the seconds, for 80 lanes at a server whose calls take a second.
async fn served(slots: usize, calls: usize) -> (usize, f64) {
    let limits = Limits { max_concurrent_calls: Some(Concurrency::Auto), ..Limits::default() };
    let (limiter, server) = (Arc::new(limiter(&limits)), Arc::new(Semaphore::new(slots)));
    let (start, mut lanes) = (Instant::now(), JoinSet::new());
    for lane in 0..80 {
        let (limiter, server) = (Arc::clone(&limiter), Arc::clone(&server));
        lanes.spawn(async move {
            for call in 0..calls / 80 {
                let turn = limiter.turn(MODEL, (call * 80 + lane) as u64, 0).await;
                let slot = server.acquire().await;
                tokio::time::sleep(SECOND).await;
                drop(slot);
                turn.answered(None, &Quotas::default());
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

#[tokio::test(start_paused = true)]
async fn the_time_outs_of_a_few_calls_are_no_outage_and_those_of_more_are() {
    let limiter = limiter(&calls(1));
    let time_out = async |age| {
        let turn = limiter.turn(MODEL, age, 0).await;
        tokio::time::sleep(2 * SECOND).await;
        turn.timed_out().is_some()
    };
    for times in 0..21 {
        assert!(!time_out(7 + times % 3).await);
    }
    assert!(!limiter.is_down(MODEL));
    assert!(time_out(10).await, "four calls in a row without an answer");
    limiter.turn(MODEL, 11, 0).await.answered(None, &Quotas::default());
    for age in 7..10 {
        assert!(!time_out(age).await, "the server has answered");
    }
}
