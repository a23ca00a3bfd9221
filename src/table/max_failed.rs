//! The limit on failed rows of a table.

use schemars::json_schema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::document::{inline_schema, unexpected};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MaxFailed {
    Rows(u64),
    /// A share of the rows, from 0 to 1.
    Share(f64),
}

impl MaxFailed {
    pub(crate) fn of(self, rows: u64) -> u64 {
        match self {
            MaxFailed::Rows(n) => n,
            // A share such as 29 % has no exact binary representation.
            MaxFailed::Share(share) => (share * rows as f64 + 1e-6).floor() as u64,
        }
    }

    /// Whether all rows may fail. Their number may be unknown.
    pub(crate) fn is_all(self, rows: Option<u64>) -> bool {
        match self {
            MaxFailed::Rows(n) => rows.is_some_and(|rows| n >= rows),
            MaxFailed::Share(share) => share >= 1.0,
        }
    }
}

impl<'de> Deserialize<'de> for MaxFailed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(rows) if !rows.is_f64() => {
                rows.as_u64().map(MaxFailed::Rows).ok_or_else(|| D::Error::custom("a number of rows is 0 or more"))
            }
            Value::String(text) => match text.strip_suffix('%').and_then(|share| share.trim().parse::<f64>().ok()) {
                Some(share) if (0.0..=100.0).contains(&share) => Ok(MaxFailed::Share(share / 100.0)),
                _ => Err(D::Error::custom(format!("\"{text}\" is not a share such as \"5%\""))),
            },
            other => Err(D::Error::invalid_type(unexpected(&other), &"a number of rows or a share such as \"5%\"")),
        }
    }
}

inline_schema! {
    MaxFailed: |_| {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? *%$" },
        ] })
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_may_fail() {
        let all = |most: MaxFailed| [None, Some(3), Some(4)].map(|rows| most.is_all(rows));
        assert_eq!(all(MaxFailed::Rows(3)), [false, true, false]);
        assert_eq!(all(MaxFailed::Share(1.0)), [true; 3]);
        assert_eq!(all(MaxFailed::Share(0.99)), [false; 3]);
    }
}
