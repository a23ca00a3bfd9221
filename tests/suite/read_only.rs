//! Read-only projects: the commands that look at a project work without the right to write, and write nothing.

use std::collections::BTreeMap;
use std::process::Command;

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, project, spec};
use crate::server::{Say, Server, answer};

const COMMANDS: [&[&str]; 9] = [
    &["plan", "pipeline.toml"],
    &["status", "pipeline.toml"],
    &["verify", "pipeline.toml"],
    &["explain", "pipeline.toml", "s0003"],
    &["diff", "RUN", "RUN"],
    &["runs", "pipeline.toml"],
    &["ledger", "info", "pipeline.toml"],
    &["show", "pipeline.toml", "tone"],
    &["validate", "pipeline.toml"],
];

/// A copy of this program that every user may run.
fn program() -> Option<(tempfile::TempDir, String)> {
    let folder = tempfile::Builder::new().permissions(mode(0o755)).tempdir_in("/tmp").ok()?;
    let path = folder.path().join("fanfold");
    std::fs::copy(env!("CARGO_BIN_EXE_fanfold"), &path).ok()?;
    std::fs::set_permissions(&path, mode(0o755)).ok()?;
    let path = path.to_string_lossy().into_owned();
    Some((folder, path))
}

fn mode(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Runs a command without the right to write to the project's folder.
fn without_rights(project: &Project, program: &str, args: &[&str]) -> Ran {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let user = if is_root { "setpriv --reuid 65534 --regid 65534 --clear-groups " } else { "" };
    project.run_by(&format!("exec {user}{program} \"$@\""), args)
}

fn set_rights(project: &Project, rights: &str) {
    let done = Command::new("chmod").args(["-R", rights]).arg(project.folder()).status();
    assert!(done.is_ok_and(|status| status.success()), "chmod {rights}");
}

/// All files, except what SQLite processes share while they read a log.
fn contents(project: &Project) -> BTreeMap<String, Vec<u8>> {
    let files = project.files(".").into_iter().filter(|file| !file.ends_with("-shm"));
    files.map(|file| (file.clone(), project.bytes(&file))).collect()
}

/// The commands print the same with and without rights, and change no file.
fn looks_alike(project: &Project, what: &str) {
    let Some((_folder, program)) = program() else { return };
    let run = project.files(".fanfold/runs").into_iter().find(|file| file.ends_with("manifest.json")).expect("a run");
    let before = contents(project);
    for command in COMMANDS {
        let command: Vec<&str> = command.iter().map(|word| if *word == "RUN" { &run } else { *word }).collect();
        set_rights(project, "u+w,a+rX");
        let expected = project.run(&command);
        assert!(contents(project) == before, "{what}: {command:?} wrote to a project with rights");
        set_rights(project, "a-w,a+rX");
        let ran = without_rights(project, &program, &command);
        set_rights(project, "u+w");
        assert_eq!((ran.code, &ran.stdout), (expected.code, &expected.stdout), "{what}: {command:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("readonly") && !ran.stderr.contains("ermission"), "{command:?}: {}", ran.stderr);
        assert!(contents(project) == before, "{what}: {command:?} wrote");
    }
}

fn study() -> String {
    spec(&format!("models = [\"llama\"]\nchunk_size = 4\n{TYPED}"))
}

#[test]
fn finished_projects_can_be_looked_at() {
    let server = Server::new().start();
    let project = project(&server, &study(), 12);
    project.run(&["run", "pipeline.toml"]).exits(0);
    looks_alike(&project, "finished");
}

#[test]
fn projects_of_killed_runs_can_be_looked_at() {
    let server = Server::new().latency_ms(5).start();
    let project = project(&server, &study(), 200);
    let running = project.spawn(&["run", "pipeline.toml"]);
    assert!(server.wait_answered(60));
    running.kill();
    assert!(project.has(".fanfold/ledger.sqlite-wal"));
    looks_alike(&project, "killed");
    std::fs::remove_file(project.path(".fanfold/ledger.sqlite-shm")).expect("a file");
    looks_alike(&project, "killed, copied without its shared memory");
}

#[test]
fn corrupt_answers_are_retired_by_no_command_that_only_looks() {
    let server = Server::new().script(|asked, _| Say::Text(answer(asked))).start();
    let project = project(&server, &study(), 12);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let ledger = project.path(".fanfold/ledger.sqlite");
    let connection = rusqlite::Connection::open(&ledger).expect("a ledger");
    connection.execute("UPDATE calls SET reply = 'wrong' WHERE id = 3", []).expect("an update");
    drop(connection);
    looks_alike(&project, "corrupt");
    project.run(&["ledger", "verify", "pipeline.toml"]).exits(1);
}
