//! How long the methods take for large tables, and how much memory.
//!
//! ```text
//! cargo bench --bench methods                          # 1,000,000 rows without a bootstrap: a few minutes
//! cargo bench --bench methods -- --bootstrap           # with 2,000 replicates too: many minutes
//! cargo bench --bench methods -- calibration 100000    # only cases with this in their name, another number of rows
//! ```
//!
//! Each line is a run of the real program that reads a CSV, computes one stage and writes its table: the processor time
//! and the time in seconds, and the most that the program held at once (Linux only). It judges nothing.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const BOOTSTRAP: &str = "bootstrap = { replicates = 2000 }";
const NO_BOOTSTRAP: &str = "bootstrap = { replicates = 0 }";
const POLL: Duration = Duration::from_millis(10);

/// A stage over one of the tables of [`write_tables`]. Whether it has a bootstrap, it does not say itself.
struct Case {
    name: &'static str,
    table: &'static str,
    stage: &'static str,
    has_bootstrap: bool,
}

const fn with(name: &'static str, table: &'static str, stage: &'static str) -> Case {
    Case { name, table, stage, has_bootstrap: true }
}

const fn without(name: &'static str, table: &'static str, stage: &'static str) -> Case {
    Case { has_bootstrap: false, ..with(name, table, stage) }
}

const CASES: [Case; 29] = [
    with("agreement, nominal", "labels", "type = 'agreement'\ncoders = ['a', 'b', 'c']"),
    with("agreement, nominal, by", "labels", "type = 'agreement'\ncoders = ['a', 'b', 'c']\nby = ['party']"),
    with("agreement, nominal, cluster", "labels", "type = 'agreement'\ncoders = ['a', 'b', 'c']\ncluster = 'author'"),
    with("agreement, nominal, pairs", "labels", "type = 'agreement'\ncoders = ['a', 'b', 'c']\npairs = true"),
    with("agreement, ordinal 0 to 100", "scores", "type = 'agreement'\ncoders = ['i', 'j', 'k']\nlevel = 'ordinal'"),
    with("agreement, ordinal", "scores", "type = 'agreement'\ncoders = ['x', 'y', 'z']\nlevel = 'ordinal'"),
    with("agreement, interval 0 to 100", "scores", "type = 'agreement'\ncoders = ['i', 'j', 'k']\nlevel = 'interval'"),
    with("agreement, interval", "scores", "type = 'agreement'\ncoders = ['x', 'y', 'z']\nlevel = 'interval'"),
    with(
        "agreement, interval, pairs",
        "scores",
        "type = 'agreement'\ncoders = ['x', 'y', 'z']\nlevel = 'interval'\npairs = true",
    ),
    with(
        "agreement, interval, by",
        "scores",
        "type = 'agreement'\ncoders = ['x', 'y', 'z']\nlevel = 'interval'\nby = ['party']",
    ),
    with("agreement, ratio", "scores", "type = 'agreement'\ncoders = ['x', 'y', 'z']\nlevel = 'ratio'"),
    without("sample, strata", "labels", "type = 'sample'\nn = 10000\nstrata = ['party', 'a']"),
    without("sample, many strata", "labels", "type = 'sample'\nn = 50000\nstrata = ['author']\nallocation = 'equal'"),
    without("sample, Sampford", "scores", "type = 'sample'\nn = 10000\nweight = 'x'"),
    with("validation, labels", "labels", "type = 'validation'\npredicted = ['a', 'b']\ntruth = 'c'"),
    with(
        "validation, labels, weight",
        "labels",
        "type = 'validation'\npredicted = ['a', 'b']\ntruth = 'c'\ninclusion_probability = 'p'",
    ),
    with(
        "validation, labels, by, cluster",
        "labels",
        "type = 'validation'\npredicted = ['a', 'b']\ntruth = 'c'\nby = ['party']\ncluster = 'author'",
    ),
    with("validation, 5,000 labels", "labels", "type = 'validation'\npredicted = ['many']\ntruth = 'others'"),
    with("validation, numbers", "scores", "type = 'validation'\npredicted = ['x', 'y']\ntruth = 'z'"),
    with("validation, texts", "texts", "type = 'validation'\npredicted = ['t', 'u']\ntruth = 'v'\ncompare = 'texts'"),
    with("calibration", "labels", "type = 'calibration'\nprob = 'prob'\npredicted = 'a'\ntruth = 'c'"),
    with(
        "calibration, fit",
        "labels",
        "type = 'calibration'\nprob = 'prob'\npredicted = 'a'\ntruth = 'c'\nfit = 'dev'\nsplit = 'test'\naccuracy = 0.9",
    ),
    without("ensemble, majority", "labels", "type = 'ensemble'\ncoders = ['a', 'b', 'c']\nmethod = 'majority'"),
    without("ensemble, weighted", "labels", "type = 'ensemble'\ncoders = ['a', 'b']\nmethod = 'weighted'\ntruth = 'c'"),
    without(
        "ensemble, Dawid and Skene",
        "labels",
        "type = 'ensemble'\ncoders = ['a', 'b', 'c', 'd', 'e']\nmethod = 'dawid_skene'",
    ),
    without("estimate, mean", "study", "type = 'estimate'\noutcome = 'machine'\ngold = 'human'\nsimple_random = true"),
    without(
        "estimate, ols, 21 predictors",
        "study",
        "type = 'estimate'\noutcome = 'score'\ngold = 'real'\nsimple_random = true\nmodel = 'ols'\nformula = 'y ~ party + year + size'",
    ),
    without(
        "estimate, ols, cluster",
        "study",
        "type = 'estimate'\noutcome = 'score'\ngold = 'real'\nsimple_random = true\nmodel = 'ols'\nformula = 'y ~ party + year + size'\n\
         cluster = 'author'",
    ),
    without(
        "estimate, logit, cluster",
        "study",
        "type = 'estimate'\noutcome = 'machine'\ngold = 'human'\nsimple_random = true\nmodel = 'logit'\nformula = 'y ~ party + year + size'\n\
         cluster = 'author'",
    ),
];

