//! Servers that misbehave: which errors are retried, become error cells or stop the run, and the exit codes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project, rows, spec, spec_with, told};
use crate::server::{Asked, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// Whether a request is about row number `row` of the usual rows.
fn about(asked: &Asked, row: usize) -> bool {
    asked.question().contains(&format!("Speech {row},"))
}

/// The number before or after a word of the summary, such as `12 answered` or `answered: 12`.
fn number_at(summary: &str, word: &str) -> Option<usize> {
    let plain = summary.replace([',', ':', '=', '|', '(', ')', '+'], " ");
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.windows(2).rev().filter(|pair| pair[1] == word).find_map(|pair| pair[0].parse().ok())
}

#[test]
fn a_failed_row_is_an_error_cell_and_stops_nothing() {
    let server = Server::new().script(|a, _| if about(a, 3) { Say::status(400) } else { Say::Default }).start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\nmax_failed = 1\n{TYPED}")), 10);
    let ran = project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.len(), 10);
    for (row, error) in table.strings("tone_error").into_iter().enumerate() {
        assert_eq!(error.is_some(), row == 3, "row {row}: {error:?}");
        assert_eq!(table.strings("label")[row].is_none(), row == 3);
    }
    let error = table.strings("tone_error")[3].clone().expect("an error");
    assert!(error.starts_with("rejected: "), "{error}");
    assert_eq!(server.asked().iter().filter(|a| about(a, 3)).count(), 1, "a 400 is never retried");
    assert_eq!(number_at(&ran.stderr, "answered"), Some(9), "{}", ran.stderr);
    assert_eq!(number_at(&ran.stderr, "failed"), Some(1), "{}", ran.stderr);
}

#[test]
fn errors_of_a_fan_out_are_next_to_their_model() {
    let script = |a: &Asked, _| if about(a, 2) && a.model == "mistral" { Say::status(400) } else { Say::Default };
    let server = Server::new().script(script).start();
    let stage = format!("models = [\"llama\", \"mistral\"]\nfanout = true\nmax_failed = 1\n{TYPED}");
    let project = project(&server, &spec(&stage), 5);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!((table.nulls("tone_error_llama"), table.nulls("tone_error_mistral")), (5, 4));
    assert!(table.strings("label_mistral")[2].is_none() && table.strings("label_llama")[2].is_some());
}

#[test]
fn more_failed_rows_than_max_failed_end_with_1() {
    let server = Server::new().script(|a, _| if about(a, 3) { Say::status(400) } else { Say::Default }).start();
    let project = project(&server, &spec("models = [\"llama\"]\nmax_failed = 0"), 10);
    let ran = project.run(&RUN).exits(1);
    assert!(ran.stderr.contains("max_failed"), "{}", ran.stderr);
}

#[test]
fn a_run_that_only_fails_stops_early() {
    let words = ["verbs", "words", "nouns"];
    let server = Server::new().latency_ms(2).script(move |a, _| refused(words[a.number % 3])).start();
    let project = project(&server, &spec("models = [\"llama\"]\nmax_failed = \"5%\""), 400);
    project.run(&RUN).exits(1);
    assert!(server.requests() < 200, "{} requests for nothing", server.requests());
}

/// A 400 with this reason.
fn refused(reason: &str) -> Say {
    Say::Status { code: 400, retry_after: None, body: json!({ "error": { "message": reason } }).to_string() }
}

#[test]
fn the_same_400_from_the_first_row_on_stops_the_run() {
    let script = |a: &Asked, _| refused(&format!("no parameter `{}` in call {}", a.model, a.question().len()));
    let server = Server::new().latency_ms(2).script(script).start();
    let project = project(&server, &spec("models = [\"llama\"]"), 400);
    project.run(&RUN).exits(3).says("no parameter `llama3.2`");
    assert!(server.requests() <= 10, "{} requests for nothing", server.requests());
    // After one answer, a rejected row does not stop the run.
    let one = Server::new().script(|a, _| if a.number == 0 { Say::Default } else { refused("words") }).start();
    let project = project_of(&one, 60);
    project.run(&RUN).exits(1).says("60 rows = 1 answered + 59 failed");
}

