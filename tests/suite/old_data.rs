//! What release 0.1.0 left on disk opens, resumes, verifies, exports and replays: ledger, run folder, lock, replay file.
//!
//! `old_data/finished` is a project after a run, `old_data/stopped` one that its budget stopped half-way; `state` is its
//! `.fanfold`, `tables` its `out`. Both were written by that release with `write_old_data`. Don't write them again with a later one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::project::Project;
use crate::recipe::{TYPED, rows, spec};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const LOCK: &str = "pipeline.toml.lock";
const OUTPUTS: [&str; 4] = ["out/tone.parquet", "out/why.jsonl", "out/sums.parquet", "out/many.csv"];
/// The calls of the finished run.
const CALLS: u64 = 154;
/// Those of them that the stopped run has in its ledger.
const ANSWERED: u64 = 116;
const ROWS: usize = 24;

fn old_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/old_data")
}

/// A fan-out with repairs and retries, a stage with a condition, packs, pieces of texts and a reduce.
fn study(budget: u32) -> String {
    let stages = format!(
        r#"models = ["llama", "mistral"]
fanout = true
chunk_size = 10
repair = "lenient"
{TYPED}
[stages.why]
type = "analysis"
input = "tone"
models = ["llama"]
when = "score_llama < 7"
quotes = true
text_column = "text"
prompt = "Why {{{{ label_llama }}}}? {{{{ text }}}}"
[stages.why.output]
reason = {{ type = "string" }}

[stages.many]
type = "analysis"
input = "speeches"
models = ["mistral"]
rows_per_prompt = 4
chunk_size = 8
prompt = "Is it about trade? {{{{ text }}}}"
[stages.many.output]
trade = {{ type = "boolean" }}

[stages.pieces]
type = "split"
input = "speeches"
text_column = "text"
by = "fixed"
unit = "words"
size = 3

[stages.gist]
type = "analysis"
input = "pieces"
models = ["llama"]
prompt = "Gist of {{{{ pieces }}}}"

[stages.sums]
type = "reduce"
input = "gist"
models = ["mistral"]
group_by = ["year"]
prompt = "Of {{{{ year }}}}:{{% for row in rows %}} {{{{ row.gist }}}};{{% endfor %}}"

[outputs.why]
input = "why"
path = "out/why.jsonl"

[outputs.sums]
input = "sums"
path = "out/sums.parquet"

[outputs.many]
input = "many"
path = "out/many.csv"
"#
    );
    spec(&stages).replacen("seed = 42\n", &format!("seed = 42\nbudget = {{ calls = {budget} }}\n"), 1)
}

/// Refuses one row of `tone` if it is asked to. Answers the others, some of them not JSON the first time, some to be repaired, some cut off.
fn server(refuses: bool) -> Server {
    Server::new()
        .script(move |asked: &Asked, attempt| match attempt {
            _ if refuses && asked.question().starts_with("What is the tone?\n\nSpeech 9,") => Say::status(400),
            1 if asked.question().contains("Speech 3,") => Say::Text("I would say it is positive.".to_owned()),
            1 if asked.question().contains("Speech 5,") => Say::Truncated("{\"label\": \"pos".to_owned()),
            1 if asked.question().contains("Speech 6,") => Say::status(500),
            _ if asked.question().starts_with("What is the tone?\n\nSpeech 7,") => {
                Say::Text("{label: 'neutral', \"score\": 3,}".to_owned())
            }
            _ => Say::Default,
        })
        .start()
}

/// The files of a folder, with their paths below it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let name = entry.strip_prefix(folder).expect("below the folder").to_string_lossy().into_owned();
                found.push((name, fs::read(&entry).expect("a file")));
            }
        }
    }
    found
}

/// A copy of an old project that asks `server`.
fn project(name: &str, server: &Server) -> Project {
    let project = Project::new().env("OLLAMA_HOST", &server.url()).csv("data.csv", &rows(ROWS));
    for (path, bytes) in files(&old_data().join(name)) {
        project.write(&path.replacen("state/", ".fanfold/", 1).replacen("tables/", "out/", 1), bytes);
    }
    project
}

/// The outputs and the lock are those that the old release wrote.
#[track_caller]
fn is_as_it_was(project: &Project) {
    for path in OUTPUTS.into_iter().chain([LOCK]) {
        assert!(project.bytes(path) == old(path), "{path} differs");
    }
}

