//! Everything on disk is checked: a damaged file is made again or named, and nothing wrong reaches a prompt or a table.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const OUT: &str = "out/tone.parquet";

/// Two stages with a transform between them, in several parts.
fn study() -> String {
    let stage = format!("models = [\"llama\", \"mistral\"]\nfanout = true\nchunk_size = 4\n{TYPED}");
    spec(&stage)
        + r#"
[stages.glad]
type = "filter"
input = "tone"
when = "label_llama != 'negative'"

[stages.why]
type = "analysis"
input = "glad"
models = ["llama"]
prompt = "Why? {{ text }} {{ label_llama }}"

[outputs.why]
input = "why"
path = "out/why.jsonl"
"#
}

fn finished(server: &Server) -> Project {
    let project = project(server, &study(), 12);
    project.run(&RUN).exits(0);
    project
}

/// A copy of the project, its files included.
fn copy(project: &Project, server: &Server) -> Project {
    let copy = Project::new().env("OLLAMA_HOST", &server.url());
    project.files(".").iter().for_each(|file| copy.write(file, project.bytes(file)));
    copy
}

fn file_ending(project: &Project, end: &str) -> String {
    let files = project.files(".fanfold");
    files.into_iter().find(|file| file.ends_with(end)).unwrap_or_else(|| panic!("no file ends in {end}"))
}

fn flip(project: &Project, file: &str, bit: usize) {
    let mut bytes = project.bytes(file);
    let at = bit / 8 % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
    project.write(file, bytes);
}

fn calls(server: &Server) -> BTreeSet<String> {
    server.asked().iter().map(|asked| asked.call()).collect()
}

fn edit(project: &Project) {
    let spec = project.text("pipeline.toml");
    project.write("pipeline.toml", spec.replace("What is the tone?", "Which tone is it?"));
}

/// `FANFOLD_FLIPS=500 cargo test --test suite -- flipped` runs the long version.
#[test]
fn flipped_bits_are_healed_or_named() {
    let flips: usize = std::env::var("FANFOLD_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let server = Server::new().start();
    let project = finished(&server);
    let whole = copy(&project, &server);
    edit(&whole);
    whole.run(&RUN).exits(0);
    let allowed = calls(&server);
    let tables = |project: &Project| [OUT, "out/why.jsonl"].map(|file| project.bytes(file));
    let expected = [tables(&project), tables(&whole)];
    let explain = ["explain", "pipeline.toml", "s0003", "--output", "tone", "--format", "json"];
    let explained = project.run(&explain).exits(0).stdout;
    let files: Vec<String> =
        project.files(".").into_iter().filter(|file| !["pipeline.toml", "data.csv"].contains(&file.as_str())).collect();
    let mut dice = StdRng::seed_from_u64(22);
    let mut named = 0;
    for number in 0..flips {
        let file = &files[dice.random_range(0..files.len())];
        let damaged = copy(&project, &server);
        if damaged.bytes(file).is_empty() {
            continue;
        }
        flip(&damaged, file, dice.random_range(0..usize::MAX));
        let shown = damaged.run(&explain);
        assert!(shown.code != 0 || shown.stdout == explained || file.starts_with("out/"), "{file}: {}", shown.stdout);
        let is_edited = number % 2 == 1;
        if is_edited {
            edit(&damaged);
        }
        let ran = damaged.run(&RUN);
        let wrong: Vec<String> = calls(&server).difference(&allowed).cloned().collect();
        assert!(wrong.is_empty(), "a damaged {file} reached prompts: {wrong:?}");
        if ran.code == 0 {
            assert!(tables(&damaged) == expected[usize::from(is_edited)], "a damaged {file} reached a table");
        } else {
            named += 1;
            assert!(
                ["lock", "ledger", ".fanfold"].iter().any(|name| ran.stderr.contains(name)),
                "{file}: {}",
                ran.stderr
            );
        }
    }
    assert!(named * 2 < flips, "{named} of {flips} damaged files were not made again");
}

/// Damages a file of a finished project, edits its prompt and runs it again. The tables are those of a whole project.
fn heals(end: &str, damage: impl Fn(&Project, &str)) -> (Project, Ran) {
    let server = Server::new().start();
    let project = finished(&server);
    let before = project.bytes(OUT);
    damage(&project, &file_ending(&project, end));
    let requests = server.requests();
    let ran = project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == before, "{end}: the table differs");
    assert_eq!(server.requests(), requests, "{end}: calls were paid again");
    (project, ran)
}

