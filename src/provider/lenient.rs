//! Lenient reading of side fields: what can't be read beside an answer is unknown, not an error. Pure.

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A field that is `None` if it has another type than `T`.
#[derive(Clone, Debug)]
pub(super) struct Known<T>(pub(super) Option<T>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known(None)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Known<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Known(serde_json::from_str(raw.get()).ok()))
    }
}

impl Known<String> {
    pub(super) fn text(self) -> Option<String> {
        self.0.filter(|text| !text.is_empty())
    }
}

/// The largest number of tokens that is believed.
const MOST: f64 = 1e12;

/// A number of tokens: a whole number, also as `12.0` or `"12"`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Count(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let number = raw.get().trim_matches('"').trim();
        let number = number.parse::<f64>().ok().filter(|number| (0.0..=MOST).contains(number));
        Ok(Count(number.map(|number| number.round() as u64)))
    }
}

/// A text: a string, or the texts of a list of parts or of an object, wherever the server put them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(from = "Value")]
pub(super) struct Said(pub(super) String);

impl From<Value> for Said {
    fn from(value: Value) -> Self {
        Said(said(&value).join("\n"))
    }
}

fn said(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().flat_map(said).collect(),
        Value::Object(part) => {
            let field = |name: &&str| part.get(*name).map(said);
            ["text", "thinking", "content", "summary"].iter().find_map(field).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// The first of several fields that says something.
pub(super) fn first_said<const N: usize>(fields: [Said; N]) -> Option<String> {
    fields.into_iter().map(|said| said.0).find(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Fields {
        name: Known<String>,
        count: Count,
        said: Said,
    }

    #[test]
    fn what_has_another_type_is_unknown() {
        let read = |json: &str| serde_json::from_str::<Fields>(json).unwrap();
        for other in ["5", "false", "null", "[]", "{\"a\":1}", "1e99"] {
            let fields = read(&format!("{{\"name\":{other},\"said\":{other}}}"));
            assert_eq!((fields.name.text(), fields.said.0.as_str()), (None, ""), "{other}");
        }
        assert_eq!(read(r#"{"name":"a"}"#).name.text().as_deref(), Some("a"));
        assert!(serde_json::from_str::<Fields>(r#"{"name":{"a"#).is_err(), "the reply is cut off");
    }

    #[test]
    fn counts_are_read_as_numbers_fractions_and_texts() {
        let count = |json: &str| serde_json::from_str::<Count>(json).unwrap().0;
        for twelve in ["12", "12.0", "\"12\"", "\" 12 \"", "1.2e1"] {
            assert_eq!(count(twelve), Some(12), "{twelve}");
        }
        for unknown in ["null", "[]", "{}", "-3", "\"many\"", "1e999", "1e300", "18446744073709551615", "true"] {
            assert_eq!(count(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn texts_are_found_in_parts_and_objects() {
        let text = |json: &str| serde_json::from_str::<Said>(json).unwrap().0;
        assert_eq!(text("\"a\""), "a");
        assert_eq!(
            text(r#"[{"type":"reasoning.text","text":"a"},{"type":"reasoning.encrypted","data":"x"},"b"]"#),
            "a\nb"
        );
        assert_eq!(text(r#"[{"type":"thinking","thinking":[{"type":"text","text":"a"}]}]"#), "a");
        assert_eq!(text(r#"{"summary":"a"}"#), "a");
    }
}
