//! Replays: an exported run writes the same tables again, from its file alone.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project, rows, spec};
use crate::server::{Say, Server};
use crate::venv::skipped;

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const EXPORT: [&str; 5] = ["ledger", "export", "pipeline.toml", "-o", "calls.parquet"];
const REPLAY: [&str; 4] = ["run", "pipeline.toml", "--replay", "calls.parquet"];

/// A fan-out over two models with typed answers, in parts.
fn fanned_out() -> String {
    spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = true\nchunk_size = 16\n{TYPED}"))
}

/// A project with the spec, the data and the replay file of another, and nothing else: no ledger, no key, no server.
fn clone(project: &Project) -> Project {
    let copy = Project::new();
    for file in ["pipeline.toml", "data.csv", "calls.parquet"] {
        copy.write(file, project.bytes(file));
    }
    copy
}

/// An address that counts connections.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, address)
}

#[test]
fn a_replay_sends_no_call_and_writes_the_same_table() {
    let server = Server::new().start();
    let project = project(&server, &fanned_out(), 40);
    project.run(&RUN).exits(0);
    let ran = project.run(&EXPORT).exits(0);
    assert!(ran.stdout.contains("calls.parquet: 80 calls"), "{}", ran.stdout);
    let (asked, table) = (server.asked().len(), project.bytes(OUT));
    fs::remove_dir_all(project.path(".fanfold")).expect("the project has been run");
    fs::remove_file(project.path(OUT)).expect("the table is there");
    project.run(&REPLAY).exits(0).says("0 calls sent, 80 recorded");
    assert!(project.bytes(OUT) == table, "the table differs");
    assert_eq!(server.asked().len(), asked, "requests during the replay");
    let (listener, address) = listener();
    let copy = clone(&project).env("OLLAMA_HOST", &address);
    copy.run(&REPLAY).exits(0).says("40 rows = 40 answered");
    assert!(listener.accept().is_err(), "there was a connection");
    assert!(copy.bytes(OUT) == table, "the table differs in a clone");
    assert!(!copy.has(".fanfold/ledger.sqlite"), "a replay has no ledger");
    let left = copy.files(".fanfold/runs");
    assert!(left.iter().all(|file| !file.contains(".replay-")), "{left:?}");
    // Each replay starts from the beginning, and does not change the tables of a run.
    copy.run(&REPLAY).exits(0).says("80 recorded");
}

