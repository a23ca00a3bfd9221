//! JSON Schema subsets: leaves out the keywords that a service does not accept. Pure.
//!
//! The prompt still describes the whole schema, and the reply is checked against it.

use serde_json::{Map, Value, json};

/// The keywords that all services accept.
pub(super) const COMMON: [&str; 8] =
    ["type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "description"];

/// An `enum` that may be null becomes an `anyOf` of the enum and null: services accept only enums of one type.
pub(super) fn subset(schema: &Value, known: &[&str]) -> Value {
    let Value::Object(whole) = schema else { return schema.clone() };
    if let Some(either) = nullable_enum(whole) {
        return subset(&either, known);
    }
    let kept = whole.iter().filter(|(keyword, _)| known.contains(&keyword.as_str()));
    let kept = kept.map(|(keyword, value)| {
        let value = match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, inner)| (name.clone(), subset(inner, known))).collect()
            }
            ("items", items) => subset(items, known),
            ("anyOf", Value::Array(schemas)) => schemas.iter().map(|inner| subset(inner, known)).collect(),
            _ => value.clone(),
        };
        (keyword.clone(), value)
    });
    Value::Object(kept.collect())
}

fn nullable_enum(whole: &Map<String, Value>) -> Option<Value> {
    let values = whole.get("enum")?.as_array().filter(|values| values.contains(&Value::Null))?;
    let kind = whole.get("type")?.as_array()?.iter().find(|kind| *kind != "null")?;
    let values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    let mut either = json!({"anyOf": [{"type": kind, "enum": values}, {"type": "null"}]});
    if let Some(description) = whole.get("description") {
        either["description"] = description.clone();
    }
    Some(either)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out_at_every_depth() {
        let schema = json!({
            "type": "object",
            "properties": {
                "maximum": {"type": "integer", "minimum": 0, "maximum": 10, "description": "a key with a keyword's name"},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 3},
                "place": {"type": ["string", "null"], "maxLength": 40},
            },
            "required": ["maximum", "tags", "place"],
            "additionalProperties": false,
        });
        let known = ["type", "properties", "required", "additionalProperties", "items", "description"];
        assert_eq!(
            subset(&schema, &known).to_string(),
            r#"{"type":"object","properties":{"maximum":{"type":"integer","description":"a key with a keyword's name"},"tags":{"type":"array","items":{"type":"string"}},"place":{"type":["string","null"]}},"required":["maximum","tags","place"],"additionalProperties":false}"#
        );
    }

    #[test]
    fn an_enum_that_may_be_null_is_either() {
        let label = json!({"type": ["string", "null"], "enum": ["a", "b", null], "description": "tone", "x": 1});
        assert_eq!(
            subset(&label, &["type", "enum", "anyOf", "description"]).to_string(),
            r#"{"anyOf":[{"type":"string","enum":["a","b"]},{"type":"null"}],"description":"tone"}"#
        );
        let plain = json!({"type": "string", "enum": ["a", "b"]});
        assert_eq!(subset(&plain, &["type", "enum", "anyOf"]), plain);
    }
}
