//! Repeatability: a sample of rows is asked again, and the table shows how often the answers are equal.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::pack::corrupted;
use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const OUT: &str = "out/stable.parquet";

/// A spec that repeats `sample` rows of the stage `tone` with these lines.
fn repeated(sample: u32, stage: &str) -> String {
    let repeats = format!("[stages.stable]\ntype = \"repeatability\"\ninput = \"tone\"\nsample = {sample}\n");
    let output = "[outputs.stable]\ninput = \"stable\"\npath = \"out/stable.parquet\"\n";
    spec(&format!("{stage}\n{repeats}\n{output}"))
}

/// The number of the row that a question is about.
fn row_of(asked: &Asked) -> usize {
    let text = asked.question().split("Speech ").nth(1).expect("the text of a row");
    text.split(',').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// A server whose answer to a row depends on how often its model was asked about the row, from 0.
fn moody(answer: impl Fn(usize, usize) -> Value + Send + Sync + 'static) -> Server {
    let seen: Mutex<HashMap<(String, usize), usize>> = Mutex::default();
    Server::new()
        .script(move |asked, _| {
            let row = row_of(asked);
            let mut seen = seen.lock().expect("no test panics here");
            let times = seen.entry((asked.model.clone(), row)).or_default();
            *times += 1;
            Say::Json(answer(row, *times - 1))
        })
        .start()
}

/// Labels take turns by row. The second answers of the rows below 4 have the other label, that of row 7 another score.
fn changing(row: usize, times: usize) -> Value {
    let flipped = times > 0 && row < 4;
    let label = if row.is_multiple_of(2) != flipped { "positive" } else { "negative" };
    json!({ "label": label, "score": if times > 0 && row == 7 { 9 } else { 3 } })
}

fn close(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() < 5e-5)
}

#[test]
fn the_table_has_the_share_of_equal_answers_with_its_interval() {
    let server = moody(changing);
    let project = project(&server, &repeated(100, &format!("models = [\"llama\"]\n{TYPED}")), 20);
    // The first answers are all there before the second ones.
    project.run(&["run", "pipeline.toml", "--select", "tone"]).exits(0);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("sample stable.sample: 20 rows, of speeches, no calls"), "{plan}");
    assert!(plan.contains("stage stable.repeats: 20 rows of stable.sample, asked of llama"), "{plan}");
    project.run(&RUN).exits(0).says("stable.repeats  20 rows = 20 answered + 0 failed + 0 skipped");
    assert_eq!(server.requests(), 40);

    let table = project.table(OUT);
    let columns = ["stage", "model", "column", "n", "equal", "share", "low", "high", "kappa", "failed"];
    assert_eq!(table.columns(), columns);
    assert_eq!(table.texts("stage"), ["tone", "tone"]);
    assert_eq!(table.texts("model"), ["llama", "llama"]);
    assert_eq!(table.texts("column"), ["label", "score"]);
    assert_eq!(table.ints("n"), [Some(20), Some(20)]);
    assert_eq!(table.ints("equal"), [Some(16), Some(19)]);
    assert_eq!(table.ints("failed"), [Some(0), Some(0)]);
    // By hand for 16 of 20 with z = 1.959964: z^2 = 3.841459; the centre is (16 + 3.841459 / 2) / 23.841459 = 0.751661,
    // half the width is 1.959964 * sqrt(16 * 4 / 20 + 3.841459 / 4) / 23.841459 = 0.167677.
    assert!(close(table.floats("low")[0], 0.583984) && close(table.floats("high")[0], 0.919338));
    // For 19 of 20: the centre is 20.920729 / 23.841459 = 0.877494, half the width is
    // 1.959964 * sqrt(19 / 20 + 0.960365) / 23.841459 = 0.113622.
    assert!(close(table.floats("low")[1], 0.763872) && close(table.floats("high")[1], 0.991116));
    assert!(close(table.floats("share")[0], 0.8) && close(table.floats("share")[1], 0.95));
    // Two of ten change from each label: 0.8 agree, 0.5 by chance.
    assert!(close(table.floats("kappa")[0], 0.6));
    assert_eq!(table.floats("kappa")[1], None);

    // The second request is the first one, and it is never sent again.
    let mut bodies: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    server.asked().iter().for_each(|asked| bodies.entry(row_of(asked)).or_default().push(asked.call()));
    assert!(bodies.values().all(|two| two.len() == 2 && two[0] == two[1]), "{bodies:?}");
    project.run(&RUN).exits(0);
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("there are runs");
    project.run(&["run", "pipeline.toml", "-v"]).exits(0).says("0 calls sent, 20 from the ledger");
    assert_eq!(server.requests(), 40);
    assert_eq!(project.table(OUT).ints("equal"), [Some(16), Some(19)]);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.run(&["status", "pipeline.toml"]).exits(0);
}

