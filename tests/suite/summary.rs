//! The summary of a run: label counts, failed rows, calls and costs. Standard error, the JSON of `run --format json` and the
//! manifest have the same numbers, even if the run was interrupted.

use serde_json::{Value, json};

use crate::project::{Project, Ran};
use crate::server::{Say, Server};

const RUN: [&str; 4] = ["run", "pipeline.toml", "--format", "json"];
const ROWS: usize = 12;

/// Two models, twelve rows, four rows per part; a token costs a cent.
fn spec(budget: &str, stage: &str) -> String {
    let model = |name: &str, id: &str| {
        format!(
            "[models.{name}]\nprovider = \"ollama\"\nmodel = \"{id}\"\nprice = {{ input = 10000.0, output = 10000.0 }}\n"
        )
    };
    format!(
        r#"name = "tones"
{budget}
{}{}
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
[stages.tone]
type = "analysis"
input = "speeches"
models = ["a", "b"]
prompt = "What is it? {{{{ text }}}}"
chunk_size = 4
max_attempts = 2
max_failed = 12
{stage}
[stages.tone.output]
tone = {{ type = "string", enum = ["glad", "sad", "angry"], nullable = true }}
war = {{ type = "boolean" }}
why = {{ type = "string" }}
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#,
        model("a", "one"),
        model("b", "two")
    )
}

/// Model one answers `sad` to every third text and null to one text; model two answers `glad`. For a text with `Bad`, the reply
/// is not JSON.
fn server() -> Server {
    let server = Server::new().models(&["one", "two"]).script(|asked, _| {
        let number = |n: usize| asked.question().contains(&format!("Text {n}."));
        let of = |numbers: &[usize]| numbers.iter().any(|n| number(*n));
        let tone = match asked.model.as_str() {
            "one" if of(&[0, 3, 6, 9]) => json!("sad"),
            "one" if of(&[1]) => Value::Null,
            _ => json!("glad"),
        };
        match asked.question().contains("Bad") {
            true => Say::Text("I can't say.".to_owned()),
            false => Say::Json(json!({ "tone": tone, "war": of(&[2, 3]), "why": "because" })),
        }
    });
    server.start()
}

fn project(server: &Server, spec: &str, bad: &[usize]) -> Project {
    let mut rows = vec![["id".to_owned(), "text".to_owned()]];
    let text = |n: usize| format!("{}Text {n}.", if bad.contains(&n) { "Bad " } else { "" });
    rows.extend((0..ROWS).map(|n| [format!("k{n:02}"), text(n)]));
    Project::new().env("OLLAMA_HOST", &server.url()).spec(spec).csv("data.csv", &rows)
}

/// The stage in the JSON of a run.
fn stage(ran: &Ran) -> Value {
    let found: Value = ran.json();
    found["stages"]["tone"].clone()
}

/// The stage in the manifest of the project's only run.
fn in_manifest(project: &Project) -> Value {
    let files = project.files(".fanfold/runs");
    let path = files.iter().find(|file| file.ends_with("manifest.json")).expect("a run has a manifest");
    let manifest: Value = serde_json::from_str(&project.text(path)).expect("a manifest is JSON");
    manifest["stages"]["tone"].clone()
}

fn counts(share: &Value) -> Value {
    let labels = share["labels"].as_object().expect("labels").iter();
    let labels: serde_json::Map<String, Value> =
        labels.map(|(label, told)| (label.clone(), told.get("count").unwrap_or(told).clone())).collect();
    json!({ "labels": labels, "null": share["null"] })
}

