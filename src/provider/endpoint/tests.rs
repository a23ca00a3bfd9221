//! Endpoints: the registry of kinds, and what their checks accept.

use super::*;
use crate::provider::{PROVIDERS, default_endpoint};

pub(crate) fn node(json: &Value) -> Node {
    let value = match json {
        Value::Null => document::Value::Null,
        Value::Bool(b) => document::Value::Bool(*b),
        Value::Number(n) => n.as_i64().map_or(document::Value::Float(0.5), document::Value::Integer),
        Value::String(s) => document::Value::String(s.clone()),
        Value::Array(items) => document::Value::List(items.iter().map(node).collect()),
        Value::Object(map) => document::Value::Table(
            map.iter()
                .map(|(key, value)| document::Entry { key: key.clone(), key_span: 0..0, node: node(value) })
                .collect(),
        ),
    };
    Node { value, span: 0..0 }
}

pub(crate) fn context(env: Env<'_>) -> ConnectContext<'_> {
    ConnectContext { env, folder: FilePath::new(".") }
}

#[test]
fn every_kind_has_a_default_endpoint() {
    for kind in PROVIDERS {
        assert_eq!(default_endpoint(kind.name).unwrap().kind(), kind.name);
    }
    assert!(default_endpoint("lab").is_none());
}

#[test]
fn schemas_describe_exactly_the_fields_that_are_read() {
    for kind in PROVIDERS {
        let schema = Value::from((kind.schema)(&mut schemars::SchemaGenerator::default()));
        let described = schema["properties"].as_object().cloned().unwrap_or_default();
        let names: Vec<&str> = described.keys().map(String::as_str).collect();
        assert_eq!(names, (kind.fields)());
        assert!(described.values().all(|field| field["description"].is_string()), "{schema:#}");
        assert_eq!(schema["additionalProperties"], false);
    }
}

#[test]
fn names_of_variables_are_not_keys() {
    for good in ["LAB_KEY", "_x", "openai_key", "OPENAI_API_KEY_2"] {
        assert!(is_variable(good), "{good}");
    }
    for bad in ["", "sk-proj-abc", "1A", "A B", "gsk_4f9a8b7c6d5e4f3a2b1c"] {
        assert!(!is_variable(bad), "{bad}");
    }
}
