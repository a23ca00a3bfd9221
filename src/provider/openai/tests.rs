//! OpenAI-compatible requests and endpoints.

use super::super::hosted::Hosted;
use super::*;
use crate::provider::endpoint::Endpoint;
use crate::provider::endpoint::tests::context;

const KEY: &str = "sk-CANARY-0123456789";

fn env(name: &str) -> Option<String> {
    match name {
        "OPENAI_API_KEY" | "LAB_KEY" => Some(format!(" {KEY}\n")),
        "LAB_URL" => Some("http://10.0.0.5:8000/v1".to_owned()),
        "OPEN_URL" => Some("http://example.org/v1".to_owned()),
        "BROKEN_KEY" => Some("a\nb".to_owned()),
        _ => None,
    }
}

fn fields(json: Value) -> Hosted<OpenAi> {
    serde_json::from_value(json).unwrap()
}

fn problems(json: Value) -> Vec<String> {
    let mut problems = crate::document::Problems::default();
    let path = crate::document::Path::of(["providers", "lab"]);
    let node = crate::provider::endpoint::tests::node(&json);
    let config = crate::provider::endpoint::decode::<Hosted<OpenAi>>(&node, &path, &mut problems);
    assert_eq!(config.is_none(), !problems.is_empty());
    problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn the_key_goes_only_where_it_belongs() {
    let secret = |json| fields(json).secret_env().map(str::to_owned);
    assert_eq!(secret(serde_json::json!({})).as_deref(), Some("OPENAI_API_KEY"));
    assert_eq!(
        secret(serde_json::json!({"base_url": "https://api.openai.com/v1/"})).as_deref(),
        Some("OPENAI_API_KEY")
    );
    assert_eq!(secret(serde_json::json!({"base_url": "http://10.0.0.5/v1"})), None);
    assert_eq!(secret(serde_json::json!({"base_url": "https://api.openai.com.evil.org/v1"})), None);
    assert_eq!(secret(serde_json::json!({"base_url_env": "LAB_URL"})), None);
    let lab = fields(serde_json::json!({"base_url_env": "LAB_URL", "api_key_env": "LAB_KEY"}));
    let provider = lab.connect(&context(&env)).unwrap();
    assert_eq!(provider.endpoint(), "http://10.0.0.5:8000/v1");
    assert!(!format!("{provider:?} {lab:?} {}", json!(lab)).contains("CANARY"));
    assert!(fields(serde_json::json!({})).connect(&context(&env)).is_ok());
}

#[test]
fn what_the_environment_lacks_is_named() {
    let message = |json| fields(json).connect(&context(&env)).unwrap_err().message;
    assert_eq!(
        message(serde_json::json!({"base_url": "http://h/v1", "api_key_env": "NO_KEY"})),
        "the environment variable `NO_KEY` is not set"
    );
    assert_eq!(message(serde_json::json!({"base_url_env": "NO_URL"})), "the environment variable `NO_URL` is not set");
    let open = serde_json::json!({"base_url_env": "OPEN_URL", "api_key_env": "LAB_KEY"});
    assert_eq!(message(open), "the key would go to `example.org` in clear text over `http://`");
    let broken = fields(serde_json::json!({"base_url": "http://h/v1", "api_key_env": "BROKEN_KEY"}));
    assert_eq!(broken.connect(&context(&env)).unwrap_err().message, "a key can't hold line breaks");
}

#[test]
fn bad_fields_are_all_reported() {
    assert!(problems(serde_json::json!({"base_url": "https://example.org/v1", "api_key_env": "LAB_KEY"})).is_empty());
    assert!(problems(serde_json::json!({"base_url": "http://example.org/v1"})).is_empty());
    let insecure = serde_json::json!({"base_url": "http://example.org/v1", "api_key_env": "LAB_KEY"});
    assert_eq!(problems(insecure.clone()).len(), 1);
    let mut allowed = insecure;
    allowed["allow_insecure"] = true.into();
    assert!(problems(allowed).is_empty());
    let many = problems(serde_json::json!({
        "base_url": "localhost:8000", "base_url_env": "LAB_URL", "api_key_env": KEY,
        "timeout_secs": 0, "connect_timeout_secs": 90000
    }));
    assert_eq!(many.len(), 5, "{many:?}");
    assert!(!many.join(" ").contains("CANARY"));
    assert_eq!(problems(serde_json::json!({"api_key": "x"})).len(), 1);
}

/// What a real llama.cpp server does: `FANFOLD_LLAMA_URL=http://127.0.0.1:18471/v1 cargo test llama -- --ignored`, with
/// a context of at most 2048 tokens per slot.
#[test]
#[ignore = "needs a llama.cpp server, named by FANFOLD_LLAMA_URL"]
fn a_real_llama_cpp_server_speaks_this_dialect() {
    use crate::prompt::Message;
    use crate::provider::{Call, CallErrorKind, Finish, Model, Sampling};

    let base = std::env::var("FANFOLD_LLAMA_URL").expect("FANFOLD_LLAMA_URL is set");
    let provider =
        fields(serde_json::json!({"base_url": base, "api_key_env": "LAB_KEY"})).connect(&context(&env)).unwrap();
    let sampling =
        Sampling { temperature: Some(0.0), seed: Some(u64::MAX), max_tokens: Some(48), ..Sampling::default() };
    let model = Model { id: "any".to_owned(), sampling };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ask = |text: &str, schema: Option<&Value>| {
        let messages = [Message::user(text)];
        runtime.block_on(provider.send(provider.encode(&Call { model: &model, messages: &messages, schema })))
    };
    runtime.block_on(provider.inspect(&model)).unwrap();

    let plain = ask("Say yes.", None).unwrap();
    assert!(!plain.text.is_empty() && plain.prompt_tokens > Some(0) && plain.completion_tokens > Some(0), "{plain:?}");

    let schema = serde_json::json!({"type": "object", "properties": {"label": {"type": "string", "enum": ["good", "bad"]}},
        "required": ["label"], "additionalProperties": false});
    let typed = ask("What is the tone? I love it. Answer in JSON.", Some(&schema)).unwrap();
    let value: Value = serde_json::from_str(&typed.text).unwrap();
    assert!(typed.finish == Finish::Stop && ["good", "bad"].contains(&value["label"].as_str().unwrap()), "{typed:?}");

    assert_eq!(ask(&"word ".repeat(9000), None).unwrap_err().kind, CallErrorKind::ContextTooLong);
    let wrong = serde_json::json!({"type": "nonsense"});
    assert_eq!(ask("x", Some(&wrong)).unwrap_err().kind, CallErrorKind::Rejected);
}
