//! Several rows in one prompt: whatever a model makes of the reply, each row gets its own answer, and calls are saved.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::project::{Cell, Project};
use crate::recipe::{TYPED, project, spec};
use crate::server::{Asked, Builder, Say, Server, hash};
use crate::weights;

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const EXPORT: [&str; 5] = ["ledger", "export", "pipeline.toml", "-o", "calls.parquet"];
const LABELS: [&str; 3] = ["positive", "neutral", "negative"];

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// One model that is asked about so many rows at once; `stage` are more lines of its stage.
fn packs_of(size: usize, stage: &str) -> String {
    spec(&format!("models = [\"llama\"]\nrows_per_prompt = {size}\n{stage}\n{TYPED}"))
}

/// The items of a packed prompt: id and text; none where it asks about one row.
fn items(asked: &Asked) -> Option<Vec<(String, String)>> {
    let (_, listed) = asked.question().split_once("\nThe items:\n")?;
    let mut found = Vec::new();
    let mut rest = listed;
    while let Some((_, after)) = rest.split_once("<item ") {
        let (id, after) = after.split_once(">\n").expect("a fence");
        let (text, after) = after.split_once(&format!("\n</item {id}>")).expect("the end of the fence");
        found.push((id.to_owned(), text.to_owned()));
        rest = after;
    }
    Some(found)
}

