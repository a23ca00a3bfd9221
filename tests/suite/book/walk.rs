//! A reader of the book: does in an empty folder what a page says, from top to bottom, and compares what is printed.
//!
//! Comments of the page, which readers do not see, direct it:
//!
//! | comment | meaning |
//! |---|---|
//! | `file NAME` | the next block is this file; a comment with more lines is the file itself |
//! | `add NAME` | the same, at the end of the file |
//! | `copy PATH NAME` | a file of this project, as NAME if there is one |
//! | `in NAME` | the next block is a part of that file |
//! | `exit N` | the exit code of the next commands; 0 without it |
//! | `answers vary` | of the next output, only the first word of each line is compared |
//! | `not run: REASON` | the next block is only shown |
//! | `output of: COMMAND` | another test of the book compares the next block |
//! | `weights` | the page needs the weights of the built-in model |
//! | `embedded` | the page needs a build with models inside the process |
//!
//! A `sh` block is run by a shell. The block behind it is its output, where a line `...` is any lines; times, dates and
//! hashes are not compared. Other tests run `python` and `r` blocks, and compare the blocks behind them. A `toml` block without a comment is added to `pipeline.toml`. At the end, all specs of the
//! page must be valid. With `INSTA_UPDATE=always`, the output in the page is replaced by what is printed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::markdown::{Page, Piece};
use super::page;
use crate::project::Project;
use crate::venv::skipped;
use crate::weights;

/// What a comment says about the next block.
#[derive(Clone, Debug, Default, PartialEq)]
struct Direction {
    file: Option<String>,
    add: Option<String>,
    within: Option<String>,
    exit: i32,
    vary: bool,
    not_run: bool,
}

struct Walk {
    path: String,
    project: Project,
    /// The folder that `cd` led to.
    folder: String,
    next: Direction,
    /// What the last commands printed.
    printed: Option<String>,
    /// Whether another test compares the next output.
    is_compared: bool,
    specs: BTreeSet<String>,
    problems: Vec<String>,
    edits: Vec<(Range<usize>, String)>,
}

/// Follows a page, and returns what is wrong with it. Without weights that it needs, it is skipped.
pub(super) fn follow(path: &str) -> Vec<String> {
    let text = page(path);
    let pieces = Page::of(&text).into_pieces();
    let mut project = Project::new();
    if pieces.contains(&Piece::Comment("weights".to_owned())) {
        match weights::or_skip(path, project) {
            Some(with_weights) => project = with_weights,
            None => return Vec::new(),
        }
    }
    if !cfg!(feature = "embedded") && pieces.contains(&Piece::Comment("embedded".to_owned())) {
        skipped(path, "this build has no embedded models");
        return Vec::new();
    }
    let mut walk = Walk {
        path: path.to_owned(),
        project,
        folder: ".".to_owned(),
        next: Direction::default(),
        printed: None,
        is_compared: false,
        specs: BTreeSet::new(),
        problems: Vec::new(),
        edits: Vec::new(),
    };
    for piece in pieces {
        match piece {
            Piece::Comment(text) => walk.comment(&text),
            Piece::Code { language, text, range } => walk.code(&language, &text, range),
        }
    }
    walk.validate();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") && !walk.edits.is_empty() {
        let mut text = text;
        for (range, shown) in walk.edits.iter().rev() {
            text.replace_range(range.clone(), shown);
        }
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), text).expect("the page is written");
    }
    walk.problems
}

impl Walk {
    fn problem(&mut self, text: &str) {
        self.problems.push(format!("{}: {text}", self.path));
    }

