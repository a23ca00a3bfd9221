//! What is sent about a row without a template: the text column alone, and columns with their names.

use crate::project::Project;
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const ROWS: [[&str; 4]; 4] = [
    ["id", "title", "body", "city"],
    ["a", "Fire", "Two houses\nburned.", "Ulm"],
    ["b", "", "It rained.", ""],
    ["c", " ", "", "Bonn"],
];

/// A spec whose stage `tone` has these lines and the output of its table.
fn spec(stage: &str) -> String {
    format!(
        r#"[models.llama]
provider = "ollama"
model = "llama3.2"
[sources.news]
type = "file"
path = "data.csv"
key = "id"
[stages.tone]
input = "news"
models = ["llama"]
max_attempts = 1
{stage}
[outputs.tone]
input = "tone"
path = "tone.parquet"
[outputs.codebook]
input = "tone"
path = "codebook.md"
"#
    )
}

fn project(server: &Server, stage: &str) -> Project {
    Project::new().env("OLLAMA_HOST", &server.url()).spec(&spec(stage)).csv("data.csv", &ROWS)
}

/// The questions that were sent, sorted.
fn questions(server: &Server) -> Vec<String> {
    let mut found: Vec<String> = server.asked().iter().map(|asked| asked.question().to_owned()).collect();
    found.sort();
    found
}

fn echo() -> Server {
    Server::new().script(|asked: &Asked, _| Say::Text(asked.question().to_uppercase())).start()
}

#[test]
fn without_a_prompt_the_text_is_the_prompt() {
    let server = echo();
    let stage = "type = \"analysis\"\ntext_column = \"body\"";
    let project = project(&server, stage);
    project.run(&["validate", "pipeline.toml"]).exits(0).says("no problems");
    project.run(&RUN).exits(0).says("3 rows = 2 answered + 0 failed + 1 skipped");
    assert_eq!(questions(&server), ["It rained.", "Two houses\nburned."]);
    project.write("pipeline.toml", spec(&format!("{stage}\nprompt = \"{{{{ text }}}}\"")));
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!(server.requests(), 2, "the same question as `{{{{ text }}}}`");
}

#[test]
fn columns_follow_the_prompt_with_their_names() {
    let server = echo();
    let stage = "type = \"analysis\"\nprompt = \"What happened?\\n\"\ncolumns = [\"title\", \"body\"]";
    let project = project(&server, stage);
    let ran = project.run(&RUN).exits(1).says("3 rows = 2 answered + 1 failed");
    assert!(ran.stderr.contains("the row is empty: it has no value of `title` and `body`"), "{}", ran.stderr);
    let expected = ["What happened?\n\nbody: It rained.", "What happened?\n\ntitle: Fire\nbody:\nTwo houses\nburned."];
    assert_eq!(questions(&server), expected);
    let codebook = project.text("codebook.md");
    assert!(codebook.contains("columns after the prompt: title, body"), "{codebook}");
    // A column that is not shown decides nothing.
    let rows = ROWS.map(|row| if row[0] == "id" { row } else { [row[0], row[1], row[2], "Kiel"] });
    let project = project.csv("data.csv", &rows);
    project.run(&RUN).exits(1);
    assert_eq!(server.requests(), 2);
}

#[test]
fn columns_alone_or_with_the_text_are_a_prompt() {
    for (lines, expected) in [
        ("columns = [\"city\", \"title\"]", vec!["city: Bonn", "city: Ulm\ntitle: Fire"]),
        ("text_column = \"body\"\ncolumns = [\"city\"]", vec!["It rained.", "Two houses\nburned.\n\ncity: Ulm"]),
        ("prompt = \"{{ title }}\"\ncolumns = [\"city\"]", vec!["", "Fire\n\ncity: Ulm", "city: Bonn"]),
    ] {
        let server = echo();
        project(&server, &format!("type = \"analysis\"\n{lines}")).run(&RUN);
        assert_eq!(questions(&server), expected, "{lines}");
    }
}

#[test]
fn columns_are_shown_to_a_stage_that_fills_values_and_in_examples() {
    let answer = |_: &Asked, _: usize| Say::Text("{\"cause\": \"rain\"}".to_owned());
    let server = Server::new().script(answer).start();
    let stage = r#"type = "fill-missing"
columns = ["title", "body"]
fields.cause = { type = "string" }
examples = [{ row = { title = "Flood", body = "It rained." }, answer = { cause = "rain" } }]"#;
    let project = project(&server, stage);
    project.run(&RUN).exits(1).says("2 answered + 1 failed");
    let rain = Some("rain".to_owned());
    assert_eq!(project.table("tone.parquet").strings("computed_cause"), [rain.clone(), rain, None]);
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.body.to_string().contains("title: Flood\\nbody: It rained.")));
}

#[test]
fn wrong_columns_of_a_prompt_are_named() {
    let server = echo();
    for (columns, message) in [
        ("[]", "`columns` is empty"),
        ("[\"title\", \"tilte\"]", "tilte"),
        ("[\"title\", \"title\"]", "`title` is listed twice in `columns`"),
    ] {
        let project = project(&server, &format!("type = \"analysis\"\ncolumns = {columns}"));
        project.run(&["validate", "pipeline.toml"]).exits(2).says(message);
    }
    let none = project(&server, "type = \"analysis\"").run(&["validate", "pipeline.toml"]).exits(2);
    assert!(none.says("`prompt` is missing").stderr.contains("the text of `text_column`"));
}

