//! `type = "fill-missing"`: only what is missing is asked for, what is there stays, and every value says where it is from.

use serde_json::{Value, json};

use crate::project::{Cell, Project, Table};
use crate::server::{Asked, Builder, Say, Server};
use crate::weights;

const OUT: &str = "out/meta.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const SPEECHES: &str = include_str!("../../pipelines/data/speeches.csv");

const ROWS: [[&str; 5]; 7] = [
    ["id", "speech", "Party", "year", "place"],
    ["1", "I, Adams, a Federalist, speak in 1797 at Philadelphia.", "Federalist", "1797", "Philadelphia"],
    ["2", "I, Jefferson, speak in 1801.", "", "1801", "NaN"],
    ["3", "I, Madison, speak.", "?", "  ", "Washington"],
    ["4", "  ", "Whig", "", "Washington"],
    ["5", "No one knows me; in 1850 I was here.", "unclear", "1850", "there"],
    ["6", "I fail in 1900.", "Whig", "", "Boston"],
];

/// A stage with these lines, the keys party, year (a number) and place.
fn spec(provider: &str, stage: &str) -> String {
    format!(
        r#"name = "meta"
[models.llama]
provider = "{provider}"
model = "one"
[models.mistral]
provider = "{provider}"
model = "two"
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
[stages.meta]
type = "fill-missing"
input = "speeches"
text_column = "speech"
null_values = ["?"]
max_attempts = 1
{stage}
[stages.meta.fields.party]
type = "string"
description = "the speaker's party"
column = "Party"
[stages.meta.fields.Year]
type = "integer"
column = "year"
target = "when"
[stages.meta.fields.place]
type = "string"
column = "place"
target = "in_place"
[outputs.meta]
input = "meta"
path = "{OUT}"
"#
    )
}

/// A server that knows no party, the year 1850 and one place; the sixth row fails.
fn server() -> Builder {
    Server::new().models(&["one", "two"]).script(|asked, _| {
        if asked.question().contains("I fail") {
            return Say::status(400);
        }
        let known = |key: &str| match key {
            "party" => json!("Unclear."),
            "Year" => json!(1850),
            _ => json!(format!("Montpelier ({})", asked.model)),
        };
        Say::Json(keys(asked).into_iter().map(|key| (key.clone(), known(&key))).collect())
    })
}

