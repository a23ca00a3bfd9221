//! How fast fanfold is over a model server that costs nothing, and how near to the best possible over a slow one.
//!
//! ```text
//! cargo bench --bench throughput              # about a minute
//! cargo bench --bench throughput -- --full    # also the memory of 100,000 and 1,000,000 rows: some minutes more
//! cargo bench --bench throughput -- --replay  # only export, verification and replay of 1,000,000 calls
//! ```
//!
//! It prints a table and judges nothing: figures depend on the machine and on what else runs on it. It fails only where
//! a figure would mean nothing: a run ended with an error, or the server was not asked once per row.
//!
//! Each line is a run of the real program, from its start to its end, over its own folder: short rows in a CSV,
//! one stage, one Parquet output. The server lives in this process and takes part of the same processor. What is in
//! the columns:
//!
//! - **time**: from starting the program until it has ended.
//! - **rows/s**: rows by that time.
//! - **of ideal**: the ideal is a run in which no lane is ever idle: the time that the server held the requests, as
//!   measured there from the last byte read to the last byte written, by the number of lanes. Given where the server
//!   is slow; without a latency it would say nothing about the program.
//! - **memory**: the most that the program held at once (`VmHWM` of `/proc/PID/status`, read every 20 ms; Linux only).

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use server::{Latency, Served, Server};

/// The program that is measured.
const FANFOLD: &str = env!("CARGO_BIN_EXE_fanfold");
const SPEC: &str = "p.toml";
/// `workers` and `batch_size` of the spec; their product is the number of requests in flight.
const WORKERS: u32 = 8;
const BATCH: u32 = 8;
const LANES: u32 = WORKERS * BATCH;
const VALIDATIONS: usize = 20;
const POLL: Duration = Duration::from_millis(20);

fn main() {
    if cfg!(debug_assertions) {
        println!("a speed check of an unoptimised build says nothing; run `cargo bench --bench throughput`");
        return;
    }
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let full = asked("--full");
    let server = Server::start();
    headings();
    if asked("--replay") {
        return replay(&server);
    }
    quick(&server);
    slow(&server, "50 ms, parts of 1,000", Latency::STEADY);
    slow(&server, "50 ms, 2 % 500 ms, parts of 1,000", Latency::TAILED);
    if full {
        memory(&server);
    } else {
        println!("\nthe memory of 100,000 and 1,000,000 rows is left out; `-- --full` measures it, in some minutes");
    }
}

/// How fast it is by itself: calls, then answers from the ledger, then a spec that is only read.
fn quick(server: &Server) {
    let rows = 50_000;
    let folder = project(server, rows, None);
    server.set(Latency::NONE);
    Figures::of(server, &folder, rows).print("0 ms");
    fs::remove_dir_all(folder.path().join(".fanfold/runs")).expect("a finished run has a folder");
    Figures::of(server, &folder, 0).with_rows(rows).print("the same again, from the ledger");
    println!("{:<44}{:>11}{:>9.1} ms", "`fanfold validate`, median of 20", "", validation(&folder));
}

/// How near it comes to the ideal over a server that takes its time.
fn slow(server: &Server, name: &str, latency: Latency) {
    let rows = 20_000;
    let folder = project(server, rows, Some(1_000));
    server.set(latency);
    Figures::of(server, &folder, rows).with_ideal().print(name);
}

/// Whether memory grows with the number of rows.
fn memory(server: &Server) {
    server.set(Latency::NONE);
    let peak = |rows| {
        let figures = Figures::of(server, &project(server, rows, None), rows);
        figures.print("0 ms");
        figures.peak
    };
    if let (Some(few), Some(many)) = (peak(100_000), peak(1_000_000)) {
        println!("\nten times the rows take {:.2} times the memory", many as f64 / few as f64);
    }
}