/// The bytes that the old release wrote.
fn old(path: &str) -> Vec<u8> {
    let path = path.replacen("out/", "tables/", 1);
    fs::read(old_data().join("finished").join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn a_finished_run_verifies_and_sends_nothing() {
    let server = server(false);
    let project = project("finished", &server);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    let status = project.run(&["status", "pipeline.toml", "--format", "json"]).exits(0).stdout;
    assert!(status.contains("done") && !status.contains("stale"), "{status}");
    project.run(&["run", "pipeline.toml", "--locked"]).exits(0);
    is_as_it_was(&project);
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_lost_run_folder_is_made_again_from_the_old_ledger() {
    let server = server(false);
    let project = project("finished", &server);
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the folder was there");
    OUTPUTS.iter().for_each(|path| fs::remove_file(project.path(path)).expect("the file was there"));
    project.run(&["run", "pipeline.toml", "--locked"]).exits(0);
    is_as_it_was(&project);
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_stopped_run_goes_on_and_pays_nothing_twice() {
    let server = server(false);
    let project = project("stopped", &server);
    let ledger = project.bytes(".fanfold/ledger.sqlite");
    project.run(&["plan", "pipeline.toml"]).exits(0);
    assert!(project.bytes(".fanfold/ledger.sqlite") == ledger, "a plan changed the ledger");
    project.write("pipeline.toml", study(10_000));
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0).stdout;
    let ran: Value = serde_json::from_str(&ran).expect("JSON");
    let sent: u64 =
        ran["stages"].as_object().expect("stages").values().filter_map(|stage| stage["calls"].as_u64()).sum();
    assert_eq!(sent, CALLS - ANSWERED, "{ran}");
    // The old release had another version, and did not record that of a server; all else is the same, byte for byte.
    let version = "\n[models.NAME.build.service]\nsoftware = \"Ollama 0.12.0\"\n";
    let of_tool = |version: &str| format!("[tool]\nfanfold = \"{version}\"\n");
    let mut lock = project.text(LOCK).replace(&of_tool(env!("CARGO_PKG_VERSION")), &of_tool("0.1.0"));
    for name in ["llama", "mistral"] {
        let version = version.replace("NAME", name);
        assert!(lock.contains(&version), "{lock}");
        lock = lock.replace(&version, "");
    }
    project.write(LOCK, lock);
    is_as_it_was(&project);
    project.run(&["ledger", "verify", "pipeline.toml"]).exits(0);
    let asked = server.requests();
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), asked);
}

#[test]
fn cells_of_an_old_run_are_explained() {
    let project = project("finished", &server(false));
    let explained = project.run(&["explain", "out/tone.parquet", "s0007", "label_llama"]).exits(0).stdout;
    assert!(explained.contains("Speech 7, on trade and peace.") && explained.contains("'neutral'"), "{explained}");
    let explained = project.run(&["explain", "out/sums.parquet", "1793", "sums"]).exits(0).stdout;
    assert!(explained.contains("Of 1793:"), "{explained}");
}

#[test]
fn an_old_replay_file_is_replayed_and_imported() {
    let server = server(false);
    let project = project("finished", &server);
    fs::remove_dir_all(project.path(".fanfold")).expect("the folder was there");
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0);
    is_as_it_was(&project);
    project.run(&["ledger", "import", "calls.parquet"]).exits(0);
    project.run(&RUN).exits(0);
    is_as_it_was(&project);
    assert_eq!(server.requests(), 0);
}

#[test]
fn an_old_run_is_exported_and_replayed() {
    let server = server(false);
    let project = project("finished", &server);
    let said = project.run(&["ledger", "export", "pipeline.toml", "-o", "new.parquet"]).exits(0).stdout;
    assert!(said.contains(&format!("{CALLS} calls")), "{said}");
    fs::remove_dir_all(project.path(".fanfold")).expect("the folder was there");
    project.run(&["run", "pipeline.toml", "--replay", "new.parquet"]).exits(0);
    is_as_it_was(&project);
    assert_eq!(server.requests(), 0);
}

#[test]
#[ignore = "wrote the fixtures, by hand and with release 0.1.0"]
fn write_old_data() {
    for (name, budget, code) in [("finished", 10_000, 0), ("stopped", 130, 4)] {
        let server = server(code > 0);
        let project = Project::new().env("OLLAMA_HOST", &server.url()).csv("data.csv", &rows(ROWS));
        let project = project.spec(&study(budget));
        project.run(&RUN).exits(code);
        if code == 0 {
            project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
        }
        let to = old_data().join(name);
        for (path, bytes) in files(project.folder()) {
            if path.starts_with(".home")
                || path.ends_with(".gitignore")
                || path == "data.csv"
                || path.ends_with(".lock") && path.contains('/')
            {
                continue;
            }
            let path = path.replacen(".fanfold/", "state/", 1).replacen("out/", "tables/", 1);
            fs::create_dir_all(to.join(&path).parent().expect("a folder")).expect("the folder is made");
            fs::write(to.join(path), bytes).expect("the file is written");
        }
    }
}
