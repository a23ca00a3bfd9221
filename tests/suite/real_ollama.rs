//! `tests/real-ollama.sh` against the scripted Ollama: the checks hold here too, except those that need a real process.

use std::process::Command;

use crate::server::{Ollama, Server};
use crate::venv::skipped;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real-ollama.sh");

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_checks_of_a_real_ollama_hold_on_the_scripted_one() {
    if !has("bash") || !has("curl") {
        skipped("the_checks_of_a_real_ollama_hold_on_the_scripted_one", "bash or curl is not installed");
        return;
    }
    let server = Server::new().latency_ms(100).ollama(Ollama::default()).start();
    let mut command = Command::new("bash");
    command.args([SCRIPT, "llama3.2"]).env("OLLAMA_HOST", server.url());
    let ran = command.env("FANFOLD", env!("CARGO_BIN_EXE_fanfold")).output().expect("bash runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    let lines = |word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((ran.status.code(), lines("ok   "), lines("skip ")), (Some(0), 9, 2), "{said}");
}
