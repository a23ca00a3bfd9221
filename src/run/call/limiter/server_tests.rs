//! The limiter against servers with limits, in paused time. `benches/limits` asks the same servers over a network.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;

#[path = "../../../../benches/limits/rules.rs"]
mod rules;

use rules::{After, Entry, Limited, Rule};

const TRIP: Duration = Duration::from_millis(1);

/// A server and its dice.
struct Server {
    limited: Limited,
    dice: StdRng,
}

impl Server {
    fn arrive(&mut self, call: usize, t: f64) -> Entry {
        self.limited.arrive(call, t, self.dice.random())
    }
}

/// What all calls of a run needed.
#[derive(Clone, Copy, Debug)]
struct Took {
    seconds: f64,
    refused: u32,
    given_up: usize,
}

/// Makes one call as a run does. Returns its refusals and whether it was answered.
async fn ask(limiter: &Limiter, server: &Mutex<Server>, free: &Arc<Semaphore>, call: Call) -> (u32, bool) {
    let Call { number, start, latency, mut lane } = call;
    let mut times = 0;
    loop {
        let turn = limiter.turn(0, number as u64, 0).await;
        sleep(TRIP / 2).await;
        let entry = server.lock().arrive(number, start.elapsed().as_secs_f64());
        let Entry::Refused(after) = entry else {
            sleep(Duration::from_secs_f64(latency)).await;
            server.lock().limited.leave();
            sleep(TRIP / 2).await;
            turn.answered(None, &Quotas::default());
            return (times, true);
        };
        sleep(TRIP / 2).await;
        times += 1;
        let after = after.map(Duration::from_secs_f64);
        let error = CallError::new(CallErrorKind::RateLimited { retry_after: after }, "slow down");
        let (Verdict::Wait(wait), _) = turn.refused(after, &error) else { return (times, false) };
        // A parked call lends its lane.
        drop(lane.take());
        sleep(wait).await;
        lane = Some(free.clone().acquire_owned().await.expect("it is open"));
    }
}

struct Call {
    number: usize,
    start: Instant,
    latency: f64,
    lane: Option<tokio::sync::OwnedSemaphorePermit>,
}

async fn ask_all(server: Server, latency: f64, count: usize, lanes: usize) -> Took {
    let start = Instant::now();
    let server = Arc::new(Mutex::new(server));
    let limiter = Arc::new(Limiter::new(&Limits::default(), [(0, lanes)]));
    let (free, mut calls) = (Arc::new(Semaphore::new(lanes)), JoinSet::new());
    for number in 0..count {
        let lane = Some(free.clone().acquire_owned().await.expect("it is open"));
        let (server, limiter, free) = (server.clone(), limiter.clone(), free.clone());
        calls.spawn(async move { ask(&limiter, &server, &free, Call { number, start, latency, lane }).await });
    }
    let ended = calls.join_all().await;
    let refused = ended.iter().map(|(times, _)| *times).sum();
    let given_up = ended.iter().filter(|(_, answered)| !*answered).count();
    Took { seconds: start.elapsed().as_secs_f64(), refused, given_up }
}

/// Server, Retry-After, latency in seconds, calls, lanes, the least seconds, the factor that a simulation of the policy
/// needed, and the calls that are always refused.
type Line = (Rule, After, f64, usize, usize, f64, f64, usize);

const SERVERS: [Line; 19] = [
    (Rule::Random(0.05), After::Exact, 0.02, 2000, 64, 2.625, 1.33, 0),
    (Rule::Random(0.05), After::None, 0.02, 2000, 64, 1.625, 1.55, 0),
    (Rule::Random(0.05), After::Exact, 0.02, 2000, 4, 12.0, 1.24, 0),
    (Rule::Bucket(5.0), After::Exact, 0.02, 200, 64, 39.02, 1.02, 0),
    (Rule::Bucket(5.0), After::Ceil, 0.02, 200, 64, 39.02, 1.08, 0),
    (Rule::Bucket(5.0), After::None, 0.02, 200, 64, 39.02, 1.07, 0),
    (Rule::Bucket(50.0), After::Ceil, 0.02, 2000, 64, 39.02, 1.02, 0),
    (Rule::Bucket(50.0), After::None, 0.02, 2000, 64, 39.02, 1.02, 0),
    (Rule::Bucket(0.2), After::None, 2.0, 200, 64, 997.0, 1.1, 0),
    (Rule::Window(60, 5.0), After::Ceil, 0.02, 600, 64, 45.02, 1.02, 0),
    (Rule::Window(60, 60.0), After::None, 1.0, 600, 64, 541.0, 1.03, 0),
    (Rule::Window(1000, 60.0), After::None, 0.1, 5000, 64, 240.1, 1.1, 0),
    (Rule::Window(100, 300.0), After::None, 0.1, 1000, 64, 2700.1, 1.03, 0),
    (Rule::Window(100, 300.0), After::None, 0.1, 500, 2, 1200.1, 1.03, 0),
    (Rule::AtOnce(8), After::None, 0.02, 2000, 64, 5.0, 1.26, 0),
    (Rule::AtOnce(32), After::None, 1.0, 2000, 64, 62.5, 1.03, 0),
    // The server asks for 30 seconds each time.
    (Rule::Bucket(5.0), After::Fixed(30.0), 0.02, 200, 64, 39.02, 30.07, 0),
    // A call that is always refused fails at its 8th refusal.
    (Rule::Poison(0.01), After::Exact, 0.02, 2000, 64, 2.625, 2.9, 20),
    (Rule::Poison(0.01), After::None, 0.02, 2000, 64, 2.625, 30.0, 20),
];

#[tokio::test(start_paused = true)]
async fn no_call_is_lost_to_a_limit_and_the_times_are_those_of_the_simulation() {
    for (rule, after, latency, count, lanes, least, factor, poisoned) in SERVERS {
        let mut runs = Vec::new();
        for seed in 0..5 {
            let server = Server { limited: Limited::new(rule, after), dice: StdRng::seed_from_u64(seed) };
            let took = ask_all(server, latency, count, lanes).await;
            assert_eq!(took.given_up, poisoned, "{rule:?} {after:?}: {took:?}");
            runs.push(took);
        }
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let factors = runs.iter().map(|run| run.seconds / least).collect::<Vec<_>>();
        println!("{rule:?} {after:?} {lanes}: {:.2} x, {} refused", factors[2], runs[2].refused);
        // The limiter draws its waits at random.
        assert!(factors[2] < 1.5 * factor + 0.1, "{rule:?} {after:?}: {factors:?}, simulated {factor}");
    }
}
