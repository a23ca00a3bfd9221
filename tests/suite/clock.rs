//! Clocks that jump: which answers a fresh run uses depends on their order in the ledger, not on the time.

use rusqlite::Connection;

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;

const ROWS: usize = 60;
const HOUR_MS: i64 = 3_600_000;

fn study(server: &Server) -> Project {
    project(
        server,
        &spec(&format!("models = [\"llama\"]\nworkers = 2\nbatch_size = 2\nchunk_size = 10\n{TYPED}")),
        ROWS,
    )
}

/// Moves the times of all records, as if they had been recorded with another clock.
fn shift(project: &Project, ms: i64) {
    let ledger = Connection::open(project.path(".fanfold/ledger.sqlite")).expect("a ledger");
    ledger.execute("UPDATE calls SET at = at + ?1", [ms]).expect("an update");
}

#[test]
fn a_fresh_run_asks_again_what_was_recorded_with_the_clock_ahead_or_behind() {
    for shifted in [48 * HOUR_MS, -48 * HOUR_MS, 0] {
        let server = Server::new().start();
        let project = study(&server);
        project.run(&["run", "pipeline.toml"]).exits(0);
        shift(&project, shifted);
        let planned = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
        project.run(&["run", "pipeline.toml", "--fresh"]).exits(0);
        assert_eq!(server.requests(), 2 * ROWS, "{shifted}: {planned}");
        project.run(&["run", "pipeline.toml"]).exits(0);
        assert_eq!(server.requests(), 2 * ROWS, "{shifted}: a fresh run that is done asks nothing");
    }
}

/// A fresh run is stopped, and goes on after `meanwhile`. No call is paid again, except those in flight.
fn goes_on(meanwhile: impl Fn(&Project)) {
    let server = Server::new().latency_ms(10).start();
    let project = study(&server);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let running = project.spawn(&["run", "pipeline.toml", "--fresh"]);
    assert!(server.wait_answered(ROWS + ROWS / 2));
    running.kill();
    meanwhile(&project);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let sent = server.requests();
    assert!((2 * ROWS..=2 * ROWS + 4).contains(&sent), "{sent} requests");
}

#[test]
fn a_fresh_run_goes_on_after_the_clock_was_set_back() {
    goes_on(|project| shift(project, -HOUR_MS));
}

#[test]
fn a_fresh_run_goes_on_after_the_clock_was_set_ahead() {
    goes_on(|project| shift(project, HOUR_MS));
}

#[test]
fn a_fresh_run_goes_on_after_gc() {
    goes_on(|project| drop(project.run(&["ledger", "gc", "pipeline.toml"]).exits(0)));
}
