//! Weights of a model hub: a local server that answers as the hub does, and the hub's own Python library on one cache.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::project::{Project, Ran};
use crate::venv::{installed, skipped};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const ID: &str = "hf:lab/tiny/tiny-Q4_1.gguf";
const TOKEN: &str = "hf_CANARY0123456789";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn weights(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

/// What the server does to the bytes of a file.
#[derive(Clone, Copy, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// Each connection ends after this number of bytes.
    CutsAfter(usize),
    /// Each connection says nothing more after this number of bytes.
    StopsAfter(usize),
    OtherBytes,
    /// Every answer is the whole file.
    NoRanges,
}

#[derive(Default)]
struct Served {
    bytes: Vec<u8>,
    fault: Fault,
    /// The token that the repository needs.
    token: Option<&'static str>,
    is_gated: bool,
    /// The requests: method, path, range, and whether a key came along.
    asked: Vec<(String, String, String, bool)>,
}

/// A hub, with its bytes on another host.
pub(crate) struct Hub {
    pub(crate) address: String,
    served: Arc<Mutex<Served>>,
}

impl Hub {
    pub(crate) fn start(bytes: Vec<u8>) -> Hub {
        let served = Arc::new(Mutex::new(Served { bytes, ..Served::default() }));
        let store = listen(served.clone(), |request, served, stream| bytes_of(request, &served, stream));
        let address = listen(served.clone(), move |request, served, stream| answer(request, &served, &store, stream));
        Hub { address, served }
    }

    fn set(&self, set: impl FnOnce(&mut Served)) {
        set(&mut self.served.lock().unwrap());
    }

    /// The requests since the last time.
    fn asked(&self) -> Vec<(String, String, String, bool)> {
        std::mem::take(&mut self.served.lock().unwrap().asked)
    }

    fn ranges(&self) -> Vec<String> {
        let asked = self.asked().into_iter();
        asked.filter(|(method, path, ..)| method == "GET" && path == "/bytes").map(|(_, _, range, _)| range).collect()
    }

    fn project(&self) -> Project {
        let project = Project::new();
        let home = project.path("hf");
        project.env("HF_ENDPOINT", &self.address).env("HF_HOME", &home.to_string_lossy())
    }
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Answers one request a connection. Returns the address.
fn listen(
    served: Arc<Mutex<Served>>,
    answer: impl Fn(&Request, Arc<Mutex<Served>>, &mut TcpStream) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (served, answer) = (served.clone(), answer.clone());
            thread::spawn(move || {
                let mut stream = stream;
                let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                let mut words = first.split(' ').map(str::to_owned);
                let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
                let headers = lines.take_while(|line| !line.is_empty());
                let headers = headers.filter_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    Some((name.to_lowercase(), value.to_owned()))
                });
                let request = Request { method, path, headers: headers.collect() };
                let range = request.header("range").unwrap_or_default().to_owned();
                let has_key = request.header("authorization").is_some();
                served.lock().unwrap().asked.push((request.method.clone(), request.path.clone(), range, has_key));
                answer(&request, served, &mut stream);
            });
        }
    });
    address
}

fn reply(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &str) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length =
        if headers.contains("Content-Length") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}{length}Connection: close\r\n\r\n{body}");
}

fn answer(request: &Request, served: &Mutex<Served>, store: &str, stream: &mut TcpStream) {
    let served = served.lock().unwrap();
    let error = |code: &str| [("X-Error-Code", code.to_owned())];
    let refuse = |stream: &mut TcpStream, status: &str, code: &str| {
        let headers = error(code);
        reply(stream, status, &[(headers[0].0, &headers[0].1)], "");
    };
    let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if served.token.is_some_and(|token| key != Some(token)) {
        return refuse(stream, "401 Unauthorized", "RepoNotFound");
    }
    if served.is_gated {
        return refuse(stream, "403 Forbidden", "GatedRepo");
    }
    if request.path.starts_with("/api/models/lab/tiny/revision/") {
        let list =
            r#"{"siblings":[{"rfilename":"README.md"},{"rfilename":"tiny-Q4_1.gguf"},{"rfilename":"large.gguf"}]}"#;
        return reply(stream, "200 OK", &[], list);
    }
    let Some((revision, file)) = request.path.strip_prefix("/lab/tiny/resolve/").and_then(|rest| rest.split_once('/'))
    else {
        return refuse(stream, "401 Unauthorized", "RepoNotFound");
    };
    if !["main", "v1", COMMIT].contains(&revision) {
        return refuse(stream, "404 Not Found", "RevisionNotFound");
    }
    if file != "tiny-Q4_1.gguf" {
        return refuse(stream, "404 Not Found", "EntryNotFound");
    }
    let (etag, size, location) =
        (format!("\"{}\"", sha256(&served.bytes)), served.bytes.len().to_string(), format!("{store}/bytes"));
    let headers =
        [("X-Repo-Commit", COMMIT), ("X-Linked-Etag", &etag), ("X-Linked-Size", &size), ("Location", &location)];
    reply(stream, "302 Found", &headers, "");
}

