//! Nested data from files to prompts and outputs: JSON Lines and Parquet, conditions, JSON that is none, odd names.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Float32Array, RecordBatch, StringArray, StructArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::project::Project;
use crate::server::{Say, Server};

/// A stage over `rows.EXTENSION` with this prompt, more lines of the stage, and an output of this extension.
fn spec(extension: &str, prompt: &str, more: &str, output: &str) -> String {
    format!(
        r#"name = "nested"
[models.llama]
provider = "ollama"
model = "llama3.2"
num_ctx = 4096
[sources.rows]
type = "file"
path = "rows.{extension}"
key = "id"
[stages.label]
type = "analysis"
input = "rows"
models = ["llama"]
prompt = '''{prompt}'''
{more}
[outputs.label]
input = "label"
path = "out/label.{output}"
"#
    )
}

const POSTS: &str = r#"{"id": "a", "user": {"name": "Ann", "n": 3, "big": 12345678901234567890}, "tags": ["x", "y"], "text": "one"}
{"id": "b", "user": {"name": "Bo", "n": 50}, "tags": [], "text": "cut \ud83d"}

{"id": "c", "user": null, "tags": null, "text": "three", "score": NaN}
"#;

fn posts(prompt: &str, more: &str, output: &str) -> Project {
    Project::new().spec(&spec("jsonl", prompt, more, output)).file("rows.jsonl", POSTS)
}

/// The prompts, sorted.
fn asked(server: &Server) -> Vec<String> {
    let mut asked: Vec<String> = server.asked().iter().map(|asked| asked.question().to_owned()).collect();
    asked.sort();
    asked
}

fn echo() -> Server {
    Server::new().script(|asked, _| Say::Text(format!("re: {}", asked.question()))).start()
}

#[test]
fn prompts_and_conditions_reach_into_json_lines() {
    let server = echo();
    let project = posts("{{ user.name }}|{{ tags[0] }}|{{ user }}|{{ text }}", "when = \"user.n < 10\"", "csv");
    let project = project.env("OLLAMA_HOST", &server.url());
    project.run(&["validate", "pipeline.toml"]).exits(0);
    project.run(&["run", "pipeline.toml"]).exits(0).says("3 rows = 1 answered + 0 failed + 2 skipped");
    let user = r#"{"name": "Ann", "n": 3, "big": 12345678901234567890}"#;
    assert_eq!(asked(&server), [format!("Ann|x|{user}|one")]);
    let csv = project.text("out/label.csv");
    assert!(csv.contains(&user.replace('"', "\"\"")), "{csv}");
    assert!(csv.contains("cut \u{fffd}"), "{csv}");
    let told = project.run(&["explain", "out/label.csv", "a", "label"]).exits(0).stdout;
    assert!(told.contains("12345678901234567890"), "{told}");
    // The same spec gives the same table without another call.
    project.run(&["run", "pipeline.toml"]).exits(0).says("0 calls sent");
    project.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn what_no_row_has_is_refused_before_a_run() {
    for (prompt, more, message) in [
        ("{{ user.nmae }}", "", "did you mean `name`?"),
        ("{{ text.name }}", "", "if it holds JSON, read it first"),
        ("{{ text | truncat }}", "", "there is no filter `truncat`"),
        ("{{ text }}", "when = \"text\"", "`text` is text, and every text counts as true"),
        ("{{ text }}", "when = \"user.n == '3'\"", "write the number without quotation marks: 3"),
        ("{{ text }}", "when = \"user.name > 3\"", "compares text with a number"),
        ("{{ text }}", "when = \"user.n = 3\"", "did you mean `==`"),
    ] {
        posts(prompt, more, "csv").run(&["validate", "pipeline.toml"]).exits(2).says(message);
    }
}

#[test]
fn a_text_that_is_not_json_fails_its_row() {
    let server = echo();
    let rows = [["id", "payload"], ["a", "{\"user\": {\"name\": \"Ann\"}}"], ["b", "none"], ["c", "[1"]];
    let project = Project::new().spec(&spec("csv", "{{ (payload | json).user.name }}", "", "jsonl"));
    let project = project.csv("rows.csv", &rows).env("OLLAMA_HOST", &server.url());
    project.run(&["run", "pipeline.toml"]).says("3 rows = 1 answered + 2 failed + 0 skipped");
    assert_eq!(asked(&server), ["Ann"]);
    assert!(project.text("out/label.jsonl").contains("can't be read as JSON"), "{}", project.text("out/label.jsonl"));
}

/// Posts with a struct, lists of texts, narrow numbers, moments and bytes that no table of other programs shows alike.
fn parquet() -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("Ann"), None]));
    let rating: ArrayRef = Arc::new(Float32Array::from(vec![4.7, 0.1]));
    let fields: Fields =
        vec![Field::new("name", DataType::Utf8, true), Field::new("rating", DataType::Float32, true)].into();
    let user = StructArray::new(fields, vec![names, rating.clone()], Some(vec![true, false].into()));
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("x"), None]);
    tags.append_null();
    let at = TimestampMillisecondArray::from(vec![Some(1_719_835_200_000), None]).with_timezone("Europe/Berlin");
    RecordBatch::try_from_iter([
        ("id", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ("user", Arc::new(user)),
        ("tags", Arc::new(tags.finish())),
        ("rating", rating),
        ("at", Arc::new(at)),
    ])
    .unwrap()
}