#[test]
fn labels_are_counted_for_each_model_alike_in_one_run_and_in_many() {
    let server = server();
    let whole = project(&server, &spec("", "fanout = true"), &[]);
    let ran = whole.run(&RUN).exits(0);
    for line in [
        "24 calls sent; ",
        "tone_a  glad   7/11 (63.6 %, 95 % sampling interval 35.4 to 84.8 %)",
        "        sad    4/11 (36.4 %, 95 % sampling interval 15.2 to 64.6 %)",
        "        angry  0/11 (0 %, 95 % sampling interval 0 to 25.9 %)",
        "        null   1\n",
        "war_a   2/12 (16.7 %",
        "tone_b  glad   12/12 (100 %",
        "war_b   2/12",
    ] {
        assert!(ran.stderr.contains(line), "{line}\n{}", ran.stderr);
    }
    // Text `n` of model one: null, then `sad` four times; model two says `glad`.
    let ran = ran.says("why_a   7 characters, median 7 (12 texts)");
    let ran = ran.says("tone: a and b agree on 63.6 % of 11 rows, Cohen's kappa 0.00");
    let ran = ran.says("war: a and b agree on 100 % of 12 rows, Cohen's kappa 1.00");
    let between = &stage(&ran)["agreement"]["war"]["models"];
    assert_eq!((&between["equal"], &between["coefficient"]), (&json!(12), &json!("Cohen's kappa")));
    assert_eq!(stage(&ran)["columns"]["why_b"]["characters"]["median"], json!(7.0));
    let shares = &stage(&ran)["shares"];
    assert_eq!(counts(&shares["tone_a"]), json!({ "labels": { "glad": 7, "sad": 4, "angry": 0 }, "null": 1 }));
    // Free text is not a label.
    assert_eq!(shares.as_object().expect("shares").len(), 4);
    let low = shares["tone_a"]["labels"]["sad"]["low"].as_f64().expect("a number");
    assert!((low - 0.1517).abs() < 1e-4, "{low}");
    for (column, share) in shares.as_object().expect("shares") {
        assert_eq!(counts(share), in_manifest(&whole)["shares"][column]);
    }
    // The budget stops the run twice; finished parts are kept.
    let stopped = project(&server, &spec("budget = { calls = 10 }", "fanout = true"), &[]);
    stopped.run(&RUN).exits(4);
    stopped.run(&RUN).exits(4);
    let ended = stopped.run(&RUN).exits(0);
    assert_eq!(stage(&ended)["shares"], *shares);
    assert_eq!(stage(&ended)["needed"], json!(24));
    // First every row is kept, then every answer comes from the ledger.
    let again = whole.run(&RUN).exits(0).says("every answer is reused: 0 calls sent, 12 rows kept from before (");
    assert_eq!((&stage(&again)["shares"], &stage(&again)["usd"]), (shares, &json!(0.0)));
    whole.write("pipeline.toml", spec("", "fanout = true\nlayout = \"long\""));
    let long = whole.run(&RUN).exits(0).says("every answer is reused: 0 calls sent, 24 from the ledger (");
    let long = &stage(&long)["shares"];
    for (name, wide) in [("tone (a)", "tone_a"), ("war (a)", "war_a"), ("tone (b)", "tone_b"), ("war (b)", "war_b")] {
        assert_eq!(long[name], shares[wide], "{name}");
    }
}

#[test]
fn failures_name_the_first_rows_and_retries_and_costs_are_shown() {
    let server = server();
    let project = project(&server, &spec("", "fanout = true"), &[11, 8, 7, 5, 4, 2, 1]);
    let ran = project.run(&RUN).exits(0);
    let stage = stage(&ran);
    assert_eq!(stage["errors"]["malformed"]["count"], json!(14));
    assert_eq!(stage["errors"]["malformed"]["rows"], json!(["k01", "k02", "k04", "k05", "k07"]));
    let mut told = stage.clone();
    let mut manifest = in_manifest(&project);
    // Only the intervals and what is read from the tables are not in the manifest.
    for only in ["columns", "agreement"] {
        told.as_object_mut().expect("a stage").remove(only).expect("what is read from the tables");
    }
    (told["shares"], manifest["shares"]) = (Value::Null, Value::Null);
    assert_eq!(told, manifest);
    // The cells of a failed row are not answers, not even null.
    assert_eq!(stage["shares"]["tone_b"]["of"], json!(5));
    assert_eq!(stage["shares"]["tone_b"]["null"], json!(0));
    let ran =
        ran.says("14 calls failed as malformed, rows k01, k02, k04, k05, k07, …: ").says("24 calls sent, 14 retries; ");
    let tokens =
        stage["prompt_tokens"].as_u64().expect("tokens") + stage["completion_tokens"].as_u64().expect("tokens");
    let usd = tokens as f64 / 100.0;
    assert!((stage["usd"].as_f64().expect("dollars") - usd).abs() < 1e-9);
    let usd = stage["usd"].as_f64().expect("dollars");
    assert!(usd > 1.0);
    ran.says(" out, ").says(" USD\n");
}

