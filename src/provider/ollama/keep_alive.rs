//! `keep_alive`: how long Ollama keeps a model in memory after a call. Pure.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A number of seconds or a duration of Go, as it is sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct KeepAlive(Value);

impl KeepAlive {
    /// A text of digits is sent as a number, as Ollama expects.
    pub(super) fn new(text: &str) -> Self {
        KeepAlive(text.trim().parse::<i64>().map_or_else(|_| Value::from(text.trim()), Value::from))
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    /// Whether it is whole seconds or Go's `1h30m`; both may be negative.
    pub(super) fn is_valid(&self) -> bool {
        self.0.as_str().is_none_or(is_duration)
    }
}

fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(digits);
        let unit = ["ms", "us", "ns", "s", "m", "h"].into_iter().find(|unit| after.starts_with(unit));
        match unit {
            Some(unit) if number.parse::<f64>().is_ok() => rest = &after[unit.len()..],
            _ => return false,
        }
    }
    text.len() > 1
}

impl<'de> Deserialize<'de> for KeepAlive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = KeepAlive;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds or a duration such as \"5m\"")
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<KeepAlive, E> {
                Ok(KeepAlive(seconds.into()))
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<KeepAlive, E> {
                Ok(KeepAlive(seconds.into()))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KeepAlive, E> {
                Ok(KeepAlive::new(text))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for KeepAlive {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "KeepAlive".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_what_ollama_reads() {
        for good in ["5m", "-1", "0", "300", "1h30m", "1.5h", "-1m", "100ms"] {
            assert!(KeepAlive::new(good).is_valid(), "{good}");
        }
        for bad in ["", "-", "m", "5 m", "5d", "forever", "1h30"] {
            assert!(!KeepAlive::new(bad).is_valid(), "{bad}");
        }
    }

    #[test]
    fn a_number_may_be_written_as_text() {
        let read = |json: Value| serde_json::from_value::<KeepAlive>(json).map(|keep_alive| keep_alive.0);
        for (written, sent) in [
            (Value::from(300), Value::from(300)),
            (Value::from("300"), Value::from(300)),
            (Value::from(-1), Value::from(-1)),
            (Value::from("-1"), Value::from(-1)),
            (Value::from(" 5m "), Value::from("5m")),
        ] {
            assert_eq!(read(written).unwrap(), sent);
        }
        assert!(read(Value::from(true)).is_err() && read(Value::from(0.5)).is_err());
    }
}
