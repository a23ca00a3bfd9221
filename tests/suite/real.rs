//! The whole way with a real server and a real model: llama.cpp, SmolLM2-135M and sentences of real speeches.
//!
//! The program talks to llama.cpp through a proxy that only counts, so that "never paid twice" is seen on the wire.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::llama::{Llama, MODEL};
use crate::project::{Project, Table};
use crate::server::{Builder, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const LABELS: [&str; 3] = ["positive", "neutral", "negative"];
const PARAGRAPHS: &str = include_str!("../../pipelines/data/paragraphs.csv");
/// An answer is on disk at the latest so long after it was sent.
const ON_DISK: Duration = Duration::from_millis(250);

/// A spec that asks the model under two names; they differ in `max_tokens`, so that their calls are different calls.
/// Integers are bounded in the schema because llama.cpp's grammar holds those bounds (it does not hold a number's).
fn spec(fanout: bool) -> String {
    format!(
        r#"name = "real"
seed = 42

[providers.llama_cpp]
type = "openai"
base_url_env = "LLAMA_URL"
max_concurrent_calls = 4

[models.small]
provider = "llama_cpp"
model = "{MODEL}"
temperature = 0.0
max_tokens = 64

[models.twin]
provider = "llama_cpp"
model = "{MODEL}"
temperature = 0.0
max_tokens = 96

[sources.paragraphs]
type = "file"
path = "data.csv"
key = "id"

[stages.tone]
type = "analysis"
input = "paragraphs"
models = ["small", "twin"]
fanout = {fanout}
workers = 2
batch_size = 2
chunk_size = 8
prompt = "What is the tone of this passage?\n\n{{{{ text }}}}"

[stages.tone.output]
label = {{ type = "string", enum = ["positive", "neutral", "negative"] }}
score = {{ type = "integer", minimum = 0, maximum = 10 }}

[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#
    )
}

/// A project over the first paragraphs, as many as asked for, that asks through this proxy.
fn project(proxy: &Server, fanout: bool, rows: usize) -> Project {
    // One paragraph a line: none has a line break in it.
    let data: String = PARAGRAPHS.lines().take(rows + 1).map(|line| format!("{line}\n")).collect();
    Project::new().env("LLAMA_URL", &proxy.openai_url()).spec(&spec(fanout)).file("data.csv", data)
}

fn proxy(llama: &Llama) -> Builder {
    Server::new().forward_to(llama.url())
}

/// Runs over the rows undisturbed, and again in another folder with a SIGKILL half-way; gives the table.
fn killed_half_way(llama: &Llama, fanout: bool, rows: usize) -> Table {
    let calls = if fanout { 2 * rows } else { rows };
    let quiet = proxy(llama).start();
    let undisturbed = project(&quiet, fanout, rows);
    undisturbed.run(&RUN).exits(0);
    assert_eq!((quiet.requests(), quiet.answered()), (calls, calls));

    let counting = proxy(llama).start();
    let project = project(&counting, fanout, rows);
    let running = project.spawn(&RUN);
    assert!(counting.wait_answered(calls / 2), "it never came half-way");
    let moment = Instant::now();
    running.kill();
    assert!(!project.has(OUT));
    project.run(&RUN).exits(0);
    let twice = counting.paid_twice(moment - ON_DISK);
    assert!(twice.is_empty(), "paid twice: {twice:?}");
    assert_eq!(counting.times_asked().len(), calls);
    let repeated: usize = counting.times_asked().values().map(|times| times - 1).sum();
    assert!(repeated <= 4, "{repeated} calls were asked again, at most 4 were in flight");
    assert!(project.bytes(OUT) == undisturbed.bytes(OUT), "the table differs from that of an undisturbed run");

    let records = project.calls();
    assert_eq!((records.len(), records.nulls("error"), records.nulls("reply")), (calls, calls, 0));
    let before = counting.requests();
    project.run(&RUN).exits(0);
    assert_eq!(counting.requests(), before, "a finished run asks nothing");
    let body = &counting.asked()[0].body;
    assert_eq!(body.pointer("/response_format/type"), Some(&json!("json_schema")));
    project.table(OUT)
}

#[test]
fn split_over_a_real_model_killed_half_way() {
    let Some(llama) = Llama::or_skip("split_over_a_real_model_killed_half_way") else { return };
    let table = killed_half_way(&llama, false, 12);
    assert_eq!(table.len(), 12);
    assert_eq!(table.nulls("tone_error"), 12, "{:?}", table.strings("tone_error"));
    assert!(table.texts("label").iter().all(|label| LABELS.contains(&label.as_str())));
    assert!(table.ints("score").iter().all(|score| score.is_some_and(|s| (0..=10).contains(&s))));
    assert_eq!(table.texts("tone_model")[..4], ["small", "twin", "small", "twin"]);
}

#[test]
fn fan_out_over_a_real_model_killed_half_way() {
    let Some(llama) = Llama::or_skip("fan_out_over_a_real_model_killed_half_way") else { return };
    let table = killed_half_way(&llama, true, 6);
    assert_eq!(table.len(), 6);
    assert_eq!((table.nulls("tone_error_small"), table.nulls("tone_error_twin")), (6, 6));
    // The same model at temperature 0: both columns must hold the same answers.
    assert_eq!(table.texts("label_small"), table.texts("label_twin"));
    assert_eq!(table.ints("score_small"), table.ints("score_twin"));
}

#[test]
fn a_real_server_tells_how_probable_its_labels_were() {
    let Some(llama) = Llama::or_skip("a_real_server_tells_how_probable_its_labels_were") else { return };
    let text = spec(false)
        .replace("\"negative\"] }", "\"negative\"], prob = true }")
        .replace("\"small\", \"twin\"", "\"small\"");
    let project =
        Project::new().spec(&text).file("data.csv", PARAGRAPHS).env("LLAMA_URL", &format!("{}/v1", llama.url()));
    project.run(&["run", "pipeline.toml", "--limit", "6"]).exits(0);
    let table = project.table("out/tone.limit-6.parquet");
    let told = project.calls().strings("probabilities");
    for ((label, p), told) in table.texts("label").iter().zip(table.floats("label_prob")).zip(told) {
        let p = p.unwrap_or_else(|| panic!("no probability of {label}: {told:?}"));
        let told: serde_json::Value = serde_json::from_str(&told.expect("all labels")).expect("JSON");
        let all: f64 = LABELS.iter().map(|label| told["label"][label].as_f64().expect("a share")).sum();
        assert!((0.0..=1.0).contains(&p) && (all - 1.0).abs() < 1e-9, "{label} {p}: {told}");
    }
}
