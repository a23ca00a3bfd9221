//! The `embed` stage: what servers are asked, what is paid once, and what happens to texts without a vector.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::project::{Cell, Project};
use crate::server::{Asked, Say, Server, embedded, vector, with_vectors};

/// A pipeline whose texts become vectors, with more lines in its provider, its model and its stage.
fn spec(provider: &str, model: &str, stage: &str) -> String {
    format!(
        r#"name = "vectors"
[providers.lab]
{provider}
[models.nomic]
provider = "lab"
model = "nomic-embed-text"
{model}
[sources.texts]
type = "file"
path = "texts.csv"
key = "id"
[stages.embedding]
type = "embed"
input = "texts"
models = ["nomic"]
text_column = "text"
{stage}
[outputs.vectors]
input = "embedding"
path = "out/vectors.parquet"
"#
    )
}

fn ollama(server: &Server) -> String {
    format!("type = \"ollama\"\nbase_url = \"{}\"", server.url())
}

fn openai(server: &Server) -> String {
    format!("type = \"openai\"\nbase_url = \"{}\"", server.openai_url())
}

fn text(row: usize) -> String {
    format!("text number {row}")
}

fn project(spec: &str, rows: usize) -> Project {
    let header = vec!["id".to_owned(), "text".to_owned()];
    let lines: Vec<Vec<String>> =
        [header].into_iter().chain((0..rows).map(|row| vec![format!("t{row}"), text(row)])).collect();
    Project::new().spec(spec).csv("texts.csv", &lines)
}

/// The vectors of the table.
fn vectors(project: &Project) -> Vec<Option<Vec<f64>>> {
    let cells = project.table("out/vectors.parquet").cells("embedding");
    let number = |cell: &Cell| match cell {
        Cell::Float(number) => *number,
        other => panic!("{other:?} is not a number"),
    };
    let vector = |cell: &Cell| match cell {
        Cell::List(items) => Some(items.iter().map(number).collect()),
        _ => None,
    };
    cells.iter().map(vector).collect()
}

/// How often each text was sent.
fn sent(server: &Server) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for text in server.asked().iter().flat_map(|asked| embedded(&asked.body)) {
        *sent.entry(text).or_default() += 1;
    }
    sent
}

#[test]
fn one_request_has_many_texts_and_each_is_paid_once() {
    let server = Server::new().models(&["nomic-embed-text"]).start();
    let project = project(&spec(&ollama(&server), "", "batch_size = 8\nworkers = 1"), 20);
    project.run(&["run", "pipeline.toml"]).exits(0).says("20 rows = 20 answered");
    let expected: Vec<Option<Vec<f64>>> = (0..20).map(|row| Some(vector(&text(row)))).collect();
    assert_eq!(vectors(&project), expected);
    let asked = server.asked();
    assert!(asked.len() < 12 && asked.iter().all(|asked| asked.path == "/api/embed"), "{} requests", asked.len());
    assert!(asked.iter().all(|asked| asked.messages.len() <= 8 && asked.body["truncate"] == json!(false)));
    assert!(sent(&server).values().all(|times| *times == 1) && sent(&server).len() == 20);
    // New rows in new company: only they are sent.
    let mut lines = vec![vec!["id".to_owned(), "text".to_owned()]];
    lines.extend((0..26).rev().map(|row| vec![format!("t{row}"), text(row)]));
    let project = project.csv("texts.csv", &lines);
    project.run(&["run", "pipeline.toml", "--update-lock"]).exits(0);
    assert!(sent(&server).values().all(|times| *times == 1) && sent(&server).len() == 26);
    // The calls table and the replay file have a line for each text.
    assert!(project.calls().len() >= 26);
    project.run(&["ledger", "export", "pipeline.toml", "-o", "replay.parquet"]).exits(0);
    let before = server.requests();
    project.run(&["run", "pipeline.toml", "--replay", "replay.parquet"]).exits(0);
    assert_eq!(server.requests(), before, "a replay sends nothing");
}

#[test]
fn killed_and_resumed_nothing_is_paid_twice() {
    let server = Server::new().models(&["nomic-embed-text"]).latency_ms(20).start();
    let text = spec(&ollama(&server), "", "batch_size = 4\nworkers = 1\nchunk_size = 8");
    let project = project(&text, 60);
    let running = project.spawn(&["run", "pipeline.toml"]);
    assert!(server.wait_answered(5));
    running.kill();
    let answered: usize =
        server.asked().iter().filter(|asked| asked.answered.is_some()).map(|a| a.messages.len()).sum();
    project.run(&["run", "pipeline.toml"]).exits(0);
    let twice = sent(&server).values().filter(|times| **times > 1).count();
    // Only texts of requests in flight, or whose answers were not on disk, may be sent again.
    assert!(answered >= 5 && twice <= 16, "{twice} texts were sent twice");
    let expected: Vec<Option<Vec<f64>>> = (0..60).map(|row| Some(vector(&self::text(row)))).collect();
    assert_eq!(vectors(&project), expected);
}