fn bytes_of(request: &Request, served: &Mutex<Served>, stream: &mut TcpStream) {
    let (mut bytes, fault) = {
        let served = served.lock().unwrap();
        (served.bytes.clone(), served.fault)
    };
    if fault == Fault::OtherBytes {
        bytes[1000] ^= 1;
    }
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = range.filter(|_| fault != Fault::NoRanges).unwrap_or(0);
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let (size, part) = (bytes.len(), &bytes[from..]);
    let length = part.len().to_string();
    let range = format!("bytes {from}-{}/{size}", size - 1);
    // Without an `ETag`, the hub's own library would take the hash of a small file from it.
    reply(stream, status, &[("Content-Length", &length), ("Content-Range", &range)], "");
    match fault {
        Fault::CutsAfter(bytes) => drop(stream.write_all(&part[..bytes.min(part.len())])),
        Fault::StopsAfter(bytes) if bytes < part.len() => {
            let _ = stream.write_all(&part[..bytes]);
            thread::sleep(Duration::from_secs(60));
        }
        _ => drop(stream.write_all(part)),
    }
}

const BLOBS: &str = "hf/hub/models--lab--tiny/blobs";

fn file_of(commit: &str) -> String {
    format!("hf/hub/models--lab--tiny/snapshots/{commit}/tiny-Q4_1.gguf")
}

fn pull(project: &Project) -> Ran {
    project.run(&["models", "pull", ID])
}

#[test]
fn a_file_is_fetched_into_the_cache_of_the_hub() {
    let bytes = weights(1_000_000);
    let hub = Hub::start(bytes.clone());
    let project = hub.project();
    let path = project.path(&file_of(COMMIT));
    pull(&project).exits(0).says(&format!("{ID} is at {}", path.display())).says("fetching");
    assert!(project.bytes(&file_of(COMMIT)) == bytes);
    assert!(project.bytes(&format!("{BLOBS}/{}", sha256(&bytes))) == bytes);
    assert_eq!(project.text("hf/hub/models--lab--tiny/refs/main"), COMMIT);
    #[cfg(unix)]
    assert!(path.read_link().expect("a link").starts_with("../../blobs"), "a relative link");
    assert_eq!(hub.ranges(), [""]);
    // The second time, only the version is asked for.
    pull(&project).exits(0);
    assert_eq!(hub.asked().len(), 1);
    // Another revision of the same bytes is a link to them.
    project.run(&["models", "pull", "hf:lab/tiny@v1/tiny-Q4_1.gguf"]).exits(0);
    assert_eq!(hub.ranges(), [""; 0]);
    assert_eq!(project.text("hf/hub/models--lab--tiny/refs/v1"), COMMIT);
}

#[test]
fn a_lost_connection_continues_where_it_ended() {
    let bytes = weights(1_000_000);
    let hub = Hub::start(bytes.clone());
    hub.set(|served| served.fault = Fault::CutsAfter(400_000));
    let project = hub.project();
    pull(&project).exits(0);
    assert!(project.bytes(&file_of(COMMIT)) == bytes);
    assert_eq!(hub.ranges(), ["", "bytes=400000-", "bytes=800000-"]);
}

