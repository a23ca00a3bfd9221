//! Sources, outputs and runs on object stores, against a real server with the protocol of S3: that of moto, from PyPI.
//!
//! The first use installs about 140 MB into `target/tmp`. Without Python or PyPI the tests are skipped, loudly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cluster::{
    Holding, IN_FLIGHT, OUTPUTS, SPEC, command_is_killed, kill, outputs, project, repeated, tasks, undisturbed,
    wait_for,
};
use crate::lock::verify;
use crate::ports::free_ports;
use crate::project::Project;
use crate::server::Server;
use crate::venv::{installed, skipped};

/// The server of moto, and what its S3 imports.
const PACKAGES: [&str; 27] = [
    "moto==5.2.5",
    "boto3==1.44.8",
    "botocore==1.44.8",
    "s3transfer==0.19.3",
    "jmespath==1.1.0",
    "urllib3==2.8.0",
    "python-dateutil==2.9.0.post0",
    "six==1.17.0",
    "cryptography==50.0.2",
    "cffi==2.1.1",
    "pycparser==3.12",
    "requests==2.34.2",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.3",
    "idna==3.20",
    "xmltodict==1.0.4",
    "Werkzeug==3.1.9",
    "MarkupSafe==3.0.4",
    "responses==0.26.3",
    "PyYAML==6.0.4",
    "Jinja2==3.1.6",
    "Flask==3.1.3",
    "blinker==1.9.0",
    "click==8.5.1",
    "itsdangerous==2.2.0",
    "flask-cors==6.0.5",
    "py-partiql-parser==0.6.3",
];

/// The server does not check signatures, but it wants one.
const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";

/// A server with the bucket `study`. It ends with this value.
struct Store {
    process: Child,
    port: u16,
}

impl Store {
    /// `None` if there can't be one.
    fn start(test: &str) -> Option<Store> {
        let python = match installed("moto", &PACKAGES) {
            Ok(python) => python,
            Err(why) => {
                skipped(test, &why);
                return None;
            }
        };
        let [port] = free_ports();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python");
        let store = Store { process, port };
        wait_for("the server of moto", Duration::from_secs(60), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(store.ask("PUT", "", b"").0, 200);
        Some(store)
    }

    /// What the program needs to know of it.
    fn known_to(&self, project: Project) -> Project {
        known_at(self.port, project)
    }

    /// Sends a request about an object of the bucket. Returns the status and the bytes of the reply.
    fn ask(&self, method: &str, key: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server");
        let length = body.len();
        let head = format!(
            "{method} /study/{key} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{SIGNED}\r\nConnection: close\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n",
            self.port
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("it reads");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).expect("a reply");
        let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let status = String::from_utf8_lossy(&reply[9..12]).parse().expect("a status");
        (status, reply[end..].to_vec())
    }

    /// The folder of the runs on clusters. Its name occurs in no other test.
    fn folder(&self) -> String {
        format!("s3://study/lab-{}", self.port)
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        assert_eq!(self.ask("PUT", key, bytes).0, 200);
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let (status, bytes) = self.ask("GET", key, b"");
        (status == 200).then_some(bytes)
    }

    fn delete(&self, key: &str) {
        assert_eq!(self.ask("DELETE", key, b"").0, 204);
    }

    /// The keys of all objects, in order.
    fn keys(&self) -> Vec<String> {
        let (status, bytes) = self.ask("GET", "?list-type=2", b"");
        assert_eq!(status, 200);
        let text = String::from_utf8(bytes).expect("XML");
        text.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn known_at(port: u16, project: Project) -> Project {
    project
        .env("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}"))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-object-store")
}

/// A server that answers every request with this status, and its port.
fn refusing(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.read(&mut [0; 4096]));
            let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            drop(stream.write_all(reply.as_bytes()));
        }
    });
    port
}

/// The spec of the cluster's tests with its source and outputs on the store.
fn stored_spec() -> String {
    let spec = SPEC.replace("\"data.csv\"", "\"s3://study/data/speeches.csv\"");
    OUTPUTS.iter().fold(spec, |spec, path| spec.replace(&format!("{path:?}"), &format!("\"s3://study/{path}\"")))
}

const RUN: [&str; 2] = ["run", "pipeline.toml"];