/// The usual rows, one call at a time.
fn project_of(server: &Server, count: usize) -> Project {
    project(server, &spec_with("max_concurrent_calls = 1", "models = [\"llama\"]"), count)
}

#[test]
fn a_run_waits_for_the_end_of_an_outage_and_no_row_fails() {
    let start = std::time::Instant::now();
    let down = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&down);
    // The server is down for three seconds from the 20th request on.
    let script = move |_: &Asked, _| {
        let broken = switch.load(Ordering::SeqCst);
        if broken { Say::status(503) } else { Say::Default }
    };
    let server = Arc::new(Server::new().latency_ms(10).script(script).start());
    let project = project(&server, &spec(&format!("models = [\"llama\"]\nmax_attempts = 2\n{TYPED}")), 200);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(20));
    down.store(true, Ordering::SeqCst);
    std::thread::sleep(Duration::from_secs(3));
    let during = server.requests();
    down.store(false, Ordering::SeqCst);
    running.wait().exits(0).says("200 rows = 200 answered + 0 failed");
    assert_eq!(project.table(OUT).nulls("tone_error"), 200);
    assert!(during < 200, "{during} requests while it was down");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn server_errors_for_some_rows_are_not_an_outage() {
    // Twelve rows in a row, three attempts each, one call at a time.
    let script = |a: &Asked, _| if (3..15).any(|row| about(a, row)) { Say::status(500) } else { Say::Default };
    let server = Server::new().script(script).start();
    let stage = format!("models = [\"llama\"]\nmax_attempts = 2\nmax_failed = 12\n{TYPED}");
    let project = project(&server, &spec_with("max_concurrent_calls = 1", &stage), 20);
    let ran =
        project.run(&RUN).exits(0).says("20 rows = 8 answered + 12 failed").says("12 calls failed as server_error");
    assert!(ran.took < Duration::from_secs(60), "{:?}", ran.took);
}

#[test]
fn an_outage_stops_the_run_with_on_outage_stop() {
    let down = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&down);
    let script = move |_: &Asked, _| if switch.load(Ordering::SeqCst) { Say::Reset } else { Say::Default };
    let server = Server::new().latency_ms(5).script(script).start();
    let text = spec_with("max_concurrent_calls = 16\non_outage = \"stop\"", &format!("models = [\"llama\"]\n{TYPED}"));
    let project = project(&server, &text, 400);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(20));
    down.store(true, Ordering::SeqCst);
    running.wait().exits(3);
    down.store(false, Ordering::SeqCst);
    project.run(&RUN).exits(0).says("400 rows = 400 answered + 0 failed");
}

#[test]
fn all_lanes_and_retries_together_stay_within_requests_per_minute() {
    let server = Server::new().script(|_, attempt| if attempt == 1 { Say::status(500) } else { Say::Default }).start();
    let text = spec_with("requests_per_minute = 600", &format!("models = [\"llama\"]\n{TYPED}"));
    let project = project(&server, &text, 20);
    let took = project.run(&RUN).exits(0).took;
    // 40 requests at 10 per second, the first 10 of them at once.
    assert_eq!(server.requests(), 40);
    assert!(took >= Duration::from_millis(2900), "{took:?}");
}

#[test]
fn auto_finds_the_capacity_of_a_server() {
    let server = Server::new().latency_ms(20).start();
    let text = spec_with("max_concurrent_calls = \"auto\"", &format!("models = [\"llama\"]\nworkers = 8\n{TYPED}"));
    let project = project(&server, &text, 300);
    project.run(&RUN).exits(0).says("300 rows = 300 answered");
    assert!((8..=32).contains(&server.max_in_flight()), "{}", server.max_in_flight());
}

