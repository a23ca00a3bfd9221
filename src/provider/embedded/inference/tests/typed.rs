//! Typed answers fit their schema, and their probabilities are sound.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::prompt::mass_key;
use crate::provider::Finish;

/// An object of these properties, all of them required.
fn object(properties: Value) -> Value {
    let keys: Vec<&String> = properties.as_object().expect("an object").keys().collect();
    json!({ "type": "object", "required": keys, "properties": properties, "additionalProperties": false })
}

/// A choice of labels.
fn labels(labels: &[&str]) -> Value {
    object(json!({ "tone": { "type": "string", "enum": labels } }))
}

fn schemas() -> Vec<Value> {
    vec![
        labels(&["positive", "neutral", "negative"]),
        labels(&["no", "not sure", "not sure at all"]),
        labels(&["say \"hi\"", "schön", "größer \\ kleiner", "😀", "👨‍👩‍👧", "a/b", "tab\there"]),
        labels(&["only this"]),
        object(json!({ "tone": { "type": ["string", "null"], "enum": ["yes", "no", null] } })),
        object(json!({ "score": { "type": "integer", "minimum": -5, "maximum": 12 }, "sure": { "type": "boolean" } })),
        object(json!({ "share": { "type": "number", "minimum": 0, "maximum": 1 } })),
        object(json!({ "share": { "type": ["number", "null"] }, "n": { "type": ["integer", "null"] } })),
        object(json!({ "words": { "type": "array", "items": { "type": "string", "maxLength": 12 }, "maxItems": 3 } })),
        object(json!({
            "why": { "type": "string", "maxLength": 40 },
            "tone": { "type": "string", "enum": ["yes", "no"] },
            "other": { "type": "string", "enum": ["yes", "yesterday", "maybe"] },
            "kinds": { "type": "array", "items": { "type": "string", "enum": ["a", "b", "ab"] }, "maxItems": 4 },
        })),
    ]
}

/// Every schema, greedily and drawn.
fn calls() -> Vec<Body> {
    let texts = ["I am not sure that \"tone\": \"no\" is right, but yes, hi! 😀", "Die Straße ist größer."];
    let mut calls = Vec::new();
    for schema in schemas() {
        for (text, temperature) in texts.into_iter().zip([0.0, 1.5]) {
            let mut call = typed(&format!("Answer in JSON.\n\n{text}"), 200, schema.clone());
            call.sampling.temperature = Some(temperature);
            call.sampling.seed = Some(calls.len() as u64);
            calls.push(call);
        }
    }
    calls
}

/// The labels of a property, as probabilities name them.
fn names(property: &Value) -> Option<Vec<String>> {
    let name = |label: &Value| label.as_str().map_or_else(|| label.to_string(), str::to_owned);
    Some(property["enum"].as_array()?.iter().map(name).collect())
}

#[test]
fn replies_fit_their_schema() {
    let Some(model) = model("replies_fit_their_schema") else { return };
    let together = answers(model, calls());
    for (call, told) in calls().into_iter().zip(&together) {
        let reply = told.as_ref().expect("a reply");
        let schema = call.schema.expect("a schema");
        assert_eq!(reply.finish, Finish::Stop, "{schema}: {reply:?}");
        let value: Value = serde_json::from_str(&reply.text).unwrap_or_else(|e| panic!("{e}: {reply:?}"));
        assert!(jsonschema::is_valid(&schema, &value), "{schema}: {value}");
        let properties = schema["properties"].as_object().expect("properties");
        let enums: Vec<&String> = properties.iter().filter(|(_, p)| names(p).is_some()).map(|(key, _)| key).collect();
        let Some(probabilities) = &reply.probabilities else {
            assert!(enums.is_empty(), "{schema}: no probabilities");
            continue;
        };
        let with_masses: BTreeSet<String> = enums.iter().flat_map(|key| [(*key).clone(), mass_key(key)]).collect();
        let found: BTreeSet<String> = probabilities.keys().cloned().collect();
        assert_eq!(found, with_masses, "{schema}");
        for key in enums {
            let (shares, masses) = (&probabilities[key], &probabilities[&mass_key(key)]);
            // The tokens of the schema are not the only ones of the model.
            assert!(shares.keys().eq(masses.keys()) && masses.values().sum::<f64>() < 1.0 + 1e-9, "{masses:?}");
            assert!(shares.keys().eq(&names(&properties[key]).expect("labels")), "{schema}: {shares:?}");
            assert!(shares.values().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
            assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
            let given = value[key].as_str().unwrap_or("null");
            assert!(shares[given] > 0.0, "{given} was answered: {shares:?}");
        }
    }
    // The same to the last digit with other calls beside them.
    let some = answers(model, calls().into_iter().step_by(3).take(4).collect());
    assert!(some.iter().eq(together.iter().step_by(3).take(4)));
}

#[test]
fn a_choice_without_a_choice_is_certain() {
    let Some(model) = model("a_choice_without_a_choice_is_certain") else { return };
    let reply = reply(model, typed("Which?", 20, labels(&["only this"])));
    assert_eq!(reply.text, r#"{"tone": "only this"}"#);
    assert_eq!(reply.probabilities.expect("probabilities")["tone"]["only this"], 1.0);
}

#[test]
fn what_is_cut_off_has_no_probabilities() {
    let Some(model) = model("what_is_cut_off_has_no_probabilities") else { return };
    let reply = reply(model, typed("Which?", 3, labels(&["yes", "no"])));
    assert_eq!((reply.finish, reply.completion_tokens), (Finish::Length, Some(3)));
    assert_eq!(reply.probabilities, None);
}

#[test]
fn a_schema_that_cannot_be_enforced_is_an_error() {
    let Some(model) = model("a_schema_that_cannot_be_enforced_is_an_error") else { return };
    let impossible = object(json!({ "n": { "type": "integer", "minimum": 5, "maximum": 1 } }));
    let told = answers(model, vec![typed("How many?", 20, impossible), question("Hi", 2)]);
    let error = told[0].as_ref().unwrap_err();
    assert!(error.message.starts_with("the output's schema can't be enforced"), "{}", error.message);
    assert!(told[1].is_ok());
}
