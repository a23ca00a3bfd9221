//! The results of a run: correct answers in the correct columns and order, for any number of lanes and parts.

use std::collections::BTreeSet;

use arrow_schema::DataType;
use serde_json::{Value, json};

use crate::project::{Cell, Project};
use crate::recipe::{TYPED, project, rows, spec, spec_with, told};
use crate::server::{Dialect, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

#[test]
fn text_answers_are_next_to_their_rows() {
    let server = Server::new().start();
    let project = project(&server, &spec(r#"models = ["llama"]"#), 12);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.columns(), ["id", "year", "text", "tone", "tone_error"]);
    let given: Vec<String> = rows(12)[1..].iter().map(|row| row[2].clone()).collect();
    assert_eq!(table.texts("text"), given);
    for (text, tone) in given.iter().zip(table.texts("tone")) {
        assert_eq!(tone, told(&server, "llama3.2", text));
    }
    assert_eq!(table.nulls("tone_error"), 12);
    assert_eq!(server.requests(), 12);
    assert!(
        table.metadata().iter().any(|(_, value)| value.contains("tones")),
        "the spec's name: {:?}",
        table.metadata()
    );
}

#[test]
fn typed_answers_have_their_types_and_the_server_gets_the_schema() {
    let server = Server::new().start();
    let stage = r#"models = ["llama"]
[stages.tone.output]
label = { type = "string", enum = ["positive", "neutral", "negative"] }
score = { type = "integer", minimum = 0, maximum = 10 }
share = { type = "number", minimum = 0, maximum = 1 }
calm = { type = "boolean" }
"#;
    let project = project(&server, &spec(stage), 9);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.columns(), ["id", "year", "text", "label", "score", "share", "calm", "tone_error"]);
    let types = ["label", "score", "share", "calm"].map(|column| table.type_of(column).clone());
    assert_eq!(types, [DataType::Utf8, DataType::Int64, DataType::Float64, DataType::Boolean]);
    for (row, text) in table.texts("text").iter().enumerate() {
        let told: Value = serde_json::from_str(&told(&server, "llama3.2", text)).expect("an object");
        assert_eq!(table.strings("label")[row].as_deref(), told["label"].as_str());
        assert_eq!(table.ints("score")[row], told["score"].as_i64());
        assert_eq!(table.floats("share")[row], told["share"].as_f64());
        assert_eq!(table.bools("calm")[row], told["calm"].as_bool());
    }
    for asked in server.asked() {
        let schema = asked.schema.as_ref().expect("the schema is sent to Ollama as `format`");
        assert_eq!(schema.pointer("/properties/label/enum"), Some(&json!(["positive", "neutral", "negative"])));
        assert_eq!(asked.body.pointer("/options/num_ctx"), Some(&json!(4096)), "num_ctx is always sent");
        assert_eq!(asked.body["stream"], json!(false));
    }
}

#[test]
fn a_list_a_nullable_value_and_json_keys() {
    let server = Server::new().start();
    let stage = r#"models = ["llama"]
[stages.tone.output]
topics = { type = "array", items = { type = "string" } }
year_named = { type = "integer", nullable = true }
"#;
    let lists = project(&server, &spec(stage), 4);
    lists.run(&RUN).exits(0);
    let table = lists.table(OUT);
    assert!(matches!(table.type_of("topics"), DataType::List(_)), "{}", table.type_of("topics"));
    assert!(table.cells("topics").iter().all(|cell| matches!(cell, Cell::List(_))));
    assert_eq!(table.type_of("year_named"), &DataType::Int64);

    let keys = project(&server, &spec("models = [\"llama\"]\njson_keys = [\"label\", \"prob\"]"), 4);
    keys.run(&RUN).exits(0);
    let table = keys.table(OUT);
    assert_eq!(table.columns(), ["id", "year", "text", "label", "prob", "tone_error"]);
    assert_eq!(table.type_of("prob"), &DataType::Utf8);
}

#[test]
fn input_columns_stay_unchanged() {
    let server = Server::new().start();
    let data = "\u{feff}id,code,number,text\r\n\
                1,007,12345678901234567890,\"two\nlines, \"\"quoted\"\"\"\r\n2,,1e5,{{ 7 * 7 }}\r\n";
    let project = project(&server, &spec(r#"models = ["llama"]"#), 1).file("data.csv", data);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.texts("id"), ["1", "2"]);
    assert_eq!(table.strings("code"), [Some("007".into()), None]);
    assert_eq!(table.texts("number"), ["12345678901234567890", "1e5"]);
    assert_eq!(table.texts("text"), ["two\nlines, \"quoted\"", "{{ 7 * 7 }}"]);
    let questions: BTreeSet<String> = server.asked().iter().map(|a| a.question().to_owned()).collect();
    let expected = ["What is the tone?\n\ntwo\nlines, \"quoted\"", "What is the tone?\n\n{{ 7 * 7 }}"];
    assert_eq!(questions, expected.map(str::to_owned).into(), "a row's text is only ever a value");
}

#[test]
fn split_deals_rows_to_the_models_in_turn() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = false\n{TYPED}")), 11);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.len(), 11);
    assert_eq!(BTreeSet::from_iter(table.columns()).len(), 7);
    assert!(table.columns().contains(&"tone_model"), "{:?}", table.columns());
    let dealt = table.texts("tone_model");
    assert_eq!(dealt, ["llama", "mistral"].into_iter().cycle().take(11).collect::<Vec<_>>());
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (6, 5));
    for (row, text) in table.texts("text").iter().enumerate() {
        let model = if row % 2 == 0 { "llama3.2" } else { "mistral" };
        let told: Value = serde_json::from_str(&told(&server, model, text)).expect("an object");
        assert_eq!(table.strings("label")[row].as_deref(), told["label"].as_str());
    }
}

#[test]
fn fan_out_wide_has_a_column_per_model() {
    let server = Server::new().start();
    let stage = format!("models = [\"llama\", \"mistral\"]\nfanout = true\n{TYPED}");
    let project = project(&server, &spec(&stage), 10);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    let columns: BTreeSet<&str> = table.columns().into_iter().collect();
    let asked =
        ["label_llama", "score_llama", "tone_error_llama", "label_mistral", "score_mistral", "tone_error_mistral"];
    assert_eq!(columns, ["id", "year", "text"].into_iter().chain(asked).collect());
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (10, 10));
    for (row, text) in table.texts("text").iter().enumerate() {
        for (name, model) in [("llama", "llama3.2"), ("mistral", "mistral")] {
            let told: Value = serde_json::from_str(&told(&server, model, text)).expect("an object");
            assert_eq!(table.strings(&format!("label_{name}"))[row].as_deref(), told["label"].as_str());
            assert_eq!(table.ints(&format!("score_{name}"))[row], told["score"].as_i64());
        }
    }
}

#[test]
fn fan_out_long_has_a_row_per_row_and_model() {
    let server = Server::new().start();
    let stage = "models = [\"llama\", \"mistral\"]\nfanout = true\nlayout = \"long\"";
    let project = project(&server, &spec(stage), 6);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.len(), 12);
    let columns: BTreeSet<&str> = table.columns().into_iter().collect();
    assert_eq!(columns, ["id", "year", "text", "model", "tone", "tone_error"].into());
    assert_eq!(table.texts("model")[..4], ["llama", "mistral", "llama", "mistral"]);
    assert_eq!(table.texts("id")[..4], ["s0000", "s0000", "s0001", "s0001"]);
    for (row, text) in table.texts("text").iter().enumerate() {
        let model = if row % 2 == 0 { "llama3.2" } else { "mistral" };
        assert_eq!(table.texts("tone")[row], told(&server, model, text));
    }
}

