//! The words of the Python functions that this project starts from (`run_analysis`, `fill_missing_fields_from_csv`,
//! `generate_fake_survey_df`, `run_survey_responses` and their kin), each call beside the spec that does the same.
//!
//! A row of the table of words in the design is a test here. The calls are those of the functions' own examples, with a
//! scripted server in the place of Ollama.

mod systems;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::project::{Project, Table};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const SPEECHES: &str = include_str!("../../pipelines/data/speeches.csv");

/// The first `count` speeches; each is one line.
fn speeches(rows: usize) -> String {
    SPEECHES.lines().take(rows + 1).map(|line| format!("{line}\n")).collect()
}

/// Models of an Ollama by name and id, with these lines each.
fn models(lines: &str) -> String {
    let ids = [("llama", "llama3.2"), ("mistral", "mistral"), ("phi", "phi3.5")];
    let tables = ids.map(|(name, id)| format!("[models.{name}]\nprovider = \"ollama\"\nmodel = \"{id}\"\n{lines}\n"));
    format!("name = \"old\"\nseed = 42\n{}", tables.concat())
}

fn project(server: &Server, spec: &str) -> Project {
    Project::new().env("OLLAMA_HOST", &server.url()).spec(spec)
}

/// The options that every request carried.
fn options(server: &Server) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for asked in server.asked() {
        let options = json!({ "t": asked.body["options"]["temperature"], "n": asked.body["options"]["num_predict"] });
        if !found.contains(&options) {
            found.push(options);
        }
    }
    found
}

/// ```python
/// run_analysis(df, text_column="speech", workers=3, model_names=["llama3.2", "mistral", "phi3.5"],
///              prompt_template='Return JSON {"label":string,"prob":float} for {text}',
///              json_keys=("label", "prob"), fanout=True, temperature=0.7, max_tokens=50)
/// # adds label_llama3.2, prob_llama3.2, label_mistral, ..
/// ```
/// `workers`, `batch_size`, `chunk_size`, `max_concurrent_calls`, `text_column`, `prompt_template`, `json_keys`, `fanout`.
#[test]
fn fan_out_sentiment_over_speeches() {
    let spec = format!(
        r#"{}
[sources.speeches]
type = "file"
path = "speeches.csv"
[stages.tone]
type = "analysis"
input = "speeches"
text_column = "speech"
workers = 3
batch_size = 4
chunk_size = 5
models = ["llama", "mistral", "phi"]
prompt = 'Return JSON {{"label":string,"prob":float}} for {{{{ text }}}}'
json_keys = ["label", "prob"]
fanout = true
[outputs.tone]
input = "tone"
path = "out/tone.csv"
[outputs.table]
input = "tone"
path = "out/tone.parquet"
"#,
        models("temperature = 0.7\nmax_tokens = 50")
    );
    let server = Server::new().models(&["llama3.2", "mistral", "phi3.5"]).latency_ms(2);
    let server = server.script(|asked, _| Say::Json(json!({ "label": asked.model, "prob": 0.5 })));
    let server = server.start();
    let project = project(&server, &spec).file("speeches.csv", speeches(12));
    project.run(&RUN).exits(0).says("12 rows = 12 answered");
    let table = project.table("out/tone.parquet");
    let added =
        ["llama", "mistral", "phi"].map(|m| [format!("label_{m}"), format!("prob_{m}"), format!("tone_error_{m}")]);
    assert_eq!(table.columns()[5..], added.concat());
    assert_eq!(table.texts("label_phi"), vec!["phi3.5"; 12]);
    assert_eq!(table.texts("prob_llama"), vec!["0.5"; 12], "keys of the shorthand are texts");
    assert_eq!((server.requests(), options(&server)), (36, vec![json!({ "t": 0.7, "n": 50 })]));
    assert!(server.max_in_flight() <= 12, "3 workers with 4 prompts each");
}

