//! How fast the model in the process is, beside a llama.cpp server with the same file and as many threads.
//!
//! ```text
//! cargo bench --bench embedded     # some minutes
//! ```
//!
//! It prints a table and judges nothing: figures depend on the machine and on what else runs on it, so that only the
//! ratios of one table mean something. Without Python or PyPI there is no server, and only our own figures are shown.
//!
//! Both sides are asked by the real program, by runs over the same rows that differ in their provider alone:
//!
//! - **start**: a run of one row with a reply of one token. Ours loads the weights; the server has loaded them, and the
//!   time in brackets is how long it took from being started until it was ready.
//! - **prompt**: rows of about 400 tokens, no two of which begin alike, with replies of one token. Tokens of the prompts
//!   by time.
//! - **reply**: short rows with replies of at most 96 tokens. Tokens of the replies by time; that of the short prompts is
//!   in it.
//! - **memory**: the most that was held at once (`VmHWM` of `/proc/PID/status`, Linux only): by the program with our
//!   model in it, by the server alone.
//!
//! The time of a speed is that of a run less that of a run of one row, so that no start is in it.

#[path = "../tests/suite/llama.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod llama;
#[path = "../tests/suite/venv.rs"]
mod venv;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use llama::Llama;
use serde_json::Value;
use tempfile::TempDir;

/// The program that is measured.
const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const SPEC: &str = "p.toml";
const PARAGRAPHS: &str = include_str!("../pipelines/data/paragraphs.csv");
const POLL: Duration = Duration::from_millis(10);
/// Calls in flight.
const FLIGHTS: [usize; 2] = [1, 8];

fn main() {
    if cfg!(debug_assertions) {
        println!("a speed check of an unoptimised build says nothing; run `cargo bench --bench embedded`");
        return;
    }
    let models = models();
    let pulled = Command::new(FANFOLD).args(["models", "pull"]).env("FANFOLD_MODELS", &models).status();
    if !pulled.expect("the program can be started").success() {
        println!("SKIPPED: there are no weights");
        return;
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    println!("{threads} threads on each side\n");
    println!("{:<32}{:>14}{:>14}{:>10}", "", "embedded", "llama.cpp", "ratio");
    for calls in FLIGHTS {
        let started = Instant::now();
        let server = Llama::start_with(threads, calls);
        let ready = started.elapsed();
        if let Err(why) = &server {
            println!("SKIPPED: no llama.cpp server: {why}");
        }
        let ours = Side::of(&models, None, calls);
        let theirs = server.as_ref().ok().map(|server| Side::of(&models, Some(server.url()), calls));
        println!("{calls} in flight");
        line("  start, s", ours.start, theirs.as_ref().map(|side| side.start));
        if theirs.is_some() {
            println!("  {:<30}{:>28}", "", format!("({:.2} to be ready)", ready.as_secs_f64()));
        }
        line("  prompt, tokens/s", ours.prompt, theirs.as_ref().map(|side| side.prompt));
        line("  reply, tokens/s", ours.reply, theirs.as_ref().map(|side| side.reply));
        let memory = server.as_ref().ok().and_then(|_| child_peak());
        line("  memory, MiB", mebibytes(ours.peak), memory.map(|peak| mebibytes(Some(peak))));
    }
}

/// What one side does with this many calls in flight.
struct Side {
    start: f64,
    prompt: f64,
    reply: f64,
    peak: Option<u64>,
}

impl Side {
    fn of(models: &Path, server: Option<&str>, calls: usize) -> Self {
        let run = |rows: &[String], tokens| Run::of(&project(rows, server, calls, tokens), models);
        let first = "Nothing that comes later".to_owned();
        let with = |rows: Vec<String>| [vec![first.clone()], rows].concat();
        let start = run(std::slice::from_ref(&first), 1);
        let prompt = run(&with(long(8 + 3 * calls)), 1);
        let reply = run(&with(short(8 * calls)), 96);
        let speed = |run: &Run, tokens: fn(&Run) -> u64| {
            (tokens(run) - tokens(&start)) as f64 / (run.wall.saturating_sub(start.wall)).as_secs_f64()
        };
        Side {
            start: start.wall.as_secs_f64(),
            prompt: speed(&prompt, |run| run.prompt_tokens),
            reply: speed(&reply, |run| run.reply_tokens),
            peak: start.peak.max(prompt.peak).max(reply.peak),
        }
    }
}

/// A run of the program.
struct Run {
    wall: Duration,
    peak: Option<u64>,
    prompt_tokens: u64,
    reply_tokens: u64,
}

impl Run {
    fn of(folder: &TempDir, models: &Path) -> Self {
        let start = Instant::now();
        let mut child = Command::new(FANFOLD)
            .args(["run", SPEC])
            .current_dir(folder.path())
            .env("FANFOLD_MODELS", models)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let mut peak = None;
        // Most replies are cut off and their rows fail, so the exit code says nothing; the manifest does.
        while child.try_wait().expect("a child can be waited for").is_none() {
            peak = peak.max(high_water(child.id()));
            thread::sleep(POLL);
        }
        let wall = start.elapsed();
        let runs = fs::read_dir(folder.path().join(".fanfold/runs")).expect("a run has a folder");
        let run = runs.flatten().find(|entry| entry.path().join("manifest.json").exists()).expect("a manifest");
        let manifest = fs::read(run.path().join("manifest.json")).expect("a manifest can be read");
        let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest is JSON");
        let tokens = |key: &str| {
            let stage = manifest["stages"].as_array().and_then(|s| s.first()).or(manifest["stages"].get("tell"));
            stage.and_then(|stage| stage[key].as_u64()).unwrap_or_else(|| panic!("no {key} in {manifest:#}"))
        };
        let (prompt_tokens, reply_tokens) = (tokens("prompt_tokens"), tokens("completion_tokens"));
        assert!(reply_tokens > 0, "nothing was answered: {manifest:#}");
        Run { wall, peak, prompt_tokens, reply_tokens }
    }
}

fn line(name: &str, ours: f64, theirs: Option<f64>) {
    match theirs {
        Some(theirs) => println!("{name:<32}{ours:>14.2}{theirs:>14.2}{:>10.2}", ours / theirs),
        None => println!("{name:<32}{ours:>14.2}{:>14}{:>10}", "-", "-"),
    }
}

fn mebibytes(bytes: Option<u64>) -> f64 {
    bytes.map_or(f64::NAN, |bytes| bytes as f64 / 1_048_576.0)
}

/// Where the weights are.
fn models() -> PathBuf {
    let set = std::env::var_os("FANFOLD_MODELS").filter(|folder| !folder.is_empty());
    set.map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("models"), PathBuf::from)
}