#[test]
fn a_replay_needs_no_network() {
    let test = "a_replay_needs_no_network";
    let alone = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rn", program]);
        command
    };
    if !alone("true").output().is_ok_and(|ran| ran.status.success()) {
        return skipped(test, "`unshare -rn` makes no network namespace here");
    }
    let server = Server::new().start();
    let project = project(&server, &fanned_out(), 12);
    project.run(&RUN).exits(0);
    project.run(&EXPORT).exits(0);
    let copy = clone(&project);
    let mut command = alone(env!("CARGO_BIN_EXE_fanfold"));
    let ran = command.args(REPLAY).current_dir(copy.folder()).output().expect("unshare is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(copy.bytes(OUT) == project.bytes(OUT), "the table differs");
    // The same run without a replay can't begin: the network is really absent.
    let mut command = alone(env!("CARGO_BIN_EXE_fanfold"));
    let ran =
        command.args(RUN).current_dir(copy.folder()).env("OLLAMA_HOST", server.url()).output().expect("it starts");
    assert_eq!(ran.status.code(), Some(3), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn a_replay_needs_no_key_and_no_address_and_does_not_show_them() {
    let server = Server::new().keys(&["sk-very-secret"]).start();
    let lines = "api_key_env = \"LAB_KEY\"";
    let project = project(&server, &openai_spec(lines, &format!("models = [\"llama\"]\n{TYPED}")), 6);
    let project = project.env("LAB_KEY", "sk-very-secret");
    project.run(&RUN).exits(0);
    project.run(&EXPORT).exits(0);
    let table = project.table("calls.parquet");
    let told = format!("{:?} {:?}", table.rows(), table.metadata());
    let folder = project.folder().display().to_string();
    for secret in ["sk-very-secret", "LAB_KEY", "127.0.0.1", "http", folder.as_str()] {
        assert!(!told.contains(secret), "`{secret}` is in the file");
    }
    let copy = clone(&project);
    copy.run(&REPLAY).exits(0).says("6 recorded");
    assert!(copy.bytes(OUT) == project.bytes(OUT), "the table differs");
}

#[test]
fn calls_that_are_not_in_the_file_are_reported_or_made() {
    let server = Server::new().start();
    let project = project(&server, &fanned_out(), 30);
    project.run(&RUN).exits(0);
    project.run(&EXPORT).exits(0);
    let copy = clone(&project).env("OLLAMA_HOST", &server.url()).csv("data.csv", &rows(45));
    server.forget();
    let ran = copy.run(&REPLAY).exits(6).says("lacks 30 calls of this run").says("  and 10 more");
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("  row s00")).collect();
    assert_eq!(told.len(), 20, "{told:?}");
    assert_eq!(told[..2], ["  row s0030, stage tone, model llama", "  row s0030, stage tone, model mistral"]);
    assert!(!copy.has(OUT) && server.requests() == 0, "nothing is written, nothing asked");
    copy.run(&[&REPLAY[..], &["--replay-mode", "prefer"]].concat()).exits(0).says("30 calls sent, 60 recorded");
    assert_eq!(server.requests(), 30);
    assert_eq!(copy.table(OUT).len(), 45);
    // The ledger contains the calls that were made; the recorded calls are only in their file.
    let ran = copy.run(&["ledger", "info", "--format", "json"]).exits(0);
    let info: serde_json::Value = ran.json();
    assert_eq!(info["contents"]["answers"], 30, "{info}");
}

#[test]
fn failed_rows_fail_again_and_equal_calls_keep_their_results() {
    // The third text always fails. The last rows are equal, and the first of them fails.
    let server = Server::new().script(|asked, attempt| match asked.question() {
        q if q.contains("Speech 2,") => Say::Text("no JSON at all".into()),
        q if q.contains("the same") && attempt == 1 => Say::status(400),
        _ => Say::Default,
    });
    let server = server.start();
    let mut data = rows(8);
    data.extend((8..12).map(|i| [format!("s{i:04}"), "1900".to_owned(), "the same".to_owned()]));
    let spec = spec(&format!("models = [\"llama\"]\nworkers = 1\nbatch_size = 1\nmax_attempts = 2\n{TYPED}"));
    let project = project(&server, &spec, 0).csv("data.csv", &data);
    project.run(&RUN).exits(1).says("12 rows = 10 answered + 2 failed");
    project.run(&EXPORT).exits(0);
    let calls = project.table("calls.parquet");
    assert_eq!((calls.len(), calls.nulls("stage")), (12, 8), "the equal calls have their rows");
    let copy = clone(&project);
    copy.run(&REPLAY).exits(1).says("12 rows = 10 answered + 2 failed").says("0 calls sent");
    assert!(copy.bytes(OUT) == project.bytes(OUT), "the table differs");
    // In mode `prefer` failed calls are made again.
    let copy = clone(&project).env("OLLAMA_HOST", &server.url());
    copy.run(&[&REPLAY[..], &["--replay-mode", "prefer"]].concat()).exits(1).says("11 answered + 1 failed");
}

#[test]
fn stages_in_a_row_and_replicates_are_replayed() {
    let server = Server::new().start();
    let spec =
        spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = false\nreplicates = 2\nchunk_size = 7\n{TYPED}"))
            .replace("input = \"tone\"\n", "input = \"why\"\n")
            .replace("temperature = 0.0", "temperature = 0.7");
    let why = "\n[stages.why]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"llama\"]\nprompt = \"Why {{ label }}? {{ text }}\"\n";
    let project = project(&server, &format!("{spec}{why}"), 20);
    project.run(&RUN).exits(0);
    project.run(&EXPORT).exits(0);
    let copy = clone(&project);
    copy.run(&REPLAY).exits(0).says("0 calls sent");
    assert!(copy.bytes(OUT) == project.bytes(OUT), "the table differs");
    copy.run(&[&REPLAY[..], &["--limit", "5", "--select", "why"]].concat()).exits(0);
}

#[test]
fn the_same_calls_are_the_same_file() {
    let server = Server::new().start();
    let project = project(&server, &fanned_out(), 25);
    project.run(&RUN).exits(0);
    project.run(&EXPORT).exits(0);
    let file = project.bytes("calls.parquet");
    project.run(&EXPORT).exits(0);
    assert!(project.bytes("calls.parquet") == file, "the second export differs");
    // Into the ledger of another project and out again, without a call.
    let copy = clone(&project).env("OLLAMA_HOST", &server.url());
    let ran = copy.run(&["ledger", "import", "calls.parquet"]).exits(0);
    assert!(ran.stdout.contains("50 answers added"), "{}", ran.stdout);
    let ran = copy.run(&["ledger", "import", "calls.parquet"]).exits(0);
    assert!(ran.stdout.contains("0 answers added, 50 already there"), "{}", ran.stdout);
    copy.run(&RUN).exits(0).says("0 calls sent, 50 from the ledger");
    copy.run(&EXPORT).exits(0);
    assert!(copy.bytes("calls.parquet") == file, "the export of what was imported differs");
    // In another order, at other times, in parts of another size.
    let other = self::project(&server, &fanned_out().replace("chunk_size = 16", "chunk_size = 3\nworkers = 1"), 25);
    other.run(&RUN).exits(0);
    other.run(&EXPORT).exits(0);
    let sorted = other.table("calls.parquet");
    assert_eq!(format!("{:?}", sorted.rows()), format!("{:?}", project.table("calls.parquet").rows()));
}

#[test]
fn only_a_finished_run_is_exported() {
    let server = Server::new().start();
    let project = project(&server, &fanned_out(), 5);
    project.run(&EXPORT).exits(3).says("no finished run").says("fanfold run pipeline.toml");
    project.run(&[&RUN[..], &["--limit", "2"]].concat()).exits(0);
    project.run(&EXPORT).exits(3).says("no finished run");
    assert!(!project.has("calls.parquet"));
}

#[test]
fn a_damaged_file_never_makes_a_wrong_table() {
    let server = Server::new().start();
    let project = project(&server, &fanned_out(), 20);
    project.run(&RUN).exits(0);
    project.run(&EXPORT).exits(0);
    let (file, table) = (project.bytes("calls.parquet"), project.bytes(OUT));
    let copy = clone(&project);
    let mut refused = 0;
    for at in (0..file.len()).step_by(file.len() / 60) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x41;
        copy.write("calls.parquet", damaged);
        let _ = fs::remove_file(copy.path(OUT));
        let ran = copy.run(&REPLAY);
        assert!(!ran.stderr.contains("panicked"), "byte {at}: {}", ran.stderr);
        match ran.code {
            0 => assert!(copy.bytes(OUT) == table, "byte {at}: another table"),
            3 | 5 | 6 => {
                refused += 1;
                assert!(!copy.has(OUT), "byte {at}: a table of a damaged file");
            }
            code => panic!("byte {at}: exit {code}: {}", ran.stderr),
        }
    }
    assert!(refused >= 20, "only {refused} of 60 flips were noticed");
    copy.write("calls.parquet", "no Parquet");
    copy.run(&REPLAY).exits(3).says("calls.parquet");
    copy.write("calls.parquet", table);
    copy.run(&REPLAY).exits(3).says("it is not a replay file");
}

