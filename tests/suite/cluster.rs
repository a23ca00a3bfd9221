//! Runs on several machines: workers that are killed, repeated and doubled make the tables of an ordinary run.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::recipe::rows;
use crate::server::{Asked, Say, Server, answer};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
pub(crate) const OUTPUTS: [&str; 2] = ["out/gist.parquet", "out/sums.csv"];
/// Calls that a worker has in flight.
pub(crate) const IN_FLIGHT: usize = 8;

/// A fan-out of two models, and a summary of each year.
pub(crate) const SPEC: &str = r#"name = "years"
seed = 7
[models.llama]
provider = "ollama"
model = "llama3.2"
[models.mistral]
provider = "ollama"
model = "mistral"
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
[stages.gist]
type = "analysis"
input = "speeches"
models = ["llama", "mistral"]
fanout = true
prompt = "Gist of {{ text }}"
workers = 2
batch_size = 4
chunk_size = 10
[stages.sums]
type = "reduce"
input = "gist"
models = ["mistral"]
group_by = ["year"]
order_by = ["id"]
prompt = "Of {{ year }}:{% for row in rows %} {{ row.gist_llama }}/{{ row.gist_mistral }};{% endfor %}"
workers = 2
batch_size = 4
chunk_size = 3
[outputs.gist]
input = "gist"
path = "out/gist.parquet"
[outputs.sums]
input = "sums"
path = "out/sums.csv"
"#;

/// Speeches, seven in a year.
pub(crate) fn speeches(count: usize) -> Vec<[String; 3]> {
    let mut all = rows(count);
    all.iter_mut().skip(1).enumerate().for_each(|(i, row)| row[1] = (1800 + i / 7).to_string());
    all
}

pub(crate) fn project(server: &Server, count: usize) -> Project {
    Project::new().env("OLLAMA_HOST", &server.url()).spec(SPEC).csv("data.csv", &speeches(count))
}

/// The bytes of the outputs.
pub(crate) fn outputs(project: &Project) -> Vec<Vec<u8>> {
    OUTPUTS.iter().map(|path| project.bytes(path)).collect()
}

/// The outputs and the number of requests of a run on one machine.
pub(crate) fn undisturbed(count: usize) -> (Vec<Vec<u8>>, usize) {
    let server = Server::new().start();
    let project = project(&server, count);
    project.run(&RUN).exits(0);
    (outputs(&project), server.requests())
}

/// The number of requests for a call that had been asked before.
pub(crate) fn repeated(server: &Server) -> usize {
    server.times_asked().values().map(|times| times - 1).sum()
}

