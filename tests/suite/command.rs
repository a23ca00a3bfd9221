//! The commands other than `run`: their output, and that they send and write nothing.

use serde_json::Value;

use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::Server;
use crate::weights;

const OUT: &str = "out/tone.parquet";

/// All numbers with this name in a JSON document, at any depth.
fn numbers(value: &Value, name: &str) -> Vec<u64> {
    match value {
        Value::Object(fields) => {
            let here = fields.get(name).and_then(Value::as_u64);
            here.into_iter().chain(fields.values().flat_map(|v| numbers(v, name))).collect()
        }
        Value::Array(items) => items.iter().flat_map(|v| numbers(v, name)).collect(),
        _ => vec![],
    }
}

#[test]
fn a_good_spec_validates_without_a_server() {
    let project = Project::new().spec(&spec(r#"models = ["llama"]"#)).csv("data.csv", &rows(3));
    project.run(&["validate", "pipeline.toml"]).exits(0);
    assert_eq!(project.files(""), ["data.csv", "pipeline.toml"], "validate writes nothing");
}

#[test]
fn validate_has_formats_for_programs() {
    let project = Project::new().spec(&spec(r#"models = ["lama"]"#)).csv("data.csv", &rows(3));
    let json = project.run(&["validate", "pipeline.toml", "--format", "json"]).exits(2);
    let json: Value = json.json();
    assert!(json.to_string().contains("llama"), "{json}");
    let github = project.run(&["validate", "pipeline.toml", "--format", "github"]).exits(2);
    assert!(github.stdout.starts_with("::error "), "{}", github.stdout);
    assert!(github.stdout.contains("file=pipeline.toml,line="), "{}", github.stdout);
    let sarif = project.run(&["validate", "pipeline.toml", "--format", "sarif"]).exits(2);
    let sarif: Value = sarif.json();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(1));
    let none = Project::new().spec(&spec(r#"models = ["llama"]"#)).csv("data.csv", &rows(3));
    let none = none.run(&["validate", "pipeline.toml", "--format", "sarif"]).exits(0);
    let none: Value = none.json();
    assert_eq!(none["runs"][0]["results"].as_array().map(Vec::len), Some(0));
}

#[test]
fn plan_counts_calls_and_what_the_ledger_has() {
    let server = Server::new().start();
    let stage = format!("models = [\"llama\", \"mistral\"]\nfanout = true\n{TYPED}");
    let project = project(&server, &spec(&stage), 10);
    let plan = ["plan", "pipeline.toml", "--format", "json"];
    let before: Value = project.run(&plan).exits(0).json();
    assert!(numbers(&before, "rows").contains(&10), "{before}");
    assert!(numbers(&before, "calls").contains(&20), "{before}");
    assert_eq!(server.requests(), 0);
    assert!(!project.has(OUT));
    project.run(&["run", "pipeline.toml"]).exits(0);
    let after: Value = project.run(&plan).exits(0).json();
    assert!(numbers(&after, "from_ledger").contains(&20), "{after}");
}

#[test]
fn plan_shows_prompts_and_draws() {
    let project = Project::new().spec(&spec(r#"models = ["llama"]"#)).csv("data.csv", &rows(5));
    let shown = project.run(&["plan", "pipeline.toml", "--render", "3"]).exits(0);
    for row in 0..3 {
        assert!(shown.stdout.contains(&format!("Speech {row}, on trade")), "{}", shown.stdout);
    }
    assert!(!shown.stdout.contains("Speech 3,"), "{}", shown.stdout);
    let drawn = project.run(&["plan", "pipeline.toml", "--format", "mermaid"]).exits(0).stdout;
    assert!(drawn.starts_with("flowchart") || drawn.starts_with("graph"), "{drawn}");
    assert!(drawn.contains("speeches") && drawn.contains("tone"), "{drawn}");
}

#[test]
fn a_dry_run_sends_and_writes_nothing() {
    let server = Server::new().start();
    let project = project(&server, &spec(r#"models = ["llama"]"#), 5);
    project.run(&["run", "pipeline.toml", "-n"]).exits(0);
    assert_eq!(server.requests(), 0);
    assert_eq!(project.files(""), ["data.csv", "pipeline.toml"]);
}

#[test]
fn limit_takes_the_first_rows_and_the_whole_run_pays_only_the_rest() {
    let server = Server::new().start();
    let project = project(&server, &spec(r#"models = ["llama"]"#), 10);
    project.run(&["run", "pipeline.toml", "--limit", "3"]).exits(0);
    assert_eq!(server.requests(), 3);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests(), 10);
    assert_eq!(project.table(OUT).len(), 10);
}

#[test]
fn select_runs_a_stage_and_what_it_needs() {
    let server = Server::new().start();
    let more = "models = [\"llama\"]\n[stages.other]\ntype = \"analysis\"\ninput = \"speeches\"\n\
                models = [\"mistral\"]\nprompt = \"Another: {{ text }}\"\n[outputs.other]\ninput = \"other\"\npath = \"out/other.parquet\"\n";
    let project = project(&server, &spec(more), 6);
    project.run(&["run", "pipeline.toml", "--select", "tone"]).exits(0);
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (6, 0));
    assert!(project.has("out/tone.select-tone.parquet") && !project.has(OUT));
    assert!(!project.has("out/other.parquet") && !project.has("out/other.select-tone.parquet"));
    project.run(&["run", "pipeline.toml", "--select", "tonne"]).exits(2).says("tone");
}

#[test]
fn status_shows_the_progress_of_a_run() {
    let server = Server::new().latency_ms(30).start();
    let project = project(&server, &spec("models = [\"llama\"]\nworkers = 1\nbatch_size = 2"), 40);
    project.run(&["status", "pipeline.toml"]).exits(0);
    let running = project.spawn(&["run", "pipeline.toml"]);
    assert!(server.wait_answered(10));
    running.kill();
    let half = project.run(&["status", "pipeline.toml", "--format", "json"]).exits(0);
    let half: Value = half.json();
    assert!(numbers(&half, "rows").contains(&40), "{half}");
    project.run(&["run", "pipeline.toml"]).exits(0);
    let done = project.run(&["status", "pipeline.toml"]).exits(0);
    assert!(done.stdout.contains("40"), "{}", done.stdout);
}

#[test]
fn init_writes_a_valid_spec_and_never_overwrites_one() {
    let project = Project::new();
    project.run(&["init", "study"]).exits(0);
    let specs: Vec<String> = project.files("study").into_iter().filter(|file| file.ends_with(".toml")).collect();
    assert_eq!(specs.len(), 1, "{specs:?}");
    project.run(&["validate", &specs[0]]).exits(0);
    let text = project.text(&specs[0]);
    project.run(&["init", "study"]).exits(2);
    assert_eq!(project.text(&specs[0]), text);
    let ollama = text.replace("\nprovider = \"embedded\"", "\nprovider = \"ollama\"");
    assert!(ollama != text);
    project.write("ollama/pipeline.toml", ollama);
    project.write("ollama/remarks.csv", project.bytes("study/remarks.csv"));
    project.run(&["validate", "ollama/pipeline.toml"]).exits(0);
    let Some(project) = weights::or_skip("init_writes_a_valid_spec_and_never_overwrites_one", project) else {
        return;
    };
    project.run(&["run", &specs[0]]).exits(0).says("3 rows = 3 answered");
    assert_eq!(project.files("study/out"), ["study/out/tone.csv"]);
}

#[test]
fn the_other_commands_work() {
    let project = Project::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = project.run(&["completions", shell]).exits(0);
        assert!(script.stdout.contains("fanfold"), "{shell}");
    }
    let help = project.run(&["--help"]).exits(0);
    for command in ["init", "validate", "plan", "run", "status", "models", "schema", "completions"] {
        assert!(help.stdout.contains(command), "{command} is not in --help");
    }
    let version = project.run(&["--version"]).exits(0);
    assert_eq!(version.stdout.trim(), concat!("fanfold ", env!("CARGO_PKG_VERSION")));
    assert_eq!(project.files(""), [] as [&str; 0]);
}

#[test]
fn git_ignores_the_run_folder() {
    let server = Server::new().start();
    let project = project(&server, &spec(r#"models = ["llama"]"#), 3);
    let ran = project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(ran.stdout, "", "stdout is data only");
    assert!(!ran.stderr.contains(['\r', '\u{1b}']), "no animation if stderr is not a terminal: {:?}", ran.stderr);
    assert!(project.text(".fanfold/.gitignore").lines().any(|line| line.trim() == "*"));
    let manifests = project.files(".fanfold").into_iter().filter(|file| file.ends_with("manifest.json"));
    for file in manifests.collect::<Vec<_>>() {
        let manifest: Value = serde_json::from_str(&project.text(&file)).expect("JSON");
        assert!(
            !manifest.to_string().contains(&*project.folder().to_string_lossy()),
            "a path of this machine in {file}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let project = Project::new();
    let ran = project.run_by("exec \"$0\" schema > /dev/full", &[]).exits(3);
    assert!(ran.stderr.contains("standard output can't be written: No space left on device"), "{}", ran.stderr);
    project.run_by("\"$0\" schema | head -c 1 > part", &[]).exits(0);
    assert_eq!(project.text("part"), "{");
}