/// The number of the row in a text.
fn number(text: &str) -> u64 {
    let digits: String =
        text.split("Speech ").nth(1).expect("a speech").chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// What is true of a row.
fn truth(text: &str) -> Value {
    let number = number(text);
    json!({ "label": LABELS[(number % 3) as usize], "score": number % 11 })
}

/// The reply to a call: the truth about each item, but `per_mille` of them are corrupted somehow.
fn corrupted(asked: &Asked, per_mille: u64) -> Say {
    let Some(items) = items(asked) else { return Say::Json(truth(asked.question())) };
    let entry = |id: &str, text: &str| json!({ "id": id, "answer": truth(text) });
    let mut answers: Vec<Value> = items.iter().map(|(id, text)| entry(id, text)).collect();
    let seed = hash(&[asked.question()]);
    let (mut left_out, mut doubled) = (Vec::new(), Vec::new());
    for (i, (id, text)) in items.iter().enumerate() {
        let draw = hash(&[asked.question(), id]);
        if draw % 1000 >= per_mille {
            continue;
        }
        let other = (i + 1) % items.len();
        match draw / 1000 % 8 {
            0 => left_out.push(i),
            1 => doubled.push(entry(id, &items[other].1)),
            // Two rows are merged into one.
            2 => {
                answers[i]["answer"] = json!([truth(text), truth(&items[other].1)]);
                left_out.push(other);
            }
            3 => answers[i]["id"] = json!((i + 1).to_string()),
            4 => answers[i]["id"] = json!(format!("{id}, {}", items[other].0)),
            5 => answers[i]["answer"]["score"] = json!(99),
            6 => answers[i]["id"] = json!(format!("{}q", &id[..id.len() - 1])),
            // One is dropped, and all behind it are counted anew.
            _ => {
                left_out.push(i);
                answers[i + 1..].iter_mut().zip(i..).for_each(|(answer, n)| answer["id"] = json!((n + 1).to_string()));
            }
        }
    }
    left_out.sort_unstable();
    left_out.dedup();
    left_out.into_iter().rev().for_each(|i| drop(answers.remove(i)));
    // Who says one id once, with the answer to another, lies: nobody could tell. These are said twice.
    doubled.retain(|double| answers.iter().any(|answer| answer["id"] == double["id"]));
    answers.extend(doubled);
    if seed.is_multiple_of(3) {
        answers.reverse();
    }
    Say::Json(json!({ "answers": answers }))
}

fn corrupting(per_mille: u64) -> Builder {
    Server::new().script(move |asked, _| corrupted(asked, per_mille))
}

/// Every row has what is true of it.
#[track_caller]
fn all_true(project: &Project, rows: usize) {
    let table = project.table(OUT);
    assert_eq!((table.len(), table.nulls("tone_error")), (rows, rows));
    let (texts, labels, scores) = (table.texts("text"), table.texts("label"), table.ints("score"));
    let wrong = (0..rows).filter(|row| truth(&texts[*row]) != json!({ "label": labels[*row], "score": scores[*row] }));
    assert_eq!(wrong.count(), 0, "rows with the answer of another");
}

/// Runs so many rows, twenty a prompt, 1 % of the items corrupted: none is misaligned, for at most twice the ideal.
fn runs_true(rows: usize) {
    let server = corrupting(10).start();
    let project = project(&server, &packs_of(20, "workers = 8"), rows);
    let ran = project.run(&RUN).exits(0).says(" without packing");
    all_true(&project, rows);
    let ideal = rows.div_ceil(20);
    assert!(server.requests() > ideal && server.requests() <= 2 * ideal, "{} calls, ideal {ideal}", server.requests());
    eprintln!("{rows} rows: {} calls, ideal {ideal}\n{}", server.requests(), ran.stderr);
}

#[test]
fn corrupted_replies_misalign_no_row_and_cost_little() {
    runs_true(6_000);
}

#[test]
#[ignore = "takes minutes; the same as the test before, longer"]
fn corrupted_replies_misalign_none_of_a_million_rows() {
    runs_true(1_000_000);
}

#[test]
fn every_reply_may_be_bad_and_every_row_is_answered_all_the_same() {
    let server = corrupting(600).start();
    let project = project(&server, &packs_of(8, ""), 200);
    project.run(&RUN).exits(0).says("200 rows = 200 answered");
    all_true(&project, 200);
}

/// A stage that skips some rows, in packs of 6.
fn with_gaps(more: &str) -> String {
    packs_of(6, &format!("when = \"year % 4 != 2\"\n{more}"))
        .replace("key = \"id\"", "key = \"id\"\ntypes = { year = \"integer\" }")
}

#[test]
fn packs_are_a_function_of_the_order_of_the_rows_alone() {
    let mut all: Option<(Vec<u8>, Vec<String>)> = None;
    for more in ["", "workers = 1\nbatch_size = 1", "workers = 9\nchunk_size = 7", "chunk_size = 31", "chunk_size = 1"]
    {
        let server = corrupting(50).start();
        let project = project(&server, &with_gaps(more), 200);
        project.run(&RUN).exits(0);
        let mut asked: Vec<String> = server.times_asked().into_keys().collect();
        asked.sort();
        let found = (project.bytes(OUT), asked);
        let (table, calls) = all.get_or_insert_with(|| found.clone());
        assert!(found.0 == *table, "{more}: another table");
        assert!(found.1 == *calls, "{more}: other calls");
    }
    let (_, calls) = all.expect("runs");
    let first = calls.iter().find(|call| call.contains("Speech 1,")).expect("the first pack");
    // The first of its six rows and the fifth are skipped, and nobody moves up into their places.
    assert!(first.contains("Speech 5,") && !first.contains("Speech 6,"), "{first}");
}

#[test]
fn models_that_share_the_rows_are_dealt_packs() {
    let server = corrupting(0).start();
    let text = packs_of(5, "").replace("models = [\"llama\"]", "models = [\"llama\", \"mistral\"]");
    let project = project(&server, &text, 23);
    project.run(&RUN).exits(0);
    let who = project.table(OUT).texts("tone_model");
    let dealt: Vec<&str> = (0..23).map(|row| if row / 5 % 2 == 0 { "llama" } else { "mistral" }).collect();
    assert_eq!(who, dealt);
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (3, 2));
}

#[test]
fn a_fan_out_packs_the_same_rows_for_every_model() {
    let server = corrupting(30).start();
    let text = packs_of(5, "fanout = true\nlayout = \"long\"\nreplicates = 2")
        .replace("models = [\"llama\"]", "models = [\"llama\", \"mistral\"]");
    let project = project(&server, &text, 40);
    project.run(&RUN).exits(0);
    all_true(&project, 160);
}

