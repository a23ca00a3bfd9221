//! What people type every day: commands without a spec, some rows, changed settings.

use crate::project::Project;
use crate::recipe::{self, TYPED};
use crate::server::Server;

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
    let models = project.run(&["models"]).exits(0).stdout;
    assert!(models.contains("pipeline") && models.contains("any"), "{models}");
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
    project.run(&["plan", "c.toml"]).exits(2).says("did you mean");
}

#[test]
fn rows_that_no_source_has_are_named() {
    let project = project().file("study.toml", SPEC);
    project.run(&["run", "--rows", "7:9"]).exits(0).says("warning: no source has these rows");
    let ran = project.run(&["run", "--rows", "3:9"]).exits(0);
    assert!(!ran.stderr.contains("no source has"), "{}", ran.stderr);
}

#[test]
fn the_only_spec_is_found_when_it_is_broken() {
    let project = project().file("study.toml", SPEC.replace("[stages.tone]", "[stages.tone"));
    project.run(&["run"]).exits(2).says("study.toml:");
}

/// The files under `out` and the lock, with their bytes.
fn real(project: &Project) -> Vec<(String, Vec<u8>)> {
    let files = project.files("out").into_iter().chain(["pipeline.toml.lock".to_owned()]);
    let files = files.filter(|file| ["limit-", "sample-", "rows-", "set-"].iter().all(|mark| !file.contains(mark)));
    files.map(|file| (file.clone(), project.bytes(&file))).collect()
}

fn study() -> String {
    recipe::spec(&format!("models = [\"llama\"]\n{TYPED}\n[outputs.csv]\ninput = \"tone\"\npath = \"out/tone.csv\"\n"))
}

