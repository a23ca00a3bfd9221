//! Stability: a stage is asked again and with other wordings, which a file has or a model writes once.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::project::Project;
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// The texts of the test data of the package `promptstability` (Barrie, Palaiologou and Törnberg).
const TEXTS: [&str; 5] =
    ["The quick brown fox", "Economic policies", "Climate change", "Immigration policies", "Healthcare"];

fn spec(stage: &str) -> String {
    format!(
        r#"name = "stability"
seed = 42

[providers.here]
type = "ollama"
max_concurrent_calls = 4

[models.llama]
provider = "here"
model = "llama3.2"
temperature = 0.5
max_tokens = 64
num_ctx = 4096

[models.writer]
provider = "here"
model = "writer"
temperature = 1.0
max_tokens = 64
num_ctx = 4096

[sources.texts]
type = "file"
path = "data.csv"
key = "id"

[stages.about]
type = "analysis"
input = "texts"
models = ["llama"]
prompt = "Wording 0. Is this about healthcare? {{{{ text }}}}"
output.about = {{ type = "string", enum = ["0", "1"] }}

[stages.stable]
type = "stability"
input = "about"
value = "about"
{stage}

[outputs.stable]
input = "stable"
path = "stable.parquet"

[outputs.answers]
input = "stable.answers"
path = "answers.parquet"
"#
    )
}

fn texts() -> Vec<[String; 2]> {
    let rows = TEXTS.iter().enumerate().map(|(id, text)| [id.to_string(), (*text).to_owned()]);
    [["id", "text"].map(str::to_owned)].into_iter().chain(rows).collect()
}

fn here(server: &Server, stage: &str) -> Project {
    Project::new().spec(&spec(stage)).csv("data.csv", &texts()).env("OLLAMA_HOST", &server.url())
}

/// The codes of a wording for each text: the even wordings are about healthcare only, the odd ones about politics.
fn code(prompt: &str) -> usize {
    let text = TEXTS.iter().position(|text| prompt.contains(text)).expect("a text");
    let wording: usize =
        prompt.split("Wording ").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok()).unwrap_or(0);
    usize::from(if wording.is_multiple_of(2) { text == 4 } else { text > 0 })
}

fn estimates(project: &Project, table: &str) -> Vec<(String, f64)> {
    let table = project.table(table);
    let estimates = table.floats("estimate").into_iter().map(|estimate| estimate.expect("an estimate"));
    table.texts("statistic").into_iter().zip(estimates).collect()
}

/// The annotations of the package at temperature 0.1: 6 prompts, 10 iterations, and nine times the last prompt calls the
/// last text unrelated. The package computes one alpha of all annotations of a text.
#[test]
fn alpha_is_that_of_the_package_promptstability() {
    let other = AtomicUsize::new(0);
    let answer = move |asked: &Asked, _: usize| {
        let prompt = asked.question();
        let is_other = prompt.contains("Wording 5.") && prompt.contains(TEXTS[4]);
        let code = if is_other && other.fetch_add(1, Ordering::Relaxed) < 9 { 0 } else { code(prompt) };
        Say::Json(serde_json::json!({ "about": code.to_string() }))
    };
    let server = Server::new().models(&["llama3.2", "writer"]).script(answer).start();
    let wordings: Vec<String> = (1..6).map(|wording| format!("Wording {wording}. {{{{ text }}}}?")).collect();
    let stage =
        "wordings_file = \"wordings.md\"\nreplicates = 10\nwording_replicates = 10\nbootstrap = { replicates = 50 }";
    let project = here(&server, stage).file("wordings.md", wordings.join("\n---\n"));
    project.run(&RUN).exits(0);
    let found = estimates(&project, "stable.parquet");
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["intra_alpha", "inter_alpha"]);
    assert!((found[0].1 - 1.0).abs() < 1e-12, "{found:?}");
    assert!((found[1].1 - 0.285911).abs() < 5e-7, "{found:?}");
    // 5 texts x 6 wordings x 10 replicates; the stage itself asks what the first replicates ask.
    assert_eq!(server.requests(), 300);
    assert_eq!(project.table("answers.parquet").len(), 300);
}

/// A server with a model that writes wordings: at first one that lacks the text, then numbered ones.
fn writer() -> Server {
    let written = AtomicUsize::new(0);
    let answer = move |asked: &Asked, _: usize| {
        if asked.model == "writer" {
            let number = written.fetch_add(1, Ordering::Relaxed);
            return match number {
                0 => Say::Text("Wording 9. No text here.".to_owned()),
                number => Say::Text(format!("\"Wording {number}. Say it: {{{{ text }}}}\"")),
            };
        }
        Say::Json(serde_json::json!({ "about": code(asked.question()).to_string() }))
    };
    Server::new().models(&["llama3.2", "writer"]).script(answer).start()
}

const PARAPHRASED: &str = "paraphrase = { model = \"writer\", n = 3 }\nreplicates = 2\ntemperatures = [0.0, 1.0]";