#[test]
fn rows_keep_their_order_when_answers_do_not() {
    let server = Server::new()
        .script(|asked, _| {
            Say::Late((asked.question().len() as u64 * 70 + asked.number as u64 * 130) % 400, Say::Default.into())
        })
        .start();
    let project = project(&server, &spec("models = [\"llama\"]\nworkers = 4\nbatch_size = 4\nchunk_size = 7"), 60);
    project.run(&RUN).exits(0);
    let expected: Vec<String> = rows(60)[1..].iter().map(|row| row[0].clone()).collect();
    assert_eq!(project.table(OUT).texts("id"), expected);
    assert!(server.max_in_flight() > 8, "only {} calls were in flight at once", server.max_in_flight());
}

#[test]
fn calls_in_flight_stay_below_both_limits() {
    let lanes = Server::new().latency_ms(100).start();
    project(&lanes, &spec("models = [\"llama\"]\nworkers = 2\nbatch_size = 3"), 40).run(&RUN).exits(0);
    assert_eq!(lanes.max_in_flight(), 6, "workers x batch_size");
    let capped = Server::new().latency_ms(100).start();
    let stage = "models = [\"llama\"]\nworkers = 4\nbatch_size = 4";
    project(&capped, &spec_with("max_concurrent_calls = 3", stage), 40).run(&RUN).exits(0);
    assert_eq!(capped.max_in_flight(), 3, "the provider's max_concurrent_calls");
}