#[test]
fn a_killed_download_continues_where_it_ended() {
    let bytes = weights(1_000_000);
    for (fault, ranges) in [(Fault::None, "bytes=600000-"), (Fault::NoRanges, "bytes=600000-")] {
        let hub = Hub::start(bytes.clone());
        hub.set(|served| served.fault = Fault::StopsAfter(600_000));
        let project = hub.project();
        let running = project.spawn(&["models", "pull", ID]);
        let part = project.path(&format!("{BLOBS}/{}.incomplete", sha256(&bytes)));
        while part.metadata().map_or(0, |file| file.len()) < 600_000 {
            thread::sleep(Duration::from_millis(20));
        }
        running.kill();
        assert!(!project.path(&file_of(COMMIT)).exists(), "half a file is not served");
        hub.asked();
        hub.set(|served| served.fault = fault);
        pull(&project).exits(0);
        assert_eq!(hub.ranges(), [ranges]);
        assert!(project.bytes(&file_of(COMMIT)) == bytes && !part.exists());
    }
}

#[test]
fn other_bytes_are_refused() {
    let hub = Hub::start(weights(100_000));
    hub.set(|served| served.fault = Fault::OtherBytes);
    let project = hub.project();
    pull(&project).exits(3).says("was not received correctly").says("run again");
    assert_eq!(project.files(BLOBS), [""; 0]);
    hub.set(|served| served.fault = Fault::None);
    pull(&project).exits(0);
}

#[test]
fn the_token_goes_to_the_hub_only() {
    let hub = Hub::start(weights(100_000));
    hub.set(|served| served.token = Some(TOKEN));
    let project = hub.project();
    pull(&project).exits(3).says("needs a token").says("set HF_TOKEN");
    for from_file in [false, true] {
        let project = match from_file {
            true => hub.project().file("hf/token", format!("{TOKEN}\n")),
            false => hub.project().env("HF_TOKEN", TOKEN),
        };
        hub.asked();
        let ran = pull(&project).exits(0);
        assert!(!ran.stderr.contains(TOKEN) && !ran.stdout.contains(TOKEN));
        let asked = hub.asked();
        assert!(asked.iter().all(|(_, path, _, has_key)| *has_key == (path != "/bytes")), "{asked:?}");
    }
    let other = hub.project().env("HF_TOKEN", "hf_other");
    let ran = pull(&other).exits(3).says("the token may not read lab/tiny");
    assert!(!ran.stderr.contains("hf_other"));
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let hub = Hub::start(weights(1000));
    let project = hub.project();
    let says = |id: &str, code: i32, text: &str| drop(project.run(&["models", "pull", id]).exits(code).says(text));
    says("hf:lab/tiny/tiny-Q4_0.gguf", 3, "lab/tiny has no file tiny-Q4_0.gguf; did you mean tiny-Q4_1.gguf?");
    says("hf:lab/tiny/x.gguf", 3, "it has tiny-Q4_1.gguf, large.gguf");
    says("hf:lab/tiny@v2/tiny-Q4_1.gguf", 3, "lab/tiny has no revision `v2`");
    says("hf:lab/small/tiny.gguf", 3, "lab/small does not exist, or needs a token");
    says("hf:lab/tiny", 2, "`hf:owner/repository/file.gguf`");
    says("hf:../../etc/x.gguf", 2, "no repository can have");
    hub.set(|served| served.is_gated = true);
    drop(pull(&project.env("HF_TOKEN", TOKEN)).exits(3).says("accept its terms on the page of lab/tiny"));
    let offline = hub.project().env("HF_HUB_OFFLINE", "1");
    pull(&offline).exits(3).says("HF_HUB_OFFLINE forbids to fetch it");
    let nowhere = Project::new().env("HF_ENDPOINT", "http://127.0.0.1:1");
    pull(&nowhere).exits(3).says("127.0.0.1 can't be reached");
    assert!(!nowhere.has("hf"));
}

