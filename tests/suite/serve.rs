//! The server of the report page: who gets an answer, what coders see, and that no code is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::project::{Project, Running};
use crate::server::{Asked, Say, Server};

/// Sentences, a model that labels them, the blind sheets of two coders, and one that shows the label of the model.
const SPEC: &str = r#"name = "labels"
models.a = { provider = "mock", model = "any" }
sources.sentences = { type = "file", path = "sentences.csv", key = "id" }
outputs.anna = { input = "sentences", path = "coding/anna.csv", columns = ["id", "text"], blind = true, keep = true, fill = { tone = ["glad", "sad"], note = [] } }
outputs.ben = { input = "sentences", path = "coding/ben.csv", columns = ["id", "text"], blind = true, keep = true, fill = { tone = ["glad", "sad"] } }
outputs.checked = { input = "tone", path = "checked.csv", columns = ["id", "text", "tone"], keep = true, fill = { right = ["yes", "no"] } }

[stages.tone]
type = "analysis"
input = "sentences"
models = ["a"]
prompt = "What is the tone? {{ text }}"
output.tone = { type = "string", enum = ["glad", "sad"] }
"#;

const MODEL: &str = "tone";

/// A project with this many sentences that has run once.
pub(crate) fn project(rows: usize) -> Project {
    let text: String = (1..=rows).map(|row| format!("s{row},\"Sentence {row}, \"\"so\"\".\"\n")).collect();
    let project = Project::new().spec(SPEC).file("sentences.csv", format!("id,text\n{text}"));
    project.run(&["run", "pipeline.toml"]).exits(0);
    project
}

/// A running server, with the addresses that it has shown.
pub(crate) struct Site {
    pub(crate) running: Running,
    pub(crate) report: String,
    pub(crate) sheets: Vec<String>,
}

