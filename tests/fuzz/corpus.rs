//! The corpus of the fuzz targets as plain tests: no input may panic, on a stack that is smaller than a worker's.
//!
//! The targets, and the command that fuzzes them, are in `tests/fuzz/targets.rs`. Without a nightly compiler,
//! `FUZZ=sav,sheet FUZZ_SECONDS=300 cargo test --lib -- --ignored mutated` changes the inputs at random.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

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

        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($target), targets::$target)),*];
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
    programs_of_the_corpus = program,
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

/// The inputs of a target, with their names.
fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("corpus").join(name);
    let names = names(&folder);
    assert!(!names.is_empty(), "{name} has no corpus");
    let read = |input: String| (input.clone(), std::fs::read(folder.join(input)).expect("an input"));
    names.into_iter().map(read).collect()
}

/// Whether the target ends without a panic.
fn passes(name: String, target: fn(&[u8]), bytes: Vec<u8>) -> bool {
    let thread = std::thread::Builder::new().name(name).stack_size(STACK);
    thread.spawn(move || target(&bytes)).expect("a thread").join().is_ok()
}

fn run(name: &str, target: fn(&[u8])) {
    for (input, bytes) in inputs(name) {
        assert!(passes(format!("{name}/{input}"), target, bytes), "{name}/{input} broke it");
    }
}

/// The input with one to four random changes.
fn mutated(random: &mut StdRng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let from = random.random_range(0..=bytes.len());
        let end = bytes.len().min(from + random.random_range(1..=16));
        match random.random_range(0..7) {
            0 => random.fill_bytes(&mut bytes[from..end]),
            1 => drop(bytes.drain(from..end)),
            2 => {
                let again = bytes[from..end].repeat(random.random_range(1..40));
                bytes.splice(from..from, again);
            }
            3 => bytes.truncate(from),
            4 => {
                let start = random.random_range(0..=other.len());
                bytes.splice(from..end, other[start..other.len().min(start + 64)].iter().copied());
            }
            5 => bytes[from..end].fill([0, 0xff, 0x7f, 0x80][random.random_range(0..4)]),
            _ if from < end => bytes[from] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
    bytes
}

#[test]
#[ignore = "takes FUZZ_SECONDS for each target in FUZZ"]
fn mutated_inputs_of_the_corpus() {
    let chosen = std::env::var("FUZZ").unwrap_or_default();
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut random = StdRng::from_rng(&mut rand::rng());
    let is_chosen = |name: &str| chosen.is_empty() || chosen.split(',').any(|other| other == name);
    let mut broken = Vec::new();
    for (name, target) in TARGETS.iter().filter(|(name, _)| is_chosen(name)) {
        let (inputs, started, mut tried) = (inputs(name), Instant::now(), 0_u64);
        while started.elapsed() < Duration::from_secs(seconds) {
            let mut pick = || &inputs[random.random_range(0..inputs.len())].1;
            let (one, other) = (pick(), pick());
            let bytes = mutated(&mut random, one, other);
            let begun = Instant::now();
            let passed = passes(format!("{name}/mutated"), *target, bytes.clone());
            tried += 1;
            if !passed || begun.elapsed() > Duration::from_secs(20) {
                let path = std::env::temp_dir().join(format!("fanfold-{name}-{tried}"));
                std::fs::write(&path, bytes).expect("the input is kept");
                broken.push(path);
            }
        }
        println!("{name}: {tried} inputs");
    }
    assert!(broken.is_empty(), "these inputs broke a target or took long: {broken:?}");
}

#[test]
fn every_target_is_tested_and_has_its_program() {
    let mut corpus = names(&folder().join("corpus"));
    let mut targets: Vec<String> = TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    targets.sort();
    assert_eq!(corpus, targets);
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).expect("the fuzz crate");
    for target in corpus.drain(..) {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{target}\"\npath = \"{target}.rs\"")), "{target}");
        assert!(folder().join(format!("{target}.rs")).exists(), "{target}.rs");
    }
}
