//! What other projects use in CI: the action, the hook for pre-commit, and facts that several files repeat.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use crate::book::block;
use crate::pipelines;
use crate::project::{Project, Ran};
use crate::venv::{installed, skipped};

const ACTION: &str = include_str!("../../action.yml");
const HOOKS: &str = include_str!("../../.pre-commit-hooks.yaml");
const PRE_COMMIT: &[&str] = &[
    "pre-commit==4.7.0",
    "cfgv==3.5.0",
    "distlib==0.4.4",
    "filelock==4.3.1",
    "identify==2.6.20",
    "nodeenv==1.12.0",
    "platformdirs==4.14.8",
    "python-discovery==1.9.6",
    "PyYAML==6.0.4",
    "virtualenv==21.15.11",
];

#[derive(Deserialize)]
struct Action {
    inputs: BTreeMap<String, Input>,
    runs: Runs,
}

#[derive(Deserialize)]
struct Input {
    default: String,
}

#[derive(Deserialize)]
struct Runs {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    name: String,
    shell: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    run: String,
}

/// The script of a step of the action.
pub(crate) fn script(step: &str) -> String {
    let action: Action = serde_yaml::from_str(ACTION).expect("an action");
    action.runs.steps.into_iter().find(|found| found.name == step).expect("a step").run
}

/// Runs the steps of the action as GitHub does, without the installation, and returns those that were run. A report is
/// also written after a failed test; other steps are left out after a failure, and without their input.
fn act(project: &Project, inputs: &[(&str, &str)]) -> BTreeMap<String, Ran> {
    let action: Action = serde_yaml::from_str(ACTION).expect("an action");
    let mut ran: BTreeMap<String, Ran> = BTreeMap::new();
    for step in action.runs.steps {
        assert_eq!(step.shell, "bash");
        let reports = step.name == "report" && ran.contains_key("test");
        let goes_on = ran.values().all(|ran| ran.code == 0) && step.name != "report";
        let mut script = "export GITHUB_STEP_SUMMARY=summary.md GITHUB_ACTIONS=true\n".to_owned();
        let mut is_set = true;
        for (name, value) in &step.env {
            let input = value.trim_start_matches("${{ inputs.").trim_end_matches(" }}");
            let default = if input == "install" { "" } else { &action.inputs[input].default };
            let value = inputs.iter().find(|(name, _)| *name == input).map_or(default, |(_, value)| value);
            is_set &= !value.is_empty() || name == "REPLAY";
            script += &format!("export {name}='{value}'\n");
        }
        if is_set && (goes_on || reports) {
            project.write("step.sh", script + &step.run);
            let bash = "PATH=\"$(dirname \"$0\"):$PATH\" exec bash --noprofile --norc -eo pipefail step.sh";
            ran.insert(step.name, project.run_by(bash, &[]));
        }
    }
    ran
}

fn names(ran: &BTreeMap<String, Ran>) -> Vec<&str> {
    ran.keys().map(String::as_str).collect()
}

#[test]
fn the_action_validates_tests_and_reports_from_a_replay() {
    let project = pipelines::copy();
    let inputs =
        [("specs", "*.toml tone-split.yaml"), ("test", "quickstart.toml"), ("replay", "replay/quickstart.parquet")];
    let ran = act(&project, &inputs);
    assert_eq!(names(&ran), ["report", "test", "validate"]);
    for (name, ran) in &ran {
        assert_eq!(ran.code, 0, "{name}: {}{}", ran.stdout, ran.stderr);
    }
    assert!(project.text("summary.md").contains("economy"), "{}", project.text("summary.md"));
}

/// The pipelines where the examples of the book expect them.
fn in_the_book() -> Project {
    let project = Project::new();
    for file in pipelines::copy().files("").iter().filter(|file| !file.starts_with("report/")) {
        let bytes = fs::read(pipelines::folder().join(file)).expect("a file");
        project.write(&format!("pipelines/{file}"), bytes);
    }
    project
}