#[test]
fn a_fan_out_switches_models_per_part_not_per_row() {
    let server = Server::new().latency_ms(2).start();
    let stage = "models = [\"llama\", \"mistral\"]\nfanout = true\nworkers = 2\nbatch_size = 2\nchunk_size = 20";
    project(&server, &spec(stage), 60).run(&RUN).exits(0);
    assert_eq!(server.requests(), 120);
    // Each of the three parts begins with the last model of the previous part.
    assert!(server.model_switches() <= 3, "{} switches of models", server.model_switches());
}

#[test]
fn lanes_and_parts_change_nothing() {
    let server = Server::new().latency_ms(1).start();
    let bytes = |workers: u32, batch: u32, chunk: u32| {
        let lanes = format!("workers = {workers}\nbatch_size = {batch}\nchunk_size = {chunk}");
        let stage = format!("models = [\"llama\", \"mistral\"]\nfanout = true\n{lanes}\n{TYPED}");
        let project = project(&server, &spec(&stage), 45);
        project.run(&RUN).exits(0);
        (project.table(OUT), project.bytes(OUT))
    };
    let one = bytes(1, 1, 10_000);
    for other in [bytes(16, 1, 10), bytes(2, 8, 7)] {
        assert_eq!(one.0, other.0);
        assert!(one.1 == other.1, "the tables are equal, their bytes differ");
    }
}

#[test]
fn a_second_run_sends_nothing_and_writes_the_same_bytes() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 20);
    project.run(&RUN).exits(0);
    let first = project.bytes(OUT);
    assert_eq!(server.requests(), 20);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 20, "every answer was in the ledger");
    assert!(project.bytes(OUT) == first, "the table's bytes changed");
    drop(server);
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == first, "a finished run replays without a server");
}