#[test]
fn the_shipped_run_is_replayed() {
    let test = "the_shipped_run_is_replayed";
    if !cfg!(feature = "embedded") {
        return skipped(test, "this build has no embedded models");
    }
    let project = Project::new().file("nothing/here", "");
    for file in ["quickstart.toml", "data/paragraphs.csv", "replay/quickstart.parquet", "replay/quickstart.toml.lock"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(file);
        project.write(file, fs::read(path).expect("a file of the pipelines"));
    }
    // Without weights, and without a way to download them.
    let nothing = project.path("nothing").display().to_string();
    let project = project.env("FANFOLD_MODELS", &nothing).env("PATH", &nothing);
    let replay = ["run", "quickstart.toml", "--replay", "replay/quickstart.parquet"];
    project.run(&replay).exits(0).says("0 calls sent, 40 recorded");
    let table = project.table("out/quickstart.parquet");
    assert_eq!((table.len(), table.nulls("topic_error")), (40, 40));
    let rows = table.texts("id").into_iter().zip(table.texts("topic")).zip(table.texts("title"));
    let lines: Vec<String> = rows.map(|((id, topic), title)| format!("{id} {topic}: {title}")).collect();
    // After a change of the prompts: record the run again, as the book says, and check the differences.
    insta::assert_snapshot!("shipped_run", lines.join("\n"));
    assert!(project.files("nothing") == ["nothing/here"], "something was fetched");
    // The recorded run wrote its lock where the model answered; the other lock is written here.
    project.run(&["diff", "replay/quickstart.toml.lock", "quickstart.toml.lock"]).exits(0);
    project.run(&["verify", "quickstart.toml"]).exits(0);
    project.run(&[&replay[..], &["--locked"]].concat()).exits(0);
}

#[test]
fn a_replay_file_that_cannot_be_read_is_never_ignored() {
    let server = Server::new().start();
    let project = project(&server, &fanned_out(), 10);
    project.run(&RUN).exits(0);
    project.run(&EXPORT).exits(0);
    let whole = project.bytes("calls.parquet");
    let asked = server.requests();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3000\n".to_vec();
    for broken in [whole[..whole.len() - 100].to_vec(), Vec::new(), pointer] {
        let copy = clone(&project).env("OLLAMA_HOST", &server.url()).file("replay.parquet", &broken);
        for command in ["plan", "run"] {
            copy.run(&[command, "pipeline.toml"]).exits(3).says("replay.parquet: it can't be read");
        }
    }
    // A table of a user is none of our business, whatever its name.
    let copy = clone(&project).env("OLLAMA_HOST", &server.url()).file("replay-table.parquet", project.bytes(OUT));
    copy.run(&["plan", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests(), asked, "nothing is paid");
    copy.write("pipeline.toml", fanned_out().replacen("seed = 42\n", "seed = 42\nreplay = \"kept.parquet\"\n", 1));
    copy.run(&RUN).exits(0).says("there is no file kept.parquet, which the spec names as its replay");
}
