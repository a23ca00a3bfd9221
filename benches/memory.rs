//! How much memory a run needs at most: many rows, long rows, long conversations, wide tables and fan-outs; and how long
//! the commands take that look at a finished run.
//!
//! ```text
//! cargo bench --bench memory               # all cases; some minutes, and 25 GB in the folder of temporary files
//! cargo bench --bench memory -- --quick    # a tenth of the rows
//! cargo bench --bench memory -- survey     # only the cases whose names contain a word: short, long, survey, wide,
//!                                          # fan-out, looking
//! ```
//!
//! Each line is a run of the real program over the built-in mock model, then the same run again from the ledger alone,
//! without the tables of the first. The memory is the most that the program held (`VmHWM` of `/proc/PID/status`; Linux
//! only). A case with more than 300 MB fails the bench, and so does a look at a finished run that takes more than 3
//! seconds.

use std::fmt::{self, Display, Formatter, Write as _};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const MOST: u64 = 300 << 20;
/// For a look at a finished run.
const LONGEST: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);
const TEXTS: usize = 8 << 20;

struct Case {
    name: &'static str,
    rows: usize,
    /// The columns besides the key, and the bytes of a cell.
    columns: usize,
    cell: usize,
    stage: fn() -> String,
}

const CASES: [Case; 5] = [
    Case { name: "short: 2,000,000 rows of 40 bytes", rows: 2_000_000, columns: 1, cell: 40, stage: label },
    Case { name: "long: 10,000 rows of 500 kB", rows: 10_000, columns: 1, cell: 500_000, stage: label },
    Case { name: "survey: 200 questions x 2,000, memory", rows: 2_000, columns: 1, cell: 20, stage: survey },
    Case { name: "wide: 5,000 columns x 2,000 rows", rows: 2_000, columns: 5_000, cell: 4, stage: label },
    Case { name: "fan-out: 5 models, 5,000 rows of 50 kB", rows: 5_000, columns: 1, cell: 50_000, stage: fan_out },
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let quick = std::env::args().any(|word| word == "--quick");
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let texts = texts();
    let mut missed = Vec::new();
    println!("{:<40} {:>10} {:>8} {:>14} {:>8}", "case", "run", "", "ledger alone", "");
    for case in CASES.iter().filter(|case| is_wanted(case.name)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path(), case, if quick { case.rows.div_ceil(10) } else { case.rows }, &texts);
        let first = measure(folder.path(), &["run", "p.toml"]);
        let _ = fs::remove_dir_all(folder.path().join(".fanfold/runs"));
        let again = measure(folder.path(), &["run", "p.toml"]);
        let is_met = [&first, &again].iter().all(|run| run.is_well && run.peak <= MOST);
        println!("{:<40} {first} {again}   {}", case.name, verdict(is_met));
        missed.extend((!is_met).then_some(case.name.to_owned()));
    }
    if is_wanted("looking") {
        missed.extend(looking(if quick { 100_000 } else { 1_000_000 }, &texts));
    }
    assert!(missed.is_empty(), "more than {} MB, or more than {LONGEST:?}: {missed:?}", MOST >> 20);
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "pass" } else { "FAIL" }
}

/// Commands over a finished run. Returns those that miss a goal.
fn looking(rows: usize, texts: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), &Case { name: "", rows, columns: 1, cell: 40, stage: label }, rows, texts);
    measure(folder.path(), &["run", "p.toml"]);
    println!("\nlooking at {rows} rows that are done");
    let mut missed = Vec::new();
    let mut look = |name: &str, command: &[&str]| {
        let run = measure(folder.path(), command);
        let is_met = run.is_well && run.peak <= MOST && run.took <= LONGEST;
        println!("{name:<40} {run}   {}", verdict(is_met));
        missed.extend((!is_met).then_some(name.to_owned()));
    };
    for command in
        [&["plan", "p.toml"][..], &["status", "p.toml"], &["verify", "p.toml"], &["run", "p.toml"], &["ledger", "info"]]
    {
        look(&command.join(" "), command);
    }
    let _ = fs::remove_dir_all(folder.path().join(".fanfold/runs"));
    look("run p.toml, from the ledger alone", &["run", "p.toml"]);
    missed
}