/// ```python
/// run_analysis(df, prompt_template="Summarise: {text}", temperature=1.0, max_tokens=100)
/// run_analysis(df, workers=2, model_names=["llama3.2", "mistral"])   # one tag per worker: the models split the rows
/// ```
/// Who answers is a function of the row's number alone, whatever the workers.
#[test]
fn classic_split_summary() {
    let spec = |models_of_stage: &str, workers: u32| {
        format!(
            r#"{}
[sources.speeches]
type = "file"
path = "speeches.csv"
[stages.summary]
type = "analysis"
input = "speeches"
text_column = "speech"
workers = {workers}
models = {models_of_stage}
fanout = false
prompt = "Summarise: {{{{ text }}}}"
[outputs.summary]
input = "summary"
path = "out/summary.parquet"
"#,
            models("temperature = 1.0\nmax_tokens = 100")
        )
    };
    let server = Server::new().script(|asked, _| Say::Text(format!("{} was here", asked.model))).start();
    let one = project(&server, &spec(r#"["llama"]"#, 3)).file("speeches.csv", speeches(6));
    one.run(&RUN).exits(0);
    let table = one.table("out/summary.parquet");
    assert_eq!(table.columns()[5..], ["summary", "summary_error"]);
    assert_eq!(table.texts("summary"), vec!["llama3.2 was here"; 6]);
    assert_eq!(options(&server), [json!({ "t": 1.0, "n": 100 })]);
    for workers in [1, 2, 7] {
        let two = project(&server, &spec(r#"["llama", "mistral"]"#, workers)).file("speeches.csv", speeches(6));
        two.run(&RUN).exits(0);
        let table = two.table("out/summary.parquet");
        assert_eq!(table.texts("summary_model"), ["llama", "mistral", "llama", "mistral", "llama", "mistral"]);
        assert_eq!(table.texts("summary")[1], "mistral was here");
    }
}

/// ```python
/// fill_missing_fields_from_csv(input_csv="events.csv", output_csv="events_filled.csv", title_col="title_en",
///     json_fields=("Occasion", "City"), col_map={"Occasion": "occ", "City": "place"}, workers=2,
///     model_names=["llama3.2", "mistral"], fanout=True, temperature=0.8, max_tokens=60)
/// # adds computed_occasion_llama3.2, computed_city_llama3.2, ..
/// ```
#[test]
fn events_are_enriched_by_their_col_map() {
    let spec = format!(
        r#"{}
[sources.events]
type = "file"
path = "events.csv"
[stages.events]
type = "fill-missing"
input = "events"
text_column = "title_en"
workers = 2
models = ["llama", "mistral"]
fanout = true
[stages.events.fields]
Occasion = {{ type = "string", column = "occ" }}
City = {{ type = "string", column = "place" }}
[outputs.events]
input = "events"
path = "out/events_filled.csv"
[outputs.table]
input = "events"
path = "out/events.parquet"
"#,
        models("temperature = 0.8\nmax_tokens = 60")
    )
    // A stage may not be called like the source that it reads.
    .replace("[stages.events", "[stages.filled")
    .replace("input = \"events\"\npath", "input = \"filled\"\npath");
    let rows = [
        ["title_en", "occ", "place"],
        ["Inaugural address at Washington", "inauguration", "Washington"],
        ["Toast at Ghent", "", "Ghent"],
        ["Remarks", "", ""],
    ];
    let server = Server::new()
        .script(|asked, _| Say::Json(keys(asked).into_iter().map(|key| (key, json!(asked.model))).collect()));
    let server = server.start();
    let project = project(&server, &spec).csv("events.csv", &rows);
    project.run(&RUN).exits(0).says("4 calls sent");
    let mut asked: Vec<Vec<String>> = server.asked().iter().map(keys).collect();
    asked.sort();
    assert_eq!(asked, [vec!["Occasion"], vec!["Occasion"], vec!["Occasion", "City"], vec!["Occasion", "City"]]);
    let table = project.table("out/events.parquet");
    assert_eq!(table.texts("computed_occasion_llama"), ["inauguration", "llama3.2", "llama3.2"]);
    assert_eq!(table.texts("computed_city_mistral"), ["Washington", "Ghent", "mistral"]);
    assert_eq!(table.texts("computed_city_source_mistral"), ["original", "original", "mistral"]);
    assert_eq!(table.strings("occ")[1..], [None, None], "the input's own columns stay");
    assert_eq!(options(&server), [json!({ "t": 0.8, "n": 60 })]);
    assert!(project.text("out/events_filled.csv").starts_with("title_en,occ,place,computed_occasion_llama,"));
}

/// The keys that a call asks for.
fn keys(asked: &Asked) -> Vec<String> {
    let schema = asked.schema.as_ref().and_then(|s| s["properties"].as_object());
    schema.into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// ```python
/// generate_fake_survey_df(n=200, seed=42, fixed_values={"Country": "Canada"}, characteristics={
///     "Gender": {"Man": 0.5, "Woman": 0.45, "Nonbinary": 0.05},
///     "Age_Group": {"depends_on": "Gender", "distributions": {
///         "Man": {"18-24": 0.2, "25-34": 0.3, "35-44": 0.3, "45+": 0.2},
///         "Woman": {"18-24": 0.3, "25-34": 0.3, "35-44": 0.2, "45+": 0.2},
///         "Nonbinary": ["18-24", "25-34", "35-44"]}},
///     "Education": ["High School", "College", "Graduate"]})
/// ```
/// `lambda: random.randint(0, 60)` in the place of a characteristic is `{ distribution = "uniform", .. }`.
const RESPONDENTS: &str = r#"
[sources.people]
type = "population"
n = 200
seed = 42
allocation = "quota"
fixed_values = { Country = "Canada" }
[sources.people.characteristics]
Gender = { Man = 0.5, Woman = 0.45, Nonbinary = 0.05 }
Education = ["High School", "College", "Graduate"]
Commute = { distribution = "uniform", minimum = 0, maximum = 60, decimals = 0 }
[sources.people.characteristics.Age_Group]
depends_on = "Gender"
[sources.people.characteristics.Age_Group.distributions]
Man = { "18-24" = 0.2, "25-34" = 0.3, "35-44" = 0.3, "45+" = 0.2 }
Woman = { "18-24" = 0.3, "25-34" = 0.3, "35-44" = 0.2, "45+" = 0.2 }
Nonbinary = ["18-24", "25-34", "35-44"]
"#;

/// How often each text is in a column of the rows that fit.
fn counts(table: &Table, column: &str, fits: impl Fn(usize) -> bool) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, text) in table.texts(column).into_iter().enumerate().filter(|(row, _)| fits(*row)) {
        *counts.entry(text).or_insert(0) += 1;
    }
    counts
}

#[test]
fn two_hundred_respondents_with_age_by_gender() {
    let spec =
        format!("name = \"old\"\n{RESPONDENTS}\n[outputs.people]\ninput = \"people\"\npath = \"out/people.parquet\"");
    let project = Project::new().spec(&spec);
    project.run(&RUN).exits(0);
    let table = project.table("out/people.parquet");
    assert_eq!(table.columns(), ["ID", "Gender", "Education", "Commute", "Age_Group", "Country"]);
    assert_eq!(table.ints("ID"), (1..=200).map(Some).collect::<Vec<_>>());
    let expected =
        |counts: &[(&str, usize)]| counts.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect::<BTreeMap<_, _>>();
    assert_eq!(counts(&table, "Gender", |_| true), expected(&[("Man", 100), ("Woman", 90), ("Nonbinary", 10)]));
    let gender = table.texts("Gender");
    let man = counts(&table, "Age_Group", |row| gender[row] == "Man");
    assert_eq!(man, expected(&[("18-24", 20), ("25-34", 30), ("35-44", 30), ("45+", 20)]));
    let woman = counts(&table, "Age_Group", |row| gender[row] == "Woman");
    assert_eq!(woman, expected(&[("18-24", 27), ("25-34", 27), ("35-44", 18), ("45+", 18)]));
    assert!(!counts(&table, "Age_Group", |row| gender[row] == "Nonbinary").contains_key("45+"));
    assert!(counts(&table, "Education", |_| true).values().all(|n| [66, 67].contains(n)));
    assert!(table.ints("Commute").iter().all(|minutes| minutes.is_some_and(|m| (0..=60).contains(&m))));
    assert_eq!(table.texts("Country"), vec!["Canada"; 200]);
}

/// ```python
/// run_survey_responses(df, {
///         "How satisfied are you with your job?": ["Very satisfied", "Somewhat satisfied", "Neutral",
///                                                  "Somewhat dissatisfied", "Very dissatisfied"],
///         "What is your preferred work environment?": None,
///         "Which benefit matters most to you?": ["Salary", "Work-life balance", "Career growth", "Health benefits", "Other"]},
///     workers=4, chunk_size=50, batch_size=8, max_concurrent_calls=10, max_tokens=128, model_names="llama3.2",
///     temperature=0.7)
/// ```
#[test]
fn the_job_survey_of_three_questions() {
    let spec = format!(
        r#"name = "old"
seed = 42
[providers.here]
type = "ollama"
max_concurrent_calls = 10
[models.llama]
provider = "here"
model = "llama3.2"
temperature = 0.7
max_tokens = 128
{RESPONDENTS}
[stages.job]
type = "survey"
input = "people"
models = ["llama"]
workers = 4
chunk_size = 50
batch_size = 8
[stages.job.questions]
"How satisfied are you with your job?" = ["Very satisfied", "Somewhat satisfied", "Neutral", "Somewhat dissatisfied", "Very dissatisfied"]
"What is your preferred work environment?" = []
"Which benefit matters most to you?" = ["Salary", "Work-life balance", "Career growth", "Health benefits", "Other"]
[outputs.job]
input = "job"
path = "out/job.parquet"
"#
    );
    let server = Server::new().latency_ms(3).script(|asked, _| match &asked.schema {
        Some(schema) => Say::Json(json!({ "answer": schema["properties"]["answer"]["enum"][1] })),
        None => Say::Text("A quiet office.".to_owned()),
    });
    let server = server.start();
    let project = project(&server, &spec);
    project.run(&RUN).exits(0).says("200 rows = 200 answered").says("600 calls sent");
    assert_eq!(server.requests(), 600);
    assert!((2..=10).contains(&server.max_in_flight()), "{} in flight", server.max_in_flight());
    let table = project.table("out/job.parquet");
    assert_eq!(table.columns()[6..], ["q1", "q2", "q3", "job_error"]);
    assert_eq!(table.texts("q1"), vec!["Somewhat satisfied"; 200]);
    assert_eq!(table.texts("q2"), vec!["A quiet office."; 200]);
    assert_eq!(table.texts("q3"), vec!["Work-life balance"; 200]);
    assert_eq!(options(&server), [json!({ "t": 0.7, "n": 128 })]);
    let first = server.asked().into_iter().next().expect("a request");
    let persona = first.body["messages"][0]["content"].as_str().expect("a system message").to_owned();
    for word in ["Gender", "Education", "Age Group", "Country: Canada"] {
        assert!(persona.contains(word), "{word} is not in: {persona}");
    }
}

/// `new_labels` (0 or 1 for each), `start_index`, the summary `5/38 (13.2 %)`.
///
/// Boolean outputs; the summary prints their shares with intervals, and a resumed run needs no index.
#[test]
fn labels_of_zero_and_one_are_booleans_with_shares() {
    let spec = format!(
        r#"{}
[sources.speeches]
type = "file"
path = "speeches.csv"
key = "speech_id"
[stages.labels]
type = "analysis"
input = "speeches"
models = ["llama"]
prompt = "Label this: {{{{ speech }}}}"
[stages.labels.output]
war = {{ type = "boolean" }}
trade = {{ type = "boolean" }}
[outputs.labels]
input = "labels"
path = "out/labels.parquet"
"#,
        models("")
    );
    let server = Server::new().script(|asked, _| {
        let text = asked.question().to_lowercase();
        Say::Json(json!({ "war": text.contains("president"), "trade": false }))
    });
    let server = server.start();
    let yes = SPEECHES
        .lines()
        .skip(1)
        .take(38)
        .filter(|l| l.split_once("\"").is_some_and(|(_, s)| s.to_lowercase().contains("president")));
    let yes = yes.count();
    let project = project(&server, &spec).file("speeches.csv", speeches(20));
    project.run(&RUN).exits(0).says("20 calls sent");
    project.write("speeches.csv", speeches(38));
    let ran = project
        .run(&RUN)
        .exits(0)
        .says("18 calls sent, 20 from the ledger")
        .says("trade  0/38 (0 %, 95 % sampling interval 0 to 9.18 %)");
    let table = project.table("out/labels.parquet");
    assert_eq!(table.bools("war").into_iter().filter(|war| *war == Some(true)).count(), yes);
    assert!(ran.stderr.contains(&format!("war    {yes}/38 (")), "{}", ran.stderr);
}

/// `extract_quotes`.
///
/// Each quote is looked up in the text.
#[test]
fn extracted_quotes_are_checked() {
    let spec = format!(
        r#"{}
[sources.speeches]
type = "file"
path = "speeches.csv"
key = "speech_id"
[stages.tone]
type = "analysis"
input = "speeches"
models = ["llama"]
text_column = "speech"
prompt = "What is the tone? {{{{ text }}}}"
quotes = true
[stages.tone.output]
tone = {{ type = "string", enum = ["glad", "sad"], nullable = true }}
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#,
        models("")
    );
    let server = Server::new().script(|asked, _| {
        let unknown = asked.question().contains("1791") || asked.question().contains("In vain");
        let words = if unknown { "words of no one" } else { "fellow-citizens  of the SENATE" };
        Say::Json(json!({ "tone_quote": words, "tone": "glad" }))
    });
    let server = server.start();
    let project = project(&server, &spec).file("speeches.csv", speeches(2));
    project.run(&RUN).exits(0);
    let table = project.table("out/tone.parquet");
    let added = ["tone", "tone_quote", "tone_quote_start", "tone_quote_end", "tone_quote_found", "tone_error"];
    assert_eq!(table.columns()[5..], added);
    assert_eq!(table.texts("tone_quote_found"), ["normalised", "no"]);
    assert_eq!(
        (table.ints("tone_quote_start"), table.ints("tone_quote_end")),
        (vec![Some(0), None], vec![Some(29), None])
    );
    assert_eq!(keys(&server.asked()[0]), ["tone_quote", "tone"]);
}

/// `max_concurrent`, and `{prompt, success, error}` in input order.
///
/// Rows keep the input's order whatever finishes first; a row that failed has nulls and an error.
#[test]
fn failures_stand_in_their_rows_in_input_order() {
    let spec = format!(
        r#"{}
[providers.here]
type = "ollama"
max_concurrent_calls = 2
[sources.speeches]
type = "file"
path = "speeches.csv"
key = "speech_id"
[stages.tone]
type = "analysis"
input = "speeches"
models = ["llama"]
prompt = "{{{{ speech_id }}}}"
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#,
        models("").replace("provider = \"ollama\"", "provider = \"here\"")
    );
    let server = Server::new().script(|asked, _| match asked.question() {
        id if id.starts_with("sotu-1790") => Say::Late(60, Box::new(Say::Text("slow".to_owned()))),
        id if id.starts_with("sotu-1791") => Say::status(400),
        id => Say::Text(id.to_owned()),
    });
    let server = server.start();
    let project = project(&server, &spec).file("speeches.csv", speeches(5));
    project.run(&RUN).exits(1).says("5 rows = 4 answered + 1 failed");
    let table = project.table("out/tone.parquet");
    assert_eq!(table.texts("speech_id").len(), 5);
    assert_eq!(table.strings("tone")[..2], [Some("slow".to_owned()), None]);
    assert!(table.strings("tone_error")[1].as_deref().is_some_and(|error| error.starts_with("rejected: ")));
    assert_eq!(table.strings("tone")[2..], table.strings("speech_id")[2..]);
    assert!(server.max_in_flight() <= 2);
}