#[test]
#[cfg(feature = "embedded")]
fn a_run_fetches_the_model_once_and_locks_its_hash() {
    let test = "a_run_fetches_the_model_once_and_locks_its_hash";
    let Some(ready) = crate::weights::or_skip(test, Project::new()) else { return };
    drop(ready);
    let bytes =
        std::fs::read(format!("{}/SmolLM2-135M-Instruct.Q4_1.gguf", crate::weights::FOLDER)).expect("the weights");
    let (size, hash) = (bytes.len(), sha256(&bytes));
    let hub = Hub::start(bytes);
    let spec = format!(
        "[models.small]\nprovider = \"embedded\"\nmodel = \"{ID}\"\ntemperature = 0.0\nmax_tokens = 16\n\
         [sources.rows]\ntype = \"file\"\npath = \"data.csv\"\n\
         [stages.tone]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"small\"]\nprompt = \"Is this about war or trade? {{{{ text }}}}\"\n\
         output.about = {{ type = \"string\", enum = [\"war\", \"trade\"] }}\n[outputs.tone]\ninput = \"tone\"\npath = \"out/tone.csv\"\n"
    );
    let rows = ["text", "We mourn our dead.", "Imports rose by a third."];
    let project = hub.project().spec(&spec).file("data.csv", rows.join("\n"));
    project.run(&["validate", "pipeline.toml"]).exits(0);
    assert_eq!(hub.asked().len(), 0, "validate opens no connection");
    let ran = project.run(&["models", "pipeline.toml"]).exits(3);
    assert!(ran.stdout.contains(&format!("fanfold models pull {ID}")), "{}", ran.stdout);
    hub.asked();
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(hub.ranges(), [""]);
    let lock = project.text("pipeline.toml.lock");
    assert!(lock.contains(&hash) && lock.contains("Q4_1"), "{lock}");
    assert_eq!(project.bytes(&file_of(COMMIT)).len(), size);
    // From now on the cache is enough, and what the branch has now does not matter.
    hub.set(|served| served.bytes = weights(1000));
    let first = project.text("out/tone.csv");
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the ledger");
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!((project.text("out/tone.csv"), project.text("pipeline.toml.lock")), (first, lock));
    assert_eq!(hub.asked().len(), 0);
    project.run(&["models", "pipeline.toml"]).exits(0);
    // On another machine the branch has another file, and the lock says so.
    std::fs::remove_dir_all(project.path("hf")).expect("the cache");
    project.run(&["run", "pipeline.toml", "--locked"]).exits(5);
}

#[test]
fn the_cache_is_shared_with_the_library_of_the_hub() {
    let test = "the_cache_is_shared_with_the_library_of_the_hub";
    let packages = [
        "huggingface_hub==0.36.0",
        "requests==2.32.5",
        "urllib3==2.5.0",
        "certifi==2025.8.3",
        "idna==3.10",
        "charset-normalizer==3.4.3",
        "filelock==3.19.1",
        "fsspec==2025.9.0",
        "packaging==25.0",
        "PyYAML==6.0.2",
        "tqdm==4.67.1",
        "typing_extensions==4.15.0",
    ];
    let python = match installed("hub-venv", &packages) {
        Ok(python) => python,
        Err(why) => return skipped(test, &format!("no huggingface_hub: {why}")),
    };
    let bytes = weights(300_000);
    let hub = Hub::start(bytes.clone());
    let fetch = |project: &Project, offline: &str| {
        let script =
            "from huggingface_hub import hf_hub_download\nprint(hf_hub_download('lab/tiny', 'tiny-Q4_1.gguf'), end='')";
        let ran = std::process::Command::new(&python)
            .args(["-W", "ignore", "-c", script])
            .envs([("HF_ENDPOINT", hub.address.as_str()), ("HF_HUB_OFFLINE", offline), ("HF_HUB_DISABLE_XET", "1")])
            .env("HF_HOME", project.path("hf"))
            .output()
            .expect("python starts");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    // What fanfold fetched, the library finds without a connection.
    let project = hub.project();
    pull(&project).exits(0);
    hub.asked();
    assert_eq!(fetch(&project, "1"), project.path(&file_of(COMMIT)).to_string_lossy());
    assert_eq!(hub.asked().len(), 0);
    // What the library fetched, fanfold does not fetch again.
    let project = hub.project();
    fetch(&project, "0");
    hub.asked();
    pull(&project).exits(0);
    assert_eq!(hub.ranges(), [""; 0]);
    assert!(project.bytes(&file_of(COMMIT)) == bytes);
}