/// How fast a run of a million calls is exported, verified, replayed and imported.
fn replay(server: &Server) {
    let rows = 1_000_000;
    server.set(Latency::NONE);
    let folder = project(server, rows, None);
    Figures::of(server, &folder, rows).print("0 ms");
    let table = folder.path().join("out/tone.parquet");
    let recorded = fs::read(&table).expect("the run wrote its table");
    let step = |args: &[&str]| Figures::of_command(server, &folder, args, 0).with_rows(rows).print(&args.join(" "));
    step(&["ledger", "export", SPEC, "-o", "calls.parquet"]);
    step(&["ledger", "verify"]);
    step(&["run", SPEC, "--replay", "calls.parquet"]);
    assert!(fs::read(&table).expect("the replay wrote its table") == recorded, "the replay gave another table");
    fs::remove_dir_all(folder.path().join(".fanfold")).expect("a finished run has a folder");
    step(&["ledger", "import", "calls.parquet"]);
    let bytes = fs::metadata(folder.path().join("calls.parquet")).map_or(0, |file| file.len());
    println!("\nthe replay file has {:.1} MiB", bytes as f64 / 1_048_576.0);
}

/// What one run showed.
struct Figures {
    rows: u64,
    wall: Duration,
    peak: Option<u64>,
    served: Served,
    ideal: bool,
}

impl Figures {
    /// Runs the spec in `folder`, which must ask `calls` questions.
    fn of(server: &Server, folder: &TempDir, calls: u64) -> Self {
        Figures::of_command(server, folder, &["run", SPEC], calls)
    }

    /// Runs a command in `folder`, which must ask `calls` questions.
    fn of_command(server: &Server, folder: &TempDir, args: &[&str], calls: u64) -> Self {
        let before = server.served();
        let (wall, peak) = run(args, folder.path());
        let served = server.served() - before;
        assert_eq!(served.calls, calls, "the server was not asked as often as there are rows to ask about");
        Figures { rows: calls, wall, peak, served, ideal: false }
    }

    /// With the number of rows, where it isn't that of the calls.
    fn with_rows(self, rows: u64) -> Self {
        Figures { rows, ..self }
    }

    /// With the share of the ideal.
    fn with_ideal(self) -> Self {
        Figures { ideal: true, ..self }
    }

    fn print(&self, name: &str) {
        let seconds = self.wall.as_secs_f64();
        let share = self.served.held.as_secs_f64() / f64::from(LANES) / seconds;
        let share = if self.ideal { format!("{:.1} %", 100.0 * share) } else { "-".to_owned() };
        let peak = self.peak.map_or("-".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / 1_048_576.0));
        let rate = grouped((self.rows as f64 / seconds) as u64);
        println!("{name:<44}{:>11}{seconds:>10.2} s{rate:>10}{share:>11}{peak:>13}", grouped(self.rows));
    }
}

fn headings() {
    let cores = thread::available_parallelism().map_or("?".to_owned(), |n| n.to_string());
    println!("{LANES} requests in flight (workers = {WORKERS}, batch_size = {BATCH}); {cores} cores for all");
    if !cfg!(target_os = "linux") {
        println!("no memory figures: they come from /proc, which only Linux has");
    }
    println!("\n{:<44}{:>11}{:>12}{:>10}{:>11}{:>13}", "server", "rows", "time", "rows/s", "of ideal", "memory");
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A folder with a spec and `rows` rows; `part` is the spec's `chunk_size`.
fn project(server: &Server, rows: u64, part: Option<u64>) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write_rows(&folder.path().join("rows.csv"), rows).expect("the temporary folder takes the rows");
    fs::write(folder.path().join(SPEC), spec(server, part)).expect("the temporary folder takes a spec");
    folder
}

fn write_rows(path: &Path, rows: u64) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    writeln!(file, "id,text")?;
    for row in 0..rows {
        writeln!(file, "k{row:07},short text number {row} about nothing in particular")?;
    }
    file.flush()
}

