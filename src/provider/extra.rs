//! Extra fields: fields that a model of the spec adds to its request bodies, verbatim. Pure.
//!
//! A table is merged into the table of the same name (`generationConfig`); `spec` refuses other fields that fanfold
//! sets itself.

use serde_json::{Map, Value};

use super::call::Sampling;

pub(crate) fn merge(body: &mut Value, extra: &Map<String, Value>) {
    let Value::Object(fields) = body else { return };
    for (key, value) in extra {
        match (fields.get_mut(key), value) {
            (Some(there @ Value::Object(_)), Value::Object(inner)) => merge(there, inner),
            _ => {
                fields.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The fields that a model adds to its requests: its options, by their paths in the body, and its `extra`.
pub(crate) fn added_fields(
    sampling: &Sampling,
    placed: impl Fn(&str, Value) -> Option<(String, Value)>,
) -> Map<String, Value> {
    let mut added = Value::Object(Map::new());
    for (option, value) in sampling.options.set() {
        let Some((path, value)) = placed(&option, value) else { continue };
        let nest = |inner: Value, key: &str| Value::Object(Map::from_iter([(key.to_owned(), inner)]));
        if let Value::Object(nested) = path.rsplit('.').fold(value, nest) {
            merge(&mut added, &nested);
        }
    }
    merge(&mut added, &sampling.extra);
    added.as_object().cloned().unwrap_or_default()
}

/// Returns the fields that fanfold sets itself. `stream` is always one of them, because replies are read whole.
pub(crate) fn taken(own: &Value, extra: &Map<String, Value>) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    collect(own, extra, &mut Vec::new(), &mut found);
    let stream = vec!["stream".to_owned()];
    if extra.contains_key("stream") && !found.contains(&stream) {
        found.push(stream);
    }
    found
}

fn collect(own: &Value, extra: &Map<String, Value>, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for (key, value) in extra {
        path.push(key.clone());
        match (own.get(key), value) {
            (Some(Value::Object(_)), Value::Object(inner)) => collect(&own[key], inner, path, found),
            (Some(_), _) => found.push(path.clone()),
            (None, _) => {}
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::Options;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn tables_are_merged_and_the_rest_is_added() {
        let mut body = json!({"model": "m", "options": {"seed": 1}});
        merge(&mut body, &map(json!({"think": null, "options": {"mirostat": {"tau": 5}}, "tools": [1]})));
        assert_eq!(
            body.to_string(),
            r#"{"model":"m","options":{"seed":1,"mirostat":{"tau":5}},"think":null,"tools":[1]}"#
        );
    }

    #[test]
    fn options_go_to_their_place_and_extra_beside_them() {
        let options = json!({ "top_k": 40, "min_p": 0.0, "num_thread": 4 });
        let options: Options = serde_json::from_value(options).unwrap();
        let extra = json!({ "options": { "mirostat": 2 }, "think": false }).as_object().cloned().unwrap();
        let sampling = Sampling { options, extra, ..Sampling::default() };
        let added =
            added_fields(&sampling, |option, value| (option != "min_p").then(|| (format!("options.{option}"), value)));
        let wanted = r#"{"options":{"top_k":40,"num_thread":4,"mirostat":2},"think":false}"#;
        assert_eq!(Value::Object(added).to_string(), wanted);
    }

    #[test]
    fn what_is_set_already_is_taken() {
        let own = json!({"model": "m", "stream": false, "messages": [], "options": {"seed": 1, "stop": []}});
        let extra =
            json!({"options": {"seed": 2, "top_k": 1, "stop": {"a": 1}}, "messages": [], "stream": true, "x": 1});
        let paths = [vec!["options", "seed"], vec!["options", "stop"], vec!["messages"], vec!["stream"]];
        assert_eq!(taken(&own, &map(extra)), paths);
        assert_eq!(taken(&json!({}), &map(json!({"stream": true}))), [["stream"]]);
        assert_eq!(taken(&own, &map(json!({"options": 5}))), [["options"]], "a table can't become a number");
        assert!(taken(&own, &map(json!({"think": false, "options": {}}))).is_empty());
    }
}