fn main() {
    // `cargo bench` adds `--bench`; `cargo test --benches` checks only that this builds.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let rows = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000u32);
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-') && argument.parse::<u32>().is_err());
    let bootstrap = arguments.iter().any(|argument| argument == "--bootstrap");
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_tables(folder.path(), rows);
    println!("{rows} rows{:<45}{:>9}{:>9}{:>10}", "", "CPU s", "wall s", "peak MB");
    let is_wanted = |case: &&Case| wanted.is_none_or(|wanted| case.name.contains(wanted.as_str()));
    for case in CASES.iter().filter(is_wanted) {
        // `agreement` has none by default, and then computes other standard errors.
        let other = if case.has_bootstrap && !case.name.starts_with("agreement") { NO_BOOTSTRAP } else { "" };
        measure(folder.path(), case, case.name, other);
        if bootstrap && case.has_bootstrap {
            measure(folder.path(), case, &format!("{}, 2,000 replicates", case.name), BOOTSTRAP);
        }
    }
}

fn measure(folder: &Path, case: &Case, name: &str, more: &str) {
    let types = types(case.table);
    let spec = format!(
        "seed = 1\n[sources.rows]\ntype = 'file'\npath = '{}.csv'\nkey = 'id'\ntypes = {{ {types} }}\n\
         [stages.made]\ninput = 'rows'\n{}\n{more}\n[outputs.made]\ninput = 'made'\npath = 'made.csv'\n",
        case.table, case.stage
    );
    fs::write(folder.join("p.toml"), spec).expect("the spec is written");
    let start = Instant::now();
    let mut command = Command::new(FANFOLD);
    command.args(["run", "p.toml"]).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let (mut ticks, mut peak) = (0, 0);
    while child.try_wait().expect("it runs").is_none() {
        ticks = ticks.max(processor_ticks(child.id()).unwrap_or(0));
        peak = peak.max(high_water(child.id()).unwrap_or(0));
        thread::sleep(POLL);
    }
    let wall = start.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    println!("{name:<57}{:>9.1}{wall:>9.1}{:>10.0}", ticks as f64 / 100.0, peak as f64 / 1e6);
    fs::remove_dir_all(folder.join(".fanfold")).expect("the runs are removed");
}