fn spec(server: &Server, part: Option<u64>) -> String {
    let address = server.address;
    let part = part.map_or(String::new(), |rows| format!("chunk_size = {rows}"));
    format!(
        r#"name = "throughput"
seed = 1

[providers.srv]
type = "ollama"
base_url = "http://{address}"

[models.m]
provider = "srv"
model = "bench"
temperature = 0.0

[sources.rows]
type = "file"
path = "rows.csv"
key = "id"

[stages.tone]
type = "analysis"
input = "rows"
models = ["m"]
workers = {WORKERS}
batch_size = {BATCH}
{part}
prompt = "Tone? {{{{ text }}}}"

[stages.tone.output]
label = {{ type = "string", enum = ["positive", "neutral", "negative"] }}
prob = {{ type = "number", minimum = 0, maximum = 1 }}

[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#
    )
}

/// Runs a command in `folder`: how long it took and the most memory it held.
fn run(args: &[&str], folder: &Path) -> (Duration, Option<u64>) {
    let start = Instant::now();
    let child = fanfold(args, folder).spawn().expect("the program can be started");
    let (id, ended) = (child.id(), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| peak_of(id, &ended));
        let output = child.wait_with_output().expect("a child can be waited for");
        let wall = start.elapsed();
        ended.store(true, Ordering::Relaxed);
        succeeded(&output);
        (wall, watch.join().expect("reading a file doesn't panic"))
    })
}

/// The median time of a `fanfold validate`, in milliseconds.
fn validation(folder: &TempDir) -> f64 {
    let mut times: Vec<Duration> = (0..VALIDATIONS)
        .map(|_| {
            let start = Instant::now();
            let output = fanfold(&["validate", SPEC], folder.path()).output().expect("the program can be started");
            let time = start.elapsed();
            succeeded(&output);
            time
        })
        .collect();
    times.sort();
    (times[(VALIDATIONS - 1) / 2] + times[VALIDATIONS / 2]).as_secs_f64() / 2.0 * 1000.0
}

fn fanfold(args: &[&str], folder: &Path) -> Command {
    let mut program = Command::new(FANFOLD);
    program.args(args).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "fanfold ended with {}:\n{said}", output.status);
}

/// The most memory that process `id` has held at once, in bytes, looked up until it has ended.
fn peak_of(id: u32, ended: &AtomicBool) -> Option<u64> {
    let path = format!("/proc/{id}/status");
    let mut peak = None;
    while !ended.load(Ordering::Relaxed) {
        // `None`, which is less than any figure, where there is no such file or the process is just ending.
        peak = peak.max(fs::read_to_string(&path).ok().and_then(|status| high_water(&status)));
        thread::sleep(POLL);
    }
    peak
}

