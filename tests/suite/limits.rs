//! Servers that refuse calls: rate limits, limits of calls at once, overload and outages. No row is lost to one that
//! ends within the patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::recipe::{TYPED, project, spec_with};
use crate::server::{Asked, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// A stage whose rows fail after their first failed attempt.
fn once() -> String {
    format!("models = [\"llama\"]\nmax_attempts = 1\n{TYPED}")
}

fn refused(code: u16) -> Say {
    Say::Status { code, retry_after: None, body: r#"{"error":{"message":"too many calls"}}"#.into() }
}

#[test]
fn a_server_that_takes_only_some_calls_at_once_answers_every_row() {
    for refusal in [refused(429), refused(503), refused(529), Say::Reset] {
        let (now, name) = (Arc::new(AtomicUsize::new(0)), format!("{refusal:?}"));
        let script = move |_: &Asked, _| {
            if now.fetch_add(1, Ordering::SeqCst) >= 4 {
                now.fetch_sub(1, Ordering::SeqCst);
                return refusal.clone();
            }
            std::thread::sleep(Duration::from_millis(20));
            now.fetch_sub(1, Ordering::SeqCst);
            Say::Default
        };
        let server = Server::new().script(script).start();
        let project = project(&server, &spec_with("max_concurrent_calls = 16", &once()), 60);
        let ran = project.run(&RUN).exits(0).says("60 rows = 60 answered + 0 failed");
        assert!(ran.took < Duration::from_secs(60), "{name}: {:?}", ran.took);
        assert_eq!(project.table(OUT).nulls("tone_error"), 60, "{name}");
    }
}

#[test]
fn refusals_of_single_calls_hold_no_other_call_back() {
    let script =
        |a: &Asked, attempt| if a.number % 25 == 24 && attempt == 1 { Say::rate_limited("2") } else { Say::Default };
    let server = Server::new().latency_ms(20).script(script).start();
    let project = project(&server, &spec_with("max_concurrent_calls = 8", &once()), 400);
    project.run(&RUN).exits(0).says("400 rows = 400 answered + 0 failed");
    // Without a pause for all, most rows are answered before the first refused one may come back.
    let asked = server.asked();
    let first = asked.iter().find(|a| a.answered.is_none()).expect("one was refused");
    let soon = asked.iter().filter(|a| a.answered.is_some_and(|at| at < first.arrived + Duration::from_secs(2)));
    assert!(soon.count() > 100, "other calls waited for the refused ones");
}

#[test]
fn a_row_that_is_always_refused_fails_and_stops_no_other() {
    for code in [429, 503] {
        let refusal = Say::Status { code, retry_after: Some("0.05".into()), body: r#"{"error":"not you"}"#.into() };
        let script =
            move |a: &Asked, _| if a.question().contains("Speech 3,") { refusal.clone() } else { Say::Default };
        let server = Server::new().latency_ms(5).script(script).start();
        let stage = format!("models = [\"llama\"]\nmax_failed = 1\n{TYPED}");
        let project = project(&server, &spec_with("max_concurrent_calls = 4", &stage), 80);
        project.run(&RUN).exits(0).says("80 rows = 79 answered + 1 failed");
        let tries = server.asked().iter().filter(|a| a.question().contains("Speech 3,")).count();
        assert_eq!(tries, 8, "status {code}");
    }
}

#[test]
fn a_limit_of_hours_stops_the_run_and_says_until_when() {
    let days = r#"{"error":{"message":"You have used up your limit. Please try again in 4 days and 18 hours."}}"#;
    let refusals = [
        Say::rate_limited("7200"),
        Say::Status { code: 429, retry_after: None, body: days.into() },
        Say::Status { code: 503, retry_after: Some("Fri, 31 Dec 2100 23:59:59 GMT".into()), body: "{}".into() },
    ];
    for refusal in refusals {
        let spent = Arc::new(AtomicBool::new(false));
        let (switch, name) = (spent.clone(), format!("{refusal:?}"));
        let script = move |_: &Asked, _| if switch.load(Ordering::SeqCst) { refusal.clone() } else { Say::Default };
        let server = Server::new().latency_ms(20).script(script).start();
        let project = project(&server, &spec_with("max_concurrent_calls = 4", &once()), 600);
        let running = project.spawn(&RUN);
        assert!(server.wait_answered(20));
        spent.store(true, Ordering::SeqCst);
        let before = server.requests();
        running.wait().exits(3).says("until");
        assert!(server.requests() <= before + 20, "{name}: {} requests more", server.requests() - before);
        // No row has failed: all others are asked when the limit has ended.
        spent.store(false, Ordering::SeqCst);
        project.run(&RUN).exits(0).says("600 rows = 600 answered + 0 failed");
    }
}

#[test]
fn no_row_fails_in_an_outage_with_one_attempt_and_any_number_of_lanes() {
    for (lanes, down) in [(1, Say::Reset), (1, Say::status(503)), (8, Say::Reset), (8, Say::status(502))] {
        let is_down = Arc::new(AtomicBool::new(false));
        let (switch, name) = (is_down.clone(), format!("{lanes} lanes, {down:?}"));
        let script = move |_: &Asked, _| if switch.load(Ordering::SeqCst) { down.clone() } else { Say::Default };
        let server = Server::new().latency_ms(5).script(script).start();
        let project = project(&server, &spec_with(&format!("max_concurrent_calls = {lanes}"), &once()), 300);
        let running = project.spawn(&RUN);
        assert!(server.wait_answered(20));
        is_down.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_secs(3));
        is_down.store(false, Ordering::SeqCst);
        running.wait().exits(0).says("300 rows = 300 answered + 0 failed");
        assert_eq!(project.table(OUT).nulls("tone_error"), 300, "{name}");
    }
}

#[test]
fn requests_keep_the_least_distance_that_the_spec_says() {
    for limits in ["min_interval = \"100ms\"", "requests_per_minute = 600"] {
        let server = Server::new().start();
        project(&server, &spec_with(limits, &once()), 15).run(&RUN).exits(0);
        let mut times: Vec<_> = server.asked().iter().map(|a| a.arrived).collect();
        times.sort();
        let took = *times.last().expect("15 requests") - times[0];
        assert!(took > Duration::from_millis(1300), "{limits}: {took:?}");
    }
}

#[test]
fn an_interval_needs_a_unit() {
    let server = Server::new().start();
    for text in ["\"100\"", "100", "\"soon\""] {
        let project = project(&server, &spec_with(&format!("min_interval = {text}"), &once()), 1);
        project.run(&["validate", "pipeline.toml"]).exits(2).says("min_interval");
    }
}
