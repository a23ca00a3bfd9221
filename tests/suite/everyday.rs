//! What people type every day: commands without a spec.

use crate::project::Project;

/// A spec whose model answers at random, and three rows.
const SPEC: &str = r#"
models.any = { provider = "mock", model = "m" }
sources.remarks = { type = "file", path = "remarks.csv", key = "id" }
outputs.tone = { input = "tone", path = "tone.csv" }
tests = [{ type = "failed", input = "tone", maximum = 0 }]

[stages.tone]
type = "analysis"
input = "remarks"
models = ["any"]
prompt = "What is the tone of this remark? {{ remark }}"
output.label = { type = "string", enum = ["positive", "negative"] }
"#;

fn project() -> Project {
    Project::new().file("remarks.csv", "id,remark\na,Peace and plenty.\nb,We mourn our dead.\nc,Trade grows.\n")
}

#[test]
fn every_command_takes_the_only_spec_of_the_folder() {
    let project = project().file("study.toml", SPEC).file("pyproject.toml", "[tool.uv.sources]\na = 1\n");
    project.write("dvc.yaml", "stages:\n  train:\n    cmd: python train.py\n");
    project.write(".hidden.toml", SPEC);
    for command in ["validate", "plan", "run", "test", "status", "runs", "verify"] {
        project.run(&[command]).exits(0);
    }
    assert!(project.has("study.toml.lock"));
    let shown = project.run(&["show"]).exits(0).stdout;
    assert!(shown.contains("Peace and plenty."), "{shown}");
    let shown = project.run(&["show", "calls"]).exits(0).stdout;
    assert!(shown.contains("reply"), "{shown}");
    let explained = project.run(&["explain", "b"]).exits(0).stdout;
    assert!(explained.contains("We mourn our dead."), "{explained}");
    let explained = project.run(&["explain", "b", "label"]).exits(0).stdout;
    assert!(explained.contains("We mourn our dead."), "{explained}");
    project.run(&["explain", "study.toml"]).exits(2).says("the row is missing");
    project.write("study.toml", SPEC.replace("What is", "Which is"));
    project.run(&["run"]).exits(0);
    for arguments in [&["diff"][..], &["diff", "study.toml"]] {
        let diff = project.run(arguments).stdout;
        assert!(diff.contains("[What -> Which]"), "{diff}");
    }
    let runs = project.run(&["runs", "--format", "json"]).exits(0).json();
    let first = runs["runs"][0]["name"].as_str().or(runs["runs"][0]["run"].as_str()).expect("a name").to_owned();
    let diff = project.run(&["diff", &first]).stdout;
    assert!(diff.contains("[What -> Which]"), "{diff}");
}

#[test]
fn a_folder_with_no_or_several_specs_is_an_error() {
    let project = project();
    for command in ["run", "plan", "status", "diff", "show", "validate"] {
        project.run(&[command]).exits(2).says("there is none in this folder").says("fanfold init");
    }
    project.run(&["explain", "b"]).exits(2).says("there is none in this folder");
    project.write("b.toml", SPEC);
    project.write("a.yaml", "sources:\n  x:\nstages:\n  y:\n");
    for command in ["run", "test", "runs", "verify"] {
        project.run(&[command]).exits(2).says("has several: `a.yaml` and `b.toml`");
    }
    project.run(&["plan", "b.toml"]).exits(0);
}

#[test]
fn the_only_spec_is_found_when_it_is_broken() {
    let project = project().file("study.toml", SPEC.replace("[stages.tone]", "[stages.tone"));
    project.run(&["run"]).exits(2).says("study.toml:");
}
