//! `fanfold diff`: the differences between two specs, runs, locks or tables, and between their answers.

use serde_json::{Value, json};

use crate::lock::edit;
use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::{Asked, Say, Server};

const LABELS: [&str; 3] = ["positive", "neutral", "negative"];

/// The number of the speech in the prompt.
fn number(asked: &Asked) -> usize {
    let rest = asked.question().split("Speech ").nth(1).expect("a speech");
    rest.split(',').next().and_then(|n| n.parse().ok()).expect("a number")
}

/// A server where llama3.2 answers with each label in turn, and mistral answers `neutral` to every second speech, with a
/// score higher by 3.
fn server() -> Server {
    let script = |asked: &Asked, _: usize| {
        let n = number(asked);
        let (label, more) = match asked.model.as_str() {
            "mistral" if n.is_multiple_of(2) => ("neutral", 3),
            _ => (LABELS[n % 3], 0),
        };
        Say::Json(json!({ "label": label, "score": n % 5 + more }))
    };
    Server::new().script(script).start()
}

fn typed(models: &str) -> String {
    spec(&format!("models = {models}\n{TYPED}"))
}

/// The diff as JSON; checks that the exit code is 1 if something differs.
#[track_caller]
fn diff(project: &Project, args: &[&str]) -> Value {
    let words: Vec<&str> = ["diff"].iter().chain(args).chain(&["--format", "json"]).copied().collect();
    let ran = project.run(&words);
    let found = ran.json();
    assert_eq!((ran.code, found["differs"].as_bool()), (i32::from(found["differs"] == true), Some(ran.code == 1)));
    found
}

/// The folder of the run that `diff` found for the argument.
fn run_of(words: &Value) -> String {
    let words = words.as_str().expect("a text");
    words.split("(the run in ").nth(1).expect("a run").trim_end_matches(')').to_owned()
}

fn facets(found: &Value) -> Vec<&str> {
    found["facets"]["differ"].as_array().expect("a list").iter().map(|d| d["facet"].as_str().expect("a name")).collect()
}

fn column<'a>(table: &'a Value, name: &str) -> &'a Value {
    let columns = table["columns"].as_array().expect("columns");
    columns.iter().find(|column| column["name"] == name).unwrap_or_else(|| panic!("no `{name}` in {table:#}"))
}

