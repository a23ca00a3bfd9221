//! Corrections: values of people replace answers in the table, survive every run, and send no call.

use serde_json::{Value, json};

use crate::project::{Project, Ran};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

const SPEC: &str = r#"name = "tones"
models.a = { provider = "ollama", model = "one" }
sources.remarks = { type = "file", path = "remarks.csv", key = "id" }

[stages.tone]
type = "analysis"
input = "remarks"
models = ["a"]
prompt = "What is the tone? {{ text }}"
max_attempts = 1
max_failed = 9
output.tone = { type = "string", enum = ["glad", "sad"] }
output.score = { type = "integer", minimum = 1, maximum = 5 }

[stages.glad]
type = "filter"
input = "tone"
when = "tone == 'glad'"

[outputs.tone]
input = "tone"
path = "tone.csv"

[outputs.glad]
input = "glad"
path = "glad.csv"
"#;

/// Every remark is glad, but the last one has no answer.
fn server() -> Server {
    let script = |asked: &Asked, _: usize| match asked.question().contains("Bad") {
        true => Say::Text("I can't say.".to_owned()),
        false => Say::Json(json!({ "tone": "glad", "score": 3 })),
    };
    Server::new().models(&["one"]).script(script).start()
}

fn project(server: &Server, spec: &str) -> Project {
    let remarks = "id,text\nr1,Hail\nr2,Alas\nr3,Bad\n";
    Project::new().spec(spec).file("remarks.csv", remarks).env("OLLAMA_HOST", &server.url())
}

fn corrected(spec: &str) -> String {
    spec.replace("max_attempts = 1\n", "max_attempts = 1\ncorrections = \"corrections.csv\"\n")
}

#[track_caller]
fn validated(project: &Project, code: i32) -> Ran {
    project.run(&["validate", "pipeline.toml"]).exits(code)
}

#[test]
fn corrections_replace_answers_and_send_no_call() {
    let server = server();
    let project = project(&server, SPEC);
    project.run(&RUN).exits(0);
    let before = project.text("tone.csv");
    let sent = server.requests_of("one");
    let corrections =
        "row,column,value,by,reason\nr2,tone,Sad,Anna,irony\nr1,score,,Ben,\nr3,tone,sad,Anna,\nr3,score,2,Anna,\n";
    project.write("corrections.csv", corrections);
    project.write("pipeline.toml", corrected(SPEC));
    for _ in 0..2 {
        project.run(&RUN).exits(0);
    }
    // Only the failed row is asked again, as without corrections.
    assert!(server.asked()[sent..].iter().all(|asked| asked.question().contains("Bad")));
    let table = "id,text,tone,score,tone_source,tone_error\nr1,Hail,glad,,score (Ben),\nr2,Alas,sad,3,tone (Anna),\n\
                 r3,Bad,sad,2,\"tone (Anna), score (Anna)\",\n";
    assert_eq!(project.text("tone.csv"), table);
    let glad = "id,text,tone,score,tone_source,tone_error\nr1,Hail,glad,,score (Ben),\n";
    assert_eq!(project.text("glad.csv"), glad, "stages that read the answers see the corrections");
    let text = project.text("pipeline.toml.lock");
    assert!(text.contains("corrections = \""), "{text}");
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.write("corrections.csv", corrections.replace("irony", "a joke"));
    let verified = project.run(&["verify", "pipeline.toml"]).exits(5);
    assert!(verified.stdout.contains("stages.tone.corrections"), "{}", verified.stdout);
    // The order of the file does not matter.
    let moved =
        "row,column,value,by,reason\nr3,score,2,Anna,\nr3,tone,sad,Anna,\nr1,score,,Ben,\nr2,tone,Sad,Anna,irony\n";
    project.write("corrections.csv", moved);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    let explained = project.run(&["explain", "tone.csv", "r2", "tone"]).exits(0).stdout;
    assert!(
        explained.contains("corrected by Anna, tone = \"Sad\": irony") && explained.contains("glad"),
        "{explained}"
    );
    let explained = project.run(&["explain", "tone.csv", "r1", "--format", "json"]).exits(0).json();
    assert_eq!(explained["explanation"]["stages"][0]["corrections"][0]["value"], Value::Null);
    // Without corrections, the table is the same as before.
    project.write("pipeline.toml", SPEC);
    project.run(&RUN).exits(0);
    assert_eq!(project.text("tone.csv"), before);
}

