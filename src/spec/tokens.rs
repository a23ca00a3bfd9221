//! Tokens: the least number that a reply of a JSON Schema needs. Pure.

use serde_json::Value;

/// More bytes than a token usually has, so that no short reply is called too long.
const BYTES_PER_TOKEN: u64 = 6;

/// The least number of tokens of a reply.
pub(super) fn least(schema: &Value) -> u64 {
    bytes(schema).div_ceil(BYTES_PER_TOKEN)
}

/// The length of the shortest JSON that fits, in bytes.
fn bytes(schema: &Value) -> u64 {
    if let Some(options) = schema["enum"].as_array() {
        return options.iter().map(|option| option.to_string().len() as u64).min().unwrap_or_default();
    }
    if let Some(forms) = schema["anyOf"].as_array() {
        return forms.iter().map(bytes).min().unwrap_or_default();
    }
    let has = |kind: &str| {
        schema["type"] == kind || schema["type"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()))
    };
    match schema["properties"].as_object() {
        Some(keys) => 2 + keys.iter().map(|(key, value)| key.len() as u64 + 4 + bytes(value)).sum::<u64>(),
        None if has("integer") || has("number") => 1,
        None if has("boolean") => 4,
        None => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_shortest_reply_is_counted() {
        let text = json!({ "type": "string" });
        let label = json!({ "type": "string", "enum": ["positive", "bad"] });
        let number = json!({ "type": ["integer", "null"] });
        let all = json!({ "type": "object", "properties": { "tone": label, "why": text, "n": number } });
        // {"tone":"bad","why":"","n":1}
        assert_eq!(bytes(&all), 30);
        assert_eq!((least(&all), least(&json!({}))), (5, 1));
    }
}