#[test]
fn a_replay_file_has_the_repeated_answers() {
    let server = moody(changing);
    let project = project(&server, &repeated(12, &format!("models = [\"llama\"]\n{TYPED}")), 20);
    project.run(&RUN).exits(0);
    let before = project.bytes(OUT);
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the project has been run");
    let requests = server.requests();
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0);
    assert!(project.bytes(OUT) == before, "the replay makes another table");
    assert_eq!(server.requests(), requests);
}

/// The rows that the server was asked about twice.
fn asked_twice(server: &Server) -> Vec<usize> {
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    server.asked().iter().for_each(|asked| *times.entry(row_of(asked)).or_default() += 1);
    times.into_iter().filter(|(_, times)| *times == 2).map(|(row, _)| row).collect()
}

#[test]
fn a_larger_sample_contains_the_smaller_one() {
    let server = moody(changing);
    let stage = format!("models = [\"llama\"]\n{TYPED}");
    let project = project(&server, &repeated(10, &stage), 60);
    project.run(&RUN).exits(0);
    let first = asked_twice(&server);
    assert_eq!((first.len(), server.requests()), (10, 70));
    project.write("pipeline.toml", repeated(25, &stage));
    project.run(&RUN).exits(0).says("15 calls sent, 10 from the ledger");
    assert_eq!(project.table(OUT).ints("n"), [Some(25), Some(25)]);
    assert_eq!(server.requests(), 85);
    // The sample does not depend on the order of the rows, and rows that are added displace few.
    let mut lines = rows(60);
    lines[1..].reverse();
    let text: Vec<String> = lines.iter().map(|row| format!("{},{},\"{}\"", row[0], row[1], row[2])).collect();
    project.write("data.csv", text.join("\n"));
    project.run(&["run", "pipeline.toml", "-v"]).exits(0).says("0 calls sent, 25 from the ledger");
    // Another seed draws other rows. (It also makes other calls.)
    project.write("pipeline.toml", repeated(10, &stage).replace("seed = 42", "seed = 43"));
    let before = server.requests();
    project.run(&RUN).exits(0);
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    server.asked()[before..].iter().for_each(|asked| *times.entry(row_of(asked)).or_default() += 1);
    let second: Vec<usize> = times.into_iter().filter(|(_, times)| *times == 2).map(|(row, _)| row).collect();
    assert_eq!(second.len(), 10);
    assert_ne!(first, second);
}

