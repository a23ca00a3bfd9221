//! `fanfold report`: the page about a run in its formats, what it may replace, and which run it is about.

use std::path::Path;

use serde_json::{Value, json};

use crate::lock::edit;
use crate::project::{Project, Ran};
use crate::recipe::{TYPED, project, spec};
use crate::server::{Asked, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const REPORT: [&str; 2] = ["report", "pipeline.toml"];
const TEST: &str = "\n[[tests]]\ntype = \"rows\"\ninput = \"tone\"\nminimum = 99\nname = \"enough\"\n";

fn tone() -> String {
    spec(&format!("models = [\"llama\"]\nmax_failed = 5\n{TYPED}"))
}

/// A server that refuses speech 5 and answers neutral otherwise.
fn server() -> Server {
    let script = |asked: &Asked, _: usize| match asked.question().contains("Speech 5,") {
        true => Say::status(400),
        false => Say::Json(json!({ "label": "neutral", "score": 3 })),
    };
    Server::new().script(script).start()
}

#[track_caller]
fn report(project: &Project, args: &[&str]) -> Ran {
    project.run(&[&REPORT[..], args].concat())
}

#[track_caller]
fn page(project: &Project) -> Value {
    report(project, &["--format", "json", "-o", "-"]).exits(0).json()
}

fn section<'a>(page: &'a Value, id: &str) -> &'a Value {
    let found = page["sections"].as_array().expect("sections").iter().find(|section| section["id"] == id);
    found.unwrap_or_else(|| panic!("no section {id}: {page:#}"))
}

/// The blocks of a section and in them, with this type.
fn blocks<'a>(section: &'a Value, kind: &str) -> Vec<&'a Value> {
    let inside = section["blocks"].as_array().into_iter().flatten();
    inside.flat_map(|block| blocks(block, kind).into_iter().chain((block["type"] == kind).then_some(block))).collect()
}

/// The rows of the table or the figure with this title, each as an object.
fn rows(section: &Value, title: &str) -> Vec<Value> {
    let all = [blocks(section, "table"), blocks(section, "figure")].concat();
    let block =
        all.into_iter().find(|block| block["title"] == title).unwrap_or_else(|| panic!("no {title}: {section:#}"));
    let table = if block["type"] == "table" { &block["table"] } else { &block["numbers"] };
    let columns = table["columns"].as_array().expect("columns");
    let object = |row: &Value| -> Value {
        let cells = columns.iter().zip(row.as_array().expect("a row"));
        cells.map(|(name, cell)| (name.as_str().expect("a name").to_owned(), cell.clone())).collect()
    };
    table["rows"].as_array().expect("rows").iter().map(object).collect()
}

fn sums(project: &Project, column: &str) -> i64 {
    project.calls().ints(column).into_iter().flatten().sum()
}

#[test]
fn the_page_has_the_numbers_of_the_run() {
    let server = server();
    let project = project(&server, &format!("{}{TEST}", tone()), 30);
    project.run(&RUN).exits(0);
    let page = page(&project);
    let lead = "30 rows of speeches; model: llama3.2. label is neutral in 29 of 29 answers (100 %";
    assert!(page["lead"].as_str().expect("a lead").starts_with(lead), "{}", page["lead"]);
    let run = section(&page, "run");
    let mut calls = rows(section(&page, "money"), "Calls by stage and model")[0].clone();
    ["p50 (s)", "p95 (s)"].iter().for_each(|time| assert!(calls[*time].take().as_f64() > Some(0.0), "{time}"));
    let expected = json!({
        "stage": "tone", "model": "llama", "sent": 30, "reused": 0, "retries": 0, "usd": null, "p50 (s)": null, "p95 (s)": null,
        "tokens in": sums(&project, "prompt_tokens"), "tokens out": sums(&project, "completion_tokens"),
    });
    assert_eq!(calls, expected);
    let checks = blocks(run, "checks")[0]["items"].as_array().expect("items");
    assert_eq!(checks[1]["text"], "tone: 30 rows = 29 answered + 1 failed + 0 skipped");
    let marks: Vec<&Value> =
        blocks(run, "checks")[0]["items"].as_array().expect("items").iter().map(|i| &i["mark"]).collect();
    assert_eq!(marks, ["ok", "failed", "ok"], "the state, a failed row, the lock");
    let figure = rows(section(&page, "rows"), "Rows of each stage");
    let answered =
        |row: &Value| ["answered", "skipped", "failed: rejected"].map(|part| row[part].as_u64().expect(part));
    assert_eq!((answered(&figure[0]), &figure[0]["rows"]), ([29, 0, 1], &json!(30)));
    let flow = rows(section(&page, "pipeline"), "Tables and rows");
    assert_eq!(
        flow,
        [
            json!({"from": "speeches", "to": "tone", "rows": 30}),
            json!({"from": "tone", "to": "out/tone.parquet", "rows": 30})
        ]
    );
    let test = &blocks(section(&page, "tests"), "checks")[0]["items"][0];
    assert_eq!((&test["mark"], &test["label"]), (&json!("failed"), &json!("enough")));
    assert!(test["text"].as_str().expect("a text").contains("30"), "{test}");
    let variables = rows(section(&page, "codebook"), "Variables of tone");
    let label = variables.iter().find(|row| row["variable"] == "label").expect("label");
    assert_eq!((&label["n"], &label["null"], &label["failed"]), (&json!(29), &json!(1), &json!(1)));
    assert_eq!(label["values"], "positive; neutral; negative");
}

