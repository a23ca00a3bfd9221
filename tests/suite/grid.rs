//! Grids: a stage is asked in several universes, each request once, and every cell is that of a separate spec.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use crate::project::{Project, Table};
use crate::recipe::{project, rows};
use crate::server::{Asked, Say, Server, hash};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// The tables before the stages: two models of an Ollama, and the rows.
const HEAD: &str = r#"name = "multiverse"
seed = 42

[providers.here]
type = "ollama"
max_concurrent_calls = 16

[models.llama]
provider = "here"
model = "llama3.2"
max_tokens = 64
num_ctx = 4096

[models.mistral]
provider = "here"
model = "mistral"
temperature = 0.5
max_tokens = 64
num_ctx = 4096

[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
types = { year = "integer" }

[outputs.tone]
input = "tone"
path = "out/tone.parquet"

"#;

const TONE: &str = r#"[stages.tone]
type = "analysis"
input = "speeches"
output.tone = { type = "string", enum = ["positive", "neutral", "negative"] }
"#;

/// A server whose answers depend on everything in a request.
fn server() -> Server {
    let answer = |asked: &Asked, _: usize| {
        let schema = asked.schema.clone().unwrap_or_default();
        let fields = schema["properties"].as_object().into_iter().flatten();
        let value = |(name, field): (&String, &Value)| {
            let choice = hash(&[&asked.call(), name]);
            let options = field["enum"].as_array().cloned().unwrap_or_default();
            let value = match options.len() {
                0 => json!(format!("words {}", choice % 1000)),
                options_len => options[choice as usize % options_len].clone(),
            };
            (name.clone(), value)
        };
        Say::Json(Value::Object(fields.map(value).collect::<Map<_, _>>()))
    };
    Server::new().script(answer).start()
}

/// The different requests that a server got.
fn distinct(server: &Server) -> usize {
    server.asked().iter().map(Asked::call).collect::<BTreeSet<_>>().len()
}

/// A grid of 2 models, 2 temperatures, these prompts, and numbers of attempts, which change no request.
fn grid(prompts: &[&str]) -> String {
    let prompts: Vec<String> = prompts.iter().map(|prompt| format!("\"{prompt} {{{{ text }}}}\"")).collect();
    let prompts = prompts.join(", ");
    let axes = "models = [\"llama\", \"mistral\"]\nmodel.temperature = [0.0, 0.7]\nmax_attempts = [2, 3]\n";
    format!("{HEAD}{TONE}\n[stages.tone.grid]\n{axes}prompt = [{prompts}]\n")
}

#[test]
fn equal_requests_are_sent_once_and_one_more_level_asks_only_its_own() {
    let server = server();
    let project = project(&server, &grid(&["Tone?", "Mood?", "Which tone?"]), 200);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("grid tone: 24 universes, each of 200 rows of speeches"), "{plan}");
    assert!(plan.contains("at most 2,400 calls, 0 in the ledger; 2,400 more equal one of them"), "{plan}");
    assert!(plan.contains("output out/tone.parquet: 4,800 rows"), "{plan}");
    project.run(&RUN).exits(0);
    assert_eq!((server.requests(), distinct(&server)), (2400, 2400));
    let table = project.table("out/tone.parquet");
    assert_eq!(
        table.columns(),
        ["id", "year", "text", "universe", "model", "temperature", "max_attempts", "prompt", "tone", "tone_error"]
    );
    assert_eq!((table.len(), table.nulls("tone")), (4800, 0));
    let universes: BTreeSet<String> = table.texts("universe").into_iter().collect();
    assert_eq!(universes.len(), 24);
    assert!(universes.contains("llama-0-2-Tone-text"), "{universes:?}");

    project.write("pipeline.toml", grid(&["Tone?", "Mood?", "Which tone?", "What mood?"]));
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("in all: at most 800 calls to send"), "{plan}");
    project.run(&RUN).exits(0);
    assert_eq!((server.requests(), distinct(&server)), (3200, 3200));
    let more = project.table("out/tone.parquet");
    assert_eq!(more.len(), 6400);
    assert!(universes.is_subset(&more.texts("universe").into_iter().collect()), "the old names stay");
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 3200);
}