#[test]
fn killed_and_run_again_it_pays_nothing_twice() {
    let undisturbed = {
        let server = corrupting(60).start();
        let project = project(&server, &packs_of(4, "workers = 2\nbatch_size = 2\nchunk_size = 40"), 160);
        project.run(&RUN).exits(0);
        project.bytes(OUT)
    };
    for answers in [1, 9, 30, 44] {
        let server = corrupting(60).latency_ms(15).start();
        let project = project(&server, &packs_of(4, "workers = 2\nbatch_size = 2\nchunk_size = 40"), 160);
        let running = project.spawn(&RUN);
        assert!(server.wait_answered(answers));
        let moment = Instant::now();
        running.kill();
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == undisturbed, "killed after {answers}: another table");
        let twice = server.paid_twice(moment - Duration::from_millis(250));
        assert!(twice.is_empty(), "killed after {answers}: paid twice: {twice:?}");
        let again: usize = server.times_asked().values().map(|times| times - 1).sum();
        assert!(again <= 4, "killed after {answers}: {again} calls were asked again");
    }
}

#[test]
fn the_ledger_and_a_replay_know_the_halving() {
    let server = corrupting(80).start();
    let project = project(&server, &packs_of(6, "chunk_size = 30"), 100);
    project.run(&RUN).exits(0);
    let (bytes, calls) = (project.bytes(OUT), server.requests());
    assert!(calls > 17, "some items were asked again");
    project.run(&EXPORT).exits(0);
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(project.bytes(OUT) == bytes && server.requests() == calls, "all of it was in the ledger");
    fs::remove_dir_all(project.path(".fanfold")).expect("the project has been run");
    let replay = ["run", "pipeline.toml", "--replay", "calls.parquet"];
    project.run(&replay).exits(0).says(&format!("0 calls sent, {calls} recorded"));
    assert!(project.bytes(OUT) == bytes && server.requests() == calls, "all of it was in the file");
}

#[test]
fn replies_that_are_cut_off_and_prompts_that_are_refused_are_halved_too() {
    let server = Server::new().script(|asked, _| match items(asked).map_or(1, |items| items.len()) {
        2 | 8 => Say::Truncated("{\"answers\": [{\"id\"".into()),
        4 => Say::status(400),
        _ => Say::Json(truth(asked.question())),
    });
    let server = server.start();
    let project = project(&server, &packs_of(8, ""), 8);
    project.run(&RUN).exits(0);
    all_true(&project, 8);
    // What is rejected is tried in looser forms first.
    let questions: BTreeSet<String> = server.asked().iter().map(|asked| asked.question().to_owned()).collect();
    assert_eq!(questions.len(), 1 + 2 + 4 + 8);
    let asked = server.asked();
    let tokens = |asked: Option<&Asked>| asked.and_then(|asked| asked.body["options"]["num_predict"].as_i64());
    assert_eq!((tokens(asked.first()), tokens(asked.last())), (Some(8 * (64 + 24)), Some(64)), "room for every item");
    // A reply that was paid is not paid again, whatever became of it.
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    server.forget();
    project.run(&RUN).exits(0);
    assert!(
        server.asked().iter().all(|asked| items(asked).is_some_and(|items| items.len() == 4)),
        "only what was refused"
    );
}

#[test]
fn one_row_that_fails_fails_alone() {
    let server = Server::new().script(|asked, _| match asked.question().contains("Speech 5,") {
        true => Say::Text("I can't say.".into()),
        false => corrupted(asked, 0),
    });
    let server = server.start();
    let project = project(&server, &packs_of(8, "max_attempts = 2"), 16);
    project.run(&RUN).exits(1).says("16 rows = 15 answered + 1 failed");
    let table = project.table(OUT);
    assert_eq!(table.nulls("tone_error"), 15);
    assert!(table.strings("tone_error")[5].as_deref().is_some_and(|error| error.starts_with("malformed")));
}

#[test]
fn equal_rows_are_one_item() {
    let server = corrupting(0).start();
    let project = project(&server, &packs_of(4, ""), 0);
    let rows = [["id", "text"], ["a", "Speech 1, x"], ["b", "Speech 1, x"], ["c", "Speech 2, x"], ["d", "Speech 1, x"]];
    let project = project.csv("data.csv", &rows);
    project.run(&RUN).exits(0);
    all_true(&project, 4);
    assert_eq!(items(&server.asked()[0]).map(|items| items.len()), Some(2));
}

