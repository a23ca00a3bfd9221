//! Replies of real servers with their oddities, from the request to the tables.

use serde_json::{Value, json};

use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project};
use crate::server::{Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const OUT: &str = "out/tone.parquet";

/// A body with this message, end and usage.
fn completion(message: Value, finish: &str, usage: Value) -> Say {
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
    Say::RawBody(json!({ "choices": [choice], "usage": usage }).to_string().into_bytes())
}

fn good() -> Say {
    Say::Json(json!({ "label": "positive", "score": 1 }))
}

fn error(code: u16, body: Value) -> Say {
    Say::Status { code, retry_after: None, body: body.to_string() }
}

/// The spec with these lines in the table of the model.
fn with_model(spec: &str, model: &str) -> String {
    let spec = spec.replace("max_tokens = 64\n", "");
    spec.replacen("[models.llama]\n", &format!("[models.llama]\n{model}\n"), 1)
}

fn typed(model: &str, stage: &str) -> String {
    with_model(&openai_spec("", &format!("models = [\"llama\"]\n{stage}{TYPED}")), model)
}

fn text(model: &str) -> String {
    with_model(&openai_spec("", "models = [\"llama\"]\n"), model)
}

#[test]
fn thoughts_stand_in_the_calls_table_and_never_in_a_cell() {
    let marked = |text: &str| completion(json!({ "content": text }), "stop", json!({}));
    let said = move |row: usize| match row % 4 {
        0 => marked("[THINK]Hm, maybe.[/THINK]A plain summary."),
        1 => marked(
            "<|channel|>analysis<|message|>Hm, maybe.<|end|><|start|>assistant<|channel|>final<|message|>A plain summary.",
        ),
        2 => completion(
            json!({ "content": "A plain summary.", "reasoning_content": "Hm, maybe." }),
            "stop",
            json!({ "prompt_tokens": 9, "completion_tokens": 9, "completion_tokens_details": { "reasoning_tokens": 5 } }),
        ),
        _ => marked("<thought>Hm, maybe.</thought>\nA plain summary."),
    };
    let server = Server::new().script(move |asked, _| said(asked.number)).start();
    let project = project(&server, &text(""), 8);
    project.run(&RUN).exits(0);
    assert_eq!(project.table(OUT).texts("tone"), vec!["A plain summary."; 8]);
    let calls = project.calls();
    assert_eq!(calls.texts("reasoning"), vec!["Hm, maybe."; 8]);
    assert_eq!(calls.ints("reasoning_tokens").iter().flatten().copied().collect::<Vec<_>>(), [5, 5]);
    assert_eq!(calls.nulls("notes"), 8, "thoughts are not a special step");
}

#[test]
fn a_reply_of_reasoning_alone_is_named_as_such() {
    for field in ["reasoning_content", "reasoning", "thinking"] {
        let server = Server::new()
            .script(move |_, _| {
                completion(json!({ "content": null, field: "{\"label\": \"positive\"}" }), "stop", json!({}))
            })
            .start();
        let project = project(&server, &typed("", ""), 2);
        let ran = project.run(&RUN);
        assert!(ran.stderr.contains("only reasoning came"), "{field}: {}", ran.stderr);
    }
}

#[test]
fn a_reply_without_text_is_not_asked_for_again() {
    let full = json!({ "prompt_tokens": 32_767, "completion_tokens": 1 });
    let limit = json!({ "prompt_tokens": 40, "completion_tokens": 512 });
    let mut thought = limit.clone();
    thought["completion_tokens_details"] = json!({ "reasoning_tokens": 512 });
    for (usage, words) in
        [(full, "fills the context"), (limit, "without any text"), (thought, "the thoughts used up all 512 tokens")]
    {
        let server =
            Server::new().script(move |_, _| completion(json!({ "content": "" }), "length", usage.clone())).start();
        let project = project(&server, &typed("max_tokens = 512", ""), 3);
        let ran = project.run(&RUN);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        assert_eq!(server.requests(), 3, "{words}");
    }
}

#[test]
fn a_text_that_the_server_found_unfit_is_asked_for_again_with_the_schema() {
    for code in [400, 422, 500] {
        let refusal = json!({ "error": { "message": "Failed to validate JSON.", "code": "json_validate_failed", "failed_generation": "{\"label\": \"posi" } });
        let server = Server::new()
            .script(
                move |asked, attempt| {
                    if asked.number % 5 == 0 && attempt == 1 { error(code, refusal.clone()) } else { good() }
                },
            )
            .start();
        let project = project(&server, &typed("", ""), 10);
        project.run(&RUN).exits(0).says("10 answered");
        assert!(server.asked().iter().all(|asked| asked.schema.is_some()), "{code}");
    }
}

/// A server whose chat template refuses the role `system`, with these words.
fn without_system(words: &'static str) -> Server {
    let alternate = |asked: &crate::server::Asked| {
        asked.messages.iter().enumerate().all(|(n, (role, _))| (role == "user") == (n % 2 == 0))
    };
    Server::new()
        .script(move |asked, _| match asked.messages.iter().any(|(role, _)| role == "system") || !alternate(asked) {
            true => error(400, json!({ "error": { "message": words, "code": 400 } })),
            false => good(),
        })
        .start()
}

#[test]
fn how_to_answer_moves_to_the_user_where_there_is_no_system_role() {
    for words in [
        "System role not supported",
        "Only user, assistant and tool roles are supported, got system.",
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ] {
        let server = without_system(words);
        let project = project(&server, &typed("", ""), 8);
        project.run(&RUN).exits(0).says("8 answered");
        assert!(
            project.calls().texts("notes").iter().all(|notes| notes.contains(r#""system_role":"user""#)),
            "{words}"
        );
        let again = project.run(&RUN).exits(0);
        assert!(again.stderr.contains("0 calls sent"), "the key is that of the spec: {}", again.stderr);
        let other = without_system(words);
        let own = self::project(&other, &typed("", "system = \"You are a coder.\"\n"), 30);
        let ran = own.run(&RUN).exits(3);
        assert!(ran.stderr.contains(words) && ran.stderr.contains("system_role = \"user\""), "{}", ran.stderr);
    }
}

#[test]
fn the_role_of_the_system_text_is_a_setting() {
    let roles = |role: &str| {
        let server = Server::new().script(|_, _| good()).start();
        let spec = typed(&format!("system_role = \"{role}\""), "system = \"You are a coder.\"\n");
        project(&server, &spec, 1).run(&RUN).exits(0);
        let asked = server.asked();
        asked[0]
            .messages
            .iter()
            .map(|(role, text)| format!("{role}: {}", text.contains("You are a coder.")))
            .collect::<Vec<_>>()
    };
    assert_eq!(roles("system"), ["system: true", "user: false"]);
    assert_eq!(roles("developer"), ["developer: true", "user: false"]);
    assert_eq!(roles("user"), ["user: true"]);
    assert_eq!(roles("none"), ["user: false"]);
}

#[test]
fn the_limit_of_a_reply_goes_by_the_name_that_the_server_wants() {
    let words =
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    let server = Server::new()
        .script(move |asked, _| match asked.body.get("max_tokens").is_some() {
            true => error(400, json!({ "error": { "message": words, "code": "unsupported_parameter" } })),
            false => good(),
        })
        .start();
    let project = project(&server, &typed("max_tokens = 64", ""), 4);
    project.run(&RUN).exits(0).says("4 answered");
    assert!(server.asked().iter().any(|asked| asked.body["max_completion_tokens"] == 64));
}

/// A project whose provider is of another kind than that of `spec`.
fn of_kind(server: &Server, kind: &str, spec: &str, rows: usize) -> Project {
    let spec = spec.replace("type = \"openai\"", &format!("type = \"{kind}\""));
    let spec = match kind {
        "openai" => spec,
        "ollama" => spec.replace("base_url_env = \"LAB_URL\"\n", ""),
        _ => spec.replace("LAB_URL", "LAB_ROOT"),
    };
    project(server, &spec, rows).env("LAB_ROOT", &server.url())
}

#[test]
fn a_seed_that_is_not_sent_still_makes_calls_different() {
    for kind in ["openai", "ollama", "gemini", "anthropic"] {
        let server = Server::new().script(|_, _| good()).start();
        let project = of_kind(&server, kind, &typed("seed = 7\nsend_seed = false", "replicates = 2\n"), 3);
        project.run(&RUN).exits(0);
        assert_eq!(server.requests(), 6, "{kind}");
        assert!(server.asked().iter().all(|asked| !asked.body.to_string().contains("\"seed\"")), "{kind}");
        project.run(&RUN).exits(0).says("0 calls sent");
    }
}

#[test]
fn thinking_is_set_in_the_words_of_the_server() {
    let server = Server::new().script(|_, _| good()).start();
    project(&server, &typed("reasoning_effort = \"low\"\nthink = false", ""), 1).run(&RUN).exits(0);
    let body = &server.asked()[0].body;
    assert_eq!(
        (&body["reasoning_effort"], &body["chat_template_kwargs"]["enable_thinking"]),
        (&json!("low"), &json!(false))
    );
    let spec = typed("thinking_tokens = 100", "");
    project(&server, &spec, 1).run(&["validate", "pipeline.toml"]).exits(2).says("`thinking_tokens` can't be set");
}

const KEY: &str = "CANARY-header-0123456789";

#[test]
fn headers_and_queries_are_sent_and_their_secrets_never_shown() {
    let server = Server::new()
        .script(|asked, _| match asked.number % 2 {
            0 => good(),
            _ => error(400, json!({ "error": { "message": format!("what is {KEY}? {:?}", asked.header("x-lab")) } })),
        })
        .start();
    let fields = "headers = { X-Lab = { env = \"LAB_HEADER_KEY\" }, X-Project = \"study 7\" }\n\
                  query = { tenant = \"a b\", code = { env = \"LAB_HEADER_KEY\" } }\n";
    let spec = openai_spec(fields, &format!("models = [\"llama\"]\nmax_failed = \"100%\"\n{TYPED}"));
    let project = project(&server, &spec, 6).env("LAB_HEADER_KEY", KEY);
    let ran = project.run(&["run", "pipeline.toml", "--log", "json"]);
    assert!(!ran.stderr.contains(KEY) && !ran.stdout.contains(KEY), "{}", ran.stderr);
    for asked in server.asked() {
        assert_eq!((asked.header("x-lab"), asked.header("x-project")), (Some(KEY), Some("study 7")));
        assert!(asked.path.ends_with(&format!("?tenant=a+b&code={KEY}")), "{}", asked.path);
    }
    let calls = project.calls();
    assert!(calls.strings("error").iter().flatten().any(|error| error.contains("[key]")));
}

#[test]
fn a_secret_in_a_spec_and_a_header_of_the_protocol_are_refused() {
    for (fields, words) in [
        ("headers = { Authorization = \"Bearer x\" }", "looks like a secret"),
        ("query = { access-key = \"x\" }", "looks like a secret"),
        ("headers = { Host = \"x\" }", "can't be set as a header"),
        ("headers = { X-A = { env = \"a b\" } }", "must be the name of an environment variable"),
    ] {
        let spec = openai_spec(fields, &format!("models = [\"llama\"]\n{TYPED}"));
        Project::new().spec(&spec).run(&["validate", "pipeline.toml"]).exits(2).says(words);
    }
}

#[test]
fn azure_has_its_version_in_the_address_and_its_key_in_a_header() {
    let server = Server::new().script(|_, _| good()).start();
    let spec = openai_spec("api_key_env = \"LAB_KEY\"\n", &format!("models = [\"llama\"]\n{TYPED}"));
    let address = format!("{}/openai/deployments/d?api-version=2024-10-21", server.url());
    let spec = spec.replace("base_url_env = \"LAB_URL\"", &format!("base_url = \"{address}\""));
    project(&server, &spec, 2).env("LAB_KEY", "abc123").run(&RUN);
    for asked in server.asked() {
        assert_eq!(asked.header("api-key"), Some("abc123"));
        assert_eq!(asked.header("authorization"), None);
        assert!(asked.path.ends_with("/chat/completions?api-version=2024-10-21"), "{}", asked.path);
    }
}

#[test]
fn the_address_of_the_official_clients_is_honoured() {
    let spec = openai_spec("", &format!("models = [\"llama\"]\n{TYPED}")).replace("base_url_env = \"LAB_URL\"\n", "");
    for (kind, address, key, header, sent) in [
        ("openai", "OPENAI_BASE_URL", "OPENAI_API_KEY", "authorization", "Bearer abc123"),
        ("anthropic", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "x-api-key", "abc123"),
        ("gemini", "GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "x-goog-api-key", "abc123"),
    ] {
        let server = Server::new().script(|_, _| good()).start();
        let url = if kind == "openai" { server.openai_url() } else { server.url() };
        let project = of_kind(&server, kind, &spec, 2).env(address, &url).env(key, "abc123");
        project.run(&RUN).exits(0).says("2 answered");
        assert!(server.asked().iter().all(|asked| asked.header(header) == Some(sent)), "{kind}");
    }
}

#[test]
fn an_ollama_behind_a_proxy_gets_its_key_in_every_way() {
    for (fields, header, query) in [
        ("api_key_env = \"LAB_KEY\"\n", Some(("authorization", "Bearer abc123")), ""),
        ("headers = { X-Token = { env = \"LAB_KEY\" } }\n", Some(("x-token", "abc123")), ""),
        ("query = { token = { env = \"LAB_KEY\" } }\n", None, "?token=abc123"),
    ] {
        let server = Server::new().script(|_, _| good()).start();
        let spec = openai_spec(fields, &format!("models = [\"llama\"]\n{TYPED}"));
        of_kind(&server, "ollama", &spec, 2).env("LAB_KEY", "abc123").run(&RUN).exits(0).says("2 answered");
        for asked in server.asked() {
            assert!(header.is_none_or(|(name, value)| asked.header(name) == Some(value)), "{fields}");
            assert!(asked.path.ends_with(query), "{fields}{}", asked.path);
        }
    }
}