#[test]
fn one_of_many_racers_creates_an_object() {
    let Some(store) = Store::start("one_of_many_racers_creates_an_object") else { return };
    let project = store.known_to(Project::new());
    let found = project.run(&["doctor", "storage", "s3://study/runs"]).exits(0);
    for line in ["s3://study/runs can be shared by workers", "1 of 16 processes wins, every time", "created once"] {
        assert!(found.stdout.contains(line), "{}", found.stdout);
    }
    assert_eq!(store.keys(), [] as [&str; 0], "the probe leaves nothing");
    let missing = project.run(&["doctor", "storage", "s3://nowhere/runs"]).exits(3);
    assert!(missing.stderr.contains("there is no bucket `s3://nowhere`"), "{}", missing.stderr);
}

#[test]
fn sources_and_outputs_on_a_store_are_those_of_files() {
    let Some(store) = Store::start("sources_and_outputs_on_a_store_are_those_of_files") else { return };
    let server = Server::new().start();
    let plain = project(&server, 30);
    plain.run(&RUN).exits(0);
    let data = plain.bytes("data.csv");
    store.put("data/speeches.csv", &data);
    let project = store.known_to(project(&server, 30));
    project.write("pipeline.toml", stored_spec());
    project.run(&["validate", "pipeline.toml"]).exits(0);
    project.run(&RUN).exits(0);
    assert_eq!(store.get("out/sums.csv"), Some(outputs(&plain)[1].clone()));
    assert!(!project.has("out") && store.get("out/gist.parquet").is_some_and(|bytes| bytes.starts_with(b"PAR1")));
    assert_eq!(verify(&project), [] as [&str; 0]);
    // An output is the source of the next spec.
    let next = store.known_to(Project::new().env("OLLAMA_HOST", &server.url())).spec(
        "[models.llama]\nprovider = \"ollama\"\nmodel = \"llama3.2\"\n\
         [sources.made]\ntype = \"file\"\npath = \"s3://study/out/*.parquet\"\nkey = \"id\"\n\
         [stages.next]\ntype = \"analysis\"\ninput = \"made\"\nmodels = [\"llama\"]\nprompt = \"{{ gist_llama }}\"\n",
    );
    next.run(&RUN).exits(0).says("30 answered");
    store.put("out/sums.csv", b"year\n");
    assert!(verify(&project).iter().any(|facet| facet.starts_with("outputs.sums.")));
    store.put("data/speeches.csv", &[&data[..], b"31,1804,One more\n"].concat());
    assert!(verify(&project).contains(&"sources.speeches.content".to_owned()), "{:?}", verify(&project));
    let locked = project.run(&["run", "pipeline.toml", "--locked"]);
    assert!(locked.code != 0 && locked.stderr.contains("sources.speeches"), "{}", locked.stderr);
    store.delete("out/gist.parquet");
    assert!(verify(&project).contains(&"outputs.gist.content".to_owned()));
}

