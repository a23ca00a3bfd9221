//! `fanfold diff` of versions: the last two runs of a spec, runs by name, and commits.

use std::process::Command;

use serde_json::{Value, json};

use crate::lock::edit;
use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const LABELS: [&str; 3] = ["positive", "neutral", "negative"];

/// The tone of speech n is label n modulo 3. Asked for the mood, the model says `neutral` to every second speech.
fn server() -> Server {
    let script = |asked: &Asked, _: usize| {
        let rest = asked.question().split("Speech ").nth(1).expect("a speech");
        let n: usize = rest.split(',').next().and_then(|n| n.parse().ok()).expect("a number");
        let is_mood = asked.question().contains("mood") && n.is_multiple_of(2);
        Say::Json(json!({ "label": if is_mood { "neutral" } else { LABELS[n % 3] }, "score": n % 5 }))
    };
    Server::new().script(script).start()
}

/// A study with a column of right labels, all of them `neutral`, run with two prompts.
fn study(server: &Server) -> Project {
    let project = project(server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 0);
    let mut lines: Vec<Vec<String>> = rows(12).iter().map(|row| row.to_vec()).collect();
    let human = |i: usize| if i == 0 { "human" } else { "neutral" }.to_owned();
    lines.iter_mut().enumerate().for_each(|(i, row)| row.push(human(i)));
    let project = project.csv("data.csv", &lines);
    project.run(&RUN).exits(0);
    edit(&project, "pipeline.toml", "What is the tone?", "What is the mood of it?");
    project.run(&RUN).exits(0);
    project
}

#[track_caller]
fn diff(project: &Project, args: &[&str]) -> Value {
    let words: Vec<&str> = ["diff"].iter().chain(args).chain(&["--format", "json"]).copied().collect();
    project.run(&words).exits(1).json()
}

