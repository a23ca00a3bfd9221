//! The mock's answers: they fit the schema, and are the same everywhere.

use serde_json::json;

use super::*;

const RANDOM: Answers = Answers { pick: Pick::Random };

fn ask(content: &str, schema: Option<&Value>) -> Reply {
    ask_of(&RANDOM, content, schema)
}

fn ask_of(mock: &Answers, content: &str, schema: Option<&Value>) -> Reply {
    let model = Model { id: "m".to_owned(), sampling: Sampling { temperature: Some(0.0), ..Sampling::default() } };
    let messages = [Message::system("s"), Message::user(content)];
    answer(&mock.encode(&Call { model: &model, messages: &messages, schema })).unwrap()
}

#[test]
fn the_body_and_the_answers_are_fixed() {
    let model = Model { id: "m".to_owned(), sampling: Sampling::default() };
    let encoded = RANDOM.encode(&Call { model: &model, messages: &[Message::user("hi")], schema: None });
    assert_eq!(
        String::from_utf8(encoded.body.clone()).unwrap(),
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"sampling":{"temperature":null,"top_p":null,"max_tokens":null,"stop":[],"seed":null,"num_ctx":null},"schema":null}"#
    );
    let reply = answer(&encoded).unwrap();
    assert_eq!(reply.text, "mock answer ab0763fc (not a model's)");
    assert_eq!(reply, answer(&encoded).unwrap());
    assert_eq!((reply.prompt_tokens, reply.completion_tokens), (Some(1), Some(9)));
    assert_ne!(ask("a", None).text, ask("b", None).text);
}

#[test]
fn answers_satisfy_their_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "label": { "type": "string", "enum": ["positive", "neutral", "negative"] },
            "maybe": { "type": ["string", "null"], "enum": ["a", "b", null] },
            "text": { "type": ["string", "null"] },
            "prob": { "type": "number", "minimum": 0, "maximum": 1 },
            "open": { "type": "number", "exclusiveMinimum": -1, "exclusiveMaximum": 0 },
            "year": { "type": "integer", "minimum": 1900, "maximum": 2000 },
            "one": { "type": "integer", "minimum": 3, "maximum": 3 },
            "neg": { "type": "integer", "maximum": -5 },
            "flag": { "type": ["boolean", "null"] },
            "short": { "type": "string", "maxLength": 4 },
            "tags": { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 2 },
            "nested": { "type": "object", "properties": { "x": { "const": 7 } }, "required": ["x"], "additionalProperties": false }
        },
        "required": ["label", "maybe", "text", "prob", "open", "year", "one", "neg", "flag", "short", "tags", "nested"],
        "additionalProperties": false
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut labels = std::collections::BTreeSet::new();
    for i in 0..200 {
        let value: Value = serde_json::from_str(&ask(&format!("row {i}"), Some(&schema)).text).unwrap();
        assert!(validator.is_valid(&value), "{value}");
        assert!(value["text"].as_str().unwrap().starts_with("mock "));
        labels.insert(value["label"].as_str().unwrap().to_owned());
    }
    assert_eq!(labels.len(), 3);
}

#[test]
fn probabilities_fit_the_labels_and_leave_the_text_alone() {
    let schema = json!({
        "type": "object",
        "properties": {
            "label": { "type": "string", "enum": ["a", "b", "c"] },
            "maybe": { "type": ["string", "null"], "enum": ["x", null] },
            "score": { "type": "integer", "minimum": 0, "maximum": 9 },
        },
    });
    let fixed = ask("row 0", Some(&schema));
    assert_eq!(fixed.text, r#"{"label":"b","maybe":"x","score":5}"#);
    assert_eq!(fixed.probabilities, ask("row 0", Some(&schema)).probabilities);
    for i in 0..100 {
        let reply = ask(&format!("row {i}"), Some(&schema));
        let value: Value = serde_json::from_str(&reply.text).unwrap();
        let reported = reply.probabilities.unwrap();
        assert_eq!(reported.keys().collect::<Vec<_>>(), ["label", "maybe"]);
        assert_eq!(reported["label"].keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(reported["maybe"].keys().collect::<Vec<_>>(), ["x", "null"]);
        for (key, labels) in &reported {
            let sum: f64 = labels.values().sum();
            assert!((sum - 1.0).abs() < 1e-12 && labels.values().all(|p| *p > 0.0), "{labels:?}");
            let (largest, _) = labels.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            assert_eq!(value[key], largest.as_str());
        }
    }
    assert_eq!(ask("x", None).probabilities, None);
    assert_eq!(ask("x", Some(&json!({ "type": "object", "properties": {} }))).probabilities, None);
}

#[test]
fn it_can_always_pick_the_first_option() {
    let first = Answers { pick: Pick::First };
    let schema = json!({
        "type": "object",
        "properties": {
            "one": { "type": "string", "enum": ["a", "b", "c"] },
            "maybe": { "type": ["string", "null"], "enum": [null, "x", "y"] },
            "some": { "type": "array", "items": { "type": "string", "enum": ["p", "q"] }, "maxItems": 2 },
            "year": { "type": "integer", "minimum": 0, "maximum": 9 },
        },
    });
    let mut years = std::collections::BTreeSet::new();
    for i in 0..50 {
        let reply = ask_of(&first, &format!("row {i}"), Some(&schema));
        let value: Value = serde_json::from_str(&reply.text).unwrap();
        assert_eq!((&value["one"], &value["maybe"]), (&json!("a"), &json!("x")));
        assert!(value["some"].as_array().unwrap().iter().all(|item| item == "p"), "{value}");
        let one = &reply.probabilities.unwrap()["one"];
        assert!(one["a"] > one["b"] && one["a"] > one["c"]);
        years.insert(value["year"].as_i64());
    }
    assert!(years.len() > 1, "only options are picked");
    let model = Model { id: "m".to_owned(), sampling: Sampling::default() };
    let encoded = first.encode(&Call { model: &model, messages: &[], schema: None });
    assert!(String::from_utf8(encoded.body).unwrap().ends_with(r#","schema":null,"pick":"first"}"#));
}

#[test]
fn odd_schemas_and_foreign_bodies_do_no_harm() {
    for schema in [
        json!({}),
        json!(true),
        json!({"type": "array"}),
        json!({"enum": []}),
        json!({"type": "integer", "minimum": 1e300}),
        json!({"type": "integer", "minimum": 5, "maximum": 1}),
        json!({"type": "array", "minItems": 3, "maxItems": 1}),
    ] {
        ask("x", Some(&schema));
    }
    let error = answer(&Encoded { body: b"{}".to_vec(), unsent: 0, keyed: 9 }).unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Rejected);
}