#[test]
fn what_is_wrong_with_an_object_is_said_with_its_address() {
    let Some(store) = Store::start("what_is_wrong_with_an_object_is_said_with_its_address") else { return };
    let server = Server::new().start();
    store.put("data/speeches.csv", &project(&server, 30).bytes("data.csv"));
    let with = |project: Project, path: &str| {
        let project = project.env("OLLAMA_HOST", &server.url());
        project.spec(&SPEC.replace("\"data.csv\"", &format!("\"{path}\"")))
    };
    let says = |project: &Project, parts: &[&str]| {
        let ran = project.run(&RUN);
        assert!(ran.code != 0 && ran.code != 101 && !ran.killed, "{}", ran.stderr);
        assert!(parts.iter().all(|part| ran.stderr.contains(part)), "{parts:?}: {}", ran.stderr);
    };
    let known = || store.known_to(Project::new());
    says(&with(known(), "s3://other/a.csv"), &["there is no bucket `s3://other`"]);
    let near = "did you mean `s3://study/data/speeches.csv`?";
    says(&with(known(), "s3://study/data/speech.csv"), &["no object `s3://study/data/speech.csv`", near]);
    says(&with(known(), "s3://study/data/*.parquet"), &["no object matches `s3://study/data/*.parquet`"]);
    says(&with(known(), "s3:///a.csv"), &["`s3:///a.csv` is not an address", "write `s3://BUCKET"]);
    // Nothing listens at this port.
    let [nowhere] = free_ports();
    let down = with(known_at(nowhere, Project::new()), "s3://study/data/speeches.csv");
    says(&down, &["s3://study/data/speeches.csv", "can't be used", "AWS_ENDPOINT_URL"]);
    let refused = with(known_at(refusing("403 Forbidden"), Project::new()), "s3://study/data/speeches.csv");
    says(&refused, &["access to `s3://study/data/speeches.csv` was refused", "AWS_SECRET_ACCESS_KEY"]);
    let broken = with(known_at(refusing("503 Slow Down"), Project::new()), "s3://study/data/speeches.csv");
    says(&broken, &["`s3://study/data/speeches.csv` can't be used", "503"]);
    let anonymous = with(Project::new(), "s3://study/data/speeches.csv");
    says(&anonymous, &["no credentials for `s3://study`", "AWS_ACCESS_KEY_ID"]);
    let output = with(known(), "s3://study/data/speeches.csv");
    let spec = output.text("pipeline.toml").replace("\"out/sums.csv\"", "\"s3://other/sums.csv\"");
    output.write("pipeline.toml", spec);
    says(&output, &["there is no bucket `s3://other`", "create it"]);
    assert_eq!(server.requests(), 0, "nothing is paid before");
}

/// The spec of the cluster's tests, whose workers share a folder of the store. A prompt is in a file.
fn shared_spec(store: &Store) -> String {
    let cluster = format!("[cluster]\nfolder = \"{}\"\n[models.llama]", store.folder());
    let spec = SPEC.replacen("[models.llama]", &cluster, 1);
    spec.replace("prompt = \"Gist of {{ text }}\"", "prompt_file = \"prompts/gist.md\"")
}

fn shared(store: &Store, server: &Server, rows: usize) -> Project {
    let project = store.known_to(project(server, rows)).file("prompts/gist.md", "Gist of {{ text }}");
    project.write("pipeline.toml", shared_spec(store));
    project
}

/// The address of the only run.
fn run_address(store: &Store) -> String {
    let keys = store.keys();
    let plan = keys.iter().find(|key| key.ends_with("/plan.json")).expect("a frozen plan");
    format!("s3://study/{}", plan.trim_end_matches("/plan.json"))
}

const ON: [&str; 6] = ["run", "pipeline.toml", "--on", "local", "--workers", "3"];

#[test]
fn workers_on_a_store_make_the_tables_of_a_run_on_one_machine_though_some_are_killed() {
    let test = "workers_on_a_store_make_the_tables_of_a_run_on_one_machine_though_some_are_killed";
    let Some(store) = Store::start(test) else { return };
    let (expected, _) = undisturbed(120);
    let server = Server::new().latency_ms(20).start();
    let project = shared(&store, &server, 120);
    let running = project.spawn(&ON);
    let mut kills = 0;
    for answers in [30, 90, 150] {
        assert!(server.wait_answered(answers), "it never came so far: {}", running.stderr());
        if let Some(process) = tasks(&store.folder()).get(answers / 30 % 3) {
            kill(process);
            kills += 1;
        }
    }
    let ran = running.wait().exits(0);
    assert!(kills >= 2, "{}", ran.stderr);
    assert!(outputs(&project) == expected, "{}", ran.stderr);
    let again = repeated(&server);
    println!("{kills} workers killed: {again} of {} calls were repeated", server.requests());
    assert!(again <= kills * IN_FLIGHT, "{again} calls were repeated, {kills} kills");
    assert_eq!(store.keys(), [] as [&str; 0], "a run that was collected leaves nothing");
    let sent = server.requests();
    project.run(&ON).exits(0).says("0 calls sent");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(server.requests(), sent);
    assert!(verify(&project).is_empty());
}

#[test]
fn workers_on_a_store_end_with_the_command_that_started_them() {
    let Some(store) = Store::start("workers_on_a_store_end_with_the_command_that_started_them") else { return };
    let holding = Holding::start();
    let project = shared(&store, &holding.server, 24);
    command_is_killed(&project, &holding, &ON, &store.folder());
    project.run(&ON).exits(0);
    assert!(outputs(&project) == undisturbed(24).0);
    assert_eq!(repeated(&holding.server), 0);
}