#[test]
fn openai_lists_vectors_in_any_order() {
    let script = |asked: &Asked, _: usize| {
        let texts = embedded(&asked.body);
        let mut reply = with_vectors(asked, texts.iter().map(|text| json!(vector(text))).collect());
        reply["data"].as_array_mut().expect("a list").reverse();
        Say::RawBody(reply.to_string().into_bytes())
    };
    let server = Server::new().models(&["nomic-embed-text"]).script(script).start();
    let project = project(&spec(&openai(&server), "", "batch_size = 8\ndimensions = 4\nworkers = 1"), 20);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let expected: Vec<Option<Vec<f64>>> = (0..20).map(|row| Some(vector(&text(row)))).collect();
    assert_eq!(vectors(&project), expected);
    let body = &server.asked()[0].body;
    assert_eq!((&body["encoding_format"], &body["dimensions"]), (&json!("float"), &json!(4)));
    let tokens: i64 = project.calls().ints("prompt_tokens").into_iter().flatten().sum();
    assert_eq!(tokens as u64, server.asked().iter().map(Asked::tokens).sum::<u64>());
}

/// A server whose replies are changed: `bad` says which texts get no good vector.
fn with_bad(reply: impl Fn(&Asked, &[String]) -> Option<Say> + Send + Sync + 'static) -> Server {
    let script = move |asked: &Asked, _: usize| reply(asked, &embedded(&asked.body)).unwrap_or(Say::Default);
    Server::new().models(&["nomic-embed-text"]).script(script).start()
}

/// The rows without a vector, with their errors.
fn failed(project: &Project) -> Vec<(usize, String)> {
    let errors = project.table("out/vectors.parquet").strings("embedding_error");
    errors.into_iter().enumerate().filter_map(|(row, error)| Some((row, error?))).collect()
}

#[test]
fn a_text_that_the_server_rejects_fails_alone() {
    let server = with_bad(|_, texts| {
        texts.iter().any(|text| *text == self::text(5)).then(|| Say::Status {
            code: 400,
            retry_after: None,
            body: r#"{"error":"the input length exceeds the context length"}"#.to_owned(),
        })
    });
    let project = project(&spec(&ollama(&server), "", "batch_size = 8\nworkers = 1\nmax_failed = 1"), 20);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let failed = failed(&project);
    assert_eq!(failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [5], "{failed:?}");
    assert!(failed[0].1.contains("exceeds the context length"), "{failed:?}");
    // The halves of its requests were sent again, and each other text got its vector.
    assert_eq!(vectors(&project).iter().flatten().count(), 19);
}

#[test]
fn a_vector_that_is_missing_or_not_finite_fails_its_row() {
    let server = with_bad(|asked, texts| {
        let value = |text: &String| match text == &self::text(3) {
            true => json!([0.5, Value::Null, 1.0, 2.0]),
            false => json!(vector(text)),
        };
        let mut reply = with_vectors(asked, texts.iter().map(value).collect());
        let data = reply["data"].as_array_mut().expect("a list");
        data.retain(|entry| texts[entry["index"].as_u64().expect("an index") as usize] != text(7));
        Some(Say::RawBody(reply.to_string().into_bytes()))
    });
    let text = spec(&openai(&server), "", "batch_size = 8\nworkers = 1\nmax_failed = 2\nmax_attempts = 2");
    let project = project(&text, 20);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let failed = failed(&project);
    assert_eq!(failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [3, 7], "{failed:?}");
    assert!(failed[0].1.contains("not a finite number"), "{failed:?}");
    assert!(failed[1].1.contains("no vector for this text"), "{failed:?}");
}

#[test]
fn fewer_vectors_than_texts_are_no_answer() {
    let server = with_bad(|asked, texts| {
        (texts.len() > 1).then(|| {
            let reply = with_vectors(asked, texts[1..].iter().map(|text| json!(vector(text))).collect());
            Say::RawBody(reply.to_string().into_bytes())
        })
    });
    let project = project(&spec(&ollama(&server), "", "batch_size = 4\nworkers = 1"), 9);
    project.run(&["run", "pipeline.toml"]).exits(0);
    // Each text was asked about alone in the end, so that no vector belongs to another text.
    let expected: Vec<Option<Vec<f64>>> = (0..9).map(|row| Some(vector(&text(row)))).collect();
    assert_eq!(vectors(&project), expected);
}

