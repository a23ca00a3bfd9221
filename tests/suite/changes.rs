//! Changes: what a fresh or locked run and `verify` say about answers that differ from those before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::pack::{items, number};
use crate::project::Ran;
use crate::recipe::{TYPED, project, spec};
use crate::server::{Asked, Say, Server};

const FRESH: [&str; 5] = ["run", "pipeline.toml", "--fresh", "--format", "json"];
const OUT: &str = "out/tone.parquet";

/// The answer about a row in a generation of answers. Rows 0 to 2 change, row 3 fails later, rows 4 and 5 at first.
fn answer(row: u64, generation: usize) -> Option<Value> {
    let label = if row < 3 && generation > 1 { "negative" } else { "positive" };
    let failed = row == 3 && generation > 1 || (4..6).contains(&row) && generation == 1;
    (!failed).then(|| json!({ "label": label, "score": row % 11 }))
}

/// A server with the generation of its answers. Mistral always answers as in the last one.
fn changing() -> (Server, Arc<AtomicUsize>) {
    let generation = Arc::new(AtomicUsize::new(1));
    let now = generation.clone();
    let say = move |asked: &Asked, _: usize| {
        let generation = if asked.model == "mistral" { 2 } else { now.load(Ordering::SeqCst) };
        let of = |text: &str| answer(number(text), generation);
        match items(asked) {
            None => of(asked.question()).map_or(Say::status(400), Say::Json),
            Some(items) => {
                let answers = items.iter().filter_map(|(id, text)| Some(json!({ "id": id, "answer": of(text)? })));
                Say::Json(json!({ "answers": answers.collect::<Vec<_>>() }))
            }
        }
    };
    (Server::new().script(say).start(), generation)
}

/// The changes of `llama` in the JSON of a run.
fn changes(ran: &Ran) -> Value {
    let summary: Value = ran.json();
    summary["stages"]["tone"]["changes"]["llama"].clone()
}

const EXPECTED: (u64, u64, u64, u64) = (14, 3, 1, 2);

fn counted((equal, different, newly_failed, newly_answered): (u64, u64, u64, u64)) -> Value {
    json!({
        "equal": equal, "different": different, "newly_failed": newly_failed, "newly_answered": newly_answered,
    })
}

#[test]
fn a_fresh_run_counts_the_answers_that_changed() {
    let (server, generation) = changing();
    let text = spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = true\nchunk_size = 6\n{TYPED}"));
    let project = project(&server, &text, 20);
    project.run(&["run", "pipeline.toml"]).exits(1);
    let before = project.bytes(OUT);
    generation.store(2, Ordering::SeqCst);
    let ran = project.run(&FRESH).exits(1);
    assert_eq!(changes(&ran), counted(EXPECTED));
    // 6 of 20 by hand with z = 1.959964: the centre is (6 + 1.92073) / 23.841459 = 0.332225, half the width is
    // 1.959964 * sqrt(6 * 14 / 20 + 0.960365) / 23.841459 = 0.186749.
    let words = "llama: 6 of 20 answers changed (30 %, 95 % interval 14.5 to 51.9 %): 3 different, \
                 1 newly failed, 2 newly answered";
    let ran = ran.says(words).says("mistral: 0 of 20 answers changed (0 %, 95 % interval 0 to 16.1 %)\n");
    // The table before is kept, and the command compares the cells.
    let command = ran.stderr.lines().find_map(|line| line.split("to see what changed: fanfold ").nth(1));
    let command: Vec<&str> = command.expect("a command").split(' ').collect();
    assert!(project.bytes(command[1]) == before);
    let diff = project.run(&command).exits(1).stdout;
    assert!(diff.contains("20 rows in both") && diff.contains("6 differ"), "{diff}");
    // The manifest has the same counts. A run that sends nothing does not show them.
    let again = project.run(&["status", "pipeline.toml", "--format", "json"]).exits(0).stdout;
    let status: Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(status["stages"]["tone"]["totals"]["changes"]["llama"], counted(EXPECTED));
    // Nothing changes now.
    let ran = project.run(&FRESH).exits(1);
    assert_eq!(changes(&ran), counted((20, 0, 0, 0)));
    assert!(!ran.stderr.contains("to see what changed"), "{}", ran.stderr);
}