#[test]
fn damaged_copies_parts_and_calls_are_made_again_for_free() {
    let flipped = |project: &Project, file: &str| flip(project, file, 8 * (project.bytes(file).len() / 2));
    let removed = |project: &Project, file: &str| std::fs::remove_file(project.path(file)).expect("a file");
    for end in ["part-00001.parquet", "part-00001.sum", "tone-00001.parquet", "manifest.json", "spec.json"] {
        let (project, _) = heals(end, flipped);
        project.run(&["explain", "pipeline.toml", "s0005", "--output", "tone"]).exits(0);
        let (project, _) = heals(end, removed);
        assert!(project.files(".fanfold").iter().any(|file| file.ends_with(end)), "{end} is made again");
    }
    let source = |project: &Project| {
        let files = project.files(".fanfold/sources");
        files.into_iter().find(|file| file.ends_with(".parquet")).expect("a copy")
    };
    for damage in [&flipped as &dyn Fn(&Project, &str), &removed] {
        let (project, _) = heals("tone-00000.parquet", |project, _| damage(project, &source(project)));
        assert!(project.has(&source(&project)));
    }
}

#[test]
fn a_damaged_file_that_is_only_shown_is_named() {
    let server = Server::new().start();
    let project = finished(&server);
    let commands: [(&str, &[&str]); 4] = [
        ("tone-00001.parquet", &["explain", "pipeline.toml", "s0005", "--output", "tone"]),
        ("part-00001.parquet", &["explain", "pipeline.toml", "s0005", "--output", "tone"]),
        ("tone-00001.parquet", &["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]),
        ("manifest.json", &["status", "pipeline.toml"]),
    ];
    for (end, command) in commands {
        let damaged = copy(&project, &server);
        let file = file_ending(&damaged, end);
        flip(&damaged, &file, 8 * (damaged.bytes(&file).len() / 2));
        damaged.run(command).exits(3).says(end).says("run the spec again");
    }
}

#[test]
fn gc_keeps_what_a_finished_run_was_made_from() {
    let server = Server::new().start();
    let removals: [fn(&Project); 3] = [
        |project| {
            let runs = project.files(".fanfold/runs").into_iter().filter(|file| file.contains("/calls/"));
            runs.for_each(|file| std::fs::remove_file(project.path(&file)).expect("a file"));
        },
        |project| std::fs::remove_file(project.path(&file_ending(project, "tone-00002.parquet"))).expect("a file"),
        |project| flip(project, &file_ending(project, "why-00000.parquet"), 900),
    ];
    let project = finished(&server);
    for remove in removals {
        let damaged = copy(&project, &server);
        remove(&damaged);
        damaged.run(&["ledger", "gc", "pipeline.toml"]).exits(3).says(".parquet is").says("again");
        let requests = server.requests();
        damaged.run(&RUN).exits(0);
        damaged.run(&["ledger", "gc", "pipeline.toml"]).exits(0);
        std::fs::remove_dir_all(damaged.path(".fanfold/runs")).expect("a folder");
        damaged.run(&RUN).exits(0);
        assert_eq!(server.requests(), requests, "gc dropped paid answers");
        assert!(damaged.bytes(OUT) == project.bytes(OUT));
    }
}

#[test]
fn calls_are_not_paid_again_only_to_fill_the_calls_table() {
    let server = Server::new().start();
    let project = finished(&server);
    let before = project.bytes(OUT);
    for file in
        project.files(".fanfold").iter().filter(|file| file.contains("/calls/") || file.contains("ledger.sqlite"))
    {
        std::fs::remove_file(project.path(file)).expect("a file");
    }
    let requests = server.requests();
    project.run(&RUN).exits(0);
    assert_eq!((server.requests(), project.bytes(OUT) == before), (requests, true));
}

#[test]
fn half_written_files_of_killed_runs_are_removed() {
    let server = Server::new().start();
    let stage = format!("models = [\"llama\"]\nchunk_size = 4\n{TYPED}");
    let here = spec(&stage).replace("out/tone.parquet", "tone.parquet");
    let project = project(&server, &here, 12);
    project.run(&RUN).exits(0);
    let run = project.files(".fanfold/runs").into_iter().find(|file| file.ends_with("manifest.json")).expect("a run");
    let run = run.replace("manifest.json", "");
    let left = [
        ".fanfold-tone.parquet-aaaaaa.tmp".to_owned(),
        ".fanfold/sources/.fanfold-x.parquet-bbbbbb.tmp".to_owned(),
        format!("{run}.fanfold-manifest.json-cccccc.tmp"),
        format!("{run}calls/.fanfold-tone-00000.parquet-dddddd.tmp"),
        format!("{run}stages/tone/.fanfold-part-00000.parquet-eeeeee.tmp"),
    ];
    left.iter().for_each(|file| project.write(file, "half"));
    project.run(&RUN).exits(0);
    for file in &left {
        assert!(!project.has(file), "{file} is still there");
    }
}