#[test]
fn a_second_run_asks_only_the_failed_calls_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&broken);
    let script = move |a: &Asked, _| {
        let fails = switch.load(Ordering::SeqCst) && (about(a, 2) || about(a, 7));
        if fails { Say::status(400) } else { Say::Default }
    };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec("models = [\"llama\"]\nmax_failed = 2"), 10);
    project.run(&RUN).exits(0);
    assert_eq!(project.table(OUT).nulls("tone"), 2);
    broken.store(false, Ordering::SeqCst);
    server.forget();
    project.run(&RUN).exits(0);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|a| about(a, 2) || about(a, 7)));
    let table = project.table(OUT);
    assert_eq!((table.nulls("tone"), table.nulls("tone_error")), (0, 10));
}

#[test]
fn an_invalid_reply_is_asked_again_with_the_reason() {
    let script = |a: &Asked, attempt| match attempt {
        1 if about(a, 1) => Say::Text("I would rather not say.".into()),
        1 if about(a, 2) => Say::Json(json!({"label": "sunny", "score": 3})),
        1 if about(a, 3) => Say::Json(json!({"label": "neutral", "score": 30})),
        _ => Say::Default,
    };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 5);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 8);
    assert_eq!(project.table(OUT).nulls("label"), 0);
    for row in 1..=3 {
        let asked = server.asked();
        let both: Vec<&Asked> = asked.iter().filter(|a| about(a, row)).collect();
        assert_eq!(both.len(), 2);
        assert!(both[1].messages.len() > both[0].messages.len(), "the reason is sent: {:?}", both[1].messages);
    }
}

#[test]
fn a_reply_that_is_never_valid_fails_after_max_attempts() {
    let script = |a: &Asked, _| if about(a, 1) { Say::Text("no".into()) } else { Say::Default };
    let server = Server::new().script(script).start();
    let project =
        project(&server, &spec(&format!("models = [\"llama\"]\nmax_attempts = 3\nmax_failed = 1\n{TYPED}")), 4);
    project.run(&RUN).exits(0);
    assert_eq!(server.asked().iter().filter(|a| about(a, 1)).count(), 3);
    let error = project.table(OUT).strings("tone_error")[1].clone().expect("an error");
    assert!(error.starts_with("malformed: "), "{error}");
}

#[test]
fn json_is_found_in_prose_fences_and_after_thinking() {
    let script = |a: &Asked, _| {
        Say::Text(match a.number % 4 {
            0 => "Sure! Here it is:\n```json\n{\"label\": \"neutral\", \"score\": 4}\n```\nAnything else?".into(),
            1 => {
                "<think>{\"label\": \"positive\", \"score\": 9}</think>\n{\"label\": \"neutral\", \"score\": 4}".into()
            }
            2 => "The answer is {\"label\": \"neutral\", \"score\": 4}.".into(),
            _ => "\u{feff}\n{\"label\": \"neutral\", \"score\": 4}\n".into(),
        })
    };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 8);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(server.requests(), 8);
    assert_eq!(table.texts("label"), vec!["neutral"; 8]);
    assert_eq!(table.ints("score"), vec![Some(4); 8]);
}

#[test]
fn a_truncated_reply_is_never_an_answer() {
    let whole = r#"{"label": "positive", "score": 9}"#;
    let script = move |a: &Asked, _| if about(a, 0) { Say::Truncated(whole.into()) } else { Say::Default };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\nmax_failed = 1\n{TYPED}")), 3);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.strings("label")[0], None);
    let error = table.strings("tone_error")[0].clone().expect("an error");
    assert!(error.starts_with("truncated: "), "{error}");
}

#[test]
fn a_withheld_reply_is_an_error_cell() {
    let server = Server::new().script(|a, _| if about(a, 2) { Say::Filtered } else { Say::Default }).start();
    let project = project(&server, &openai_spec("", "models = [\"llama\"]\nmax_failed = 1"), 4);
    project.run(&RUN).exits(0);
    let error = project.table(OUT).strings("tone_error")[2].clone().expect("an error");
    assert!(error.starts_with("refused: "), "{error}");
    assert_eq!(project.table(OUT).nulls("tone"), 1);
}

