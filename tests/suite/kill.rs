//! Stopped and run again: no answer that had come is paid for twice, and the table is that of an undisturbed run.

use std::time::{Duration, Instant};

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::{Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
/// An answer is on disk at the latest so long after it was sent.
const ON_DISK: Duration = Duration::from_millis(250);
const ROWS: usize = 60;
const IN_FLIGHT: usize = 4;

fn split() -> String {
    spec(&format!(
        "models = [\"llama\", \"mistral\"]\nfanout = false\nworkers = 2\nbatch_size = 2\nchunk_size = 16\n{TYPED}"
    ))
}

fn fanned_out() -> String {
    split().replace("fanout = false", "fanout = true")
}

/// The bytes of the table that a run without disturbance writes.
fn undisturbed(spec: &str) -> Vec<u8> {
    let server = Server::new().start();
    let project = project(&server, spec, ROWS);
    project.run(&RUN).exits(0);
    project.bytes(OUT)
}

#[test]
fn the_status_of_a_killed_run_counts_its_committed_parts() {
    let held = |asked: &crate::server::Asked, _: usize| {
        let late = ["Speech 10,", "Speech 11,"].iter().any(|text| asked.question().contains(text));
        if late { Say::Late(60_000, Box::new(Say::Default)) } else { Say::Default }
    };
    let server = Server::new().script(held).start();
    let text = spec(&format!("models = [\"llama\"]\nworkers = 1\nbatch_size = 2\nchunk_size = 5\n{TYPED}"));
    let project = project(&server, &text, 30);
    let running = project.spawn(&RUN);
    assert!(server.wait_requests(12), "it never came so far");
    std::thread::sleep(ON_DISK * 4);
    let status = || project.run(&["status", "pipeline.toml"]).exits(0).stdout;
    let words = |state: &str| format!("tone {state} 30 10 0 20 20");
    let plain = |found: &str| found.split_whitespace().collect::<Vec<_>>().join(" ");
    let found = status();
    assert!(plain(&found).contains(&words("running")), "{found}");
    running.kill();
    let found = status();
    assert!(plain(&found).contains(&words("stopped")), "{found}");
}

#[test]
fn a_finished_run_is_planned_without_the_build_of_its_model() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 30);
    project.run(&RUN).exits(0);
    let ran = project.run(&RUN).exits(0).says("0 calls sent, 30 rows kept from before");
    assert!(!ran.stderr.contains("calls/s"), "nothing was asked: {}", ran.stderr);
    // No server is there: the build is that of the lock.
    let project = project.env("OLLAMA_HOST", "http://127.0.0.1:9");
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("done: a run would send 0 calls"), "{plan}");
    let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
    let plain = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain.contains("tone done 30 30 0 0 ledger:"), "{status}");
}

/// How many requests were for a call that had been asked before.
fn repeated(server: &Server) -> usize {
    server.times_asked().values().map(|times| times - 1).sum()
}

/// Runs, kills after a number of answers, and resumes; the table must be `expected` and no call is paid twice.
fn killed_after(answers: usize, spec: &str, expected: &[u8]) {
    let server = Server::new().latency_ms(20).start();
    let project = project(&server, spec, ROWS);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(answers), "killed after {answers}: it never came so far");
    let moment = Instant::now();
    running.kill();
    assert!(!project.has(OUT), "killed after {answers}: there is a table of half a run");
    project.run(&RUN).exits(0);
    assert!(
        project.bytes(OUT) == expected,
        "killed after {answers}: the table differs from that of an undisturbed run"
    );
    let twice = server.paid_twice(moment - ON_DISK);
    assert!(twice.is_empty(), "killed after {answers}: paid twice: {twice:?}");
    let again = repeated(&server);
    assert!(
        again <= IN_FLIGHT,
        "killed after {answers}: {again} calls were asked again, at most {IN_FLIGHT} were in flight"
    );
}

#[test]
fn sigkill_at_several_moments_of_a_split() {
    let spec = split();
    let expected = undisturbed(&spec);
    for answers in [1, 5, 16, 33, 50, 54] {
        killed_after(answers, &spec, &expected);
    }
}

#[test]
fn sigkill_at_several_moments_of_a_fan_out() {
    let spec = fanned_out();
    let expected = undisturbed(&spec);
    for answers in [2, 17, 40, 77, 110] {
        killed_after(answers, &spec, &expected);
    }
}

