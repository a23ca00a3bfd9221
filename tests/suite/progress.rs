//! What a run writes to standard error: progress, notes, events for programs, or only errors.

use serde_json::{Value, json};

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, project, spec};
use crate::server::{Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn one_model(stage: &str) -> String {
    spec(&format!("models = [\"llama\"]\nmax_attempts = 1\n{stage}\n{TYPED}"))
}

fn with(server: &Server, stage: &str) -> Project {
    project(server, &one_model(stage), 12)
}

/// The events of a run: every line of standard error is one.
fn events(ran: &Ran) -> Vec<Value> {
    let event = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}` is not JSON: {error}"))
    };
    let events: Vec<Value> = ran.stderr.lines().map(event).collect();
    for event in &events {
        assert!(event["event"].is_string() && event["at"].is_string(), "{event}");
    }
    events
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

#[test]
fn a_log_for_programs_has_an_event_per_line() {
    let server = Server::new().script(|asked, _| match asked.question().contains("Speech 3,") {
        true => Say::Text("no JSON".to_owned()),
        false => Say::Default,
    });
    let server = server.start();
    let project = with(&server, "chunk_size = 4\nmax_failed = 3");
    let ran = project.run(&["run", "pipeline.toml", "--log", "json"]).exits(0);
    let events = events(&ran);
    let start = of_kind(&events, "start")[0];
    assert_eq!((&events[0], &start["stages"][0]["most_calls"]), (start, &json!(12)));
    let calls = *of_kind(&events, "calls").last().expect("counts of calls");
    assert_eq!((&calls["stage"], &calls["done"], &calls["sent"]), (&json!("tone"), &json!(12), &json!(12)));
    assert_eq!((&calls["failed_rows"], &calls["in_flight"]), (&json!(1), &json!(0)));
    let failed = *of_kind(&events, "failures").last().expect("failures");
    assert_eq!((&failed["kind"], &failed["calls"]), (&json!("malformed"), &json!(1)));
    assert_eq!(of_kind(&events, "part").last().expect("parts")["committed"], json!(3));
    let last = events.last().expect("an event");
    assert_eq!((&last["event"], &last["exit"]), (&json!("end"), &json!(0)));
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
}

#[test]
fn errors_and_stops_are_events_too() {
    let server = Server::new().start();
    let project = with(&server, "");
    let budget = one_model("").replacen("seed = 42\n", "seed = 42\nbudget = { calls = 5 }\n", 1);
    project.write("pipeline.toml", budget);
    let all = events(&project.run(&["run", "pipeline.toml", "--log", "json"]).exits(4));
    let notes: Vec<&str> = of_kind(&all, "note").iter().filter_map(|note| note["text"].as_str()).collect();
    assert!(notes.iter().any(|text| text.contains("the budget of this run (`calls` is 5)")), "{notes:?}");
    assert_eq!(all.last().expect("an event")["exit"], json!(4));
    server.remove("llama3.2");
    project.write("pipeline.toml", one_model("system = \"Be brief.\""));
    let all = events(&project.run(&["run", "pipeline.toml", "--log", "json"]).exits(3));
    assert!(of_kind(&all, "error")[0]["message"].as_str().is_some_and(|text| text.contains("llama3.2")), "{all:?}");
}

#[test]
fn a_quiet_run_writes_only_errors() {
    let server = Server::new().start();
    let project = with(&server, "");
    let ran = project.run(&["run", "pipeline.toml", "-q"]).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert_eq!(server.requests(), 12);
    server.remove("llama3.2");
    project.write("pipeline.toml", one_model("system = \"Be brief.\""));
    let ran = project.run(&["run", "pipeline.toml", "--quiet"]).exits(3);
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    project.run(&["run", "pipeline.toml", "-q", "--log", "json"]).exits(2);
}

#[test]
fn a_run_that_sends_nothing_ends_in_two_lines() {
    let server = Server::new().start();
    let project = with(&server, "");
    let first = project.run(&RUN).exits(0);
    let last = first.stderr.lines().last().expect("a line");
    assert_eq!(last, "wrote out/tone.parquet: 12 rows, 6 columns", "the last line is the file to open");
    let again = project.run(&RUN).exits(0);
    let lines: Vec<&str> = again.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", again.stderr);
    assert!(lines[1].starts_with("every answer is reused: 0 calls sent, 12 rows kept from before ("), "{lines:?}");
    assert_eq!(lines[2], last);
    let whole = project.run(&["run", "pipeline.toml", "-v"]).exits(0);
    assert!(whole.stderr.contains("12 rows = 12 answered"), "{}", whole.stderr);
}