/// The cells of some columns, for the rows for which `only` holds.
fn cells(table: &Table, columns: &[&str], only: impl Fn(usize) -> bool) -> Vec<Vec<String>> {
    let cells: Vec<_> = columns.iter().map(|column| table.cells(column)).collect();
    let row = |row: usize| cells.iter().map(|cells| format!("{:?}", cells[row])).collect();
    (0..table.len()).filter(|row| only(*row)).map(row).collect()
}

/// A field of the stage or, after `model.`, of its models, with its levels as TOML.
type Axis = (&'static str, Vec<&'static str>);

/// Runs a grid, then each of its universes as a separate spec, with another ledger. All cells must be equal.
#[track_caller]
fn equals_separate_specs(stage: &str, axes: &[Axis]) {
    let server = server();
    let lines: String = axes.iter().map(|(key, levels)| format!("\"{key}\" = [{}]\n", levels.join(", "))).collect();
    let whole = project(&server, &format!("{HEAD}{stage}\n[stages.tone.grid]\n{lines}"), 12);
    whole.run(&RUN).exits(0);
    let table = whole.table("out/tone.parquet");
    let universes = table.texts("universe");
    let mut names: Vec<&String> = universes.iter().collect();
    names.dedup();
    let combinations = axes.iter().fold(vec![Vec::new()], |found: Vec<Vec<(&str, &str)>>, (key, levels)| {
        let more = |start: Vec<_>| levels.iter().map(move |level| [start.as_slice(), &[(*key, *level)]].concat());
        found.into_iter().flat_map(more).collect()
    });
    assert_eq!(names.len(), combinations.len());
    for (name, settings) in names.into_iter().zip(combinations) {
        let (mut head, mut own) = (HEAD.to_owned(), stage.to_owned());
        for (key, level) in settings {
            match key.strip_prefix("model.") {
                // Both models have the field `max_tokens`, and one has a temperature.
                Some(field) => {
                    head = head
                        .lines()
                        .filter(|line| !line.starts_with(field) || *line == "seed = 42")
                        .collect::<Vec<_>>()
                        .join("\n")
                        + "\n";
                    head = head.replace("max_tokens", &format!("{field} = {level}\nmax_tokens"));
                }
                None if key == "models" => own = own.replacen("input", &format!("models = [{level}]\ninput"), 1),
                None => own = own.replacen("input", &format!("{key} = {level}\ninput"), 1),
            }
        }
        let one = project(&server, &format!("{head}{own}"), 12);
        one.run(&RUN).exits(0);
        let alone = one.table("out/tone.parquet");
        let is_own = |row: usize| universes[row] == *name;
        assert_eq!(cells(&table, &alone.columns(), is_own), cells(&alone, &alone.columns(), |_| true), "{name}");
        // Columns that only other universes have.
        let others = table.columns().into_iter().filter(|column| column.ends_with("_shown") && !alone.has(column));
        let others = cells(&table, &others.collect::<Vec<_>>(), is_own);
        assert!(others.iter().flatten().all(|cell| cell == "Null"), "{name}: {others:?}");
    }
}

#[test]
fn the_cells_of_an_analysis_are_those_of_separate_specs() {
    let stage = TONE.replace("input =", "prompt = \"Tone? {{ text }}\"\ninput =");
    equals_separate_specs(
        &stage,
        &[
            ("models", vec!["\"llama\"", "\"mistral\""]),
            ("model.temperature", vec!["0.0", "0.7"]),
            ("system", vec!["\"Be brief.\"", "\"\""]),
            ("when", vec!["\"year > 1794\"", "\"true\""]),
        ],
    );
}

