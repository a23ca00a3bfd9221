//! Packs: each row gets its own answer from any reply to several rows, and packs save calls.
//! `pack_kinds` tests packs of each kind of stage.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::{Asked, Builder, Say, Server, hash};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const EXPORT: [&str; 5] = ["ledger", "export", "pipeline.toml", "-o", "calls.parquet"];
const LABELS: [&str; 3] = ["positive", "neutral", "negative"];

pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// One model with `size` rows per prompt; `stage` contains more lines of the stage.
pub(crate) fn packs_of(size: usize, stage: &str) -> String {
    spec(&format!("models = [\"llama\"]\nrows_per_prompt = {size}\n{stage}\n{TYPED}"))
}

/// The items of a packed prompt as id and text; `None` if the prompt asks about one row.
pub(crate) fn items(asked: &Asked) -> Option<Vec<(String, String)>> {
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
pub(crate) fn number(text: &str) -> u64 {
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
pub(crate) fn corrupted(asked: &Asked, per_mille: u64) -> Say {
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
    // A reply that swaps the answers of two ids once can't be detected. These ids come twice.
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

/// A server that answers each property of a pack with the truth, as a server that enforces the schema does.
fn keyed(asked: &Asked) -> Say {
    let Some(items) = items(asked) else { return Say::Json(truth(asked.question())) };
    let schema = asked.schema.as_ref().expect("a schema");
    let keys: Vec<&String> = schema["properties"].as_object().expect("properties").keys().collect();
    assert_eq!(keys, items.iter().map(|(id, _)| id).collect::<Vec<_>>(), "one property for each item, in order");
    assert_eq!(schema["required"], json!(keys));
    assert_eq!(schema["additionalProperties"], json!(false));
    Say::Json(items.iter().map(|(id, text)| (id.clone(), truth(text))).collect::<serde_json::Map<_, _>>().into())
}

/// A spec for an OpenAI-like server with these lines in its provider.
fn openai_packs(size: usize, provider: &str) -> String {
    let text = packs_of(size, "").replace("num_ctx = 4096\n", "");
    text.replace("type = \"ollama\"", &format!("type = \"openai\"\nbase_url_env = \"LAB_URL\"\n{provider}"))
}

#[test]
fn a_server_that_enforces_the_schema_is_asked_for_a_property_of_each_item() {
    for text in [packs_of(20, ""), openai_packs(20, "")] {
        let server = Server::new().script(|asked, _| keyed(asked)).start();
        let project = project(&server, &text, 40);
        project.run(&RUN).exits(0).says("40 rows = 40 answered");
        all_true(&project, 40);
        assert_eq!(server.requests(), 2);
        let schemas: BTreeSet<String> = server.asked().iter().map(|a| a.schema.clone().unwrap().to_string()).collect();
        assert_eq!(schemas.len(), 1, "packs of one size have one schema");
    }
}

#[test]
fn other_servers_and_large_packs_are_asked_for_a_list() {
    // 40 items with 3 properties each are more than some servers of the protocol accept in one schema.
    for text in [openai_packs(4, "structured_output = \"json_object\""), openai_packs(40, "")] {
        let server = corrupting(0).start();
        let project = project(&server, &text, 40);
        project.run(&RUN).exits(0);
        all_true(&project, 40);
        assert!(server.asked().iter().all(|asked| asked.question().contains("of this form: {\"answers\": [{\"id\": ")));
    }
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

/// Runs rows with twenty in a prompt and 1 % corrupted items: none is misaligned, for at most twice the ideal number of calls.
fn runs_true(rows: usize) {
    let server = corrupting(10).start();
    let project = project(&server, &packs_of(20, "workers = 8"), rows);
    let mut running = project.spawn(&RUN);
    // The usual deadline of a run is too short for this many rows.
    while !running.ended() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let ran = running.wait().exits(0).says(" without packing");
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
    // The first and the fifth of its six rows are skipped; no other row takes their places.
    assert!(first.contains("Speech 5,") && !first.contains("Speech 6,"), "{first}");
}

#[test]
fn models_that_share_the_rows_are_dealt_packs() {
    let server = corrupting(0).start();
    let text = packs_of(5, "").replace("models = [\"llama\"]", "models = [\"llama\", \"mistral\"]\nfanout = false");
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
fn an_answer_of_null_counts_in_a_pack_too() {
    let answer = |text: &str| match number(text) % 3 {
        0 => json!({ "label": null, "score": 1 }),
        _ => truth(text),
    };
    let server = Server::new().script(move |asked, _| match items(asked) {
        Some(items) => {
            let answers = items.iter().map(|(id, text)| json!({ "id": id, "answer": answer(text) }));
            Say::Json(json!({ "answers": answers.collect::<Vec<_>>() }))
        }
        None => Say::Json(answer(asked.question())),
    });
    let server = server.start();
    let shares = |size: usize| {
        let nullable = packs_of(size, "").replace("\"negative\"]", "\"negative\"], nullable = true");
        let project = project(&server, &nullable, 12);
        project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0).json()["stages"]["tone"]["shares"].clone()
    };
    let packed = shares(4);
    assert_eq!((&packed["label"]["null"], &packed["label"]["of"]), (&json!(4), &json!(8)), "{packed:#}");
    assert_eq!(packed, shares(1));
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
    assert_eq!(sent, server.requests(), "the table contains each call once");
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

/// A server that answers `negative` for one row in ten of a pack, and never for a single row.
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
    assert_eq!(rows(&audited), rows(&plain), "no table contains the audit's answers");
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
    for line in ["label: 40 of 400 differ (10 %)", "McNemar p = < 0.001", "tokens an answer alone"] {
        assert!(ran.stderr.contains(line), "`{line}` is not in:\n{}", ran.stderr);
    }
    // The numbers stay with the parts, and all of it is in the ledger and in a replay file.
    let asked = server.requests();
    audited.run(&["run", "pipeline.toml", "-v"]).exits(0).says("label: 40 of 400 differ");
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
    assert!(plan.contains("6 rows a prompt, 7 calls if every reply is valid and an audit of 9 rows"), "{plan}");
    assert!(plan.contains("    first prompts: ") && plan.contains("with one row a prompt"), "{plan}");
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