#[test]
fn methods_say_what_is_recorded_and_what_is_not() {
    let server = server();
    let project = project(&server, &tone(), 12);
    project.run(&RUN).exits(0);
    let page = page(&project);
    let methods = section(&page, "methods");
    let items = blocks(methods, "checks")[0]["items"].as_array().expect("items").clone();
    let item = |label: &str| items.iter().find(|item| item["label"] == label).unwrap_or_else(|| panic!("no {label}"));
    for (label, fact) in [
        ("Models and providers", "llama: llama3.2 of ollama"),
        ("Parameters", "llama: max_tokens 64, num_ctx 4096, seed 42, temperature 0.0"),
        ("Failed and skipped rows", "tone: 1 failed, 0 skipped"),
        ("Seed", "42"),
        ("Prompts in full", "see below"),
    ] {
        assert_eq!(item(label)["mark"], "ok", "{label}");
        assert!(item(label)["text"].as_str().expect("a text").contains(fact), "{}", item(label));
    }
    for label in ["Comparison with codes of people", "Repeatability", "Cost", "Ethics, consent and data protection"] {
        assert_eq!((&item(label)["mark"], &item(label)["text"]), (&json!("open"), &json!("NOT RECORDED")), "{label}");
    }
    let prompts = blocks(methods, "code");
    assert!(prompts.iter().any(|code| code["text"] == "What is the tone?\n\n{{ text }}"), "{prompts:?}");
    let text = report(&project, &["--section", "methods", "--format", "md", "-o", "-"]).exits(0).stdout;
    assert!(text.contains("\n## Methods\n") && !text.contains("\n## Rows\n"), "{text}");
    assert!(text.contains("**NOT RECORDED**") && text.contains("What is the tone?\n\n{{ text }}"), "{text}");
}

#[test]
fn each_format_has_its_file() {
    let server = server();
    let project = project(&server, &tone(), 6);
    project.run(&RUN).exits(0);
    report(&project, &[]).exits(0).says("wrote pipeline.html");
    report(&project, &["--format", "md"]).exits(0).says("wrote pipeline.md");
    report(&project, &["--format", "json"]).exits(0).says("wrote pipeline.json");
    report(&project, &["--section", "methods,codebook", "--format", "md"])
        .exits(0)
        .says("wrote pipeline.methods.codebook.md");
    let html = project.text("pipeline.html");
    assert!(html.starts_with("<!doctype html>") && html.contains("default-src 'none'"), "{html}");
    assert!(!html.contains(" style=\""), "the policy forbids styles in attributes");
    assert!(!project.text("pipeline.md").contains("<svg"));
    // The same run has the same page.
    report(&project, &[]).exits(0);
    assert_eq!(project.text("pipeline.html"), html);
    let unknown = report(&project, &["--section", "method"]).exits(2);
    assert!(
        unknown.stderr.contains("no section `method`") && unknown.stderr.contains("`methods`"),
        "{}",
        unknown.stderr
    );
    assert!(report(&project, &["--section", "zzz"]).exits(2).stderr.contains("`codebook`"));
}

#[test]
fn only_a_report_is_replaced() {
    let server = server();
    let project = project(&server, &tone(), 3);
    project.run(&RUN).exits(0);
    project.write("notes.html", "<!doctype html><title>fanfold report</title>");
    for file in ["pipeline.toml", "data.csv", "out/tone.parquet", "pipeline.toml.lock", "notes.html", "out"] {
        let before = (file != "out").then(|| project.bytes(file));
        report(&project, &["-o", file]).exits(2).says("is not a report of fanfold");
        assert_eq!((file != "out").then(|| project.bytes(file)), before, "{file}");
    }
    project.write("summary.md", "");
    for format in ["md", "html", "json"] {
        report(&project, &["-o", "summary.md", "--format", format]).exits(0);
    }
}