#[test]
fn a_model_writes_wordings_once_and_the_lock_keeps_them() {
    let server = writer();
    let project = here(&server, PARAPHRASED);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("writer writes 3 wordings of the prompt for stable first"), "{plan}");
    let refused = project.run(&["run", "pipeline.toml", "--locked"]).exits(5).stderr;
    assert!(refused.contains("the lock has no wordings of the prompt that stage `stable` varies"), "{refused}");
    assert_eq!(server.requests(), 0);
    let shown = project.run(&RUN).exits(0).stderr;
    assert!(shown.contains("`writer` writes 3 wordings of the prompt for `stable`"), "{shown}");
    // One of four wordings could not be used. 5 texts: the stage (at 0.5), and at 2 temperatures 2 + 3 answers each.
    assert_eq!((server.requests_of("writer"), server.requests_of("llama3.2")), (4, 5 + 5 * 2 * 5));
    let lock = project.text("pipeline.toml.lock");
    assert!(lock.contains("[paraphrases.stable]") && lock.contains("Wording 3. Say it: {{ text }}"), "{lock}");
    let statistics = project.table("stable.parquet").texts("statistic");
    assert_eq!(statistics, ["intra_alpha", "inter_alpha", "intra_alpha", "inter_alpha"]);
    project.run(&["verify", "pipeline.toml"]).exits(0);

    // Another person has the spec and the lock, but not the answers.
    let before = project.bytes("answers.parquet");
    fs::remove_dir_all(project.path(".fanfold")).unwrap();
    project.run(&["run", "pipeline.toml", "--locked"]).exits(0);
    assert_eq!((server.requests_of("writer"), server.requests_of("llama3.2")), (4, 2 * 55));
    assert_eq!(project.bytes("answers.parquet"), before);

    // Another prompt needs other wordings.
    let other = project.text("pipeline.toml").replace("about healthcare?", "about health?");
    project.write("pipeline.toml", other);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests_of("writer"), 7);
}

#[test]
fn recorded_wordings_are_not_asked_again_without_a_lock() {
    let server = writer();
    let project = here(&server, PARAPHRASED);
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(0);
    fs::remove_file(project.path("pipeline.toml.lock")).unwrap();
    let sent = server.requests();
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(0);
    assert_eq!(server.requests(), sent);
}

#[test]
fn workers_ask_the_same_wordings() {
    let server = writer();
    let project = here(&server, PARAPHRASED);
    project.run(&["run", "pipeline.toml", "--on", "local", "--workers", "2"]).exits(0);
    assert_eq!(server.requests_of("writer"), 4);
    assert_eq!(project.table("answers.parquet").len(), 5 * 2 * 5);
}

#[test]
fn a_model_that_loses_the_text_is_told() {
    let answer = |asked: &Asked, _: usize| match asked.model.as_str() {
        "writer" => Say::Text("A wording without the text".to_owned()),
        _ => Say::Json(serde_json::json!({ "about": "0" })),
    };
    let server = Server::new().models(&["llama3.2", "writer"]).script(answer).start();
    let shown = here(&server, PARAPHRASED).run(&RUN).exits(3).stderr;
    assert!(
        shown.contains("stage `stable`: `writer` wrote no usable wording 1 in 5 tries: it lacks `{{ text }}`"),
        "{shown}"
    );
    assert_eq!(server.requests(), 5);
}

#[test]
fn problems_of_a_stability_are_told_once() {
    let both = "wordings_file = \"wordings.md\"";
    for (stage, change, message) in [
        (both, ("input = \"about\"", "input = \"texts\""), "there is no stage `texts`"),
        (both, ("value = \"about\"", "value = \"abuot\""), "`abuot`"),
        (both, ("Wording 0. Is", "Wording 1. Is"), "`wordings.md` has a wording twice, or the stage's own prompt"),
        (both, ("{{ text }}?", "{{ txet }}?"), "`txet`"),
        (both, ("key = \"id\"", ""), "the rows have no key"),
        ("wordings_file = \"none.md\"", ("", ""), "none.md"),
        (
            both,
            ("output.about = { type = \"string\", enum = [\"0\", \"1\"] }", ""),
            "the answers of `about` are plain texts",
        ),
        ("paraphrase = { model = \"writr\" }", ("", ""), "there is no model `writr`"),
        ("temperatures = [9.0]", ("", ""), "`temperature` must be from 0 to 5"),
        ("level = \"ordinal\"", ("", ""), "ordinal labels need their order"),
    ] {
        let text = spec(stage);
        let wordings = "Wording 1. Is this about healthcare? {{ text }}\n---\nWording 2. {{ text }}?\n";
        let spec = if change.0.is_empty() { text } else { text.replace(change.0, change.1) };
        let wordings =
            if change.0 == "{{ text }}?" { wordings.replace(change.0, change.1) } else { wordings.to_owned() };
        let project = Project::new().spec(&spec).csv("data.csv", &texts()).file("wordings.md", wordings);
        let shown = project.run(&["validate", "pipeline.toml"]).exits(2).stderr;
        assert!(shown.contains(message), "{stage} {change:?}:\n{shown}");
        assert_eq!(shown.matches("error[").count(), 1, "{stage} {change:?}:\n{shown}");
    }
}

#[test]
fn a_mistake_in_a_file_of_wordings_is_shown_where_the_file_is_named() {
    let spec = r#"
models.m = { provider = "mock", model = "m" }
sources.s = { type = "file", path = "d.csv" }
outputs.o = { input = "again", path = "o.csv" }
[stages.a]
type = "analysis"
input = "s"
models = ["m"]
prompt = "Tone of {{ t }}"
output.l = { enum = ["x", "y"] }
[stages.again]
type = "stability"
input = "a"
value = "l"
wordings_file = "others.txt"
"#;
    let project =
        Project::new().spec(spec).csv("d.csv", &[["t"], ["war"]]).file("others.txt", "Of {{ t }}\n---\nOf {{ tt }}\n");
    let told = project.run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert!(told.contains("the template uses `tt`") && told.contains("wordings_file = \"others.txt\""), "{told}");
}
