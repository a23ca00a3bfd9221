//! The report page: its numbers are those of the calls table, of the tables and of `diff`, and texts stay texts.

use std::fs;
use std::time::Instant;

use serde_json::Value;

use crate::project::{Cell, Project, Table};
use crate::recipe::{TYPED, project, spec};
use crate::server::{Asked, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const BOTH: &str = "models = [\"llama\", \"mistral\"]\nfanout = true\nchunk_size = 4";

/// A spec of two models with prices.
fn priced() -> String {
    let price = "max_tokens = 64\nprice = { input = 3.0, output = 7.0 }";
    spec(&format!("{BOTH}\n{TYPED}")).replace("max_tokens = 64", price)
}

#[track_caller]
fn report(project: &Project) -> Value {
    project.run(&["report", "pipeline.toml", "--format", "json", "-o", "-"]).exits(0).json()
}

fn section<'a>(page: &'a Value, id: &str) -> &'a Value {
    let sections = page["sections"].as_array().expect("sections");
    sections.iter().find(|section| section["id"] == id).unwrap_or_else(|| panic!("no section {id}"))
}

/// All blocks below `value` of this type.
fn blocks<'a>(value: &'a Value, kind: &str) -> Vec<&'a Value> {
    let own = (value["type"] == kind).then_some(value);
    let inner = value["blocks"].as_array().into_iter().flatten().flat_map(|block| blocks(block, kind));
    own.into_iter().chain(inner).collect()
}

fn titled<'a>(section: &'a Value, kind: &str, title: &str) -> &'a Value {
    let found =
        blocks(section, kind).into_iter().find(|block| block["title"].as_str().is_some_and(|t| t.contains(title)));
    found.unwrap_or_else(|| panic!("no {kind} {title} in {section:#}"))
}

fn texts(section: &Value) -> String {
    blocks(section, "text").iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
}

fn sum(table: &Table, column: &str, rows: &[usize]) -> i64 {
    let cells = table.ints(column);
    rows.iter().filter_map(|row| cells[*row]).sum()
}

/// Refuses every third text in words, and is busy once for every fifth.
fn moody(asked: &Asked, times: usize) -> Say {
    let number = |text: &str| text.split("Speech ").nth(1)?.split(',').next()?.parse::<u32>().ok();
    match number(asked.question()) {
        Some(n) if n % 3 == 0 => Say::Text("I <b>will</b> not say </script>.".to_owned()),
        Some(n) if n % 5 == 0 && times == 0 => Say::status(503),
        _ => Say::Default,
    }
}

#[test]
fn time_and_money_are_those_of_the_calls_table() {
    let server = Server::new().script(moody).start();
    let project = project(&server, &priced(), 11);
    project.run(&RUN).exits(1);
    let (page, calls) = (report(&project), project.calls());
    let money = section(&page, "money");
    let table = &titled(money, "table", "Calls by stage and model")["table"];
    let (models, costs) = (calls.texts("model"), calls.floats("usd"));
    for row in table["rows"].as_array().expect("rows") {
        let rows: Vec<usize> = (0..calls.len()).filter(|i| row[0] == "all" || row[1] == models[*i].as_str()).collect();
        let expected = [
            (2, rows.len() as i64),
            (3, 0),
            (4, sum(&calls, "attempts", &rows) - rows.len() as i64),
            (5, sum(&calls, "prompt_tokens", &rows)),
            (6, sum(&calls, "completion_tokens", &rows)),
        ];
        for (column, value) in expected {
            assert_eq!(row[column], value, "{} of {row}", table["columns"][column]);
        }
        let usd: f64 = rows.iter().filter_map(|i| costs[*i]).sum();
        assert!(usd > 0.0 && (row[7].as_f64().expect("usd") - usd).abs() < 1e-12, "{row}");
    }
    // The last point of the line of all models is the cost of the run.
    let spent: f64 = costs.iter().flatten().sum();
    let line = &titled(money, "figure", "Cost over time")["chart"]["lines"][2];
    let last = line["points"].as_array().and_then(|points| points.last()).expect("points");
    assert!((last["y"].as_f64().expect("a number") - spent).abs() < 1e-12, "{line}");
    // The next rows cost as much as those that were asked, row by row.
    let next = spent / 11.0 * 10_000.0;
    let said = texts(money);
    let said = said.split("would cost about ").nth(1).and_then(|text| text.split(" USD").next()).expect("a cost");
    let said: f64 = said.replace(',', "").parse().expect("a number");
    assert!((said / next - 1.0).abs() < 0.01, "{said} and {next}");
    // Every call is in the latency table, and the 95th percentile is one of the measured times.
    let latency = &titled(money, "figure", "How long calls took")["numbers"]["rows"][0];
    let of_llama = (0..calls.len()).filter(|i| models[*i] == "llama");
    let mut measured: Vec<f64> = of_llama.filter_map(|i| calls.floats("latency_ms")[i]).collect();
    measured.sort_by(f64::total_cmp);
    assert_eq!(latency[1], measured.len());
    let slowest = measured[(measured.len() as f64 * 0.95).ceil() as usize - 1] / 1e3;
    assert!((latency[9].as_f64().expect("p95") / slowest - 1.0).abs() < 0.01, "{latency} and {slowest}");
}

