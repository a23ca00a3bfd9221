//! Pages in a real browser: every shipped pipeline, hostile texts and many rows, at all widths, in light, dark and print.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::browser::{Browser, Look};
use crate::pipelines;
use crate::project::Project;
use crate::server::{Asked, Say, Server};

const WIDTHS: [u32; 3] = [360, 800, 1600];

/// Where axe-core checks the page, which takes seconds: a width in light and another in dark.
const CHECKED: [(u32, bool); 2] = [(360, false), (800, true)];

/// Every width in light and dark, and print.
fn looks() -> Vec<Look> {
    let screens = WIDTHS.iter().flat_map(|width| [false, true].map(|dark| Look { width: *width, dark, print: false }));
    screens.chain([Look { width: 700, dark: false, print: true }]).collect()
}

/// What is wrong with a page in this look.
fn faults(browser: &mut Browser, page: &Path, look: Look) -> Vec<String> {
    let opened = browser.open(page.to_str().expect("UTF-8"), look);
    let mut faults: Vec<String> = opened.console.iter().map(|line| format!("in the console: {line}")).collect();
    faults.extend(opened.requests.iter().map(|address| format!("asks for {address}")));
    let wide = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
    if wide.as_f64().expect("a number") > 0.0 {
        faults.push(format!("wider than the window by {wide} pixels"));
    }
    if CHECKED.contains(&(look.width, look.dark)) {
        // The rules look at the sections outside the window too.
        browser.script(
            "document.querySelectorAll('section').forEach((one) => { one.style.contentVisibility = 'visible'; })",
        );
        faults.extend(browser.barriers().iter().map(|rule| format!("axe-core: {rule}")));
    }
    faults
}

/// Looks at a page in every way, and keeps a picture of each.
#[track_caller]
fn check(browser: &mut Browser, name: &str, page: &Path) {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&pictures).expect("a folder");
    let mut all = Vec::new();
    for look in looks() {
        all.extend(faults(browser, page, look).into_iter().map(|fault| format!("{look:?}: {fault}")));
        let style = if look.print {
            "print"
        } else if look.dark {
            "dark"
        } else {
            "light"
        };
        browser.picture(&pictures.join(format!("{name}-{}-{style}.png", look.width)));
    }
    assert!(all.is_empty(), "{name}:\n{}", all.join("\n"));
}

/// The page about the last run of a spec.
fn page(project: &Project, spec: &str) -> PathBuf {
    project.run(&["report", spec, "-o", "page.html"]).exits(0);
    project.path("page.html")
}

/// Runs a shipped pipeline; `None` where its model is missing here.
fn ran(name: &str, server: &Server) -> Option<Project> {
    let project = pipelines::copy().env("OLLAMA_HOST", &server.url());
    let replay = format!("replay/{}", name.replace(".toml", ".parquet"));
    // Answers of the real model, without the wait.
    let spec = pipelines::json_of(name, &project.text(name));
    let embedded = spec["models"].as_object().expect("models").values().any(|model| model["provider"] == "embedded");
    if embedded && !project.has(&replay) {
        project.write(&replay, pipelines::calls_without_server(name)?);
    }
    let run = ["run", name, "--replay", &replay];
    project.run(if project.has(&replay) { &run } else { &run[..2] }).exits(0);
    Some(project)
}

