//! What a run says while something holds it back: in the log, at its end, and in the summary.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::project::{Project, Ran};
use crate::recipe::{openai_spec, project, spec, spec_with};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const MODEL: &str = "models = [\"llama\"]";

/// Runs for some seconds, then ends the run by a signal.
fn stopped_after(project: &Project, seconds: u64) -> Ran {
    let running = project.spawn(&RUN);
    sleep(Duration::from_secs(seconds));
    running.sigterm();
    running.wait()
}

fn busy(code: u16, retry_after: Option<&str>, words: &str) -> Say {
    let body = json!({ "error": { "message": words } }).to_string();
    Say::Status { code, retry_after: retry_after.map(str::to_owned), body }
}

#[test]
fn a_log_says_what_a_run_waits_for_and_so_does_its_end() {
    for (say, says) in [
        (busy(429, Some("300"), "slow down, please"), ["rate limited", "next call in", "slow down, please"]),
        (busy(503, Some("300"), "the queue is full"), ["llama: ", "waiting for", "the queue is full"]),
        (Say::Reset, ["no answer for", "asked again in", "the connection was lost"]),
    ] {
        let always = say.clone();
        let server = Server::new().script(move |_, _| always.clone()).start();
        let project = project(&server, &spec(MODEL), 40);
        let ran = stopped_after(&project, 9);
        assert_eq!(ran.code, 143, "{say:?}\n{}", ran.stderr);
        assert!(says.iter().all(|words| ran.stderr.contains(words)), "{say:?} lacks one of {says:?}:\n{}", ran.stderr);
        let last = ran.stderr.split_once("when it was stopped: llama: ").map(|(_, last)| last);
        assert!(last.is_some_and(|last| last.contains(says[2])), "{say:?}\n{}", ran.stderr);
    }
}

#[test]
fn a_model_that_does_not_answer_is_named_with_the_deadline() {
    let server = Server::new().script(|_, _| Say::Hang(60_000)).start();
    let ollama = project(&server, &spec_with("timeout_secs = 500", MODEL), 20);
    let openai = project(&server, &openai_spec("timeout_secs = 400", MODEL), 20);
    let second = std::thread::spawn(move || stopped_after(&openai, 36));
    stopped_after(&ollama, 13)
        .says("llama: no reply for 1")
        .says("the server may be loading the model: 4 in flight; `timeout_secs` is 500");
    let ran = second.join().expect("it ends").says("llama: no reply for 3").says("4 in flight; `timeout_secs` is 400");
    assert!(!ran.stderr.contains("may be loading") && !ran.stderr.contains("goes on"), "{}", ran.stderr);
}

#[test]
fn a_healthy_run_says_nothing_of_waits() {
    let server = Server::new().latency_ms(60).start();
    let text = spec_with("max_concurrent_calls = 2\nrequests_per_minute = 1200", MODEL);
    let ran = project(&server, &text, 80).run(&RUN).exits(0);
    for words in ["waiting", "no reply", "rate limited", "refused", "goes on"] {
        assert!(!ran.stderr.contains(words), "{words}:\n{}", ran.stderr);
    }
}

#[test]
fn the_summary_counts_refusals_and_the_time_that_they_cost() {
    let script =
        |a: &Asked, _| if a.number == 12 { Say::rate_limited("2") } else { Say::Late(20, Say::Default.into()) };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec_with("max_concurrent_calls = 1", MODEL), 30);
    let ran = project.run(&RUN).exits(0).says("llama: 1 call refused; ");
    let manifest = project.files(".fanfold/runs").into_iter().find(|file| file.ends_with("manifest.json"));
    let text = project.text(&manifest.expect("the run has a manifest"));
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let totals = &manifest["refusals"]["llama"];
    assert_eq!((&totals["refused"], &totals["unavailable"]), (&json!(1), &json!(0)), "{}", ran.stderr);
    let waited = totals["waited_seconds"].as_f64().expect("a number");
    assert!((0.5..10.0).contains(&waited), "{waited} s");
}

#[cfg(unix)]
#[test]
fn the_limit_of_open_files_fails_no_row() {
    let server = Server::new().latency_ms(30).start();
    let text = spec_with("", &format!("{MODEL}\nworkers = 24\nbatch_size = 10"));
    for limit in ["-Sn 64", "-n 64"] {
        let project = project(&server, &text, 300);
        let ran = project.run_by(&format!("ulimit {limit} && exec \"$0\" \"$@\""), &RUN);
        ran.exits(0).says("300 rows = 300 answered + 0 failed");
        server.forget();
    }
}