#[test]
fn tasks_on_a_store_may_be_repeated_and_doubled_and_a_part_that_is_deleted_is_made_again_for_free() {
    let Some(store) = Store::start("tasks_on_a_store_may_be_repeated_and_doubled") else { return };
    let (expected, requests) = undisturbed(60);
    let server = Server::new().latency_ms(5).start();
    let project = shared(&store, &server, 60);
    let script = project.run(&[&ON[..], &["--dry-run"]].concat()).exits(0).stdout;
    assert!(script.contains(" task s3://study/"), "{script}");
    assert_eq!(server.requests(), 0, "freezing sends nothing");
    let run = run_address(&store);
    // A worker has only the store.
    let elsewhere = store.known_to(Project::new().env("OLLAMA_HOST", &server.url()));
    let task = |words: &[&str]| elsewhere.spawn(&[&["task", run.as_str()], words].concat());
    let early = task(&["sums.groups", "0"]).wait().exits(3);
    assert!(early.stderr.contains("part 0 of `gist` is not committed yet"), "{}", early.stderr);
    let doubled: Vec<_> = ["1", "1", "1"].map(|part| task(&["gist", part])).into_iter().collect();
    doubled.into_iter().for_each(|task| drop(task.wait().exits(0)));
    let sent = server.requests();
    let key = |rest: &str| format!("{}/{rest}", run.trim_start_matches("s3://study/"));
    assert!(store.get(&key("parts/gist/00001")).is_some(), "{:?}", store.keys());
    task(&["gist", "1"]).wait().exits(0);
    store.delete(&key("parts/gist/00001"));
    task(&["gist", "1"]).wait().exits(0);
    assert_eq!(server.requests(), sent, "what the journals have is not asked again");
    for part in ["0", "2", "3", "4", "5"] {
        task(&["gist", part]).wait().exits(0);
    }
    task(&["sums.groups", "0"]).wait().exits(0);
    for part in ["2", "1", "0"] {
        task(&["sums", part]).wait().exits(0);
    }
    assert!(server.requests() - requests <= 2 * 20, "only part 1 was doubled");
    let before = server.requests();
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(server.requests(), before);
    assert!(outputs(&project) == expected);
    let ended = task(&["gist", "1"]).wait().exits(3);
    assert!(ended.stderr.contains("no frozen plan at `s3://study/"), "{}", ended.stderr);
}

#[test]
fn a_store_that_goes_down_ends_the_run_with_its_address() {
    let Some(store) = Store::start("a_store_that_goes_down_ends_the_run_with_its_address") else { return };
    let server = Server::new().latency_ms(50).start();
    let project = shared(&store, &server, 120);
    let folder = store.folder();
    let running = project.spawn(&ON);
    assert!(server.wait_answered(30), "{}", running.stderr());
    drop(store);
    let ran = running.wait().exits(3);
    assert!(ran.stderr.contains(&format!("`{folder}")) && ran.stderr.contains("AWS_ENDPOINT_URL"), "{}", ran.stderr);
    wait_for("the end of the workers", Duration::from_secs(120), || tasks(&folder).is_empty());
}

#[test]
fn pods_need_no_volume_if_they_share_a_store() {
    let Some(store) = Store::start("pods_need_no_volume_if_they_share_a_store") else { return };
    let server = Server::new().start();
    let project = shared(&store, &server, 40);
    let pods = "[cluster.kubernetes]\nimage = \"lab/fanfold:1\"\n[models.llama]";
    project.write("pipeline.toml", shared_spec(&store).replacen("[models.llama]", pods, 1));
    let shown = project.run(&["run", "pipeline.toml", "--on", "kubernetes", "--dry-run"]).exits(0);
    let pod = &shown.json()["spec"]["template"]["spec"];
    let script = pod["containers"][0]["command"][2].as_str().expect("a script");
    assert!(script.contains(&format!("fanfold task {}/runs/years-", store.folder())), "{script}");
    assert!(pod["volumes"].is_null() && pod["containers"][0]["volumeMounts"].is_null());
}
