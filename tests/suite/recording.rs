//! A recording of a day: `plan`, a `run` that is interrupted and resumed, `runs` and `diff`, at 80 columns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::lock::edit;
use crate::recipe::{TYPED, project, spec_with};
use crate::screen::{Screen, is_there};
use crate::server::{Say, Server};

const SIZE: (u32, u32) = (80, 60);

/// The text without what differs from run to run: dates, times, durations and hashes. Widths stay where they can.
fn lasting(text: &str) -> String {
    let date = |word: &str| {
        let is_date = word.len() >= 10 && word.is_ascii() && word.as_bytes()[4] == b'-' && word.as_bytes()[7] == b'-';
        is_date && word[..4].bytes().all(|b| b.is_ascii_digit())
    };
    // The bar and the rest of a line of progress depend on the moment.
    let progress = |line: &str| {
        let (calls, _) = line.split_once(" calls, ").filter(|(calls, _)| calls.ends_with("/20"))?;
        Some(format!("{}  {}", calls.split(' ').next()?, calls.rsplit(' ').next()?))
    };
    let is_time = |word: &str| word.len() == 5 && word.as_bytes()[2] == b':' && word.as_bytes()[0].is_ascii_digit();
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',') && !word.is_empty();
    let unit = |word: &str| {
        let word = word.trim_end_matches([',', ';', '.', ')']);
        ["s", "ms", "min", "calls/s", "s/call", "tokens/s", "tokens"].contains(&word)
    };
    let hash = |word: &str| match word.find("tones-").map(|at| at + 6) {
        Some(at) if word.len() >= at + 12 && word[at..at + 12].bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{}HASH{}", &word[..at], &word[at + 12..])
        }
        _ => word.to_owned(),
    };
    let line = |line: &str| {
        let progress = progress(line);
        let line = progress.as_deref().unwrap_or(line);
        let mut words: Vec<String> = line.split(' ').map(hash).collect();
        for i in 0..words.len() {
            let next = words.get(i + 1).cloned().unwrap_or_default();
            let start = words[i].trim_start_matches(['(', '[']).to_owned();
            if date(&start) {
                let time = if start[10..].starts_with('T') { start.len() } else { 10 };
                words[i] = words[i].replace(&start[10..time], "").replace(&start[..10], "YYYY-MM-DD");
            } else if is_time(&start) {
                words[i] = "HH:MM".to_owned();
            } else if unit(&next) && is_number(&start) {
                words[i] = words[i].replace(&start, "N");
            }
        }
        words.join(" ").trim_end().to_owned() + "\n"
    };
    let mut lines: Vec<String> = text.lines().filter(|line| !line.contains("waiting for")).map(line).collect();
    // Whether the line of progress is drawn once more after Ctrl-C depends on the moment.
    let stopping = lines.iter().position(|line| line.contains("stopping: ")).unwrap_or(lines.len());
    let mut place = 0..;
    lines.retain(|line| place.next() < Some(stopping) || !line.ends_with("/20\n"));
    lines.dedup();
    lines.concat()
}

#[test]
fn a_day_at_80_columns() {
    if !is_there("a_day_at_80_columns") {
        return;
    }
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let script = move |asked: &crate::server::Asked, _: usize| {
        // After eight answers the server waits.
        while asked.number >= 8 && !gate.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        Say::Default
    };
    let server = Server::new().script(script).start();
    let text = spec_with("max_concurrent_calls = 4", &format!("models = [\"llama\"]\n{TYPED}"));
    let project = project(&server, &text, 20);
    let host = server.url();
    let variables = [("OLLAMA_HOST", host.as_str())];
    let screen = |line: &str| Screen::open(&project, SIZE, line, &variables);
    let mut recording = String::new();
    let mut record = |title: &str, text: String| recording.push_str(&format!("===== {title}\n{}\n", lasting(&text)));

    record("fanfold plan", screen("plan").ends(0));
    let run = screen("run");
    run.shows("8/20");
    record("fanfold run, after eight answers", run.text());
    run.press("C-c");
    record("fanfold run, after Ctrl-C", run.shows("stopping: "));
    open.store(true, Ordering::Relaxed);
    record("fanfold run, stopped", run.ends(130));
    drop(run);
    record("fanfold run, resumed", screen("run").ends(0));
    assert_eq!(server.requests(), 20, "no call is paid twice");
    record("fanfold run, again", screen("run").ends(0));
    edit(&project, "pipeline.toml", "What is the tone?", "Which tone has this speech?");
    project.run(&["run"]).exits(0);
    record("fanfold runs", screen("runs").ends(0));
    let diff = screen("diff --examples 1");
    record("fanfold diff --examples 1", diff.ends(1));
    assert!(diff.colors().contains("\u{1b}[31m") && diff.colors().contains("\u{1b}[32m"), "old and new have colours");
    drop(diff);
    record("fanfold status", screen("status").ends(0));
    insta::assert_snapshot!("recording", recording);
    let plain = Screen::open(&project, SIZE, "diff", &[variables[0], ("NO_COLOR", "1")]);
    plain.ends(1);
    assert!(!plain.colors().contains("\u{1b}[3"), "{}", plain.colors());
}

/// A server that answers eight calls and no others.
fn holding() -> Server {
    let script = |asked: &crate::server::Asked, _: usize| match asked.number >= 8 {
        true => Say::Late(60_000, Box::new(Say::Default)),
        false => Say::Default,
    };
    Server::new().script(script).start()
}

#[test]
fn a_window_that_changes_its_size_leaves_one_line_of_progress() {
    if !is_there("a_window_that_changes_its_size_leaves_one_line_of_progress") {
        return;
    }
    let server = holding();
    let text = spec_with("max_concurrent_calls = 4", &format!("models = [\"llama\"]\n{TYPED}"));
    let project = project(&server, &text, 20);
    let screen = Screen::open(&project, (120, 30), "run", &[("OLLAMA_HOST", &server.url())]);
    screen.shows("8/20");
    for columns in [60, 100, 120] {
        screen.resize(columns, 30);
        // tmux passes on a size after a moment, and then the line is drawn several times.
        thread::sleep(Duration::from_millis(1500));
        let text = screen.text();
        assert_eq!(text.matches("8/20").count(), 1, "{columns} columns:\n{text}");
    }
    screen.press("C-c");
    screen.shows("stopping: ");
    screen.press("C-c");
    let text = screen.ends(130);
    assert!(text.contains("4 aborted, which the server may charge for") && !text.contains("retr"), "{text}");
    assert_eq!(text.matches("8/20").count(), 0, "no line of progress is left:\n{text}");
}

#[test]
fn a_pipe_has_no_colours_unless_they_are_wanted() {
    let server = Server::new().start();
    let text = spec_with(
        "",
        &format!("models = [\"llama\"]\n{TYPED}\n[[tests]]\ntype = \"rows\"\ninput = \"tone\"\nminimum = 9\n"),
    );
    let project = project(&server, &text, 3);
    project.run(&["run"]).exits(0);
    let plain = project.run(&["test"]).exits(1).stdout;
    let colored = project.run(&["test", "--color", "always"]).exits(1).stdout;
    assert!(plain.starts_with("FAILED  ") && colored.starts_with("\u{1b}[31mFAILED\u{1b}[0m  "), "{plain}{colored}");
    let status = project.run(&["status", "--color", "always"]).exits(0).stdout;
    assert!(status.contains("\u{1b}[32mdone\u{1b}[0m"), "{status}");
    let json = project.run(&["status", "--color", "always", "--format", "json"]).exits(0).stdout;
    assert!(!json.contains('\u{1b}'), "{json}");
}
