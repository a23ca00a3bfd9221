//! Runs on a real Ray with two nodes, from PyPI: two raylets on this machine, each with one processor.
//!
//! The first use installs about 400 MB into `target/tmp` (a minute); the cluster starts in about 15 seconds. Without
//! Python or PyPI the test is skipped, loudly. `FANFOLD_RAY_ROWS=16000` runs it with more rows than the default.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::cluster::{outputs, project, repeated, wait_for};
use crate::ports::free_ports;
use crate::project::Project;
use crate::server::Server;
use crate::venv::{installed, skipped};

/// Calls that a worker has in flight.
const IN_FLIGHT: usize = 8;
const WORKERS: [&str; 3] = ["1", "2", "5"];

fn rows() -> usize {
    std::env::var("FANFOLD_RAY_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(2000)
}

/// Ray with its Jobs API, and what they import.
#[rustfmt::skip]
const PACKAGES: [&str; 57] = [
    "ray==2.60.0", "aiohappyeyeballs==2.7.1", "aiohttp==3.14.5", "aiohttp-cors==0.8.1", "aiosignal==1.4.0",
    "annotated-types==0.8.0", "attrs==26.1.0", "certifi==2026.10.19.post1", "cffi==2.1.1", "charset-normalizer==3.5.3",
    "click==8.5.1", "colorful==0.5.8", "cryptography==50.0.2", "distlib==0.4.4", "filelock==4.3.1", "frozenlist==1.8.0",
    "google-api-core==2.44.0", "google-auth==2.63.0", "googleapis-common-protos==1.76.0", "grpcio==1.85.3", "idna==3.20",
    "jsonschema==4.26.0", "jsonschema-specifications==2025.9.1", "msgpack==1.2.4", "multidict==7.2.1",
    "opencensus==0.11.4", "opencensus-context==0.1.3", "opentelemetry-api==1.45.2",
    "opentelemetry-exporter-prometheus==0.66b2", "opentelemetry-proto==1.45.2", "opentelemetry-sdk==1.45.2",
    "opentelemetry-semantic-conventions==0.66b2", "packaging==26.4", "platformdirs==4.14.8", "prometheus_client==0.26.0",
    "propcache==0.5.4", "proto-plus==1.29.0", "protobuf==7.36.2", "py-spy==0.4.3", "pyasn1==0.6.5",
    "pyasn1_modules==0.4.2", "pycparser==3.12", "pydantic==2.14.4", "pydantic_core==2.50.5", "python-discovery==1.9.6",
    "PyYAML==6.0.4", "referencing==0.37.0", "requests==2.34.2", "rpds-py==2026.9.1", "six==1.17.0", "smart_open==9.0.2",
    "typing-inspection==0.4.5", "typing_extensions==4.16.0", "urllib3==2.8.0", "virtualenv==21.15.11", "wrapt==2.5.2",
    "yarl==1.25.1",
];

/// A cluster with a head and one more node. Dropping it stops both.
struct Ray {
    bin: PathBuf,
    folder: tempfile::TempDir,
    ports: [u16; 5],
}

impl Ray {
    fn start(test: &str) -> Option<Ray> {
        let skip = |why: &str| {
            skipped(test, why);
            None
        };
        if !cfg!(target_os = "linux") {
            return skip("the processes of Ray are read from /proc");
        }
        let python = match installed("ray", &PACKAGES) {
            Ok(python) => python,
            Err(why) => return skip(&why),
        };
        let bin = python.parent().expect("a folder of programs").to_owned();
        // Ray refuses long names of sockets.
        let folder = tempfile::Builder::new().prefix("ray").tempdir_in("/tmp").expect("a folder");
        let ray = Ray { bin, folder, ports: free_ports() };
        let temporary = format!("--temp-dir={}", ray.folder.path().display());
        let [head, dashboard, client, ..] = ray.ports;
        let ports = [
            format!("--port={head}"),
            format!("--dashboard-port={dashboard}"),
            format!("--ray-client-server-port={client}"),
        ];
        let words = ["--head", "--dashboard-host=127.0.0.1", &temporary, &ports[0], &ports[1], &ports[2]];
        let started = ray.start_node(&words, 3);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        ray.start_second();
        Some(ray)
    }

    fn start_second(&self) {
        let started = self.start_node(&[&format!("--address=127.0.0.1:{}", self.ports[0])], 4);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    }

    fn start_node(&self, words: &[&str], agent: usize) -> Output {
        let common = ["start", "--node-ip-address=127.0.0.1", "--num-cpus=1", "--disable-usage-stats"];
        let ports = ["--min-worker-port=0", "--max-worker-port=0"];
        let agent = format!("--dashboard-agent-listen-port={}", self.ports[agent]);
        let mut command = Command::new(self.bin.join("ray"));
        command.args(common).args(ports).arg(agent).args(words).env("PATH", self.path()).stdin(Stdio::null());
        command.output().expect("ray")
    }

    /// The search path with the environment's Python before others: the driver asks for `python3`.
    fn path(&self) -> String {
        format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap_or_default())
    }

    fn project(&self, server: &Server) -> Project {
        project(server, rows()).env("RAY_API_SERVER_ADDRESS", &format!("http://127.0.0.1:{}", self.ports[1]))
    }

    /// Kills the second node with its processes, as a power cut does.
    fn kill_second(&self) {
        // The head's socket has no number.
        let raylets = self.processes("/sockets/raylet.");
        let raylet = raylets.iter().find(|(_, words)| words.contains("/raylet/raylet")).expect("a second raylet").0;
        kill(&descendants(raylet));
    }

    /// The processes of this cluster whose arguments contain `word`.
    fn processes(&self, word: &str) -> Vec<(u32, String)> {
        let session = self.folder.path().display().to_string();
        processes().into_iter().filter(|(_, words)| words.contains(&session) && words.contains(word)).collect()
    }
}