#[test]
fn corrections_survive_fresh_answers_and_replays() {
    let server = server();
    let project = project(&server, &corrected(SPEC)).file("corrections.csv", "row,column,value\nr2,tone,sad\n");
    project.run(&RUN).exits(0);
    let table = project.text("tone.csv");
    assert!(table.contains("r2,Alas,sad,3,tone,\n"), "{table}");
    project.run(&["run", "pipeline.toml", "--fresh"]).exits(0);
    assert_eq!(project.text("tone.csv"), table);
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0);
    assert_eq!(project.text("tone.csv"), table);
}

#[test]
fn each_model_and_replicate_has_its_own_corrections() {
    let server =
        Server::new().models(&["one", "two"]).script(|_, _| Say::Json(json!({ "tone": "glad", "score": 3 }))).start();
    let wide = corrected(SPEC)
        .replace("models.a =", "models.b = { provider = \"ollama\", model = \"two\" }\nmodels.a =")
        .replace("models = [\"a\"]", "models = [\"a\", \"b\"]\nfanout = true")
        .replace("when = \"tone ==", "when = \"tone_a ==");
    let one = project(&server, &wide).file("corrections.csv", "row,column,value,by\nr2,tone_b,sad,Anna\n");
    one.run(&RUN).exits(0);
    let header = "id,text,tone_a,score_a,tone_source_a,tone_error_a,tone_b,score_b,tone_source_b,tone_error_b\n";
    let text = one.text("tone.csv");
    assert!(text.starts_with(header) && text.contains("r2,Alas,glad,3,,,sad,3,tone_b (Anna),\n"), "{text}");
    let long = wide
        .replace("fanout = true", "fanout = true\nlayout = \"long\"\nreplicates = 2\nmax_attempts = 2")
        .replace("max_attempts = 1\n", "")
        .replace("tone_a", "tone");
    let corrections = "row,column,model,replicate,value\nr2,tone,b,2,sad\nr1,score,,,1\n";
    let two = project(&server, &long).file("corrections.csv", corrections);
    two.run(&RUN).exits(0);
    let text = two.text("tone.csv");
    let sad: Vec<&str> = text.lines().filter(|line| line.contains("sad")).collect();
    assert_eq!(sad, ["r2,Alas,2,b,sad,3,tone,"]);
    assert_eq!(
        text.lines().filter(|line| line.starts_with("r1") && line.contains("glad,1,score,")).count(),
        4,
        "{text}"
    );
}

#[test]
fn a_source_without_a_key_is_corrected_by_row_numbers() {
    let server = server();
    let spec = corrected(SPEC).replace(", key = \"id\"", "").replace("max_failed", "chunk_size = 1\nmax_failed");
    let project = project(&server, &spec).file("corrections.csv", "row,column,value\n2,tone,sad\n");
    project.run(&RUN).exits(0);
    let text = project.text("tone.csv");
    assert!(text.contains("r1,Hail,glad,3,,\nr2,Alas,sad,3,tone,\n"), "{text}");
}

#[test]
fn corrections_by_row_numbers_are_left_out_where_rows_have_other_numbers() {
    let server = server();
    let spec = corrected(SPEC).replace(", key = \"id\"", "");
    let project = project(&server, &spec).file("corrections.csv", "row,column,value\n1,tone,sad\n2,tone,sad\n");
    let warning = "warning: tone: corrections.csv names rows by their numbers among all rows, so it corrects none";
    project.run(&["run", "pipeline.toml", "--rows", "2:3"]).exits(0).says(warning);
    let text = project.text("tone.rows-2-3.csv");
    assert!(text.contains("r2,Alas,glad,3,,\n"), "{text}");
    project.run(&["run", "pipeline.toml", "--sample", "2"]).exits(0).says(warning);
    assert!(!project.text("tone.sample-2.csv").contains(",sad,"));
    for (rows, file) in [("1:2", "tone.rows-1-2.csv"), ("1:", "tone.rows-1-end.csv")] {
        let ran = project.run(&["run", "pipeline.toml", "--rows", rows]).exits(0);
        assert!(!ran.stderr.contains("names rows by their numbers"), "{}", ran.stderr);
        assert!(project.text(file).contains("r1,Hail,sad,3,tone,\nr2,Alas,sad,3,tone,\n"), "{}", project.text(file));
    }
}

