//! Servers that report no build: their answers are known by the server, and those of earlier versions stay in use.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project};
use crate::server::{Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const OUT: &str = "out/tone.parquet";

/// A server whose answers differ from those of another.
fn server(label: &'static str) -> Server {
    Server::new().script(move |_, _| Say::Json(serde_json::json!({ "label": label, "score": 1 }))).start()
}

fn typed() -> String {
    openai_spec("", &format!("models = [\"llama\"]\n{TYPED}"))
}

#[test]
fn another_server_is_asked_anew_and_each_only_once() {
    let (first, second) = (server("positive"), server("negative"));
    let project = project(&first, &typed(), 6);
    project.run(&RUN).exits(0).says("6 calls sent");
    assert_eq!(project.table(OUT).texts("label"), vec!["positive"; 6]);
    let project = project.env("LAB_URL", &second.openai_url());
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("at most 6 calls, 0 in the ledger"), "{plan}");
    project.run(&RUN).exits(0).says("6 calls sent");
    assert_eq!(project.table(OUT).texts("label"), vec!["negative"; 6]);
    let project = project.env("LAB_URL", &first.openai_url());
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("6 in the ledger"), "{plan}");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(project.table(OUT).texts("label"), vec!["positive"; 6]);
    assert_eq!((first.requests(), second.requests()), (6, 6));
}

#[test]
fn packs_and_replicates_of_another_server_are_asked_anew() {
    for more in ["rows_per_prompt = 3\n", "replicates = 2\n", "fanout = true\nlayout = \"long\"\n"] {
        let (first, second) = (Server::new().start(), Server::new().start());
        let spec = openai_spec("", &format!("models = [\"llama\"]\n{more}{TYPED}"));
        let project = project(&first, &spec, 6);
        project.run(&RUN).exits(0);
        let asked = first.requests();
        assert!(asked > 0);
        let project = project.env("LAB_URL", &second.openai_url());
        project.run(&RUN).exits(0);
        let project = project.env("LAB_URL", &first.openai_url());
        project.run(&RUN).exits(0);
        assert_eq!((first.requests(), second.requests()), (asked, asked), "{more}");
    }
}

#[test]
fn a_known_build_is_the_same_on_every_server() {
    let (first, second) = (Server::new().start(), Server::new().start());
    let project = project(&first, &crate::recipe::spec(&format!("models = [\"llama\"]\n{TYPED}")), 5);
    project.run(&RUN).exits(0);
    project.env("OLLAMA_HOST", &second.url()).run(&RUN).exits(0).says("0 calls sent");
    assert_eq!((first.requests(), second.requests()), (5, 0));
}

#[test]
fn a_replay_needs_no_address() {
    let first = server("positive");
    let project = project(&first, &typed(), 6);
    project.run(&RUN).exits(0);
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    let file = project.bytes("calls.parquet");
    let host = first.openai_url().replace("http://", "").replace("/v1", "");
    assert!(!String::from_utf8_lossy(&file).contains(&host), "a replay file holds no address");
    for address in ["", "http://127.0.0.1:9/v1", "https://example.org/v1"] {
        let clone = Project::new().env("LAB_URL", address).spec(&typed()).file("data.csv", project.bytes("data.csv"));
        clone.write("calls.parquet", &file);
        clone.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0).says("0 calls sent");
        assert!(clone.bytes(OUT) == project.bytes(OUT), "{address}: the table differs");
    }
    assert_eq!(first.requests(), 6);
}

#[test]
fn without_an_address_the_recorded_answers_are_used() {
    let first = server("positive");
    let project = project(&first, &typed(), 6);
    project.run(&RUN).exits(0);
    let table = project.bytes(OUT);
    let project = project.env("LAB_URL", "");
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the run is there");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(project.bytes(OUT) == table);
    assert_eq!(first.requests(), 6);
}

/// A project of a version whose call keys had no servers: four answers of two stages, by `http://127.0.0.1:18999/v1`.
fn old(server: &Server) -> Project {
    fn copy(from: &Path, to: PathBuf) {
        for entry in fs::read_dir(from).expect("a folder").flatten() {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                copy(&from, to);
            } else {
                fs::create_dir_all(to.parent().expect("a folder")).expect("the folder is made");
                fs::copy(from, to).expect("the file is copied");
            }
        }
    }
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/old_data/unplaced");
    let project = Project::new().env("LAB_URL", &server.openai_url());
    for name in ["pipeline.toml", "pipeline.toml.lock", "data.csv", "calls.parquet"] {
        project.write(name, fs::read(old.join(name)).expect("a file"));
    }
    copy(&old.join("state"), project.path(".fanfold"));
    copy(&old.join("tables"), project.path("out"));
    project
}

const TABLES: [&str; 3] = [OUT, "out/war.csv", "pipeline.toml.lock"];

#[test]
fn answers_without_a_server_are_used_with_a_note() {
    let note = "perhaps of another server";
    let server = Server::new().models(&["local-model"]);
    let server = server.script(|_, _| Say::Json(serde_json::json!({ "label": "good" }))).start();
    let project = old(&server);
    let before = TABLES.map(|path| project.bytes(path));
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("4 in the ledger"), "{plan}");
    project.run(&["status", "pipeline.toml"]).exits(0);
    project.run(&RUN).exits(0).says("0 calls sent").says(note);
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the run was there");
    project.run(&RUN).exits(0).says("0 calls sent").says(&format!("4 recorded answers are {note}"));
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains(note), "{plan}");
    assert!(TABLES.map(|path| project.bytes(path)) == before, "the tables are as they were");
    project.run(&["verify", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests(), 0);
    // A new row is asked of the server that is there now, and the old rows stay.
    project.write("data.csv", format!("{}e,Peace for all.\n", project.text("data.csv")));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 2);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 2);
}

#[test]
fn an_old_replay_without_servers_is_replayed_byte_for_byte() {
    let server = server("positive");
    let project = old(&server).env("LAB_URL", "");
    let before = TABLES.map(|path| project.bytes(path));
    fs::remove_dir_all(project.path(".fanfold")).expect("the state was there");
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0).says("0 calls sent");
    assert!(TABLES.map(|path| project.bytes(path)) == before, "the tables are as they were");
    project.run(&["ledger", "import", "calls.parquet"]).exits(0);
    let project = project.env("LAB_URL", &server.openai_url());
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(server.requests(), 0);
}
