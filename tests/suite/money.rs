//! Money and time before a run: what `plan` expects, pilots, and budgets over all runs of a project.

use serde_json::{Value, json};

use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project, rows, spec};
use crate::screen::{Screen, is_there};
use crate::server::Server;

const PRICED: &str = "max_tokens = 64\nprice = { input = 1.0, output = 2.0 }";

fn priced(stage: &str) -> String {
    spec(stage).replace("max_tokens = 64", PRICED)
}

fn one_model() -> String {
    priced(&format!("models = [\"llama\"]\n{TYPED}"))
}

fn plan(project: &Project) -> Value {
    let ran = project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0);
    ran.json()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn a_plan_states_what_it_assumes_before_the_first_call() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 40);
    let text = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    for line in [
        "llama: 1 USD a million tokens in, 2 out (in the spec)",
        "4 bytes a token, 64 tokens a reply (assumed), time of a call not known, 16 in flight",
        "in all: at most 40 calls to send; about ",
        "to measure replies and times: fanfold run SPEC --pilot 20",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let forecast = &plan(&project)["forecast"];
    assert_eq!((&forecast["calls"], &forecast["seconds"]), (&json!(40), &Value::Null));
    // 64 tokens of each reply, at 2 USD a million.
    let (prompts, usd) = (number(&forecast["prompt_tokens"]), number(&forecast["usd"]["expected"]));
    assert!((usd - (prompts + 40.0 * 64.0 * 2.0) / 1e6).abs() < 1e-6, "{forecast}");
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_pilot_measures_and_is_not_paid_for_again() {
    let server = Server::new().start();
    let project = project(&server, &one_model(), 40);
    let ran = project.run(&["run", "pipeline.toml", "--pilot", "7"]).exits(0).says("pilot: 7 calls sent");
    assert!(ran.stdout.contains("(7 recorded calls)") && !ran.stdout.contains("assumed"), "{}", ran.stdout);
    assert_eq!(server.requests(), 7);
    assert!(!project.has("out/tone.parquet"), "a pilot writes no table");
    let texts: Vec<String> = server.asked().iter().map(|asked| asked.question().to_owned()).collect();
    assert!(texts.iter().any(|text| !(0..7).any(|i| text.contains(&format!("Speech {i},")))), "the rows are drawn");
    let stage = &plan(&project)["stages"][0];
    assert_eq!((&stage["from_ledger"], &stage["forecast"]["calls"]), (&json!(7), &json!(33)));
    let model = &stage["forecast"]["models"][0];
    let asked = server.asked();
    let prompts: f64 = asked.iter().map(|asked| asked.tokens() as f64).sum();
    assert_eq!(model["completion_tokens_per_call"]["from"], json!("7 recorded calls"));
    assert!(number(&model["bytes_per_token"]["value"]) * prompts > 7.0 * 30.0, "{model}");
    assert!(number(&model["seconds_per_call"]["value"]) > 0.0, "{model}");
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests(), 40, "the recorded calls are not sent again");
    let done = plan(&project);
    assert_eq!((&done["forecast"]["calls"], &done["forecast"]["usd"]["expected"]), (&json!(0), &json!(0.0)));
    project.run(&["run", "pipeline.toml", "--pilot", "7"]).exits(0).says("pilot: 0 calls sent");
    assert_eq!(server.requests(), 40);
}

/// The stage `topic` reads no answer, the stage `why` reads that of `tone`.
fn three_stages(prompt: &str) -> String {
    let more = "\n[stages.topic]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"llama\"]\nprompt = \"Topic? {{ text }}\"\n\
                \n[stages.why]\ntype = \"analysis\"\ninput = \"topic\"\nmodels = [\"llama\"]\nprompt = \"Why {{ label }}? {{ text }}\"\n";
    (one_model() + more).replace("What is the tone?", prompt).replace("input = \"tone\"\npath", "input = \"why\"\npath")
}

#[test]
fn a_stage_that_reads_no_unknown_answer_is_counted_exactly() {
    let server = Server::new().start();
    let project = project(&server, &three_stages("What is the tone?"), 20);
    let stages = |project: &Project| plan(project)["stages"].clone();
    let fresh = stages(&project);
    let known = |stage: &Value| (stage["calls"].clone(), stage["from_ledger"].clone(), stage["not_known_yet"].clone());
    assert_eq!(known(&fresh[0]), (json!(20), json!(0), json!(0)));
    assert_eq!(known(&fresh[1]), (json!(20), json!(0), json!(0)), "its prompts read no answer");
    assert_eq!(known(&fresh[2]), (json!(20), json!(0), json!(20)), "its prompts read an answer");
    assert_eq!(fresh[2]["forecast"]["calls"], json!(20), "calls with unknown prompts have a forecast");
    assert!(number(&fresh[2]["forecast"]["prompt_tokens"]) > 20.0 * 8.0);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests(), 60);
    // The answers of the first stage are unknown again, those of the second are not.
    project.write("pipeline.toml", three_stages("Which tone is it?"));
    let changed = stages(&project);
    assert_eq!(known(&changed[1]), (json!(20), json!(20), json!(0)));
    assert_eq!((&changed[1]["calls_to_send"], &changed[2]["not_known_yet"]), (&json!(0), &json!(20)));
    let before = server.requests();
    project.run(&["run", "pipeline.toml"]).exits(0);
    let sent = server.asked()[before..].iter().filter(|asked| asked.question().contains("Topic?")).count();
    assert_eq!(sent, 0, "the plan was right");
}

