//! Prompts that a server cuts without a word: its count of tokens shows it, in new replies and in recorded ones. Prompts
//! that are too long are not sent, and not counted as sent.

use std::fs;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::pack::{items, json_of, packs_of};
use crate::project::{Project, Ran};
use crate::recipe::{TYPED, openai_spec, spec};
use crate::server::{Asked, Dialect, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const JSON: [&str; 4] = ["run", "pipeline.toml", "--format", "json"];
/// The words of the long row. Each is at least one token, and the scripted servers count two.
const WORDS: u64 = 600;
const STAGE: &str = "models = [\"llama\"]\nmax_failed = 1";

/// A reply in the dialect of the request with this usage.
fn counted(asked: &Asked, build: &str, usage: Value) -> Say {
    let text = json!({ "label": "neutral", "score": 4 }).to_string();
    let body = match asked.dialect {
        Dialect::Ollama => {
            let mut body = json!({ "message": { "role": "assistant", "content": text }, "done": true,
                                   "done_reason": "stop", "eval_count": 9 });
            body["prompt_eval_count"] = usage["prompt_tokens"].clone();
            body
        }
        Dialect::OpenAi => json!({
            "choices": [{ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
            "system_fingerprint": build, "usage": usage,
        }),
        Dialect::Anthropic => json!({
            "content": [{ "type": "text", "text": text }], "stop_reason": "end_turn", "model": "m", "usage": usage,
        }),
        Dialect::Gemini => json!({
            "candidates": [{ "content": { "parts": [{ "text": text }] }, "finishReason": "STOP" }],
            "usageMetadata": usage,
        }),
    };
    Say::RawBody(body.to_string().into_bytes())
}

/// A spec for a hosted kind, after the usual one for an OpenAI-like server.
fn hosted(kind: &str) -> String {
    let text = openai_spec("", &format!("{STAGE}\n{TYPED}")).replace("seed = 42\n", "");
    text.replace("LAB_URL", "LAB_ROOT").replace("type = \"openai\"", &format!("type = \"{kind}\""))
}

/// A project with one short row and a long one.
fn long_row(server: &Server, spec: &str) -> Project {
    let long = "speeches ".repeat(WORDS as usize);
    let rows = [["id", "year", "text"], ["s0", "1790", "Speech 0, on peace."], ["s1", "1791", long.trim()]];
    let project = Project::new().env("OLLAMA_HOST", &server.url()).env("LAB_URL", &server.openai_url());
    project.env("LAB_ROOT", &server.url()).spec(spec).csv("data.csv", &rows)
}

fn is_long(asked: &Asked) -> bool {
    asked.question().contains("speeches speeches")
}

/// Runs over both rows with a server that reports `usage` for the long one. Returns the error of the long row.
#[track_caller]
fn error_of(spec: &str, build: &'static str, usage: Value) -> Option<String> {
    let short = |asked: &Asked| match asked.dialect {
        Dialect::Gemini => json!({ "promptTokenCount": 60, "candidatesTokenCount": 9 }),
        Dialect::Anthropic => json!({ "input_tokens": 60, "output_tokens": 9 }),
        _ => json!({ "prompt_tokens": 60, "completion_tokens": 9 }),
    };
    let server = Server::new()
        .script(move |asked, _| counted(asked, build, if is_long(asked) { usage.clone() } else { short(asked) }))
        .start();
    let project = long_row(&server, spec);
    project.run(&RUN).exits(0);
    let errors = project.table(OUT).strings("tone_error");
    assert_eq!((errors.len(), &errors[0]), (2, &None));
    errors[1].clone()
}

#[test]
fn a_count_below_the_lower_bound_is_a_cut_whatever_the_provider() {
    let stage = format!("{STAGE}\n{TYPED}");
    let (openai, ollama) = (openai_spec("", &stage), spec(&stage));
    let own = "give the model a larger context on the server, and write its size as `context_tokens`";
    let cases = [
        (openai.clone(), "b6123-llama", json!({ "prompt_tokens": 512 }), own),
        (
            openai.clone(),
            "fp_ollama",
            json!({ "prompt_tokens": 512 }),
            "the server is an Ollama: use `type = \"ollama\"`",
        ),
        (openai, "", json!({ "prompt_tokens": 100, "prompt_tokens_details": { "cached_tokens": 80 } }), own),
        (ollama, "", json!({ "prompt_tokens": 512 }), "raise `num_ctx`"),
        (hosted("anthropic"), "", json!({ "input_tokens": 500, "cache_read_input_tokens": 12 }), own),
        (hosted("gemini"), "", json!({ "promptTokenCount": 512 }), own),
    ];
    for (spec, build, usage, help) in cases {
        let error = error_of(&spec, build, usage.clone()).unwrap_or_else(|| panic!("{usage} was an answer"));
        let says = "context_too_long: the prompt has at least 61";
        assert!(
            error.starts_with(says) && error.contains("it cut the prompt") && error.contains(help),
            "{usage}: {error}"
        );
    }
}

#[test]
fn a_count_that_is_missing_or_leaves_out_a_cache_is_no_cut() {
    let openai = openai_spec("", &format!("{STAGE}\n{TYPED}"));
    let cases = [
        (openai.clone(), json!(null)),
        (openai.clone(), json!({ "prompt_tokens": 0 })),
        (openai.clone(), json!({ "prompt_tokens": null })),
        (openai.clone(), json!({ "prompt_tokens": 700 })),
        (openai.clone(), json!({ "prompt_tokens": 40, "prompt_tokens_details": { "cached_tokens": 660 } })),
        (openai.clone(), json!({ "prompt_tokens": 40, "prompt_cache_hit_tokens": 660 })),
        (openai, json!({ "prompt_tokens": 40, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 60 })),
        (spec(&format!("{STAGE}\n{TYPED}")), json!({})),
        (hosted("anthropic"), json!({ "input_tokens": 40, "cache_read_input_tokens": 660 })),
        (hosted("gemini"), json!({})),
    ];
    for (spec, usage) in cases {
        assert_eq!(error_of(&spec, "", usage.clone()), None, "{usage}");
    }
}

#[test]
fn an_answer_whose_count_leaves_out_a_cache_stays_in_the_ledger() {
    let usage = json!({ "prompt_tokens": 40, "prompt_tokens_details": { "cached_tokens": 660 } });
    let server = Server::new().script(move |asked, _| counted(asked, "", usage.clone())).start();
    let project = recorded(&server, &openai_spec("", &format!("{STAGE}\n{TYPED}")));
    project.run(&RUN).exits(0).says("0 calls sent, 2 from the ledger");
    assert_eq!(project.calls().ints("cached_tokens"), [Some(660), Some(660)]);
    assert_eq!(project.calls().ints("prompt_tokens"), [Some(700), Some(700)], "the count leaves them out");
}

/// Changes the token counts of all answers in the ledger, which then have the checksum of format 1.
fn recount(project: &Project, tokens: i64) {
    let ledger = Connection::open(project.path(".fanfold/ledger.sqlite")).expect("a ledger");
    let mut calls =
        ledger.prepare("SELECT id, key, model, reply, finish, completion_tokens FROM calls").expect("calls");
    let rows = calls.query_map([], |row| {
        let texts: [String; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, texts, row.get::<_, i64>(5)?))
    });
    for row in rows.expect("rows") {
        let (id, key, texts, completion) = row.expect("a call");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&key);
        for text in &texts {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.update(&tokens.to_le_bytes()).update(&completion.to_le_bytes());
        let sum = i64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("8 bytes"));
        let sql = "UPDATE calls SET prompt_tokens = ?2, checksum = ?3 WHERE id = ?1";
        ledger.execute(sql, params![id, tokens, sum]).expect("an update");
    }
}

/// A project over an honest server, after a run without the folder of the run.
fn recorded(server: &Server, spec: &str) -> Project {
    let project = long_row(server, spec);
    project.run(&RUN).exits(0).says("2 calls sent");
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs");
    project
}

fn honest() -> Server {
    Server::new()
        .script(|asked, _| counted(asked, "", json!({ "prompt_tokens": 2 * WORDS, "completion_tokens": 9 })))
        .start()
}

#[test]
fn a_recorded_answer_below_the_bound_is_asked_again_once() {
    for spec in [openai_spec("", &format!("{STAGE}\n{TYPED}")), spec(&format!("{STAGE}\n{TYPED}"))] {
        let server = honest();
        let project = recorded(&server, &spec);
        recount(&project, 512);
        let plan = json_of(&project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).stdout);
        assert_eq!(plan["stages"][0]["from_ledger"], 1, "the short row");
        let ran = project.run(&RUN).exits(0);
        assert!(ran.stderr.contains("1 call sent, 1 from the ledger"), "{}", ran.stderr);
        assert!(ran.stderr.contains("1 answer from the ledger whose prompt the server had cut (asked again)"));
        fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs");
        project.run(&RUN).exits(0).says("0 calls sent, 2 from the ledger");
        assert_eq!(server.requests(), 3);
    }
}