#[test]
fn equal_rows_may_share_a_call_but_none_is_lost() {
    let server = Server::new().start();
    let data = "id,text\na,the same\nb,the same\nc,the same\nd,another\n";
    let project = project(&server, &spec(r#"models = ["llama"]"#), 1).file("data.csv", data);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.texts("id"), ["a", "b", "c", "d"]);
    assert_eq!(table.texts("tone")[0], table.texts("tone")[2]);
}

#[test]
fn a_stage_reads_the_answers_of_the_stage_before() {
    let server = Server::new().latency_ms(2).start();
    let more = r#"models = ["llama"]
chunk_size = 5

[stages.verdict]
type = "analysis"
input = "tone"
models = ["mistral"]
prompt = "Sum up in a word: {{ tone }}"

[outputs.verdict]
input = "verdict"
path = "out/verdict.parquet"
"#;
    let project = project(&server, &spec(more), 15);
    project.run(&RUN).exits(0);
    let table = project.table("out/verdict.parquet");
    assert_eq!(table.columns(), ["id", "year", "text", "tone", "tone_error", "verdict", "verdict_error"]);
    for (tone, verdict) in table.texts("tone").iter().zip(table.texts("verdict")) {
        assert_eq!(verdict, told(&server, "mistral", &format!("Sum up in a word: {tone}")));
    }
    assert_eq!(project.table(OUT).columns(), ["id", "year", "text", "tone", "tone_error"]);
}

#[test]
fn the_other_output_formats() {
    let server = Server::new().start();
    let more = "models = [\"llama\"]\n[outputs.c]\ninput = \"tone\"\npath = \"out/tone.csv\"\n\
                [outputs.j]\ninput = \"tone\"\npath = \"out/tone.jsonl\"\n";
    let project = project(&server, &spec(more), 3);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    let csv = project.text("out/tone.csv");
    assert_eq!(csv.lines().next(), Some("id,year,text,tone,tone_error"));
    assert_eq!(csv.lines().count(), 4);
    let lines: Vec<Value> =
        project.text("out/tone.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let tones: Vec<&str> = lines.iter().filter_map(|line| line["tone"].as_str()).collect();
    assert_eq!(tones, table.texts("tone"));
    assert_eq!(lines[0]["tone_error"], Value::Null);
}

#[test]
fn an_openai_server_gets_the_key_and_nothing_else_keeps_it() {
    let server = Server::new().start();
    let key = "test-canary-0123456789";
    let spec = r#"name = "tones"
[providers.lab]
type = "openai"
base_url_env = "LAB_URL"
api_key_env = "LAB_KEY"
[models.llama]
provider = "lab"
model = "llama3.2"
temperature = 0.0
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
[stages.tone]
type = "analysis"
input = "speeches"
models = ["llama"]
text_column = "text"
system = "You read speeches."
prompt = "What is the tone?\n\n{{ text }}"
[stages.tone.output]
label = { type = "string", enum = ["positive", "neutral", "negative"] }
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#;
    let project = Project::new().env("LAB_URL", &server.openai_url()).env("LAB_KEY", key);
    let project = project.spec(spec).csv("data.csv", &rows(5));
    let ran = project.run(&RUN).exits(0);
    for asked in server.asked() {
        assert_eq!(asked.dialect, Dialect::OpenAi);
        assert_eq!(asked.header("authorization"), Some(format!("Bearer {key}").as_str()));
        let (role, system) = &asked.messages[0];
        assert!(
            role == "system" && system.starts_with("You read speeches.\n\nAnswer with one JSON object"),
            "{system}"
        );
        assert!(asked.schema.is_some(), "the schema is sent as `response_format`");
    }
    assert_eq!(server.requests(), 5);
    assert!(!ran.stderr.contains(key) && !ran.stdout.contains(key));
    for file in project.files(".fanfold").into_iter().chain(project.files("out")) {
        let bytes = project.bytes(&file);
        assert!(!bytes.windows(key.len()).any(|w| w == key.as_bytes()), "{file} contains the key");
    }
}

#[test]
fn the_calls_table_has_every_call() {
    let server = Server::new().start();
    let project = project(&server, &spec("models = [\"llama\", \"mistral\"]\nfanout = true"), 5);
    project.run(&RUN).exits(0);
    let calls = project.calls();
    assert_eq!(calls.len(), 10);
    for column in
        ["row", "row_key", "stage", "model", "prompt", "reply", "attempts", "finish_reason", "from_ledger", "error"]
    {
        assert!(calls.has(column), "no column `{column}` in {:?}", calls.columns());
    }
    assert_eq!(calls.texts("stage"), vec!["tone"; 10]);
    let models: BTreeSet<String> = calls.texts("model").into_iter().collect();
    assert_eq!(models, ["llama".to_owned(), "mistral".to_owned()].into());
}

#[test]
fn the_same_spec_as_yaml_gives_the_same_table() {
    let server = Server::new().start();
    let toml = project(&server, &spec(r#"models = ["llama"]"#), 6);
    toml.run(&RUN).exits(0);
    let yaml = r#"name: tones
seed: 42
providers:
  here: {type: ollama, max_concurrent_calls: 16}
models:
  llama: {provider: here, model: llama3.2, temperature: 0.0, max_tokens: 64, num_ctx: 4096}
sources:
  speeches: {type: file, path: data.csv, key: id}
stages:
  tone:
    type: analysis
    input: speeches
    models: [llama]
    prompt: "What is the tone?\n\n{{ text }}"
outputs:
  tone: {input: tone, path: out/tone.parquet}
"#;
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec_yaml(yaml).csv("data.csv", &rows(6));
    project.run(&["run", "pipeline.yaml"]).exits(0);
    assert_eq!(project.table(OUT).rows(), toml.table(OUT).rows());
    assert_eq!(server.times_asked().len(), 6, "both asked the same calls");
}

#[test]
fn another_text_column_sends_other_prompts() {
    let server = Server::new().start();
    let spec = |column: &str| {
        let stage = format!("models = [\"llama\"]\ntext_column = \"{column}\"");
        spec(&stage)
    };
    let data = "id,text,other\na,one,two\nb,three,four\n";
    let project = project(&server, &spec("text"), 1).file("data.csv", data);
    project.run(&RUN).exits(0);
    let project = project.spec(&spec("other"));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 4, "the first answers are not the second's");
    assert!(server.asked()[2..].iter().all(|a| a.question().contains("two") || a.question().contains("four")));
}

#[test]
fn two_processes_share_one_ledger() {
    let server = Server::new().latency_ms(2).start();
    let first = spec(&format!("models = [\"llama\"]\n{TYPED}"));
    let second =
        first.replace("name = \"tones\"", "name = \"others\"").replace("out/tone.parquet", "out/other.parquet");
    let project = project(&server, &first, 200).file("second.toml", second);
    let running = project.spawn(&["run", "second.toml"]);
    project.run(&RUN).exits(0);
    running.wait().exits(0);
    let (one, other) = (project.table(OUT), project.table("out/other.parquet"));
    assert_eq!(one.strings("label"), other.strings("label"), "the first answer to a call is everyone's");
    assert_eq!((one.len(), one.nulls("tone_error")), (200, 200));
    let before = server.requests();
    assert!(before <= 400, "each asks a call once at most: {before} requests for 200 calls");
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), before);
}
