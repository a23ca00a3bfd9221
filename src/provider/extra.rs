//! Extra fields: fields that a model of the spec adds to its request bodies, verbatim. Pure.
//!
//! A table is merged into the table of the same name (`generationConfig`); `spec` refuses other fields that fanfold
//! sets itself.

use serde_json::{Map, Value};

pub(super) fn merge(body: &mut Value, extra: &Map<String, Value>) {
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