#[test]
fn failures_are_counted_and_shown_with_the_reply_and_what_to_change() {
    let server = Server::new().script(moody).start();
    let project = project(&server, &priced(), 11);
    project.run(&RUN).exits(1);
    let (page, calls) = (report(&project), project.calls());
    let failures = section(&page, "failures");
    let failed = calls.strings("error").iter().flatten().count();
    assert_eq!(failed, 8, "4 of 11 texts, each for two models");
    let bars = titled(failures, "figure", "by kind");
    let counted: i64 = bars["numbers"]["rows"].as_array().expect("rows").iter().filter_map(|row| row[1].as_i64()).sum();
    assert_eq!((bars["numbers"]["rows"][0][0].as_str(), counted), (Some("malformed"), failed as i64));
    let shown: Vec<&Value> = blocks(failures, "group");
    assert_eq!(shown.len(), 5);
    for group in shown {
        assert_eq!(blocks(group, "code")[0]["text"], "I <b>will</b> not say </script>.");
        assert!(texts(group).contains("What to do: check the `base_url`"), "{group:#}");
    }
    // Failed calls are on the clock.
    let over_time = titled(failures, "figure", "over time");
    let counts = over_time["chart"]["counts"][0].as_array().expect("counts");
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), failed as u64);
    // A run without failures has no such section.
    let server = Server::new().start();
    let project = crate::recipe::project(&server, &priced(), 2);
    project.run(&RUN).exits(0);
    let page = report(&project);
    assert!(page["sections"].as_array().expect("sections").iter().all(|section| section["id"] != "failures"));
}

