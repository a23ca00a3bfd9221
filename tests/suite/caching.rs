//! Prompt caching: what servers are asked to cache, the tokens that they read from their caches, and what those cost.

use serde_json::{Value, json};

use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project, rows};
use crate::server::{Asked, Dialect, Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const PRICE: &str = "price = { input = 1.0, output = 2.0, cached_input = 0.1, cache_write = 1.25, batch = 0.5 }";

/// A spec for a server of this kind whose system text has about this number of tokens.
fn spec(kind: &str, tokens: usize) -> String {
    let system = "Peace. ".repeat(tokens * 4 / 7 + 1);
    let text = openai_spec("", &format!("models = [\"llama\"]\nsystem = \"\"\"{system}\"\"\"\n{TYPED}"));
    let text = if kind == "openai" { text } else { text.replace("LAB_URL", "LAB_ROOT").replace("seed = 42\n", "") };
    let text = text.replace("type = \"openai\"", &format!("type = \"{kind}\""));
    text.replace("[models.llama]\n", &format!("[models.llama]\n{PRICE}\n"))
}

fn start(server: &Server, spec: &str, count: usize) -> Project {
    project(server, spec, count).env("LAB_ROOT", &server.url())
}

/// The marks in the text for all rows and in the messages.
fn marks(asked: &Asked) -> usize {
    asked.body.to_string().matches("\"cache_control\":{\"type\":\"ephemeral\"}").count()
}

fn answered(asked: &Asked, usage: Value) -> Say {
    let text = json!({ "label": "neutral", "score": 4 }).to_string();
    let body = match asked.dialect {
        Dialect::Anthropic => json!({
            "content": [{ "type": "text", "text": text }], "stop_reason": "end_turn", "model": "m", "usage": usage,
        }),
        Dialect::Gemini => json!({
            "candidates": [{ "content": { "parts": [{ "text": text }] }, "finishReason": "STOP" }],
            "usageMetadata": usage,
        }),
        _ => json!({
            "choices": [{ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
            "usage": usage,
        }),
    };
    Say::RawBody(body.to_string().into_bytes())
}

#[test]
fn anthropic_is_asked_to_cache_a_long_text_that_several_rows_share() {
    let server = Server::new().script(|_, _| Say::Json(json!({ "label": "neutral", "score": 4 }))).start();
    let long = start(&server, &spec("anthropic", 1100), 1);
    long.run(&RUN).exits(0);
    assert_eq!(server.asked().iter().map(marks).collect::<Vec<_>>(), [0], "one row shares nothing");
    server.forget();
    long.csv("data.csv", &rows(6)).run(&RUN).exits(0).says("5 calls sent, 1 from the ledger");
    for asked in server.asked() {
        let system = &asked.body["system"];
        assert_eq!((marks(&asked), system[0]["type"].as_str()), (1, Some("text")), "{}", asked.body);
        assert!(system[0]["text"].as_str().is_some_and(|text| text.starts_with("Peace. ")));
        assert!(asked.body["messages"][0]["content"].is_string());
    }
    server.forget();
    start(&server, &spec("anthropic", 100), 6).run(&RUN).exits(0);
    assert!(server.asked().iter().all(|asked| marks(asked) == 0 && asked.body["system"].is_string()));
    server.forget();
    start(&server, &spec("openai", 1100), 6).run(&RUN).exits(0);
    assert!(server.asked().iter().all(|asked| marks(asked) == 0), "the others cache by themselves");
}

#[test]
fn a_server_that_refuses_the_mark_is_asked_without_it() {
    for words in [
        "system.0.cache_control: Extra inputs are not permitted",
        "system: Input should be a valid string",
        "json: cannot unmarshal array into Go struct field MessagesRequest.system of type string",
    ] {
        let refused = json!({ "type": "error", "error": { "type": "invalid_request_error", "message": words } });
        let server = Server::new()
            .script(move |asked, _| match marks(asked) {
                0 => Say::Json(json!({ "label": "neutral", "score": 4 })),
                _ => Say::Status { code: 400, retry_after: None, body: refused.to_string() },
            })
            .start();
        let project = start(&server, &spec("anthropic", 1100), 8);
        project.run(&RUN).exits(0).says("8 answered");
        let marked = server.asked().iter().filter(|asked| marks(asked) > 0).count();
        assert!((1..=8).contains(&marked) && server.requests() == 8 + marked, "{words}: {marked}");
        project.run(&RUN).exits(0).says("0 calls sent");
    }
}

#[test]
fn tokens_of_a_cache_are_counted_and_priced_whatever_the_provider() {
    let cases = [
        // The dialect, the usage of each reply, and the prompt's tokens with those of the cache.
        (
            "anthropic",
            json!({ "input_tokens": 200, "cache_read_input_tokens": 700, "cache_creation_input_tokens": 100, "output_tokens": 10 }),
            [1000, 700, 100],
        ),
        (
            "gemini",
            json!({ "promptTokenCount": 1000, "cachedContentTokenCount": 600, "candidatesTokenCount": 10 }),
            [1000, 600, 0],
        ),
        (
            "openai",
            json!({ "prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": { "cached_tokens": 500, "cache_write_tokens": 50 } }),
            [1000, 500, 50],
        ),
        (
            "openai",
            json!({ "prompt_tokens": 1000, "completion_tokens": 10, "prompt_cache_hit_tokens": 400 }),
            [1000, 400, 0],
        ),
        ("openai", json!({ "prompt_tokens": 100, "completion_tokens": 10, "cached_tokens": 900 }), [1000, 900, 0]),
    ];
    for (kind, usage, [prompt, read, written]) in cases {
        let told = usage.clone();
        let server = Server::new().script(move |asked, _| answered(asked, told.clone())).start();
        let project = start(&server, &spec(kind, 300), 4);
        let ran = project.run(&["run", "pipeline.toml", "--format", "json"]).exits(0).json();
        let calls = project.calls();
        let above_zero = |tokens: i64| vec![Some(tokens).filter(|tokens| *tokens > 0); 4];
        assert_eq!(calls.ints("prompt_tokens"), above_zero(prompt), "{usage}");
        assert_eq!(calls.ints("cached_tokens"), above_zero(read), "{usage}");
        assert_eq!(calls.ints("cache_write_tokens"), above_zero(written), "{usage}");
        assert!(calls.strings("notes").iter().all(Option::is_none), "{usage}");
        let usd = ((prompt - read - written) as f64 + 0.1 * read as f64 + 1.25 * written as f64 + 2.0 * 10.0) / 1e6;
        assert!(calls.floats("usd").iter().all(|cost| (cost.expect("a cost") - usd).abs() < 1e-12), "{usage}");
        let stage = &ran["stages"]["tone"];
        assert_eq!(stage["cached_tokens"], json!(4 * read), "{stage}");
        assert!((stage["usd"].as_f64().expect("a cost") - 4.0 * usd).abs() < 1e-8, "{stage}");
        let ledger = project.run(&["ledger", "info", "--format", "json"]).exits(0).json();
        assert_eq!(ledger["contents"]["models"][0]["cached_tokens"], json!(4 * read));
        // The next rows are expected to cost as much.
        let more = project.csv("data.csv", &rows(8));
        let plan = more.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).json();
        let model = &plan["stages"][0]["forecast"]["models"][0];
        assert_eq!(model["cached_share"]["value"], json!(read as f64 / prompt as f64), "{model}");
        let [cost, prompts] =
            [&model["usd"]["expected"], &model["prompt_tokens"]].map(|n| n.as_f64().expect("a number"));
        let input = ((prompt - read - written) as f64 + 0.1 * read as f64 + 1.25 * written as f64) / prompt as f64;
        assert!((cost - (prompts * input + 4.0 * 20.0) / 1e6).abs() < 1e-6, "{model}");
    }
}

#[test]
fn a_replay_file_has_the_tokens_of_the_cache() {
    let usage =
        json!({ "prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": { "cached_tokens": 500 } });
    let server = Server::new().script(move |asked, _| answered(asked, usage.clone())).start();
    let project = start(&server, &spec("openai", 300), 3);
    project.run(&RUN).exits(0);
    let costs = project.calls().floats("usd");
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0);
    assert_eq!(project.calls().floats("usd"), [costs.clone(), costs].concat(), "the table has the calls of both runs");
    assert_eq!(project.calls().ints("cached_tokens"), [Some(500); 6]);
}

#[test]
fn a_summary_shows_cached_tokens_thoughts_and_the_date_of_a_listed_price() {
    let server = Server::new()
        .models(&["gpt-4o-mini"])
        .script(|asked, _| {
            answered(
                asked,
                json!({ "prompt_tokens": 1000, "completion_tokens": 100,
                    "prompt_tokens_details": { "cached_tokens": 600 },
                    "completion_tokens_details": { "reasoning_tokens": 40 } }),
            )
        })
        .start();
    let text = spec("openai", 300).replace(&format!("{PRICE}\n"), "").replace("\"llama3.2\"", "\"gpt-4o-mini\"");
    let text = text.replace("base_url_env = \"LAB_URL\"\n", "");
    let project = start(&server, &text, 2).env("OPENAI_BASE_URL", &server.openai_url());
    let project = project.env("OPENAI_API_KEY", "abc123");
    let ran = project.run(&RUN).exits(0);
    // 1,000 of 0.15, of which 600 cost 0.075, and 100 of 0.6.
    let ran = ran.says("2,000 tokens in (1,200 from the cache), 200 out (80 of thoughts), 0.00033 USD");
    let ran = ran.says("price of `llama`: https://").says(", read on 2026-");
    drop(ran);
    let plan = project.csv("data.csv", &rows(5)).run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("0.15 USD a million tokens in (0.075 cached), 0.6 out (https://"), "{plan}");
    assert!(plan.contains("60 % of the prompts cached") && plan.contains(" (prices of 2026-"), "{plan}");
}

#[test]
fn a_price_has_no_negative_rate() {
    for rate in ["cached_input = -0.1", "cache_write = -1.0", "batch = -0.5"] {
        let text = spec("openai", 10).replace(PRICE, &format!("price = {{ input = 1.0, output = 2.0, {rate} }}"));
        let project = Project::new().spec(&text).csv("data.csv", &rows(1));
        project.run(&["validate", "pipeline.toml"]).exits(2).says("a price must be 0 or more");
    }
}
