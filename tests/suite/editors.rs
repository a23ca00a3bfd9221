//! Specs in an editor: taplo and yaml-language-server accept, complete and explain them by the JSON Schema.
//!
//! `editors/ask.mjs` asks the real servers over LSP. npm installs them once, in about 10 s, and 60 MB, into `target/`;
//! the test takes about 8 s. Without Node and npm, or the registry of npm, it is skipped, loudly.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::pipelines;
use crate::project::Project;
use crate::venv::{command, skipped};

const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("editors/package.json")),
    ("package-lock.json", include_str!("editors/package-lock.json")),
    ("ask.mjs", include_str!("editors/ask.mjs")),
];
const TOML: &str = "#:schema ./pipeline.schema.json\n";
const YAML: &str = "# yaml-language-server: $schema=./pipeline.schema.json\n";

#[derive(Deserialize)]
struct Answer {
    problems: Vec<Problem>,
    hover: Option<String>,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Problem {
    line: usize,
    message: String,
}

#[derive(Deserialize)]
struct Item {
    label: String,
    text: String,
}

/// What an editor must do with a text.
#[derive(Clone, Copy)]
enum Expect {
    /// Not complain.
    Valid,
    /// Complain in this line, with these words.
    Problem(usize, &'static str),
    /// Show this, and nothing of the other, about what is at the cursor.
    Hover(&'static str, &'static str),
    /// Offer all of these at the cursor, each with a text.
    Offer(&'static [&'static str]),
}

/// Installs the servers, and returns their folder.
fn installed() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("editors");
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let lock = File::create(folder.join("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let marker = folder.join("node_modules").join("installed");
    let wanted = FILES[1].1;
    for (name, text) in FILES {
        fs::write(folder.join(name), text).map_err(|e| e.to_string())?;
    }
    if !fs::read_to_string(&marker).is_ok_and(|text| text == wanted) {
        command(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder))?;
        fs::write(&marker, wanted).map_err(|e| e.to_string())?;
    }
    Ok(folder)
}

fn ask(folder: &Path, questions: &Value) -> Vec<Answer> {
    let mut node = Command::new("node");
    node.arg(folder.join("ask.mjs")).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut node = node.spawn().expect("node");
    node.stdin.take().expect("a pipe").write_all(questions.to_string().as_bytes()).expect("questions");
    let output = node.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("answers")
}

/// The specs that a person starts from: those that are shipped, and those that `init` writes.
fn shipped(project: &Project) -> Vec<(PathBuf, String, Expect)> {
    let folder = pipelines::folder();
    let mut paths: Vec<PathBuf> = pipelines::specs().iter().map(|name| folder.join(name)).collect();
    for template in ["label", "extract", "survey", "long"] {
        project.run(&["init", template, "--template", template]).exits(0);
        paths.push(project.path(template).join("pipeline.toml"));
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a spec");
        (path, text, Expect::Valid)
    };
    paths.into_iter().map(read).collect()
}

const STAGE_FIELDS: &[&str] = &["input", "models", "prompt", "output", "rows_per_prompt"];
const STAGES: &[&str] = &["analysis", "survey", "split", "agreement"];
const ENUMS: &[&str] = &["string", "integer", "boolean"];

const TOMLS: &[(&str, Expect)] = &[
    ("@@\n", Expect::Offer(&["models", "sources", "stages", "outputs"])),
    ("[models.m]\n@@\n", Expect::Offer(&["provider", "model", "temperature"])),
    ("[sources.s]\ntype = \"file\"\n@@\n", Expect::Offer(&["path", "key", "delimiter"])),
    ("[stages.x]\ntype = \"analysis\"\n@@\n", Expect::Offer(STAGE_FIELDS)),
    ("[stages.x]\ntype = @@\n", Expect::Offer(STAGES)),
    ("[sources.x]\ntype = @@\n", Expect::Offer(&["file", "documents", "population"])),
    ("[[tests]]\ntype = @@\n", Expect::Offer(&["rows", "share", "unique"])),
    ("[stages.x]\ntype = \"analysis\"\noutput.a = { type = @@ }\n", Expect::Offer(ENUMS)),
    ("[stages.x]\ntype = \"analy@@sis\"\n", Expect::Hover("One question about each row", "questionnaire")),
    ("[sources.x]\ntype = \"fi@@le\"\n", Expect::Hover("Rows of CSV", "Synthetic")),
    (
        "[stages.x]\ntype = \"analysis\"\nlay@@out = \"wide\"\n",
        Expect::Hover("`wide`: one column per model", "Side by"),
    ),
    ("[stages.x]\ntype = \"analysis\"\nlayout = \"wi@@de\"\n", Expect::Hover("Side by side", "below")),
    ("[stages.x]\ntype = \"analysis\"\npro@@mpt = \"a\"\n", Expect::Hover("a Jinja template", "persona")),
    ("[models.m]\nprovider = \"mock\"\ntempe@@rature = 0\n", Expect::Hover("likeliest token", "likely")),
    ("[stages.x]\ntype = \"analysis\"\ninput = \"a\"\nmodels = [\"m\"]\nmodle = \"m\"\n", Expect::Problem(2, "modle")),
    ("[stages.x]\ntype = \"analisys\"\n", Expect::Problem(3, "analisys")),
    ("[stages.x]\ntype = \"analysis\"\nlayout = \"tall\"\n", Expect::Problem(4, "tall")),
    ("[models.m]\nprovider = \"mock\"\nmodel = \"m\"\ntemprature = 1\n", Expect::Problem(2, "temprature")),
    ("[sources.x]\ntype = \"file\"\npaht = \"a.csv\"\n", Expect::Problem(2, "paht")),
];

const YAMLS: &[(&str, Expect)] = &[
    ("@@\n", Expect::Offer(&["models", "sources", "stages", "outputs"])),
    ("models:\n  m:\n    @@\n", Expect::Offer(&["provider", "model", "temperature"])),
    ("sources:\n  s:\n    type: file\n    @@\n", Expect::Offer(&["path", "key", "delimiter"])),
    ("stages:\n  x:\n    type: analysis\n    @@\n", Expect::Offer(STAGE_FIELDS)),
    ("stages:\n  x:\n    type: @@\n", Expect::Offer(STAGES)),
    ("sources:\n  x:\n    type: @@\n", Expect::Offer(&["file", "documents", "population"])),
    ("tests:\n  - type: @@\n", Expect::Offer(&["rows", "share", "unique"])),
    ("stages:\n  x:\n    type: analysis\n    output:\n      a:\n        type: @@\n", Expect::Offer(ENUMS)),
    ("stages:\n  x:\n    type: analysis\n    lay@@out: wide\n", Expect::Hover("one column per model", "respondent")),
    ("stages:\n  x:\n    type: analysis\n    pro@@mpt: a\n", Expect::Hover("a Jinja template", "persona")),
    ("sources:\n  x:\n    ty@@pe: file\n", Expect::Hover("Where the rows come from", "title")),
    ("stages:\n  x:\n    type: analisys\n", Expect::Problem(4, "\"analysis\"")),
    ("stages:\n  x:\n    type: analysis\n    layout: tall\n", Expect::Problem(5, "wide")),
    ("sources:\n  x:\n    type: file\n    paht: a.csv\n", Expect::Problem(5, "paht")),
    ("models:\n  m:\n    provider: mock\n    model: m\n    temprature: 1\n", Expect::Problem(6, "temprature")),
    ("stages:\n  x:\n    type: analysis\n    modle: m\n", Expect::Problem(5, "modle")),
];

fn check(text: &str, expected: &Expect, answer: &Answer) {
    let problems: Vec<String> = answer.problems.iter().map(|p| format!("{}: {}", p.line, p.message)).collect();
    match expected {
        Expect::Valid => assert!(problems.is_empty(), "{problems:#?} in\n{text}"),
        Expect::Problem(line, words) => {
            let found = answer.problems.iter().any(|p| p.line == *line && p.message.contains(words));
            assert!(found, "line {line}, {words}: {problems:#?} in\n{text}");
        }
        Expect::Hover(words, other) => {
            // yaml-language-server escapes the marks of Markdown.
            let shown = answer.hover.as_deref().unwrap_or_default().replace('\\', "");
            assert!(shown.contains(words) && !shown.contains(other), "{words}, not {other}: {shown} in\n{text}");
        }
        Expect::Offer(labels) => {
            for label in *labels {
                let item = answer.items.iter().find(|item| item.label.trim_matches('"') == *label);
                assert!(item.is_some_and(|item| !item.text.is_empty()), "{label} is not offered in\n{text}");
            }
        }
    }
}

#[test]
fn editors_accept_complete_and_explain_specs() {
    let folder = match installed() {
        Ok(folder) => folder,
        Err(why) => return skipped("specs in editors", &why),
    };
    let project = Project::new().file("pipeline.schema.json", pipelines::SCHEMA);
    let mut cases = shipped(&project);
    for (extension, comment, texts) in [("toml", TOML, TOMLS), ("yaml", YAML, YAMLS)] {
        for (i, (text, expected)) in texts.iter().enumerate() {
            cases.push((project.path(&format!("{i}.{extension}")), format!("{comment}{text}"), *expected));
        }
    }
    let questions: Vec<Value> = cases.iter().map(|(path, text, _)| json!({ "path": path, "text": text })).collect();
    let answers = ask(&folder, &Value::from(questions));
    assert_eq!(answers.len(), cases.len());
    for ((_, text, expected), answer) in cases.iter().zip(&answers) {
        check(text, expected, answer);
    }
}