    fn comment(&mut self, text: &str) {
        let (first, body) = text.split_once('\n').unwrap_or((text, ""));
        let (word, rest) = first.trim().split_once([' ', ':']).unwrap_or((first.trim(), ""));
        let rest = rest.trim();
        match (word, body.is_empty()) {
            ("file", true) => self.next.file = Some(rest.to_owned()),
            ("add", true) => self.next.add = Some(rest.to_owned()),
            ("file", false) => self.write(rest, body, false),
            ("add", false) => self.write(rest, body, true),
            ("in", _) => self.next.within = Some(rest.to_owned()),
            ("copy", _) => {
                let (from, to) = rest.split_once(' ').unwrap_or((rest, rest));
                let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(from));
                self.project.write(to, bytes.unwrap_or_else(|e| panic!("{from}: {e}")));
            }
            ("exit", _) => self.next.exit = rest.parse().expect("an exit code"),
            ("answers", _) => self.next.vary = true,
            ("not", _) => self.next.not_run = !rest.trim_start_matches("run:").trim().is_empty(),
            ("output", _) => self.next.not_run = true,
            ("weights" | "embedded", _) => {}
            _ => self.problem(&format!("unknown comment `{first}`")),
        }
    }

    fn write(&mut self, name: &str, text: &str, add: bool) {
        let path = format!("{}/{name}", self.folder);
        let before = if add && self.project.has(&path) { self.project.text(&path) + "\n" } else { String::new() };
        self.project.write(&path, before + text);
        if [".toml", ".yaml"].iter().any(|end| name.ends_with(end)) {
            self.specs.insert(path);
        }
    }

    fn code(&mut self, language: &str, text: &str, range: Range<usize>) {
        let next = std::mem::take(&mut self.next);
        match (&next, language) {
            (Direction { not_run: true, .. }, _) => {}
            (Direction { file: Some(name), .. }, _) => self.write(name, text, false),
            (Direction { add: Some(name), .. }, _) => self.write(name, text, true),
            (Direction { within: Some(name), .. }, _) => {
                let path = format!("{}/{name}", self.folder);
                if !self.project.has(&path) || !self.project.text(&path).contains(text) {
                    self.problem(&format!("`{name}` does not contain:\n{text}"));
                }
            }
            (_, "toml") => self.write("pipeline.toml", text, true),
            (_, "sh") => self.run(text, next.exit),
            (_, "python" | "r") => self.is_compared = true,
            _ if std::mem::take(&mut self.is_compared) => {}
            _ => match self.printed.take() {
                Some(printed) if !agree(text, &printed, next.vary) => {
                    self.problem(&format!("printed:\n{printed}shown:\n{text}"));
                    if !text.lines().any(|line| line == "...") {
                        self.edits.push((range, printed));
                    }
                }
                Some(_) => {}
                None => self.problem(&format!("nothing checks this block:\n{text}")),
            },
        }
    }

    fn run(&mut self, commands: &str, exit: i32) {
        let script = format!("exec 2>&1\nset -e\nfanfold() {{ \"$0\" \"$@\"; }}\ncd {}\n{commands}", self.folder);
        let ran = self.project.run_by(&script, &[]);
        if ran.code != exit {
            self.problem(&format!("exit code {}, not {exit}:\n{commands}{}", ran.code, ran.stdout));
        }
        for folder in commands.lines().filter_map(|line| line.strip_prefix("cd ")) {
            self.folder = format!("{}/{folder}", self.folder);
        }
        let lines = ran.stdout.lines().filter(|line| !progress(line)).map(|line| format!("{}\n", line.trim_end()));
        self.printed = Some(lines.collect());
    }

    fn validate(&mut self) {
        if !self.specs.is_empty() {
            let specs: Vec<&str> = self.specs.iter().map(String::as_str).collect();
            let ran = self.project.run(&[&["validate"], &specs[..]].concat());
            if ran.code != 0 {
                self.problem(&ran.stderr);
            }
        }
    }
}

/// A line that only a slow machine prints: the progress of a stage, or what a model waits for.
fn progress(line: &str) -> bool {
    let counts =
        |rest: &str| rest.split(' ').next().is_some_and(|w| w.contains('/') && w.starts_with(char::is_numeric));
    line.split_once(": ").is_some_and(|(_, rest)| {
        counts(rest) && rest.contains(" calls") || rest.starts_with("goes on after") || rest.starts_with("no reply for")
    })
}

