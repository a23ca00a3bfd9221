//! `fanfold clean`: what nothing needs is listed with its size and then deleted, and nothing else.

use serde_json::Value;

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const CLEAN: [&str; 3] = ["clean", "--format", "json"];

fn study() -> String {
    spec(&format!("models = [\"llama\"]\nchunk_size = 8\n{TYPED}"))
}

fn edit(project: &Project, number: usize) {
    project.write("pipeline.toml", study().replace("What is the tone?", &format!("What is the tone ({number})?")));
}

fn bytes(project: &Project) -> u64 {
    project.files(".fanfold").iter().map(|file| project.bytes(file).len() as u64).sum()
}

fn kinds(report: &Value) -> Vec<&str> {
    report["garbage"].as_array().expect("a list").iter().filter_map(|entry| entry["kind"].as_str()).collect()
}

#[test]
fn old_runs_unused_copies_and_temporary_files_are_listed_and_deleted() {
    let server = Server::new().start();
    let project = project(&server, &study(), 20);
    for number in 0..3 {
        edit(&project, number);
        project.write("data.csv", format!("id,year,text\na,1900,Text {number}\nb,1901,Peace\n"));
        project.run(&RUN).exits(0);
    }
    project.write(".fanfold/sources/.fanfold-x.parquet-abcdef.tmp", "half");
    let before = bytes(&project);
    let listed = project.run(&CLEAN).exits(0).json();
    assert_eq!(listed["dry_run"], true);
    assert_eq!(kinds(&listed), ["run", "run", "source", "source", "source", "source", "pieces", "temporary"]);
    assert_eq!((listed["bytes_before"].as_u64(), bytes(&project)), (Some(before), before), "a dry run deletes nothing");
    let human = project.run(&["clean"]).exits(0).stdout;
    assert!(human.contains("would delete 8 entries") && human.contains("`fanfold clean --yes`"), "{human}");
    let deleted = project.run(&["clean", "--yes", "--format", "json"]).exits(0).json();
    assert_eq!(bytes(&project), before - deleted["bytes_freed"].as_u64().expect("a number"));
    let again = project.run(&CLEAN).exits(0).json();
    assert_eq!(kinds(&again), [""; 0]);
    // The run that stays is whole: it can be explained, and a rerun asks nothing.
    let requests = server.requests();
    project.run(&["explain", "pipeline.toml", "a"]).exits(0);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), requests);
    // So is an older one, from the ledger.
    edit(&project, 1);
    project.write("data.csv", "id,year,text\na,1900,Text 1\nb,1901,Peace\n");
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), requests);
}

#[test]
fn the_runs_of_specs_and_locks_and_the_last_ones_stay() {
    let server = Server::new().start();
    let project = project(&server, &study(), 12);
    project
        .write("other.toml", study().replace("name = \"tones\"", "name = \"other\"").replace("out/tone", "out/other"));
    project.run(&["run", "other.toml"]).exits(0);
    for number in 0..4 {
        edit(&project, number);
        project.run(&RUN).exits(0);
    }
    let runs = |keep: &str| {
        let listed = project.run(&["clean", "--keep", keep, "--format", "json"]).exits(0).json();
        kinds(&listed).into_iter().filter(|kind| *kind == "run").count()
    };
    assert_eq!(["1", "2", "3", "4", "9"].map(runs), [3, 2, 1, 0, 0]);
    // The spec is edited back: its run stays although it is old, and so does that of the lock.
    edit(&project, 0);
    assert_eq!(runs("1"), 2);
    // A spec with a mistake has no run, but the last one of its pipeline stays.
    project.write("pipeline.toml", "[sources]\n[stages]\nnonsense = 1\n");
    assert_eq!(runs("1"), 3);
}

#[test]
fn nothing_is_deleted_while_a_run_goes_on() {
    let server = Server::new().latency_ms(20).start();
    let project = project(&server, &study(), 100);
    edit(&project, 1);
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(0);
    edit(&project, 2);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(10));
    let before = project.files(".fanfold/sources");
    project.run(&["clean", "--yes"]).exits(3).says("the ledger is in use by a run");
    assert_eq!(project.files(".fanfold/sources"), before);
    running.wait().exits(0);
    let empty = Project::new();
    empty.run(&["clean"]).exits(3).says(".fanfold does not exist");
}