#[test]
fn sigkill_again_and_again() {
    let spec = fanned_out();
    let expected = undisturbed(&spec);
    let server = Server::new().latency_ms(10).start();
    let project = project(&server, &spec, ROWS);
    let mut kills = 0;
    loop {
        let mut running = project.spawn(&RUN);
        let target = server.answered() + 12;
        while !running.ended() && server.answered() < target {
            std::thread::sleep(Duration::from_millis(1));
        }
        if running.ended() {
            running.wait().exits(0);
            break;
        }
        running.kill();
        kills += 1;
        assert!(kills <= 40, "it does not get on");
    }
    assert!(kills >= 5, "only {kills} kills");
    assert!(project.bytes(OUT) == expected, "the table differs from that of an undisturbed run");
    assert!(repeated(&server) <= kills * IN_FLIGHT, "{} repeated calls in {kills} kills", repeated(&server));
}

/// The same numbers in each run.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Starts a command again and again and kills it at random moments, until it ends. Returns the number of kills.
fn until_done(project: &Project, args: &[&str], dice: &mut Dice, most: u64, check: impl Fn()) -> usize {
    for kills in 0.. {
        let mut running = project.spawn(args);
        // Sometimes while it starts, sometimes late.
        // A slow machine gets more time with each kill.
        let latest = if dice.below(3) == 0 { most.min(60) } else { most + 5 * kills as u64 };
        let moment = Instant::now() + Duration::from_millis(5 + dice.below(latest));
        while Instant::now() < moment && !running.ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if running.ended() {
            running.wait().exits(0);
            return kills;
        }
        running.kill();
        check();
        assert!(kills < 1000, "{args:?} does not get on");
    }
    0
}

/// Two stages, and a transform between them.
fn two_stages() -> String {
    split()
        + "\n[stages.glad]\ntype = \"filter\"\ninput = \"tone\"\nwhen = \"label != 'negative'\"\n\n[stages.why]\n\
           type = \"analysis\"\ninput = \"glad\"\nmodels = [\"llama\"]\nprompt = \"Why? {{ text }} {{ label }}\"\n\
           chunk_size = 16\n\n[outputs.why]\ninput = \"why\"\npath = \"out/why.parquet\"\n"
}

/// Kills runs at random moments, from the start of the process to the written table, until the number of kills is
/// reached; each run is resumed until it is done. No row may be lost or doubled, and at most the calls in flight are made
/// again. Then the spec is edited and run in the same way, and `export`, `gc`, `clean` and `import` are killed too.
fn sigkill_at_random_moments(kills: usize) {
    let rows = 150;
    let pipelines = [fanned_out().replace("chunk_size = 16", "chunk_size = 100"), split(), two_stages()];
    let edited = |spec: &str| spec.replace("What is the tone?", "Which tone is it?");
    let expected = |spec: &str| {
        let server = Server::new().start();
        let project = project(&server, spec, rows);
        project.run(&RUN).exits(0);
        project.bytes(OUT)
    };
    let expected = pipelines.each_ref().map(|spec| [expected(spec), expected(&edited(spec))]);
    let mut dice = Dice::new();
    let (mut killed, mut done) = (0, 0);
    while killed < kills {
        let (spec, expected) = (&pipelines[done % 3], &expected[done % 3]);
        let server = Server::new().latency_ms(dice.below(8)).start();
        let project = project(&server, spec, rows);
        for (expected, spec) in expected.iter().zip([spec.clone(), edited(spec)]) {
            project.write("pipeline.toml", spec);
            let _ = std::fs::remove_file(project.path(OUT));
            server.forget();
            let whole = || assert!(!project.has(OUT) || project.bytes(OUT) == *expected, "the table is not whole");
            let here = until_done(&project, &RUN, &mut dice, 700, whole);
            killed += here;
            assert!(project.bytes(OUT) == *expected, "after {here} kills the table is not that of an undisturbed run");
            let again = repeated(&server);
            assert!(again <= here * IN_FLIGHT, "{again} repeated calls in {here} kills");
            project.run(&RUN).exits(0);
            assert_eq!(repeated(&server), again, "everything is in the ledger");
        }
        killed += sigkill_of_commands(&project, &server, &mut dice);
        done += 1;
    }
    eprintln!("{killed} kills in {done} projects");
}

/// The answers of the present run survive, and an export has all of them.
fn sigkill_of_commands(project: &Project, server: &Server, dice: &mut Dice) -> usize {
    let expected = project.bytes(OUT);
    let explain =
        |project: &Project| project.run(&["explain", "pipeline.toml", "s0007", "--output", "tone"]).exits(0).stdout;
    let explained = explain(project);
    let mut kills = 0;
    let export = ["ledger", "export", "pipeline.toml", "-o", "calls.parquet"];
    for args in [&export[..], &["ledger", "gc"], &["clean", "--yes"], &["ledger", "gc"]] {
        kills += until_done(project, args, dice, 60, || ());
    }
    server.forget();
    assert_eq!(explain(project), explained);
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs");
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == expected, "the ledger has another table");
    let other = Project::new().env("OLLAMA_HOST", &server.url());
    for file in ["pipeline.toml", "data.csv", "calls.parquet"] {
        other.write(file, project.bytes(file));
    }
    kills += until_done(&other, &["ledger", "import", "calls.parquet"], dice, 60, || ());
    other.run(&RUN).exits(0);
    assert!(other.bytes(OUT) == expected, "the imported answers make another table");
    assert_eq!(server.requests(), 0, "answers were lost");
    kills
}

