//! Runs that stop early, since the first requests fail alike, and runs that must not.

use std::time::Duration;

use serde_json::json;

use crate::pack::packs_of;
use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project, spec};
use crate::server::{Asked, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const MODEL: &str = "models = [\"llama\"]";

fn raw(body: &str) -> Say {
    Say::RawBody(body.as_bytes().to_vec())
}

fn status(code: u16, message: &str) -> Say {
    Say::Status { code, retry_after: None, body: json!({ "error": { "message": message } }).to_string() }
}

/// Every call fails in this way; then the run says so and what to change.
fn stops(say: &Say, text: &str, says: &[&str]) {
    for rows in [60, 3, 2] {
        let always = say.clone();
        let server = Server::new().latency_ms(5).script(move |_, _| always.clone()).start();
        let project = project(&server, text, rows);
        let ran = project.run(&RUN).exits(3);
        let found = says.iter().all(|words| ran.stderr.contains(words));
        assert!(found, "{say:?} with {rows} rows lacks one of {says:?}:\n{}", ran.stderr);
        assert!(server.requests() <= 10, "{say:?}: {} requests for {rows} rows", server.requests());
        assert!(!project.has(OUT), "{say:?}: there is no table of nulls");
    }
}

#[test]
fn a_server_that_says_with_status_200_that_the_path_is_wrong_stops_the_run() {
    let text = openai_spec("", &format!("{MODEL}\n{TYPED}"));
    for (body, words) in [
        (r#"{"error": "Unexpected endpoint or method. (POST /chat/completions)"}"#, "Unexpected endpoint or method."),
        (r#"{"error": {"message": "no such route"}}"#, "no such route"),
        (r#"{"detail": "Not Found"}"#, "Not Found"),
        ("<!DOCTYPE html><html><title>Log in to the proxy</title></html>", "`Log in to the proxy`"),
        ("", "an empty body"),
        ("LM Studio is running", "LM Studio is running"),
    ] {
        stops(&raw(body), &text, &[words, "`base_url`", "/v1"]);
    }
}

#[test]
fn the_same_failure_of_the_first_requests_stops_the_run_whatever_its_kind() {
    let text = openai_spec("", &format!("{MODEL}\n{TYPED}"));
    for (say, says) in [
        (status(400, "no parameter `seed`"), ["no parameter `seed`", "`extra`"]),
        (status(500, "CUDA out of memory"), ["CUDA out of memory", "the server's log"]),
        (status(422, "unknown field"), ["unknown field", "6 requests"]),
        (Say::EmptyChoices, ["the reply has no choices", "`base_url`"]),
        (Say::Text("I would rather not say.".to_owned()), ["malformed", "the prompt"]),
        (Say::Truncated("half an ans".to_owned()), ["was cut off", "`max_tokens`"]),
        (raw("data: hello\n\n"), ["an event stream", "hello"]),
    ] {
        let says = if matches!(say, Say::Status { code: 422, .. }) { &says[..1] } else { &says[..] };
        stops(&say, &text, says);
    }
    let text = spec(MODEL);
    stops(&status(500, "llama runner process has terminated"), &text, &["llama runner process has terminated"]);
    stops(&status(400, "the input length exceeds the context length"), &text, &["the context length", "`num_ctx`"]);
}

#[test]
fn a_deadline_that_no_reply_meets_stops_the_run() {
    let server = Server::new().script(|_, _| Say::Hang(4000)).start();
    let text = openai_spec("timeout_secs = 1", MODEL);
    let ran = project(&server, &text, 60).run(&RUN).exits(3).says("`timeout_secs`");
    assert!(server.requests() <= 10, "{}\n{}", server.requests(), ran.stderr);
}

#[test]
fn relaxed_forms_and_packs_count_too() {
    let server = Server::new().latency_ms(5).script(|_, _| status(400, "no such parameter")).start();
    project(&server, &openai_spec("", &format!("{MODEL}\n{TYPED}")), 60).run(&RUN).exits(3).says("no such parameter");
    assert!(server.requests() <= 10, "{} requests", server.requests());
    let server = Server::new().latency_ms(5).script(|_, _| raw(r#"{"error": "no such path"}"#)).start();
    project(&server, &packs_of(8, ""), 200).run(&RUN).exits(3).says("no such path");
    assert!(server.requests() <= 10, "{} requests", server.requests());
}

#[test]
fn one_row_alone_does_not_stop_the_run() {
    let server = Server::new().script(|_, _| status(400, "not this text")).start();
    let project = project(&server, &spec(MODEL), 1);
    project.run(&RUN).exits(1).says("1 row = 0 answered + 1 failed");
    assert_eq!(project.table(OUT).nulls("tone"), 1);
}

#[test]
fn an_answer_ends_the_count_in_this_run_and_from_the_ledger() {
    let answers = |a: &Asked, _| if a.number == 0 { Say::Default } else { status(400, "not this text") };
    let server = Server::new().script(answers).start();
    let project = project(&server, &spec(MODEL), 60);
    project.run(&RUN).exits(1).says("60 rows = 1 answered + 59 failed");
    // The ledger has an answer of the model, so it can answer.
    project.run(&RUN).exits(1).says("60 rows = 1 answered + 59 failed").says("1 from the ledger");
}

#[test]
fn a_spec_that_lets_all_rows_fail_is_carried_out() {
    let server = Server::new().script(|_, _| status(400, "not this text")).start();
    let project = project(&server, &spec(&format!("{MODEL}\nmax_failed = \"100%\"")), 40);
    project.run(&RUN).exits(0).says("40 rows = 0 answered + 40 failed");
    assert_eq!(server.requests(), 40);
}

#[test]
fn replies_that_the_provider_withholds_do_not_stop_the_run() {
    let server = Server::new().script(|_, _| Say::Filtered).start();
    let project = project(&server, &openai_spec("", MODEL), 20);
    project.run(&RUN).exits(1).says("20 rows = 0 answered + 20 failed");
}

#[test]
fn one_model_of_a_fan_out_that_never_answers_stops_the_run() {
    let script = |a: &Asked, _| if a.model == "mistral" { status(400, "no such parameter") } else { Say::Default };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec("models = [\"llama\", \"mistral\"]\nfanout = true"), 30);
    project.run(&RUN).exits(3).says("model `mistral`").says("no such parameter");
    assert!(server.requests_of("mistral") <= 10);
}

/// The usual spec, with `mistral` as the fallback of `llama`.
fn with_fallback(stage: &str) -> String {
    spec(stage).replacen("num_ctx = 4096\n", "num_ctx = 4096\nfallback = [\"mistral\"]\n", 1)
}

#[test]
fn a_fallback_that_answers_keeps_the_run_going() {
    let script = |a: &Asked, _| match a.model.as_str() {
        "mistral" => Say::Late(300, Say::Default.into()),
        _ => status(400, "no such parameter"),
    };
    let server = Server::new().script(script).start();
    let fallback = project(&server, &with_fallback(MODEL), 60);
    fallback.run(&RUN).exits(0).says("60 rows = 60 answered + 0 failed");
    assert!(server.max_in_flight() > 8, "the answers of the fallback open the gate: {}", server.max_in_flight());
    let server = Server::new().latency_ms(5).script(|_, _| status(400, "no such parameter")).start();
    let neither = project(&server, &with_fallback(MODEL), 60);
    neither.run(&RUN).exits(3).says("no such parameter");
    assert!(server.requests_of("llama3.2") <= 10 && server.requests_of("mistral") <= 10, "{}", server.requests());
}

#[test]
fn few_calls_are_in_flight_before_the_first_answer_and_all_after_it() {
    let script = |_: &Asked, _| Say::Late(100, Say::Default.into());
    let typed = format!("{MODEL}\n{TYPED}");
    for text in [spec(MODEL), spec(&typed), packs_of(2, "")] {
        let server = Server::new().script(script).start();
        let ran = project(&server, &text, 80).run(&RUN).exits(0);
        let asked = server.asked();
        let first = asked.iter().filter_map(|a| a.answered).min().expect("an answer");
        let early = asked.iter().filter(|a| a.arrived < first).count();
        assert!(early <= 4, "{early} requests before the first answer");
        assert!(server.max_in_flight() >= 12, "{}", server.max_in_flight());
        assert!(ran.took < Duration::from_secs(20), "{:?}", ran.took);
    }
}

#[test]
fn calls_that_are_tried_again_before_the_first_answer_get_their_lanes_back() {
    let twice =
        |a: &Asked, attempt: usize| if attempt <= 1 && a.number < 5 { status(500, "loading") } else { Say::Default };
    let refuses = |a: &Asked, attempt: usize| match a.model.as_str() {
        "mistral" if attempt == 1 => Say::rate_limited("1"),
        "mistral" => Say::Default,
        _ => status(400, "no such parameter"),
    };
    let lanes = format!("{MODEL}\nworkers = 1\nbatch_size = 8");
    let server = Server::new().script(twice).start();
    project(&server, &spec(&lanes), 60).run(&RUN).exits(0).says("60 rows = 60 answered");
    let server = Server::new().script(refuses).start();
    project(&server, &with_fallback(&lanes), 24).run(&RUN).exits(0).says("24 rows = 24 answered");
}

#[test]
fn servers_that_are_busy_at_first_are_waited_for() {
    // The first six requests are refused, then all are answered: refusals are not failures.
    for code in [429, 503] {
        let script = move |a: &Asked, _| if a.number < 6 { status(code, "busy") } else { Say::Default };
        let server = Server::new().script(script).start();
        let project = project(&server, &spec(&format!("{MODEL}\nmax_attempts = 5")), 20);
        project.run(&RUN).exits(0).says("20 rows = 20 answered + 0 failed");
    }
}

#[test]
fn a_stage_whose_rows_make_no_prompt_is_an_error_of_the_spec() {
    let server = Server::new().start();
    let text = |prompt: &str| spec(MODEL).replace("What is the tone?\\n\\n{{ text }}", prompt);
    let bad = project(&server, &text("{{ (text | json).a }}"), 30);
    bad.run(&RUN).exits(2).says("stage `tone`: template").says("30 rows failed");
    assert!(server.requests() == 0 && !bad.has(OUT));
    // Some rows make a prompt.
    let some = project(&server, &text("{% if '3' in text %}{{ (text | json).a }}{% endif %}{{ text }}"), 8);
    some.run(&RUN).exits(1).says("8 rows = 7 answered + 1 failed");
    let one = project(&server, &text("{{ (text | json).a }}"), 1);
    one.run(&RUN).exits(1).says("1 row = 0 answered + 1 failed");
}

fn chunk(delta: &serde_json::Value, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    format!("data: {}\n\n", json!({ "id": "x", "object": "chat.completion.chunk", "choices": [choice] }))
}

#[test]
fn the_chunks_of_a_gateway_that_always_streams_are_joined() {
    let text = chunk(&json!({ "role": "assistant", "content": "" }), None)
        + &chunk(&json!({ "content": "{\"label\": \"positive\"," }), None)
        + &chunk(&json!({ "content": " \"score\": 9}" }), None)
        + &chunk(&json!({}), Some("stop"));
    let usage =
        format!("data: {}\n\n", json!({ "choices": [], "usage": { "prompt_tokens": 7, "completion_tokens": 3 } }));
    for (body, tokens) in [
        (format!("{text}data: [DONE]\n\n"), "0 tokens in"),
        (format!("{text}{usage}data: [DONE]\n\n"), "84 tokens in, 36 out"),
        (
            format!(": waiting\n\n{}", text.replace("data: ", "event: chunk\ndata:").replace('\n', "\r\n")),
            "0 tokens in",
        ),
    ] {
        let server = Server::new().script(move |_, _| raw(&body)).start();
        let project = project(&server, &openai_spec("", &format!("{MODEL}\n{TYPED}")), 12);
        project.run(&RUN).exits(0).says("12 rows = 12 answered").says(tokens);
        assert_eq!((server.requests(), project.table(OUT).texts("label")), (12, vec!["positive".to_owned(); 12]));
    }
    let typed = openai_spec("", &format!("{MODEL}\n{TYPED}"));
    let cut = chunk(&json!({ "content": "{\"label\": \"positive\"" }), None);
    stops(&raw(&cut), &typed, &["finish_reason"]);
    let error = format!("{cut}data: {}\n\n", json!({ "error": { "message": "the backend is gone" } }));
    stops(&raw(&error), &typed, &["the backend is gone"]);
}

/// A server whose model can't be held to a format, and says so in these words.
fn without_format(code: u16, words: &'static str, forms: &'static [&'static str]) -> Server {
    let script = move |a: &Asked, _| match a.body.get("format") {
        Some(format) if !forms.contains(&format.as_str().unwrap_or("schema")) => {
            Say::Status { code, retry_after: None, body: json!({ "error": words }).to_string() }
        }
        _ => Say::Json(json!({ "label": "positive", "score": 9 })),
    };
    Server::new().script(script).start()
}

fn labels(project: &Project) -> usize {
    project.table(OUT).texts("label").iter().filter(|label| *label == "positive").count()
}

#[test]
fn a_model_of_ollama_that_knows_no_format_is_asked_without_it() {
    for (code, words, forms) in [
        (500, "failed to load model vocabulary required for format", &[][..]),
        (500, "llama runner: failed to parse grammar", &["json"][..]),
        (400, "this model does not support structured outputs", &[]),
        (501, "format is not supported by this runner", &[]),
    ] {
        let server = without_format(code, words, forms);
        let project = project(&server, &spec(&format!("{MODEL}\n{TYPED}")), 30);
        project.run(&RUN).exits(0).says("30 rows = 30 answered + 0 failed");
        assert_eq!(labels(&project), 30, "{words}");
        assert!(server.requests() <= 40, "{words}: {} requests", server.requests());
    }
}

#[test]
fn structured_output_of_ollama_is_what_the_spec_says() {
    for (form, sent) in [("json_schema", "{"), ("json_object", "\"json\""), ("none", "null")] {
        let server = Server::new().script(|_, _| Say::Json(json!({ "label": "positive", "score": 9 }))).start();
        let text = spec(&format!("{MODEL}\n{TYPED}"))
            .replace("type = \"ollama\"", &format!("type = \"ollama\"\nstructured_output = \"{form}\""));
        project(&server, &text, 3).run(&RUN).exits(0);
        let formats = server.asked().into_iter().map(|a| a.body.get("format").cloned().unwrap_or_default().to_string());
        assert!(formats.into_iter().all(|format| format.starts_with(sent)), "{form}");
    }
}

#[test]
fn replies_that_are_all_cut_stop_the_run_whatever_they_begin_with() {
    let say = |asked: &Asked, _: usize| {
        let words = ["peace", "trade", "war", "harvest", "roads"][asked.number % 5];
        raw(&format!("{{\"model\": \"llama3.2\", \"message\": {{\"content\": \"It is about {words}"))
    };
    let server = Server::new().script(say).start();
    let project = project(&server, &spec(&format!("{MODEL}\n{TYPED}")), 60);
    project.run(&RUN).exits(3).says("nothing was answered");
    assert!(server.requests() <= 12, "{} requests", server.requests());
    assert!(!project.has(OUT), "no table of nulls is written");
}

#[test]
fn rows_that_always_time_out_fail_alone() {
    let say =
        |asked: &Asked, _: usize| match ["Speech 3,", "Speech 5,"].iter().any(|speech| asked.call().contains(speech)) {
            true => Say::Hang(5_000),
            false => Say::Default,
        };
    let server = Server::new().script(say).start();
    let text = openai_spec("timeout_secs = 1", &format!("{MODEL}\nmax_failed = 2"));
    let project = project(&server, &text, 8);
    project.run(&RUN).exits(0).says("8 rows = 6 answered + 2 failed").says("timeout");
    assert_eq!(server.requests(), 6 + 2 * 3, "as many as `max_attempts`");
}
