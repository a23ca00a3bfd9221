//! Dialects of text files and the import report, as a user sees them.

use std::fs;

use serde_json::Value;

use crate::project::Project;

/// A spec that copies the source `rows`, with these fields, into `out.jsonl`.
fn spec(fields: &str) -> String {
    format!(
        "models.m = {{ provider = \"mock\", model = \"any\" }}\nsources.rows = {{ type = \"file\", {fields} }}\n\
         outputs.rows = {{ input = \"rows\", path = \"out.jsonl\" }}\noutputs.t = {{ input = \"t\", path = \"t.csv\" }}\n\
         [stages.t]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"m\"]\nprompt = \"{{{{ text }}}}\"\n"
    )
}

fn rows(project: &Project) -> Vec<Value> {
    let text = fs::read_to_string(project.path("out.jsonl")).expect("the output");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn texts(project: &Project) -> Vec<String> {
    rows(project).iter().map(|row| row["text"].as_str().unwrap_or("-").to_owned()).collect()
}

fn run(files: &[(&str, &str)], fields: &str) -> (Project, crate::project::Ran) {
    let mut project = Project::new().spec(&spec(fields));
    for (path, text) in files {
        project = project.file(path, text);
    }
    let ran = project.run(&["run", "pipeline.toml"]);
    (project, ran)
}

#[test]
fn an_import_is_reported_once_and_kept_in_the_manifest() {
    let (project, ran) = run(&[("a.csv", "text;n\nx;\ny;1\n")], r#"path = "a.csv""#);
    let ran = ran.exits(0);
    let line = r#"rows: read a.csv as CSV, delimiter ";", quote "\"", utf-8; detected: delimiter = ";"; 2 rows, 2 columns, 1 null"#;
    let ran = ran.says(line).says(r#"a.csv: detected delimiter = ";""#);
    assert!(ran.stderr.contains("write this into the source"));
    assert_eq!(texts(&project), ["x", "y"]);
    let again = project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(!again.stderr.contains("rows: read"), "{}", again.stderr);
    let runs = fs::read_dir(project.path(".fanfold/runs")).expect("the runs");
    let manifest = runs.map(|run| run.expect("a run").path().join("manifest.json")).next().expect("a run");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(manifest).expect("a manifest")).expect("JSON");
    let import = &manifest["sources"]["rows"]["import"];
    assert_eq!((&import["rows"], &import["nulls"], &import["changed_characters"]), (&2.into(), &1.into(), &0.into()));
    assert_eq!((&import["files"][0]["delimiter"], &import["files"][0]["format"]), (&";".into(), &"CSV".into()));
    let plan = project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0);
    let plan: Value = plan.json();
    assert_eq!(plan["sources"][0]["import"]["files"][0]["detected"][0], r#"delimiter = ";""#);
    let written = project.run(&["validate", "pipeline.toml"]).exits(0);
    written.says(r#"a.csv: detected delimiter = ";""#);
}

#[test]
fn a_copy_of_an_earlier_version_is_made_again() {
    let (project, ran) = run(&[("a.csv", "text\nx\n")], r#"path = "a.csv""#);
    ran.exits(0);
    // A copy without an import report is one of a reader that could change texts.
    let copies = || {
        let files =
            fs::read_dir(project.path(".fanfold/sources")).expect("copies").map(|copy| copy.expect("a copy").path());
        files.filter(|file| file.extension().is_some_and(|ending| ending == "parquet"))
    };
    let copy = copies().next().expect("a copy");
    let bytes = fs::read(&copy).expect("a copy");
    let at = bytes.windows(14).position(|window| window == b"fanfold.import").expect("the import report");
    let mut old = bytes;
    old[at..at + 14].copy_from_slice(b"fanfold.absent");
    fs::write(&copy, &old).expect("the copy is written");
    fs::write(copy.with_extension("sum"), blake3::hash(&old).to_hex().as_bytes()).expect("its checksum");
    project.run(&["run", "pipeline.toml"]).exits(0).says("rows: read a.csv as CSV");
    assert_eq!(copies().count(), 1);
}

#[test]
fn three_header_rows_of_a_survey_are_not_respondents() {
    let header = "id,text\n\"Response ID\",\"What do\nyou think?\"\n";
    let ids = "\"{\"\"ImportId\"\":\"\"_recordId\"\"}\",\"{\"\"ImportId\"\":\"\"QID1\"\"}\"\n";
    let (project, ran) = run(&[("a.csv", &format!("{header}{ids}R1,Good\nR2,Slow\n"))], r#"path = "a.csv""#);
    ran.exits(0).says("detected header_rows = 3");
    assert_eq!(texts(&project), ["Good", "Slow"]);
}

#[test]
fn quotes_in_tab_separated_texts_are_questioned() {
    let file = [("a.tsv", "id\ttext\n1\t\"Aye.\"\n2\t\"No\n")];
    let (project, ran) = run(&file, r#"path = "a.tsv""#);
    ran.exits(0).says("cells begin and end with a quotation mark").says(r#"set quote = "\"""#);
    assert_eq!(texts(&project), ["\"Aye.\"", "\"No"]);
    let (_, ran) = run(&file, r#"path = "a.tsv", quote = "none""#);
    assert!(!ran.exits(0).stderr.contains("quotation mark"));
}

#[test]
fn a_column_that_is_not_chosen_never_stops_a_run() {
    let bad = [("a.csv", "text,,n,n\nx,a,b,c\ny,d,e,f\n")];
    run(&bad, r#"path = "a.csv""#).1.exits(2).says("column 2 has no name").says("columns = [1, {");
    let (project, ran) =
        run(&bad, r#"path = "a.csv", columns = ["text", { from = 4, name = "n" }], where = "n != 'f'""#);
    ran.exits(0);
    assert_eq!(rows(&project).iter().map(Value::to_string).collect::<Vec<_>>(), [r#"{"text":"x","n":"c"}"#]);
    let (project, ran) = run(&bad, r#"path = "a.csv", names = ["text", "b", "c", "d"], columns = ["text"], limit = 1"#);
    ran.exits(0);
    assert_eq!(texts(&project), ["x"]);
}

#[test]
fn a_wrong_setting_is_refused_with_what_to_write() {
    let file = [("a.csv", "text\nx\n"), ("b.jsonl", "{\"text\":\"x\"}\n")];
    let wanted = [
        (r#"path = "a.csv", delimiter = ";;""#, "must be one ASCII character", "write for example"),
        (r#"path = "a.csv", columns = []"#, "`columns` is empty", "leave it out"),
        (r#"path = "a.csv", columns = [{ form = "text" }]"#, "an entry needs `from`", ""),
        (r#"path = "a.csv", columns = [{ from = "text", nmae = "t" }]"#, "no field `nmae`", ""),
        (r#"path = "a.csv", where = "txet == 'x'""#, "`where` uses `txet`", "did you mean `text`?"),
        (r#"path = "a.csv", decimal = ";""#, "`decimal` is", "write"),
        (
            r#"path = "b.jsonl", delimiter = ";""#,
            "`delimiter` does not apply to JSON Lines",
            "it applies to CSV and TSV",
        ),
    ];
    for (fields, message, help) in wanted {
        run(&file, fields).1.exits(2).says(message).says(help);
    }
}
