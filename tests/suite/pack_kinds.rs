//! Every kind of stage in packs: stages after stages, `fill-missing`, surveys with a memory, and a real small model.

use serde_json::{Map, Value, json};

use crate::llama::{Llama, MODEL};
use crate::pack::{corrupted, items, json_of, number, packs_of};
use crate::project::{Cell, Project};
use crate::recipe::project;
use crate::server::{Asked, Say, Server};
use crate::weights;

const RUN: [&str; 2] = ["run", "pipeline.toml"];

#[test]
fn a_stage_reads_the_answers_of_packs_in_packs() {
    let more = "\n[stages.why]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"mistral\"]\nrows_per_prompt = 7\n\
                prompt = \"Why is this {{ label }}? {{ text }}\"\n\n[outputs.why]\ninput = \"why\"\npath = \"out/why.parquet\"\n";
    let server = Server::new().script(|asked, _| {
        if asked.model != "mistral" {
            return corrupted(asked, 40);
        }
        let why = |text: &str| json!(format!("because of {}", number(text)));
        match items(asked) {
            Some(items) => {
                let answers: Vec<Value> =
                    items.iter().map(|(id, text)| json!({ "id": id, "answer": why(text) })).collect();
                Say::Json(json!({ "answers": answers }))
            }
            None => Say::Text(why(asked.question()).as_str().unwrap_or_default().to_owned()),
        }
    });
    let server = server.start();
    let project = project(&server, &(packs_of(4, "chunk_size = 16") + more), 60);
    let plan = json_of(&project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).stdout);
    let known = |stage: usize| (plan["stages"][stage]["not_known_yet"].clone(), plan["stages"][stage]["calls"].clone());
    assert_eq!((known(0), known(1)), ((json!(0), json!(15)), (json!(60), json!(9))));
    project.run(&RUN).exits(0);
    let table = project.table("out/why.parquet");
    let told: Vec<String> = (0..60).map(|row| format!("because of {row}")).collect();
    assert_eq!(table.texts("why"), told);
    let plan = json_of(&project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).stdout);
    assert_eq!(plan["stages"][1]["from_ledger"], 9, "a plan follows rows through packs");
}

#[test]
fn only_rows_that_lack_the_same_go_together() {
    let text = r#"name = "meta"
[models.m]
provider = "ollama"
model = "llama3.2"
[sources.s]
type = "file"
path = "data.csv"
key = "id"
types = { year = "integer" }
[stages.meta]
type = "fill-missing"
input = "s"
models = ["m"]
text_column = "text"
rows_per_prompt = 6
[stages.meta.fields.year]
type = "integer"
column = "year"
[stages.meta.fields.place]
type = "string"
column = "place"
[outputs.meta]
input = "meta"
path = "out/meta.parquet"
"#;
    let server = Server::new().script(|asked, _| {
        let of = |schema: &Value, text: &str| {
            let mut answer = json!({});
            for key in schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
                answer[key] =
                    if key == "year" { json!(1800 + number(text)) } else { json!(format!("town {}", number(text))) };
            }
            answer
        };
        let schema = asked.schema.clone().expect("a schema");
        let Some(items) = items(asked) else { return Say::Json(of(&schema, asked.question())) };
        let answers = items.iter().map(|(id, text)| (id.clone(), of(&schema["properties"][id], text)));
        Say::Json(answers.collect::<Map<String, Value>>().into())
    });
    let server = server.start();
    let row = |i: usize| {
        let (year, place) = match i % 4 {
            0 => (String::new(), String::new()),
            1 => ("1700".to_owned(), String::new()),
            2 => (String::new(), "here".to_owned()),
            _ => ("1700".to_owned(), "here".to_owned()),
        };
        [format!("s{i}"), year, place, format!("Speech {i}, somewhere.")]
    };
    let rows: Vec<[String; 4]> =
        [["id", "year", "place", "text"].map(str::to_owned)].into_iter().chain((0..24).map(row)).collect();
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(text).csv("data.csv", &rows);
    project.run(&RUN).exits(0).says("24 rows = 24 answered");
    let table = project.table("out/meta.parquet");
    for (i, (year, place)) in table.ints("computed_year").iter().zip(table.texts("computed_place")).enumerate() {
        let lacks = |a: usize, b: usize| i % 4 == a || i % 4 == b;
        assert_eq!(*year, Some(if lacks(0, 2) { 1800 + i as i64 } else { 1700 }), "row {i}");
        assert_eq!(place, if lacks(0, 1) { format!("town {i}") } else { "here".to_owned() }, "row {i}");
    }
    // Six rows hold two of one kind or one: a call each.
    assert_eq!(server.requests(), 4 * 3);
}

