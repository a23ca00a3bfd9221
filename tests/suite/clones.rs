//! A clone: the replay file of a spec answers without a flag, before any call is sent.

use serde_json::Value;

use crate::lock::edit;
use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::{Asked, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const LOCK: &str = "pipeline.toml.lock";
const TEST: &str = "\n[[tests]]\ntype = \"rows\"\ninput = \"tone\"\nminimum = 12\nname = \"enough\"\n";

fn study() -> String {
    spec(&format!("models = [\"llama\"]\nmax_failed = 2\n{TYPED}{TEST}"))
}

/// A server that refuses speech 5.
fn refusing() -> Server {
    let script = |asked: &Asked, _: usize| match asked.question().contains("Speech 5,") {
        true => Say::status(400),
        false => Say::Default,
    };
    Server::new().script(script).start()
}

/// A clone of a finished run at a server that is not there: the spec, the data, the lock and this replay file.
fn clone(server: &Server, text: &str, replay: &str) -> (Project, Vec<u8>) {
    let project = project(server, text, 12);
    let ran = project.run(&RUN);
    assert!(ran.code < 2, "{}", ran.stderr);
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    let copy = Project::new().env("OLLAMA_HOST", "http://127.0.0.1:9");
    for file in ["pipeline.toml", "data.csv", LOCK] {
        copy.write(file, project.bytes(file));
    }
    copy.write(replay, project.bytes("calls.parquet"));
    (copy, project.bytes(OUT))
}

#[track_caller]
fn to_send(project: &Project, command: &str) -> Value {
    let found = project.run(&[command, "pipeline.toml", "--format", "json"]).exits(0).json();
    let stages = &found["stages"];
    stages.get(0).or(stages.get("tone")).expect("a stage")["calls_to_send"].clone()
}

#[test]
fn every_command_of_a_clone_uses_the_file_without_a_flag() {
    let server = Server::new().start();
    for (name, named) in [("replay.parquet", false), ("tones-replay.parquet", false), ("data/calls.parquet", true)] {
        let text = if named { format!("replay = \"{name}\"\n{}", study()) } else { study() };
        let (copy, table) = clone(&server, &text, name);
        assert_eq!((to_send(&copy, "plan"), to_send(&copy, "status")), (0.into(), 0.into()), "{name}");
        assert!(!copy.has(".fanfold/ledger.sqlite"), "plan and status write nothing");
        let status = copy.run(&["status", "pipeline.toml"]).exits(0).stdout;
        assert!(status.contains(&format!("answers also from {name}")), "{status}");
        // Each of these makes the tables if they are missing.
        let tested = copy.run(&["test", "pipeline.toml"]).exits(0);
        assert_eq!(tested.stderr, "", "only the tests are shown");
        assert!(tested.stdout.contains("ok      enough: found 12 rows, wanted at least 12 rows"), "{}", tested.stdout);
        assert!(copy.bytes(OUT) == table, "the table differs");
        std::fs::remove_dir_all(copy.path(".fanfold")).expect("the project's folder");
        std::fs::remove_file(copy.path(OUT)).expect("the table");
        let told = copy.run(&["explain", "pipeline.toml", "s0003", "label"]).exits(0);
        assert!(
            told.stdout.contains("Speech 3, on trade") && told.stderr.contains("nothing is sent"),
            "{}",
            told.stderr
        );
        let lock = copy.bytes(LOCK);
        copy.run(&RUN).exits(0).says(&format!("{name} has the calls of this spec")).says("0 calls sent, 12 recorded");
        assert!(copy.bytes(OUT) == table && copy.bytes(LOCK) == lock);
        copy.run(&["run", "pipeline.toml", "--locked"]).exits(0);
        copy.run(&["verify", "pipeline.toml"]).exits(0);
    }
    assert_eq!(server.requests(), 3 * 12);
}

#[test]
fn recorded_failures_stay_failures() {
    let server = refusing();
    let (copy, table) = clone(&server, &study(), "replay.parquet");
    copy.run(&RUN).exits(0).says("11 answered + 1 failed").says("0 calls sent, 12 recorded");
    assert!(copy.bytes(OUT) == table, "the table differs");
    copy.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn what_the_file_lacks_is_counted_and_sent() {
    let server = Server::new().start();
    let (copy, _) = clone(&server, &study(), "replay.parquet");
    let copy = copy.csv("data.csv", &rows(15)).env("OLLAMA_HOST", &server.url());
    let before = server.requests();
    assert_eq!((to_send(&copy, "plan"), to_send(&copy, "status")), (3.into(), 3.into()));
    copy.run(&RUN)
        .exits(0)
        .says("lacks 3 calls of this run, which are sent: ")
        .says("added 12 answers")
        .says("3 calls sent, 12 from");
    assert_eq!(server.requests() - before, 3);
    // Another prompt: the file has nothing for it, and is not added a second time.
    edit(&copy, "pipeline.toml", "What is the tone?", "Which tone?");
    assert_eq!(to_send(&copy, "plan"), 15);
    let ran = copy.run(&RUN).exits(0).says("15 calls sent");
    assert!(!ran.stderr.contains("added"), "{}", ran.stderr);
}

#[test]
fn a_forecast_rests_on_the_file_which_has_no_times() {
    let server = Server::new().start();
    let (copy, _) = clone(&server, &study(), "replay.parquet");
    let forecast = || {
        let plan = copy.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).json();
        plan["stages"][0]["forecast"].clone()
    };
    let more = rows(14);
    copy.write("data.csv", Project::new().csv("data.csv", &more).bytes("data.csv"));
    let some = forecast();
    assert_eq!((&some["calls"], &some["seconds"]), (&2.into(), &Value::Null), "0 s was not measured");
    assert_eq!(some["models"][0]["completion_tokens_per_call"]["from"], "12 recorded calls", "{some}");
    // No answer to a new prompt is recorded, but the length of the replies is known.
    edit(&copy, "pipeline.toml", "the tone?", "the mood?");
    let all = forecast();
    assert_eq!((&all["calls"], &all["seconds"]), (&14.into(), &Value::Null));
    assert_eq!(all["models"][0]["completion_tokens_per_call"]["from"], "12 recorded calls of other stages", "{all}");
}

#[test]
fn a_file_of_another_pipeline_is_not_used() {
    let server = Server::new().start();
    let (copy, _) = clone(&server, &study(), "replay.parquet");
    edit(&copy, "pipeline.toml", "name = \"tones\"", "name = \"moods\"");
    assert_eq!(to_send(&copy, "plan"), 12);
    edit(&copy, "pipeline.toml", "name = \"moods\"", "name = \"moods\"\nreplay = \"replay.parquet\"");
    assert_eq!(to_send(&copy, "plan"), 0);
    copy.write("replay.parquet", "not Parquet");
    copy.run(&["plan", "pipeline.toml"]).exits(3).says("replay.parquet");
    edit(&copy, "pipeline.toml", "replay = \"replay.parquet\"", "replay = \"../replay.parquet\"");
    copy.run(&["plan", "pipeline.toml"]).exits(2).says("leaves the folder of the spec");
}

#[test]
fn a_failed_test_run_is_an_annotation_on_github() {
    let server = Server::new().start();
    let (copy, _) = clone(&server, &study(), "calls.parquet");
    let copy = copy.env("GITHUB_ACTIONS", "true");
    edit(&copy, "pipeline.toml", "What is the tone?", "Which tone?");
    let ran = copy.run(&["test", "pipeline.toml", "--replay", "calls.parquet"]).exits(6);
    let line = 1 + copy.text("pipeline.toml").lines().position(|line| line == "[stages.tone]").expect("the stage");
    let expected = format!(
        "::error title=fanfold,file=pipeline.toml,line={line}::stage `tone` asks what was not recorded: calls.parquet lacks \
         12 calls of this run%0Ahelp: "
    );
    assert!(ran.stdout.starts_with(&expected), "{}", ran.stdout);
    assert!(ran.stdout.contains("fanfold ledger export"), "{}", ran.stdout);
    let ran = copy.run(&["test", "pipeline.toml"]).exits(3);
    assert!(ran.stdout.starts_with("::error title=fanfold,file=pipeline.toml::no finished run"), "{}", ran.stdout);
}
