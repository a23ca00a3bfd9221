//! How often the intervals of `estimate` cover the truth, in simulated studies.
//!
//! ```text
//! cargo bench --bench coverage     # 2,000 studies: a few minutes
//! cargo bench --bench coverage -- 200
//! ```
//!
//! A study has 5,000 documents, of which 30 % are positive. A machine reads them with sensitivity 0.90 and specificity
//! 0.80; people code 300 that `sample` draws. All studies are rows of one table, and `by` keeps them apart: the program
//! draws the samples, joins the codes and estimates the share. A line of the output has a method, how many of its 95 %
//! intervals contain 0.3, their mean width, the mean estimate, and the mean standard error beside the standard
//! deviation of the estimates.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;

const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const DOCUMENTS: u32 = 5000;
const CODES: u32 = 300;
const SHARE: f64 = 0.3;
/// Studies in one run of the program.
const AT_ONCE: u32 = 100;
const METHODS: [&str; 5] = ["naive", "gold_only", "dsl", "ppi", "ppi++"];

fn main() {
    // `cargo bench` adds `--bench`; `cargo test --benches` checks only that this builds.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let studies = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(2000u32);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut found = METHODS.map(|_| Vec::new());
    for first in (0..studies).step_by(AT_ONCE as usize) {
        let count = AT_ONCE.min(studies - first);
        write_tables(folder.path(), first, count);
        fs::write(folder.path().join("p.toml"), spec(first, count)).expect("the spec is written");
        let ran = Command::new(FANFOLD).args(["run", "p.toml"]).current_dir(folder.path()).output().expect("it starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        add(&folder.path().join("effect.csv"), &mut found);
        eprintln!("{} of {studies} studies", first + count);
        fs::remove_dir_all(folder.path().join(".fanfold")).expect("the runs are removed");
    }
    println!("{studies} studies of {DOCUMENTS} documents, {CODES} of them coded; the share is {SHARE}");
    println!("{:<12}{:>10}{:>10}{:>10}{:>12}{:>12}", "", "covered", "width", "mean", "std error", "deviation");
    for (method, intervals) in METHODS.iter().zip(&found) {
        assert_eq!(intervals.len(), studies as usize, "{method}");
        println!("{method:<12}{}", line(intervals));
    }
}

/// An estimate with its standard error and the ends of its interval.
type Interval = [f64; 4];

fn line(intervals: &[Interval]) -> String {
    let n = intervals.len() as f64;
    let mean = |of: &dyn Fn(&Interval) -> f64| intervals.iter().map(of).sum::<f64>() / n;
    let covered = 100.0 * mean(&|i| f64::from(u8::from(i[2] <= SHARE && SHARE <= i[3])));
    let (width, estimate, error) = (mean(&|i| i[3] - i[2]), mean(&|i| i[0]), mean(&|i| i[1]));
    let deviation = (mean(&|i| (i[0] - estimate).powi(2)) * n / (n - 1.0)).sqrt();
    let mut line = String::new();
    write!(line, "{covered:>8.1} %{width:>10.4}{estimate:>10.4}{error:>12.5}{deviation:>12.5}").expect("a string");
    line
}

/// SplitMix64 (Steele, Lea and Flood 2014, <https://doi.org/10.1145/2660193.2660195>): a number from 0 to 1.
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Writes what the machine and what people say about each document.
fn write_tables(folder: &Path, first: u32, count: u32) {
    let open = |name| BufWriter::new(fs::File::create(folder.join(name)).expect("the table is made"));
    let (mut machine, mut people) = (open("machine.csv"), open("people.csv"));
    machine.write_all(b"id,study,machine\n").and(people.write_all(b"id,human\n")).expect("the header is written");
    for study in first..first + count {
        let mut state = u64::from(study).wrapping_mul(0xd134_2543_de82_ef95);
        for document in 0..DOCUMENTS {
            let truth = unit(&mut state) < SHARE;
            let label = unit(&mut state) < if truth { 0.9 } else { 0.2 };
            let id = u64::from(study) * u64::from(DOCUMENTS) + u64::from(document);
            writeln!(machine, "{id},{study},{}", u8::from(label)).expect("a row is written");
            writeln!(people, "{id},{}", u8::from(truth)).expect("a row is written");
        }
    }
}

fn spec(first: u32, count: u32) -> String {
    format!(
        r#"
seed = {first}
[sources.machine]
type = "file"
path = "machine.csv"
key = "id"
types = {{ id = "integer", study = "integer", machine = "integer" }}
[sources.people]
type = "file"
path = "people.csv"
key = "id"
types = {{ id = "integer", human = "integer" }}
[stages.drawn]
type = "sample"
input = "machine"
n = {codes}
strata = ["study"]
allocation = "equal"
[stages.codes]
type = "join"
input = "drawn"
with = "people"
on = ["id"]
[stages.coded]
type = "join"
input = "machine"
with = "codes"
on = ["id"]
columns = ["human", "inclusion_probability"]
[stages.effect]
type = "estimate"
input = "coded"
outcome = "machine"
gold = "human"
methods = {METHODS:?}
by = ["study"]
[outputs.effect]
input = "effect"
path = "effect.csv"
"#,
        codes = CODES * count
    )
}

/// Adds the intervals of each study in the table.
fn add(path: &Path, found: &mut [Vec<Interval>; 5]) {
    let text = fs::read_to_string(path).expect("the table is there");
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let place = |name: &str| header.iter().position(|other| *other == name).expect("a column");
    let (study, statistic, method) = (place("study"), place("statistic"), place("method"));
    let numbers = ["estimate", "std_error", "ci_low", "ci_high"].map(place);
    for cells in lines.filter(|cells| !cells[study].is_empty() && cells[statistic] == "mean") {
        let method = METHODS.iter().position(|name| *name == cells[method]).expect("a method");
        found[method].push(numbers.map(|column| cells[column].parse().expect("a number")));
    }
}