#[test]
fn a_stopped_run_has_a_page() {
    let server = Server::new().start();
    let text = tone().replacen("seed = 42\n", "seed = 42\nbudget = { calls = 15 }\n", 1);
    let project = project(&server, &text.replacen("[stages.tone]\n", "[stages.tone]\nchunk_size = 5\n", 1), 40);
    project.run(&RUN).exits(4);
    let page = page(&project);
    assert!(page["notices"][0].as_str().expect("a notice").contains("stopped"), "{}", page["notices"]);
    let rows = rows(section(&page, "rows"), "Rows of each stage");
    assert_eq!(rows[0]["rows"], 40);
    let [answered, open] = ["answered", "not reached"].map(|part| rows[0][part].as_u64().expect(part));
    assert_eq!(answered + open, 40);
    assert!(open >= 25, "{rows:?}");
}

#[test]
fn the_page_is_about_the_last_run_or_a_named_one() {
    let server = server();
    let project = project(&server, &tone(), 4);
    report(&project, &[]).exits(3).says("`pipeline.toml` has no run");
    project.run(&RUN).exits(0);
    edit(&project, "pipeline.toml", "What is the tone?", "Which tone?");
    let changed = report(&project, &["--format", "json", "-o", "-"]).exits(0).says("have changed since");
    let notice = changed.json()["notices"][0].clone();
    assert!(notice.as_str().expect("a notice").contains("changed since this run"), "{notice}");
    let methods = section(&changed.json(), "methods").clone();
    assert!(methods.to_string().contains("What is the tone?") && !methods.to_string().contains("Which tone?"));
    project.run(&["run", "pipeline.toml", "--update-lock"]).exits(0);
    let name = |page: &Value| section(page, "methods").to_string();
    assert!(name(&page(&project)).contains("Which tone?"));
    let runs = project.run(&["runs", "pipeline.toml", "--format", "json"]).exits(0).json();
    let first =
        runs["runs"].as_array().expect("runs").iter().filter_map(|run| run["name"].as_str()).min().expect("a run");
    let earlier = report(&project, &["--run", first, "--format", "json", "-o", "-"]).exits(0).json();
    assert!(name(&earlier).contains("What is the tone?"));
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(0);
    let runs = project.run(&["runs", "pipeline.toml", "--format", "json"]).exits(0).json();
    let limited = runs["runs"].as_array().expect("runs").iter().find(|run| run["rows"] == 2).expect("a run of 2 rows");
    let limited = limited["name"].as_str().expect("a name");
    let limited = report(&project, &["--run", limited, "--format", "json", "-o", "-"]).exits(0).json();
    assert!(
        limited["notices"][0].as_str().expect("a notice").contains("only about some rows"),
        "{}",
        limited["notices"]
    );
    assert_eq!(rows(section(&limited, "rows"), "Rows of each stage")[0]["rows"], 2);
    report(&project, &["--run", "2001-01-01-1"]).exits(3).says("there is no run `2001-01-01-1` of this spec");
}

#[test]
fn a_clone_makes_its_tables_first() {
    let server = server();
    let original = project(&server, &tone(), 8);
    original.run(&RUN).exits(0);
    original.run(&["ledger", "export", "pipeline.toml", "-o", "replay.parquet"]).exits(0);
    let clone = Project::new().env("OLLAMA_HOST", "http://127.0.0.1:9");
    for file in ["pipeline.toml", "data.csv", "pipeline.toml.lock", "replay.parquet"] {
        clone.write(file, original.bytes(file));
    }
    let made = report(&clone, &["--format", "json", "-o", "-"]).exits(0).says("making the tables from replay.parquet");
    let counts = |page: &Value| rows(section(page, "rows"), "Rows of each stage");
    assert_eq!(counts(&made.json()), counts(&page(&original)));
}