/// The line `VmHWM:     1234 kB`, in bytes.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// A server with one model that answers anything at once or after a set time: `GET /api/tags` and `POST /api/chat` of
/// Ollama, over connections that are kept, on its own thread.
///
/// It reads as little of a request as it can, so that it can serve far more than the program can ask.
mod server {
    use std::fmt::Write as _;
    use std::hash::{DefaultHasher, Hasher};
    use std::io;
    use std::net::SocketAddr;
    use std::ops::Sub;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, RwLock};
    use std::thread;
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const MODELS: &str = r#"{"models":[{"name":"bench:latest","digest":"0123456789ab","details":{}}]}"#;
    const LABELS: [&str; 3] = ["positive", "neutral", "negative"];

    /// How long answers take.
    #[derive(Clone, Copy)]
    pub(crate) struct Latency {
        most: Duration,
        /// The time of two requests in a hundred.
        few: Duration,
    }

    impl Latency {
        /// Answers come at once.
        pub(crate) const NONE: Latency = Latency::of(0, 0);
        /// All answers take 50 ms.
        pub(crate) const STEADY: Latency = Latency::of(50, 50);
        /// Most answers take 50 ms, 2 % of them 500 ms.
        pub(crate) const TAILED: Latency = Latency::of(50, 500);

        const fn of(most: u64, few: u64) -> Self {
            Latency { most: Duration::from_millis(most), few: Duration::from_millis(few) }
        }

        /// The time of the request with this hash: the same whenever it is asked.
        fn of_request(self, hash: u64) -> Duration {
            if hash % 100 < 2 { self.few } else { self.most }
        }
    }

    /// What the server has done so far.
    #[derive(Clone, Copy)]
    pub(crate) struct Served {
        /// Chat requests.
        pub(crate) calls: u64,
        /// How long it held them, added up.
        pub(crate) held: Duration,
    }

    impl Sub for Served {
        type Output = Served;

        fn sub(self, before: Served) -> Served {
            Served { calls: self.calls - before.calls, held: self.held - before.held }
        }
    }

    /// The server; it runs until this process ends.
    pub(crate) struct Server {
        pub(crate) address: SocketAddr,
        state: Arc<State>,
    }

    struct State {
        latency: RwLock<Latency>,
        calls: AtomicU64,
        held_nanos: AtomicU64,
    }

    impl Server {
        /// Starts it on a free port of this machine.
        pub(crate) fn start() -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
            let address = listener.local_addr().expect("a bound socket has an address");
            listener.set_nonblocking(true).expect("a socket can be made non-blocking");
            let (calls, held_nanos) = (AtomicU64::new(0), AtomicU64::new(0));
            let state = Arc::new(State { latency: RwLock::new(Latency::NONE), calls, held_nanos });
            let shared = state.clone();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime can be made").block_on(serve(listener, shared))
            });
            Server { address, state }
        }

        /// Sets how long answers take from now on.
        pub(crate) fn set(&self, latency: Latency) {
            *self.state.latency.write().expect("no thread panics while it holds the lock") = latency;
        }

        /// What it has done so far.
        pub(crate) fn served(&self) -> Served {
            let held = Duration::from_nanos(self.state.held_nanos.load(Ordering::Relaxed));
            Served { calls: self.state.calls.load(Ordering::Relaxed), held }
        }
    }

    async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
        let listener = TcpListener::from_std(listener).expect("the socket is non-blocking and in a runtime");
        loop {
            let (stream, _) = listener.accept().await.expect("connections can be accepted");
            // An error here is a connection that the program closed, as it does at its end.
            tokio::spawn(answer_all(stream, state.clone()));
        }
    }

    /// Answers the requests of one connection until it is closed.
    async fn answer_all(mut stream: TcpStream, state: Arc<State>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut request, mut reply) = (Vec::with_capacity(4096), String::new());
        while let Some(Bounds { body, end }) = read(&mut stream, &mut request).await? {
            let arrived = Instant::now();
            if !request.starts_with(b"POST /api/chat ") {
                write_reply(&mut reply, MODELS);
                stream.write_all(reply.as_bytes()).await?;
            } else {
                state.calls.fetch_add(1, Ordering::Relaxed);
                let hash = hash(&request[body..end]);
                let latency = state.latency.read().expect("no thread panics while it holds the lock").of_request(hash);
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                write_reply(&mut reply, &chat(hash));
                stream.write_all(reply.as_bytes()).await?;
                state.held_nanos.fetch_add(arrived.elapsed().as_nanos() as u64, Ordering::Relaxed);
            }
            request.drain(..end);
        }
        Ok(())
    }

    /// Where in the bytes of a request its body is.
    struct Bounds {
        body: usize,
        end: usize,
    }

    /// Reads until `request` begins with a whole request; `None` when the connection is closed.
    async fn read(stream: &mut TcpStream, request: &mut Vec<u8>) -> io::Result<Option<Bounds>> {
        loop {
            if let Some(bounds) = bounds(request).filter(|bounds| bounds.end <= request.len()) {
                return Ok(Some(bounds));
            }
            if stream.read_buf(request).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The bounds of the request that `bytes` begin with, once its headers are there.
    fn bounds(bytes: &[u8]) -> Option<Bounds> {
        let body = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..body]).ok()?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        Some(Bounds { body, end: body + length.unwrap_or(0) })
    }

    /// The same for the same body, in every run.
    fn hash(body: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(body);
        hasher.finish()
    }

    /// An answer to a request, valid for the schema of the spec.
    fn chat(hash: u64) -> String {
        let label = LABELS[(hash >> 32) as usize % LABELS.len()];
        let prob = (hash >> 40) % 1000;
        format!(
            concat!(
                r#"{{"model":"bench","message":{{"role":"assistant","#,
                r#""content":"{{\"label\":\"{}\",\"prob\":0.{:03}}}"}},"#,
                r#""done":true,"done_reason":"stop","prompt_eval_count":20,"eval_count":10}}"#,
            ),
            label, prob
        )
    }

    fn write_reply(reply: &mut String, body: &str) {
        let length = body.len();
        reply.clear();
        write!(reply, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
            .expect("a text takes all text");
    }
}