fn label() -> String {
    "[stages.s]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"a\"]\nprompt = \"Tone? {{ c0 }}\"\n\
     output.tone = { type = \"string\", enum = [\"good\", \"bad\"] }\n"
        .to_owned()
}

fn fan_out() -> String {
    label().replace("[\"a\"]", "[\"a\", \"b\", \"c\", \"d\", \"e\"]\nfanout = true\norder = \"model-major\"")
}

fn survey() -> String {
    let mut text = "[stages.s]\ntype = \"survey\"\ninput = \"rows\"\nmodels = [\"a\"]\nmemory = true\n\
                    persona = \"You live in {{ c0 }}.\"\nquestions = [\n"
        .to_owned();
    for number in 0..200 {
        let question = "How much do you agree that this town is a good place to live, for young and for old people";
        let options = "options = [\"fully\", \"rather\", \"rather not\", \"not at all\"]";
        writeln!(text, "  {{ id = \"q{number}\", text = \"{question} ({number})?\", {options} }},").expect("a string");
    }
    text + "]\n"
}

/// 8 MB of words that differ, so that the texts do not vanish when they are compressed.
fn texts() -> String {
    let mut texts = String::with_capacity(TEXTS + 8);
    let mut dice = 1u64;
    while texts.len() < TEXTS {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(texts, "{:x} ", (dice >> 33) & 0xffff).expect("a string");
    }
    texts
}

fn write(folder: &Path, case: &Case, rows: usize, texts: &str) {
    let model = |name: char| format!("models.{name} = {{ provider = \"mock\", model = \"{name}\" }}\n");
    let models: String = ('a'..='e').map(model).collect();
    let tables = "sources.rows = { type = \"file\", path = \"rows.csv\", key = \"id\" }\n\
                  outputs.s = { input = \"s\", path = \"out.parquet\" }\n";
    fs::write(folder.join("p.toml"), format!("{models}{tables}{}", (case.stage)())).expect("a spec");
    let mut file = BufWriter::new(File::create(folder.join("rows.csv")).expect("a file"));
    let names: String = (0..case.columns).map(|column| format!(",c{column}")).collect();
    writeln!(file, "id{names}").expect("a header");
    for row in 0..rows {
        write!(file, "r{row}").expect("a row");
        for column in 0..case.columns {
            let start = (row * 2_654_435_761 + column * 40_503) % (texts.len() - case.cell);
            write!(file, ",{}", &texts[start..start + case.cell]).expect("a cell");
        }
        writeln!(file).expect("a row");
    }
    file.flush().expect("the rows");
}

/// A run of the program.
struct Measured {
    /// The most bytes that it held.
    peak: u64,
    took: Duration,
    /// Whether it ended with 0.
    is_well: bool,
}

impl Display for Measured {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} MB {:>6.1} s", self.peak >> 20, self.took.as_secs_f64())
    }
}

/// Runs the program to its end. What it said is shown if it failed.
fn measure(folder: &Path, arguments: &[&str]) -> Measured {
    let started = Instant::now();
    let log = File::create(folder.join("log.txt")).expect("a file");
    let mut command = Command::new(FANFOLD);
    command.args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().expect("the program starts");
    let (path, mut peak) = (format!("/proc/{}/status", child.id()), 0);
    let status = loop {
        let high_water = fs::read_to_string(&path).ok().and_then(|status| high_water(&status));
        peak = peak.max(high_water.unwrap_or(0));
        if let Some(status) = child.try_wait().expect("the program") {
            break status;
        }
        thread::sleep(POLL);
    };
    if !status.success() {
        println!("{arguments:?}: {status}\n{}", fs::read_to_string(folder.join("log.txt")).unwrap_or_default());
    }
    Measured { peak, took: started.elapsed(), is_well: status.success() }
}

/// The line `VmHWM:     1234 kB`, in bytes.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