/// The keys that a call asks for.
fn keys(asked: &Asked) -> Vec<String> {
    let schema = asked.schema.as_ref().and_then(|s| s["properties"].as_object());
    schema.into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

fn project(server: &Server, stage: &str) -> Project {
    Project::new().env("OLLAMA_HOST", &server.url()).spec(&spec("ollama", stage)).csv("data.csv", &ROWS)
}

fn texts(table: &Table, column: &str) -> Vec<String> {
    table.strings(column).into_iter().map(|text| text.unwrap_or("null".to_owned())).collect()
}

#[test]
fn what_is_there_is_copied_and_only_what_is_missing_is_asked_for() {
    let server = server().start();
    let project = project(&server, "models = [\"llama\"]");
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    let calls = "at most 3 calls, 0 in the ledger, 1 row skipped, 2 rows complete already";
    assert!(plan.contains(calls), "{plan}");
    let ran = project.run(&RUN).exits(1).says("6 rows = 4 answered + 1 failed + 1 skipped");
    // The first and the fifth row lack nothing ("unclear" is a word of the table's own), the fourth has no text.
    assert!(ran.stderr.contains("3 calls sent"), "{}", ran.stderr);
    let mut asked: Vec<Vec<String>> = server.asked().iter().map(keys).collect();
    asked.sort();
    assert_eq!(asked, [vec!["Year"], vec!["party", "Year"], vec!["party", "place"]]);
    let table = project.table(OUT);
    assert_eq!(table.columns()[..5], ["id", "speech", "Party", "year", "place"]);
    let added = ["computed_party", "computed_party_source", "when", "when_source", "place_source", "meta_error"];
    assert_eq!(table.columns()[5..], added);
    assert_eq!(texts(&table, "computed_party"), ["Federalist", "null", "null", "Whig", "unclear", "Whig"]);
    assert_eq!(
        texts(&table, "computed_party_source"),
        ["original", "null", "null", "original", "original", "original"]
    );
    assert_eq!(table.ints("when"), [Some(1797), Some(1801), Some(1850), None, Some(1850), None]);
    assert_eq!(texts(&table, "when_source"), ["original", "original", "llama", "null", "original", "null"]);
    let places = ["Philadelphia", "Montpelier (one)", "Washington", "Washington", "there", "Boston"];
    assert_eq!(texts(&table, "place"), places);
    let from = ["original", "llama", "original", "original", "original", "original"];
    assert_eq!(texts(&table, "place_source"), from);
    // The input's own columns come through untouched.
    assert_eq!(texts(&table, "Party"), ["Federalist", "null", "?", "Whig", "unclear", "Whig"]);
    assert!(texts(&table, "meta_error")[5].starts_with("rejected: "));
    let before = server.requests();
    project.run(&RUN).exits(1);
    assert_eq!(server.requests(), before + 1, "only the failed row is asked again");
}

#[test]
fn fan_out_split_and_long_name_who_found_a_value() {
    let found = |stage: &str, in_place: bool| {
        let server = server().start();
        let text = spec("ollama", stage);
        let text = if in_place { text } else { text.replace("\"in_place\"", "\"spot\"") };
        let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(&text).csv("data.csv", &ROWS[..4]);
        project.run(&RUN).exits(0);
        project.table(OUT)
    };
    let wide = found("models = [\"llama\", \"mistral\"]\nfanout = true", false);
    for model in ["llama", "mistral"] {
        assert_eq!(texts(&wide, &format!("when_source_{model}")), ["original", "original", model]);
        assert_eq!(wide.ints(&format!("when_{model}")), [Some(1797), Some(1801), Some(1850)]);
        assert_eq!(wide.nulls(&format!("computed_party_{model}")), 2);
    }
    assert_eq!(texts(&wide, "spot_mistral")[1], "Montpelier (two)");
    assert_eq!(texts(&wide, "place")[1], "NaN", "the column itself is a different one");
    let split = found("models = [\"llama\", \"mistral\"]\nfanout = false", true);
    assert_eq!(texts(&split, "place")[1], "Montpelier (two)");
    assert_eq!(texts(&split, "when_source")[2], "llama");
    let long = found("models = [\"llama\", \"mistral\"]\nfanout = true\nlayout = \"long\"", true);
    assert_eq!(texts(&long, "id"), ["1", "1", "2", "2", "3", "3"]);
    assert_eq!(texts(&long, "place")[2..4], ["Montpelier (one)", "Montpelier (two)"]);
    assert_eq!(texts(&long, "place_source")[2..5], ["llama", "mistral", "original"]);
}

#[test]
fn a_value_that_does_not_fit_its_type_fails_its_row_and_sends_nothing() {
    let project = Project::new().spec(&spec("mock", "models = [\"llama\"]"));
    let rows = [ROWS[0], ["1", "A speech.", "", "c. 1790", "Boston"], ["2", "Another.", "Whig", "1800", "Salem"]];
    let project = project.csv("data.csv", &rows);
    project.run(&RUN).exits(1).says("0 calls sent").says("failed as value, row 1").says("c. 1790");
    let table = project.table(OUT);
    let error = "value: the column `year`: \"c. 1790\" is not a whole number";
    assert_eq!(table.strings("meta_error"), [Some(error.to_owned()), None]);
    assert_eq!(
        (texts(&table, "place"), texts(&table, "year")[0].as_str()),
        (vec!["Boston".into(), "Salem".into()], "c. 1790")
    );
}

#[test]
fn quotes_are_checked_against_the_text() {
    let server = Server::new().models(&["one", "two"]).script(|asked, _| {
        let words = if asked.question().contains("Jefferson") { "i,  JEFFERSON" } else { "I, Madisom, speek" };
        let known = |key: &str| match key {
            "Year_quote" | "place_quote" => json!("in no text at all"),
            "party_quote" => json!(words),
            "Year" => json!(1850),
            "place" => Value::Null,
            _ => json!("Republican"),
        };
        Say::Json(keys(asked).into_iter().map(|key| (key.clone(), known(&key))).collect())
    });
    let server = server.start();
    let project = project(&server, "models = [\"llama\"]\nquotes = true\nquote_ratio = 0.8");
    project.run(&RUN).exits(0);
    let asked = server.asked().into_iter().find(|asked| asked.question().contains("Madison")).expect("it was asked");
    assert_eq!(keys(&asked), ["party_quote", "party", "Year_quote", "Year"], "evidence before value");
    let table = project.table(OUT);
    assert_eq!(texts(&table, "computed_party")[..3], ["Federalist", "Republican", "Republican"]);
    assert_eq!(texts(&table, "computed_party_quote")[..3], ["null", "i,  JEFFERSON", "I, Madisom, speek"]);
    assert_eq!(texts(&table, "computed_party_quote_found")[..3], ["null", "normalised", "fuzzy"]);
    assert_eq!(table.ints("computed_party_quote_start")[..3], [None, Some(0), Some(0)]);
    assert_eq!(table.ints("computed_party_quote_end")[..3], [None, Some(12), Some(17)]);
    assert_eq!((texts(&table, "when_quote_found")[2].as_str(), table.ints("when_quote_start")[2]), ("no", None));
    // Null needs no evidence.
    assert_eq!(table.cells("place_quote")[1], Cell::Null);
}

/// The starts of some speeches, some without a party, asked of two models in the process.
fn real(test: &str, stage: &str) -> Option<Project> {
    let mut speeches = csv::Reader::from_reader(SPEECHES.as_bytes());
    let start = |cell: &str| cell.chars().take(600).collect::<String>();
    let header: Vec<String> = speeches.headers().expect("a header").iter().map(start).collect();
    let rows = speeches.records().step_by(30).map(|row| row.expect("a row").iter().map(start).collect());
    let rows: Vec<Vec<String>> = [header].into_iter().chain(rows).collect();
    let spec = format!(
        r#"name = "meta"
seed = 1
[models.small]
provider = "embedded"
model = "smollm2:135m"
max_tokens = 160
[models.twin]
provider = "embedded"
model = "smollm2:135m"
max_tokens = 161
[sources.speeches]
type = "file"
path = "data.csv"
key = "speech_id"
[stages.meta]
type = "fill-missing"
input = "speeches"
text_column = "speech"
models = ["small", "twin"]
chunk_size = 2
quotes = true
quote_ratio = 0.8
{stage}
[stages.meta.fields.party]
type = "string"
enum = ["Democratic", "Republican", "Whig", "Federalist", "Democratic-Republican"]
description = "the president's party"
column = "party"
[stages.meta.fields.topic]
type = "string"
max_length = 20
[outputs.meta]
input = "meta"
path = "{OUT}"
"#
    );
    weights::or_skip(test, Project::new().spec(&spec).csv("data.csv", &rows))
}

/// Kills a run, runs it again, and compares with a run that was left alone.
fn killed(test: &str, stage: &str) -> Option<Table> {
    let (quiet, project) = (real(test, stage)?, real(test, stage)?);
    quiet.run(&RUN).exits(0);
    let running = project.spawn(&RUN);
    let ledger = project.path(".fanfold/ledger.sqlite-wal");
    let start = std::time::Instant::now();
    while std::fs::metadata(&ledger).map_or(0, |m| m.len()) < 20_000 && start.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.kill();
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == quiet.bytes(OUT), "the table differs from that of an undisturbed run");
    project.run(&RUN).exits(0).says("0 calls sent");
    Some(project.table(OUT))
}

