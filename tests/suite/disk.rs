//! When the disk fails: full, or unable to sync. The run stops with a message, nothing is lost, and the next run goes on.

use std::process::{Command, Stdio};

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const ROWS: usize = 240;
const IN_FLIGHT: usize = 4;

fn pipeline() -> String {
    spec(&format!("models = [\"llama\"]\nworkers = 2\nbatch_size = 2\nchunk_size = 16\n{TYPED}"))
}

fn undisturbed(rows: usize) -> Vec<u8> {
    let server = Server::new().start();
    let project = project(&server, &pipeline(), rows);
    project.run(&RUN).exits(0);
    project.bytes(OUT)
}

/// Whether this command works here; else says loudly that the test is skipped.
fn here(test: &str, command: &[&str]) -> bool {
    let tried = Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = tried.is_ok_and(|status| status.success());
    if !works {
        let line = format!("SKIPPED (not shown): {test}: `{}` does not work here\n", command.join(" "));
        drop(std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()));
    }
    works
}

/// The run goes on: the table is that of an undisturbed one, and at most what was in flight is paid again.
fn goes_on(project: &Project, server: &Server, expected: &[u8], when: &str) {
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == expected, "{when}: the table differs");
    let again: usize = server.times_asked().values().map(|times| times - 1).sum();
    assert!(again <= IN_FLIGHT, "{when}: {again} calls were asked again");
}

#[test]
fn a_sync_that_fails_stops_the_run_and_loses_nothing() {
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"];
    let test = "a_sync_that_fails_stops_the_run_and_loses_nothing";
    if !here(test, &[&strace[..], &["true"]].concat()) {
        return;
    }
    // Several parts; each row more is a sync more, and two runs more.
    let rows = 40;
    let expected = undisturbed(rows);
    let mut failed = 0;
    for k in 1.. {
        let server = Server::new().start();
        let project = project(&server, &pipeline(), rows);
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={k}");
        let ran = project.spawn_under(&[&strace[..], &["-e", &inject]].concat(), &RUN).wait();
        // A run with fewer syncs than that was not disturbed.
        if ran.code == 0 && k > 3 && failed >= 3 {
            assert!(project.bytes(OUT) == expected);
            break;
        }
        if ran.code != 0 {
            failed += 1;
            // The second is SQLite's own word.
            let said = ["Input/output error", "disk I/O error"].iter().any(|words| ran.stderr.contains(words));
            assert!(ran.code == 3 && said, "sync {k}: {}", ran.stderr);
        }
        goes_on(&project, &server, &expected, &format!("sync {k}"));
        assert!(k < 200, "it syncs without end");
    }
    assert!(failed >= 5, "only {failed} syncs failed");
}

/// A shell in which the folder `on` of the project is on a small disk of this many bytes: runs the program, then makes
/// the disk larger and runs it again. Both exit codes are printed.
fn on_a_small_disk(project: &Project, on: &str, size: &str) -> Ran {
    let script = format!(
        "mkdir -p {on} && mount -t tmpfs -o size={size} none {on} || exit 99\n\
         \"$@\" || echo first: $? >&2\n\
         mount -o remount,size=200m {on} || exit 99\n\
         \"$@\"; code=$?; mkdir -p kept && cp -r {on} kept/; exit $code"
    );
    project.spawn_under(&["unshare", "-rm", "bash", "-c", &script, "sh"], &RUN).wait()
}

#[test]
fn a_full_disk_stops_the_run_and_space_lets_it_go_on() {
    let tmpfs = ["unshare", "-rm", "bash", "-c", "mount -t tmpfs none /mnt"];
    if !here("a_full_disk_stops_the_run_and_space_lets_it_go_on", &tmpfs) {
        return;
    }
    let expected = undisturbed(ROWS);
    // From "not even a ledger" to "some answers".
    for size in ["16k", "64k", "128k", "256k"] {
        let server = Server::new().start();
        let project = project(&server, &pipeline(), ROWS);
        let ran = on_a_small_disk(&project, ".fanfold", size).exits(0);
        assert!(ran.stderr.contains("first: 3"), "{size}: {}", ran.stderr);
        let said =
            ["No space left on device", "database or disk is full"].iter().any(|words| ran.stderr.contains(words));
        assert!(said && ran.stderr.contains(".fanfold"), "{size}: {}", ran.stderr);
        assert!(project.bytes(OUT) == expected, "{size}: the table differs");
        let again: usize = server.times_asked().values().map(|times| times - 1).sum();
        assert!(again <= IN_FLIGHT, "{size}: {again} calls were asked again");
    }
    // A text is larger than the small disk, whatever the Parquet file is.
    let server = Server::new().start();
    let project = project(&server, &pipeline().replace("tone.parquet", "tone.csv"), ROWS);
    let ran = on_a_small_disk(&project, "out", "4k").exits(0);
    assert!(ran.stderr.contains("first: 3") && ran.stderr.contains("out/tone.csv"), "{}", ran.stderr);
    assert_eq!(project.files("kept/out"), ["kept/out/tone.csv"], "nothing is left beside the table");
    assert_eq!((project.text("kept/out/tone.csv").lines().count(), server.requests()), (ROWS + 1, ROWS));
}