#[test]
fn every_layout_has_a_line_for_each_model_and_column() {
    for (layout, requests, n) in [
        ("models = [\"llama\", \"mistral\"]\nfanout = true", 2 * (30 + 10), [10, 10]),
        ("models = [\"llama\", \"mistral\"]\nfanout = true\nlayout = \"long\"", 2 * (30 + 10), [10, 10]),
        ("models = [\"llama\", \"mistral\"]\nreplicates = 2\nfanout = true", 4 * (30 + 10), [20, 20]),
        ("models = [\"llama\", \"mistral\"]\nfanout = false", 30 + 10, [5, 5]),
        ("models = [\"llama\", \"mistral\"]\nfanout = false\nchunk_size = 3", 30 + 10, [5, 5]),
    ] {
        // Mistral always says the same. Every second answer of llama has another label.
        let count: Mutex<HashMap<String, usize>> = Mutex::default();
        let server = Server::new().script(move |asked, _| {
            let mut count = count.lock().expect("no test panics here");
            let times = count.entry(asked.call()).or_default();
            *times += 1;
            let label = if asked.model == "llama3.2" && *times == 2 { "negative" } else { "positive" };
            Say::Json(json!({ "label": label, "score": 1 }))
        });
        let server = server.start();
        let project = project(&server, &repeated(10, &format!("{layout}\n{TYPED}")), 30);
        project.run(&RUN).exits(0);
        let table = project.table(OUT);
        assert_eq!(table.texts("model"), ["llama", "llama", "mistral", "mistral"], "{layout}");
        assert_eq!(table.texts("column"), ["label", "score", "label", "score"], "{layout}");
        assert_eq!(server.requests(), requests, "{layout}");
        let counts: Vec<i64> = table.ints("n").into_iter().flatten().collect();
        if layout.contains("fanout = true") {
            assert_eq!(counts, [n[0], n[0], n[1], n[1]], "{layout}");
        } else {
            // The models that shared the rows are asked again, each about its rows.
            assert_eq!((counts[0] + counts[2], counts[1] + counts[3]), (10, 10), "{layout}");
            assert!(counts[0] > 0 && counts[2] > 0, "{layout}: {counts:?}");
            let two = server.asked().iter().map(|a| (a.model.clone(), row_of(a))).collect::<Vec<_>>();
            assert!(two.iter().all(|(model, row)| (model == "llama3.2") == (row % 2 == 0)), "{layout}: {two:?}");
        }
        let equal: Vec<i64> = table.ints("equal").into_iter().flatten().collect();
        assert_eq!(equal, [0, counts[1], counts[2], counts[3]], "{layout}");
    }
}

#[test]
fn only_rows_with_a_question_are_drawn_and_failed_ones_are_counted() {
    let times: Mutex<HashMap<usize, usize>> = Mutex::default();
    let server = Server::new().script(move |asked, _| {
        let row = row_of(asked);
        let mut times = times.lock().expect("no test panics here");
        let times = times.entry(row).or_default();
        *times += 1;
        match row {
            0..4 if *times == 2 => Say::status(400),
            4..6 if *times == 1 => Say::status(400),
            _ => Say::Json(json!({ "label": "neutral", "score": row })),
        }
    });
    let server = server.start();
    let stage = format!("models = [\"llama\"]\nwhen = \"year < 1800\"\n{TYPED}");
    let text = repeated(100, &stage).replace("key = \"id\"", "key = \"id\"\ntypes = { year = \"integer\" }");
    let project = project(&server, &text, 30);
    project.run(&["run", "pipeline.toml", "--select", "tone"]).exits(1);
    project.run(&RUN).exits(1).says("stable.repeats  10 rows = 6 answered + 4 failed + 0 skipped");
    let table = project.table(OUT);
    // Ten rows are of before 1800. The calls that failed at first are asked again by the second run.
    assert_eq!((table.ints("n"), table.ints("equal")), (vec![Some(6); 2], vec![Some(6); 2]));
    assert_eq!(table.ints("failed"), vec![Some(4); 2]);
}

#[test]
fn packs_are_repeated_as_packs() {
    let server = Server::new().script(|asked, _| corrupted(asked, 0)).start();
    let stage = format!("models = [\"llama\"]\nrows_per_prompt = 4\n{TYPED}");
    let project = project(&server, &repeated(10, &stage), 30);
    project.run(&RUN).exits(0);
    // Ten rows are in three packs, so twelve rows are drawn, or ten with the last, short pack.
    assert_eq!(server.requests(), 8 + 3);
    let n = project.table(OUT).ints("n")[0].expect("a number");
    assert!(n == 12 || n == 10, "{n}");
    assert_eq!(project.table(OUT).ints("equal"), [Some(n), Some(n)]);
    let mut bodies: BTreeMap<String, usize> = BTreeMap::new();
    server.asked().iter().for_each(|asked| *bodies.entry(asked.call()).or_default() += 1);
    assert_eq!(bodies.values().filter(|times| **times == 2).count(), 3, "{bodies:?}");
}