#[test]
fn the_same_spec_twice_does_not_differ() {
    let server = server();
    let project = project(&server, &typed("[\"llama\"]"), 12);
    project.write("same.toml", format!("# Only a comment.\n{}", typed("[\"llama\"]")));
    project.run(&["diff", "pipeline.toml", "same.toml"]).exits(3).says("start one with `fanfold run pipeline.toml`");
    project.run(&["run", "pipeline.toml"]).exits(0);
    let before = server.requests();
    let ran = project.run(&["diff", "pipeline.toml", "same.toml"]).exits(0);
    assert!(ran.stdout.contains("facets are the same\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("table tone: 12 rows in both, matched by id, nothing differs\n"), "{}", ran.stdout);
    let found = diff(&project, &["pipeline.toml", "pipeline.toml.lock"]);
    assert_eq!(found["facets"]["differ"], json!([]));
    assert_eq!(found["cells_not_compared"], "a lock contains only the hashes of tables");
    assert_eq!(server.requests(), before, "nothing is asked");
}

#[test]
fn another_prompt_and_model_show_in_facets_and_in_every_count() {
    let server = server();
    let project = project(&server, &typed("[\"llama\"]"), 12);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let first = run_of(&diff(&project, &["pipeline.toml", "pipeline.toml"])["a"]);
    project.write("before.lock", project.bytes("pipeline.toml.lock"));
    edit(&project, "pipeline.toml", "models = [\"llama\"]", "models = [\"mistral\"]");
    edit(&project, "pipeline.toml", "What is the tone?", "Which tone?");
    project
        .run(&["diff", &first, "pipeline.toml"])
        .exits(3)
        .says("the current version of `pipeline.toml` has no finished run");
    project.run(&["run", "pipeline.toml"]).exits(0);
    // The second run has overwritten the output of the first, whose folder still has the answers.
    let found = diff(&project, &[&first, "pipeline.toml", "--examples", "2"]);
    let differ = facets(&found);
    for facet in
        ["spec.meaning", "models.llama.model", "models.mistral.model", "stages.tone.models", "stages.tone.prompts"]
    {
        assert!(differ.contains(&facet), "{facet} is not in {differ:?}");
    }
    assert!(!differ.iter().any(|facet| facet.starts_with("sources.")), "{differ:?}");
    let table = &found["tables"][0];
    let rows = json!({ "matched": 12, "differ": 6, "only_in_a": 0, "only_in_b": 0, "reordered": false });
    assert_eq!(table["rows"], rows);
    assert_eq!(table["matched_by"], json!({ "row_number": false, "columns": ["id"] }));
    // The six even speeches were positive, neutral and negative twice each; the odd ones do not change.
    let label = column(table, "label");
    assert_eq!((&label["differ"], &label["from_null"], &label["to_null"]), (&json!(4), &json!(0), &json!(0)));
    // In the order of the spec.
    assert_eq!(label["confusion"]["labels"], json!(LABELS));
    assert_eq!(label["confusion"]["counts"], json!([[2, 2, 0], [0, 4, 0], [0, 2, 2]]));
    // 8 of 12 agree; expected by chance: (4 x 2 + 4 x 8 + 4 x 2) / 144.
    let kappa = label["confusion"]["agreement"]["kappa"].as_f64().expect("a number");
    assert!((kappa - (8.0 / 12.0 - 1.0 / 3.0) / (1.0 - 1.0 / 3.0)).abs() < 1e-12, "{kappa}");
    let score = column(table, "score");
    assert_eq!((&score["differ"], &score["confusion"]), (&json!(6), &Value::Null));
    assert_eq!(score["distance"], json!({ "mean_absolute": 1.5, "rows": 12 }));
    let examples = json!([
        { "key": ["s0000"], "shown": [{ "column": "text", "value": "Speech 0, on trade and peace." }], "changes": [
            { "column": "label", "old": "positive", "new": "neutral" }, { "column": "score", "old": 0, "new": 3 },
        ] },
        { "key": ["s0002"], "shown": [{ "column": "text", "value": "Speech 2, on trade and peace." }], "changes": [
            { "column": "label", "old": "negative", "new": "neutral" }, { "column": "score", "old": 2, "new": 5 },
        ] },
    ]);
    assert_eq!(table["examples"], examples);
    let manifest = format!("{first}/manifest.json");
    let shown = project.run(&["diff", &manifest, "pipeline.toml", "--examples", "1"]).exits(1).stdout;
    let expected = "\
table tone: 12 rows in both, matched by id, 6 differ
  column  differ          from null  to null  mean |A - B|
  label        4  33.3 %          0        0
  score        6    50 %          0        0           1.5
  label, A down, B across (Cohen's kappa 0.5 over 12 rows):
              positive  neutral  negative
    positive         2        2         0
    neutral          0        4         0
    negative         0        2         2
  row s0000
    text: Speech 0, on trade and peace.
    label: \"positive\" -> \"neutral\"
    score: 0 -> 3
  and 5 rows more
";
    assert!(shown.ends_with(expected), "{shown}");
    // Locks contain only facets; one of them may come from git through a pipe.
    let locks = diff(&project, &["before.lock", "pipeline.toml.lock"]);
    assert_eq!((facets(&locks), &locks["tables"]), (differ.clone(), &json!([])));
    let piped =
        project.run_by("cat before.lock | \"$0\" \"$@\"", &["diff", "/dev/stdin", "pipeline.toml.lock"]).exits(1);
    assert!(
        piped.stdout.ends_with("no cells were compared: a lock contains only the hashes of tables\n"),
        "{}",
        piped.stdout
    );
}

/// Runs the study over these rows of `data.csv` with a separate spec, and returns the name of the spec.
fn with_rows(project: &Project, name: &str, text: &str, rows: &[[String; 3]]) -> String {
    let lines: Vec<String> = rows.iter().map(|row| format!("{},{},\"{}\"", row[0], row[1], row[2])).collect();
    project.write(&format!("{name}.csv"), lines.join("\n") + "\n");
    let text = text.replace("path = \"data.csv\"", &format!("path = \"{name}.csv\""));
    project.write(&format!("{name}.toml"), text.replace("out/tone", &format!("out/{name}")));
    project.run(&["run", &format!("{name}.toml")]).exits(0);
    format!("{name}.toml")
}

#[test]
fn added_removed_and_moved_rows_are_matched_by_key() {
    let server = server();
    let project = project(&server, &typed("[\"llama\"]"), 1);
    let all = rows(8);
    let (head, body) = all.split_first().expect("a header");
    // The first row is gone, one row is new, and the last row has moved to the top.
    let mut moved = vec![head.clone(), body[6].clone()];
    moved.extend_from_slice(&body[1..6]);
    moved.push(body[7].clone());
    let keyed = typed("[\"llama\"]");
    let a = with_rows(&project, "a", &keyed, &all[..8]);
    let b = with_rows(&project, "b", &keyed, &moved);
    let found = diff(&project, &[&a, &b]);
    let table = &found["tables"][0];
    let rows = json!({ "matched": 6, "differ": 0, "only_in_a": 1, "only_in_b": 1, "reordered": true });
    assert_eq!(table["rows"], rows);
    assert_eq!(
        (&table["examples_only_in_a"], &table["examples_only_in_b"]),
        (&json!([["s0000"]]), &json!([["s0007"]]))
    );
    assert!(facets(&found).contains(&"sources.speeches.content"));
    // Without a key, rows are matched by number, so a row inserted at the top shifts all others.
    let plain = keyed.replace("key = \"id\"\n", "");
    let (c, d) = (with_rows(&project, "c", &plain, &all[..8]), with_rows(&project, "d", &plain, &moved));
    let found = diff(&project, &[&c, &d]);
    let table = &found["tables"][0];
    assert_eq!(table["matched_by"], json!({ "row_number": true, "columns": [] }));
    let rows = json!({ "matched": 7, "differ": 2, "only_in_a": 0, "only_in_b": 0, "reordered": false });
    assert_eq!(table["rows"], rows);
    assert_eq!(table["examples"][0]["key"], json!([1]));
    let keyed = diff(&project, &[&c, &d, "--key", "id"]);
    assert_eq!(keyed["tables"][0]["rows"]["matched"], 6);
    // Comparing the tables has the same result in every format.
    let tables = diff(&project, &["out/c.parquet", "out/d.parquet", "--key", "id"]);
    assert_eq!((&tables["tables"][0]["rows"], &tables["facets"]), (&keyed["tables"][0]["rows"], &Value::Null));
    // A table compared with a run is matched like the table of the run.
    let mixed = diff(&project, &[&a, "out/b.parquet"]);
    assert_eq!(
        (&mixed["tables"][0]["matched_by"]["columns"], &mixed["tables"][0]["rows"]["matched"]),
        (&json!(["id"]), &json!(6))
    );
}

#[test]
fn added_columns_and_failed_rows_are_reported() {
    let fails = |asked: &Asked, _: usize| match (
        asked.schema.as_ref().expect("a schema")["properties"].get("sure"),
        number(asked),
    ) {
        (Some(_), 2) => Say::status(400),
        (sure, n) => {
            let mut answer = json!({ "label": LABELS[n % 3], "score": 1 });
            if sure.is_some() {
                answer["sure"] = json!(true);
            }
            Say::Json(answer)
        }
    };
    let server = Server::new().script(fails).start();
    let project = project(&server, &typed("[\"llama\"]"), 6);
    project.write("more.toml", typed("[\"llama\"]") + "sure = { type = \"boolean\" }\n");
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.run(&["run", "more.toml"]);
    let found = diff(&project, &["pipeline.toml", "more.toml"]);
    let table = &found["tables"][0];
    assert_eq!((&table["columns_only_in_a"], &table["columns_only_in_b"]), (&json!([]), &json!(["sure: boolean"])));
    assert_eq!((&table["rows"]["differ"], &column(table, "label")["to_null"]), (&json!(1), &json!(1)));
    assert_eq!(column(table, "tone_error")["from_null"], 1);
    assert_eq!(column(table, "tone_error")["confusion"], Value::Null, "messages are not classes");
    let labels = &column(table, "label")["confusion"];
    assert_eq!(labels["labels"], json!(["positive", "neutral", "negative", null]));
    assert_eq!(labels["counts"], json!([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]));
    assert_eq!(labels["agreement"], json!({ "kappa": 1.0, "rows": 5 }));
}

#[test]
fn the_long_layout_is_matched_by_row_replicate_and_model() {
    let server = server();
    let long =
        |models: &str| spec(&format!("models = {models}\nfanout = true\nlayout = \"long\"\nreplicates = 2\n{TYPED}"));
    let project = project(&server, &long("[\"llama\", \"mistral\"]"), 4);
    project.write("one.toml", long("[\"llama\"]"));
    // Without a key, rows are matched by the number of the source row, not of the line.
    for key in ["key = \"id\"\n", ""] {
        for file in ["pipeline.toml", "one.toml"] {
            project.write(file, project.text(file).replace("key = \"id\"\n", key));
            project.run(&["run", file]).exits(0);
        }
        let found = diff(&project, &["one.toml", "pipeline.toml"]);
        let table = &found["tables"][0];
        let by: &[&str] = if key.is_empty() { &["replicate", "model"] } else { &["id", "replicate", "model"] };
        assert_eq!(table["matched_by"], json!({ "row_number": key.is_empty(), "columns": by }));
        let rows = json!({ "matched": 8, "differ": 0, "only_in_a": 0, "only_in_b": 8, "reordered": false });
        assert_eq!(table["rows"], rows);
        let first = if key.is_empty() { json!([1, 1, "mistral"]) } else { json!(["s0000", 1, "mistral"]) };
        assert_eq!(table["examples_only_in_b"][0], first);
    }
    // A wide and a long table have no matching rows.
    project.write("wide.toml", typed("[\"llama\"]"));
    project.run(&["run", "wide.toml"]).exits(0);
    let found = diff(&project, &["wide.toml", "pipeline.toml"]);
    let why = "A has a line for each row, B for each row and replicate and model";
    assert_eq!(found["tables"][0]["not_compared"], why);
}

#[test]
fn tables_with_any_content_are_compared() {
    let hostile = "\u{1b}]0;owned\u{7}\u{202e}\r\nline";
    let project = Project::new()
        .csv(
            "a.csv",
            &[["id", "label", "note"], ["p", "yes", "x"], ["q", "no", hostile], ["r", "yes", "x"], ["s", "no", ""]],
        )
        .csv(
            "b.csv",
            &[["id", "label", "note"], ["p", "no", "x"], ["q", "no", "x"], ["r", "yes", "x"], ["s", "", "NULL"]],
        )
        .file("b[1].jsonl", "{\"id\":\"p\",\"label\":\"yes\",\"note\":\"x\"}\n");
    let found = diff(&project, &["a.csv", "b.csv", "--key", "id"]);
    let label = column(&found["tables"][0], "label");
    assert_eq!(label["confusion"]["labels"], json!(["no", "yes", null]));
    assert_eq!(label["confusion"]["counts"], json!([[1, 0, 1], [1, 1, 0], [0, 0, 0]]));
    assert_eq!(column(&found["tables"][0], "note")["from_null"], 1);
    assert_eq!(found["tables"][0]["examples"][1]["changes"][0]["old"], hostile);
    let shown = project.run(&["diff", "a.csv", "b.csv", "--key", "id"]).exits(1).stdout;
    assert!(shown.contains("    note: null -> \"NULL\"\n"), "{shown}");
    let raw = project.run(&["diff", "a.csv", "b.csv", "--key", "id", "--format", "json"]).stdout;
    for text in [&shown, &raw] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{text}");
    }
    assert!(shown.contains("\\r\\nline\" -> \"x\"\n"), "{shown}");
    project.run(&["diff", "a.csv", "a.csv"]).exits(0);
    // A file name is not a pattern.
    let found = diff(&project, &["a.csv", "b[1].jsonl", "--key", "id"]);
    assert_eq!(
        (&found["tables"][0]["rows"]["matched"], &found["tables"][0]["rows"]["only_in_a"]),
        (&json!(1), &json!(3))
    );
}

#[test]
fn arguments_that_cannot_be_compared_are_errors() {
    let server = server();
    let project = project(&server, &typed("[\"llama\"]"), 4);
    project.write("twice.csv", "id,label\nx,1\nx,2\n");
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(0);
    let part = project.files(".fanfold/runs").into_iter().find(|f| f.ends_with("manifest.json")).expect("a run");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["nothing.toml", "pipeline.toml"], 2, "can't be read"),
        (&["nothing.parquet", "twice.csv"], 3, "`nothing.parquet` does not exist"),
        (&["pipeline.toml", "twice.csv"], 3, "start one with `fanfold run pipeline.toml`"),
        (&["data.csv", "twice.csv", "--key", "id"], 2, "twice.csv: row 2 has the same key as a row before it: \"x\""),
        (&["data.csv", "twice.csv", "--key", "text"], 2, "twice.csv has no column `text`"),
        (&[&part, &part], 3, "has only some of the rows or stages"),
        (&["out", "data.csv"], 3, "`out` is not the folder of a run"),
    ];
    for (args, code, says) in cases {
        let words: Vec<&str> = ["diff"].iter().chain(*args).copied().collect();
        project.run(&words).exits(*code).says(says);
    }
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.run(&["diff", "pipeline.toml.lock", "data.csv"]).exits(2).says("a lock contains no cells");
    project.write("broken", "no lock");
    project.run(&["diff", "broken", "data.csv"]).exits(2).says("it is not a lock file");
}

