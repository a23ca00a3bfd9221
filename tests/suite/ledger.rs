//! Care of a ledger: corrupt answers are asked again, damaged files are salvaged, and only unused answers are dropped.

use std::fs;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;

const OUT: &str = "out/tone.parquet";
const LEDGER: &str = ".fanfold/ledger.sqlite";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn one_model() -> String {
    spec(&format!("models = [\"llama\"]\n{TYPED}"))
}

/// Changes the ledger without the program.
fn sql(project: &Project, sql: &str) {
    let ledger = Connection::open(project.path(LEDGER)).expect("a ledger");
    ledger.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// What `fanfold ledger` prints with these arguments.
fn json(project: &Project, args: &[&str]) -> Value {
    let ran = project.run(&[&["ledger"], args, &["--format", "json"]].concat()).exits(0);
    ran.json()
}

/// Removes the runs, so that the next one has to look everything up.
fn forget_runs(project: &Project) {
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("there are runs");
}

#[test]
fn info_shows_the_contents() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = false\n{TYPED}")), 9);
    project
        .run(&["ledger", "info"])
        .exits(3)
        .says("ledger.sqlite does not exist")
        .says("nothing has been run there yet");
    project.run(&RUN).exits(0);
    let info = json(&project, &["info", "pipeline.toml"]);
    let contents = &info["contents"];
    assert_eq!((&contents["answers"], &contents["failed_calls"]), (&9.into(), &0.into()), "{info}");
    assert_eq!((&contents["models"][0]["model"], &contents["models"][0]["answers"]), (&"llama3.2".into(), &5.into()));
    assert_eq!(contents["format"], 3);
    assert!(info["bytes"].as_u64().is_some_and(|bytes| bytes > 4096), "{info}");
    let told = project.run(&["ledger", "info", "."]).exits(0).stdout;
    assert!(told.contains("9 answers, 0 failed calls") && told.contains("mistral: 4 answers"), "{told}");
}

#[test]
fn a_corrupt_answer_is_asked_again() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 20);
    project.run(&RUN).exits(0);
    let table = project.bytes(OUT);
    let sound = json(&project, &["verify"]);
    assert_eq!(sound["verified"], serde_json::json!({ "sound": 20, "corrupt": 0 }));
    sql(
        &project,
        "UPDATE calls SET reply = reply || ' ' WHERE id = 4; UPDATE calls SET key = zeroblob(16) WHERE id = 9",
    );
    let ran = project.run(&["ledger", "verify"]).exits(1);
    assert!(ran.stdout.starts_with("18 sound answers, 2 corrupt"), "{}", ran.stdout);
    project.run(&["ledger", "verify"]).exits(0);
    forget_runs(&project);
    server.forget();
    project.run(&RUN).exits(0).says("2 calls sent, 18 from the ledger");
    assert_eq!(server.requests(), 2);
    assert!(project.bytes(OUT) == table, "the table differs");
    assert_eq!(json(&project, &["info"])["contents"]["corrupt"], 2);
}

#[test]
fn a_damaged_file_is_salvaged() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 50);
    project.run(&RUN).exits(0);
    let table = project.bytes(OUT);
    // The header and a page in the middle are gone.
    let mut bytes = project.bytes(LEDGER);
    bytes[..100].fill(0);
    project.write(LEDGER, &bytes);
    forget_runs(&project);
    server.forget();
    let ran = project.run(&RUN).exits(3).says("is damaged").says("fanfold ledger import");
    project.run(&["ledger", "verify"]).exits(3).says("to save the readable part:");
    // As the message says.
    let commands: Vec<&str> = ran.stderr.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let [moves, import] = commands[..] else { panic!("{}", ran.stderr) };
    let moved = std::process::Command::new("sh").args(["-c", moves]).current_dir(project.folder()).output();
    assert!(moved.is_ok() && !project.has(LEDGER), "{moves}");
    let words: Vec<&str> = import.split(' ').skip(1).collect();
    let ran = project.run(&words).exits(0);
    assert!(ran.stdout.contains("50 answers added, read from a damaged file"), "{}", ran.stdout);
    project.run(&RUN).exits(0).says("0 calls sent, 50 from the ledger");
    assert!(project.bytes(OUT) == table && server.requests() == 0);
}

