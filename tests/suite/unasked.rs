//! Finished specs without their server: the tables come from the ledger, and the summary says that no server was asked.

use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project, rows, spec};
use crate::server::Server;

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn lone() -> String {
    spec(&format!("models = [\"llama\"]\n{TYPED}"))
}

/// A finished project, and the bytes of its table, which is gone, as the parts are.
fn finished(server: &Server, spec: &str) -> (Project, Vec<u8>) {
    let project = project(server, spec, 10);
    project.run(&RUN).exits(0);
    let table = project.bytes(OUT);
    std::fs::remove_dir_all(project.path("out")).expect("the outputs");
    for run in project.files(".fanfold/runs").iter().filter(|file| file.contains("part-")) {
        std::fs::remove_file(project.path(run)).expect("a part");
    }
    (project, table)
}

#[test]
fn a_server_that_is_down_is_not_asked() {
    let server = Server::new().start();
    let (project, table) = finished(&server, &lone());
    drop(server);
    project.run(&RUN).exits(0).says("model `llama`: the server was not asked (no Ollama at ");
    assert!(project.bytes(OUT) == table);
    let ran = project.run(&["run", "pipeline.toml", "--locked", "--format", "json"]).exits(0);
    assert!(ran.stdout.contains("\"unchecked\""), "{}", ran.stdout);
}

#[test]
fn a_model_that_was_removed_is_not_asked() {
    let server = Server::new().start();
    let (project, table) = finished(&server, &lone());
    server.remove("llama3.2");
    server.forget();
    project.run(&RUN).exits(0).says("model `llama`: the server was not asked (model `llama3.2` is not pulled");
    assert!(project.bytes(OUT) == table && server.requests() == 0);
}

#[test]
fn a_key_that_is_not_set_is_not_needed() {
    let server = Server::new().keys(&["k-1234567"]).start();
    let keyed = openai_spec("api_key_env = \"LAB_KEY\"", &format!("models = [\"llama\"]\n{TYPED}"));
    let first = project(&server, &keyed, 10).env("LAB_KEY", "k-1234567");
    first.run(&RUN).exits(0);
    let table = first.bytes(OUT);
    for (name, value) in [("LAB_KEY", ""), ("LAB_KEY", "k-7654321"), ("LAB_URL", "")] {
        let other = project(&server, &keyed, 10).env("LAB_KEY", "k-1234567").env(name, value);
        copy(&first, &other, &["pipeline.toml.lock", ".fanfold/ledger.sqlite"]);
        server.forget();
        other.run(&RUN).exits(0).says("the server was not asked");
        assert!(other.bytes(OUT) == table && server.requests() == 0, "{name}={value}");
    }
}

/// Copies files between projects. A ledger is merged by the program.
fn copy(from: &Project, to: &Project, files: &[&str]) {
    for file in files {
        if file.ends_with(".sqlite") {
            let (path, into) = (from.path(file), to.folder().display().to_string());
            to.run(&["ledger", "import", &path.display().to_string(), "--into", &into]).exits(0);
        } else {
            to.write(file, from.bytes(file));
        }
    }
}

#[test]
fn the_lock_names_the_build_where_no_server_was_ever_asked() {
    let server = Server::new().start();
    let (first, table) = finished(&server, &lone());
    let clone = project(&server, &lone(), 10);
    copy(&first, &clone, &["pipeline.toml.lock", ".fanfold/ledger.sqlite"]);
    drop(server);
    let status = clone.run(&["status", "pipeline.toml"]).exits(0).stdout;
    let stage: Vec<&str> = status.lines().nth(2).expect("a stage").split_whitespace().take(3).collect();
    assert_eq!(stage, ["tone", "stale", "0"], "{status}");
    clone.run(&RUN).exits(0).says("the server was not asked");
    assert!(clone.bytes(OUT) == table);
    std::fs::remove_file(clone.path("pipeline.toml.lock")).expect("the lock");
    std::fs::remove_dir_all(clone.path("out")).expect("the outputs");
    clone.run(&RUN).exits(0).says("the server was not asked").says("wrote pipeline.toml.lock");
}

#[test]
fn a_missing_call_ends_with_3_and_the_help_names_the_replay() {
    let server = Server::new().start();
    let (project, _) = finished(&server, &lone());
    let project = project.csv("data.csv", &rows(11));
    server.remove("llama3.2");
    server.forget();
    let gone = project.run(&RUN).exits(3).says("is not pulled on").says("ollama pull llama3.2");
    gone.says("`fanfold ledger export`").says("--replay");
    assert_eq!(server.requests(), 0);
    drop(server);
    let down = project.run(&RUN).exits(3).says("no Ollama at").says("`fanfold ledger export`").says("--replay");
    assert!(!project.has(OUT), "{}", down.stderr);
    let first = Project::new().env("OLLAMA_HOST", "http://127.0.0.1:9").spec(&lone()).csv("data.csv", &rows(3));
    first.run(&RUN).exits(3).says("nothing was sent").says("--replay");
}