#[test]
fn the_calls_table_adds_up_and_explain_shows_the_pack() {
    let server = corrupting(100).start();
    let project = project(&server, &packs_of(5, ""), 40);
    project.run(&RUN).exits(0);
    let calls = project.calls();
    let sent = calls.strings("prompt").into_iter().flatten().count();
    assert_eq!(sent, server.requests(), "each call stands there once");
    let manifest = project.files(".fanfold/runs").into_iter().find(|file| file.ends_with("manifest.json"));
    let manifest = json_of(&project.text(&manifest.expect("a manifest")));
    let totals = &manifest["stages"]["tone"];
    for column in ["prompt_tokens", "completion_tokens", "attempts"] {
        let sum: i64 = calls.ints(column).into_iter().flatten().sum();
        assert_eq!(totals[column], sum, "{column}");
    }
    assert_eq!((&totals["without_packing"], &totals["calls"]), (&json!(40), &json!(server.requests())));
    let rows = calls.ints("row");
    assert!((1..=40).all(|row| rows.contains(&Some(row))), "a line for every row");
    let good = calls.strings("item_error").iter().filter(|error| error.is_none()).count();
    assert_eq!(good, 40, "each row has one good answer");
    let positions: Vec<_> = calls.ints("pack_position").into_iter().zip(calls.ints("pack_size")).take(5).collect();
    assert!(positions.contains(&(Some(1), Some(5))), "{positions:?}");

    // A row in the middle of a pack that came back well at once.
    let row = (0..40).find(|row| {
        let lines: Vec<usize> = (0..calls.len()).filter(|line| rows[*line] == Some(row + 1)).collect();
        row % 5 == 3 && lines.len() == 1
    });
    let row = row.expect("a row that was answered in its first pack");
    let args = ["explain", OUT, &format!("s{row:04}"), "label", "--format", "json"];
    let said = json_of(&project.run(&args).exits(0).stdout);
    let call = &said["explanation"]["stages"][0]["rows"][0]["calls"][0];
    let text = format!("Speech {row},");
    assert!(call["prompt"].as_str().is_some_and(|prompt| prompt.contains(&text)), "{call:#}");
    assert_eq!((&call["pack_position"], &call["pack_size"]), (&json!(4), &json!(5)));
    assert_eq!(json_of(call["item_reply"].as_str().expect("its part")), truth(&text));
    let shown = project.run(&args[..4]).exits(0).stdout;
    assert!(shown.contains("item 4 of 5 in one prompt") && shown.contains(&text), "{shown}");
}

/// A server that says `negative` of one row in ten where it reads several, and of none where it reads one.
fn biased(asked: &Asked) -> Say {
    let good = json!({ "label": "positive", "score": 1 });
    let Some(items) = items(asked) else { return Say::Json(good) };
    let entry = |(id, text): &(String, String)| {
        let label = if number(text).is_multiple_of(10) { "negative" } else { "positive" };
        json!({ "id": id, "answer": { "label": label, "score": 1 } })
    };
    Say::Json(json!({ "answers": items.iter().map(entry).collect::<Vec<_>>() }))
}