/// Whether a page shows what was printed.
fn agree(shown: &str, printed: &str, vary: bool) -> bool {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| if line.trim() == "..." { line.to_owned() } else { steady(line) });
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(|line| if vary { line.split(' ').next().unwrap_or_default().to_owned() } else { line }).collect()
    };
    let (shown, printed) = (lines(shown), lines(printed));
    let mut chunks: Vec<&[String]> = shown.split(|line| line == "...").collect();
    let last = chunks.pop().unwrap_or_default();
    let Some((first, middle)) = chunks.split_first() else { return printed == last };
    let Some(mut rest) = printed.strip_prefix(*first) else { return false };
    for chunk in middle.iter().filter(|chunk| !chunk.is_empty()) {
        let Some(at) = rest.windows(chunk.len()).position(|window| window == *chunk) else { return false };
        rest = &rest[at + chunk.len()..];
    }
    rest.ends_with(last)
}

/// The line with single blanks and without what differs from run to run: dates, times of day, durations and hashes.
fn steady(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
    let unit = |word: &str| {
        let word = word.trim_end_matches([')', ',', ';', '.']);
        ["s", "ms", "min", "h", "calls/s", "s/call", "tokens/s"].contains(&word)
    };
    let steady = words.iter().enumerate().map(|(i, word)| {
        if number(word) && words.get(i + 1).is_some_and(|next| unit(next)) { "TIME".to_owned() } else { hashless(word) }
    });
    steady.collect::<Vec<_>>().join(" ")
}

fn hashless(word: &str) -> String {
    let digits = |text: &str, n: usize| text.len() == n && text.chars().all(|c| c.is_ascii_digit());
    let hash = |text: &str| {
        text.len() >= 8 && text.chars().all(|c| c.is_ascii_hexdigit()) && text.contains(|c: char| c.is_ascii_digit())
    };
    let clean = word.trim_matches(|c: char| "(),;\"'`".contains(c));
    let parts: Vec<&str> = clean.split(['-', ':', 'T']).collect();
    if parts.len() >= 3 && digits(parts[0], 4) && digits(parts[1], 2) {
        return "DATE".to_owned();
    }
    if (2..=3).contains(&parts.len()) && parts.iter().all(|part| digits(part, 2)) {
        return "CLOCK".to_owned();
    }
    let steady = |part: &str| if hash(part) { "HASH".to_owned() } else { part.to_owned() };
    word.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|part| match part.char_indices().last() {
            Some((at, c)) if !c.is_ascii_alphanumeric() => steady(&part[..at]) + &part[at..],
            _ => steady(part),
        })
        .collect()
}

#[test]
fn a_page_agrees_with_what_is_printed() {
    let printed =
        "run 2026-11-28-1, table: a-5b498eb85e3d/calls\n16.5 s, 2.4 calls/s\n\nid   topic\np1   war\np2   law\n";
    let shown = "run 2025-01-02-3, table: a-0b498eb85e3a/calls\n1.5 s, 9.4 calls/s\nid topic\np1 war\np2 law\n";
    assert!(agree(shown, printed, false));
    assert!(agree("run 2025-01-02-3, table: a-0b498eb85e3a/calls\n...\np2 law\n", printed, false));
    assert!(agree("...\nid topic\n...\n", printed, false) && agree("...\n", printed, false));
    for wrong in ["p2", "topic", "table:"] {
        assert!(!agree(&shown.replace(wrong, "x"), printed, false), "{wrong}");
    }
    assert!(!agree("...\np1 law\n...\n", printed, false) && !agree("...\np1 war\n", printed, false));
    assert!(agree(&shown.replace("p1 war", "p1 economy"), printed, true));
    assert!(!agree(&shown.replace("p1 war", "p3 war"), printed, true));
    assert!(progress("topic: 12/40 calls, 20 s left") && !progress("topic: 40 rows, at most 40 calls of small"));
}