#[test]
fn changes_are_those_of_diff() {
    let server = Server::new().start();
    let stage = format!("models = [\"llama\"]\n{TYPED}");
    let gold = "[stages.check]\ntype = \"validation\"\ninput = \"tone\"\npredicted = [\"label\"]\ntruth = \"human\"\n\n\
                [outputs.check]\ninput = \"check\"\npath = \"out/check.csv\"\n";
    let spec = format!("{}\n{gold}", spec(&stage));
    let project = project(&server, &spec, 0);
    let labels = ["positive", "neutral", "negative"];
    let data = |rows: std::ops::Range<usize>| -> String {
        let line = |i: usize| format!("s{i},Speech {i} on peace.,{}\n", labels[i % 3]);
        format!("id,text,human\n{}", rows.map(line).collect::<String>())
    };
    project.write("data.csv", data(0..40));
    project.run(&RUN).exits(0);
    project.write("data.csv", data(2..43));
    project.write("pipeline.toml", spec.replace("What is the tone?", "What is the whole tone?"));
    project.run(&RUN).exits(0);
    let page = report(&project);
    let diff = project.run(&["diff", "pipeline.toml", "--gold", "human", "--format", "json"]).exits(1).json();
    let table = &diff["tables"].as_array().expect("tables").iter().find(|t| t["name"] == "tone").expect("tone")["rows"];
    let changes = section(&page, "changes");
    let group = titled(changes, "group", "Table tone");
    let said = texts(group);
    let counts = format!("{} rows in both runs, {} differ, 2 gone, 3 new.", table["matched"], table["differ"]);
    assert!(said.contains(&counts), "{counts}: {said}");
    assert!(said.contains("Rows that are gone: s0, s1.") && said.contains("new: s40, s41, s42."), "{said}");
    let columns = diff["tables"].as_array().expect("tables").iter().find(|t| t["name"] == "tone").expect("tone");
    let label = columns["columns"].as_array().expect("columns").iter().find(|c| c["name"] == "label").expect("label");
    let gold = &label["gold"];
    let expected = format!("{} became right, {} became wrong", gold["became_right"], gold["became_wrong"]);
    assert!(said.contains(&expected), "{expected}: {said}");
    // Each label before and now, with the rows of every pair.
    let flow = &titled(group, "figure", "label: labels before")["chart"];
    let rows: u64 = flow["edges"].as_array().expect("edges").iter().filter_map(|edge| edge["rows"].as_u64()).sum();
    assert_eq!(Some(rows), table["matched"].as_u64());
    // The prompt, with the new word marked.
    let marked = blocks(titled(changes, "group", "stages.tone.prompt"), "marked");
    let parts = marked[1]["parts"].as_array().expect("parts");
    assert!(
        parts.iter().any(|part| part[1] == true && part[0].as_str().is_some_and(|t| t.trim() == "whole")),
        "{parts:?}"
    );
    // The table of a method is compared statistic by statistic.
    let check = diff["tables"].as_array().expect("tables").iter().find(|t| t["name"] == "check").expect("check");
    let said = texts(titled(changes, "group", "Table check"));
    let counts = format!("{} rows in both runs, {} differ", check["rows"]["matched"], check["rows"]["differ"]);
    assert!(said.starts_with(&counts) && check["rows"]["differ"].as_u64() > Some(0), "{counts}: {said}");
    let rows = &titled(titled(changes, "group", "Table check"), "table", "ows that differ")["table"]["rows"];
    let of_accuracy = rows
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row[0].as_str().expect("a key").starts_with("accuracy label "));
    assert!(of_accuracy.is_some_and(|row| row.to_string().contains("estimate: ")), "{rows:#}");
    let changed = &titled(group, "table", "rows that differ")["table"];
    assert!(changed["columns"].as_array().expect("columns").contains(&Value::from("text")), "{changed:#}");
}

/// A cell as JSON.
fn json(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::Int(number) => Value::from(*number),
        Cell::Float(number) => Value::from(*number),
        Cell::Bool(truth) => Value::from(*truth),
        _ => Value::Null,
    }
}

/// The prompt of a call as the page puts it together.
fn prompt(data: &Value, call: &Value) -> String {
    let [base, start, end, between] = [0, 1, 2, 3].map(|i| &call["prompt"][i]);
    let text = data["texts"][base.as_u64().expect("a position") as usize].as_str().expect("a text");
    let units: Vec<u16> = text.encode_utf16().collect();
    let [start, end] = [start, end].map(|n| n.as_u64().expect("a number") as usize);
    let part = |units: &[u16]| String::from_utf16(units).expect("UTF-16");
    part(&units[..start]) + between.as_str().expect("a text") + &part(&units[units.len() - end..])
}

