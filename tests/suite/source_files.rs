//! Other files for the sources of a spec: `--source NAME=FILE`.

use serde_json::json;

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;

const ROWS: usize = 12;

fn study(server: &Server) -> Project {
    let text = spec(&format!("models = [\"llama\"]\n{TYPED}")).replace("out/tone.parquet", "out/tone.csv");
    project(server, &text.replace("key = \"id\"", "key = \"id\"\nencoding = \"windows-1252\""), ROWS)
}

#[test]
fn another_file_is_another_run_and_its_known_rows_cost_nothing() {
    let server = Server::new().start();
    let project = study(&server);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let (real, lock) = (project.bytes("out/tone.csv"), project.bytes("pipeline.toml.lock"));
    let rows = [("s0003", "1793", "Speech 3, on trade and peace."), ("new", "1800", "A new speech.")];
    let csv = rows.map(|(id, year, text)| format!("{id},{year},\"{text}\"\n")).concat();
    let jsonl =
        rows.map(|(id, year, text)| json!({ "id": id, "year": year, "text": text }).to_string() + "\n").concat();
    project.write("new.csv", format!("id,year,text\n{csv}"));
    project.write("new.jsonl", jsonl);
    // The first table with both rows, as Parquet.
    let parquet = spec("models = [\"llama\"]\n").replace("data.csv", "new.csv");
    project.write(
        "copy.toml",
        parquet
            .replace("tone", "copy")
            .replace("[outputs.copy]\ninput = \"copy\"", "[outputs.copy]\ninput = \"speeches\"")
            .replace("out/copy.parquet", "new.parquet"),
    );
    project.run(&["run", "copy.toml", "--limit", "2"]).exits(0);
    std::fs::rename(project.path("new.limit-2.parquet"), project.path("new.parquet")).expect("the copy");
    let before = server.requests();
    for (file, sent) in [("new.csv", 1), ("new.jsonl", 0), ("new.parquet", 0)] {
        let argument = format!("speeches={file}");
        let ran = project.run(&["run", "pipeline.toml", "--source", &argument, "--format", "json"]).exits(0);
        let summary = ran.json();
        assert_eq!(summary["stages"]["tone"]["calls"], json!(sent), "{file}");
        let output = format!("out/tone.source-speeches-{file}.csv");
        assert_eq!(summary["outputs"]["tone"]["path"], json!(output));
        assert_eq!(project.text(&output).lines().count(), 3, "{file}");
        let (table, lock) = (&summary["tables"]["tone"], &summary["lock"]);
        let part = table["files"][0].as_str().expect("a file");
        assert_eq!(project.table(part).rows().len(), 2);
        assert_eq!(table["columns"][3], json!({ "name": "label", "from": "label", "type": "text" }));
        assert_eq!(lock["sources"]["speeches"]["rows"], json!(2));
        ran.says(&format!("ran with `sources.speeches={file}`: the outputs have their own names"));
    }
    assert_eq!(server.requests(), before + 1);
    assert_eq!((project.bytes("out/tone.csv"), project.bytes("pipeline.toml.lock")), (real, lock));
    project.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn a_file_in_another_folder_is_read_and_the_commands_take_it() {
    let server = Server::new().start();
    let project = study(&server);
    let other = tempfile::tempdir().expect("a folder");
    std::fs::rename(project.path("data.csv"), other.path().join("rows.tsv.csv")).expect("the rows");
    let argument = format!("speeches={}", other.path().join("rows.tsv.csv").display());
    project.run(&["validate"]).exits(2).says("data.csv");
    project.run(&["validate", "--source", &argument]).exits(0);
    let plan = project.run(&["plan", "--source", &argument, "--format", "json"]).exits(0).json();
    assert_eq!(plan["stages"][0]["rows"], json!(ROWS));
    let summary = project.run(&["run", "--source", &argument, "--format", "json"]).exits(0).json();
    let path = summary["outputs"]["tone"]["path"].as_str().expect("a path").to_owned();
    assert!(path.starts_with("out/tone.source-") && !path.contains("rows"), "{path}");
    let name = summary["name"].as_str().expect("a name");
    let page = project.run(&["report", "pipeline.toml", "--source", &argument, "--run", name, "-o", "-"]).exits(0);
    assert!(page.stdout.contains("rows.tsv.csv"), "the page names the file");
    // A run that stops shows the command that continues it.
    project
        .write("pipeline.toml", project.text("pipeline.toml").replacen("seed = 42", "seed = 42\nbudget.calls = 1", 1));
    std::fs::write(other.path().join("b.csv"), "id,text\nx,One.\ny,Two.\nz,Three.\n").expect("rows");
    let more = format!("speeches={}", other.path().join("b.csv").display());
    project.run(&["run", "--source", &more]).exits(4).says(&format!("fanfold run pipeline.toml --source {more}"));
}

#[test]
fn wrong_sources_are_refused() {
    let project = study(&Server::new().start());
    for (arguments, words) in [
        (&["--source", "speech=data.csv"][..], "did you mean `speeches`?"),
        (&["--source", "speeches"], "write the source and its file"),
        (&["--source", "speeches="], "is missing"),
        (&["--source", "speeches=no.csv"], "no.csv"),
        (&["--source", "speeches=data.csv", "--locked"], "cannot be used with"),
        (&["--source", "speeches=data.csv", "--update-lock"], "cannot be used with"),
    ] {
        let ran = project.run(&[&["run"][..], arguments].concat()).exits(2);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    let report = ["report", "--source", "speeches=data.csv", "-o", "-"];
    project.run(&report).exits(2).says("--run");
}

#[test]
fn problems_of_a_spec_are_events_of_a_log() {
    let project = study(&Server::new().start());
    project.write("pipeline.toml", project.text("pipeline.toml").replace("prompt =", "promt ="));
    for command in ["run", "plan", "verify", "report"] {
        let ran = project.run(&[command, "--log", "json"]).exits(2);
        let event: serde_json::Value =
            serde_json::from_str(ran.stderr.lines().next().unwrap_or_default()).expect("an event");
        assert_eq!((&event["event"], &event["rule"]), (&json!("problem"), &json!("unknown-field")), "{command}");
        assert_eq!((&event["file"], &event["help"]), (&json!("pipeline.toml"), &json!("did you mean `prompt`?")));
        assert!(event["line"].as_u64() > Some(20), "{event}");
    }
}
