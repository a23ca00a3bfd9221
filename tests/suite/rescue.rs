//! Answers that need help: a reply that is truncated or not quite JSON, a server that rejects the structured output, a prompt
//! that is too long, a model that does not answer and its fallback. Each repair is recorded.

use serde_json::{Value, json};

use crate::project::{Project, Table};
use crate::recipe::{TYPED, openai_spec, project, rows, spec};
use crate::server::{Asked, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn about(asked: &Asked, row: usize) -> bool {
    asked.question().contains(&format!("Speech {row},"))
}

/// Any answer that fits.
fn fitting() -> Say {
    Say::Json(json!({"label": "neutral", "score": 4}))
}

/// The notes of the calls table, row by row; null if there are none.
fn notes(calls: &Table) -> Vec<Value> {
    let notes = calls.strings("notes").into_iter();
    notes.map(|notes| notes.map_or(Value::Null, |json| serde_json::from_str(&json).expect("JSON"))).collect()
}

fn format_of(asked: &Asked) -> String {
    asked.body["response_format"]["type"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn a_truncated_reply_is_asked_again_for_a_shorter_one() {
    let half = r#"{"label": "positive", "score": "#;
    let script = |a: &Asked, attempt| match about(a, 1) && attempt < 2 {
        true => Say::Truncated(half.into()),
        false => Say::Default,
    };
    let server = Server::new().script(script).start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 4);
    project.run(&RUN).exits(0);
    assert_eq!(project.table(OUT).nulls("tone_error"), 4);
    let asked = server.asked();
    let tries: Vec<&Asked> = asked.iter().filter(|a| about(a, 1)).collect();
    assert_eq!(tries.len(), 2);
    let (role, said) = &tries[1].messages[tries[1].messages.len() - 1];
    assert!(role == "user" && said.contains("cut off") && said.contains("briefer"), "{said}");
    let tries = project.calls().strings("earlier_tries")[1].clone().expect("the first try");
    assert!(tries.contains("truncated: ") && tries.contains("positive"), "{tries}");
}

/// A server that knows only this form of structured output.
fn knows(form: &'static str) -> Server {
    let script = move |a: &Asked, _| match format_of(a) == form {
        true => fitting(),
        false => Say::status(400),
    };
    Server::new().script(script).start()
}

#[test]
fn structured_output_that_the_server_rejects_is_relaxed_once_and_recorded() {
    for (form, refused) in [("json_object", 1), ("none", 2)] {
        let server = knows(form);
        let project = project(&server, &openai_spec("", &format!("models = [\"llama\"]\n{TYPED}")), 40);
        project.run(&RUN).exits(0);
        let table = project.table(OUT);
        assert_eq!((table.len(), table.nulls("label"), table.nulls("tone_error")), (40, 0, 40));
        let asked = server.asked();
        let good = asked.iter().filter(|a| a.answered.is_some()).count();
        assert_eq!(good, 40);
        // Calls in flight during the first rejection are rejected too; only one of them tries the relaxed forms.
        let strict = asked.iter().filter(|a| format_of(a) == "json_schema").count();
        assert!(strict <= 16, "{strict} in flight");
        assert_eq!(asked.len(), 40 + strict + (refused - 1));
        assert!(notes(&project.calls()).iter().all(|note| *note == json!({"structured_output": form})));
        server.forget();
        project.run(&RUN).exits(0);
        assert_eq!(server.requests(), 0);
    }
}

#[test]
fn a_request_that_no_relaxed_form_saves_fails_only_its_row() {
    let script = |a: &Asked, _| if about(a, 5) { Say::status(400) } else { Say::Default };
    let server = Server::new().script(script).start();
    let stage = format!("models = [\"llama\"]\nmax_failed = 1\n{TYPED}");
    let project = project(&server, &openai_spec("max_concurrent_calls = 1", &stage), 8);
    project.run(&RUN).exits(0);
    let errors = project.table(OUT).strings("tone_error");
    assert!(errors[5].as_ref().is_some_and(|e| e.starts_with("rejected: ")) && errors.iter().flatten().count() == 1);
    assert_eq!(server.requests(), 8, "answers have shown that the form is not to blame");
    assert!(notes(&project.calls()).iter().all(Value::is_null));
}

#[test]
fn the_search_for_a_form_ends_when_another_call_is_answered() {
    // The first row is refused before the other rows are answered, and its relaxed form long after.
    let script = |a: &Asked, _| match (about(a, 0), format_of(a) == "json_schema") {
        (true, true) => Say::status(400),
        (true, false) => Say::Late(3_000, Box::new(Say::status(400))),
        (false, _) => Say::Late(500, Box::new(Say::Default)),
    };
    let server = Server::new().script(script).start();
    let stage = format!("models = [\"llama\"]\nworkers = 8\nmax_failed = 1\n{TYPED}");
    project(&server, &openai_spec("", &stage), 8).run(&RUN).exits(0);
    let forms: Vec<String> = server.asked().iter().filter(|a| about(a, 0)).map(format_of).collect();
    assert!(!forms.contains(&"none".to_owned()), "{forms:?}");
}

#[test]
fn replies_are_repaired_only_where_the_spec_says_so() {
    let written = r#"{"label": 'neutral', "score": 4, /* of ten */}"#;
    let script = |a: &Asked, _| match () {
        () if about(a, 0) => Say::Text(written.into()),
        () if about(a, 1) => Say::Text(r#"{"label": "neutral", "score": 4"#.into()),
        () => Say::Default,
    };
    let server = Server::new().script(script).start();
    let stage =
        |lines: &str| spec(&format!("models = [\"llama\"]\nmax_attempts = 1\nmax_failed = 2\n{lines}\n{TYPED}"));
    let strict = project(&server, &stage(""), 3);
    strict.run(&RUN).exits(0);
    assert_eq!(strict.table(OUT).nulls("tone_error"), 1);
    server.forget();
    let lenient = project(&server, &stage("repair = \"lenient\""), 3);
    lenient.run(&RUN).exits(0);
    let table = lenient.table(OUT);
    assert_eq!((table.strings("label")[0].as_deref(), table.ints("score")[0]), (Some("neutral"), Some(4)));
    assert!(table.strings("tone_error")[1].as_ref().is_some_and(|e| e.starts_with("malformed: ")), "no end, no answer");
    let calls = lenient.calls();
    assert_eq!(calls.texts("reply")[0], written, "the raw reply is kept");
    assert_eq!(notes(&calls), [json!({"repaired": true}), Value::Null, Value::Null]);
    // The same from the ledger, and not for a stage that does not want it.
    server.forget();
    std::fs::remove_dir_all(lenient.path(".fanfold/runs")).expect("the runs");
    lenient.run(&RUN);
    assert_eq!(lenient.table(OUT).strings("label"), table.strings("label"));
    assert_eq!(server.requests(), 1, "only the failed one");
    lenient.write("pipeline.toml", stage(""));
    lenient.run(&RUN).exits(0);
    assert_eq!(lenient.table(OUT).nulls("tone_error"), 1);
}

/// A project whose second row is far too long for 200 tokens, with these lines in the stage.
fn long_row(server: &Server, spec: String) -> Project {
    let mut rows = rows(3);
    rows[2][2] = format!("It begins so. {} It ends so.", "More and more is said about trade. ".repeat(400));
    let url = server.url();
    Project::new().env("OLLAMA_HOST", &url).env("LAB_URL", &server.openai_url()).spec(&spec).csv("data.csv", &rows)
}

#[test]
fn a_prompt_that_exceeds_the_context_is_not_sent() {
    let server = Server::new().start();
    let small = |spec: String| spec.replace("num_ctx = 4096", "num_ctx = 400");
    let stage = format!("models = [\"llama\"]\nmax_failed = 1\n{TYPED}");
    let declared = openai_spec("", &stage).replace("max_tokens = 64", "max_tokens = 64\ncontext_tokens = 400");
    for spec in [small(spec(&stage)), declared] {
        server.forget();
        let project = long_row(&server, spec);
        project.run(&RUN).exits(0);
        assert_eq!(server.requests(), 2);
        let error = project.table(OUT).strings("tone_error")[1].clone().expect("an error");
        let says = "context_too_long: the prompt has at least ";
        assert!(
            error.starts_with(says) && error.ends_with("which fill the context of 400; it was not sent"),
            "{error}"
        );
        assert_eq!(project.calls().ints("attempts")[1], Some(0));
    }
}

#[test]
fn a_prompt_that_is_too_long_loses_its_middle_if_the_spec_says_so() {
    // The server counts 4 bytes as a token and answers a prompt that it has cut, as older versions of Ollama do.
    let server = Server::new().start();
    let stage = |lines: &str| {
        let text = spec(&format!("models = [\"llama\"]\nmax_failed = 1\n{lines}\n{TYPED}"));
        text.replace("num_ctx = 4096", "num_ctx = 400")
    };
    let project = long_row(&server, stage("overflow = \"truncate_middle\""));
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!((table.nulls("tone_error"), table.nulls("label")), (3, 0));
    let asked = server.asked();
    let sent =
        asked.iter().find(|a| a.question().contains("It begins so.") && a.answered.is_some()).expect("the long one");
    let text = sent.question();
    assert!(
        text.starts_with("What is the tone?") && text.contains("\n[…]\n") && text.contains("It ends so."),
        "{text}"
    );
    assert!(text.len() < 400 * 4, "{}", text.len());
    let left_out = notes(&project.calls())[1]["left_out"].as_u64().expect("a number of characters");
    assert!((12_000..14_500).contains(&left_out), "{left_out}");
    // An answer to a shortened prompt does not count where the whole prompt is required.
    server.forget();
    project.write("pipeline.toml", stage(""));
    project.run(&RUN).exits(0);
    assert_eq!((project.table(OUT).nulls("tone_error"), server.requests()), (2, 0));
}

/// The usual spec, with `mistral` as the fallback of `llama`.
fn with_fallback(stage: &str) -> String {
    spec(stage).replacen("num_ctx = 4096\n", "num_ctx = 4096\nfallback = [\"mistral\"]\n", 1)
}

#[test]
fn a_fallback_answers_if_the_model_does_not_and_the_table_says_so() {
    let script = |a: &Asked, _| match a.model.as_str() {
        "llama3.2" if about(a, 2) => Say::status(400),
        "llama3.2" if about(a, 4) => Say::status(422),
        "mistral" if about(a, 4) => Say::status(400),
        _ => Say::Default,
    };
    let server = Server::new().script(script).start();
    let stage = format!("models = [\"llama\"]\nmax_failed = 1\n{TYPED}");
    let project = project(&server, &with_fallback(&stage), 6);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    let who = ["llama", "llama", "mistral", "llama", "llama", "llama"];
    assert_eq!(table.texts("tone_model"), who);
    let error = table.strings("tone_error")[4].clone().expect("an error");
    assert!(error.starts_with("rejected: status 422"), "the model's own error stands: {error}");
    assert_eq!(server.requests_of("mistral"), 2);
    let calls = project.calls();
    assert_eq!(notes(&calls)[2], json!({"fallback": "mistral"}));
    assert_eq!((calls.texts("model")[2].as_str(), calls.texts("model_id")[2].as_str()), ("llama", "mistral"));
    assert!(calls.strings("earlier_tries")[2].as_ref().is_some_and(|tries| tries.contains("rejected: ")));
    // No call is paid twice, and without the fallback its answer does not count.
    server.forget();
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs");
    project.run(&RUN).exits(0);
    assert_eq!(
        (project.table(OUT).texts("tone_model"), server.requests_of("llama3.2")),
        (who.map(String::from).to_vec(), 1)
    );
    project.write("pipeline.toml", spec(&stage.replace("max_failed = 1", "max_failed = 2")));
    project.run(&RUN).exits(0);
    assert!(!project.table(OUT).has("tone_model") && project.table(OUT).nulls("tone_error") == 4);
}

#[test]
fn a_fallback_answers_for_a_server_that_is_down() {
    let server = Server::new().start();
    let spec = with_fallback(&format!("models = [\"llama\", \"mistral\"]\nfanout = true\n{TYPED}"))
        .replacen("[models.llama]\nprovider = \"here\"", "[models.llama]\nprovider = \"gone\"", 1)
        .replacen("[models.llama]", "[providers.gone]\ntype = \"openai\"\nbase_url_env = \"GONE\"\n\n[models.llama]", 1)
        .replacen("num_ctx = 4096\n", "", 1);
    let project = project(&server, &spec, 30).env("GONE", "http://127.0.0.1:9/v1");
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.texts("tone_model_llama"), vec!["mistral"; 30]);
    assert_eq!(table.texts("label_llama"), table.texts("label_mistral"));
    assert_eq!(server.requests(), 30, "what both ask of one model is paid once");
}
