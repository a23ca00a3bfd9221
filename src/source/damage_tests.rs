//! Damaged files of every binary format: cut anywhere, with absurd numbers, or with changed bytes. The files are those of
//! the corpus of the fuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};

use super::{File, FileFormat, Source};

/// The most time for one damaged file; whole ones take a hundredth of it.
const TIME: Duration = Duration::from_secs(20);

fn corpus(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(folder);
    let paths = std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path());
    // The others are parts of files.
    paths.filter(|path| FileFormat::of(path).is_some()).collect()
}

/// The number of rows, or the message of the error.
fn read(folder: &Path, name: &str, format: FileFormat) -> Result<usize, String> {
    let source = File { path: name.to_owned(), format: Some(format), ..File::default() };
    let rows = || -> Result<usize, super::SourceError> {
        source.read(folder)?.map(|batch| batch.map(|batch| batch.num_rows())).sum()
    };
    rows().map_err(|error| error.message)
}

fn check(folder: &str) {
    for path in corpus(folder) {
        let (bytes, name) = (std::fs::read(&path).unwrap(), path.file_name().unwrap().to_str().unwrap().to_owned());
        let format = FileFormat::of(&path).unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let attempt = |bytes: &[u8], what: &str| {
            std::fs::write(temporary.path().join(&name), bytes).unwrap();
            let started = Instant::now();
            let read = catch_unwind(AssertUnwindSafe(|| read(temporary.path(), &name, format)));
            assert!(started.elapsed() < TIME, "{name} {what} took {:?}", started.elapsed());
            let read = read.unwrap_or_else(|_| panic!("{name} {what} made the reader panic"));
            if let Err(message) = &read {
                let lines = message.lines().count();
                assert!(message.starts_with(&format!("{name}: ")) && lines == 1, "{name} {what}: {message}");
            }
            read
        };
        assert_eq!(attempt(&bytes, "as it is"), Ok(2));
        for length in (0..bytes.len()).step_by(bytes.len() / 150 + 1) {
            let read = attempt(&bytes[..length], &format!("cut at {length}"));
            assert!(read.is_err(), "{name} cut at {length} has {read:?} rows");
        }
        // Absurd counts and lengths at any place: memory that a file only claims would end the process.
        for at in (0..bytes.len().saturating_sub(8)).step_by(4) {
            for claim in [i64::from(i32::MAX), 1 << 40] {
                let mut changed = bytes.clone();
                let size = if claim > i64::from(i32::MAX) { 8 } else { 4 };
                changed[at..at + size].copy_from_slice(&claim.to_le_bytes()[..size]);
                drop(attempt(&changed, &format!("with {claim} at {at}")));
            }
        }
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        for number in 0..150 {
            let mut changed = bytes.clone();
            for _ in 0..=number % 4 {
                let at = random.random_range(0..changed.len());
                changed[at] = random.random();
            }
            drop(attempt(&changed, &format!("with change {number}")));
        }
    }
}

#[test]
fn damaged_spss_files() {
    check("sav");
}

#[test]
fn damaged_stata_files() {
    check("dta");
}

#[test]
fn damaged_sheets() {
    check("sheet");
}

#[test]
fn damaged_arrow_files() {
    check("arrow");
}