#[test]
fn the_choices_and_scales_of_a_survey_are_counted() {
    let spec = r#"name = "poll"
[providers.lab]
type = "mock"
pick = "first"
[models.a]
provider = "lab"
model = "m"
[sources.people]
type = "file"
path = "people.csv"
key = "id"
[stages.talk]
type = "survey"
input = "people"
models = ["a"]
questions = [
    { id = "home", text = "Where?", options = ["town", "country"] },
    { id = "glad", text = "How glad?", type = "scale", min = 1, max = 5 },
    { id = "why", text = "Why?" },
]
[outputs.talk]
input = "talk"
path = "out/talk.parquet"
"#;
    let project = Project::new().spec(spec).csv("people.csv", &[["id"], ["p1"], ["p2"], ["p3"]]);
    let ran = project.run(&RUN).exits(0).says("home  town     3/3 (100 %").says("glad  1  2/3 (66.7 %");
    let talk: Value = ran.json();
    let shares = &talk["stages"]["talk"]["shares"];
    assert_eq!(counts(&shares["home"]), json!({ "labels": { "town": 3, "country": 0 }, "null": 0 }));
    let glad = json!({ "labels": { "1": 2, "2": 0, "3": 0, "4": 0, "5": 1 }, "null": 0 });
    assert_eq!(counts(&shares["glad"]), glad);
    assert_eq!(shares.as_object().expect("shares").len(), 2);
}

#[test]
fn failures_of_one_kind_are_shown_by_message() {
    let server = Server::new().models(&["one", "two"]).script(|asked, _| {
        let number = |n: usize| asked.question().contains(&format!("Text {n}."));
        let refused =
            |message: &str| Say::Status { code: 400, retry_after: None, body: json!({ "error": message }).to_string() };
        match asked.model.as_str() {
            "one" if number(1) || number(5) || number(7) => refused("the image of 17 bytes is broken"),
            "one" if number(2) => refused("the image of 4 bytes is broken"),
            "one" if number(3) || number(4) => refused("this topic is not allowed"),
            _ => Say::Json(json!({ "tone": "glad", "war": false, "why": "so" })),
        }
    });
    let server = server.start();
    let project = project(&server, &spec("", "fanout = true"), &[]);
    let ran = project.run(&RUN).exits(0);
    let ran = ran.says("4 calls failed as rejected, rows k01, k02, k05, k07: ").says("the image of 17 bytes is broken");
    let ran = ran.says("2 calls failed as rejected, rows k03, k04: ").says("this topic is not allowed");
    let summary: Value = ran.json();
    let rejected = &summary["stages"]["tone"]["errors"]["rejected"];
    assert_eq!((&rejected["count"], &rejected["rows"]), (&json!(6), &json!(["k01", "k02", "k03", "k04", "k05"])));
    assert_eq!(rejected["messages"][1]["rows"], json!(["k03", "k04"]));
    // A replay only repeats the failures, unless it may ask.
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    let again = project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0);
    again.says("to retry the failed rows: fanfold run pipeline.toml --replay calls.parquet --replay-mode prefer\n");
}

