//! A project folder of a test's own, the real program in it, and its tables read back with the parquet crate.
//!
//! The program gets a bare environment: no proxies, no colours, its own home, and keys that nothing which it leaves
//! may hold (`canary`). Knows no server.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use canary::{CANARY, Forms, VARIABLES};
pub(crate) use table::{Cell, Table};

pub(crate) mod canary;
mod table;

/// No run of a test may take longer.
const DEADLINE: Duration = Duration::from_secs(300);

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_fanfold");

/// A folder with a spec and its data.
pub(crate) struct Project {
    folder: TempDir,
    env: Vec<(String, String)>,
}

/// What a run of the program left.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// The exit code; 128 + n when signal n ended it.
    pub(crate) code: i32,
    /// Whether a signal ended it, instead of the program itself.
    pub(crate) killed: bool,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Ran {
    /// Fails the test, with everything that was printed, unless the exit code is this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.killed, "ended by a signal");
        self
    }

    /// Standard output, which is JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", self.stdout, self.stderr))
    }

    /// Fails the test unless stderr holds this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Ran {
        assert!(self.stderr.contains(text), "`{text}` is not in stderr:\n{}", self.stderr);
        self
    }
}

impl Project {
    /// An empty folder.
    pub(crate) fn new() -> Project {
        Project { folder: tempfile::tempdir().expect("a temporary folder"), env: Vec::new() }
    }

    /// Writes `pipeline.toml`.
    pub(crate) fn spec(self, text: &str) -> Project {
        self.file("pipeline.toml", text)
    }

    /// Writes `pipeline.yaml`.
    pub(crate) fn spec_yaml(self, text: &str) -> Project {
        self.file("pipeline.yaml", text)
    }

    /// Writes a file; its folders are made.
    pub(crate) fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Project {
        self.write(path, contents);
        self
    }

    /// Writes a file into a project that is in use.
    pub(crate) fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file in the project")).expect("the folder is made");
        fs::write(path, contents).expect("the file is written");
    }

    /// Writes a CSV file; the first row is its header. Cells are quoted where they must be.
    pub(crate) fn csv<R: AsRef<[S]>, S: AsRef<str>>(self, path: &str, rows: &[R]) -> Project {
        let mut text = String::new();
        for row in rows {
            let cells: Vec<String> = row.as_ref().iter().map(|cell| quoted(cell.as_ref())).collect();
            writeln!(text, "{}", cells.join(",")).expect("writing to a string");
        }
        self.file(path, text)
    }

    /// Gives the program an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Project {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Whether a file is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The bytes of a file.
    #[track_caller]
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// The text of a file.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.bytes(path)).expect("UTF-8")
    }

    /// Runs the program in the folder to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.spawn(args).wait()
    }

    /// Runs it with this many KiB of memory at most, where the system can enforce it.
    #[track_caller]
    pub(crate) fn run_within(&self, kib: u64, args: &[&str]) -> Ran {
        self.run_by(&format!("ulimit -d {kib} && exec \"$0\" \"$@\""), args)
    }

    /// Runs it by a shell script, which has the program as `$0` and its arguments as `$@`.
    #[track_caller]
    pub(crate) fn run_by(&self, script: &str, args: &[&str]) -> Ran {
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_fanfold")]);
        self.start(command, args).wait()
    }

    /// Starts the program in the folder.
    #[track_caller]
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        self.spawn_under(&[], args)
    }

    /// Starts the program in the folder as the last arguments of a different one, such as `strace`.
    #[track_caller]
    pub(crate) fn spawn_under(&self, other: &[&str], args: &[&str]) -> Running {
        let words: Vec<&str> = other.iter().chain(&[PROGRAM]).copied().collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        self.start(command, args)
    }

    #[track_caller]
    fn start(&self, mut command: Command, args: &[&str]) -> Running {
        let home = self.folder.path().join(".home");
        command.args(args).current_dir(self.folder.path()).env_clear();
        for name in ["PATH", "SYSTEMROOT", "TEMP", "TMP", "LLVM_PROFILE_FILE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs([("NO_COLOR", "1"), ("TERM", "dumb"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]);
        command.envs(["HOME", "LOCALAPPDATA", "USERPROFILE"].map(|name| (name, &home)));
        command.envs(VARIABLES.map(|name| (name, CANARY)));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = gather(child.stdout.take());
        let stderr = gather(child.stderr.take());
        let secrets = self.secrets();
        Running { child, stdout, stderr, started: Instant::now(), secrets }
    }

    /// What nothing may hold that a run leaves: the canary, and the keys of the test's own.
    pub(crate) fn secrets(&self) -> Forms {
        let own = self.env.iter().filter(|(name, value)| name.ends_with("_KEY") && !value.is_empty());
        Forms::of([CANARY].into_iter().chain(own.map(|(_, value)| value.as_str())))
    }

    /// Reads a Parquet file, or a folder of Parquet files in the order of their names.
    #[track_caller]
    pub(crate) fn table(&self, path: &str) -> Table {
        Table::read(&parquet_files(&self.path(path)))
    }

    /// The records of all calls of all runs: `.fanfold/runs/*/calls/*.parquet`.
    #[track_caller]
    pub(crate) fn calls(&self) -> Table {
        let mut files = Vec::new();
        for run in entries(&self.path(".fanfold/runs")) {
            files.extend(parquet_files(&run.join("calls")));
        }
        Table::read(&files)
    }

    /// All files under a folder, as paths from the project's folder, in order.
    pub(crate) fn files(&self, under: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(under)];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let path = path.strip_prefix(self.folder.path()).expect("a file of the project");
                    found.push(path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/"));
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if !thread::panicking() {
            let found = self.secrets().files(self.folder.path());
            assert!(found.is_empty(), "a key is in {found:?}");
        }
    }
}