fn on_local(workers: &'static str) -> Vec<&'static str> {
    vec!["run", "pipeline.toml", "--on", "local", "--workers", workers]
}

/// The processes of this machine whose arguments contain `word` and `task`.
pub(crate) fn tasks(word: &str) -> Vec<String> {
    let listed = Command::new("ps").args(["-eo", "pid,args"]).output().expect("ps");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let lines = text.lines().filter(|line| line.contains(word) && line.contains(" task "));
    lines.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

pub(crate) fn kill(process: &str) {
    drop(Command::new("kill").args(["-KILL", process]).status());
}

#[test]
fn workers_make_the_tables_of_an_ordinary_run() {
    let (expected, requests) = undisturbed(80);
    for workers in ["1", "2", "5"] {
        let server = Server::new().latency_ms(2).start();
        let project = project(&server, 80);
        let ran = project.run(&on_local(workers)).exits(0);
        assert!(outputs(&project) == expected, "{workers} workers make other tables");
        assert_eq!((server.requests(), repeated(&server)), (requests, 0), "{workers} workers: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("workers: {requests} calls sent; ")), "{}", ran.stderr);
        let runs = project.run(&["runs", "pipeline.toml", "--format", "json"]).exits(0).json();
        assert_eq!(runs["runs"][0]["sent"], requests, "{runs:#}");
        project.run(&RUN).exits(0).says("every answer is reused: 0 calls sent");
        project.run(&on_local(workers)).exits(0).says("0 calls sent");
        let again = project.run(&["verify", "pipeline.toml"]).exits(0);
        assert_eq!(server.requests(), requests, "{}", again.stderr);
    }
}

#[test]
fn killed_workers_are_started_again_and_pay_at_most_what_was_in_flight() {
    let (expected, _) = undisturbed(120);
    let server = Server::new().latency_ms(20).start();
    let project = project(&server, 120);
    let running = project.spawn(&on_local("3"));
    let word = project.folder().display().to_string();
    let mut kills = 0;
    for answers in [20, 60, 100, 140, 180] {
        assert!(server.wait_answered(answers), "it never came so far: {}", running.stderr());
        if let Some(process) = tasks(&word).get(answers / 20 % 3) {
            kill(process);
            kills += 1;
        }
    }
    let ran = running.wait().exits(0);
    assert!(kills >= 3, "{}", ran.stderr);
    assert!(outputs(&project) == expected, "{}", ran.stderr);
    assert!(repeated(&server) <= kills * IN_FLIGHT, "{} calls were repeated, {kills} kills", repeated(&server));
}

/// A server that answers four calls, and all others when the test releases them.
pub(crate) struct Holding {
    pub(crate) server: Server,
    answers: Arc<AtomicBool>,
}

impl Holding {
    pub(crate) fn start() -> Holding {
        let answers = Arc::new(AtomicBool::new(false));
        let told = answers.clone();
        let script = move |asked: &Asked, _: usize| {
            while asked.number >= 4 && !told.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            Say::Default
        };
        Holding { server: Server::new().script(script).start(), answers }
    }
}

/// Kills the command when its workers have calls in flight, and waits until the workers have ended. The folder of the run,
/// which the workers know as `word`, is refused until then.
pub(crate) fn command_is_killed(project: &Project, holding: &Holding, command: &[&str], word: &str) {
    let running = project.spawn(command);
    assert!(
        holding.server.wait_answered(4) && holding.server.wait_requests(5),
        "it never came so far: {}",
        running.stderr()
    );
    running.kill();
    let refused = project.run(command).exits(3).stderr;
    assert!(refused.contains("workers of a command that was killed are ending their calls"), "{refused}");
    holding.answers.store(true, Relaxed);
    wait_for("the end of the workers", Duration::from_secs(30), || tasks(word).is_empty());
}

#[test]
fn workers_end_with_the_command_that_started_them() {
    let (expected, _) = undisturbed(24);
    let holding = Holding::start();
    let server = &holding.server;
    let project = project(server, 24);
    command_is_killed(&project, &holding, &on_local("3"), &project.folder().display().to_string());
    let sent = server.requests();
    project.run(&on_local("3")).exits(0);
    assert!(outputs(&project) == expected);
    let runs = project.run(&["runs", "pipeline.toml", "--format", "json"]).exits(0).json();
    assert_eq!(runs["runs"][0]["sent"], server.requests(), "those of the killed command too: {runs:#}");
    assert!(sent < server.requests() && repeated(server) == 0, "{} calls were repeated", repeated(server));
}

#[test]
fn what_workers_have_paid_is_known_to_pilots_and_to_other_runs() {
    let holding = Holding::start();
    let server = &holding.server;
    let project = project(server, 24);
    command_is_killed(&project, &holding, &on_local("3"), &project.folder().display().to_string());
    project.run(&["run", "pipeline.toml", "--pilot", "3"]).exits(0);
    let running = project.spawn(&on_local("2"));
    assert!(server.wait_requests(server.requests() + 4), "it never came so far: {}", running.stderr());
    running.sigint();
    running.wait();
    // Fewer rows make another run.
    project.run(&["run", "pipeline.toml", "--limit", "20"]).exits(0);
    project.run(&RUN).exits(0);
    assert_eq!(repeated(server), 0);
    assert!(outputs(&project) == undisturbed(24).0);
}

/// The folder of the only run, from the project's folder.
fn run_folder(project: &Project) -> String {
    let files = project.files(".fanfold/runs");
    let plan = files.iter().find(|file| file.ends_with("cluster/plan.json")).expect("a frozen plan");
    plan.trim_end_matches("/cluster/plan.json").to_owned()
}

#[test]
fn tasks_in_any_order_repeated_and_doubled_make_the_tables() {
    let (expected, requests) = undisturbed(60);
    let server = Server::new().latency_ms(5).start();
    let project = project(&server, 60);
    let script = project.run(&["run", "pipeline.toml", "--on", "local", "--dry-run"]).exits(0).stdout;
    assert!(script.contains(" task ") && script.contains(" gist --worker 0"), "{script}");
    assert_eq!(server.requests(), 0, "freezing sends nothing");
    let run = run_folder(&project);
    let task = |stage: &'static str, part: &str| project.spawn(&["task", &run, stage, part]);
    // Neither the sources nor the spec are needed after the plan was frozen.
    std::fs::remove_file(project.path("data.csv")).unwrap();
    project.write("pipeline.toml", "this is not a spec");
    let early = task("sums.groups", "0").wait().exits(3);
    assert!(early.stderr.contains("part 0 of `gist` is not committed yet"), "{}", early.stderr);
    for part in ["5", "1", "3"] {
        task("gist", part).wait().exits(0);
    }
    let sent = server.requests();
    task("gist", "3").wait().exits(0);
    assert_eq!(server.requests(), sent, "a committed part sends nothing");
    let killed = task("gist", "0");
    assert!(server.wait_answered(sent + 7));
    killed.kill();
    let doubled: Vec<_> = ["0", "0", "2", "4"].map(|part| task("gist", part)).into_iter().collect();
    doubled.into_iter().for_each(|task| drop(task.wait().exits(0)));
    task("sums.groups", "0").wait().exits(0);
    for part in ["2", "1", "0"] {
        task("sums", part).wait().exits(0);
    }
    let repeats = server.requests() - requests;
    assert!(repeats <= 20 + IN_FLIGHT, "{repeats}: only part 0 was doubled and killed");
    project.write("pipeline.toml", SPEC);
    let project = project.csv("data.csv", &speeches(60));
    let before = server.requests();
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(server.requests(), before);
    assert!(outputs(&project) == expected);
}

#[test]
fn answers_that_the_ledger_has_are_not_asked_by_workers() {
    let server = Server::new().start();
    let project = project(&server, 60);
    project.run(&["run", "pipeline.toml", "--select", "gist"]).exits(0);
    let asked = server.requests();
    project.run(&on_local("2")).exits(0);
    let sums = server.asked()[asked..].iter().filter(|asked| asked.question().starts_with("Of ")).count();
    assert_eq!((server.requests() - asked, repeated(&server)), (sums, 0));
    assert!(outputs(&project) == undisturbed(60).0);
}

#[test]
fn a_worker_with_another_build_of_a_model_is_refused() {
    let server = Server::new().start();
    let project = project(&server, 40);
    project.run(&["run", "pipeline.toml", "--on", "local", "--dry-run"]).exits(0);
    let run = run_folder(&project);
    project.run(&["task", &run, "gist", "0"]).exits(0);
    server.rebuild(|build| build.digest = "0".repeat(64));
    let refused = project.run(&["task", &run, "gist", "1"]);
    assert!(refused.stderr.contains("has another build on this machine"), "{}", refused.stderr);
    assert_eq!(refused.code, 3);
}

#[test]
fn rows_that_failed_stay_failed_until_the_next_run() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let say = move |asked: &Asked, _: usize| {
        let fails = is_broken.load(Relaxed) && asked.question().contains("Speech 3,");
        if fails { Say::status(400) } else { Say::Text(answer(asked)) }
    };
    let server = Server::new().script(say).start();
    let project = project(&server, 40);
    let failed = project.run(&on_local("2")).exits(1);
    assert!(failed.stderr.contains("39 answered + 1 failed"), "{}", failed.stderr);
    let (sent, before) = (server.requests(), outputs(&project));
    broken.store(false, Relaxed);
    project.run(&on_local("2")).exits(0);
    assert!(outputs(&project) != before && server.requests() > sent);
    assert!(outputs(&project) == undisturbed(40).0);
}

#[test]
fn limits_are_divided_among_the_workers_and_too_small_ones_are_refused() {
    let server = Server::new().start();
    let limited = SPEC
        .replace("[models.llama]", "[providers.ollama]\ntype = \"ollama\"\nrequests_per_minute = 3\n[models.llama]");
    let project = project(&server, 40);
    project.write("pipeline.toml", limited);
    let refused = project.run(&on_local("4")).exits(3);
    let expected = "4 workers can't share the `requests_per_minute = 3` of provider `ollama`: use at most 3 workers";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    let fresh = project.run(&[&on_local("2")[..], &["--fresh"]].concat()).exits(2);
    assert!(fresh.stderr.contains("workers can't ask everything again"), "{}", fresh.stderr);
    assert_eq!(server.requests(), 0);
    project.write("pipeline.toml", format!("budget = {{ calls = 20 }}\n{SPEC}"));
    let project = project.csv("data.csv", &speeches(80));
    let spent = project.run(&on_local("4")).exits(3);
    assert!(server.requests() <= 20, "{} requests", server.requests());
    assert!(spent.stderr.contains("this worker has spent its share of `budget.calls`"), "{}", spent.stderr);
}

/// Waits until `done` is true.
pub(crate) fn wait_for(what: &str, most: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < most, "{what} did not happen within {most:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(not(feature = "cloud"))]
#[test]
fn a_program_without_object_stores_says_how_to_get_one_that_has_them() {
    let server = Server::new().start();
    let project = project(&server, 20);
    let says = |ran: crate::project::Ran| {
        assert!(ran.code != 0, "{}", ran.stderr);
        for part in ["is on an object store, and this program was built without", "--features cloud"] {
            assert!(ran.stderr.contains(part), "{}", ran.stderr);
        }
    };
    says(project.run(&["doctor", "storage", "s3://study/runs"]));
    project.write("pipeline.toml", SPEC.replace("\"data.csv\"", "\"s3://study/data.csv\""));
    says(project.run(&RUN));
    project.write("pipeline.toml", SPEC.replace("\"out/sums.csv\"", "\"gs://study/sums.csv\""));
    says(project.run(&RUN));
    assert_eq!(server.requests(), 0, "nothing is paid before");
}

#[test]
fn a_folder_is_probed_by_racing_processes() {
    let project = Project::new();
    let found = project.run(&["doctor", "storage", "."]).exits(0);
    for line in ["can be shared by workers", "1 of 16 processes wins, every time", "commits: by "] {
        assert!(found.stdout.contains(line), "{}", found.stdout);
    }
    assert_eq!(project.files(".").len(), 0, "the probe leaves nothing");
    let missing = project.run(&["doctor", "storage", "nowhere"]).exits(3);
    assert!(missing.stderr.contains("nowhere can't be shared by workers"), "{}", missing.stderr);
}

/// The packages that check a manifest against the published schemas of Kubernetes.
const VALIDATE: [&str; 10] = [
    "kubernetes-validate==1.37.0",
    "PyYAML",
    "jsonschema",
    "jsonschema-specifications",
    "referencing",
    "rpds-py",
    "attrs",
    "importlib-resources",
    "packaging",
    "typing-extensions",
];

#[test]
fn the_manifest_for_kubernetes_follows_the_published_schema_of_batch_v1() {
    let server = Server::new().start();
    let project = project(&server, 40);
    let on = ["run", "pipeline.toml", "--on", "kubernetes", "--workers", "3", "--dry-run"];
    let refused = project.run(&on).exits(2);
    assert!(refused.stderr.contains("write `[cluster.kubernetes]`"), "{}", refused.stderr);
    let table = "[cluster]\nenv = [\"LAB_TOKEN\"]\n[cluster.kubernetes]\nimage = \"lab/fanfold:1\"\nclaim = \"data\"\npath = \"/data/study\"\n";
    project.write("pipeline.toml", SPEC.replacen("[models.llama]", &format!("{table}[models.llama]"), 1));
    let submitted = project.run(&on[..6]).exits(2);
    assert!(submitted.stderr.contains("fanfold does not submit to Kubernetes itself"), "{}", submitted.stderr);
    let shown = project.run(&on).exits(0);
    let job = &shown.json()["spec"];
    assert_eq!((&job["completions"], &job["completionMode"]), (&serde_json::json!(3), &serde_json::json!("Indexed")));
    let script = job["template"]["spec"]["containers"][0]["command"][2].as_str().expect("a script");
    for line in
        [" gist --worker \"$JOB_COMPLETION_INDEX\" --wait", "= 0 ]; then fanfold task /data/study/.fanfold/runs/"]
    {
        assert!(script.contains(line), "{script}");
    }
    project.write("job.json", &shown.stdout);
    let test = "the_manifest_for_kubernetes_follows_the_published_schema_of_batch_v1";
    let python = match crate::venv::installed("kubernetes", &VALIDATE) {
        Ok(python) => python,
        Err(why) => return crate::venv::skipped(test, &why),
    };
    let check =
        "import sys, json, kubernetes_validate as k; k.validate(json.load(open(sys.argv[1])), '1.37', strict=True)";
    let valid = |path: &str| {
        let done = Command::new(&python).args(["-c", check]).arg(project.path(path)).output().expect("python");
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (is_valid, why) = valid("job.json");
    assert!(is_valid, "{why}");
    project.write("wrong.json", shown.stdout.replace("backoffLimitPerIndex", "backoffLimitPerWorker"));
    assert!(!valid("wrong.json").0, "the check finds a field that does not exist");
}

#[test]
fn workers_that_run_the_whole_sequence_wait_for_each_other() {
    let (expected, requests) = undisturbed(60);
    let server = Server::new().latency_ms(5).start();
    let project = project(&server, 60);
    project.run(&["run", "pipeline.toml", "--on", "local", "--workers", "2", "--dry-run"]).exits(0);
    let run = run_folder(&project);
    let spawn = |words: &[&'static str]| project.spawn(&[&["task", run.as_str()], words].concat());
    let all = [
        spawn(&["sums", "--worker", "1", "--wait"]),
        spawn(&["sums", "--worker", "0", "--wait"]),
        spawn(&["sums.groups", "0", "--wait"]),
        spawn(&["gist", "--worker", "1", "--wait"]),
        spawn(&["gist", "--worker", "0", "--wait"]),
    ];
    all.into_iter().for_each(|task| drop(task.wait().exits(0)));
    assert_eq!(server.requests(), requests);
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(outputs(&project) == expected);
}
