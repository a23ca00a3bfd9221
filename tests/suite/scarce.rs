//! Scarce resources: limits of threads and addresses, and no home. Each is a message, and neither a panic nor a hang.

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;
use crate::venv::skipped;

const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn study(server: &Server) -> Project {
    project(server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 6)
}

#[test]
fn a_small_address_space_is_named() {
    let server = Server::new().start();
    let project = study(&server);
    for kib in [500_000, 700_000, 900_000] {
        let ran = project.run_by(&format!("ulimit -v {kib} && exec \"$0\" \"$@\""), &RUN);
        ran.exits(3).says("the address space is limited to").says("`ulimit -v 2000000`");
    }
    assert_eq!(server.requests(), 0);
    project.run_by("ulimit -v 4000000 && exec \"$0\" \"$@\"", &RUN).exits(0);
}

#[test]
fn threads_that_cannot_be_started_are_named() {
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=clone,clone3"];
    let tried = std::process::Command::new(strace[0]).args(&strace[1..]).arg("true").status();
    if !tried.is_ok_and(|status| status.success()) {
        return skipped("threads_that_cannot_be_started_are_named", "strace is not installed or not allowed");
    }
    let server = Server::new().start();
    let project = study(&server);
    for first in [1, 5, 12] {
        let inject = format!("inject=clone,clone3:error=EAGAIN:when={first}+");
        let ran = project.spawn_under(&[&strace[..], &["-e", &inject]].concat(), &RUN).wait();
        ran.exits(3).says("the system refuses to start").says("`ulimit -u 4096`");
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn only_models_in_files_need_a_home() {
    let server = Server::new().start();
    let project = study(&server);
    let without_home = |args: &[&str]| project.run_by("unset HOME; exec \"$0\" \"$@\"", args);
    for command in [&["models", "pipeline.toml"][..], &["plan", "pipeline.toml"], &RUN, &["status", "pipeline.toml"]] {
        without_home(command).exits(0);
    }
    without_home(&["models", "list"]).exits(3).says("no home folder").says("FANFOLD_MODELS");
}

#[cfg(unix)]
#[test]
fn a_limit_of_file_sizes_is_an_error() {
    let server = Server::new().start();
    let project = project(&server, &spec("models = [\"llama\"]"), 400);
    let told = project.run_by("ulimit -f 60 && exec \"$0\" \"$@\"", &["run", "pipeline.toml"]).exits(3).stderr;
    assert!(told.to_lowercase().contains("file too large") || told.contains("disk"), "{told}");
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(server.requests() <= 464, "{} requests for 400 calls", server.requests());
}
