//! The lock: what a run writes next to its spec, what `run --locked` refuses, and what `status` reports without a call.

use serde_json::Value;

use crate::pipelines::json_of;
use crate::project::{Project, Ran};
use crate::recipe::{TYPED, openai_spec, project, spec};
use crate::server::{Say, Server};

/// The lock of the specs of these tests.
pub(crate) const LOCK: &str = "pipeline.toml.lock";
/// The table of the stage `tone`.
pub(crate) const TONE: &str = "out/tone.parquet";

/// Two stages over 12 rows, the second with the answers of the first, and outputs in every format.
pub(crate) fn study() -> String {
    let stages = format!(
        r#"models = ["llama", "mistral"]
fanout = false
{TYPED}
[stages.why]
type = "analysis"
input = "tone"
models = ["llama"]
when = "score < 9"
prompt = "Why {{{{ label }}}}? {{{{ text }}}}"

[outputs.lines]
input = "why"
path = "out/why.jsonl"

[outputs.sheet]
input = "tone"
path = "out/tone.csv"
"#
    );
    spec(&stages).replace("key = \"id\"", "key = \"id\"\ntypes = { year = \"integer\" }")
}

/// The study after a run.
pub(crate) fn studied(server: &Server) -> Project {
    let project = project(server, &study(), 12);
    project.run(&["run", "pipeline.toml"]).exits(0).says("wrote pipeline.toml.lock");
    project
}

/// The drifted facets in the JSON of `verify`.
#[track_caller]
pub(crate) fn drifted(ran: &Ran) -> Vec<String> {
    let value: Value = ran.json();
    let drift = value["drift"].as_array().expect("a list");
    for drift in drift {
        assert_ne!(drift["old"], drift["new"], "{drift}");
    }
    let mut facets: Vec<String> = drift.iter().map(|d| d["facet"].as_str().expect("a name").to_owned()).collect();
    facets.sort();
    assert_eq!(
        (ran.code, value["verified"].as_bool()),
        (if facets.is_empty() { 0 } else { 5 }, Some(facets.is_empty()))
    );
    facets
}

#[track_caller]
pub(crate) fn verify(project: &Project) -> Vec<String> {
    drifted(&project.run(&["verify", "pipeline.toml", "--models", "--format", "json"]))
}

/// Replaces a text in a file, which must contain it.
#[track_caller]
pub(crate) fn edit(project: &Project, path: &str, from: &str, to: &str) {
    let text = project.text(path);
    assert!(text.contains(from), "`{from}` is not in {path}:\n{text}");
    project.write(path, text.replacen(from, to, 1));
}

#[test]
fn a_yaml_spec_with_the_same_meaning_has_the_same_lock() {
    let server = Server::new().start();
    let project = studied(&server);
    // JSON is YAML.
    project.write("study.yaml", json_of("pipeline.toml", &study()).to_string());
    project.write("study.yaml.lock", project.bytes(LOCK));
    let ran = project.run(&["verify", "study.yaml", "--models", "--format", "json"]);
    assert_eq!(drifted(&ran), [] as [&str; 0]);
    project.run(&["run", "study.yaml", "--locked"]).exits(0);
    assert_eq!(project.bytes("study.yaml.lock"), project.bytes(LOCK));
}

#[test]
fn the_lock_is_for_git() {
    let server = Server::new().keys(&["sk-secret-123456"]).start();
    let text = openai_spec("api_key_env = \"LAB_KEY\"", &format!("models = [\"llama\"]\n{TYPED}"));
    let project = project(&server, &text, 5).env("LAB_KEY", "sk-secret-123456");
    project.run(&["run", "pipeline.toml"]).exits(0).says("wrote pipeline.toml.lock");
    let lock = project.text(LOCK);
    let folder = project.folder().to_string_lossy().into_owned();
    let address = server.url().replace("http://", "");
    for private in ["sk-secret", "LAB_KEY", "127.0.0.1", &address, &folder, "20260101"] {
        assert!(!lock.contains(private), "`{private}` is in\n{lock}");
    }
    assert!(lock.contains("replies = [\"fp_scripted\"]") && lock.contains("temperature = 0.0"), "{lock}");
    let modified = || std::fs::metadata(project.path(LOCK)).and_then(|m| m.modified()).expect("a time");
    let before = modified();
    let again = project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!((project.text(LOCK), modified()), (lock.clone(), before), "the same run leaves it alone");
    assert!(!again.stderr.contains(LOCK), "{}", again.stderr);
    // Another machine, another address, another number of lanes: the same lock, byte for byte.
    let elsewhere = Server::new().keys(&["other-key"]).start();
    let text = text.replace("[stages.tone]\n", "[stages.tone]\nchunk_size = 2\nworkers = 2\n");
    let other = crate::recipe::project(&elsewhere, &text, 5).env("LAB_KEY", "other-key");
    other.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(other.text(LOCK), lock);
}

