//! The house: a folder of `src` uses only lines below its own (the table in `src/lib.rs`).

use std::path::{Path, PathBuf};

/// The lines, lowest first. Folders on one line may not use each other.
const LINES: &[&[&str]] = &[
    &["name", "random", "stats"],
    &["document"],
    &["registry", "table"],
    &["prompt"],
    &["source", "stage", "provider", "assertion"],
    &["spec"],
    &["plan"],
    &["store"],
    &["ask"],
    &["models"],
    &["lock", "inventory"],
    &["run"],
    &["preview"],
    &["bench"],
    &["report"],
    &["pipeline"],
];
/// The folder above all lines.
const TOP: &str = "cli";

fn line_of(part: &str) -> usize {
    if part == TOP {
        return LINES.len();
    }
    LINES.iter().position(|line| line.contains(&part)).unwrap_or_else(|| panic!("`{part}` is not on a line"))
}

/// Every Rust file below `folder`.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            files(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.push(entry);
        }
    }
}

/// The parts of the crate that a source text names as `crate::part`, tests left out.
fn used(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let names = code.match_indices("crate::").map(|(at, word)| {
        code[at + word.len()..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>()
    });
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_folder_uses_only_lines_below_its_own() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    let mut wrong = Vec::new();
    for path in found {
        let inner = path.strip_prefix(&src).expect("below src");
        let part = inner.iter().next().and_then(|p| p.to_str()).expect("a name").trim_end_matches(".rs");
        if matches!(part, "lib" | "main") {
            continue;
        }
        for other in used(&std::fs::read_to_string(&path).expect("text")) {
            if other != part && line_of(&other) >= line_of(part) {
                wrong.push(format!("{}: {part} uses {other}", inner.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_terminal_prints() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    // Comparisons with another program, which are run by hand, show what they found.
    let test = |path: &&PathBuf| path.components().any(|part| part.as_os_str() == "tests");
    for path in found.iter().filter(|p| !p.starts_with(src.join(TOP)) && !test(p)) {
        let text = std::fs::read_to_string(path).expect("text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in ["println!", "eprintln!", "print!(", "dbg!", "process::exit"] {
            assert!(!code.contains(word), "{} has {word}", path.display());
        }
    }
}