#[test]
fn packs_are_compared_row_by_row() {
    let (server, generation) = changing();
    let text = spec(&format!("models = [\"llama\"]\nrows_per_prompt = 5\n{TYPED}"));
    let project = project(&server, &text, 20);
    project.run(&["run", "pipeline.toml"]).exits(1);
    generation.store(2, Ordering::SeqCst);
    let found = changes(&project.run(&FRESH).exits(1));
    // Row 3 fails only now, so its pack is split for the first time: some calls have no call before.
    assert_eq!((&found["different"], &found["newly_failed"]), (&json!(3), &json!(0)), "{found}");
    assert!(found["equal"].as_u64() >= Some(10), "{found}");
}

#[test]
fn a_fresh_run_that_was_stopped_counts_all_its_answers() {
    let (server, generation) = changing();
    let text = spec(&format!("models = [\"llama\"]\nchunk_size = 4\nworkers = 1\nbatch_size = 1\n{TYPED}"));
    let project = project(&server, &text, 20);
    project.run(&["run", "pipeline.toml"]).exits(1);
    generation.store(2, Ordering::SeqCst);
    project.write("pipeline.toml", text.replacen("seed = 42\n", "seed = 42\nbudget = { calls = 9 }\n", 1));
    project.run(&FRESH).exits(4);
    project.write("pipeline.toml", text);
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(1);
    assert_eq!(changes(&ran), counted(EXPECTED));
    // A part whose rows have all failed or been answered is counted once.
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(1);
    assert_eq!(changes(&ran), counted(EXPECTED));
}

#[test]
fn other_runs_compare_nothing() {
    let (server, generation) = changing();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 20);
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(1);
    assert_eq!(changes(&ran), Value::Null);
    generation.store(2, Ordering::SeqCst);
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0);
    assert_eq!(changes(&ran), Value::Null);
    assert!(!ran.stderr.contains("answers changed") && !ran.stderr.contains("to see what changed"), "{}", ran.stderr);
}

#[test]
fn a_locked_run_and_verify_say_where_the_cells_differ() {
    let server = |label: &'static str| {
        Server::new().script(move |asked, _| {
            let label = if number(asked.question()) < 3 { label } else { "neutral" };
            Say::Json(json!({ "label": label, "score": 1 }))
        })
    };
    let first = server("positive").start();
    let project = project(&first, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 12);
    project.run(&["run", "pipeline.toml"]).exits(0);
    // Another machine has the table, but no answers.
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the project has been run");
    let second = server("negative").start();
    let project = project.env("OLLAMA_HOST", &second.url());
    let ran = project.run(&["run", "pipeline.toml", "--locked"]).exits(5).says("the tables differ from the lock");
    let ran = ran.says("12 rows in both, matched by number, 3 differ").says("fanfold run pipeline.toml --replay FILE");
    assert!(ran.stderr.contains("Cohen's kappa"), "{}", ran.stderr);
    let verify = project.run(&["verify", "pipeline.toml"]).exits(5);
    assert!(verify.stdout.contains("`fanfold diff A B`") && verify.stdout.contains("--replay"), "{}", verify.stdout);
    // With the same answers as in the lock, the tables are the same.
    let project = project.env("OLLAMA_HOST", &first.url());
    let ran = project.run(&["run", "pipeline.toml", "--locked", "--fresh"]).exits(0);
    let ran = ran.says("llama: 3 of 12 answers changed");
    assert!(!ran.stderr.contains("matched by"), "{}", ran.stderr);
    let found = project.run(&["verify", "pipeline.toml"]).exits(0).stdout;
    assert!(!found.contains("answers changed"), "{found}");
    // `verify` also knows how many answers of the last fresh run changed.
    let project = project.env("OLLAMA_HOST", &second.url());
    project.run(&["run", "pipeline.toml", "--locked", "--fresh"]).exits(5).says("llama: 3 of 12 answers changed");
    let found = project.run(&["verify", "pipeline.toml"]).exits(5).stdout;
    assert!(found.contains("stage tone, run with `--fresh`:\n    llama: 3 of 12 answers changed (25 %"), "{found}");
}