#[test]
fn locked_refuses_before_the_first_call() {
    let server = Server::new().start();
    let project = project(&server, &study(), 12);
    project.run(&["run", "pipeline.toml", "--locked"]).exits(5).says("the lock `pipeline.toml.lock` does not exist");
    project.run(&["verify", "pipeline.toml"]).exits(5).says("the lock `pipeline.toml.lock` does not exist");
    assert_eq!(server.requests(), 0);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let lock = project.bytes(LOCK);
    server.forget();
    project.run(&["run", "pipeline.toml", "--locked"]).exits(0);
    let locked = |facet: &str| {
        let ran = project.run(&["run", "pipeline.toml", "--locked"]).exits(5).says(facet).says("nothing was sent");
        assert_eq!((server.requests(), project.bytes(LOCK)), (0, lock.clone()));
        ran
    };
    edit(&project, "pipeline.toml", "What is the tone?", "Which tone?");
    locked("stages.tone.settings").says("run without `--locked` to accept the change");
    project.write("pipeline.toml", study());
    edit(&project, "data.csv", "Speech 3", "Speech three");
    locked("sources.speeches.content");
    edit(&project, "data.csv", "Speech three", "Speech 3");
    server.rebuild(|build| build.digest = "f".to_owned());
    // A run without `--locked` would stop too.
    let ran = locked("models.llama.build.digest").says("run with `--update-lock` to accept the change");
    assert!(!ran.stderr.contains("without `--locked`"), "{}", ran.stderr);
    server.rebuild(|build| *build = Default::default());
    edit(&project, LOCK, "calls = \"", "calls = \"old-");
    project.run(&["run", "pipeline.toml", "--locked"]).exits(5).says("tool.calls");
    assert_eq!(server.requests(), 0);
}

