//! How long exact retrieval by vectors takes, and how much memory.
//!
//! ```text
//! cargo bench --bench retrieval                      # 100,000 queries in 100,000 rows of 384 numbers, k = 10
//! cargo bench --bench retrieval -- 10000 100000 768  # queries, rows, numbers of a vector
//! ```
//!
//! The real program reads two Parquet files with random vectors and writes the rows that were found. The line says the
//! time in seconds, and the most that the program held at once (Linux only). It judges nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use parquet::arrow::ArrowWriter;

const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const POLL: Duration = Duration::from_millis(10);
/// The rows of a batch that is written.
const BATCH: usize = 4096;

const SPEC: &str = r#"name = "retrieval"
[sources.queries]
type = "file"
path = "queries.parquet"
[sources.rows]
type = "file"
path = "rows.parquet"
[stages.found]
type = "retrieve"
input = "queries"
from = "rows"
vector_column = "vector"
k = 10
columns = ["id"]
[outputs.found]
input = "found"
path = "out/found.parquet"
drop = ["vector"]
"#;

fn main() {
    // `cargo bench` adds `--bench`; `cargo test --benches` checks only that this builds.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let numbers: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let of = |place: usize, default: usize| numbers.get(place).copied().unwrap_or(default);
    let (queries, rows, width) = (of(0, 100_000), of(1, 100_000), of(2, 384));
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("queries.parquet"), queries, width, 1);
    write(&folder.path().join("rows.parquet"), rows, width, 2);
    fs::write(folder.path().join("pipeline.toml"), SPEC).expect("a spec");
    let began = Instant::now();
    let mut program = Command::new(FANFOLD)
        .args(["run", "pipeline.toml", "-q"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program");
    let mut most = None;
    let ended = loop {
        most = high_water(program.id()).max(most);
        match program.try_wait().expect("a child") {
            Some(ended) => break ended,
            None => thread::sleep(POLL),
        }
    };
    assert!(ended.success(), "the run failed: {ended}");
    let most = most.map_or("unknown".to_owned(), |kib| format!("{} MiB", kib / 1024));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{queries} queries, {rows} rows, {width} numbers, {threads} threads: {:.1} s, {most}",
        began.elapsed().as_secs_f64()
    );
}

/// The most memory that a process has held, in KiB.
fn high_water(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Writes random vectors, which are about normally distributed.
fn write(path: &Path, rows: usize, width: usize, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut writer = None;
    for first in (0..rows).step_by(BATCH) {
        let count = BATCH.min(rows - first);
        let mut vectors: Vec<Option<Vec<Option<f32>>>> = Vec::with_capacity(count);
        for _ in 0..count {
            vectors.push(Some((0..width).map(|_| Some(unit() + unit() + unit())).collect()));
        }
        let ids: ArrayRef = Arc::new((first..first + count).map(|id| Some(id as i64)).collect::<Int64Array>());
        let vectors: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors));
        let batch = RecordBatch::try_from_iter([("id", ids), ("vector", vectors)]).expect("a batch");
        let writer = writer.get_or_insert_with(|| {
            let file = File::create(path).expect("a file");
            ArrowWriter::try_new(file, batch.schema(), None).expect("a writer")
        });
        writer.write(&batch).expect("a disk with space");
    }
    if let Some(writer) = writer {
        writer.close().expect("a file");
    }
}