#[test]
fn newer_formats_are_refused() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 2);
    project.run(&RUN).exits(0);
    sql(&project, "PRAGMA user_version = 4");
    for command in ["info", "verify", "gc"] {
        project.run(&["ledger", command]).exits(3).says("was written by a newer fanfold (format 4; this one reads 3)");
    }
    let other = Project::new();
    let from = project.path(LEDGER).display().to_string();
    other.run(&["ledger", "import", &from]).exits(3).says("was written by a newer fanfold");
}

#[test]
fn answers_that_no_run_uses_are_dropped() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 10);
    project.run(&RUN).exits(0);
    let first = project.files(".fanfold/runs");
    project.write("pipeline.toml", one_model().replace("What is the tone?", "How does it sound?"));
    project.run(&RUN).exits(0);
    sql(
        &project,
        "INSERT INTO calls SELECT NULL, randomblob(16), model, reply, finish, 1, 1, 1, 1, build, 'timeout: x', tries, at, 0, NULL, NULL FROM calls LIMIT 3",
    );
    let dropped = |args: &[&str]| json(&project, args)["dropped"].clone();
    assert_eq!(dropped(&["gc", "--dry-run"]), serde_json::json!({ "answers": 0, "history": 3 }));
    // The first run is deleted.
    let old = first[0].split('/').take(3).collect::<Vec<_>>().join("/");
    fs::remove_dir_all(project.path(&old)).expect("the first run's folder");
    assert_eq!(dropped(&["gc", "--dry-run"]), serde_json::json!({ "answers": 10, "history": 3 }));
    assert_eq!(json(&project, &["info"])["contents"]["answers"], 20, "a dry run drops nothing");
    let ran = project.run(&["ledger", "gc"]).exits(0);
    assert!(ran.stdout.starts_with("deleted 10 unused answers and 3 old records;"), "{}", ran.stdout);
    assert_eq!(json(&project, &["info"])["contents"]["answers"], 10);
    forget_runs(&project);
    // Without any run it is unknown which answers are used.
    assert_eq!(dropped(&["gc"]), serde_json::json!({ "answers": 0, "history": 0 }));
    server.forget();
    project.run(&RUN).exits(0).says("0 calls sent, 10 from the ledger");
}

#[test]
fn an_unfinished_run_keeps_its_answers_and_keeps_gc_out() {
    let server = Server::new().latency_ms(100).start();
    let project = project(&server, &one_model(), 400);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(10));
    project.run(&["ledger", "gc"]).exits(3).says("the ledger is in use by a run");
    running.kill();
    let before = json(&project, &["info"])["contents"]["answers"].as_u64().expect("a number");
    assert!(before >= 8, "{before}");
    assert_eq!(json(&project, &["gc"])["dropped"]["answers"], 0);
    assert_eq!(json(&project, &["info"])["contents"]["answers"], before);
}