/// The program, running; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    secrets: Forms,
    stdout: Gathered,
    stderr: Gathered,
    started: Instant,
}

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Ends it with SIGKILL and gives what it had printed.
    pub(crate) fn kill(mut self) -> Ran {
        drop(self.child.kill());
        self.wait()
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn sigint(&self) {
        self.signal("INT");
    }

    /// Sends SIGTERM.
    pub(crate) fn sigterm(&self) {
        self.signal("TERM");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.expect("the kill command").success(), "SIG{name} could not be sent");
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().expect("the process can be asked").is_some()
    }

    /// Waits for its end; fails the test when that takes too long.
    #[track_caller]
    pub(crate) fn wait(self) -> Ran {
        self.wait_within(DEADLINE)
    }

    /// The same, for a run that may take longer than other tests.
    #[track_caller]
    pub(crate) fn wait_within(mut self, deadline: Duration) -> Ran {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the process can be asked") {
                break status;
            }
            if self.started.elapsed() > deadline {
                drop(self.child.kill());
                drop(self.child.wait());
                panic!("no end after {deadline:?}; stderr:\n{}", self.stderr.whole());
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        let signal = signal_of(status);
        let (stdout, stderr) = (self.stdout.whole(), self.stderr.whole());
        for printed in [&stdout, &stderr] {
            assert!(!self.secrets.stand_in(printed.as_bytes()), "a key was printed:\n{printed}");
        }
        Ran {
            code: status.code().or(signal.map(|n| 128 + n)).unwrap_or(-1),
            killed: signal.is_some(),
            stdout,
            stderr,
            took,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(unix)]
fn signal_of(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_: std::process::ExitStatus) -> Option<i32> {
    None
}

/// What a process has written to a pipe.
struct Gathered {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Gathered {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no panic")).into_owned()
    }

    /// Everything, once the pipe is closed.
    fn whole(&mut self) -> String {
        self.thread.take().map(JoinHandle::join);
        self.text()
    }
}

fn gather(pipe: Option<impl Read + Send + 'static>) -> Gathered {
    let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
    let shared = bytes.clone();
    let thread = thread::spawn(move || {
        let (mut pipe, mut piece) = (pipe, [0; 4096]);
        while let Some(read @ 1..) = pipe.as_mut().and_then(|pipe| pipe.read(&mut piece).ok()) {
            shared.lock().expect("no panic").extend_from_slice(&piece[..read]);
        }
    });
    Gathered { bytes, thread: Some(thread) }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

/// The entries of a folder in the order of their names; none when it is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn parquet_files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        entries(path).into_iter().filter(|p| p.extension().is_some_and(|e| e == "parquet" || e == "pieces")).collect()
    } else {
        vec![path.to_owned()]
    }
}