/// Fields of an analysis with some levels.
const FIELDS: [Field; 8] = [
    ("models", &["\"llama\"", "\"mistral\""]),
    ("model.temperature", &["0.0", "0.7", "1.0"]),
    ("model.top_p", &["0.5", "0.9"]),
    ("model.seed", &["7", "8"]),
    ("prompt", &["\"Tone? {{ text }}\"", "\"Mood of {{ text }}?\"", "\"{{ year }}: {{ text }}\""]),
    ("system", &["\"Be brief.\"", "\"\"", "\"You are a historian.\""]),
    ("when", &["\"year > 1794\"", "\"true\"", "\"year < 1797\""]),
    ("max_attempts", &["2", "3"]),
];
type Field = (&'static str, &'static [&'static str]);

/// One to three of the fields, each with some of its levels. The models and the prompt are always axes.
fn axes() -> impl Strategy<Value = Vec<Axis>> {
    let levels = |(field, levels): Field| (Just(field), subsequence(levels.to_vec(), 1..=levels.len().min(2)));
    let more: Vec<Field> = FIELDS.iter().filter(|(field, _)| !["models", "prompt"].contains(field)).copied().collect();
    let more = subsequence(more, 1..=2).prop_flat_map(move |fields| fields.into_iter().map(levels).collect::<Vec<_>>());
    (levels(FIELDS[0]), levels(FIELDS[4]), more)
        .prop_map(|(models, prompt, more)| [vec![models], more, vec![prompt]].concat())
}

#[test]
fn the_cells_of_random_grids_are_those_of_separate_specs() {
    // Each case runs the program up to 17 times.
    let config = Config { cases: 6, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let ran = runner.run(&axes(), |axes| {
        equals_separate_specs(TONE, &axes);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_cells_of_filled_fields_are_those_of_separate_specs() {
    let stage = r#"[stages.tone]
type = "fill-missing"
input = "speeches"
models = ["llama"]
text_column = "text"
fields.place = { type = "string", enum = ["here", "there", "nowhere"] }
"#;
    equals_separate_specs(stage, &[("model.seed", vec!["1", "2"]), ("system", vec!["\"A.\"", "\"B.\"", "\"C.\""])]);
}

#[test]
fn the_cells_of_a_survey_are_those_of_separate_specs() {
    let stage = r#"[stages.tone]
type = "survey"
input = "speeches"
models = ["llama"]
persona = "You said: {{ text }}"
questions = [
    { id = "trade", text = "Is trade good?", type = "single", options = ["yes", "perhaps", "no"] },
    { id = "peace", text = "Is peace good?", type = "single", options = ["yes", "no", "it depends"] },
]
"#;
    let orders = vec!["\"as_given\"", "\"reversed\"", "\"latin\""];
    equals_separate_specs(stage, &[("option_order", orders), ("model.temperature", vec!["0.1", "0.9"])]);
}

#[test]
fn excluded_combinations_are_not_asked() {
    let server = server();
    let axes = r#"
[stages.tone.grid]
models = ["llama", "mistral"]
"model.temperature" = [0, 0.7]
exclude = [{ models = "mistral", "model.temperature" = 0.7 }, { models = "llama", model.temperature = 0.0 }]
"#;
    let stage = TONE.replace("input =", "prompt = \"Tone? {{ text }}\"\ninput =");
    let project = project(&server, &format!("{HEAD}{stage}{axes}"), 5);
    project.run(&RUN).exits(0);
    let table = project.table("out/tone.parquet");
    let rows = |names: &[&str]| -> Vec<String> {
        names.iter().flat_map(|name| std::iter::repeat_n((*name).to_owned(), 5)).collect()
    };
    assert_eq!(table.texts("universe"), rows(&["llama-0.7", "mistral-0"]));
    assert_eq!(table.texts("model"), rows(&["llama", "mistral"]));
    assert_eq!(table.floats("temperature"), [vec![Some(0.7); 5], vec![Some(0.0); 5]].concat());
    let asked: BTreeMap<String, Value> = server
        .asked()
        .iter()
        .map(|asked| (asked.model.clone(), asked.body["options"]["temperature"].clone()))
        .collect();
    assert_eq!(json!(asked), json!({ "llama3.2": 0.7, "mistral": 0.0 }));
}

#[test]
fn problems_point_into_the_grid() {
    let prompts = "prompt = [\"Tone? {{ text }}\", \"Tone? {{ txet }}\"]\n";
    for (axes, place, message) in [
        (
            "models = [\"llama\", \"mistrl\"]".to_owned(),
            "models = [\"llama\", \"mistrl\"]",
            "there is no model `mistrl`",
        ),
        (
            "models = [\"mistrl\"]\nmodel.temperature = [0.1, 0.2]".to_owned(),
            "models = [\"mistrl\"]",
            "there is no model `mistrl`",
        ),
        (prompts.to_owned(), "\"Tone? {{ txet }}\"", "`txet`"),
        ("promt = [\"a\"]".to_owned(), "promt = ", "there is no field `promt` here"),
        ("\"model.temperature\" = [0.5, 9.0]".to_owned(), "[0.5, 9.0]", "`temperature` must be from 0 to 5"),
        ("\"model.temprature\" = [0.5]".to_owned(), "\"model.temprature\"", "there is no field `temprature` here"),
        ("input = [\"speeches\"]".to_owned(), "input = [", "`input` is the same in all universes"),
        ("system = \"a\"".to_owned(), "system = \"a\"", "an axis is a list of levels"),
        ("system = [\"a\", \"a\"]".to_owned(), "[\"a\", \"a\"]", "has this level twice"),
        ("system = [\"a\"]\nexclude = [{ sytem = \"a\" }]".to_owned(), "{ sytem", "the grid has no axis `sytem`"),
        (
            "system = [\"a\"]\nexclude = [{ system = \"b\" }]".to_owned(),
            "\"b\" }",
            "the axis `system` has no such level",
        ),
        ("cut_off = [\"error\", \"kepe\"]".to_owned(), "\"kepe\"", "kepe"),
        ("output.tone.enum = [[\"a\"]]".to_owned(), "enum = ", "`output.tone.enum` is an axis of the grid too"),
    ] {
        let models = if axes.contains("models =") { "" } else { "models = [\"llama\"]\n" };
        let prompt = if axes.contains("prompt =") { "" } else { "prompt = \"Tone? {{ text }}\"\n" };
        let spec = format!("{HEAD}{TONE}{models}{prompt}\n[stages.tone.grid]\n{axes}\n");
        let ran = Project::new().spec(&spec).csv("data.csv", &rows(3)).run(&["validate", "pipeline.toml"]).exits(2);
        let shown = ran.stderr;
        assert!(shown.contains(message) && shown.contains(place), "{axes}:\n{shown}");
        assert_eq!(shown.matches("error[").count(), 1, "{axes}:\n{shown}");
    }
}

#[test]
fn a_row_is_explained_in_each_universe_and_by_its_number_in_one() {
    let server = server();
    let axes = "\n[stages.tone.grid]\n\"model.temperature\" = [0.0, 0.7]\n";
    let stage = TONE.replace("input =", "models = [\"llama\"]\nprompt = \"Tone? {{ text }}\"\ninput =");
    let project = project(&server, &format!("{HEAD}{stage}{axes}"), 4);
    project.run(&RUN).exits(0);
    let explain = |row: &str| {
        let ran = project.run(&["explain", "out/tone.parquet", row, "tone", "--format", "json"]);
        ran.exits(0).json()["explanation"].clone()
    };
    let both = explain("s0002");
    let stages: Vec<&str> =
        both["stages"].as_array().into_iter().flatten().filter_map(|stage| stage["stage"].as_str()).collect();
    assert_eq!(stages, ["tone.0", "tone.0_7"]);
    // The seventh row is the third of the second universe.
    let one = explain("#7");
    let made = &one["made_from"][0];
    assert_eq!((&made["table"], &made["explanation"]["key"]), (&json!("tone.0_7"), &json!("s0002")));
    let call = &made["explanation"]["stages"][0]["rows"][0]["calls"][0];
    assert_eq!((&call["model"], &call["server"]["model"]), (&json!("llama"), &json!("llama3.2")));
    let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
    assert!(status.contains("tone.0_7"), "{status}");
    project.run(&["report", "pipeline.toml"]).exits(0);
    project.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn an_axis_of_options_implies_the_type_as_a_stage_does() {
    let spec = |axis: &str| {
        format!(
            r#"
models.m = {{ provider = "mock", model = "m" }}
sources.s = {{ type = "file", path = "d.csv" }}
outputs.o = {{ input = "a", path = "o.csv" }}
[stages.a]
type = "analysis"
input = "s"
models = ["m"]
prompt = "Tone of {{{{ t }}}}"
[stages.a.grid]
{axis}
"#
        )
    };
    let whole = "output = [{ l = { enum = [\"x\", \"y\"] } }, { l = { enum = [\"y\", \"x\"] } }]";
    for axis in ["output.l.enum = [[\"x\", \"y\"], [\"y\", \"x\"]]", whole] {
        let project = Project::new().spec(&spec(axis)).csv("d.csv", &[["t"], ["war"]]);
        project.run(&["run", "pipeline.toml"]).exits(0).says("a  2 universes");
    }
}