#[test]
fn the_action_runs_as_the_book_shows() {
    let project = in_the_book();
    let workflow: Value =
        serde_yaml::from_str(&block("docs/src/ci.md", "## GitHub: the action", "yaml")).expect("YAML");
    let steps = workflow["jobs"]["specs"]["steps"].as_array().expect("steps");
    let inputs: BTreeMap<String, String> = serde_json::from_value(steps[1]["with"].clone()).expect("inputs");
    let inputs: Vec<(&str, &str)> = inputs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ran = act(&project, &inputs);
    assert_eq!(names(&ran), ["report", "test", "validate"]);
    assert!(ran.values().all(|ran| ran.code == 0), "{ran:#?}");
}

#[test]
fn the_script_for_gitlab_runs() {
    let project = in_the_book();
    let jobs: Value = serde_yaml::from_str(&block("docs/src/ci.md", "## GitLab", "yaml")).expect("YAML");
    let lines = jobs["specs"]["script"].as_array().expect("a list").iter().map(|line| line.as_str().expect("a text"));
    let (installs, lines): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("pip install"));
    assert_eq!((installs.len(), lines.len()), (1, 2));
    for line in lines {
        project.run_by(&format!("PATH=\"$(dirname \"$0\"):$PATH\"; {line}"), &[]).exits(0);
    }
    assert!(project.text("tests.xml").contains("<testsuite"), "{}", project.text("tests.xml"));
}

#[test]
fn the_action_reports_also_if_a_test_fails() {
    let project = pipelines::copy();
    let spec = project.text("quickstart.toml").replace("maximum = 0.5", "maximum = 0.06");
    project.write("the spec.toml", spec);
    let ran = act(&project, &[("test", "the spec.toml"), ("replay", "replay/quickstart.parquet")]);
    assert_eq!(names(&ran), ["report", "test"]);
    assert_eq!(ran["test"].code, 1);
    assert!(ran["test"].stdout.contains("file=the spec.toml,line="), "{}", ran["test"].stdout);
    assert!(project.text("summary.md").contains("economy"), "{}", project.text("summary.md"));
}

#[test]
fn the_action_stops_at_a_wrong_spec() {
    let project = pipelines::copy();
    project.write("wrong.toml", project.text("quickstart.toml").replace("temperature", "temprature"));
    let ran = act(&project, &[("specs", "*.toml"), ("test", "quickstart.toml")]);
    assert_eq!(names(&ran), ["validate"]);
    assert_eq!(ran["validate"].code, 2);
    assert!(ran["validate"].stdout.contains("file=wrong.toml,line="), "{}", ran["validate"].stdout);
}