#[test]
fn an_interrupted_gc_loses_nothing() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 10);
    project.run(&RUN).exits(0);
    // Many unused answers.
    let filled = Project::new();
    sql(
        &project,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
        INSERT INTO calls SELECT NULL, randomblob(16), 'other', hex(randomblob(100)), 'stop', 1, 1, 1, 1, NULL, NULL, NULL,
            0, 0, NULL, NULL FROM n",
    );
    filled.write("ledger.sqlite", project.bytes(LEDGER));
    let mut killed = 0;
    for ms in [5, 20, 60, 120, 250, 400, 700, 1000, 1500] {
        project.write(LEDGER, filled.bytes("ledger.sqlite"));
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(project.path(&format!("{LEDGER}{end}")));
        }
        let mut gc = project.spawn(&["ledger", "gc"]);
        thread::sleep(Duration::from_millis(ms));
        killed += usize::from(!gc.ended());
        gc.kill();
        let ledger = Connection::open(project.path(LEDGER)).expect("a ledger");
        let check: String = ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be read");
        let used = "SELECT COUNT(*) FROM calls WHERE model = 'llama3.2' AND error IS NULL";
        let used: i64 = ledger.query_row(used, [], |row| row.get(0)).expect("it can be read");
        assert_eq!((check.as_str(), used), ("ok", 10), "killed after {ms} ms");
    }
    assert!(killed >= 3, "only {killed} were killed");
    project.run(&["ledger", "gc"]).exits(0);
    let info = json(&project, &["info"]);
    assert_eq!(info["contents"]["answers"], 10, "{info}");
    assert!(info["bytes"].as_u64().is_some_and(|bytes| bytes < 1 << 20), "the room is given back: {info}");
    forget_runs(&project);
    server.forget();
    project.run(&RUN).exits(0).says("0 calls sent, 10 from the ledger");
}

#[test]
fn the_first_answer_counts_when_ledgers_are_merged() {
    let server = Server::new().start();
    let [here, there] = [6, 10].map(|rows| project(&server, &one_model(), rows));
    here.run(&RUN).exits(0);
    there.run(&RUN).exits(0);
    let ours = here.path(LEDGER).display().to_string();
    let new = "SELECT MAX(id) FROM main.calls WHERE key NOT IN (SELECT key FROM ours.calls)";
    sql(&there, &format!("ATTACH '{ours}' AS ours; UPDATE main.calls SET reply = 'x' WHERE id = ({new})"));
    let from = there.folder().display().to_string();
    let merged = json(&here, &["import", &from]);
    let expected = serde_json::json!({ "added": 3, "known": 6, "corrupt": 1, "failed_calls": 0, "damaged": false });
    assert_eq!(merged["files"][0]["merged"], expected);
    here.write("data.csv", there.bytes("data.csv"));
    server.forget();
    here.run(&RUN).exits(0).says("1 call sent, 9 from the ledger");
    here.run(&["ledger", "import", "data.csv"]).exits(3).says("neither a replay file nor a ledger");
}

#[test]
fn an_export_replaces_only_a_replay_file() {
    let spec = r#"
models.m = { provider = "mock", model = "m" }
sources.s = { type = "file", path = "d.csv" }
stages.a = { type = "analysis", input = "s", models = ["m"], prompt = "Tone of {{ t }}" }
outputs.o = { input = "a", path = "o.parquet" }
"#;
    let project = Project::new().spec(spec).csv("d.csv", &[["t"], ["war"]]);
    project.run(&["run", "pipeline.toml"]).exits(0);
    for file in ["d.csv", "pipeline.toml", "o.parquet", ".fanfold/ledger.sqlite", ".fanfold"] {
        let before = project.path(file).is_file().then(|| project.bytes(file));
        let told = project.run(&["ledger", "export", "pipeline.toml", "-o", file]).exits(2).stderr;
        assert!(told.contains("exists and is not a replay file of fanfold"), "{told}");
        assert_eq!(before, project.path(file).is_file().then(|| project.bytes(file)));
    }
    // What a killed export left.
    project.write(".fanfold-calls.parquet-x1.tmp", "half");
    for _ in 0..2 {
        project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    }
    assert!(!project.has(".fanfold-calls.parquet-x1.tmp"));
}

#[test]
fn answers_of_a_pilot_are_kept_until_the_next_run() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 10);
    project.run(&RUN).exits(0);
    // The end of a run is known to the second.
    thread::sleep(Duration::from_millis(1100));
    project.write("pipeline.toml", one_model().replace("What is the tone?", "How does it sound?"));
    project.run(&["run", "pipeline.toml", "--pilot", "4"]).exits(0);
    assert_eq!(json(&project, &["gc"])["dropped"]["answers"], 0);
    server.forget();
    project.run(&RUN).exits(0).says("6 calls sent, 4 from the ledger");
}
