//! `fanfold show`: the rows of tables and calls, chosen by a condition, and the quotes that `explain` shows.

use serde_json::Value;

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::{Asked, Say, Server};

const LABELS: [&str; 3] = ["positive", "neutral", "negative"];

/// The label of speech n is label n modulo 3, with a quote from the text for even numbers.
fn server() -> Server {
    let script = |asked: &Asked, _: usize| {
        let rest = asked.question().split("Speech ").nth(1).expect("a speech");
        let n: usize = rest.split(',').next().and_then(|n| n.parse().ok()).expect("a number");
        let quote = if n.is_multiple_of(2) { "on trade" } else { "never said" };
        Say::Json(serde_json::json!({
            "label": LABELS[n % 3], "score": n % 5, "label_quote": quote, "score_quote": quote,
        }))
    };
    Server::new().script(script).start()
}

fn study(server: &Server) -> Project {
    let stage = format!("models = [\"llama\"]\nquotes = true\ntext_column = \"text\"\n{TYPED}");
    let project = project(server, &spec(&stage), 30);
    project.run(&["run", "pipeline.toml"]).exits(0);
    project
}

#[test]
fn rows_are_chosen_by_a_condition() {
    let server = server();
    let project = study(&server);
    let shown = project.run(&["show", "pipeline.toml", "tone", "--columns", "id,label"]).exits(0);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1]), (21, "id     label", "s0000  positive"));
    assert_eq!(shown.stderr, "20 rows of 30 in all; `--limit N` shows more\n");
    let chosen = ["show", "pipeline.toml", "--where", "label == 'neutral' and score > 3", "--columns", "id", "--csv"];
    assert_eq!(project.run(&chosen).exits(0).stdout, "id\ns0004\ns0019\n");
    // A file and the run's table have the same rows.
    let file = ["show", "out/tone.parquet", "--where", "score == 4", "--columns", "id,score", "--csv"];
    let stage = ["show", "pipeline.toml", "tone", "--where", "score == 4", "--columns", "id,score", "--csv"];
    assert_eq!(project.run(&file).exits(0).stdout, project.run(&stage).exits(0).stdout);
}

#[test]
fn the_calls_can_be_opened_in_a_spreadsheet() {
    let server = server();
    let project = study(&server);
    let calls = ["show", "pipeline.toml", "calls", "--csv"];
    let text = project.run(&calls).exits(0).stdout;
    let mut reader = csv_of(&text);
    let head = reader.remove(0);
    let columns = project.calls();
    assert_eq!((head.iter().map(String::as_str).collect::<Vec<_>>(), reader.len()), (columns.columns(), 30));
    let one = [&calls[..], &["--where", "row_key == 's0003'", "--columns", "stage,model,row"]].concat();
    assert_eq!(project.run(&one).exits(0).stdout, "stage,model,row\ntone,llama,4\n");
    let shown = project.run(&["show", "pipeline.toml", "calls", "--limit", "2"]).exits(0).stdout;
    assert!(shown.starts_with("row  row_key  stage  model") && shown.lines().count() == 3, "{shown}");
}

/// The records of a CSV text without quoted line breaks in its first two columns.
fn csv_of(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            c => cell.push(c),
        }
    }
    records
}

#[test]
fn what_cannot_be_shown_is_an_error() {
    let server = server();
    let project = study(&server);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["pipeline.toml", "tones"], 2, "did you mean `tone`?"),
        (&["pipeline.toml", "qwertyuiop"], 2, "there are `tone` and `calls`"),
        (&["pipeline.toml", "--where", "labl == 'neutral'"], 2, "did you mean `label`?"),
        (&["pipeline.toml", "--where", "label =="], 2, "does not compile"),
        (&["pipeline.toml", "--columns", "labl"], 2, "there is no column `labl`"),
        (&["out/tone.parquet", "tone"], 2, "name the spec: fanfold show SPEC TABLE"),
        (&["nothing.parquet"], 3, "nothing.parquet"),
    ];
    for (args, code, says) in cases {
        project.run(&[&["show"], args].concat()).exits(code).says(says);
    }
    project.write("new.toml", project.text("pipeline.toml").replace("the tone?", "the mood?"));
    project.run(&["show", "new.toml"]).exits(0).says("the spec or its data have changed since");
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the project's folder");
    project.run(&["show", "pipeline.toml"]).exits(3).says("start one: fanfold run pipeline.toml");
}

#[test]
fn an_explained_cell_shows_its_quote_in_the_text() {
    let server = server();
    let project = study(&server);
    let told = project.run(&["explain", "pipeline.toml", "s0004", "label"]).exits(0).stdout;
    let quote = "  quote of label: \"on trade\", found (exact), characters 10 to 18\n    .. Speech 4, [on trade] and peace. ..\n";
    assert!(told.contains(quote), "{told}");
    assert!(!told.contains("quote of score"), "{told}");
    let told = project.run(&["explain", "pipeline.toml", "s0003", "label"]).exits(0).stdout;
    assert!(told.contains("  quote of label: \"never said\", NOT FOUND in the text\n"), "{told}");
    let whole = project.run(&["explain", "pipeline.toml", "s0004", "--format", "json"]).exits(0).stdout;
    let whole: Value = serde_json::from_str(&whole).expect("JSON");
    let quotes = &whole["explanation"]["stages"][0]["rows"][0]["quotes"];
    assert_eq!(quotes.as_array().map(Vec::len), Some(2));
    assert_eq!(quotes[0]["text"], serde_json::json!(["Speech 4, ", "on trade", " and peace."]));
}