#[test]
fn every_cell_of_the_data_has_its_calls() {
    let server = Server::new().script(moody).start();
    let project = project(&server, &priced(), 11);
    project.run(&RUN).exits(1);
    let (page, table, calls) = (report(&project), project.table(OUT), project.calls());
    let data = blocks(section(&page, "data"), "data")[0];
    assert_eq!(
        (&data["total"], &data["next"], &data["unexplained"]),
        (&Value::from(11), &Value::Null, &Value::from(0))
    );
    let names: Vec<&str> =
        data["columns"].as_array().expect("columns").iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, table.columns());
    let [prompts, replies] = ["prompt", "reply"].map(|column| calls.strings(column));
    let (rows, models) = (calls.ints("row"), calls.texts("model"));
    for (i, row) in data["rows"].as_array().expect("rows").iter().enumerate() {
        let cells: Vec<Value> = table.rows()[i].iter().map(json).collect();
        assert_eq!(row["cells"], Value::from(cells));
        let of_row: Vec<usize> = (0..calls.len()).filter(|call| rows[*call] == Some(i as i64 + 1)).collect();
        let shown = row["calls"][0].as_array().expect("calls");
        assert_eq!(shown.len(), of_row.len());
        for (shown, call) in shown.iter().zip(of_row) {
            let found = &data["calls"][shown[0].as_u64().expect("a position") as usize];
            assert_eq!(found["model"], models[call].as_str());
            assert_eq!(Some(prompt(data, found)), prompts[call]);
            assert_eq!(found["reply"].as_str(), replies[call].as_deref());
        }
    }
    // Columns of the models that answer the same question are known.
    let labels: Vec<&Value> =
        data["columns"].as_array().expect("columns").iter().filter(|c| c["from"] == "output.label").collect();
    assert_eq!(labels.iter().map(|c| &c["model"]).collect::<Vec<_>>(), ["llama", "mistral"]);
}

#[test]
fn hostile_cells_and_replies_stay_texts() {
    let hostile =
        ["</script><script>alert(1)</script>", "<!-- <img src=x onerror=alert(2)>", "{{ 7 * 7 }} &lt;b&gt; \u{202e}x"];
    let server = Server::new().script(|_, _| Say::Text("<svg onload=alert(3)> </SCRIPT><b>".to_owned())).start();
    let project = project(&server, &spec("models = [\"llama\"]"), 0);
    let line = |(i, text): (usize, &&str)| format!("s{i},\"{text}\"\n");
    project.write("data.csv", format!("id,text\n{}", hostile.iter().enumerate().map(line).collect::<String>()));
    project.run(&RUN).exits(0);
    project.run(&["report", "pipeline.toml", "-o", "page.html"]).exits(0);
    let page = project.text("page.html");
    let lower = page.to_lowercase();
    assert_eq!(lower.matches("<script").count(), lower.matches("</script").count());
    for text in ["<script>alert", "<img", "<svg onload", "</script><b>", "49 &"] {
        assert!(!lower.contains(text), "{text}");
    }
    assert!(!page.contains('\u{202e}'), "a character that turns the direction of text");
    // The script reads the same texts back.
    let data = page.split("<script type=\"application/json\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let data: Value = serde_json::from_str(data.expect("data")).expect("JSON");
    assert_eq!(data["rows"][0]["cells"][1], hostile[0]);
    assert_eq!(data["calls"][0]["reply"], "<svg onload=alert(3)> </SCRIPT><b>");
}

/// Prints the time, the memory and the bytes of a page over 1,000,000 rows: `cargo test --test suite -- --ignored
/// a_million_rows --nocapture`. The parts of a small run are copied, since only the report is measured.
#[test]
#[ignore = "writes a table of a million rows"]
fn a_million_rows_make_a_small_page_in_little_memory() {
    const ROWS: usize = 1000;
    const PARTS: usize = 1000;
    let server = Server::new().start();
    let stage = format!("models = [\"llama\"]\nchunk_size = {ROWS}\n{TYPED}");
    let project = project(&server, &spec(&stage), ROWS);
    project.run(&RUN).exits(0);
    let runs = project.path(".fanfold/runs");
    let folder = fs::read_dir(runs).expect("runs").next().expect("a run").expect("a folder").path();
    for part in 1..PARTS {
        for (of, end) in [("stages/tone/part", "parquet"), ("stages/tone/part", "sum"), ("calls/tone", "parquet")] {
            let name = |part: usize| folder.join(format!("{of}-{part:05}.{end}"));
            fs::copy(name(0), name(part)).expect("a copy");
        }
    }
    let began = Instant::now();
    project.run_within(2 << 20, &["report", "pipeline.toml", "-o", "page.html"]).exits(0);
    let bytes = project.bytes("page.html").len();
    println!("{:?}, {bytes} bytes, at most 2 GiB of address space", began.elapsed());
    assert!(bytes < 2_000_000, "{bytes}");
    assert!(project.text("page.html").contains("The first 2,000 of 1,000,000 rows."));
}
