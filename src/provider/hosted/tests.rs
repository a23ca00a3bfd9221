//! Addresses and keys of all hosted kinds.

use serde_json::{Value, json};

use crate::document::Path;
use crate::provider::PROVIDERS;
use crate::provider::endpoint::Config;
use crate::provider::endpoint::tests::{context, node};

const KEY: &str = "sk-CANARY-0123456789";

/// The kinds with their own variable, their home and an address that is only like it.
const KINDS: [[&str; 4]; 3] = [
    ["openai", "OPENAI_API_KEY", "https://api.openai.com/v1", "https://api.openai.com.example.org/v1"],
    ["anthropic", "ANTHROPIC_API_KEY", "https://api.anthropic.com", "https://api.anthropic.com.example.org"],
    [
        "gemini",
        "GEMINI_API_KEY",
        "https://generativelanguage.googleapis.com",
        "https://generativelanguage.googleapis.com.example.org",
    ],
];

fn read(kind: &str, fields: &Value) -> Result<Config, Vec<String>> {
    let mut problems = crate::document::Problems::default();
    let row = PROVIDERS.iter().find(|row| row.name == kind).unwrap();
    let config = (row.decode)(&node(fields), &Path::root(), &mut problems);
    config.ok_or_else(|| problems.into_iter().map(|problem| problem.message).collect())
}

#[test]
fn the_key_of_a_home_goes_to_that_home_only() {
    let env = |name: &str| (name != "NO_KEY" && !name.ends_with("BASE_URL")).then(|| format!(" {KEY}\n"));
    for [kind, own, home, like] in KINDS {
        let secret = |fields: Value| read(kind, &fields).unwrap().secret_env().map(str::to_owned);
        assert_eq!(secret(json!({})).as_deref(), Some(own));
        assert_eq!(secret(json!({"base_url": home})).as_deref(), Some(own));
        assert_eq!(secret(json!({"base_url": like})), None);
        assert_eq!(secret(json!({"base_url": home.replace("https", "http")})), None);
        assert_eq!(secret(json!({"base_url_env": "LAB_URL"})), None);
        assert_eq!(secret(json!({"base_url": like, "api_key_env": "LAB_KEY"})).as_deref(), Some("LAB_KEY"));

        let config = read(kind, &json!({})).unwrap();
        let provider = config.connect(&context(&env)).unwrap();
        assert_eq!((provider.kind(), provider.endpoint().as_str()), (kind, home));
        assert!(!format!("{provider:?} {config:?}").contains("CANARY"));
        let error = config.connect(&context(&|_| None)).unwrap_err();
        assert_eq!(error.message, format!("the environment variable `{own}` is not set"));
    }
}

#[test]
fn a_spec_does_not_send_a_well_known_key_elsewhere() {
    for [kind, own, home, like] in KINDS {
        let problems = read(kind, &json!({"base_url": like, "api_key_env": own})).unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].contains(own) && problems[0].contains(".example.org"),
            "{problems:?}"
        );
        assert!(read(kind, &json!({"base_url": home, "api_key_env": own})).is_ok());
        assert!(read(kind, &json!({"base_url": "http://127.0.0.1:8000", "api_key_env": own})).is_ok());
        assert!(read(kind, &json!({"base_url_env": "LAB_URL", "api_key_env": own})).is_ok());
    }
}

#[test]
fn what_a_dialect_adds_to_an_address_is_not_written() {
    for (kind, wrong) in [("anthropic", "http://h/api/v1"), ("gemini", "http://h/v1beta/")] {
        let problems = read(kind, &json!({"base_url": wrong})).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains("which fanfold adds; remove it"), "{problems:?}");
        let config = read(kind, &json!({"base_url_env": "LAB_URL"})).unwrap();
        let error = config.connect(&context(&|_| Some(wrong.to_owned()))).unwrap_err();
        assert!(error.message.contains("`LAB_URL` holds no usable address"), "{error}");
        assert!(read(kind, &json!({"base_url": "http://h/api"})).is_ok());
    }
    assert!(read("openai", &json!({"base_url": "http://h/v1"})).is_ok());
}
