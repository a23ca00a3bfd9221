//! Plain English: phrases that this project does not use, in code, messages, documentation and tests.
//!
//! Say who does what, in the words of the field: "is not a", "returns", "reports", "contains", "as many as", "each".

use std::path::{Path, PathBuf};

/// Phrases in lower case. A space also matches a line break and the markers of a comment.
const BANNED: &[&str] = &[
    "all that",
    "another one",
    "are no",
    "are told",
    "as far as",
    "asks nobody",
    "become of",
    "becomes of",
    "by whom",
    "come about",
    "comes about",
    "came about",
    "has none of its",
    "if need be",
    "is at it",
    "is no",
    "is told",
    "is wanted",
    "made of it",
    "makes of",
    "nobody",
    "none where",
    "of his",
    "of its own",
    "of its,",
    "of its.",
    "of its;",
    "of its)",
    "of theirs",
    "of their own",
    "several of",
    "so long as",
    "so many",
    "somebody",
    "stand beside",
    "stand for",
    "stand in",
    "stand there",
    "standing in",
    "stands at",
    "stands behind",
    "stands beside",
    "stands for",
    "stands in",
    "stands on",
    "stands there",
    "stood in",
    "tells whether",
    "the same of",
    "what stands",
    "whatever becomes",
    "who is asked",
    "whoever",
    "whose turn",
    "with that one",
];
/// Texts that are sent to models. They are part of call keys, so they must stay as they are.
const SENT: &[&str] = &["what stands inside of an item", "an object with keys of its own"];
/// Longer phrases that contain one of them and are right.
const ALLOWED: &[&str] = &["is no longer", "are no longer", "there is no", "there are no", "is there no"];

/// Every text file below `folder` that people read or write.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let text = [".rs", ".md", ".toml", ".yaml", ".json", ".snap", ".stderr"].iter().any(|end| name.ends_with(end));
        if path.is_dir() && !["data", "old_data", "corpus", "target", "replay"].contains(&name) {
            files(&path, found);
        } else if path.is_file() && text && name != "english.rs" {
            found.push(path);
        }
    }
}

/// The text in lower case, on one line, without the markers of comments.
fn flowing(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '#']).trim());
    lines.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The places where `text` has a phrase, each with the words around it.
fn banned(text: &str) -> Vec<String> {
    let text = ALLOWED.iter().chain(SENT).fold(flowing(text), |text, allowed| text.replace(allowed, "_"));
    let mut found = Vec::new();
    for phrase in BANNED {
        for (at, _) in text.match_indices(phrase) {
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let (before, after) = (&text[..at], &text[at + phrase.len()..]);
            let inside = letter(before.chars().next_back())
                || letter(after.chars().next()) && !phrase.ends_with(['.', ',', ';', ')']);
            if !inside {
                let start: String = before.chars().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect();
                let end: String = after.chars().take(30).collect();
                found.push(format!("{start}[{phrase}]{end}"));
            }
        }
    }
    found
}

#[test]
fn no_text_of_the_project_has_a_banned_phrase() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "action.yml"];
    let mut paths: Vec<PathBuf> = names.iter().map(|name| project.join(name)).collect();
    for folder in ["src", "tests", "docs", "schemas", "pipelines", "benches"] {
        files(&project.join(folder), &mut paths);
    }
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.strip_prefix(project).expect("below the project").display().to_string();
        found.extend(banned(&text).into_iter().map(|phrase| format!("{name}: {phrase}")));
    }
    assert!(found.is_empty(), "{} phrases: {found:#?}", found.len());
}

#[test]
fn a_phrase_is_found_across_lines_of_a_comment() {
    assert_eq!(banned("/// A key that is\n    /// no secret.").len(), 1);
    assert_eq!(banned("It is no longer there, and this notes nothing."), Vec::<String>::new());
    assert_eq!(banned("Each server has a limiter of its own.").len(), 1);
}