#[test]
fn replicates_are_compared_and_their_intervals_count_rows() {
    let server = server();
    let project = project(&server, &spec("", "fanout = true\nlayout = \"long\"\nreplicates = 2"), &[]);
    let ran = project.run(&RUN).exits(0);
    let ran = ran.says("tone (a): all 2 alike: 100 % of 11 rows").says("war (b): all 2 alike: 100 % of 12 rows");
    let ran = ran.says("7 characters, median 7 (24 texts)");
    let stage = stage(&ran);
    let sad = &stage["shares"]["tone (a)"]["labels"]["sad"];
    // 8 of 22 answers are those of 4 of 11 rows.
    let (low, high) = (sad["low"].as_f64().expect("a number"), sad["high"].as_f64().expect("a number"));
    assert!((low - 0.1517).abs() < 1e-4 && (high - 0.6462).abs() < 1e-4, "{low} {high}");
    assert_eq!((&sad["count"], &stage["agreement"]["tone"]["replicates"]["a"]["rows"]), (&json!(8), &json!(11)));
}

#[test]
fn stages_that_combine_answers_and_fill_columns_have_lines_too() {
    let server = Server::new().models(&["one"]).start();
    let text = r#"
models.one = { provider = "ollama", model = "one" }
sources.letters = { type = "inline", rows = [{ id = "a", text = "Bonn", town = "Bonn" }, { id = "b", text = "Ulm" }], key = "id" }
outputs.all = { input = "all", path = "all.csv" }

[stages.a_stage_with_a_rather_long_name]
type = "fill-missing"
input = "letters"
models = ["one"]
text_column = "text"
fields.town = { type = "string", column = "town" }
fields.a_column_with_a_rather_long_name = { type = "string", enum = ["war", "peace"] }

[stages.all]
type = "reduce"
input = "a_stage_with_a_rather_long_name"
models = ["one"]
prompt = "{% for row in rows %}{{ row.text }} {{ row.computed_town }}{% endfor %}"
output.gist = { type = "string" }
"#;
    let project = Project::new().env("OLLAMA_HOST", &server.url()).file("pipeline.toml", text);
    let ran = project.run(&["run", "pipeline.toml"]).exits(0);
    for line in [
        "                  computed_town_source          one 1/2 (50 %), original 1/2 (50 %)\n",
        "                  computed_a_column_with_a_rather_long_name\n                    war",
        "(1 text)",
    ] {
        assert!(ran.stderr.contains(line), "{line:?}\n{}", ran.stderr);
    }
    let summary = ran.stderr.split("\n\n").next().unwrap_or_default();
    assert!(summary.find("  computed_town  ") < summary.find("  computed_town_source  "), "in the order of the table");
}

#[test]
fn a_stage_without_typed_answers_has_a_line_for_its_text() {
    let server = Server::new().models(&["one", "two"]).script(|_, _| Say::Text("peace".to_owned())).start();
    let typed = "[stages.tone.output]\ntone = { type = \"string\", enum = [\"glad\", \"sad\", \"angry\"], nullable = true }\nwar = { type = \"boolean\" }\nwhy = { type = \"string\" }\n";
    for (form, lines) in [
        ("fanout = false", &["tone  5 characters, median 5 (12 texts)"][..]),
        ("fanout = true\nreplicates = 2", &["tone_a  5 characters", "tone_b  5 characters, median 5 (24 texts)"]),
        (
            "fanout = true\nlayout = \"long\"",
            &["tone (a)  5 characters", "tone (b)  5 characters, median 5 (12 texts)"],
        ),
    ] {
        let text = spec("", form).replace(typed, "");
        assert!(!text.contains("output]"), "{text}");
        let ran = project(&server, &text, &[]).run(&["run", "pipeline.toml"]).exits(0);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        for line in lines {
            assert!(ran.stderr.contains(line), "{line}\n{}", ran.stderr);
        }
    }
}