/// Runs git or pre-commit in a folder; git and the hook find `fanfold` in the path.
fn in_folder(folder: &Path, program: &Path, args: &[&str]) -> (bool, String) {
    let fanfold = Path::new(env!("CARGO_BIN_EXE_fanfold")).parent().expect("a folder");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(fanfold.to_owned()).chain(std::env::split_paths(&paths));
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("PATH", std::env::join_paths(paths).expect("paths"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    command.envs([("HOME", folder), ("PRE_COMMIT_HOME", &folder.join(".home"))]);
    let output = command.output().expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn commit(folder: &Path) -> String {
    let git = |args: &[&str]| {
        let (ok, text) = in_folder(folder, Path::new("git"), args);
        assert!(ok, "git {args:?}: {text}");
        text
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "first"]);
    git(&["rev-parse", "HEAD"]).trim().to_owned()
}

#[test]
fn the_hook_checks_the_specs_of_a_commit() {
    let python = match installed("pre-commit", PRE_COMMIT) {
        Ok(python) => python,
        Err(why) => return skipped("the hook for pre-commit", &why),
    };
    if Command::new("git").arg("--version").output().is_err() {
        return skipped("the hook for pre-commit", "git is missing");
    }
    let program: PathBuf = python.with_file_name("pre-commit");
    let hooks = Project::new().file(".pre-commit-hooks.yaml", HOOKS);
    let rev = commit(hooks.folder());
    let good = "[sources.a]\ntype = \"inline\"\nrows = [{ a = 1 }]\n[outputs.o]\ninput = \"a\"\npath = \"o.csv\"\n";
    let wrong = good.replace("path", "paht");
    for (file, text, passes, says) in [
        ("pipelines/study.toml", good, true, "Passed"),
        ("pipelines/study.toml", &wrong, false, "paht"),
        ("a/study.fanfold.toml", &wrong, false, "paht"),
        ("fanfold.yaml", "models: 1\n", false, "models"),
        ("Cargo.toml", &wrong, true, "Skipped"),
        ("myfanfold.toml", &wrong, true, "Skipped"),
    ] {
        let repo = hooks.folder().display();
        let config = format!("repos:\n- repo: {repo}\n  rev: {rev}\n  hooks:\n  - id: fanfold-validate\n");
        let project = Project::new().file(".pre-commit-config.yaml", config).file(file, text);
        commit(project.folder());
        let (ok, shown) = in_folder(project.folder(), &program, &["run", "--all-files"]);
        assert!(ok == passes && shown.contains(says), "{file}: {shown}");
    }
}

#[test]
fn files_agree_about_the_version_and_the_toolchain() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let version = env!("CARGO_PKG_VERSION");
    for (file, text) in [
        ("CITATION.cff", format!("\nversion: {version}\n")),
        ("CHANGELOG.md", format!("\n## [{version}] - ")),
        ("CHANGELOG.md", format!("\n[{version}]: {}/", env!("CARGO_PKG_REPOSITORY"))),
        ("README.md", format!("({} or newer)", env!("CARGO_PKG_RUST_VERSION"))),
        ("docs/src/install.md", format!("({} or newer)", env!("CARGO_PKG_RUST_VERSION"))),
        ("tests/fuzz/Cargo.lock", format!("name = \"fanfold\"\nversion = \"{version}\"\n")),
    ] {
        assert!(read(file).contains(&text), "{file} lacks {text:?}");
    }
}

#[test]
fn the_notice_of_licences_accepts_what_the_check_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        toml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let names = |list: &Value| {
        let mut names: Vec<String> = list.as_array().expect("a list").iter().map(Value::to_string).collect();
        names.sort();
        names
    };
    let (about, deny) = (read(".ci/about.toml"), read("deny.toml"));
    assert_eq!(names(&about["accepted"]), names(&deny["licenses"]["allow"]));
}

#[test]
fn the_paths_for_contributors_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).expect("the file");
    let words = text.split(['`', '(', ')']).filter(|word| !word.contains(['*', ' ']));
    let paths: Vec<&str> =
        words.filter(|word| ["src/", "tests/", ".ci/", "docs/"].iter().any(|s| word.starts_with(s))).collect();
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        assert!(root.join(path).exists(), "CONTRIBUTING.md names {path}");
    }
}

#[test]
fn the_entry_for_schema_store_fits_the_schema_and_no_foreign_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entry = fs::read_to_string(root.join("schemas/schemastore.json")).expect("the entry");
    let entry: Value = serde_json::from_str(&entry).expect("JSON");
    let schema: Value = serde_json::from_str(pipelines::SCHEMA).expect("JSON");
    assert_eq!(entry["url"], schema["$id"]);
    let keys: Vec<&str> = entry.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["name", "description", "fileMatch", "url"]);
    let patterns: Vec<&str> = entry["fileMatch"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let matches = |name: &str| patterns.iter().any(|p| glob::Pattern::new(p).expect("a pattern").matches(name));
    for own in ["fanfold.toml", "fanfold.yml", "speeches.fanfold.toml", "speeches.fanfold.yaml"] {
        assert!(matches(own), "{own}");
    }
    for foreign in ["pipeline.toml", "pipeline.yaml", "Cargo.toml", "pyproject.toml", "myfanfold.toml", "fanfold.json"]
    {
        assert!(!matches(foreign), "{foreign}");
    }
}
