//! What a run on many workers costs besides its calls: the frozen plan, each worker, each part, and the merge.
//!
//! ```text
//! cargo bench --bench cluster                     # 1,000 workers, 1,000 parts of 200 rows: a few minutes
//! cargo bench --bench cluster -- 100 20000        # other numbers of workers and rows
//! ```
//!
//! Freezes a plan of the real program, runs each worker as the process that an engine would start, two at a time and
//! with the built-in mock model, and merges. Prints the time, the files and the bytes of each step, and what they come
//! to for 100 million rows and 1,000 workers with 20,000 rows in a part, which is some minutes of calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const PART: u64 = 200;
/// Workers that run at the same time.
const LANES: usize = 2;
/// The run that the figures are scaled to.
const MANY_ROWS: f64 = 1e8;
const MANY_PARTS: f64 = MANY_ROWS / 20_000.0;
const MANY_WORKERS: f64 = 1000.0;

struct Run {
    folder: tempfile::TempDir,
    rows: u64,
    workers: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let workers = numbers.next().unwrap_or(1000);
    let rows = numbers.next().unwrap_or(workers * PART);
    let run = Run { folder: tempfile::tempdir().expect("a temporary folder"), rows, workers };
    run.write();
    let parts = rows.div_ceil(PART);
    println!("{rows} rows, {parts} parts, {workers} workers");
    println!("{:<26}{:>9}{:>10}{:>12}", "step", "seconds", "files", "bytes");
    let on = workers.to_string();
    let freeze = ["run", "p.toml", "--on", "local", "--workers", &on, "--dry-run"];
    let freeze = run.step("freeze the plan", || run.run(&freeze));
    let dir = run.dir();
    let work = run.step("all workers and parts", || run.work(&dir));
    // What a worker costs before its first row: every part is taken.
    let start = run.step("workers that find no part", || run.work(&dir));
    let merge = run.step("merge and write the table", || run.run(&["run", "p.toml"]));

    let (by_rows, by_workers) = (MANY_ROWS / rows as f64, MANY_WORKERS / workers as f64);
    let part = (work.seconds - start.seconds).max(0.0) * LANES as f64 / rows as f64;
    println!("\nfor 100 million rows in {MANY_PARTS} parts by {MANY_WORKERS} workers:");
    println!("  freeze: {:.0} s, {:.1} GB", freeze.seconds * by_rows, freeze.bytes * by_rows / 1e9);
    println!("  start of the workers: {:.0} s of all processors", start.seconds * LANES as f64 * by_workers);
    println!("  rows: {:.0} us each, {:.0} s in each worker", part * 1e6, part * MANY_ROWS / MANY_WORKERS);
    println!("  parts, journals and claims: {:.1} GB", work.bytes * by_rows / 1e9);
    println!("  merge and table: {:.0} s in one process", merge.seconds * by_rows);
}

/// What a step took and left.
struct Step {
    seconds: f64,
    bytes: f64,
}

impl Run {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self) {
        let spec = format!(
            "models.m = {{ provider = \"mock\", model = \"m\" }}\n\
             sources.rows = {{ type = \"file\", path = \"rows.csv\", key = \"id\" }}\n\
             outputs.tone = {{ input = \"tone\", path = \"tone.parquet\" }}\n\
             [stages.tone]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"m\"]\nprompt = \"Tone? {{{{ text }}}}\"\n\
             output.tone = {{ type = \"string\", enum = [\"good\", \"bad\"] }}\nchunk_size = {PART}\n"
        );
        fs::write(self.path().join("p.toml"), spec).expect("a spec");
        let row = |number: u64| format!("r{number},Remark {number} on peace and plenty\n");
        let text: String = (0..self.rows).map(row).collect();
        fs::write(self.path().join("rows.csv"), format!("id,text\n{text}")).expect("a table");
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new(FANFOLD)
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The folder of the frozen run.
    fn dir(&self) -> PathBuf {
        let runs = fs::read_dir(self.path().join(".fanfold/runs")).expect("the runs").flatten();
        runs.map(|entry| entry.path()).find(|path| path.join("cluster/plan.json").exists()).expect("a frozen plan")
    }

    /// Runs every worker once, some at a time.
    fn work(&self, dir: &Path) {
        let (dir, next) = (dir.display().to_string(), AtomicU64::new(0));
        let lane = || {
            loop {
                let worker = next.fetch_add(1, Ordering::Relaxed);
                if worker >= self.workers {
                    return;
                }
                self.run(&["task", &dir, "tone", "--worker", &worker.to_string()]);
            }
        };
        thread::scope(|scope| {
            for _ in 0..LANES {
                scope.spawn(lane);
            }
        });
    }

    fn step(&self, name: &str, work: impl FnOnce()) -> Step {
        let (files, bytes) = self.held();
        let start = Instant::now();
        work();
        let seconds = start.elapsed().as_secs_f64();
        let (files_after, bytes_after) = self.held();
        let (files, bytes) = (files_after as i64 - files as i64, bytes_after as i64 - bytes as i64);
        println!("{name:<26}{seconds:>9.1}{files:>10}{bytes:>12}");
        Step { seconds, bytes: bytes as f64 }
    }

    /// The files and bytes of the project.
    fn held(&self) -> (u64, u64) {
        fn walk(folder: &Path, held: &mut (u64, u64)) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(data) = entry.metadata() else { continue };
                if data.is_dir() {
                    walk(&entry.path(), held);
                } else {
                    *held = (held.0 + 1, held.1 + data.len());
                }
            }
        }
        let mut held = (0, 0);
        walk(&self.path().join(".fanfold"), &mut held);
        held
    }
}
