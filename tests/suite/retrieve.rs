//! The `retrieve` stage: which rows are found, what later prompts see of them, and what `explain` says.

use serde_json::Value;

use crate::project::Project;
use crate::server::{Say, Server};

const TEXTS: [[&str; 4]; 5] = [
    ["id", "year", "title", "text"],
    ["a", "1861", "War", "The war divides the states."],
    ["b", "1862", "Railway", "A railway to the Pacific would bind the states."],
    ["c", "1863", "Peace", "Peace after the war, and trade after the peace."],
    ["d", "1864", "Trade", "Trade with Peru grows."],
];
const QUESTIONS: [[&str; 2]; 4] =
    [["q", "question"], ["1", "What ends the war?"], ["2", "Where does the railway go?"], ["3", ""]];

/// A pipeline that answers the questions from the texts, with more lines in its stage `found`.
fn spec(server: &Server, more: &str) -> String {
    format!(
        r#"name = "answers"
[providers.lab]
type = "ollama"
base_url = "{}"
[models.llama]
provider = "lab"
model = "llama3.2"
num_ctx = 4096
[sources.texts]
type = "file"
path = "texts.csv"
key = "id"
types = {{ year = "integer" }}
[sources.questions]
type = "file"
path = "questions.csv"
key = "q"
[stages.found]
type = "retrieve"
input = "questions"
from = "texts"
text_column = "question"
from_text_columns = ["title", "text"]
k = 2
columns = ["title", "text"]
{more}
[stages.answer]
type = "analysis"
input = "found"
models = ["llama"]
prompt = """{{{{ question }}}}{{% for item in context %}}
{{{{ item.rank }}}}. {{{{ item.title }}}}: {{{{ item.text }}}}{{% endfor %}}"""
[outputs.answers]
input = "answer"
path = "out/answers.parquet"
[outputs.lines]
input = "found"
path = "out/found.jsonl"
"#,
        server.url()
    )
}

fn project(spec: &str) -> Project {
    Project::new().spec(spec).csv("texts.csv", &TEXTS).csv("questions.csv", &QUESTIONS)
}

#[test]
fn a_prompt_shows_the_rows_that_were_found() {
    let server = Server::new().script(|_, _| Say::Text("An answer.".to_owned())).start();
    let project = project(&spec(&server, ""));
    project.run(&["run", "pipeline.toml"]).exits(0);
    let mut prompts: Vec<String> = server.asked().iter().map(|asked| asked.question().to_owned()).collect();
    prompts.sort();
    assert_eq!(
        prompts,
        [
            "What ends the war?\n1. War: The war divides the states.\n\
             2. Peace: Peace after the war, and trade after the peace.",
            "Where does the railway go?\n1. Railway: A railway to the Pacific would bind the states.\n\
             2. War: The war divides the states."
        ]
    );
    // The table keeps what was shown.
    let lines = project.text("out/found.jsonl");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let items = lines[0]["context"].as_array().expect("items");
    assert_eq!((items.len(), &items[0]["id"], &items[0]["rank"]), (2, &Value::from("a"), &Value::from(1)));
    assert!(items[0]["score"].as_f64() > items[1]["score"].as_f64(), "{items:?}");
    assert_eq!(lines[2]["context"], Value::Null);
    let table = project.table("out/answers.parquet");
    assert_eq!(table.strings("answer"), [Some("An answer.".to_owned()), Some("An answer.".to_owned()), None]);
    // A second run asks nothing, and finds the same.
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(server.answered(), 2);
    assert_eq!(project.table("out/answers.parquet").rows(), table.rows());
}

#[test]
fn explain_shows_the_rows_that_were_found() {
    let server = Server::new().start();
    let project = project(&spec(&server, "when = \"year != 1863\""));
    project.run(&["run", "pipeline.toml"]).exits(0);
    let explained = project.run(&["explain", "out/answers.parquet", "1"]).exits(0);
    let lines = explained.stdout.lines().filter(|line| line.contains("context: ") || line.contains("score = "));
    let lines: Vec<&str> = lines.map(str::trim_start).collect();
    assert_eq!(lines[0], "context: 2 rows of texts");
    assert!(lines[1].starts_with("1. score = ") && lines[1].contains("id = \"a\", title = \"War\""), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
    let json = project.run(&["explain", "out/answers.parquet", "2", "answer", "--format", "json"]).exits(0).json();
    let retrieved = &json["explanation"]["retrieved"][0];
    assert_eq!((&retrieved["column"], &retrieved["from"]), (&Value::from("context"), &Value::from("texts")));
    assert_eq!(retrieved["rows"][0]["id"], "b");
}

#[test]
fn a_changed_text_is_searched_anew() {
    let server = Server::new().start();
    let project = project(&spec(&server, ""));
    project.run(&["run", "pipeline.toml"]).exits(0);
    let before = server.answered();
    let mut texts = TEXTS;
    texts[4][3] = "The railway ends in Sacramento, and the railway is long.";
    let project = project.csv("texts.csv", &texts);
    project.run(&["run", "pipeline.toml", "--update-lock"]).exits(0);
    assert!(server.answered() > before);
    let last: Vec<String> = server.asked().iter().skip(before).map(|asked| asked.question().to_owned()).collect();
    assert!(last.iter().any(|prompt| prompt.contains("Sacramento")), "{last:?}");
}

#[test]
fn validate_names_what_does_not_fit() {
    let server = Server::new().start();
    for (more, message) in [
        ("when = \"yaer > 1\"", "the condition uses `yaer`, but the input has no such column"),
        ("vector_column = \"question\"", "`question` holds text, not vectors"),
        ("min_similarity = 0.5", "`min_similarity` goes with `vector_column`, which is missing"),
        ("column = \"question\"", "`questions` has a column `question` already"),
    ] {
        let ran = project(&spec(&server, more)).run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message), "{more}: {}", ran.stderr);
    }
}