#[test]
fn the_page_of_every_shipped_pipeline_works_in_a_browser() {
    let Some(mut browser) = Browser::or_skip("the_page_of_every_shipped_pipeline_works_in_a_browser") else { return };
    // The root model of the recursive stage writes a program.
    let answer = |asked: &Asked, _: usize| match asked.model.as_str() {
        "qwen2.5-coder:32b" => {
            Say::Text("```starlark\nfinal({\"said\": \"nothing\", \"addresses\": 0})\n```".to_owned())
        }
        _ => Say::Default,
    };
    let models = ["llama3.2", "llama3.2:1b", "mistral", "qwen2.5-coder:32b"];
    let server = Server::new().models(&models).script(answer).latency_ms(1).start();
    let mut seen = 0;
    for name in pipelines::specs() {
        let Some(project) = ran(&name, &server) else { continue };
        let page = page(&project, &name);
        check(&mut browser, &name, &page);
        figures_show_their_numbers(&mut browser, &project, &name);
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}

/// Every figure of the open page has the numbers of the page as JSON, in its table and in its CSV.
fn figures_show_their_numbers(browser: &mut Browser, project: &Project, spec: &str) {
    let whole = project.run(&["report", spec, "--format", "json", "-o", "-"]).exits(0).json();
    let mut wanted = Vec::new();
    figures(&whole["sections"], &mut wanted);
    let script = r#"
        return [...document.querySelectorAll("figure")].map((figure) => ({
            title: figure.querySelector("figcaption").textContent,
            columns: [...figure.querySelectorAll("thead th")].map((cell) => cell.textContent),
            rows: [...figure.querySelectorAll("tbody tr")].map((row) => [...row.children].map((cell) => cell.textContent)),
            texts: [...figure.querySelectorAll("svg text")].length,
        }));
    "#;
    let shown = browser.script(script);
    let shown = shown.as_array().expect("a list");
    assert_eq!(shown.len(), wanted.len(), "{spec}: figures");
    for (shown, wanted) in shown.iter().zip(wanted) {
        let title = wanted["title"].as_str().expect("a title");
        assert_eq!(shown["title"], title);
        assert!(shown["texts"].as_u64() > Some(0), "{spec}: {title} has no text");
        let (columns, rows) = numbers(&wanted["numbers"]);
        assert_eq!(shown["columns"], json!(columns), "{spec}: {title}");
        for (shown, wanted) in shown["rows"].as_array().expect("rows").iter().zip(rows) {
            for (shown, wanted) in shown.as_array().expect("cells").iter().zip(wanted) {
                let text = shown.as_str().expect("a text");
                assert!(is_rounded(text, wanted), "{spec}: {title}: `{text}` for {wanted}");
            }
        }
    }
}

/// The columns of a table that have a value, and their cells in each row.
fn numbers(table: &Value) -> (Vec<&Value>, Vec<Vec<&Value>>) {
    let list = |value: &'_ Value| value.as_array().map_or(0, Vec::len);
    let rows = table["rows"].as_array().expect("rows");
    let has_value = |column: &usize| rows.iter().any(|row| !row[*column].is_null());
    let kept: Vec<usize> = (0..list(&table["columns"])).filter(has_value).collect();
    let cells = |row| kept.iter().map(|column| &Value::as_array(row).expect("cells")[*column]).collect();
    (kept.iter().map(|column| &table["columns"][*column]).collect(), rows.iter().map(cells).collect())
}

/// All figures of the blocks, and of the blocks inside them.
fn figures<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| figures(item, found)),
        Value::Object(fields) if fields.get("type") == Some(&json!("figure")) => found.push(value),
        Value::Object(fields) => fields.get("blocks").into_iter().for_each(|blocks| figures(blocks, found)),
        _ => {}
    }
}

/// Whether a text is a number with less digits, or the very text.
fn is_rounded(text: &str, number: &Value) -> bool {
    let plain = text.replace(',', "");
    match (number.as_f64(), plain.parse::<f64>()) {
        (Some(number), Ok(shown)) => (number - shown).abs() <= number.abs().max(0.001) * 0.006,
        (Some(_), Err(_)) => false,
        (None, _) => {
            number.as_str().is_none_or(|whole| text == whole || text.contains(" [cut: ") || whole.contains('\u{202e}'))
        }
    }
}

const HOSTILE: [&str; 6] = [
    "<script>window.hacked = 1</script>",
    "</script></style></title><img src=x onerror='window.hacked = 2'>",
    "\"><svg onload=\"window.hacked = 3\">",
    "javascript:window.hacked = 4",
    "{{ 7 * 7 }}{% raw %} ]]> <!-- \u{202e}",
    "<iframe srcdoc='<script>parent.hacked = 5</script>'></iframe>",
];