/// Rows 1 and 3 are cut off.
fn cut() -> Server {
    let say = |asked: &Asked, _: usize| match asked.question() {
        text if text.contains("Fire") || text.contains("Bonn") => Say::Truncated("A town in the".to_owned()),
        _ => Say::Text("All of it.".to_owned()),
    };
    Server::new().script(say).start()
}

#[test]
fn a_text_that_was_cut_off_is_kept_and_marked() {
    let server = cut();
    let stage = "type = \"analysis\"\ncolumns = [\"title\", \"body\", \"city\"]\n";
    let keep = format!("{stage}cut_off = \"keep\"");
    let project = project(&server, &keep);
    let ran = project.run(&RUN).exits(0).says("3 rows = 3 answered");
    assert!(ran.stderr.contains("tone_cut_off") && ran.stderr.contains("2/3"), "{}", ran.stderr);
    let table = project.table("tone.parquet");
    assert_eq!(table.texts("tone"), ["A town in the", "All of it.", "A town in the"]);
    assert_eq!(table.bools("tone_cut_off"), [Some(true), Some(false), Some(true)]);
    project.run(&RUN).exits(0).says("0 calls sent");
    project.run(&["verify", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests(), 3);
    // A stage that keeps no such text asks again.
    project.write("pipeline.toml", spec(stage));
    project.run(&RUN).exits(1).says("1 answered + 2 failed").says("truncated");
    assert!(!project.table("tone.parquet").has("tone_cut_off"));
    assert_eq!(server.requests(), 5);
    project.write("pipeline.toml", spec(&keep));
    project.run(&RUN).exits(0);
    assert_eq!(project.table("tone.parquet").nulls("tone_cut_off"), 0);
}

#[test]
fn a_cut_text_in_a_pack_or_behind_partial_answers_is_marked() {
    let server = cut();
    let packed =
        "type = \"analysis\"\ncolumns = [\"title\", \"body\", \"city\"]\ncut_off = \"keep\"\nrows_per_prompt = 3";
    let packs = project(&server, packed);
    packs.run(&RUN).exits(0).says("3 rows = 3 answered");
    assert_eq!(packs.table("tone.parquet").bools("tone_cut_off"), [Some(true), Some(false), Some(true)]);
    let reduced = r#"type = "reduce"
prompt = "{% for row in rows %}{{ row.city }} {{ row.body }}. {% endfor %}"
combine = "{{ answers | join(' / ') }}"
max_input_tokens = 8
cut_off = "keep""#;
    let groups = project(&server, reduced);
    groups.run(&RUN).exits(0);
    let table = groups.table("tone.parquet");
    assert_eq!((table.texts("tone"), table.bools("tone_cut_off")), (vec!["All of it.".to_owned()], vec![Some(true)]));
    assert!(questions(&server).iter().any(|asked| asked.contains(" / A town in the")), "{:?}", questions(&server));
}

#[test]
fn only_a_plain_text_can_be_kept_when_it_is_cut_off() {
    let server = cut();
    for answer in ["json_keys = [\"a\"]", "output.a = { type = \"string\" }"] {
        let stage = format!("type = \"analysis\"\ncolumns = [\"title\"]\ncut_off = \"keep\"\n{answer}");
        let refused = project(&server, &stage).run(&["validate", "pipeline.toml"]).exits(2);
        refused.says("a typed answer that was cut off is not complete");
    }
}

#[test]
fn columns_of_a_fan_out_are_named_by_the_model_s_id() {
    let server = Server::new().models(&["llama3.2:3b", "mistral"]).start();
    let models = r#"models.cold = { provider = "ollama", model = "llama3.2:3b", temperature = 0.0 }
models.warm = { provider = "ollama", model = "llama3.2:3b", temperature = 1.0 }
models.other = { provider = "ollama", model = "mistral" }
"#;
    let stage = |lines: &str| {
        let text = spec(&format!("type = \"analysis\"\ncolumns = [\"title\"]\nwhen = \"title == 'Fire'\"\n{lines}"));
        format!("{models}{}", text.replace("models = [\"llama\"]", "models = [\"cold\", \"warm\", \"other\"]"))
    };
    let project = project(&server, "");
    project.write("pipeline.toml", stage("fanout = true\nsuffix = \"model\""));
    project.run(&RUN).exits(0);
    let names = ["cold", "warm", "other"].map(|name| format!("tone_{name}"));
    let ids = ["tone_llama3_2_3b_cold", "tone_llama3_2_3b_warm", "tone_mistral"];
    let table = project.table("tone.parquet");
    assert!(ids.iter().all(|id| table.has(id)) && table.has("tone_error_mistral"), "{:?}", table.columns());
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.run(&["explain", "tone.parquet", "a", "tone_mistral"]).exits(0);
    let status = |lines: &str| {
        project.write("pipeline.toml", stage(lines));
        project.run(&["status", "pipeline.toml"]).exits(0).stdout
    };
    assert!(status("fanout = true").contains("stale"), "other names are another table");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(names.iter().all(|name| project.table("tone.parquet").has(name)));
    assert!(status("fanout = true\nsuffix = \"name\"").contains("done"), "the default may be written");
    for lines in ["fanout = false\nsuffix = \"model\"", "fanout = true\nlayout = \"long\"\nsuffix = \"name\""] {
        project.write("pipeline.toml", stage(lines));
        project.run(&["validate", "pipeline.toml"]).exits(2).says("`suffix` names the columns");
    }
}
