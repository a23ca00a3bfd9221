//! Runs on a real Slurm with two nodes, from Debian's packages: munged, slurmctld and two slurmd on this machine.
//!
//! The daemons start once and take some seconds. The test with a dead node takes about 4 minutes, since Slurm waits 2
//! minutes before it repeats a task. `FANFOLD_SLURM_ROWS=16000` runs it with more rows than the default. Without root or
//! the packages, the tests are skipped, loudly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cluster::{outputs, project, repeated, wait_for};
use crate::ports::free_ports;
use crate::project::{Project, Running};
use crate::server::{Say, Server, answer};
use crate::venv::skipped;

/// Calls that a worker has in flight.
const IN_FLIGHT: usize = 8;
/// The numbers of workers of the runs, with what lets each run have a worker on `n1`: two workers with 11 of the 20
/// processors of a node need two nodes.
const RUNS: [(&str, &str); 3] = [("1", "--nodelist=n1"), ("2", "--cpus-per-task=11"), ("5", "--cpus-per-task=1")];

/// The longest time of a run with a dead node.
const PATIENCE: Duration = Duration::from_secs(1500);

fn rows() -> usize {
    std::env::var("FANFOLD_SLURM_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1000)
}

struct Slurm {
    folder: PathBuf,
}

/// The cluster of this suite run. `None` if it cannot run here.
fn slurm(test: &str) -> Option<&'static Slurm> {
    static SLURM: OnceLock<Option<Slurm>> = OnceLock::new();
    let found = SLURM.get_or_init(Slurm::start).as_ref();
    if found.is_none() {
        skipped(test, "a Slurm needs root and Debian's package slurm-wlm");
    }
    found
}