#[test]
fn a_real_model_fills_real_speeches_fanned_out() {
    let Some(table) = killed("a_real_model_fills_real_speeches_fanned_out", "fanout = true") else { return };
    let parties = texts(&table, "party");
    assert!(parties.iter().any(|p| p == "null") && parties.iter().any(|p| p != "null"), "{parties:?}");
    for model in ["small", "twin"] {
        assert_eq!(table.nulls(&format!("meta_error_{model}")), table.len());
        let sources = texts(&table, &format!("computed_party_source_{model}"));
        for ((party, source), own) in
            texts(&table, &format!("computed_party_{model}")).iter().zip(&sources).zip(&parties)
        {
            match own.as_str() {
                "null" => assert!(source == model || (source == "null" && party == "null"), "{source} {party}"),
                own => assert_eq!((party.as_str(), source.as_str()), (own, "original")),
            }
        }
        for (words, found) in texts(&table, &format!("computed_topic_quote_{model}"))
            .iter()
            .zip(texts(&table, &format!("computed_topic_quote_found_{model}")))
        {
            assert!((words == "null") == (found == "null"), "{words} {found}");
        }
    }
    // The same model twice, at temperature 0.
    assert_eq!(texts(&table, "computed_party_small"), texts(&table, "computed_party_twin"));
}