/// `FANFOLD_KILLS=300 cargo test --test suite -- kill::sigkill_at_some_random_moments` runs the long version.
#[test]
fn sigkill_at_some_random_moments() {
    let kills = std::env::var("FANFOLD_KILLS").ok().and_then(|text| text.parse().ok());
    sigkill_at_random_moments(kills.unwrap_or(12));
}

#[test]
fn sigkill_between_the_answers_and_the_table() {
    let spec = split();
    let expected = undisturbed(&spec);
    for pause_ms in [0, 3, 10, 30, 60] {
        let server = Server::new().start();
        let project = project(&server, &spec, ROWS);
        let running = project.spawn(&RUN);
        assert!(server.wait_answered(ROWS));
        std::thread::sleep(Duration::from_millis(pause_ms));
        running.kill();
        if project.has(OUT) {
            assert!(project.bytes(OUT) == expected, "{pause_ms} ms: a table that is there is whole");
        }
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected, "{pause_ms} ms after the last answer");
        let left: Vec<String> = project.files("out");
        assert_eq!(left, [OUT], "{pause_ms} ms: something was left beside the table");
    }
}

#[test]
fn a_part_that_was_damaged_is_made_anew_from_the_ledger() {
    let spec = split().replace("path = \"out/tone.parquet\"", "path = \"out/tone.parquet\"\n\n[stages.why]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"llama\"]\nprompt = \"Why {{ label }}?\"\nchunk_size = 16");
    let spec = spec.replace("[outputs.tone]\ninput = \"tone\"", "[outputs.tone]\ninput = \"why\"");
    let expected = undisturbed(&spec);
    let server = Server::new().start();
    let project = project(&server, &spec, ROWS);
    project.run(&RUN).exits(0);
    let mut parts =
        project.files(".fanfold/runs").into_iter().filter(|p| p.contains("/tone/") && p.ends_with("00001.parquet"));
    let part = parts.next_back().expect("a part");
    let whole = project.bytes(&part);
    server.forget();
    for place in (0..whole.len()).step_by(whole.len() / 23) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x41;
        project.write(&part, damaged);
        std::fs::remove_file(project.path(OUT)).expect("the table");
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected, "byte {place}: another table");
    }
    project.write(&part, &whole[..whole.len() / 2]);
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == expected && server.requests() == 0, "all of it was in the ledger");
}

#[test]
fn sigint_drains_and_the_next_run_goes_on() {
    let server = Server::new().latency_ms(300).start();
    let project = project(&server, &split(), 20);
    let running = project.spawn(&RUN);
    assert!(server.wait_requests(6));
    running.sigint();
    let ran = running.wait().exits(130);
    assert_eq!(server.requests(), server.answered(), "calls in flight are let finish");
    assert!(server.requests() < 20, "no new call after the signal");
    assert!(ran.stderr.contains("fanfold run pipeline.toml"), "it shows how to continue:\n{}", ran.stderr);
    assert!(!project.has(OUT));
    project.run(&RUN).exits(0);
    assert_eq!(repeated(&server), 0, "nothing that was drained is asked again");
    assert_eq!(project.table(OUT).len(), 20);
}

#[test]
fn sigterm_drains_too() {
    let server = Server::new().latency_ms(100).start();
    let project = project(&server, &split(), 40);
    let running = project.spawn(&RUN);
    assert!(server.wait_requests(6));
    running.sigterm();
    running.wait().exits(143);
    assert_eq!(server.requests(), server.answered());
    project.run(&RUN).exits(0);
    assert_eq!(repeated(&server), 0);
}

#[test]
fn a_second_sigint_aborts() {
    let server = Server::new().script(|a, _| if a.number < 8 { Say::Default } else { Say::Hang(30_000) }).start();
    let project = project(&server, &split(), 20);
    let running = project.spawn(&RUN);
    assert!(server.wait_requests(8 + IN_FLIGHT));
    running.sigint();
    std::thread::sleep(Duration::from_millis(500));
    running.sigint();
    let second = Instant::now();
    running.wait().exits(130);
    // The calls in flight would take 30 s.
    assert!(second.elapsed() < Duration::from_secs(15), "it took {:?}", second.elapsed());
    let good = Server::new().start();
    let answered = server.answered();
    let project: Project = project.env("OLLAMA_HOST", &good.url());
    project.run(&RUN).exits(0);
    assert_eq!(good.requests(), 20 - answered, "what had been answered was kept");
}