#[test]
fn locked_reports_tables_with_other_contents() {
    let server = Server::new().start();
    let project = studied(&server);
    let lock = project.bytes(LOCK);
    // Without the earlier answers, and with a server that answers differently.
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the folder");
    let other = Server::new().script(|_, _| Say::Text(r#"{"label": "neutral", "score": 1}"#.into())).start();
    let project = project.env("OLLAMA_HOST", &other.url());
    let ran = project.run(&["run", "pipeline.toml", "--locked"]).exits(5).says("the tables differ from the lock");
    assert!(ran.stderr.contains("outputs.tone.content") && !ran.stderr.contains("spec.meaning"), "{}", ran.stderr);
    assert_eq!(project.bytes(LOCK), lock);
    assert!(verify(&project).contains(&"outputs.tone.content".to_owned()));
}

#[test]
fn a_run_follows_the_author_but_not_a_build_that_moved() {
    let server = Server::new().start();
    let project = studied(&server);
    edit(&project, "pipeline.toml", "What is the tone?", "Which tone?");
    let ran = project.run(&["run", "pipeline.toml"]).exits(0).says("updated pipeline.toml.lock:");
    assert!(ran.stderr.contains("  stages.tone   ") && ran.stderr.contains("prompts, "), "{}", ran.stderr);
    assert_eq!(verify(&project), [] as [&str; 0]);
    server.forget();
    server.rebuild(|build| build.digest = "f".to_owned());
    let lock = project.bytes(LOCK);
    let ran = project.run(&["run", "pipeline.toml"]).exits(5).says("models.llama.build.digest").says("--update-lock");
    assert!(!ran.stderr.contains("spec.meaning"), "{}", ran.stderr);
    assert_eq!((server.requests(), project.bytes(LOCK)), (0, lock));
    project.run(&["run", "pipeline.toml", "--update-lock"]).exits(0).says("build.digest");
    assert!(server.requests() > 0, "another build answers anew");
    assert_eq!(verify(&project), [] as [&str; 0]);
    project.run(&["run", "pipeline.toml", "--locked"]).exits(0);
}

#[test]
fn a_lock_that_cannot_be_read_is_not_overwritten() {
    let server = Server::new().start();
    let project = studied(&server);
    let good = project.text(LOCK);
    let broken = format!("<<<<<<< ours\n{good}");
    project.write(LOCK, &broken);
    for arguments in
        [&["run", "pipeline.toml"][..], &["run", "pipeline.toml", "--locked"], &["verify", "pipeline.toml"]]
    {
        project.run(arguments).exits(5).says("it is not a lock file").says("--update-lock");
    }
    project.run(&["status", "pipeline.toml"]).exits(0).says("it is not a lock file");
    assert_eq!(project.text(LOCK), broken);
    project.run(&["run", "pipeline.toml", "--update-lock"]).exits(0).says("wrote pipeline.toml.lock");
    assert_eq!(project.text(LOCK), good);
    project.write(LOCK, good.replace("version = 1\n", "version = 9\n"));
    project.run(&["verify", "pipeline.toml"]).exits(5).says("a newer fanfold wrote it (version 9");
}

#[test]
fn a_run_of_some_rows_writes_no_lock() {
    let server = Server::new().start();
    let project = project(&server, &study(), 12);
    project.run(&["run", "pipeline.toml", "--limit", "3"]).exits(0).says("pipeline.toml.lock are not written");
    project.run(&["run", "pipeline.toml", "--select", "tone"]).exits(0).says("pipeline.toml.lock are not written");
    assert!(!project.has(LOCK) && !project.has(TONE));
    assert!(!project.table("out/tone.select-tone.parquet").metadata().iter().any(|(key, _)| key == "fanfold.lock"));
    project.run(&["run", "pipeline.toml", "--locked", "--limit", "3"]).exits(2);
    project.run(&["run", "pipeline.toml", "--locked", "--update-lock"]).exits(2);
}

#[test]
fn failed_rows_are_counted() {
    let server =
        Server::new().script(|a, _| if a.question().contains("Speech 3,") { Say::status(400) } else { Say::Default });
    let server = server.start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\nmax_failed = 1\n{TYPED}")), 6);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.text(LOCK).matches("rows = 6\nanswered = 5\nfailed = 1\nskipped = 0\n").count(), 2);
    assert_eq!(verify(&project), [] as [&str; 0]);
}

#[test]
fn outputs_name_what_they_were_made_from() {
    let server = Server::new().start();
    let project = studied(&server);
    let fact = |project: &Project, key: &str| {
        let metadata = project.table(TONE).metadata().to_vec();
        metadata.into_iter().find(|(k, _)| k == key).map(|(_, value)| value).unwrap_or_default()
    };
    let lock = project.text(LOCK);
    assert!(lock.contains(&format!("meaning = \"{}\"", fact(&project, "fanfold.spec_hash"))), "{lock}");
    let (causes, run) = (fact(&project, "fanfold.lock"), fact(&project, "fanfold.run"));
    assert_eq!((causes.len(), run.split('-').next()), (64, Some("tones")));
    let manifests = project.files(".fanfold/runs").into_iter().filter(|f| f.ends_with("manifest.json"));
    let of_run = |file: &String| json_text(&project.text(file))["run"] == run.as_str();
    assert_eq!(manifests.filter(of_run).count(), 1, "the run that the table names has its folder");
    let bytes = project.bytes(TONE);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.bytes(TONE), bytes);
    // Another input makes another lock and another run.
    edit(&project, "data.csv", "Speech 3,", "Speech three,");
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_ne!((fact(&project, "fanfold.lock"), fact(&project, "fanfold.run")), (causes, run));
}

fn json_text(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// State, reasons and calls of a stage, as `status` or `plan` reports them.
#[track_caller]
fn freshness(project: &Project, command: &str, stage: &str) -> (String, Vec<String>, u64) {
    let shown = json_text(&project.run(&[command, "pipeline.toml", "--format", "json"]).exits(0).stdout);
    let stages = &shown["stages"];
    let stage = match stages.as_array() {
        Some(list) => list.iter().find(|s| s["name"] == stage).expect("the stage"),
        None => &stages[stage],
    };
    let why = stage["why"].as_array().expect("reasons");
    for reason in why {
        assert_ne!(reason["old"], reason["new"], "{reason}");
    }
    let why = why.iter().map(|reason| reason["facet"].as_str().expect("a name").to_owned()).collect();
    (stage["state"].as_str().expect("a state").to_owned(), why, stage["calls_to_send"].as_u64().expect("a number"))
}

#[test]
fn status_and_plan_show_the_state_of_stages_and_why() {
    let server = Server::new().start();
    let project = project(&server, &study(), 12);
    let both = |stage: &str| {
        let (status, plan) = (freshness(&project, "status", stage), freshness(&project, "plan", stage));
        assert_eq!(status, plan);
        status
    };
    let says = |found: (String, Vec<String>, u64), state: &str, why: &[&str], calls: u64| {
        assert_eq!((found.0.as_str(), found.2), (state, calls), "{found:?}");
        assert_eq!(found.1, why);
    };
    says(both("tone"), "never run", &[], 12);
    says(both("why"), "never run", &[], 12);
    project.run(&["run", "pipeline.toml"]).exits(0);
    says(both("tone"), "done", &[], 0);
    says(both("why"), "done", &[], 0);
    // Three texts: a run makes exactly the calls that were announced.
    for row in 3..6 {
        edit(&project, "data.csv", &format!("Speech {row},"), &format!("Speech {row} of old,"));
    }
    says(both("tone"), "stale", &["sources.speeches.content", "stages.tone.prompts"], 3);
    server.forget();
    project.run(&["run", "pipeline.toml"]).exits(0);
    let tone = server.asked().iter().filter(|a| a.question().contains("What is the tone?")).count();
    assert_eq!(tone, 3);
    says(both("tone"), "done", &[], 0);
    // A column that no prompt reads makes the table stale and costs no call.
    edit(&project, "data.csv", "s0003,1793", "s0003,1893");
    says(both("tone"), "stale", &["sources.speeches.content"], 0);
    project.run(&["run", "pipeline.toml"]).exits(0);
    // A change of the second stage does not affect the first.
    edit(&project, "pipeline.toml", "Why {{ label }}?", "Why is it {{ label }}?");
    says(both("tone"), "done", &[], 0);
    let (state, why, calls) = both("why");
    assert_eq!(
        (state.as_str(), &why[..]),
        ("stale", &["stages.why.prompts".to_owned(), "stages.why.settings".to_owned()][..])
    );
    server.forget();
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests() as u64, calls);
    // A missing table is reported too.
    std::fs::remove_file(project.path(TONE)).expect("the file");
    says(both("tone"), "stale", &["outputs.tone.content"], 0);
}

#[test]
fn without_a_lock_the_last_run_is_compared() {
    let server = Server::new().latency_ms(20).start();
    let lanes = "models = [\"llama\"]\nworkers = 1\nbatch_size = 1\nchunk_size = 5";
    let project = project(&server, &spec(lanes), 20);
    let running = project.spawn(&["run", "pipeline.toml"]);
    assert!(server.wait_answered(8));
    running.kill();
    let (state, why, calls) = freshness(&project, "status", "tone");
    assert_eq!((state.as_str(), why.len()), ("stopped", 0));
    // The call that was in flight may be lost.
    assert!(calls <= 13, "{calls}");
    server.forget();
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests() as u64, calls);
    std::fs::remove_file(project.path(LOCK)).expect("the lock");
    assert_eq!(freshness(&project, "status", "tone"), ("done".to_owned(), vec![], 0));
    edit(&project, "pipeline.toml", "temperature = 0.0", "temperature = 0.5");
    let (state, why, calls) = freshness(&project, "status", "tone");
    assert_eq!(
        (state.as_str(), &why[..], calls),
        ("stale", &["models.llama.sent.options.temperature".to_owned()][..], 20)
    );
}

#[test]
fn verify_has_text_for_people() {
    let server = Server::new().start();
    let project = studied(&server);
    let good = project.run(&["verify", "pipeline.toml", "--models"]).exits(0);
    assert!(
        good.stdout.starts_with("pipeline tones: ") && good.stdout.ends_with(" facets as pipeline.toml.lock says\n"),
        "{}",
        good.stdout
    );
    assert_eq!(good.stderr, "");
    let folder = project.files("");
    let partly = project.run(&["verify", "pipeline.toml"]).exits(0);
    assert!(partly.stdout.contains("not checked: models.llama.build.digest"), "{}", partly.stdout);
    edit(&project, "data.csv", "s0003,1793", "s0003,1893");
    let bad = project.run(&["verify", "pipeline.toml", "--models"]).exits(5);
    assert!(bad.stdout.contains(", 1 not:\n  sources.speeches.content  "), "{}", bad.stdout);
    assert_eq!(project.files(""), folder, "nothing is written");
    drop(server);
    project.run(&["verify", "pipeline.toml", "--models"]).exits(3);
    edit(&project, "data.csv", "s0003,1893", "s0003,1793");
    project.run(&["verify", "pipeline.toml"]).exits(0);
}