#[test]
fn rows_are_matched_by_what_tells_them_apart() {
    let spec = r#"
models.m = { provider = "mock", model = "m" }
models.k = { provider = "mock", model = "k" }
sources.s = { type = "file", path = "d.csv", key = "id" }
[stages.a]
type = "analysis"
input = "s"
models = ["m"]
prompt = "Tone of {{ t }}"
grid = { model = { temperature = [0, 1] } }
[stages.b]
type = "analysis"
input = "s"
models = ["m", "k"]
fanout = true
layout = "long"
prompt = "Topic of {{ t }}"
[stages.kept]
type = "filter"
input = "b"
when = "b is not none"
[stages.sums]
type = "reduce"
input = "s"
models = ["m"]
group_by = ["party", "year"]
prompt = "Of {{ party }}: {% for row in rows %}{{ row.t }}{% endfor %}"
[stages.joined]
type = "join"
input = "b"
with = "parties"
on = ["party"]
[sources.parties]
type = "file"
path = "parties.csv"
[stages.few]
type = "filter"
input = "a"
when = "universe is not none"
[outputs]
a = { input = "a", path = "a.csv" }
few = { input = "few", path = "few.csv" }
joined = { input = "joined", path = "joined.csv" }
kept = { input = "kept", path = "kept.csv" }
sums = { input = "sums", path = "sums.csv" }
"#;
    let rows = [["id", "party", "year", "t"], ["1", "x", "1900", "war"], ["2", "x", "1901", "peace"]];
    let more = [rows[0], ["0", "x", "1899", "trade"], rows[1], rows[2]];
    let project =
        Project::new().spec(spec).csv("d.csv", &rows).csv("parties.csv", &[["party", "colour"], ["x", "red"]]);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let project = project.csv("d.csv", &more);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let told = project.run(&["diff", "pipeline.toml"]).exits(1).stdout;
    for (table, both, by, only) in [
        ("a", 4, "id and universe", 2),
        ("few", 4, "id and universe", 2),
        ("joined", 4, "id and model", 2),
        ("kept", 4, "id and model", 2),
        ("sums", 2, "party and year", 1),
    ] {
        let line = format!("table {table}: {both} rows in both, matched by {by}, {only} only in B");
        assert!(told.contains(&line), "{line}\n{told}");
    }
    // A key of one table is not asked of the others.
    let told = project.run(&["diff", "pipeline.toml", "--key", "model,id"]).exits(1).stdout;
    assert!(told.contains("matched by model and id") && told.contains("matched by party and year"), "{told}");
    project.run(&["diff", "pipeline.toml", "--key", "nope"]).exits(2);
}