#[test]
fn context_tokens_that_are_added_later_reach_the_ledger() {
    let server = honest();
    let text = openai_spec("", &format!("models = [\"llama\"]\nmax_failed = 2\n{TYPED}"));
    let project = recorded(&server, &text);
    let with = |tokens: u64| text.replace("max_tokens = 64", &format!("max_tokens = 64\ncontext_tokens = {tokens}"));
    project.write("pipeline.toml", with(2 * WORDS + 1));
    project.run(&RUN).exits(0).says("0 calls sent, 2 from the ledger");
    project.write("pipeline.toml", with(2 * WORDS));
    project.run(&RUN).exits(0).says("2 calls sent");
    let error = project.table(OUT).strings("tone_error")[1].clone().expect("an error");
    assert!(error.starts_with("context_too_long: the prompt fills the whole context of 1200 tokens"), "{error}");
    assert!(!error.contains("num_ctx"), "{error}");
    assert_eq!(server.requests(), 4);
}

#[test]
fn a_replay_says_what_was_cut_and_asks_nothing() {
    let server = honest();
    let text = openai_spec("", &format!("{STAGE}\n{TYPED}"));
    let project = long_row(&server, &text);
    project.run(&RUN).exits(0);
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    let table = project.table(OUT).rows().to_vec();
    fs::remove_dir_all(project.path(".fanfold")).expect("the project has been run");
    project.write("pipeline.toml", text.replace("max_tokens = 64", "max_tokens = 64\ncontext_tokens = 1200"));
    for mode in ["only", "prefer"] {
        let ran = project.run(&["run", "pipeline.toml", "--replay", "calls.parquet", "--replay-mode", mode]).exits(0);
        assert!(ran.stderr.contains("2 answers recorded whose prompt the server had cut (used; "), "{}", ran.stderr);
        assert_eq!(project.table(OUT).rows(), table, "{mode}: another table");
    }
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_pack_that_was_cut_is_halved_and_paid_once() {
    let server = Server::new().script(|asked, _| match items(asked) {
        // The pack does not fit: the server reads the end of it.
        Some(items) if items.len() > 2 => {
            let text = json!({ "answers": [] }).to_string();
            let body = json!({ "choices": [{ "message": { "content": text }, "finish_reason": "stop" }],
                               "usage": { "prompt_tokens": 50 } });
            Say::RawBody(body.to_string().into_bytes())
        }
        _ => Say::Default,
    });
    let server = server.start();
    let system = format!("system = \"{}\"", "Judge every speech carefully. ".repeat(40));
    let text = packs_of(4, &system).replace("type = \"ollama\"", "type = \"openai\"\nbase_url_env = \"LAB_URL\"");
    let project = crate::recipe::project(&server, &text.replace("num_ctx = 4096\n", ""), 4);
    project.run(&RUN).exits(0).says("4 rows = 4 answered").says("3 calls sent");
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs");
    project.run(&RUN).exits(0).says("0 calls sent, 3 from the ledger");
    assert_eq!(server.requests(), 3);
    assert!(project.calls().strings("item_error").iter().flatten().all(|e| e.contains("`context_too_long`")));
}

/// The number of calls that count as sent: in the summary, in its JSON and in the calls table.
fn sent(project: &Project, ran: &Ran) -> [u64; 4] {
    let summary = json_of(&ran.stdout);
    let stage = &summary["stages"]["tone"];
    let number = |name: &str| stage[name].as_u64().expect("a number");
    let said = ran.stderr.split(" sent").next().and_then(|before| before.rsplit("  ").next());
    let said = said.and_then(|text| text.split(' ').next()).and_then(|n| n.parse().ok()).unwrap_or(0);
    let attempts = project.calls().ints("attempts").into_iter().flatten().filter(|attempts| *attempts > 0).count();
    [number("calls"), number("needed"), said, attempts as u64]
}

#[test]
fn only_what_is_sent_counts_as_sent() {
    let server = Server::new().start();
    let small = |spec: String| spec.replace("num_ctx = 4096", "num_ctx = 400");
    let stage = format!("{STAGE}\n{TYPED}");
    let declared = openai_spec("", &stage).replace("max_tokens = 64", "max_tokens = 64\ncontext_tokens = 400");
    // A pack with the long row is not sent either; its halves are single rows.
    for (spec, planned) in [(small(spec(&stage)), 1), (declared, 1), (small(packs_of(2, "max_failed = 1")), 1)] {
        server.forget();
        let project = long_row(&server, &spec);
        let plan = json_of(&project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0).stdout);
        assert_eq!(plan["stages"][0]["calls"], planned);
        let ran = project.run(&JSON).exits(0);
        assert_eq!((server.requests(), sent(&project, &ran)), (1, [1; 4]), "{}", ran.stderr);
        let again = project.run(&JSON).exits(0);
        assert_eq!(json_of(&again.stdout)["stages"]["tone"]["needed"], 1, "the same for parts that are kept");
    }
}