#[test]
fn the_shipped_page_is_of_the_recorded_answers() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let read = |file: &str| std::fs::read(shipped.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let project = Project::new();
    for file in ["quickstart.toml", "data/paragraphs.csv", "replay/quickstart.parquet"] {
        project.write(file, read(file));
    }
    project.run(&["run", "quickstart.toml", "--replay", "replay/quickstart.parquet"]).exits(0);
    let page = project.run(&["report", "quickstart.toml", "--format", "json", "-o", "-"]).exits(0).json();
    // In HTML a per cent sign stays on the line of its number.
    let html = String::from_utf8(read("report/quickstart.html")).expect("UTF-8").replace("\u{a0}%", " %");
    assert!(html.contains(page["lead"].as_str().expect("a lead")), "{}", page["lead"]);
    assert!(html.len() + read("report/quickstart.png").len() < 400_000);
}

/// Text that is markup in HTML, in Markdown, or in both.
const HOSTILE: [&str; 4] = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "![pixel](https://evil.example/p.png) [link](https://evil.example)",
    "'\" onmouseover=alert(3) x=\"",
];

#[test]
fn hostile_text_is_only_text() {
    for hostile in HOSTILE {
        let script = move |asked: &Asked, _: usize| match asked.question().contains("b2") {
            true => Say::Status { code: 400, retry_after: None, body: json!({"error": hostile}).to_string() },
            false => Say::Json(json!({ "why": hostile, "label": hostile })),
        };
        let server = Server::new().script(script).start();
        let label = json!(hostile);
        let text = tone().replacen("[stages.tone.output]", "[stages.tone.output]\nwhy = { type = \"string\" }", 1);
        let enumeration = format!("enum = [{label}, \"neutral\"], description = {label}");
        let text = text.replacen("enum = [\"positive\", \"neutral\", \"negative\"]", &enumeration, 1);
        let text = text.replacen("score = { type = \"integer\", minimum = 0, maximum = 10 }", "", 1);
        let prompt = json!(format!("Tone? {hostile} {{{{ text }}}}"));
        let text = text.replacen("prompt = \"What is the tone?\\n\\n{{ text }}\"", &format!("prompt = {prompt}"), 1);
        let test =
            format!("{TEST}[[tests]]\ntype = \"not_null\"\ninput = \"tone\"\ncolumn = \"label\"\nname = {label}\n");
        let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(&format!("{text}{test}"));
        let refused = format!("b2 {hostile}");
        let rows = [["id", "text", hostile], ["a1", hostile, hostile], ["b2", refused.as_str(), hostile]];
        let project = project.csv("data.csv", &rows);
        project.run(&RUN).exits(0);
        report(&project, &[]).exits(0);
        let html = project.text("pipeline.html");
        let (scripts, ends) = (html.matches("<script").count(), html.matches("</script").count());
        assert!(scripts == ends && scripts <= 3, "{hostile}: {scripts} scripts, {ends} ends");
        for markup in ["<img", "<script>alert"] {
            assert!(!html.contains(markup), "{hostile}: {markup}");
        }
        let breaks_out = |tag: &&str| tag.contains("\" onmouseover=") || tag.contains("' onmouseover=");
        assert_eq!(tags(&html).find(breaks_out), None, "{hostile}");
        assert!(html.contains("alert(") || html.contains("evil.example"), "the text itself is there");
        let markdown = report(&project, &["--format", "md", "-o", "-"]).exits(0).stdout;
        let plain = outside_of_code(&markdown);
        for markup in ["<img", "<script", "![", "](https", "https://evil"] {
            assert!(!plain.contains(markup), "{hostile}: {markup} in\n{plain}");
        }
    }
}

/// The tags of a page, without what is inside of scripts.
fn tags(html: &str) -> impl Iterator<Item = &str> {
    let parts = html.split("<script").map(|part| part.split_once("</script").map_or(part, |(_, after)| after));
    parts.flat_map(|part| part.split('<').skip(1)).filter_map(|tag| tag.split('>').next())
}

/// Markdown without its code and without escaped characters.
fn outside_of_code(markdown: &str) -> String {
    let mut out = String::new();
    let mut fence: Option<String> = None;
    for line in markdown.lines() {
        let ticks: String = line.chars().take_while(|c| *c == '`').collect();
        match &fence {
            Some(open) if line.trim_end() == open => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => {
                out.push_str(&without_code(line));
                out.push('\n');
            }
        }
    }
    out
}

/// A line of Markdown without its code and without escaped characters.
fn without_code(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(['\\', '`']) {
        out.push_str(&rest[..at]);
        let ticks: String = rest[at..].chars().take_while(|c| *c == '`').collect();
        let after = &rest[at + ticks.len()..];
        rest = match after.find(&ticks) {
            _ if ticks.is_empty() => after.get(2..).unwrap_or_default(),
            Some(end) => &after[end + ticks.len()..],
            None => after,
        };
    }
    out + rest
}