#[test]
fn parquet_passes_through_with_its_types() {
    let server = echo();
    let prompt = "{{ user.name }} {{ user.rating }} {{ rating }} {{ at }} {{ tags[0] | default('-') }}";
    let project = Project::new().spec(&spec("parquet", prompt, "", "parquet")).env("OLLAMA_HOST", &server.url());
    let batch = parquet();
    let file = std::fs::File::create(project.path("rows.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(asked(&server), ["  0.1  -", "Ann 4.7 4.7 2024-07-01T14:00:00+02:00 x"]);
    let file = std::fs::File::open(project.path("out/label.parquet")).unwrap();
    let made = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    for name in ["user", "tags", "rating", "at"] {
        let (was, is) = (batch.column_by_name(name).unwrap(), made.column_by_name(name).unwrap());
        assert_eq!(is.data_type(), was.data_type(), "{name}");
        assert_eq!(is.to_data(), was.to_data(), "{name}");
    }
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.run(&["diff", "out/label.parquet", "out/label.parquet"]).exits(0);
    let told = project.run(&["explain", "out/label.parquet", "a"]).exits(0).stdout;
    assert!(told.contains("4.7") && !told.contains("4.69999"), "{told}");
}

#[test]
fn no_column_name_hides_the_others() {
    let server = echo();
    let rows = [["id", "row", "loop", "Tweet text"], ["a", "17", "l", "hello"], ["b", "18", "m", "there"]];
    let prompt = "{{ row }} {{ row[\"Tweet text\"] }} {% for i in range(1) %}{{ row.loop }}{% endfor %}";
    let project = Project::new().spec(&spec("csv", prompt, "", "csv")).csv("rows.csv", &rows);
    let project = project.env("OLLAMA_HOST", &server.url());
    project.run(&["validate", "pipeline.toml"]).exits(0);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(asked(&server), ["17 hello l", "18 there m"]);
    // The one name that the language of templates keeps.
    let own = [["id", "self"], ["a", "me"]];
    let project = Project::new().spec(&spec("csv", "{{ id }} {{ self }}", "", "csv")).csv("rows.csv", &own);
    project.run(&["validate", "pipeline.toml"]).exits(2).says("write `row[\"self\"]` for the column");
    project.write("pipeline.toml", spec("csv", "{{ id }} {{ row.self }}", "", "csv"));
    let project = project.env("OLLAMA_HOST", &server.url());
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(asked(&server).contains(&"a me".to_owned()));
}

#[test]
fn columns_can_be_parts_of_nested_ones() {
    let server = echo();
    let columns =
        r#"columns = ["id", { from = "user.name", name = "author" }, { from = "user.n", name = "n" }, "tags[0]"]"#;
    let text = spec("jsonl", "{{ author }} {{ row['tags[0]'] }}", "when = \"n < 10\"", "jsonl");
    let project = Project::new().spec(&text.replace("key = \"id\"", &format!("key = \"id\"\n{columns}")));
    let project = project.file("rows.jsonl", POSTS).env("OLLAMA_HOST", &server.url());
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(asked(&server), ["Ann x"]);
    let rows = project.text("out/label.jsonl");
    assert!(rows.starts_with(r#"{"id":"a","author":"Ann","n":3,"tags[0]":"x","#), "{rows}");
    for (condition, expected) in [
        ("author == 'Bo'", ["b"].as_slice()),
        ("n > 3 or author == 'Ann'", &["a", "b"]),
        ("row['tags[0]'] == 'x' and text == 'one'", &["a"]),
        ("user.name == 'Bo' and author is not none", &["b"]),
    ] {
        let source = format!("key = \"id\"\n{columns}\nwhere = \"{condition}\"");
        project.write("pipeline.toml", text.replace("key = \"id\"", &source));
        project.run(&["run", "pipeline.toml"]).exits(0);
        let rows = project.text("out/label.jsonl");
        let ids: Vec<&str> = rows.lines().map(|row| &row[7..8]).collect();
        assert_eq!(ids, expected, "{condition}");
    }
    let wrong =
        text.replace("key = \"id\"", "key = \"id\"\ncolumns = [\"id\", { from = \"user.nmae\", name = \"author\" }]");
    project.write("pipeline.toml", wrong);
    project.run(&["validate", "pipeline.toml"]).exits(2).says("`user.nmae` leads nowhere").says("did you mean `name`?");
}

#[test]
fn json_columns_are_json_in_jsonl_outputs() {
    let server = echo();
    let project = posts("{{ user.name }}", "", "jsonl").env("OLLAMA_HOST", &server.url());
    project.run(&["run", "pipeline.toml"]).exits(0);
    let rows = project.text("out/label.jsonl");
    let user = r#""user":{"name": "Ann", "n": 3, "big": 12345678901234567890},"tags":["x", "y"],"text":"one""#;
    assert!(rows.starts_with(&format!("{{\"id\":\"a\",{user}")), "{rows}");
    // The output read again is the same.
    let again =
        spec("jsonl", "{{ user.name }}", "", "jsonl").replace("path = \"rows.jsonl\"", "path = \"again.jsonl\"");
    project.write("again.jsonl", &rows);
    let again =
        again.replace("key = \"id\"", "key = \"id\"\ncolumns = [\"id\", \"user\", \"tags\", \"text\", \"score\"]");
    project.write("pipeline.toml", again);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.text("out/label.jsonl"), rows);
    project.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn what_json_lacks_is_counted_once_whatever_reads_the_file() {
    let rows = "{\"id\": \"a\", \"text\": \"cut \\ud83d\", \"score\": NaN}\n{\"id\": \"b\", \"text\": \"\\udc00\", \"score\": 2}\n";
    for (name, contents, more) in [
        ("rows.jsonl", rows.to_owned(), ""),
        ("rows.json", format!("[{}]", rows.trim_end().replace('\n', ",")), ""),
        ("rows.jsonl", rows.to_owned(), "sample = 2\nwhere = \"id != 'z'\""),
    ] {
        let spec = format!(
            "models.m = {{ provider = \"mock\", model = \"any\" }}\noutputs.o = {{ input = \"tone\", path = \"o.csv\" }}\n\
             [stages.tone]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"m\"]\nprompt = \"{{{{ text }}}}\"\n\
             [sources.rows]\ntype = \"file\"\npath = \"{name}\"\nkey = \"id\"\n{more}\n"
        );
        let ran = Project::new().spec(&spec).file(name, contents).run(&["run", "pipeline.toml"]).exits(0);
        assert!(ran.stderr.contains("changed characters or numbers: 3\n"), "{name} {more}\n{}", ran.stderr);
    }
}