/// A run whose cells, labels, prompt and replies are hostile.
fn hostile() -> Project {
    let quoted: Vec<String> = HOSTILE.iter().map(|text| json!(text).to_string()).collect();
    let spec = format!(
        r#"
name = "hostile"
models.first = {{ provider = "mock", model = "any" }}
sources.texts = {{ type = "file", path = "texts.csv", key = "id" }}
outputs.tone = {{ input = "tone", path = "tone.parquet" }}

[stages.tone]
type = "analysis"
input = "texts"
models = ["first"]
prompt = '''{}What is it? {{{{ text }}}}'''
output.label = {{ type = "string", enum = [{}], description = {} }}
output.quote = {{ type = "string" }}
"#,
        "<script>window.hacked = 6</script>",
        quoted.join(", "),
        quoted[1],
    );
    let mut rows = vec![vec!["id".to_owned(), "text".to_owned(), "<b onclick='hacked=7'>".to_owned()]];
    for n in 0..60 {
        let text = HOSTILE[n % HOSTILE.len()];
        rows.push(vec![format!("{n}{text}"), format!("{text} {n}"), text.to_owned()]);
    }
    let project = Project::new().spec(&spec).csv("texts.csv", &rows);
    project.run(&["run", "pipeline.toml"]).exits(0);
    project
}

#[test]
fn hostile_texts_run_no_script() {
    let Some(mut browser) = Browser::or_skip("hostile_texts_run_no_script") else { return };
    let project = hostile();
    let page = page(&project, "pipeline.toml");
    let html = fs::read_to_string(&page).expect("a page");
    assert!(html.contains("window.hacked"), "the texts are in the page");
    check(&mut browser, "hostile", &page);
    let hacked = browser.script("return [window.hacked ?? null, document.querySelectorAll('iframe, img, [onload], [onclick], [onerror]').length]");
    assert_eq!(hacked, json!([null, 0]));
    figures_show_their_numbers(&mut browser, &project, "pipeline.toml");
}

#[test]
fn a_page_about_many_rows_opens_at_once() {
    let Some(mut browser) = Browser::or_skip("a_page_about_many_rows_opens_at_once") else { return };
    let spec = r#"
models.first = { provider = "mock", model = "any" }
models.second = { provider = "mock", model = "other" }
sources.texts = { type = "file", path = "texts.csv" }
outputs.tone = { input = "tone", path = "tone.parquet" }

[stages.tone]
type = "analysis"
input = "texts"
models = ["first", "second"]
fanout = true
prompt = "What is it? {{ text }}"
output.label = { type = "string", enum = ["good", "bad", "neither"] }
output.length = { type = "number", minimum = 0, maximum = 100 }
output.reason = { type = "string" }
"#;
    let mut rows = vec![vec!["text".to_owned()]];
    rows.extend((0..5000).map(|n| vec![format!("Text {n} about {}", "something ".repeat(n % 40))]));
    let project = Project::new().spec(spec).csv("texts.csv", &rows);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let page = page(&project, "pipeline.toml");
    let bytes = fs::metadata(&page).expect("a page").len();
    assert!(bytes < 2_000_000, "{bytes} bytes");
    let opened = browser.open(page.to_str().expect("UTF-8"), Look { width: 800, ..Look::default() });
    assert!(opened.ms < 10_000.0, "{opened:?}");
    check(&mut browser, "many-rows", &page);
}

#[test]
fn the_checks_find_what_is_wrong_with_a_page() {
    let Some(mut browser) = Browser::or_skip("the_checks_find_what_is_wrong_with_a_page") else { return };
    let page = Project::new();
    let look = Look { width: 360, ..Look::default() };
    for (body, wanted) in [
        ("<script>throw new Error('broken')</script>", "in the console: "),
        ("<img alt='a' src='http://127.0.0.1:9/a.png'>", "asks for http://127.0.0.1:9/a.png"),
        ("<p style='width: 2000px'>wide</p>", "wider than the window by "),
        ("<p style='color: #ccc; background: #fff'>pale</p>", "color-contrast"),
        ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>", "image-alt"),
    ] {
        let head = "<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>t</title>";
        page.write("page.html", format!("{head}<main><h1>t</h1>{body}</main>"));
        let faults = faults(&mut browser, &page.path("page.html"), look);
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{body}: {faults:?}");
    }
}