#[test]
fn transient_faults_are_retried() {
    let faults = |row: usize| match row {
        1 => Some(Say::status(500)),
        2 => Some(Say::status(503)),
        3 => Some(Say::Reset),
        4 => Some(Say::CutBody),
        5 => Some(Say::EmptyChoices),
        6 => Some(Say::RawBody(b"<html>a gateway speaks</html>".to_vec())),
        7 => Some(Say::rate_limited("0")),
        _ => None,
    };
    let script = move |a: &Asked, attempt| {
        let row = (0..10).find(|&row| about(a, row)).unwrap_or(0);
        if attempt == 1 { faults(row).unwrap_or(Say::Default) } else { Say::Default }
    };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec(r#"models = ["llama"]"#), 10);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.nulls("tone_error"), 10, "{:?}", table.strings("tone_error"));
    for (text, tone) in table.texts("text").iter().zip(table.texts("tone")) {
        assert_eq!(tone, told(&server, "llama3.2", text));
    }
    assert_eq!(server.requests(), 17);
}

#[test]
fn one_429_holds_back_the_whole_endpoint() {
    let script =
        |a: &Asked, _| if a.number == 10 { Say::rate_limited("1") } else { Say::Late(20, Say::Default.into()) };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec("models = [\"llama\"]\nworkers = 2\nbatch_size = 2"), 40);
    project.run(&RUN).exits(0);
    let asked = server.asked();
    assert_eq!(asked.len(), 41);
    let refused = asked[10].arrived;
    let early =
        |a: &&Asked| a.arrived > refused + Duration::from_millis(20) && a.arrived < refused + Duration::from_secs(1);
    let early = asked.iter().filter(early).count();
    assert_eq!(early, 0, "{early} requests came before Retry-After was over");
}