#[test]
fn a_survey_packs_question_by_question() {
    let text = r#"name = "talks"
seed = 7
[models.m]
provider = "ollama"
model = "llama3.2"
temperature = 0.0
[sources.people]
type = "file"
path = "people.csv"
key = "id"
[stages.talk]
type = "survey"
input = "people"
models = ["m"]
memory = true
rows_per_prompt = 5
questions = [
  { id = "owns", text = "Do you own a home?", options = ["yes", "no"] },
  { id = "rent", text = "What do you pay?", type = "number", when = "owns == 'no'" },
  { id = "mood", text = "How are you?", options = ["well", "badly"] },
]
[outputs.talk]
input = "talk"
path = "out/talk.parquet"
"#;
    // The answer of a person depends on the name, which is in the item.
    let said = |asked: &Asked, who: u64| {
        let question = asked.messages.iter().rfind(|(role, _)| role == "user").map_or("", |(_, text)| text);
        let asks = question.split("The items:").next().unwrap_or_default();
        match () {
            () if asks.contains("How are you") => {
                json!({ "answer": if who.is_multiple_of(3) { "badly" } else { "well" } })
            }
            () if asks.contains("What do you pay") => json!({ "answer": 100 + who }),
            () => json!({ "answer": if who.is_multiple_of(2) { "yes" } else { "no" } }),
        }
    };
    let who = |text: &str| -> u64 {
        let digits: String =
            text.split("name: n").nth(1).expect("a name").chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    let server = Server::new().script(move |asked, _| match items(asked) {
        Some(items) => {
            let answers = items.iter().map(|(id, text)| json!({ "id": id, "answer": said(asked, who(text)) }));
            Say::Json(json!({ "answers": answers.collect::<Vec<_>>() }))
        }
        None => Say::Json(said(asked, who(&asked.messages[0].1))),
    });
    let server = server.start();
    let rows: Vec<[String; 2]> = [["id".to_owned(), "name".to_owned()]]
        .into_iter()
        .chain((0..20).map(|i| [format!("p{i}"), format!("n{i}")]))
        .collect();
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(text).csv("people.csv", &rows);
    project.run(&RUN).exits(0);
    let table = project.table("out/talk.parquet");
    for i in 0..20_usize {
        let expected = (
            if i % 2 == 0 { "yes" } else { "no" },
            if i % 2 == 0 { Cell::Null } else { Cell::Float(100.0 + i as f64) },
            if i % 3 == 0 { "badly" } else { "well" },
        );
        let found = (table.texts("owns")[i].clone(), table.cells("rent")[i].clone(), table.texts("mood")[i].clone());
        assert_eq!((found.0.as_str(), found.1, found.2.as_str()), expected, "person {i}");
    }
    assert!(server.requests() < 20 * 2, "{} calls", server.requests());
}

const PARAGRAPHS: &str = include_str!("../../pipelines/data/paragraphs.csv");

/// A spec that asks a small model about four paragraphs at once; `model` are lines of its provider and its model.
fn small(model: &str, stage: &str) -> String {
    format!(
        r#"name = "inside"
{model}
temperature = 0.0
max_tokens = 48
[sources.paragraphs]
type = "file"
path = "data.csv"
key = "id"
[stages.topic]
type = "analysis"
input = "paragraphs"
models = ["small"]
prompt = "What is this about?\n\n{{{{ text }}}}"
rows_per_prompt = 4
{stage}
[stages.topic.output]
topic = {{ type = "string", enum = ["war", "money", "land"] }}
[outputs.topic]
input = "topic"
path = "out/topic.parquet"
"#
    )
}

fn paragraphs(spec: &str, rows: usize) -> Project {
    let data: String = PARAGRAPHS.lines().take(rows + 1).map(|line| format!("{line}\n")).collect();
    Project::new().spec(spec).file("data.csv", data)
}

/// Runs over twelve rows. A small model needs no more calls than there are packs if the ids are keys of the schema.
fn one_call_answers_four_rows(project: &Project) {
    let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0);
    let stage = &json_of(&ran.stdout)["stages"]["topic"];
    assert_eq!(
        (&stage["answered"], &stage["calls"], &stage["attempts"]),
        (&json!(12), &json!(3), &json!(3)),
        "{stage}"
    );
    let calls = project.calls();
    assert_eq!(calls.nulls("item_error"), 12);
    let reply = json_of(calls.strings("reply")[0].as_deref().expect("a reply"));
    assert_eq!(reply.as_object().map(Map::len), Some(4), "{reply}");
}

#[test]
fn an_embedded_model_answers_every_item_of_a_pack() {
    let text = small("[models.small]\nprovider = \"embedded\"\nmodel = \"smollm2-135m\"", "");
    let test = "an_embedded_model_answers_every_item_of_a_pack";
    let Some(project) = weights::or_skip(test, paragraphs(&text, 12)) else { return };
    one_call_answers_four_rows(&project);
}

#[test]
fn a_model_of_llama_cpp_answers_every_item_of_a_pack() {
    let Some(llama) = Llama::or_skip("a_model_of_llama_cpp_answers_every_item_of_a_pack") else { return };
    let model = format!(
        "[providers.lab]\ntype = \"openai\"\nbase_url_env = \"LLAMA_URL\"\n\n[models.small]\nprovider = \"lab\"\nmodel = \"{MODEL}\""
    );
    let project = paragraphs(&small(&model, ""), 12).env("LLAMA_URL", &format!("{}/v1", llama.url()));
    one_call_answers_four_rows(&project);
}

#[test]
fn a_real_small_model_is_asked_about_four_rows_at_once() {
    let embedded = "[models.small]\nprovider = \"embedded\"\nmodel = \"smollm2-135m\"";
    let project = paragraphs(&small(embedded, "audit = { rows = 2 }"), 5);
    let test = "a_real_small_model_is_asked_about_four_rows_at_once";
    let Some(project) = weights::or_skip(test, project) else { return };
    let ran = project.run(&RUN).exits(0).says("5 rows = 5 answered + 0 failed").says("instead of 5 without packing");
    let table = project.table("out/topic.parquet");
    assert!(table.texts("topic").iter().all(|topic| ["war", "money", "land"].contains(&topic.as_str())));
    let calls = project.calls();
    assert!(calls.ints("pack_size").contains(&Some(4)));
    eprintln!("{}", ran.stderr);
    for (reply, error) in calls.strings("reply").iter().zip(calls.strings("item_error")) {
        eprintln!("{reply:?} {error:?}");
    }
}
