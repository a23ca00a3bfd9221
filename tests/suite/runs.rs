//! `fanfold runs`: the names of runs, their counts and dates, and what changed from one to the next.

use serde_json::{Value, json};

use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn typed(more: &str) -> String {
    spec(&format!("models = [\"llama\"]\n{more}\n{TYPED}"))
}

fn priced(spec: &str) -> String {
    spec.replace("[models.llama]\n", "[models.llama]\nprice = { input = 1.0, output = 10.0 }\n")
}

#[track_caller]
fn runs(project: &Project) -> Vec<Value> {
    let ran = project.run(&["runs", "pipeline.toml", "--format", "json"]).exits(0);
    let listed: Value = ran.json();
    listed["runs"].as_array().expect("a list").clone()
}

fn changes(run: &Value) -> Vec<&str> {
    run["changes"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// The number at the end of the run's name.
fn number(run: &Value) -> &str {
    run["name"].as_str().and_then(|name| name.rsplit('-').next()).expect("a name")
}

#[test]
fn each_run_is_listed_with_what_changed() {
    let server = Server::new().start();
    let project = project(&server, &priced(&typed("")), 8);
    assert_eq!(runs(&project), Vec::<Value>::new());
    project.run(&RUN).exits(0);
    project.write("pipeline.toml", priced(&typed("")).replace("the tone?", "the mood?"));
    project.run(&RUN).exits(0);
    project.write("pipeline.toml", priced(&typed("")).replace("temperature = 0.0", "temperature = 0.5"));
    project.run(&RUN).exits(0);
    let project = project.csv("data.csv", &rows(11));
    project.run(&RUN).exits(0);
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(0);
    let listed = runs(&project);
    let counts = |run: &Value| ["rows", "sent", "reused", "failed"].map(|name| run[name].as_u64().expect("a number"));
    let expected = [[8, 8, 0, 0], [8, 8, 0, 0], [8, 8, 0, 0], [11, 3, 8, 0], [2, 0, 2, 0]];
    assert_eq!(listed.iter().map(counts).collect::<Vec<_>>(), expected);
    assert_eq!(listed.iter().map(number).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    assert_eq!(changes(&listed[0]), [""; 0]);
    assert_eq!(changes(&listed[1]), ["stages.tone.prompt: What is the [tone? -> mood?] {{ text }}"]);
    let both = ["models.llama.temperature: 0.0 -> 0.5", "models.mistral.temperature: 0.0 -> 0.5"];
    assert!(both.iter().all(|change| changes(&listed[2]).contains(change)), "{}", listed[2]);
    assert_eq!(changes(&listed[3]), ["source speeches: other values", "source speeches: 8 -> 11 rows"]);
    assert_eq!(changes(&listed[4]), ["only the first 2 rows of each source"]);
    assert!(listed[1]["usd"].as_f64().is_some_and(|usd| usd > 0.0) && listed[4]["usd"] == 0.0, "{listed:#?}");
    let text = project.run(&["runs", "pipeline.toml"]).exits(0).stdout;
    assert_eq!(text.lines().count(), 1 + 5 + 6 + 1, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn a_rerun_that_sends_nothing_changes_no_date() {
    let server = Server::new().start();
    let project = project(&server, &priced(&typed("")), 6);
    project.run(&RUN).exits(0);
    let before = (runs(&project), project.calls().texts("at"));
    let [first, last] = ["first", "last"].map(|name| before.0[0]["calls"][name].as_str().expect("a time").to_owned());
    assert!(before.1.iter().all(|at| (first.as_str()..=last.as_str()).contains(&at.as_str())), "{before:?}");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // The parts are made again from the ledger, with the dates of the calls.
    for file in project.files(".fanfold/runs").iter().filter(|file| file.ends_with(".sum")) {
        std::fs::remove_file(project.path(file)).expect("a file");
    }
    project.run(&RUN).exits(0);
    assert_eq!((runs(&project), project.calls().texts("at")), before);
    // The manifest has them as well.
    let explained = project.run(&["explain", "pipeline.toml", "s0001", "--format", "json"]).exits(0);
    let explained: Value = explained.json();
    assert_eq!(explained["calls"], before.0[0]["calls"]);
    let call = &explained["explanation"]["stages"][0]["rows"][0]["calls"][0];
    assert!(call["at"].is_string() && call["usd"].as_f64().is_some_and(|usd| usd > 0.0), "{call}");
    assert_eq!(server.requests(), 6);
}

#[test]
fn a_run_keeps_its_name_until_it_is_made_anew() {
    let refuses = |asked: &Asked, attempt: usize| match asked.question().contains("Speech 3,") && attempt < 4 {
        true => Say::status(500),
        false => Say::Default,
    };
    let server = Server::new().script(refuses).start();
    let project = project(&server, &typed("max_attempts = 3\nmax_failed = 2"), 6);
    project.run(&RUN).exits(0).says("to retry the failed rows");
    project.run(&RUN).exits(0);
    let listed = runs(&project);
    assert_eq!(listed.len(), 1, "{listed:#?}");
    assert_eq!((&listed[0]["sent"], &listed[0]["failed"], &listed[0]["reused"]), (&json!(7), &json!(0), &json!(0)));
    project.run(&["run", "pipeline.toml", "--fresh"]).exits(0);
    let listed = runs(&project);
    assert_eq!(listed.iter().map(number).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(listed.iter().map(|run| run["has_tables"] == true).collect::<Vec<_>>(), [false, true]);
    assert_eq!(listed[0]["folder"], listed[1]["folder"]);
    assert_eq!(changes(&listed[1]), ["every call again (`--fresh`)"]);
}

#[test]
fn the_list_survives_the_loss_of_its_file() {
    let server = Server::new().start();
    let project = project(&server, &typed(""), 4);
    project.run(&RUN).exits(0);
    project.write("pipeline.toml", typed("").replace("the tone?", "the mood?"));
    project.run(&RUN).exits(0);
    let before = runs(&project);
    let history = project.path(".fanfold/history.jsonl");
    std::fs::remove_file(&history).expect("the history");
    assert_eq!(runs(&project), before);
    std::fs::write(&history, "not a line\n{\"name\":\"2026-\n").expect("the history");
    assert_eq!(runs(&project), before);
    project.run(&RUN).exits(0);
    assert_eq!(runs(&project), before);
}

#[test]
fn an_imported_answer_has_no_date() {
    let server = Server::new().start();
    let one = project(&server, &typed(""), 4);
    one.run(&RUN).exits(0);
    one.run(&["ledger", "export", "pipeline.toml", "-o", "replay.parquet"]).exits(0);
    let other = project(&server, &typed(""), 5).file("answers.parquet", one.bytes("replay.parquet"));
    other.run(&["ledger", "import", "answers.parquet"]).exits(0);
    other.run(&RUN).exits(0);
    let dated: Vec<bool> = other.calls().strings("at").iter().map(Option::is_some).collect();
    assert_eq!((dated, server.requests()), (vec![false, false, false, false, true], 5));
    // The same calls make the same file, with or without dates.
    let other = project(&server, &typed(""), 4).file("answers.parquet", one.bytes("replay.parquet"));
    other.run(&["ledger", "import", "answers.parquet"]).exits(0);
    other.run(&RUN).exits(0);
    other.run(&["ledger", "export", "pipeline.toml", "-o", "again.parquet"]).exits(0);
    assert!(other.bytes("again.parquet") == one.bytes("replay.parquet"));
}
