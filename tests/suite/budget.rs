//! Budgets: a run stops before it exceeds its budget, with exit code 4, and the next run continues.

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::{Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// The usual spec with this budget, where every model costs a cent per token.
fn with(budget: &str) -> String {
    let text = spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = false\n{TYPED}"));
    let text = text.replace("max_tokens = 64", "max_tokens = 64\nprice = { input = 10000.0, output = 10000.0 }");
    text.replacen("seed = 42\n", &format!("seed = 42\nbudget = {{ {budget} }}\n"), 1)
}

/// The tokens of all calls of the project.
fn tokens(project: &Project) -> i64 {
    let calls = project.calls();
    calls.ints("prompt_tokens").into_iter().chain(calls.ints("completion_tokens")).flatten().sum()
}

#[test]
fn a_budget_of_calls_is_never_exceeded_and_the_next_run_continues() {
    let server = Server::new().latency_ms(1).start();
    let project = project(&server, &with("calls = 15"), 40);
    for run in 1..=2 {
        project.run(&RUN).exits(4).says("the next call might exceed the budget of this run (`calls` is 15)");
        assert_eq!(server.requests(), 15 * run);
        assert!(!project.has(OUT));
    }
    project.run(&RUN).exits(0);
    assert_eq!((server.requests(), project.table(OUT).nulls("tone_error")), (40, 40));
    // Answers from the ledger cost nothing.
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 40);
}

#[test]
fn retries_count() {
    let server = Server::new().script(|_, attempt| if attempt == 1 { Say::status(500) } else { Say::Default }).start();
    let project = project(&server, &with("calls = 10"), 40);
    project.run(&RUN).exits(4);
    assert_eq!(server.requests(), 10);
}

#[test]
fn tokens_and_dollars_are_reserved_before_they_are_spent() {
    for (budget, most) in [("tokens = 3000", 3000), ("usd = 30.0", 3000), ("tokens = 1000000, usd = 30.0", 3000)] {
        let server = Server::new().latency_ms(2).start();
        let stopped = project(&server, &with(budget), 200);
        stopped.run(&RUN).exits(4);
        let sent = server.requests();
        assert!(sent > 3 && sent < 200, "{budget}: {sent} requests");
        // A stopped run has not written its parts: a run without a budget shows what was spent.
        let all = Project::new().env("OLLAMA_HOST", &server.url()).spec(&with("calls = 100000"));
        let rows = crate::recipe::rows(200);
        let all = all.csv("data.csv", &rows);
        all.run(&RUN).exits(0);
        let each = tokens(&all) / 200;
        assert!(each * sent as i64 <= most + each, "{budget}: {sent} requests of {each} tokens");
        assert!(
            each * sent as i64 * 3 > most,
            "{budget}: {sent} requests of {each} tokens are much less than it allows"
        );
    }
}

#[test]
fn a_budget_in_dollars_needs_prices_and_a_positive_amount() {
    let validate = |text: &str| {
        Project::new().spec(text).csv("data.csv", &crate::recipe::rows(2)).run(&["validate", "pipeline.toml"])
    };
    validate(&with("usd = 1.5")).exits(0);
    validate(&with("usd = 0.0")).exits(2).says("`usd` must be more than 0");
    validate(&with("calls = 0")).exits(2);
    validate(&with("dollars = 1")).exits(2).says("usd");
    validate(&with("usd = 1.0").replace("input = 10000.0", "input = -1.0")).exits(2).says("a price must be 0 or more");
    let hosted =
        with("usd = 1.0").replace("type = \"ollama\"", "type = \"openai\"\nbase_url = \"http://localhost:1/v1\"");
    let hosted = hosted.replace("num_ctx = 4096\n", "");
    validate(&hosted).exits(0);
    let without = hosted.replace("price = { input = 10000.0, output = 10000.0 }", "");
    validate(&without).exits(2).says("a budget in `usd` needs the `price` of `llama`").says("of `mistral`");
}