#[test]
fn other_stages_can_be_repeated() {
    let server = Server::new().start();
    let repeats = |of: &str| {
        format!(
            "[stages.again_{of}]\ntype = \"repeatability\"\ninput = \"{of}\"\nsample = 4\n\
             [outputs.again_{of}]\ninput = \"again_{of}\"\npath = \"out/{of}.csv\"\n"
        )
    };
    let stages = r#"
models = ["llama"]
[stages.interview]
type = "survey"
input = "speeches"
models = ["llama"]
memory = true
option_order = "random"
questions = [
  { id = "works", text = "Do you work?", options = ["yes", "no"] },
  { id = "why", text = "Why?" },
]
[stages.meta]
type = "fill-missing"
input = "speeches"
models = ["llama"]
text_column = "text"
[stages.meta.fields.mood]
type = "string"
enum = ["good", "bad"]
[stages.sum]
type = "reduce"
input = "tone"
models = ["llama"]
group_by = ["year"]
prompt = "Sum up {{ year }}: {% for row in rows %}{{ row.tone }} {% endfor %}"
"#;
    let all = ["tone", "interview", "meta", "sum"].map(repeats).concat();
    let project = project(&server, &spec(&format!("{stages}{all}")), 12);
    project.run(&RUN).exits(0);
    let lines =
        |of: &str| project.text(&format!("out/{of}.csv")).lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let column = |line: &String| line.split(',').nth(2).unwrap_or_default().to_owned();
    let columns = |of: &str| lines(of).iter().map(column).collect::<Vec<_>>();
    assert_eq!(columns("tone"), ["tone"]);
    // The recorded orders of the options are not answers.
    assert_eq!(columns("interview"), ["works", "why"]);
    assert_eq!(columns("meta"), ["computed_mood", "computed_mood_source"]);
    assert_eq!(columns("sum"), ["sum"]);
    for of in ["tone", "interview", "meta", "sum"] {
        assert!(lines(of).iter().all(|line| line.contains(",4,4,1.0,")), "{:?}", lines(of));
    }
    assert_eq!(server.requests(), 16 + 2 * 16 + 16 + 16);
}

#[test]
fn wrong_settings_are_reported() {
    let validate = |lines: &str| {
        let text = spec("models = [\"llama\"]") + "[stages.stable]\ntype = \"repeatability\"\n" + lines;
        Project::new().spec(&text).csv("data.csv", &rows(3)).run(&["validate", "pipeline.toml"])
    };
    validate("input = \"tone\"\nsample = 5\n").exits(0);
    validate("input = \"speeches\"\nsample = 5\n")
        .exits(2)
        .says("`speeches` asks no model, so it has no answers to repeat")
        .says("name a stage that asks models");
    validate("input = \"tome\"\nsample = 5\n").exits(2).says("did you mean `tone`?");
    validate("input = \"tone\"\n").exits(2).says("`sample` is missing");
    validate("input = \"tone\"\nsample = 0\n").exits(2).says("sample");
    validate("input = \"tone\"\nsample = 5\ntimes = 3\n").exits(2).says("there is no field `times` here");
    let again =
        "input = \"tone\"\nsample = 5\n[stages.more]\ntype = \"repeatability\"\ninput = \"stable\"\nsample = 2\n";
    validate(again).exits(2).says("`stable` asks no model");
    // A stage that reads the table knows its columns, also while the settings are wrong.
    let reader = "[[tests]]\ninput = \"stable\"\ntype = \"between\"\ncolumn = \"share\"\nminimum = 0.9\n";
    validate(&format!("input = \"tone\"\nsample = 5\n{reader}")).exits(0);
    let wrong = validate(&format!("input = \"tone\"\nsample = 5\n{}", reader.replace("share", "shares"))).exits(2);
    wrong.says("did you mean `share`?");
}

#[test]
fn a_test_can_demand_repeatable_answers() {
    let server = moody(changing);
    let test = "[[tests]]\ninput = \"stable\"\ntype = \"between\"\ncolumn = \"share\"\nminimum = 0.9\n";
    let stage = format!("models = [\"llama\"]\n{TYPED}");
    let project = project(&server, &(repeated(100, &stage) + test), 20);
    project.run(&RUN).exits(0);
    project.run(&["test", "pipeline.toml"]).exits(1);
    project.write("pipeline.toml", repeated(100, &stage) + &test.replace("0.9", "0.5"));
    project.run(&RUN).exits(0);
    project.run(&["test", "pipeline.toml"]).exits(0);
    // A line of the table is made of many answers.
    project.run(&["explain", OUT, "1"]).exits(0);
}