fn works(program: &str, args: &[&str]) -> bool {
    let done = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

fn config(folder: &Path, host: &str) -> String {
    let (at, [port, ports @ ..]) = (folder.display(), free_ports::<3>());
    let node = |number: usize| {
        let port = ports[number];
        format!(
            "NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=20 CoresPerSocket=20 State=UNKNOWN"
        )
    };
    format!(
        "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={port}\nAuthType=auth/munge\n\
         AuthInfo=socket={at}/munge.socket\nSlurmUser=root\nSlurmdUser=root\nStateSaveLocation={at}/state\n\
         SlurmdSpoolDir={at}/spool-%n\nSlurmctldPidFile={at}/slurmctld.pid\nSlurmdPidFile={at}/slurmd-%n.pid\n\
         SwitchType=switch/none\nMpiDefault=none\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
         JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
         SchedulerParameters=sched_interval=2,bf_interval=2\nSelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
         ReturnToService=2\nSlurmdParameters=config_overrides\nSlurmdTimeout=15\nKillWait=5\nJobRequeue=1\n\
         {}\n{}\nPartitionName=main Nodes=n0,n1 Default=YES LLN=YES MaxTime=INFINITE State=UP\n",
        node(0),
        node(1)
    )
}

impl Slurm {
    fn start() -> Option<Slurm> {
        let id = Command::new("id").arg("-u").output().ok()?;
        if !cfg!(target_os = "linux") || String::from_utf8_lossy(&id.stdout).trim() != "0" {
            return None;
        }
        let is_there = || ["slurmctld", "slurmd", "munged", "setpriv"].iter().all(|name| works("which", &[name]));
        if !is_there() {
            let install = ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"];
            let installed = works("apt-get", &install) || (works("apt-get", &["update"]) && works("apt-get", &install));
            if !installed || !is_there() {
                return None;
            }
        }
        let folder = tempfile::tempdir().ok()?.keep();
        let host = Command::new("hostname").arg("-s").output().ok()?;
        fs::write(folder.join("slurm.conf"), config(&folder, String::from_utf8_lossy(&host.stdout).trim())).ok()?;
        fs::create_dir_all(folder.join("state")).ok()?;
        let key: Vec<u8> = (0..1024u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(folder.join("munge.key"), key).ok()?;
        works("chmod", &["600", folder.join("munge.key").to_str()?]).then_some(())?;
        let slurm = Slurm { folder };
        slurm.start_daemons();
        wait_for("two idle nodes", Duration::from_secs(60), || {
            slurm.ask("sinfo", &["-h", "-o", "%t %D"]).contains("idle 2")
        });
        Some(slurm)
    }

    /// Starts the daemons from a thread that does not end. The system kills them when this process ends.
    fn start_daemons(&self) {
        let (folder, (ready, started)) = (self.folder.clone(), channel());
        std::thread::spawn(move || {
            let path = |name: &str| folder.join(name).display().to_string();
            let conf = path("slurm.conf");
            let munge = [
                "-F".to_owned(),
                "-f".to_owned(),
                format!("--key-file={}", path("munge.key")),
                format!("--socket={}", path("munge.socket")),
                format!("--pid-file={}", path("munged.pid")),
                format!("--log-file={}", path("munged.log")),
                format!("--seed-file={}", path("munge.seed")),
            ];
            let mut daemons = vec![daemon(&folder, "munged", &munge)];
            wait_for("munged", Duration::from_secs(20), || folder.join("munge.socket").exists());
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            daemons.push(daemon(&folder, "slurmctld", &words(&["-D", "-f", &conf])));
            for node in ["n0", "n1"] {
                daemons.push(daemon(&folder, "slurmd", &words(&["-D", "-f", &conf, "-N", node])));
            }
            ready.send(()).expect("the test waits");
            std::thread::park();
            daemons.iter_mut().for_each(|daemon| drop(daemon.wait()));
        });
        started.recv().expect("the daemons start");
    }

    fn conf(&self) -> String {
        self.folder.join("slurm.conf").display().to_string()
    }

    /// The output of a command of Slurm.
    fn ask(&self, program: &str, args: &[&str]) -> String {
        let done =
            Command::new(program).args(args).env("SLURM_CONF", self.conf()).output().expect("a command of Slurm");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn project(&self, server: &Server, rows: usize) -> Project {
        project(server, rows).env("SLURM_CONF", &self.conf())
    }

    /// The processes of the jobs on a node, and their parents.
    fn processes(node: &str) -> Vec<u32> {
        let mark = format!("SLURMD_NODENAME={node}\0");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.windows(mark.len()).any(|part| part == mark.as_bytes()) {
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
                found.extend(parent.filter(|parent| is_step(*parent)).into_iter().chain([id]));
            }
        }
        found
    }
}

fn is_step(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/cmdline")).is_ok_and(|words| words.starts_with("slurmstepd"))
}

fn daemon(folder: &Path, program: &str, args: &[String]) -> Child {
    let log =
        fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{program}.log"))).expect("a log");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).args(args).env("SLURM_CONF", folder.join("slurm.conf"));
    let log = (log.try_clone().expect("a log"), log);
    command.stdin(Stdio::null()).stdout(log.0).stderr(log.1).spawn().expect("a daemon")
}

/// Kills a node with its jobs, as a power cut does.
fn kill_node(node: &str) {
    let daemon = Command::new("pgrep").args(["-f", &format!("^slurmd -D .* -N {node}$")]).output().expect("pgrep");
    let daemons = String::from_utf8_lossy(&daemon.stdout).into_owned();
    let daemons = daemons.split_whitespace().map(str::to_owned);
    for process in daemons.chain(Slurm::processes(node).iter().map(u32::to_string)) {
        works("kill", &["-KILL", &process]);
    }
}

const ON: [&str; 6] = ["run", "pipeline.toml", "--on", "slurm", "--workers", "2"];

/// A run on the cluster. Its server answers the first half of the rows, and then waits.
struct Halted {
    workers: &'static str,
    options: &'static str,
    project: Project,
    server: Server,
    opened: Arc<AtomicBool>,
}

impl Halted {
    fn new(slurm: &Slurm, (workers, options): (&'static str, &'static str)) -> Halted {
        let (opened, asked) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let is_open = opened.clone();
        let server = Server::new().latency_ms(20).script(move |question, _| {
            let is_early = asked.fetch_add(1, Ordering::Relaxed) < rows() / 2;
            while !is_early && !is_open.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
            Say::Text(answer(question))
        });
        let server = server.start();
        Halted { workers, options, project: slurm.project(&server, rows()), server, opened }
    }

    fn run(&self) -> Running {
        self.project.spawn(&[&ON[..5], &[self.workers, "--sbatch", self.options]].concat())
    }

    /// The number of its workers on a node.
    fn workers_on(&self, node: &str) -> usize {
        let name = self.project.folder().file_name().expect("a name").to_string_lossy().into_owned();
        let is_worker = |process: &u32| {
            let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains(&name) && words.contains("\0task\0")
        };
        Slurm::processes(node).iter().filter(|process| is_worker(process)).count()
    }
}

#[test]
fn runs_on_two_nodes_survive_the_death_of_one_and_a_time_limit() {
    let Some(slurm) = slurm("runs_on_two_nodes_survive_the_death_of_one_and_a_time_limit") else { return };
    let plain = Server::new().start();
    let expected = project(&plain, rows());
    expected.run(&["run", "pipeline.toml"]).exits(0);
    let runs = RUNS.map(|run| Halted::new(slurm, run));
    let running: Vec<Running> = runs.iter().map(Halted::run).collect();
    for (run, running) in runs.iter().zip(&running) {
        assert!(run.server.wait_answered(rows() / 2), "{} workers: {}", run.workers, running.stderr());
    }
    let on_n1 = || runs.each_ref().map(|run| run.workers_on("n1"));
    wait_for("a worker of each run on n1", Duration::from_secs(60), || on_n1().iter().all(|workers| *workers > 0));
    let lost = on_n1();
    kill_node("n1");
    // What Slurm does before the time limit.
    let tasks = slurm.ask("squeue", &["-h", "-r", "-t", "RUNNING", "-o", "%i %N"]);
    let task = tasks.lines().find(|line| line.ends_with(" n0")).and_then(|line| line.split_whitespace().next());
    slurm.ask("scancel", &["--batch", "-s", "TERM", task.expect("a task on n0")]);
    let other = runs[1].project.run(&["run", "pipeline.toml"]).exits(3);
    assert!(other.stderr.contains("this run is on slurm (job "), "{}", other.stderr);
    runs.iter().for_each(|run| run.opened.store(true, Ordering::Relaxed));
    wait_for("the death of n1", Duration::from_secs(120), || {
        slurm.ask("sinfo", &["-N", "-h", "-o", "%N %t"]).contains("n1 down")
    });
    slurm.restart("n1");
    for ((run, running), lost) in runs.iter().zip(running).zip(lost) {
        let (workers, ran) = (run.workers, running.wait_within(PATIENCE).exits(0));
        assert!(outputs(&run.project) == outputs(&expected), "{workers} workers: {}", ran.stderr);
        let (again, all) = (repeated(&run.server), run.server.requests());
        println!("{workers} workers, {lost} of them killed: {again} of {all} calls were repeated");
        assert!(again <= IN_FLIGHT * lost, "{workers} workers, {lost} of them killed: {again} calls were repeated");
        run.project.run(&ON).exits(0).says("0 calls sent");
        assert_eq!(run.server.requests(), all);
    }
}

impl Slurm {
    fn restart(&self, node: &str) {
        let args = ["-D", "-f", &self.conf(), "-N", node].map(str::to_owned);
        let (folder, (ready, started)) = (self.folder.clone(), channel());
        std::thread::spawn(move || {
            let mut daemon = daemon(&folder, "slurmd", &args);
            ready.send(()).expect("the test waits");
            std::thread::park();
            drop(daemon.wait());
        });
        started.recv().expect("the node starts");
    }
}

#[test]
fn a_detached_run_is_followed_later_and_a_model_out_of_reach_is_reported_before_the_workers_start() {
    let Some(slurm) = slurm("a_detached_run_is_followed_later") else { return };
    let server = Server::new().latency_ms(5).start();
    let project = slurm.project(&server, 60);
    let detached: Vec<&str> = ON.iter().copied().chain(["--detach"]).collect();
    project.run(&detached).exits(0).says("submitted to slurm: job ");
    project.run(&ON).exits(0).says("on slurm since ");
    let plain = Server::new().start();
    let expected = self::project(&plain, 60);
    expected.run(&["run", "pipeline.toml"]).exits(0);
    assert!(outputs(&project) == outputs(&expected));
    let unreachable = Project::new().env("OLLAMA_HOST", "http://127.0.0.1:9").env("SLURM_CONF", &slurm.conf());
    let unreachable = unreachable.spec(crate::cluster::SPEC).csv("data.csv", &crate::cluster::speeches(60));
    let failed = unreachable.run(&ON).exits(3);
    assert!(failed.stderr.contains("the workers ended before all parts were committed"), "{}", failed.stderr);
    assert!(failed.stderr.contains("compute nodes often have no way out"), "{}", failed.stderr);
}

#[test]
fn scripts_are_shown_without_a_cluster() {
    let server = Server::new().start();
    let project = project(&server, 60);
    let spec = crate::cluster::SPEC.replacen(
        "[models.llama]",
        "[cluster]\nmodules = [\"cuda/12.4\"]\nbefore = \"ollama serve &\"\nenv = [\"LAB_KEY\"]\nsbatch = [\"--gres=gpu:1\"]\n\n[models.llama]",
        1,
    );
    project.write("pipeline.toml", spec);
    let shown = project.run(&[
        "run",
        "pipeline.toml",
        "--on",
        "slurm",
        "--workers",
        "3",
        "--sbatch",
        "--time=1:00:00",
        "--dry-run",
    ]);
    let shown = shown.exits(0).stdout;
    let folder = fs::canonicalize(project.folder()).expect("the folder").display().to_string();
    let program = env!("CARGO_BIN_EXE_fanfold");
    let run = shown.split("/runs/").nth(1).and_then(|rest| rest.split('/').next()).expect("a run").to_owned();
    let text = shown.replace(&folder, "PROJECT").replace(program, "fanfold").replace(&run, "RUN");
    insta::assert_snapshot!("slurm_scripts", text);
    assert_eq!(server.requests(), 0);
}
