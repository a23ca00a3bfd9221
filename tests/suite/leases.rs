//! Several processes over one ledger: a call that one of them is making is not made by the others.

use std::time::Duration;

use crate::project::{Project, Running};
use crate::recipe::{TYPED, project, spec};
use crate::server::{Say, Server, answer};

const ROWS: usize = 120;

/// Specs with a common stage, each with its own pipeline, in one folder.
fn specs(project: &Project, count: usize) -> Vec<String> {
    let stage = format!("models = [\"llama\"]\nworkers = 4\nbatch_size = 4\nchunk_size = 50\n{TYPED}");
    let text = |n: usize| {
        spec(&stage)
            .replace("name = \"tones\"", &format!("name = \"tones-{n}\""))
            .replace("out/tone", &format!("out/tone-{n}"))
    };
    let write = |n: usize| {
        let name = format!("study-{n}.toml");
        project.write(&name, text(n));
        name
    };
    (0..count).map(write).collect()
}

fn start(project: &Project, specs: &[String]) -> Vec<Running> {
    specs.iter().map(|spec| project.spawn(&["run", spec])).collect()
}

fn all_paid_once(project: &Project, server: &Server, specs: &[String]) {
    for ran in start(project, specs) {
        ran.wait().exits(0);
    }
    let twice: Vec<_> = server.times_asked().into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "{} calls were paid more than once", twice.len());
    assert_eq!(server.requests(), ROWS);
    let rows = |n: usize| project.table(&format!("out/tone-{n}.parquet")).len();
    (0..specs.len()).for_each(|n| assert_eq!(rows(n), ROWS));
}

#[test]
fn ten_processes_with_a_common_stage_pay_each_call_once() {
    let server = Server::new().latency_ms(20).start();
    let project = project(&server, "", ROWS);
    let specs = specs(&project, 10);
    all_paid_once(&project, &server, &specs);
}

#[test]
fn calls_that_fail_at_first_are_not_made_by_other_processes_meanwhile() {
    // Of each call the first attempt is refused; the others wait for the process that tries again.
    let server = Server::new().latency_ms(5).script(|asked, attempt| match attempt {
        0 => Say::status(500),
        _ => Say::Text(answer(asked)),
    });
    let server = server.start();
    let project = project(&server, "", 30);
    let specs = specs(&project, 3);
    for ran in start(&project, &specs) {
        ran.wait().exits(0);
    }
    assert_eq!(server.answered(), 30);
}

#[test]
fn the_calls_of_a_killed_process_are_made_by_the_others() {
    let server = Server::new().latency_ms(300).start();
    let project = project(&server, "", ROWS);
    let specs = specs(&project, 3);
    let killed = project.spawn(&["run", &specs[0]]);
    assert!(server.wait_requests(8));
    let others = start(&project, &specs[1..]);
    std::thread::sleep(Duration::from_millis(100));
    killed.kill();
    for ran in others {
        ran.wait().exits(0);
    }
    // Only what was in flight when the process was killed is paid again.
    let again: usize = server.times_asked().values().map(|times| times - 1).sum();
    assert!(again <= 16, "{again} calls were paid again");
    assert_eq!(project.table("out/tone-2.parquet").len(), ROWS);
}

#[test]
fn a_process_that_starts_later_asks_only_what_is_missing() {
    let server = Server::new().latency_ms(10).start();
    let project = project(&server, "", ROWS);
    let specs = specs(&project, 2);
    let first = project.spawn(&["run", &specs[0]]);
    assert!(server.wait_answered(ROWS / 3));
    let second = project.run(&["run", &specs[1], "--format", "json"]).exits(0).json();
    first.wait().exits(0);
    assert_eq!(server.requests(), ROWS);
    let sent = second["stages"]["tone"]["calls"].as_u64().expect("a number");
    assert!(sent < ROWS as u64, "{second}");
}
