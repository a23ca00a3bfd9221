//! The corpus of the fuzz targets as plain tests: no input may panic, on a stack that is smaller than a worker's.
//!
//! The targets, and the command that fuzzes them, are in `tests/fuzz/targets.rs`.

use std::path::{Path, PathBuf};

use super as targets;

/// Half of what a thread has by default; a debug build's frames are larger than those of a release.
const STACK: usize = 1 << 20;

/// A test per target.
macro_rules! corpus {
    ($($test:ident = $target:ident,)*) => {
        $(#[test]
        fn $test() {
            run(stringify!($target), targets::$target);
        })*

        const TARGETS: &[&str] = &[$(stringify!($target)),*];
    };
}

corpus! {
    specs_of_the_corpus = spec,
    templates_of_the_corpus = template,
    csv_files_of_the_corpus = csv,
    replies_of_the_corpus = reply,
    bodies_of_ollama_of_the_corpus = ollama,
    bodies_of_openai_of_the_corpus = openai,
    bodies_of_anthropic_of_the_corpus = anthropic,
    bodies_of_gemini_of_the_corpus = gemini,
    ledgers_of_the_corpus = ledger,
    documents_of_the_corpus = document,
    spss_files_of_the_corpus = sav,
    stata_files_of_the_corpus = dta,
    sheets_of_the_corpus = sheet,
    arrow_files_of_the_corpus = arrow,
    json_lists_of_the_corpus = json,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn run(name: &str, target: fn(&[u8])) {
    let inputs = folder().join("corpus").join(name);
    let names = names(&inputs);
    assert!(!names.is_empty(), "{name} has no corpus");
    for input in names {
        let bytes = std::fs::read(inputs.join(&input)).expect("an input");
        let thread = std::thread::Builder::new().name(format!("{name}/{input}")).stack_size(STACK);
        let ended = thread.spawn(move || target(&bytes)).expect("a thread").join();
        assert!(ended.is_ok(), "{name}/{input} broke it");
    }
}

#[test]
fn every_target_is_tested_and_has_its_program() {
    let mut corpus = names(&folder().join("corpus"));
    let mut targets: Vec<String> = TARGETS.iter().map(|&target| target.to_owned()).collect();
    targets.sort();
    assert_eq!(corpus, targets);
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).expect("the fuzz crate");
    for target in corpus.drain(..) {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{target}\"\npath = \"{target}.rs\"")), "{target}");
        assert!(folder().join(format!("{target}.rs")).exists(), "{target}.rs");
    }
}