/// A text of words like prose, so that it is compressed like it.
fn prose(seed: usize, words: usize) -> String {
    const WORDS: [&str; 12] =
        ["peace", "of", "the", "nation", "trade", "law", "and", "union", "war", "people", "great", "year"];
    let word = |number: usize| {
        let dice = u64::from_le_bytes(
            blake3::hash(&[seed, number].map(|n| n as u64).map(u64::to_le_bytes).concat()).as_bytes()[..8]
                .try_into()
                .expect("8 bytes"),
        );
        format!("{}{} ", WORDS[(dice % 12) as usize], ["", "s", "ly", "ing", "er"][(dice >> 8) as usize % 5])
    };
    (0..words).map(word).collect()
}

/// About 2 MB of rows.
fn rows(count: usize) -> Vec<String> {
    (0..count).map(|row| format!("r{row:05},1900,{}\n", prose(row, 100))).collect()
}

fn write_rows(project: &Project, rows: &[String]) -> u64 {
    project.write("data.csv", format!("id,year,text\n{}", rows.concat()));
    project.bytes("data.csv").len() as u64
}

#[test]
fn ten_edits_of_a_prompt_stay_below_three_times_the_input() {
    let server = Server::new().start();
    let whole = study().replace("chunk_size = 8\n", "");
    let project = project(&server, &whole, 1);
    let input = write_rows(&project, &rows(3000));
    for number in 0..4 {
        project.write("pipeline.toml", whole.replace("What is", &format!("({number}) What is")));
        project.run(&RUN).exits(0);
        project.run(&["clean", "--yes"]).exits(0);
        project.run(&["ledger", "gc"]).exits(0);
        assert!(bytes(&project) < 3 * input, "{} of {input} after edit {number}", bytes(&project));
    }
}

#[test]
fn ten_edits_of_some_rows_stay_below_three_times_the_input_and_all_runs_can_be_read() {
    const ROWS: usize = 1500;
    let server = Server::new().start();
    let project = project(&server, &study().replace("chunk_size = 8\n", ""), 1);
    let row = |id: String, seed: usize| format!("{id},1900,{}\n", prose(seed, 300));
    let first: Vec<String> = (0..ROWS).map(|number| row(format!("r{number}"), number)).collect();
    write_rows(&project, &first);
    project.run(&RUN).exits(0);
    let (mut rows, mut input) = (first.clone(), 0);
    for edit in 0..10 {
        // Two rows change, one is new, and one is gone.
        let at = edit * 140;
        for number in 0..3 {
            let new = row(format!("e{edit}-{number}"), 10_000 + edit * 3 + number);
            if number < 2 { rows[at + number] = new } else { rows.insert(at + number, new) }
        }
        rows.remove(at + 3);
        input = write_rows(&project, &rows);
        project.run(&RUN).exits(0);
    }
    let (size, requests) = (bytes(&project), server.requests());
    assert!(size < 3 * input, "{size} of {input}");
    assert_eq!(requests, ROWS + 10 * 3);
    assert_eq!(project.calls().len(), 11 * ROWS, "the calls of all runs are there");
    let runs = project.run(&["runs", "pipeline.toml", "--format", "json"]).exits(0).json();
    // The table of a run that is in pieces is compared with the last one.
    let third = runs["runs"][2]["name"].as_str().expect("a name");
    let diff = project.run(&["diff", "pipeline.toml", third, "--format", "json"]).json();
    assert_eq!(diff["tables"][0]["rows"]["matched"], ROWS - 8 * 3, "{diff}");
    // The first run again: its parts are kept, and its tables are ordinary files again.
    write_rows(&project, &first);
    project.run(&RUN).exits(0).says("1,500 rows kept from before");
    assert_eq!(server.requests(), requests);
}