impl Drop for Ray {
    fn drop(&mut self) {
        let started: Vec<u32> = self.processes("").iter().flat_map(|(process, _)| descendants(*process)).collect();
        kill(&started);
    }
}

/// All processes of this machine, with their arguments.
fn processes() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let words = |process: u32| {
        let bytes = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        Some((process, String::from_utf8_lossy(&bytes).replace('\0', " ")))
    };
    numbers.filter_map(words).collect()
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// A process, and the processes that it and its children started.
fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let all: Vec<(u32, Option<u32>)> = processes().iter().map(|(process, _)| (*process, parent(*process))).collect();
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        found.extend(all.iter().filter(|(_, parent)| *parent == Some(process)).map(|(child, _)| *child));
        next += 1;
    }
    found
}

fn kill(processes: &[u32]) {
    for process in processes {
        drop(Command::new("kill").args(["-KILL", &process.to_string()]).stderr(Stdio::null()).status());
    }
}

/// The processes that make parts of a project, and the driver that started them.
fn workers_of(folder: &Path) -> (Vec<u32>, Vec<u32>) {
    let folder = folder.display().to_string();
    let all = processes();
    let with = |word: &str| {
        let mine = all.iter().filter(|(_, words)| words.contains(&folder) && words.contains(word));
        mine.map(|(process, _)| *process).collect()
    };
    (with(" task "), with("/driver.py"))
}

#[test]
fn a_run_on_ray_survives_the_death_of_a_worker_a_node_and_the_driver() {
    let Some(ray) = Ray::start("a_run_on_ray_survives_the_death_of_a_worker_a_node_and_the_driver") else { return };
    let plain = Server::new().start();
    let expected = project(&plain, rows());
    expected.run(&["run", "pipeline.toml"]).exits(0);
    for workers in WORKERS {
        let server = Server::new().latency_ms(20).start();
        let project = ray.project(&server);
        let on = ["run", "pipeline.toml", "--on", "ray", "--workers", workers];
        let running = project.spawn(&on);
        let folder = fs::canonicalize(project.folder()).expect("the folder");
        assert!(server.wait_answered(rows() / 4), "{}", running.stderr());
        let (tasks, _) = workers_of(&folder);
        kill(&tasks[..1]);
        assert!(server.wait_answered(rows() / 2), "{}", running.stderr());
        ray.kill_second();
        assert!(server.wait_answered(rows() * 3 / 4), "{}", running.stderr());
        ray.start_second();
        let (_, driver) = workers_of(&folder);
        kill(&driver);
        // Ray reports the dead driver; the same command submits a new one.
        let died = running.wait().exits(3);
        assert!(died.stderr.contains("the workers ended before all parts were committed"), "{}", died.stderr);
        wait_for("the end of the old workers", Duration::from_secs(60), || workers_of(&folder).0.is_empty());
        let ran = project.run(&on).exits(0);
        assert!(outputs(&project) == outputs(&expected), "{workers} workers: {}", ran.stderr);
        // A kill costs at most what the workers that it ended had in flight.
        let most = IN_FLIGHT * (2 + workers.parse::<usize>().expect("a number").min(2));
        assert!(repeated(&server) <= most, "{workers} workers: {} calls were repeated", repeated(&server));
        println!("{workers} workers: {} of {} calls were repeated", repeated(&server), server.requests());
        let sent = server.requests();
        project.run(&on).exits(0).says("0 calls sent");
        assert_eq!(server.requests(), sent);
    }
}