#[test]
fn the_total_of_a_budget_counts_over_all_runs() {
    let server = Server::new().latency_ms(1).start();
    let with = |budget: &str| one_model().replacen("seed = 42\n", &format!("seed = 42\nbudget = {{ {budget} }}\n"), 1);
    let project = project(&server, &with("calls = 10, total = { calls = 15 }"), 40);
    let this = "the next call might exceed the budget of this run (`calls` is 10)";
    project.run(&["run", "pipeline.toml"]).exits(4).says(this);
    assert_eq!(server.requests(), 10);
    let all = "the next call might exceed the budget of all runs of the project (`total.calls` is 15)";
    for _ in 0..2 {
        let ran = project.run(&["run", "pipeline.toml"]).exits(4).says(all);
        ran.says("To continue: raise `budget.total.calls`, then fanfold run pipeline.toml");
        assert_eq!(server.requests(), 15);
    }
    let text = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    let total = "warning: 25 calls expected and 15 calls spent before, above the budget of 15 calls of all runs";
    assert!(text.contains(total), "{text}");
    assert_eq!(plan(&project)["forecast"]["spent_before"]["calls"], json!(15));
    // Dollars are counted by the price of today.
    project.write("pipeline.toml", with("total = { usd = 0.000001 }"));
    project.run(&["run", "pipeline.toml"]).exits(4).says("of all runs of the project (`total.usd` is 0.000001)");
    assert_eq!(server.requests(), 15);
    project.write("pipeline.toml", with("total = { usd = 100.0 }"));
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(server.requests(), 40);
}

#[test]
fn the_question_of_a_run_names_the_budget() {
    if !is_there("the_question_of_a_run_names_the_budget") {
        return;
    }
    let server = Server::new().start();
    let budget = "budget = { confirm_above = 0.0000001, usd = 0.000001 }";
    let spec = one_model().replacen("seed = 42\n", &format!("seed = 42\n{budget}\n"), 1);
    let project = project(&server, &spec, 5);
    let screen = Screen::open(&project, (80, 24), "run", &[("OLLAMA_HOST", &server.url())]);
    let text = screen.shows("Go on? [y/N]");
    assert!(text.contains("USD expected, above the budget of 0.000001 USD of this run"), "{text}");
    screen.press("n");
    screen.press("Enter");
    assert!(screen.ends(4).contains("nothing was sent"));
    assert_eq!(server.requests(), 0);
}

#[test]
fn without_a_terminal_a_run_never_asks() {
    let server = Server::new().start();
    let spec = one_model().replacen("seed = 42\n", "seed = 42\nbudget = { confirm_above = 0.0000001 }\n", 1);
    let project = project(&server, &spec, 5);
    let ran = project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(!ran.stderr.contains("Go on?"), "{}", ran.stderr);
    assert_eq!(server.requests(), 5);
}

#[test]
fn amounts_of_a_budget_are_checked() {
    let project = Project::new().csv("data.csv", &rows(2));
    for (budget, wrong) in [
        ("confirm_above = 0", "`confirm_above` must be more than 0"),
        ("total = { usd = -1.0 }", "`usd` must be more than 0"),
        ("total = { dollars = 1.0 }", "dollars"),
    ] {
        let text = one_model().replacen("seed = 42\n", &format!("seed = 42\nbudget = {{ {budget} }}\n"), 1);
        project.write("pipeline.toml", text);
        project.run(&["validate", "pipeline.toml"]).exits(2).says(wrong);
    }
}

#[test]
fn a_listed_price_belongs_to_the_vendors_own_server() {
    let hosted = openai_spec("", "models = [\"llama\"]").replace("\"llama3.2\"", "\"gpt-4o-mini\"");
    let hosted = hosted.replacen("seed = 42\n", "seed = 42\nbudget = { usd = 1.0 }\n", 1);
    let hosted = hosted.replace("model = \"mistral\"", "model = \"mistral\"\nprice = { input = 0.0, output = 0.0 }");
    let project = Project::new().env("LAB_URL", "http://127.0.0.1:1/v1").spec(&hosted).csv("data.csv", &rows(3));
    project.run(&["validate", "pipeline.toml"]).exits(2).says("a budget in `usd` needs the `price` of `llama`");
    project.write("pipeline.toml", hosted.replace("base_url_env = \"LAB_URL\"\n", ""));
    let text = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    let price =
        "llama: 0.15 USD a million tokens in (0.075 cached), 0.6 out (https://github.com/CommitBrief/commitbrief/wiki/";
    assert!(text.contains(price) && text.contains("bytes a token (tiktoken)"), "{text}");
    // The spec's price wins.
    let own =
        hosted.replace("model = \"gpt-4o-mini\"", "model = \"gpt-4o-mini\"\nprice = { input = 7.0, output = 8.0 }");
    project.write("pipeline.toml", own.replace("base_url_env = \"LAB_URL\"\n", ""));
    let text = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(text.contains("llama: 7 USD a million tokens in, 8 out (in the spec)"), "{text}");
}