#[test]
fn a_key_that_is_not_accepted_stops_the_run_at_once() {
    let server = Server::new().latency_ms(5).script(|_, _| Say::status(401)).start();
    let ran = project(&server, &spec(r#"models = ["llama"]"#), 100).run(&RUN).exits(3);
    assert!(server.requests() <= 16, "{} requests with a bad key", server.requests());
    assert!(ran.stderr.contains("401") || ran.stderr.contains("key"), "{}", ran.stderr);
}

#[test]
fn a_server_that_is_down_is_an_environment_error() {
    let url = Server::new().start().url();
    let project =
        Project::new().env("OLLAMA_HOST", &url).spec(&spec(r#"models = ["llama"]"#)).csv("data.csv", &rows(3));
    let ran = project.run(&RUN).exits(3);
    assert!(ran.took < Duration::from_secs(30), "it took {:?}", ran.took);
    assert!(ran.stderr.contains("ollama serve"), "{}", ran.stderr);
    assert!(!project.has(OUT));
}

#[test]
fn a_model_that_is_not_pulled_is_an_environment_error() {
    let server = Server::new().models(&["mistral"]).start();
    let ran = project(&server, &spec(r#"models = ["llama"]"#), 3).run(&RUN).exits(3);
    assert!(ran.stderr.contains("ollama pull llama3.2"), "{}", ran.stderr);
    assert_eq!(server.answered(), 0);
}

#[test]
fn a_missing_key_is_an_environment_error() {
    let server = Server::new().start();
    let text = openai_spec("api_key_env = \"LAB_KEY\"", r#"models = ["llama"]"#);
    let project = project(&server, &text, 3);
    project.run(&RUN).exits(3).says("LAB_KEY");
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_broken_spec_and_a_wrong_argument_end_with_2() {
    let server = Server::new().start();
    let project = project(&server, &spec(r#"models = ["lama"]"#), 3);
    project.run(&RUN).exits(2).says("llama");
    project.run(&["run", "nothing-here.toml"]).exits(2);
    project.run(&["run", "pipeline.toml", "--frobnicate"]).exits(2);
    project.run(&["frobnicate"]).exits(2);
    assert_eq!(server.requests(), 0);
}

#[test]
fn bad_input_is_reported_and_nothing_is_sent() {
    let server = Server::new().start();
    let bad: [(&str, &[u8], &str); 5] = [
        ("ragged", b"id,text\n1,a\n2,b,c\n", "3"),
        ("latin-1", b"id,text\n1,a\n2,caf\xe9\n", "UTF-8"),
        ("twice the same header", b"id,text,text\n1,a,b\n", "text"),
        ("an open quote", b"id,text\n1,\"a\n", "quote"),
        ("twice the same key", b"id,text\n1,a\n1,b\n", "1"),
    ];
    for (what, data, named) in bad {
        let project = project(&server, &spec(r#"models = ["llama"]"#), 1).file("data.csv", data);
        let ran = project.run(&RUN);
        assert!(matches!(ran.code, 2 | 3), "{what}: exit code {}:\n{}", ran.code, ran.stderr);
        assert!(ran.stderr.contains("data.csv") && ran.stderr.contains(named), "{what}:\n{}", ran.stderr);
        assert!(!project.has(OUT), "{what}");
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn the_summary_adds_up() {
    let script = |a: &Asked, _| if a.question().contains("7,") { Say::status(400) } else { Say::Default };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec("models = [\"llama\"]\nmax_failed = 100"), 60);
    let ran = project.run(&RUN).exits(0);
    let numbers = ["answered", "failed", "skipped"].map(|word| number_at(&ran.stderr, word).unwrap_or(0));
    assert_eq!(numbers.iter().sum::<usize>(), 60, "{numbers:?} in\n{}", ran.stderr);
    assert_eq!(numbers[1], project.table(OUT).nulls("tone"));
    assert!(ran.stderr.contains("rejected"), "one example per kind of error:\n{}", ran.stderr);
}

#[test]
fn two_runs_may_not_write_one_output() {
    let server = Server::new().latency_ms(400).start();
    let project = project(&server, &spec("models = [\"llama\"]\nworkers = 1\nbatch_size = 1"), 20);
    let first = project.spawn(&RUN);
    assert!(server.wait_requests(1));
    let second = project.run(&RUN).exits(3);
    assert!(second.stderr.contains(&first.id().to_string()), "the holder is named:\n{}", second.stderr);
    first.kill();
    let rest = project.spawn(&RUN);
    assert!(server.wait_requests(4), "the holder's death lets go of the output");
    rest.kill();
}

#[test]
fn equal_rows_in_flight_share_a_failure_too() {
    let server = Server::new().latency_ms(150).script(|_, _| Say::Truncated("half an ans".to_owned())).start();
    let data = "id,year,text\na,1,the same\nb,2,the same\nc,3,the same\n";
    let project = project(&server, &spec("models = [\"llama\"]\nmax_failed = 3"), 1).file("data.csv", data);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!((table.nulls("tone"), table.nulls("tone_error")), (3, 0), "a truncated reply is not an answer");
}

#[test]
fn a_row_without_an_answer_is_skipped_by_all_later_stages() {
    let server = Server::new().script(|a, _| if about(a, 1) { Say::status(400) } else { Say::Default }).start();
    let more = "
[stages.second]
type = \"analysis\"
input = \"tone\"
models = [\"llama\"]
prompt = \"Second: {{ tone }}\"
[stages.third]
type = \"analysis\"
input = \"second\"
models = [\"llama\"]
prompt = \"Third: {{ second }}\"
[outputs.third]
input = \"third\"
path = \"out/third.parquet\"
";
    let spec = format!("{}{more}", spec("models = [\"llama\"]\nmax_failed = 1"));
    let project = project(&server, &spec, 3);
    project.run(&RUN).exits(0);
    let table = project.table("out/third.parquet");
    assert_eq!((table.nulls("tone"), table.nulls("second"), table.nulls("third")), (1, 1, 1));
    assert_eq!(server.requests(), 3 + 2 + 2, "nothing is asked about an answer that isn't there");
}
