//! A model inside the process, the whole way: the built-in weights, rows of real speeches, the real program.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::project::{Project, Running};
use crate::weights;

const OUT: &str = "out/topic.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const TOPICS: [&str; 3] = ["war", "money", "land"];
const PARAGRAPHS: &str = include_str!("../../pipelines/data/paragraphs.csv");

/// A spec that asks this model for a label with its probability and a short text; `stage` are lines of its stage.
fn spec(model: &str, stage: &str) -> String {
    format!(
        r#"name = "inside"

[models.small]
provider = "embedded"
model = "{model}"
temperature = 0.0
max_tokens = 64

[sources.paragraphs]
type = "file"
path = "data.csv"
key = "id"

[stages.topic]
type = "analysis"
input = "paragraphs"
models = ["small"]
prompt = "What is this about?\n\n{{{{ text }}}}"
{stage}

[stages.topic.output]
topic = {{ type = "string", enum = ["war", "money", "land"], prob = true }}
subject = {{ type = "string", max_length = 12 }}

[outputs.topic]
input = "topic"
path = "{OUT}"
"#
    )
}

/// A project over the first paragraphs.
fn project(spec: &str, rows: usize) -> Project {
    // One paragraph a line: none has a line break in it.
    let data: String = PARAGRAPHS.lines().take(rows + 1).map(|line| format!("{line}\n")).collect();
    Project::new().spec(spec).file("data.csv", data)
}

/// The same, with the built-in weights.
fn real(test: &str, stage: &str, rows: usize) -> Option<Project> {
    weights::or_skip(test, project(&spec("smollm2-135m", stage), rows))
}

/// The project without weights and without any way to fetch them.
fn cut_off(project: Project) -> Project {
    let nothing = project.path("nothing");
    fs::create_dir_all(&nothing).expect("a folder");
    let nothing = nothing.to_string_lossy();
    project.env("FANFOLD_MODELS", &nothing).env("PATH", &nothing)
}

#[test]
fn answers_are_typed_recorded_and_kept() {
    let Some(project) = real("answers_are_typed_recorded_and_kept", "", 6) else { return };
    let ran = project.run(&RUN).exits(0).says("6 rows = 6 answered + 0 failed + 0 skipped");
    assert_eq!(ran.stdout, "");
    let table = project.table(OUT);
    let columns = ["id", "year", "president", "text", "topic", "topic_prob", "subject", "topic_error"];
    assert_eq!((table.len(), table.columns()), (6, columns.to_vec()));
    assert_eq!(table.nulls("topic_error"), 6);
    assert!(table.texts("topic").iter().all(|topic| TOPICS.contains(&topic.as_str())));
    let probabilities: Vec<f64> = table.floats("topic_prob").into_iter().flatten().collect();
    assert!(probabilities.len() == 6 && probabilities.iter().all(|p| *p > 0.0 && *p <= 1.0), "{probabilities:?}");
    assert!(table.texts("subject").iter().all(|subject| subject.chars().count() <= 12));

    let calls = project.calls();
    assert!(calls.texts("build").iter().all(|build| build.starts_with("candle-")), "{:?}", calls.texts("build"));
    assert!(calls.texts("model_digest").iter().all(|digest| digest.starts_with("sha256:b179")));
    let manifest = project.files(".fanfold/runs").into_iter().find(|file| file.ends_with("manifest.json"));
    let manifest: Value = serde_json::from_str(&project.text(&manifest.expect("a manifest"))).expect("JSON");
    let model = &manifest["models"]["small"];
    assert!(model["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:b179")), "{model}");
    assert_eq!((&model["provider"], &model["quantization"]), (&"embedded".into(), &"Q4_1".into()));

    // What is answered needs neither the weights nor the parts of the run: the ledger holds it.
    let bytes = project.bytes(OUT);
    let project = cut_off(project);
    project.run(&RUN).exits(0).says("0 calls sent, 6 rows kept from before");
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    project.run(&RUN).exits(0).says("0 calls sent, 6 from the ledger");
    assert!(project.bytes(OUT) == bytes, "the bytes changed");
    assert_eq!(project.files("nothing"), [] as [&str; 0]);
}

/// Starts a run and waits until its first answer is in the ledger.
fn started(project: &Project) -> Running {
    let mut running = project.spawn(&RUN);
    let begun = Instant::now();
    let read = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let answers = || -> Option<i64> {
        let ledger = Connection::open_with_flags(project.path(".fanfold/ledger.sqlite"), read).ok()?;
        ledger.query_row("SELECT count(*) FROM calls", [], |row| row.get(0)).ok()
    };
    while answers().is_none_or(|count| count == 0) {
        assert!(!running.ended() && begun.elapsed() < Duration::from_secs(120), "no answer came");
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

#[test]
fn neither_lanes_nor_signals_change_the_table() {
    let test = "neither_lanes_nor_signals_change_the_table";
    let Some(undisturbed) = real(test, "", 8) else { return };
    undisturbed.run(&RUN).exits(0);
    let expected = undisturbed.bytes(OUT);

    let Some(drained) = real(test, "workers = 1\nbatch_size = 1", 8) else { return };
    let running = started(&drained);
    running.sigint();
    let ran = running.wait().exits(130).says("fanfold run pipeline.toml");
    assert!(ran.stderr.contains("not reached") && !drained.has(OUT), "{}", ran.stderr);
    drained.run(&RUN).exits(0);
    assert!(drained.bytes(OUT) == expected, "one call at a time, stopped and gone on: the bytes differ");

    // All rows are in flight, far more than end before the second signal.
    let Some(aborted) = real(test, "", 8) else { return };
    let running = started(&aborted);
    running.sigint();
    std::thread::sleep(Duration::from_millis(50));
    running.sigint();
    let second = Instant::now();
    running.wait().exits(130);
    assert!(second.elapsed() < Duration::from_secs(3), "it took {:?}", second.elapsed());
    assert!(!aborted.has(OUT));
    aborted.run(&RUN).exits(0);
    assert!(aborted.bytes(OUT) == expected, "dropped and gone on: the bytes differ");
}

/// Runs to the exit code 3 with one error that says this; nothing is written.
fn refused(project: &Project, says: &str) {
    let ran = project.run(&RUN).exits(3).says(says);
    let errors = ran.stderr.lines().filter(|line| line.starts_with("error")).count();
    assert_eq!((errors, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(!project.has("out"));
}

#[test]
fn without_weights_and_pip_it_says_what_to_do() {
    let project = cut_off(project(&spec("smollm2-135m", ""), 3));
    refused(&project, "pip is not installed");
    assert!(project.files("nothing").iter().all(|file| file.ends_with(".lock")), "{:?}", project.files("nothing"));
}

#[test]
fn files_that_are_no_weights() {
    refused(&project(&spec("no.gguf", ""), 3), "no.gguf can't be read");
    let garbage = project(&spec("bad.gguf", ""), 3).file("bad.gguf", "These are not weights.");
    refused(&garbage, "bad.gguf");
    let Some(cut) = weights::or_skip("files_that_are_no_weights", project(&spec("cut.gguf", ""), 3)) else { return };
    let whole = fs::read_dir(weights::FOLDER).expect("the folder").flatten().map(|entry| entry.path());
    let whole = whole.into_iter().find(|path| path.extension().is_some_and(|e| e == "gguf")).expect("the weights");
    fs::copy(whole, cut.path("cut.gguf")).expect("a copy");
    let file = fs::File::options().write(true).open(cut.path("cut.gguf")).expect("the copy");
    file.set_len(50_000_000).expect("half of it");
    refused(&cut, "it may have been cut off on the way");
}