/// The processor time of a process, in hundredths of a second.
fn processor_ticks(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// The most that a process has held at once, in bytes.
fn high_water(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The columns that are not texts.
fn types(table: &str) -> &'static str {
    match table {
        "labels" => "id = 'integer', p = 'number', prob = 'number'",
        "scores" => {
            "id = 'integer', x = 'number', y = 'number', z = 'number', i = 'integer', j = 'integer', k = 'integer'"
        }
        "study" => {
            "id = 'integer', machine = 'integer', human = 'integer', score = 'number', real = 'number', \
             year = 'integer', size = 'number'"
        }
        _ => "id = 'integer'",
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014, <https://doi.org/10.1145/2660193.2660195>): a number from 0 to 1.
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Writes a CSV of labels, one of scores that are nearly all different, one of texts and one of a study.
fn write_tables(folder: &Path, rows: u32) {
    let table = |name: &str, header: &str, row: &dyn Fn(&mut String, &mut u64)| {
        let file = fs::File::create(folder.join(format!("{name}.csv"))).expect("the table is made");
        let (mut file, mut state, mut line) = (BufWriter::new(file), rows.into(), String::new());
        writeln!(file, "id,{header}").expect("the header is written");
        for id in 0..rows {
            line.clear();
            row(&mut line, &mut state);
            writeln!(file, "{id},{line}").expect("a row is written");
        }
    };
    table("labels", "party,author,a,b,c,d,e,p,prob,split,many,others", &|line, state| {
        let mut below = |end: u32| (unit(state) * f64::from(end)) as u32;
        let (truth, topic) = (below(5), below(5000));
        write!(line, "party {},author {}", below(20), below(10_000)).expect("a string");
        for coder in 0..5 {
            let label = if below(100) < 60 + 5 * coder { truth } else { below(5) };
            write!(line, ",label {label}").expect("a string");
        }
        let split = if below(5) < 2 { "dev" } else { "test" };
        let other = if below(10) < 7 { topic } else { below(5000) };
        let (p, prob) = (f64::from(1 + below(4)) / 4.0, unit(state));
        write!(line, ",{p},{prob},{split},topic {topic},topic {other}").expect("a string");
    });
    table("scores", "party,x,y,z,i,j,k", &|line, state| {
        let real = unit(state) * 80.0;
        write!(line, "party {}", (unit(state) * 20.0) as u32).expect("a string");
        let scores = [0; 3].map(|_: u32| real + 20.0 * unit(state));
        scores.iter().for_each(|score| write!(line, ",{score}").expect("a string"));
        scores.iter().for_each(|score| write!(line, ",{}", *score as u32).expect("a string"));
    });
    table("texts", "t,u,v", &|line, state| {
        let words = ["peace", "war", "law", "tax", "school", "road", "people", "nation", "health", "work"];
        let text: Vec<usize> = (0..8).map(|_| (unit(state) * 10.0) as usize).collect();
        let texts = [0; 3].map(|_: u32| {
            let word = |i: &usize| words[if unit(state) < 0.1 { (i + 1) % 10 } else { *i }];
            text.iter().map(word).collect::<Vec<&str>>().join(" ")
        });
        write!(line, "{}", texts.join(",")).expect("a string");
    });
    table("study", "party,author,machine,human,score,real,year,size", &|line, state| {
        let (party, author) = ((unit(state) * 20.0) as u32, (unit(state) * 10_000.0) as u32);
        let (year, size) = (1950 + (unit(state) * 70.0) as u32, unit(state));
        let real = f64::from(party) / 10.0 + size + unit(state);
        let score = real + 0.5 * unit(state);
        let is_gold = unit(state) < 0.01;
        let gold = |value: String| if is_gold { value } else { String::new() };
        let human = u8::from(real > 2.0);
        let machine = if unit(state) < 0.9 { human } else { 1 - human };
        let (human, real) = (gold(human.to_string()), gold(real.to_string()));
        write!(line, "party {party},author {author},{machine},{human},{score},{real},{year},{size}").expect("a string");
    });
}