#[test]
fn a_real_model_fills_real_speeches_split() {
    let Some(table) = killed("a_real_model_fills_real_speeches_split", "fanout = false") else { return };
    assert_eq!(table.nulls("meta_error"), table.len());
    let who: Vec<&str> = (0..table.len()).map(|row| if row % 2 == 0 { "small" } else { "twin" }).collect();
    assert_eq!(texts(&table, "meta_model"), who);
    let named = texts(&table, "computed_topic_source");
    assert!(named.iter().zip(&who).all(|(source, who)| source == who || source == "null"), "{named:?}");
    assert!(named.iter().any(|source| source != "null"), "no topic at all");
}

#[test]
fn of_several_columns_the_first_that_is_not_empty_counts() {
    let rows = [
        ["id", "speech", "city", "location", "place"],
        ["1", "I speak.", "Ulm", "Bonn", "Kiel"],
        ["2", "I speak.", "?", " ", "Kiel"],
        ["3", "I speak.", "", "Bonn", ""],
        ["4", "I speak in Jena.", "", "NaN", ""],
    ];
    let spec = |lines: &str| {
        format!(
            r#"[models.llama]
provider = "ollama"
model = "one"
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
[stages.meta]
type = "fill-missing"
input = "speeches"
models = ["llama"]
text_column = "speech"
null_values = ["?"]
[stages.meta.fields.City]
type = "string"
{lines}
[outputs.meta]
input = "meta"
path = "{OUT}"
"#
        )
    };
    let server = Server::new().models(&["one"]).script(|_, _| Say::Json(json!({ "City": "Jena" }))).start();
    let column = "column = [\"city\", \"location\", \"place\"]";
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(&spec(column)).csv("data.csv", &rows);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    assert_eq!(table.texts("computed_city"), ["Ulm", "Kiel", "Bonn", "Jena"]);
    let sources = ["original:city", "original:place", "original:location", "llama"];
    assert_eq!(table.texts("computed_city_source"), sources);
    assert_eq!(server.requests(), 1, "only the row without any value is asked about");
    project.write("pipeline.toml", spec(&format!("{column}\ntarget = \"in_place\"")));
    project.run(&RUN).exits(0).says("0 calls sent");
    let table = project.table(OUT);
    assert_eq!(table.texts("city"), ["Ulm", "Kiel", "Bonn", "Jena"]);
    assert_eq!(table.strings("location")[1], Some(" ".to_owned()), "the other columns stay");
    project.write("pipeline.toml", spec("column = [\"place\"]"));
    project.run(&RUN).exits(0);
    assert_eq!(project.table(OUT).texts("computed_city_source")[0], "original", "a list of one is a column");
    for (lines, message) in [
        ("column = []", "`column` is empty"),
        ("column = [\"city\", \"city\"]", "`city` is listed twice in `column`"),
        ("column = [\"city\", \"plcae\"]", "plcae"),
        ("column = 3", "the name of a column or a list of names"),
    ] {
        project.write("pipeline.toml", spec(lines));
        project.run(&["validate", "pipeline.toml"]).exits(2).says(message);
    }
}