#[test]
fn an_audit_shows_what_packs_change_and_save_and_changes_nothing() {
    let server = Server::new().script(|asked, _| biased(asked)).start();
    let plain = project(&server, &packs_of(10, ""), 400);
    plain.run(&RUN).exits(0);
    let rows = |project: &Project| project.table(OUT).rows().to_vec();
    let audited = project(&server, &packs_of(10, "audit = { rows = 400 }\nchunk_size = 150"), 400);
    let ran = audited.run(&RUN).exits(0);
    assert_eq!(rows(&audited), rows(&plain), "the audit's answers stand in no table");
    let manifest = |project: &Project| {
        let file = project.files(".fanfold/runs").into_iter().find(|file| file.ends_with("manifest.json"));
        json_of(&project.text(&file.expect("a manifest")))["stages"]["tone"]["audit"].clone()
    };
    let audit = manifest(&audited);
    let label = &audit["columns"]["label"];
    assert_eq!((&audit["compared"], &label["differ"]), (&json!(400), &json!(40)), "{audit:#}");
    let negative = &label["labels"]["negative"];
    assert_eq!((&negative["packed_only"], &negative["single_only"]), (&json!(40), &json!(0)));
    assert!(negative["p_value"].as_f64().is_some_and(|p| (p - 2.0 * 0.5_f64.powi(40)).abs() < 1e-15), "{negative}");
    assert_eq!(label["labels"]["neutral"], json!({ "packed_only": 0, "single_only": 0, "p_value": 1.0 }));
    for line in ["label: 40 of 400 differ (10.0 %)", "McNemar p = < 0.001", "tokens an answer alone"] {
        assert!(ran.stderr.contains(line), "`{line}` is not in:\n{}", ran.stderr);
    }
    // The numbers stay with the parts, and all of it is in the ledger and in a replay file.
    let asked = server.requests();
    audited.run(&RUN).exits(0).says("label: 40 of 400 differ");
    audited.run(&EXPORT).exits(0);
    fs::remove_dir_all(audited.path(".fanfold")).expect("the project has been run");
    audited.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0).says("label: 40 of 400 differ");
    assert_eq!(server.requests(), asked, "nothing is asked again");
    // A sample is drawn by the seed alone.
    let some = |stage: &str| {
        let project = project(&server, &packs_of(10, &format!("audit = {{ rows = 37 }}\n{stage}")), 400);
        project.run(&RUN).exits(0);
        let calls = project.calls();
        let lines = calls.bools("audit").into_iter().zip(calls.ints("row"));
        lines.filter(|(audit, _)| *audit == Some(true)).filter_map(|(_, row)| row).collect::<Vec<i64>>()
    };
    let sample = some("");
    assert_eq!((sample.len(), some("chunk_size = 30\nworkers = 1")), (37, sample));
}

#[test]
fn a_plan_counts_packs() {
    let server = corrupting(100).start();
    let project = project(&server, &packs_of(6, "audit = { rows = 9 }"), 40);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("6 rows a prompt, 7 calls if every answer comes back well and an audit of 9 rows"), "{plan}");
    project.run(&RUN).exits(0);
    let asked = server.requests();
    let plan = json_of(&project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).stdout);
    let stage = &plan["stages"][0];
    assert_eq!(
        (&stage["calls"], &stage["rows_per_prompt"], &stage["not_known_yet"]),
        (&json!(7), &json!(6), &json!(0))
    );
    assert!(stage["from_ledger"].as_u64().is_some_and(|known| known > 7 && known <= asked as u64), "{stage}");
}

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
        let single = &schema["properties"]["answers"]["items"]["properties"]["answer"];
        let answers = items.iter().map(|(id, text)| json!({ "id": id, "answer": of(single, text) }));
        Say::Json(json!({ "answers": answers.collect::<Vec<_>>() }))
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
    // What a person says hangs on his name, which stands in the item.
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

#[test]
fn a_real_small_model_is_asked_about_four_rows_at_once() {
    const PARAGRAPHS: &str = include_str!("../../pipelines/data/paragraphs.csv");
    let text = r#"name = "inside"
[models.small]
provider = "embedded"
model = "smollm2-135m"
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
prompt = "What is this about?\n\n{{ text }}"
rows_per_prompt = 4
audit = { rows = 2 }
[stages.topic.output]
topic = { type = "string", enum = ["war", "money", "land"] }
[outputs.topic]
input = "topic"
path = "out/topic.parquet"
"#;
    let data: String = PARAGRAPHS.lines().take(6).map(|line| format!("{line}\n")).collect();
    let project = Project::new().spec(text).file("data.csv", data);
    let test = "a_real_small_model_is_asked_about_four_rows_at_once";
    let Some(project) = weights::or_skip(test, project) else { return };
    let ran = project.run(&RUN).exits(0).says("5 rows = 5 answered + 0 failed").says("against 5 without packing");
    let table = project.table("out/topic.parquet");
    assert!(table.texts("topic").iter().all(|topic| ["war", "money", "land"].contains(&topic.as_str())));
    let calls = project.calls();
    assert!(calls.ints("pack_size").contains(&Some(4)));
    eprintln!("{}", ran.stderr);
    for (reply, error) in calls.strings("reply").iter().zip(calls.strings("item_error")) {
        eprintln!("{reply:?} {error:?}");
    }
}
