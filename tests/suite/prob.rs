//! Probabilities of labels: a column next to the label, equal for new answers and for answers from the ledger.

use std::fs;

use serde_json::json;

use crate::project::Project;
use crate::recipe::{self, openai_spec};
use crate::server::{Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// Two models of the mock, a stage `tone` with these lines and a label that may ask for its probability.
fn spec(stage: &str, prob: bool) -> String {
    format!(
        r#"name = "tones"
[models.a]
provider = "mock"
model = "one"
[models.b]
provider = "mock"
model = "two"
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
[stages.tone]
type = "analysis"
input = "speeches"
prompt = "What is the tone? {{{{ text }}}}"
{stage}
[stages.tone.output]
label = {{ type = "string", enum = ["positive", "neutral", "negative"], prob = {prob} }}
score = {{ type = "integer", minimum = 0, maximum = 10 }}
[outputs.tone]
input = "tone"
path = "{OUT}"
"#
    )
}

/// A project with a few rows, two of them with the same text.
fn project(spec: &str) -> Project {
    let rows = [["id", "text"], ["1", "Peace."], ["2", "War."], ["3", "Peace."], ["4", "Trade."]];
    Project::new().spec(spec).csv("data.csv", &rows)
}

/// The values of a column of probabilities, all present and in range.
fn probabilities(project: &Project, column: &str) -> Vec<f64> {
    let found: Vec<f64> = project.table(OUT).floats(column).into_iter().flatten().collect();
    assert_eq!(found.len(), project.table(OUT).len(), "{column} has nulls");
    assert!(found.iter().all(|p| *p > 0.0 && *p <= 1.0), "{column}: {found:?}");
    found
}

#[test]
fn a_probability_column_follows_its_label() {
    let project = project(&spec(r#"models = ["a"]"#, true));
    project.run(&RUN).exits(0);
    let columns = ["id", "text", "label", "label_prob", "score", "tone_error"];
    assert_eq!(project.table(OUT).columns(), columns);
    let found = probabilities(&project, "label_prob");
    assert_eq!(found[0].to_bits(), found[2].to_bits(), "equal rows have equal answers");
    let told: Vec<f64> = project
        .calls()
        .texts("probabilities")
        .iter()
        .zip(project.table(OUT).texts("label"))
        .map(|(told, label)| serde_json::from_str::<serde_json::Value>(told).expect("JSON")["label"][&label].as_f64())
        .map(|told| told.expect("a number"))
        .collect();
    assert_eq!(found, told, "the calls table contains every probability of the provider");
}

#[test]
fn answers_from_the_ledger_write_the_same_bytes() {
    let project = project(&spec(r#"models = ["a"]"#, true));
    project.run(&RUN).exits(0);
    let first = project.bytes(OUT);
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(project.bytes(OUT) == first, "the bytes changed");
    assert!(project.calls().bools("from_ledger").iter().all(|from| *from == Some(true)));
}

#[test]
fn asking_for_probabilities_later_asks_no_model() {
    let project = project(&spec(r#"models = ["a"]"#, false));
    project.run(&RUN).exits(0);
    assert_eq!(project.table(OUT).columns(), ["id", "text", "label", "score", "tone_error"]);
    let labels = project.table(OUT).texts("label");
    let project = project.spec(&spec(r#"models = ["a"]"#, true));
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(project.table(OUT).texts("label"), labels);
    probabilities(&project, "label_prob");
}

#[test]
fn every_form_of_several_models_has_them() {
    let models = r#"models = ["a", "b"]"#;
    let split = project(&spec(&format!("{models}\nfanout = false"), true));
    split.run(&RUN).exits(0);
    let columns = ["id", "text", "label", "label_prob", "score", "tone_model", "tone_error"];
    assert_eq!(split.table(OUT).columns(), columns);
    let dealt = probabilities(&split, "label_prob");

    let wide = project(&spec(&format!("{models}\nfanout = true"), true));
    wide.run(&RUN).exits(0);
    let columns = ["label_a", "label_prob_a", "score_a", "tone_error_a", "label_b", "label_prob_b", "score_b"];
    assert_eq!(wide.table(OUT).columns()[2..9], columns);
    let (a, b) = (probabilities(&wide, "label_prob_a"), probabilities(&wide, "label_prob_b"));
    assert_eq!(dealt, [a[0], b[1], a[2], b[3]], "each row has the probability of its model");

    let long = project(&spec(&format!("{models}\nfanout = true\nlayout = \"long\""), true));
    long.run(&RUN).exits(0);
    assert_eq!(long.table(OUT).columns(), ["id", "text", "model", "label", "label_prob", "score", "tone_error"]);
    let folded: Vec<f64> = a.iter().zip(&b).flat_map(|(a, b)| [*a, *b]).collect();
    assert_eq!(probabilities(&long, "label_prob"), folded);
}

#[test]
fn a_later_stage_reads_them_also_in_a_plan() {
    let more = r#"
[stages.why]
type = "analysis"
input = "tone"
models = ["b"]
prompt = "Why {{ label }} by {{ label_prob }}?"
[outputs.why]
input = "why"
path = "out/why.parquet"
"#;
    let project = project(&(spec(r#"models = ["a"]"#, true) + more));
    project.run(&RUN).exits(0);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0);
    assert_eq!(plan.stdout.matches("at most 4 calls, 4 in the ledger").count(), 2, "{}", plan.stdout);
}

#[test]
fn labels_get_their_probabilities_from_the_tokens_of_servers() {
    let reply = json!({"choices": [{
        "message": {"content": r#"{"label":"neutral","score":4}"#}, "finish_reason": "stop",
        "logprobs": {"content": [
            {"token": r#"{"label":""#, "logprob": 0.0, "bytes": null, "top_logprobs": []},
            {"token": "ne", "logprob": 0.8_f64.ln(), "bytes": null, "top_logprobs": [
                {"token": "ne", "logprob": 0.8_f64.ln(), "bytes": null}, {"token": "positive", "logprob": 0.1_f64.ln(), "bytes": null},
            ]},
            {"token": "utral", "logprob": 0.5_f64.ln(), "bytes": null, "top_logprobs": [
                {"token": "gative", "logprob": 0.25_f64.ln(), "bytes": null},
            ]},
            {"token": r#"","score":4}"#, "logprob": 0.0, "bytes": null, "top_logprobs": []},
        ]},
    }]});
    let server = Server::new().script(move |_, _| Say::RawBody(reply.to_string().into_bytes())).start();
    let stage = |prob: bool| {
        let label =
            format!(r#"label = {{ type = "string", enum = ["positive", "neutral", "negative"], prob = {prob} }}"#);
        openai_spec(
            "",
            &format!("models = [\"llama\"]\n[stages.tone.output]\n{label}\nscore = {{ type = \"integer\" }}"),
        )
    };
    let project = recipe::project(&server, &stage(true), 3);
    project.run(&RUN).exits(0);
    let share = 0.4 / (0.4 + 0.2 + 0.1);
    let found = probabilities(&project, "label_prob");
    assert!(found.iter().all(|p| (p - share).abs() < 1e-9), "{found:?}");
    assert!(server.asked().iter().all(|a| a.body["logprobs"] == true && a.body["top_logprobs"] == 20));
    // Without `prob` it is a different call, which does not ask for probabilities.
    server.forget();
    project.write("pipeline.toml", stage(false));
    project.run(&RUN).exits(0);
    assert!(server.requests() == 3 && server.asked().iter().all(|a| a.body["logprobs"].is_null()));
}