/// Texts of about 400 tokens: words of the paragraphs, in their own order.
fn long(count: usize) -> Vec<String> {
    let words: Vec<&str> = PARAGRAPHS.split_whitespace().collect();
    let word = |i: usize, k: usize| words[(i * 311 + k * (i % 7 + 1)) % words.len()];
    (0..count).map(|i| format!("{i} {}", (0..280).map(|k| word(i, k)).collect::<Vec<_>>().join(" "))).collect()
}

/// Short texts.
fn short(count: usize) -> Vec<String> {
    let things =
        ["a ship", "an old clock", "two brothers", "the sea", "a lost letter", "a mountain", "a dog", "winter"];
    (0..count).map(|i| format!("{} and the number {i}", things[i % things.len()])).collect()
}

/// A folder with a spec and these rows.
fn project(rows: &[String], server: Option<&str>, calls: usize, max_tokens: u32) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let rows = rows.iter().enumerate().map(|(i, text)| serde_json::json!({ "id": i.to_string(), "text": text }));
    let rows: String = rows.map(|row| format!("{row}\n")).collect();
    fs::write(folder.path().join("rows.jsonl"), rows).expect("the temporary folder takes the rows");
    let (provider, model) = match server {
        Some(url) => (format!("type = \"openai\"\nbase_url = \"{url}/v1\""), llama::MODEL),
        None => ("type = \"embedded\"".to_owned(), "smollm2-135m"),
    };
    let spec = format!(
        r#"name = "speed"
seed = 1

[providers.p]
{provider}
max_concurrent_calls = {calls}

[models.m]
provider = "p"
model = "{model}"
temperature = 0.0
max_tokens = {max_tokens}

[sources.rows]
type = "file"
path = "rows.jsonl"
key = "id"

[stages.tell]
type = "analysis"
input = "rows"
models = ["m"]
workers = {calls}
max_attempts = 1
prompt = "{{{{ text }}}}: go on from here and tell a very long story."

[outputs.told]
input = "tell"
path = "out/told.parquet"
"#
    );
    fs::write(folder.path().join(SPEC), spec).expect("the temporary folder takes a spec");
    folder
}

/// The most memory that process `id` has held at once, in bytes.
fn high_water(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The same for the only child of this process: the server.
fn child_peak() -> Option<u64> {
    let children = fs::read_to_string("/proc/thread-self/children").ok()?;
    high_water(children.split_whitespace().next()?.parse().ok()?)
}