fn names(project: &Project) -> Vec<String> {
    let listed = project.run(&["runs", "pipeline.toml", "--format", "json"]).exits(0).json();
    let runs = listed["runs"].as_array().expect("a list").iter();
    runs.map(|run| run["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_spec_alone_compares_its_last_two_runs() {
    let server = server();
    let project = study(&server);
    let names = names(&project);
    let shown = project.run(&["diff", "pipeline.toml", "--examples", "1", "--gold", "human"]).exits(1).stdout;
    let (head, table) = shown.split_once("table tone: ").expect("a table");
    let lines: Vec<&str> = head.lines().collect();
    assert!(lines[0].starts_with(&format!("A  {} (the run in ", names[0])), "{shown}");
    assert!(lines[1].starts_with(&format!("B  {} (the run in ", names[1])), "{shown}");
    assert_eq!(lines[2], "  stages.tone.prompt: What is the [tone? -> mood of it?] {{ text }}");
    assert!(lines[3].ends_with(" not (`-v` shows them)") && lines.len() == 4, "{shown}");
    let expected = "\
12 rows in both, matched by id, 4 differ
  column  differ          from null  to null
  label        4  33.3 %          0        0
  label, A down, B across (Cohen's kappa 0.5 over 12 rows):
              positive  neutral  negative
    positive         2        2         0
    neutral          0        4         0
    negative         0        2         2
  label by human: 4 became right, 0 became wrong
    right in A 4 (33.3 %), in B 8 (66.7 %) of 12 rows; McNemar's test p = 0.125
  row s0000
    text: Speech 0, on trade and peace.
    label: \"positive\" -> \"neutral\"
  and 3 rows more
";
    assert_eq!(table, expected);
    let verbose = project.run(&["diff", "pipeline.toml", "-v"]).exits(1).stdout;
    assert!(verbose.contains("  spec.meaning ") && verbose.contains("  stages.tone.settings "), "{verbose}");
    // The same by name, and a name after the spec is the old version.
    let both = diff(&project, &["pipeline.toml"]);
    assert_eq!(both, diff(&project, &[&names[0], &names[1]]));
    assert_eq!(both["settings"].as_array().map(Vec::len), Some(1));
    let old = diff(&project, &["pipeline.toml", &names[0]]);
    assert_eq!((&old["settings"], &old["tables"]), (&both["settings"], &both["tables"].clone()));
    project.run(&["diff", &names[0], "2026-01-01-99"]).exits(3).says("there is no run `2026-01-01-99` here");
}

#[test]
fn columns_are_chosen_and_checked() {
    let server = server();
    let project = study(&server);
    let found = diff(&project, &["pipeline.toml", "--columns", "year,human", "--gold", "human"]);
    let table = &found["tables"][0];
    let shown = json!([{ "column": "year", "value": "1790" }, { "column": "human", "value": "neutral" }]);
    assert_eq!(table["examples"][0]["shown"], shown);
    let column = |name: &str| table["columns"].as_array().expect("a list").iter().find(|c| c["name"] == name).cloned();
    let gold = json!({
        "rows": 12, "right_in_a": 4, "right_in_b": 8, "became_right": 4, "became_wrong": 0, "stayed_wrong": 0,
        "mcnemar_p": 0.125,
    });
    assert_eq!(column("label").map(|label| label["gold"].clone()), Some(gold));
    assert_eq!(column("score").map(|score| score["gold"].clone()), Some(Value::Null));
    for flag in ["--gold", "--columns"] {
        project.run(&["diff", "pipeline.toml", flag, "humans"]).exits(2).says("has no column `humans`");
    }
}

#[test]
fn a_spec_with_one_run_has_nothing_to_compare() {
    let server = server();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 3);
    project.run(&["diff", "pipeline.toml"]).exits(3).says("has fewer than two finished runs to compare");
    project.run(&RUN).exits(0);
    project.run(&["diff", "pipeline.toml"]).exits(3).says("name an old version: a commit such as HEAD~1");
    project.run(&["diff", "data.csv"]).exits(2).says("`data.csv` is not a spec, so a second version is missing");
}

#[track_caller]
fn git(project: &Project, words: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(project.folder()).args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(words);
    let ran = git.env("GIT_CONFIG_GLOBAL", "/dev/null").output().expect("git starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[track_caller]
fn commit(project: &Project) {
    git(project, &["add", "--all"]);
    git(project, &["commit", "--quiet", "--message", "a version"]);
}

#[test]
fn a_commit_is_an_old_version_of_the_spec_and_its_lock() {
    let server = server();
    let text = spec(&format!("models = [\"llama\"]\n{TYPED}"));
    let text = text.replace("prompt = \"What is the tone?\\n\\n{{ text }}\"", "prompt_file = \"prompts/tone.md\"");
    let project = project(&server, &text, 6).file("prompts/tone.md", "What is the tone?\n\n{{ text }}\n");
    project
        .run(&["diff", "pipeline.toml", "HEAD"])
        .exits(3)
        .says("`HEAD` is neither a file nor a run, and . is not in git");
    git(&project, &["init", "--quiet"]);
    project.run(&["diff", "pipeline.toml", "HEAD"]).exits(3).says("`HEAD` is neither a file, a run nor a commit");
    project.run(&RUN).exits(0);
    commit(&project);
    edit(&project, "prompts/tone.md", "What is the tone?", "What is the mood of it?");
    edit(&project, "pipeline.toml", "temperature = 0.0", "temperature = 0.5");
    // Before the run, only the versions differ.
    let found = diff(&project, &["pipeline.toml", "HEAD"]);
    let settings = json!([
        { "setting": "models.llama.temperature", "old": 0.0, "new": 0.5 },
        { "setting": "stages.tone.prompt", "old": "What is the tone?\n\n{{ text }}\n",
            "new": "What is the mood of it?\n\n{{ text }}\n" },
    ]);
    assert_eq!((&found["settings"], &found["tables"]), (&settings, &json!([])));
    assert!(found["cells_not_compared"].is_string(), "{found}");
    let text = project.run(&["diff", "pipeline.toml", "HEAD"]).exits(1).stdout;
    assert!(text.contains("B  pipeline.toml (a spec without a lock)"), "the lock is of the earlier spec: {text}");
    assert!(text.contains("the spec as it is now has no finished run") && !text.contains("are the same"), "{text}");
    let verified = project.run(&["verify"]).exits(5).stdout;
    assert_eq!(verified.matches("temperature").count(), 1, "{verified}");
    assert!(project.run(&["verify", "-v"]).exits(5).stdout.contains("models.llama.sent.options.temperature"));
    project.run(&RUN).exits(0);
    commit(&project);
    // The run of that version is still here, so the answers are compared too.
    let found = diff(&project, &["pipeline.toml", "HEAD~1"]);
    assert_eq!((&found["settings"], &found["tables"][0]["rows"]["matched"]), (&settings, &json!(6)));
    let text = project.run(&["diff", "pipeline.toml", "HEAD~1"]).exits(1).stdout;
    assert!(text.starts_with("A  HEAD~1 (the run in ") && text.contains("[tone? -> mood of it?]"), "{text}");
    project.run(&["diff", "pipeline.toml", "HEAD"]).exits(0);
    for name in ["HEAD~7", "no-such-branch"] {
        let help = format!("`{name}` is neither a file, a run nor a commit");
        project.run(&["diff", "pipeline.toml", name]).exits(3).says(&help);
    }
    // In a clone without runs, the versions are compared.
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the project's folder");
    let found = diff(&project, &["pipeline.toml", "HEAD~1"]);
    assert_eq!((&found["settings"], &found["tables"]), (&settings, &json!([])));
    project.write("new.toml", project.text("pipeline.toml"));
    project.run(&["diff", "new.toml", "HEAD"]).exits(2).says("the commit `HEAD` has no `new.toml`");
}

#[test]
fn a_commit_needs_the_git_program() {
    let server = server();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 3);
    let ran = project.run_by("PATH=/nowhere exec \"$0\" \"$@\"", &["diff", "pipeline.toml", "HEAD"]);
    ran.exits(3).says("`git` can't be started").says("install git, or name a run from `fanfold runs SPEC`");
}
