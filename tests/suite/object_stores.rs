//! Sources, outputs and runs on object stores, against a real server with the protocol of S3: that of moto, from PyPI.
//!
//! The first use installs about 140 MB into `target/tmp`. Without Python or PyPI the tests are skipped, loudly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cluster::{OUTPUTS, SPEC, outputs, project, wait_for};
use crate::lock::verify;
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
pub(crate) struct Store {
    process: Child,
    port: u16,
}

impl Store {
    /// `None` if there can't be one.
    pub(crate) fn start(test: &str) -> Option<Store> {
        let python = match installed("moto", &PACKAGES) {
            Ok(python) => python,
            Err(why) => {
                skipped(test, &why);
                return None;
            }
        };
        let port = free_port();
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python");
        let store = Store { process, port };
        wait_for("the server of moto", Duration::from_secs(60), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(store.ask("PUT", "", b"").0, 200);
        Some(store)
    }

    /// What the program needs to know of it.
    pub(crate) fn known_to(&self, project: Project) -> Project {
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

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        assert_eq!(self.ask("PUT", key, bytes).0, 200);
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let (status, bytes) = self.ask("GET", key, b"");
        (status == 200).then_some(bytes)
    }

    pub(crate) fn delete(&self, key: &str) {
        assert_eq!(self.ask("DELETE", key, b"").0, 204);
    }

    /// The keys of all objects, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
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

fn free_port() -> u16 {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    held.local_addr().expect("an address").port()
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
    let down = with(known_at(free_port(), Project::new()), "s3://study/data/speeches.csv");
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
