//! How large a project becomes when its data are edited: 50 MB of text, then ten edits of some rows, a run after each.
//!
//! ```text
//! cargo bench --bench disk               # 50 MB
//! cargo bench --bench disk -- --quick    # 5 MB
//! ```
//!
//! Each line is a run of the real program over the built-in mock model. The bench fails if the project's folder has more
//! than three times the bytes of the input, or if an earlier run can't be read.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const WORDS_OF_A_ROW: u64 = 340;
const SPEC: &str = r#"
models.a = { provider = "mock", model = "a" }
sources.rows = { type = "file", path = "rows.csv", key = "id" }
outputs.s = { input = "s", path = "out.parquet" }

[stages.s]
type = "analysis"
input = "rows"
models = ["a"]
prompt = "Tone? {{ text }}"
output.tone = { type = "string", enum = ["good", "bad"] }
"#;

fn main() {
    let bytes: usize = if std::env::args().any(|word| word == "--quick") { 5_000_000 } else { 50_000_000 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("p.toml"), SPEC).expect("a spec");
    let words = words();
    let mut rows: Vec<(String, u64)> = (0..bytes as u64 / 2_000).map(|row| (format!("r{row}"), row)).collect();
    println!("{:<6} {:>10} {:>12} {:>8} {:>8}", "edit", "input", ".fanfold", "times", "run");
    let mut times = 0.0;
    for edit in 0..=10 {
        if edit > 0 {
            change(&mut rows, edit);
        }
        let input = write(folder.path(), &rows, &words);
        let started = Instant::now();
        fanfold(folder.path(), &["run", "p.toml"]);
        let took = started.elapsed().as_secs_f64();
        let size = size(&folder.path().join(".fanfold"));
        times = size as f64 / input as f64;
        println!("{edit:<6} {:>7.1} MB {:>9.1} MB {times:>8.2} {took:>6.1} s", input as f64 / 1e6, size as f64 / 1e6);
    }
    // The second run is in pieces: it is compared with the last one.
    let first = fs::read_to_string(folder.path().join(".fanfold/history.jsonl")).expect("the history");
    let name = first.lines().nth(1).and_then(|line| line.split('"').nth(3)).expect("a name").to_owned();
    fanfold(folder.path(), &["diff", "p.toml", &name]);
    println!("{}", if times < 3.0 { "pass: below 3 times the input" } else { "FAIL: 3 times the input or more" });
    assert!(times < 3.0);
}

/// Five rows change, one is new, and one is gone.
fn change(rows: &mut Vec<(String, u64)>, edit: u64) {
    let count = rows.len() as u64;
    for number in 0..5 {
        rows[((edit * 7_919 + number * 104_729) % count) as usize].1 = 1_000_000 + edit * 10 + number;
    }
    rows.insert((edit * 31 % count) as usize, (format!("n{edit}"), 2_000_000 + edit));
    rows.remove((edit * 65_537 % count) as usize);
}

/// 3,000 invented words of two to four syllables.
fn words() -> Vec<String> {
    let syllables =
        ["ba", "de", "ki", "lo", "mu", "na", "po", "re", "si", "tu", "va", "ze", "an", "er", "in", "on", "st", "th"];
    let word = |number: u64| {
        let mut dice = mixed(number);
        let count = 2 + dice % 3;
        let syllable = |_| {
            dice /= 18;
            syllables[(dice % 18) as usize]
        };
        (0..count).map(syllable).collect::<String>()
    };
    (0..3000).map(word).collect()
}

fn write(folder: &Path, rows: &[(String, u64)], words: &[String]) -> u64 {
    let path = folder.join("rows.csv");
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    writeln!(file, "id,text").expect("a header");
    for (id, seed) in rows {
        let word = |number: u64| {
            // Some words are frequent, as in a language.
            let dice = mixed(seed * 1_000 + number);
            words[((dice % 3000) * ((dice >> 32) % 3000) / 3000) as usize].as_str()
        };
        let text: Vec<&str> = (0..WORDS_OF_A_ROW).map(word).collect();
        writeln!(file, "{id},{}", text.join(" ")).expect("a row");
    }
    file.flush().expect("the rows");
    fs::metadata(path).expect("the rows").len()
}

/// SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fanfold(folder: &Path, arguments: &[&str]) {
    let log = File::create(folder.join("log.txt")).expect("a file");
    let status = Command::new(FANFOLD).args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(log).status();
    let code = status.expect("the program starts").code();
    // `diff` ends with 1 if the tables differ.
    let is_well = code == Some(0) || (code == Some(1) && arguments[0] == "diff");
    assert!(is_well, "{arguments:?}: {}", fs::read_to_string(folder.join("log.txt")).unwrap_or_default());
}

fn size(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
        Err(_) => fs::symlink_metadata(path).map_or(0, |file| file.len()),
    }
}