#[test]
fn corrections_are_checked_like_answers() {
    let server = server();
    let project = project(&server, &corrected(SPEC));
    let cases = [
        (
            "row,column,value\nr1,tone,sat\n",
            "corrections.csv: row 1 (r1): `tone` must be one of \"glad\", \"sad\", not \"sat\"",
        ),
        ("row,column,value\nr1,tone,sat\n", "did you mean `sad`?"),
        (
            "row,column,value\nr1,tone,sad\nr1,score,9\n",
            "row 2 (r1): `score` must be a whole number from 1 to 5, not \"9\"",
        ),
        ("row,column,value\nr1,score,many\n", "must be a whole number"),
        ("row,column,value\nr1,text,Hello\n", "`text` is a column of the input, and only answers are corrected"),
        ("row,column,value\nr1,tone_error,no\n", "`tone_error` is not an answer"),
        ("row,column,value\nr1,tone,sad\nr1,tone,glad\n", "row 2 (r1): row 1 corrects `tone` of the same row"),
        ("row,column\nr1,tone\n", "has no column `value`"),
        ("row,column,value,who\nr1,tone,sad,x\n", "has the unknown column `who`"),
        ("row,column,value\n,tone,sad\n", "row 1 has no row"),
        ("row,column,value,replicate\nr1,tone,sad,one\n", "`replicate` is \"one\", not a number from 1"),
    ];
    let ran = validated(&project, 2);
    assert!((ran.stdout + &ran.stderr).contains("there is no file `corrections.csv`"));
    for (corrections, message) in cases {
        project.write("corrections.csv", corrections);
        let ran = validated(&project, 2);
        let text = ran.stdout + &ran.stderr;
        assert!(text.contains(message), "{corrections}: {text}");
    }
}

#[test]
fn corrections_of_what_is_gone_are_warnings() {
    let server = server();
    let corrections = "id,column,value,model\nr9,tone,sad,\nr1,mood,sad,\nr1,tone,sad,c\nr2,tone,sad,\n";
    let project = project(&server, &corrected(SPEC)).file("corrections.csv", corrections);
    let ran = validated(&project, 0);
    let text = ran.stdout + &ran.stderr;
    assert!(text.contains("corrections.csv: row 2 (r1): the stage has no column `mood`"), "{text}");
    assert!(text.contains("corrections.csv: row 3 (r1): the stage has no model `c`"), "{text}");
    let warning = "warning: tone: corrections.csv corrects row `r9`, which its input does not have";
    project.run(&RUN).exits(0).says(warning);
    project.run(&RUN).exits(0).says(warning);
    assert!(project.text("tone.csv").contains("r2,Alas,sad"));
}

/// The answers beside human codes whose columns have other names, then some rows of these, and sentences of them.
const BEHIND: &str = r#"
[sources.human]
type = "file"
path = "human.csv"
key = "of"

[stages.coded]
type = "join"
input = "tone"
with = "human"
on = ["id"]
with_on = ["of"]

[stages.kept]
type = "filter"
input = "coded"
when = "id != 'r1' and replicate == 2"

[stages.drawn]
type = "sample"
input = "kept"
n = 2

[stages.turned]
type = "join"
input = "human"
with = "glad"
on = ["of"]
with_on = ["id"]
duplicates = "first"

[outputs.coded]
input = "coded"
path = "coded.csv"

[outputs.drawn]
input = "drawn"
path = "drawn.csv"

[outputs.turned]
input = "turned"
path = "turned.csv"
"#;