#[test]
fn some_rows_and_changed_settings_never_touch_the_real_outputs() {
    let server = Server::new().start();
    let project = recipe::project(&server, &study(), 30);
    project.run(&["run"]).exits(0);
    let before = real(&project);
    assert_eq!(before.len(), 3);
    let unchanged = || {
        assert!(real(&project) == before, "an output or the lock was changed");
        project.run(&["test"]).exits(0);
        project.run(&["verify"]).exits(0);
        let status = project.run(&["status"]).exits(0).stdout;
        assert!(status.contains("done") && !status.contains("stale"), "{status}");
    };
    let set = "models.llama.temperature=0.7";
    for (arguments, written, rows, said) in [
        (&["--sample", "5"][..], "out/tone.sample-5.csv", 5, "ran only 5 rows of each source, drawn by the seed"),
        (&["--rows", "11:20"], "out/tone.rows-11-20.csv", 10, "ran only the rows 11 to 20 of each source"),
        (&["--rows", "28:"], "out/tone.rows-28-end.csv", 3, "from row 28 on"),
        (&["--rows", "4"], "out/tone.rows-4-4.csv", 1, "the rows 4 to 4"),
        (&["--limit", "3"], "out/tone.limit-3.csv", 3, "the first 3 rows"),
    ] {
        let ran = project.run(&[&["run"], arguments].concat()).exits(0).says(said).says(&format!("wrote {written}"));
        assert_eq!(project.text(written).lines().count(), rows + 1, "{}", ran.stderr);
        unchanged();
        let plan = project.run(&[&["plan"], arguments].concat()).exits(0).stdout;
        assert!(plan.contains(&format!("output {written}")), "{plan}");
    }
    assert_eq!(server.requests(), 30, "the rows of the full run are not asked again");
    let ran = project.run(&["run", "--set", set, "--rows", "2:3"]).exits(0);
    assert!(ran.stderr.contains("ran with `models.llama.temperature=0.7`"), "{}", ran.stderr);
    assert_eq!(project.text("out/tone.rows-2-3.set-models.llama.temperature-0.7.csv").lines().count(), 3);
    assert_eq!(server.requests(), 32, "another temperature asks again");
    assert_eq!(server.asked().last().unwrap().body["options"]["temperature"], 0.7);
    unchanged();
    // A setting that changes no answer changes no real file either.
    project
        .run(&["run", "--set", "stages.tone.workers=2"])
        .exits(0)
        .says("wrote out/tone.set-stages.tone.workers-2.csv");
    unchanged();
    let runs = project.run(&["runs"]).exits(0).stdout;
    for text in ["with `models.llama.temperature=0.7`", "drawn by the seed", "rows 11 to 20"] {
        assert!(runs.contains(text), "{text} is not in\n{runs}");
    }
    let json = project.run(&["runs", "--format", "json"]).exits(0).json();
    assert!(json.to_string().contains(r#""set":["models.llama.temperature=0.7"]"#), "{json}");
}

#[test]
fn a_sample_is_drawn_by_the_seed_and_a_larger_one_contains_it() {
    let server = Server::new().start();
    let project = recipe::project(&server, &study(), 200);
    let ids =
        |file: &str| -> Vec<String> { project.text(file).lines().skip(1).map(|line| line[..5].to_owned()).collect() };
    project.run(&["run", "--sample", "10"]).exits(0);
    let small = ids("out/tone.sample-10.csv");
    assert_eq!(small.len(), 10);
    assert!(small.is_sorted() && small[9].as_str() > "s0050", "{small:?}");
    project.run(&["run", "--sample", "40"]).exits(0);
    let large = ids("out/tone.sample-40.csv");
    assert!(small.iter().all(|id| large.contains(id)), "{small:?} {large:?}");
    assert_eq!(server.requests(), 40);
    project.run(&["run", "--sample", "10", "--set", "seed=43"]).exits(0);
    assert_ne!(ids("out/tone.sample-10.set-seed-43.csv"), small);
    let rendered = project.run(&["plan", "--sample", "10", "--render", "99"]).exits(0).stdout;
    assert_eq!(rendered.matches(", on trade and peace.").count(), 10, "{rendered}");
}

#[test]
fn the_command_that_continues_has_the_same_arguments() {
    let server = Server::new().start();
    let project = recipe::project(&server, &study(), 20);
    let stopped = project
        .run(&["run", "--rows", "3:9", "--set", "budget.calls=2", "--set", "stages.tone.prompt=It's {{ text }}"])
        .exits(4);
    assert!(
        stopped.stderr.contains(r"--rows 3:9 --set budget.calls=2 --set 'stages.tone.prompt=It'\''s {{ text }}'"),
        "{}",
        stopped.stderr
    );
}

#[test]
fn wrong_rows_and_settings_are_refused() {
    let project = project().file("study.toml", SPEC);
    for (arguments, said) in [
        (&["--rows", "9:3"][..], "row 9 is after row 3"),
        (&["--rows", "0:3"], "rows are counted from 1"),
        (&["--rows", "a"], "such as 100:200"),
        (&["--limit", "3", "--sample", "3"], "cannot be used with"),
        (&["--set", "models.ani.temperature=1"], "did you mean `any`?"),
        (&["--set", "temperature"], "has no `=`"),
        (&["--set", "models.any.temperature=hot"], "hot"),
        (&["--set", "stages.tone.modles=a"], "modles"),
        (&["--set", "a=1", "--locked"], "cannot be used with"),
        (&["--set", "model=b"], "did you mean `--set models.any.model=..`?"),
    ] {
        project.run(&[&["run"], arguments].concat()).exits(2).says(said);
    }
    assert!(!project.has("tone.csv"));
}

#[test]
fn plan_shows_the_prompt_of_one_row() {
    let project = project().file("study.toml", SPEC);
    let plan = project.run(&["plan", "--row", "b"]).exits(0).stdout;
    assert!(plan.contains("We mourn our dead.") && !plan.contains("Trade grows."), "{plan}");
    let plan = project.run(&["plan", "--row", "#3"]).exits(0).stdout;
    assert!(plan.contains("Trade grows.") && !plan.contains("We mourn our dead."), "{plan}");
    project.run(&["plan", "--row", "x"]).exits(2).says("there is no prompt of row `x`");
    project.run(&["plan", "--row", "2"]).exits(2).says("'#2' is the row with this number");
    project.write("study.toml", SPEC.replace(", key = \"id\"", ""));
    let plan = project.run(&["plan", "--row", "1"]).exits(0).stdout;
    assert!(plan.contains("Peace and plenty.") && !plan.contains("Trade grows."), "{plan}");
}