#[test]
fn a_refused_request_is_sent_again() {
    let server = Server::new().models(&["nomic-embed-text"]).script(|asked, _| match asked.number {
        2 => Say::rate_limited("0"),
        4 => Say::status(500),
        _ => Say::Default,
    });
    let server = server.start();
    let project = project(&spec(&ollama(&server), "", "batch_size = 4\nworkers = 2"), 24);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let expected: Vec<Option<Vec<f64>>> = (0..24).map(|row| Some(vector(&text(row)))).collect();
    assert_eq!(vectors(&project), expected);
}

#[test]
fn gemini_gets_a_request_for_each_text_in_one() {
    let server = Server::new().models(&["nomic-embed-text"]).start();
    let provider = format!("type = \"gemini\"\nbase_url = \"{}\"\napi_key_env = \"LAB_KEY\"", server.url());
    let extra = "extra = { taskType = \"RETRIEVAL_DOCUMENT\" }";
    let text = spec(&provider, extra, "batch_size = 8\nworkers = 1\ndimensions = 4");
    let project = project(&text, 12).env("LAB_KEY", "secret-key-1");
    project.run(&["run", "pipeline.toml"]).exits(0);
    let expected: Vec<Option<Vec<f64>>> = (0..12).map(|row| Some(vector(&self::text(row)))).collect();
    assert_eq!(vectors(&project), expected);
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "/v1beta/models/nomic-embed-text:batchEmbedContents");
    let one = &asked.body["requests"][0];
    assert_eq!((&one["taskType"], &one["outputDimensionality"]), (&json!("RETRIEVAL_DOCUMENT"), &json!(4)));
}

#[test]
fn vectors_of_different_lengths_are_an_error() {
    let server = with_bad(|asked, texts| {
        let value = |text: &String| if text == &self::text(6) { json!([1.0, 2.0]) } else { json!(vector(text)) };
        Some(Say::RawBody(with_vectors(asked, texts.iter().map(value).collect()).to_string().into_bytes()))
    });
    let ran = project(&spec(&ollama(&server), "", ""), 12).run(&["run", "pipeline.toml"]);
    assert!(ran.code != 0 && ran.stderr.contains("for `embedding`"), "{} {}", ran.code, ran.stderr);
    // With `dimensions`, the row alone fails.
    let text = spec(&ollama(&server), "", "dimensions = 4\nmax_failed = 1");
    let project = project(&text, 12);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(failed(&project)[0].1.contains("the vector has 2 numbers, not 4"), "{:?}", failed(&project));
}

#[test]
fn the_lock_has_the_length_of_the_vectors() {
    let server = Server::new().models(&["nomic-embed-text"]).start();
    let project = project(&spec(&ollama(&server), "", "normalise = true"), 3);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let lock = project.text("pipeline.toml.lock");
    assert!(lock.contains("dimensions = 4") && lock.contains("normalised = true"), "{lock}");
    project.run(&["run", "pipeline.toml", "--locked"]).exits(0);
    for vector in vectors(&project).into_iter().flatten() {
        let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{vector:?}");
    }
}

/// Words and vectors of the mock find the rows with the same words, without a server.
#[test]
fn the_mock_makes_vectors_to_retrieve_by() {
    let text = r#"name = "mock"
models.any = { provider = "mock", model = "any" }
[sources.texts]
type = "inline"
key = "id"
rows = [{ id = "a", text = "war and peace" }, { id = "b", text = "the railway" }, { id = "c", text = "a war" }]
[stages.embedding]
type = "embed"
input = "texts"
models = ["any"]
text_column = "text"
normalise = true
[stages.near]
type = "retrieve"
input = "embedding"
from = "embedding"
vector_column = "embedding"
k = 1
columns = ["text"]
[outputs.near]
input = "near"
path = "out/near.jsonl"
drop = ["embedding"]
"#;
    let project = Project::new().spec(text);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let lines = project.text("out/near.jsonl");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["context"][0]["id"], "c");
    assert_eq!(lines[2]["context"][0]["id"], "a");
}

#[test]
fn validate_refuses_models_without_embeddings() {
    let text = spec("type = \"anthropic\"", "max_tokens = 5", "rows_per_prompt = 3");
    let ran = project(&text, 1).run(&["validate", "pipeline.toml"]).exits(2);
    assert!(
        ran.stderr.contains("an `embed` asks for vectors, which the provider of `nomic` (anthropic) does not have")
    );
    assert!(ran.stderr.contains("a vector is about one row"), "{}", ran.stderr);
}