#[test]
fn rows_behind_transforms_are_explained() {
    let server = server();
    let spec = format!("{}{BEHIND}", corrected(SPEC)).replace("[stages.tone]\n", "[stages.tone]\nreplicates = 2\n");
    let project = project(&server, &spec)
        .file("corrections.csv", "row,column,value,by\nr2,tone,sad,Anna\n")
        .file("human.csv", "of,tone,other\nr2,sad,yes\nr1,glad,no\n");
    project.run(&RUN).exits(0);
    let explained = |args: &[&str]| {
        let ran = project.run(&[&["explain"], args, &["--format", "json"]].concat()).exits(0);
        ran.json()["explanation"].clone()
    };
    // A join: the answer and its correction are those of the second replicate only.
    let coded = explained(&["coded.csv", "#4"]);
    let [tone, human] = [1, 0].map(|input| coded["made_from"][input].clone());
    assert_eq!((&tone["table"], &tone["equal_rows"]), (&json!("tone"), &json!(1)), "{coded:#}");
    let stage = &tone["explanation"]["stages"][0];
    assert_eq!(stage["corrections"][0]["by"], "Anna", "{coded:#}");
    assert_eq!((stage["rows"].as_array().map(Vec::len), &stage["rows"][0]["cells"]["replicate"]), (Some(1), &json!(2)));
    assert_eq!(stage["rows"][0]["cells"]["tone_source"], "tone (Anna)");
    assert!(stage["rows"][0]["calls"][0]["reply"].as_str().is_some_and(|reply| reply.contains("glad")));
    let human = &human["explanation"];
    assert_eq!((&human["source"], &human["key"], &human["row"]), (&json!("human"), &json!("r2"), &json!(1)));
    // One column: only the table that it comes from, also under its other name there.
    let column = explained(&["coded.csv", "#4", "tone_human"]);
    assert_eq!(column["made_from"].as_array().map(Vec::len), Some(1), "{column:#}");
    let from = &column["made_from"][0]["explanation"];
    assert_eq!((&from["column"], &from["input"]), (&json!("tone"), &json!("sad")));
    let column = explained(&["coded.csv", "#4", "tone"]);
    assert_eq!(column["made_from"][0]["explanation"]["stages"][0]["corrections"][0]["value"], "sad");
    let text = project.run(&["explain", "coded.csv", "#4", "tone"]).exits(0).stdout;
    assert!(text.contains("it was copied from `tone`") && text.contains("corrected by Anna"), "{text}");
    // A row without a match.
    let alone = project.run(&["explain", "coded.csv", "#6"]).exits(0).stdout;
    assert!(alone.contains("coded copied no row of human"), "{alone}");
    // A sample of a filter of the join.
    let drawn = explained(&["drawn.csv", "#1", "tone"]);
    let mut behind = &drawn;
    for table in ["kept", "coded", "tone"] {
        assert_eq!(behind["made_from"][0]["table"], table, "{drawn:#}");
        behind = &behind["made_from"][0]["explanation"];
    }
    assert_eq!(behind["stages"][0]["corrections"][0]["by"], "Anna");
    // The stage is behind the other side of a join, and behind a filter.
    project.run(&["explain", "turned.csv", "r1", "--model", "b"]).exits(2).says("no stage asked a model `b`");
    let turned = project.run(&["explain", "turned.csv", "r1", "score", "--replicate", "1"]);
    let turned = turned.exits(0).stdout;
    assert!(turned.contains("turned copied a row of glad") && turned.contains("stage tone"), "{turned}");
}

#[test]
fn runs_of_older_versions_are_explained_up_to_the_join() {
    let server = server();
    let project = project(&server, SPEC);
    project.run(&RUN).exits(0);
    for file in project.files(".fanfold/runs").into_iter().filter(|file| file.ends_with("manifest.json")) {
        let mut manifest: Value = serde_json::from_str(&project.text(&file)).expect("JSON");
        manifest["reshapes"]["glad"].as_object_mut().expect("an entry").remove("copies").expect("a new field");
        manifest.as_object_mut().expect("an object").remove("checksum").expect("a new field");
        project.write(&file, manifest.to_string());
    }
    let explained = project.run(&["explain", "glad.csv", "r1", "--format", "json"]).exits(0).json();
    assert_eq!(explained["explanation"]["source"], "glad");
    assert_eq!(explained["explanation"].get("made_from"), None);
}
