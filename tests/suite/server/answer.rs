//! What the scripted server answers without a script: a function of the model and its build, the question and the schema.

use serde_json::{Value, json};

use super::Asked;

/// The answer of a server without a script.
pub(crate) fn answer(asked: &Asked) -> String {
    let mut parts = vec![asked.model.as_str(), asked.question()];
    parts.extend(Some(asked.digest.as_str()).filter(|digest| !digest.is_empty()));
    let seed = hash(&parts);
    match &asked.schema {
        Some(schema) => fitting(schema, seed).to_string(),
        None => format!("an answer of {} numbered {}", asked.model, seed % 1_000_000),
    }
}

/// A value that fits a schema, chosen by `seed`.
fn fitting(schema: &Value, seed: u64) -> Value {
    if let Some(choices) = schema["enum"].as_array().filter(|c| !c.is_empty()) {
        return choices[(seed % choices.len() as u64) as usize].clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(either) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()).and_then(|list| list.first()) {
        return fitting(either, seed);
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|k| *k != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    let bound = |name: &str| schema[name].as_f64();
    let low = bound("minimum").or(bound("exclusiveMinimum").map(|m| m + 1.0));
    let high = bound("maximum").or(bound("exclusiveMaximum").map(|m| m - 1.0));
    let low = low.unwrap_or_else(|| high.map_or(0.0, |h| h.min(0.0)));
    let high = high.unwrap_or(low + 100.0).max(low);
    match kind {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields = fields.map(|(name, part)| (name.clone(), fitting(part, mixed(seed ^ hash(&[name])))));
            Value::Object(fields.collect())
        }
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0);
            let most = schema["maxItems"].as_u64().unwrap_or(least + 3);
            let count = least + seed % (most.saturating_sub(least) + 1);
            (0..count).map(|i| fitting(&schema["items"], mixed(seed.wrapping_add(i)))).collect()
        }
        Some("integer") => json!(low.ceil() as i64 + (seed % ((high.floor() - low.ceil()) as u64 + 1)) as i64),
        Some("number") => json!(low + (high - low) * (seed % 1001) as f64 / 1000.0),
        Some("boolean") => json!(seed.is_multiple_of(2)),
        Some("null") => Value::Null,
        _ => json!(format!("words {}", seed % 1_000_000)),
    }
}

/// FNV-1a with a stir at the end: the same on every machine.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        h = (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    mixed(h)
}

fn mixed(h: u64) -> u64 {
    let h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ (h >> 29)
}