/// The status, the headers and the body of a reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Site {
    pub(crate) fn of(project: &Project) -> Site {
        Site::spawned(project, &["report", "--serve", "pipeline.toml"], 4)
    }

    /// A server that shows this number of addresses.
    pub(crate) fn spawned(project: &Project, arguments: &[&str], count: usize) -> Site {
        let running = project.spawn(arguments);
        let start = Instant::now();
        loop {
            let shown = running.stderr();
            let addresses: Vec<String> =
                shown.split_whitespace().filter(|word| word.starts_with("http://")).map(str::to_owned).collect();
            // A message about a server may show more addresses.
            if let Some([report, sheets @ ..]) = addresses.get(..count) {
                return Site { running, report: report.clone(), sheets: sheets.to_vec() };
            }
            assert!(start.elapsed() < Duration::from_secs(60), "no address: {shown}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the page of the report asks for every second.
    pub(crate) fn state(&self) -> Value {
        let reply = get(&format!("{}state", self.report));
        serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.body))
    }

    /// Waits until the run is as wanted.
    pub(crate) fn wait(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let run = self.state()["run"].clone();
            if wanted(&run) {
                return run;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{run}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn end(self) {
        self.running.sigint();
        self.running.wait().exits(0);
    }
}

/// Sends a request to an address with more headers, and reads the whole reply.
pub(crate) fn send(method: &str, address: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let (place, path) = address.trim_start_matches("http://").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(place).expect("the server listens");
    let host =
        if headers.iter().any(|(name, _)| *name == "Host") { String::new() } else { format!("Host: {place}\r\n") };
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request =
        format!("{method} /{path} HTTP/1.1\r\n{host}{more}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("the request is sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a reply");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub(crate) fn get(address: &str) -> Reply {
    send("GET", address, &[], "")
}

pub(crate) fn sheet(address: &str) -> Value {
    let reply = get(&format!("{address}sheet"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    serde_json::from_str(&reply.body).expect("JSON")
}

/// Sends a code for a row, and returns the status.
pub(crate) fn code(address: &str, version: &Value, row: usize, (column, value): (&str, &str)) -> Reply {
    let body =
        json!({ "version": version, "row": row, "key": format!("s{}", row + 1), "column": column, "value": value });
    send("POST", &format!("{address}code"), &[], &body.to_string())
}

#[test]
fn only_requests_with_the_secret_from_this_machine_get_an_answer() {
    let project = project(2);
    let site = Site::of(&project);
    let reply = get(&site.report);
    assert!(reply.status == 200 && reply.body.contains("<h1>labels</h1>"), "{}", reply.body);
    for header in ["cache-control: no-store", "content-security-policy: default-src 'none'", "nosniff", "no-referrer"] {
        assert!(reply.head.contains(header), "{}", reply.head);
    }
    let root = site.report.trim_end_matches('/').rsplit_once('/').expect("a secret").0.to_owned();
    for address in
        [format!("{root}/"), format!("{root}/state"), format!("{root}/favicon.ico"), format!("{root}/00000000/")]
    {
        assert_eq!(get(&address).status, 403, "{address}");
    }
    let wrong = format!("{}0/state", site.report.trim_end_matches('/'));
    assert_eq!(get(&wrong).status, 403);
    for headers in [
        [("Host", "evil.example"), ("Accept", "*/*")],
        [("Host", "127.0.0.1.evil.example:80"), ("Accept", "*/*")],
        [("Origin", "http://evil.example"), ("Accept", "*/*")],
        [("Origin", "null"), ("Accept", "*/*")],
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
    ] {
        for (method, page) in [("GET", ""), ("GET", "state"), ("POST", "stop")] {
            let reply = send(method, &format!("{}{page}", site.report), &headers, "");
            assert_eq!(reply.status, 403, "{headers:?} {page}");
        }
    }
    assert_eq!(send("DELETE", &site.report, &[], "").status, 404);
    let state: Value = serde_json::from_str(&get(&format!("{}state", site.report)).body).expect("JSON");
    assert!(state["run"].is_null() && state["page"].is_string(), "{state}");
    assert_eq!(state["sheets"][0]["text"], "0 of 2 rows coded");
    site.end();
}

#[test]
fn a_port_can_be_chosen_and_a_taken_one_is_an_error() {
    let project = project(1);
    let site = Site::of(&project);
    let port = site.report.split(':').nth(2).and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
    let ran = project.run(&["report", "--serve", &port, "pipeline.toml"]).exits(3);
    assert!(ran.stderr.contains(&format!("can't be served at port {port}")), "{}", ran.stderr);
    site.end();
    let again = project.spawn(&["report", "pipeline.toml", &format!("--serve={port}")]);
    let start = Instant::now();
    while !again.stderr().contains(&format!("http://127.0.0.1:{port}/")) {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", again.stderr());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_coder_of_a_blind_sheet_sees_nothing_of_the_models() {
    let project = project(3);
    let site = Site::of(&project);
    let answers = project.text("checked.csv");
    let [anna, ben, checked] = &site.sheets[..] else { panic!("three sheets") };
    assert_eq!(get(&site.report).status, 200, "no sheet is open yet");
    let shown = sheet(anna);
    assert_eq!((shown["columns"].clone(), shown["blind"].clone()), (json!(["id", "text"]), json!(true)));
    assert!(!shown.to_string().contains("\"yes\"") && answers.contains(MODEL));
    // The secret of a sheet opens this sheet only.
    for page in ["state", "live.js", "data", "report", "stop", "../"] {
        assert!([403, 404].contains(&get(&format!("{anna}{page}")).status), "{page}");
    }
    // An added column of the file is not shown.
    let text = project.text("coding/anna.csv").replace("tone,note\n", "tone,note,model\n").replace(",,\n", ",,,glad\n");
    project.write("coding/anna.csv", &text);
    let shown = sheet(anna);
    assert_eq!(shown["rows"][0], json!({ "key": "s1", "cells": ["s1", "Sentence 1, \"so\"."], "codes": ["", ""] }));
    // While the sheet is coded, its server shows no report, and it shows it again after the last code.
    for page in ["", "state"] {
        let closed = get(&format!("{}{page}", site.report));
        assert!(
            closed.status == 423 && closed.body.contains("coding/anna.csv is coded blind: 0 of 3"),
            "{}",
            closed.body
        );
    }
    let mut version = shown["version"].clone();
    for row in 0..3 {
        let reply = code(anna, &version, row, ("tone", "sad"));
        assert_eq!(reply.status, 200, "{}", reply.body);
        version = serde_json::from_str::<Value>(&reply.body).expect("JSON")["version"].clone();
    }
    assert_eq!(get(&site.report).status, 200);
    assert!(sheet(checked)["columns"].to_string().contains("tone"), "a sheet that is not blind may show answers");
    assert_eq!(get(&site.report).status, 200);
    assert_eq!(sheet(ben)["rows"].as_array().map(Vec::len), Some(3));
    assert_eq!(get(&site.report).status, 423);
    site.end();
}

#[test]
fn no_code_is_lost_when_the_page_or_the_server_is_lost() {
    let project = project(50);
    let before = project.text("coding/anna.csv");
    let mut expected = before.clone();
    let site = Site::of(&project);
    let mut version = sheet(&site.sheets[0])["version"].clone();
    let mut site = Some(site);
    for row in 0..50 {
        let server = site.take().expect("a server");
        let label = ["glad", "sad"][row % 2];
        let reply = code(&server.sheets[0], &version, row, ("tone", label));
        assert_eq!(reply.status, 200, "{}", reply.body);
        version = serde_json::from_str::<Value>(&reply.body).expect("JSON")["version"].clone();
        expected = expected.replacen(
            &format!("Sentence {}, \"\"so\"\".\",,", row + 1),
            &format!("Sentence {}, \"\"so\"\".\",{label},", row + 1),
            1,
        );
        site = Some(if row % 10 == 9 {
            // The reply is the promise: a server that is killed right after it has lost nothing.
            server.running.kill();
            assert_eq!(project.text("coding/anna.csv"), expected);
            Site::of(&project)
        } else {
            server
        });
        if row == 24 {
            // The page is opened again.
            let shown = sheet(&site.as_ref().expect("a server").sheets[0]);
            assert_eq!(shown["version"], version);
            let codes = shown["rows"].as_array().expect("rows").iter().filter(|row| row["codes"][0] != "");
            assert_eq!(codes.count(), 25);
        }
    }
    assert_eq!(project.text("coding/anna.csv"), expected, "every other byte is as it was");
    assert_eq!(expected.lines().filter(|line| line.ends_with("glad,") || line.ends_with("sad,")).count(), 50);
    assert_eq!(project.files("coding"), ["coding/anna.csv", "coding/ben.csv"], "no temporary file stays");
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.text("coding/anna.csv"), expected);
}

#[test]
fn two_writers_never_overwrite_each_other() {
    let project = project(40);
    let site = Site::of(&project);
    let second = Site::of(&project);
    // Pages of two servers write as fast as they can; who is refused reads the file again.
    let write = |address: String, column: &'static str, rows: Vec<usize>| {
        thread::spawn(move || {
            let mut refused = 0;
            for row in rows {
                loop {
                    let version = sheet(&address)["version"].clone();
                    let value = if column == "tone" { "glad" } else { "a note" };
                    match code(&address, &version, row, (column, value)).status {
                        200 => break,
                        409 => refused += 1,
                        other => panic!("status {other}"),
                    }
                }
            }
            refused
        })
    };
    let one = write(site.sheets[0].clone(), "tone", (0..40).collect());
    let other = write(second.sheets[0].clone(), "note", (0..40).rev().collect());
    let refused = one.join().expect("no panic") + other.join().expect("no panic");
    let text = project.text("coding/anna.csv");
    assert_eq!(text.lines().filter(|line| line.ends_with(",glad,a note")).count(), 40, "{refused} refused:\n{text}");
    // A person edits the file.
    let version = sheet(&site.sheets[0])["version"].clone();
    project.write("coding/anna.csv", text.replace("a note", "by hand"));
    let reply = code(&site.sheets[0], &version, 0, ("tone", "sad"));
    assert!(reply.status == 409 && reply.body.contains("has changed since"), "{}", reply.body);
    assert_eq!(project.text("coding/anna.csv"), text.replace("a note", "by hand"));
    site.end();
    second.end();
}

/// A stage of one model with corrections and a budget.
const LIVE: &str = r#"name = "tones"
models.a = { provider = "ollama", model = "one" }
sources.remarks = { type = "file", path = "remarks.csv", key = "id" }
outputs.tone = { input = "tone", path = "tone.csv" }
budget = { calls = 500, total = { calls = 2000 } }

[stages.tone]
type = "analysis"
input = "remarks"
models = ["a"]
prompt = "What is the tone? {{ text }}"
corrections = "corrections.csv"
max_attempts = 1
max_failed = 400
chunk_size = 5
workers = 1
batch_size = 2
output.tone = { type = "string", enum = ["glad", "sad"] }
output.score = { type = "integer", minimum = 1, maximum = 5 }
"#;

pub(crate) fn live(server: &Server, rows: usize) -> Project {
    let remarks: String =
        (1..=rows).map(|row| format!("r{row},{} {row}\n", if row == 3 { "Bad" } else { "Hail" })).collect();
    let project = Project::new().spec(LIVE).file("remarks.csv", format!("id,text\n{remarks}"));
    project.file("corrections.csv", "row,column,value,by,reason\n").env("OLLAMA_HOST", &server.url())
}

/// Every remark is glad, but those that begin with `Bad` have no answer.
pub(crate) fn tones(latency: u64) -> Server {
    let script = |asked: &Asked, _: usize| match asked.question().contains("Bad") {
        true => Say::Text("I can't say <script>alert(1)</script>.".to_owned()),
        false => Say::Json(json!({ "tone": "glad", "score": 3 })),
    };
    Server::new().models(&["one"]).script(script).latency_ms(latency).start()
}

#[test]
fn a_run_is_shown_while_it_goes_and_the_page_can_stop_it() {
    let server = tones(40);
    let project = live(&server, 300);
    let site = Site::spawned(&project, &["run", "--serve", "pipeline.toml"], 1);
    assert_eq!(get(&site.report).status, 200, "there is a page before the first call");
    let run = site.wait(|run| run["stages"][0]["done_rows"].as_u64() > Some(20));
    let stage = &run["stages"][0];
    assert_eq!((stage["stage"].as_str(), stage["rows"].as_u64()), (Some("tone"), Some(300)));
    let failed = &stage["failures"][0];
    assert_eq!((failed["kind"].as_str(), failed["messages"][0]["rows"][0].as_str()), (Some("malformed"), Some("r3")));
    assert!(run["budget"][0]["text"].as_str().is_some_and(|text| text.ends_with(" of 500")), "{run}");
    assert_eq!((run["exit"].clone(), run["stopping"].clone()), (Value::Null, json!(false)));
    let page = get(&site.report).body;
    assert!(page.contains("under way") && page.contains("id=\"rows\""), "{page}");
    assert!(!page.contains("<script>alert"), "a reply is only ever text");
    let first = site.state()["page"].clone();
    assert_eq!(send("POST", &format!("{}stop", site.report), &[("Origin", "http://evil.example")], "").status, 403);
    assert_eq!(send("POST", &format!("{}stop", site.report), &[], "").status, 200);
    let run = site.wait(|run| !run["exit"].is_null());
    assert_eq!(run["exit"], 130);
    let why = "stopped; every finished call is kept. To continue: fanfold run pipeline.toml";
    assert_eq!((run["why"].as_str(), run["stopping"].clone()), (Some(why), json!(true)));
    assert_eq!(run["budget"][2]["what"], "requests of all runs");
    let answered = server.answered();
    assert!(answered < 300, "the run went on");
    let start = Instant::now();
    while site.state()["page"] == first {
        assert!(start.elapsed() < Duration::from_secs(60), "the page has a new version after the run");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(get(&site.report).body.contains("tone"));
    site.running.sigint();
    site.running.wait().exits(130).says("stopped; every finished call is kept");
    // The next run continues, and its exit code is kept too. A signal ends the run and the server.
    let again = Site::spawned(&project, &["run", "pipeline.toml", "--serve"], 1);
    again.wait(|run| run["stages"][0]["sent"].as_u64() > Some(0));
    again.running.sigint();
    again.running.wait().exits(130);
    let last = Site::spawned(&project, &["run", "pipeline.toml", "--serve", "-q"], 1);
    assert_eq!(last.wait(|run| !run["exit"].is_null())["exit"], 0);
    last.end();
    assert_eq!(project.text("tone.csv").lines().count(), 301);
}

#[test]
fn answers_are_corrected_in_the_file_of_the_spec() {
    let server = tones(0);
    let project = live(&server, 60);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let before = "row;column;value;by;reason;replicate\r\nr9;tone;sad;Ben;\"so;\";\r\n";
    project.write("corrections.csv", before);
    let site = Site::spawned(&project, &["report", "--serve", "pipeline.toml"], 1);
    let rows = |query: &str| -> Value {
        let reply = get(&format!("{}corrections?stage=tone&{query}", site.report));
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).expect("JSON")
    };
    let first = rows("from=0");
    assert_eq!((first["rows"].as_array().map(Vec::len), first["next"].clone()), (Some(50), json!(50)));
    assert_eq!(
        first["rows"][1],
        json!({ "row": "r2", "cells": ["r2", "Hail 2"], "answers": ["glad", "3"], "model": null, "replicate": null })
    );
    assert_eq!(first["answers"][0]["labels"], json!(["glad", "sad"]));
    assert_eq!(rows("text=hail+5")["rows"].as_array().map(Vec::len), Some(11));
    assert_eq!(rows("from=50")["rows"].as_array().map(Vec::len), Some(10));
    assert_eq!(first["corrections"][0]["reason"], "so;");
    let save = |version: &Value, correction: Value| {
        let mut body = correction;
        body["version"] = version.clone();
        send("POST", &format!("{}correction?stage=tone", site.report), &[], &body.to_string())
    };
    let correction =
        |value: Value| json!({ "row": "r2", "column": "tone", "value": value, "by": "Anna", "reason": "irony" });
    for (column, value) in [("tone", "angry"), ("score", "9"), ("text", "x"), ("nothing", "x")] {
        let wrong = save(&first["version"], json!({ "row": "r2", "column": column, "value": value }));
        assert_eq!(wrong.status, 422, "{column}: {}", wrong.body);
    }
    assert_eq!(project.text("corrections.csv"), before);
    assert_eq!(save(&first["version"], correction(json!("sad"))).status, 200);
    let added = format!("{before}r2;tone;sad;Anna;irony;\r\n");
    assert_eq!(project.text("corrections.csv"), added);
    let late = save(&first["version"], correction(json!("glad")));
    assert!(late.status == 409 && late.body.contains("has changed"), "{}", late.body);
    let version = rows("from=0")["version"].clone();
    assert_eq!(save(&version, json!({ "row": "r2", "column": "tone", "value": null })).status, 200);
    assert_eq!(project.text("corrections.csv"), format!("{before}r2;tone;;;;\r\n"));
    let version = rows("from=0")["version"].clone();
    assert_eq!(save(&version, correction(json!("sad"))).status, 200);
    let sent = server.requests();
    site.end();
    project.run(&["run", "pipeline.toml"]).exits(0);
    let table = project.text("tone.csv");
    assert!(
        table.contains("r2,Hail 2,sad,3,tone (Anna),\n") && table.contains("r9,Hail 9,sad,3,tone (Ben),\n"),
        "{table}"
    );
    assert_eq!(server.requests() - sent, 1, "only the failed row is asked again");
    let site = Site::spawned(&project, &["report", "--serve", "pipeline.toml"], 1);
    let version =
        serde_json::from_str::<Value>(&get(&format!("{}corrections?stage=tone", site.report)).body).expect("JSON");
    let body = json!({ "version": version["version"], "row": "r9", "column": "tone", "value": null, "remove": true });
    assert_eq!(send("POST", &format!("{}correction?stage=tone", site.report), &[], &body.to_string()).status, 200);
    assert_eq!(project.text("corrections.csv"), "row;column;value;by;reason;replicate\r\nr2;tone;sad;Anna;irony;\r\n");
    // The page also finds rows that it does not hold.
    let found: Value =
        serde_json::from_str(&get(&format!("{}rows?output=tone&from=0&text=hail+60", site.report)).body).expect("JSON");
    assert_eq!(found["rows"].as_array().map(Vec::len), Some(1), "{found}");
    site.end();
}

#[test]
fn no_request_reaches_other_files_or_wears_out_the_run() {
    let project = project(2);
    project.write("secret.txt", "hidden");
    let site = Site::of(&project);
    let anna = &site.sheets[0];
    for path in [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "sheet/../../secret.txt",
        "coding/ben.csv",
        "//secret.txt",
    ] {
        for door in [anna, &site.report] {
            let reply = get(&format!("{door}{path}"));
            assert!(
                [403, 404, 423].contains(&reply.status) && !reply.body.contains("hidden"),
                "{path}: {}",
                reply.body
            );
        }
    }
    assert_eq!(get(&format!("{anna}sheet?path=../secret.txt")).body, get(&format!("{anna}sheet")).body);
    // A note is at most a megabyte. No part of a longer one is saved.
    let (before, version) = (project.text("coding/anna.csv"), sheet(anna)["version"].clone());
    let reply = code(anna, &version, 0, ("note", &"x".repeat((1 << 20) + 1)));
    assert!(reply.status == 422 && reply.body.contains("longer than 1 MiB"), "{}", reply.body);
    for body in ["", "{", "[]", "\u{0}", "{\"version\":1}"] {
        assert_eq!(send("POST", &format!("{anna}code"), &[], body).status, 422, "{body:?}");
    }
    assert_eq!(project.text("coding/anna.csv"), before);
    // Requests that never end take no place for long.
    let place = site.report.trim_start_matches("http://").split('/').next().expect("a place").to_owned();
    let slow: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = TcpStream::connect(&place).expect("the server listens");
            let part = [b"GET / HTTP/1.1\r\nHost: 1".as_slice(), b"", b"POST / HTTP/1.1\r\n"][number % 3];
            stream.write_all(part).expect("the request is sent");
            stream
        })
        .collect();
    let start = Instant::now();
    assert_eq!(get(&site.report).status, 423, "a sheet is open");
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    drop(slow);
    site.end();
}

#[test]
fn what_people_write_is_saved_as_they_write_it() {
    let project = project(2);
    let site = Site::of(&project);
    let anna = &site.sheets[0];
    let mut version = sheet(anna)["version"].clone();
    for note in [
        "=HYPERLINK(\"http://x\",\"y\")",
        "+1",
        "-2",
        "@x",
        "a\tb",
        "two\nlines",
        "\u{1f600}; \"so\", or",
        "<b>&amp;</b>",
        "\\",
        "'1",
    ] {
        let reply = code(anna, &version, 0, ("note", note));
        assert_eq!(reply.status, 200, "{note:?}: {}", reply.body);
        let shown = sheet(anna);
        assert_eq!(
            (shown["rows"][0]["codes"][1].as_str(), shown["rows"][1]["codes"][1].as_str()),
            (Some(note), Some(""))
        );
        version = shown["version"].clone();
    }
    site.end();
}

#[cfg(unix)]
#[test]
fn the_address_that_a_browser_is_started_with_opens_the_report_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = project(1).file("bin/xdg-open", "#!/bin/sh\necho \"$1\" > \"$OPENED\"\n");
    let opener = project.path("bin/xdg-open");
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!("{}:/usr/bin:/bin", project.path("bin").display());
    let opened = project.path("opened").display().to_string();
    let project = project.env("PATH", &path).env("OPENED", &opened);
    let site = Site::spawned(&project, &["report", "--serve", "--open", "pipeline.toml"], 4);
    let start = Instant::now();
    while !project.has("opened") || project.text("opened").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "no browser: {}", site.running.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    let address = project.text("opened").trim().to_owned();
    assert_ne!(address, site.report, "every user of the machine can read this address");
    let reply = get(&address);
    let path = site.report.splitn(4, '/').nth(3).expect("a path");
    assert!(reply.status == 303 && reply.head.contains(&format!("location: /{path}")), "{}", reply.head);
    assert_eq!(get(&address).status, 403, "only once");
    site.end();
}

#[test]
fn the_page_says_why_a_run_did_not_begin() {
    let server = tones(0);
    let project = live(&server, 3).env("OLLAMA_HOST", "http://127.0.0.1:9");
    let site = Site::spawned(&project, &["run", "--serve", "pipeline.toml"], 1);
    let run = site.wait(|run| !run["exit"].is_null());
    assert_eq!(run["exit"], 3);
    assert!(run["why"].as_str().is_some_and(|why| why.contains("127.0.0.1:9")), "{run}");
    site.running.sigint();
    site.running.wait().exits(3);
}

#[test]
fn the_page_says_what_delays_the_first_answer() {
    let server = tones(8000);
    let project = live(&server, 3);
    let site = Site::spawned(&project, &["run", "--serve", "pipeline.toml"], 1);
    let run = site.wait(|run| run["waits"].as_array().is_some_and(|waits| !waits.is_empty()));
    let wait = run["waits"][0].as_str().expect("a text").to_owned();
    assert!(wait.starts_with("a: no reply for") || wait.starts_with("a: waiting for the first answer"), "{wait}");
    assert_eq!(run["stages"][0]["done"], 0);
    site.wait(|run| run["exit"] == 0);
    site.end();
}
