//! Faults: the errors of our serde deserializer. serde's errors (unknown variant, missing field ...) are kept as data,
//! so that no message has to be parsed.

use std::fmt;

use serde::de::{self, Expected, Unexpected};
use serde_json::Value;

use super::diagnostic::{Diagnostic, Path};
use crate::name::{nearest, suggestion};

/// A decoding problem, with its path once that is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) place: Option<(Path, Spot)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    Key,
    Value,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    WrongType {
        wanted: String,
        found: String,
        help: Option<String>,
    },
    BadValue {
        wanted: String,
    },
    /// A text that is not one of `words`.
    UnknownValue {
        found: String,
        words: &'static [&'static str],
    },
    MissingField(&'static str),
    Custom(String),
}

impl Fault {
    pub(super) fn new(kind: FaultKind) -> Self {
        Fault { kind, place: None }
    }

    pub(super) fn wrong_type(wanted: impl Into<String>, found: impl Into<String>) -> Self {
        Fault::new(FaultKind::WrongType { wanted: wanted.into(), found: found.into(), help: None })
    }

    /// A value of the wrong type, with the cure if it is known.
    pub(super) fn curable(wanted: &str, found: &str, cure: Option<String>) -> Self {
        Fault::new(FaultKind::WrongType { wanted: wanted.to_owned(), found: found.to_owned(), help: cure })
    }

    pub(super) fn bad_value(wanted: impl Into<String>) -> Self {
        Fault::new(FaultKind::BadValue { wanted: wanted.into() })
    }

    /// Places the fault at `path`, unless a deeper value has already placed it.
    pub(super) fn at(mut self, path: &Path, spot: Spot) -> Self {
        self.place.get_or_insert_with(|| (path.clone(), spot));
        self
    }

    pub(super) fn diagnostic(self, path: &Path, spot: Spot) -> Diagnostic {
        let tail = path.tail().to_string();
        let subject = if tail.is_empty() { "the document".to_owned() } else { format!("`{tail}`") };
        let error = |rule, message: String| match spot {
            Spot::Key => Diagnostic::error_at_key(rule, path.clone(), message),
            Spot::Value => Diagnostic::error(rule, path.clone(), message),
        };
        match self.kind {
            FaultKind::WrongType { wanted, found, help } => {
                let problem = error("wrong-type", format!("{subject} must be {wanted}, not {found}"));
                Diagnostic { help, ..problem }
            }
            FaultKind::BadValue { wanted } => error("bad-value", format!("{subject} must be {wanted}")),
            FaultKind::UnknownValue { found, words } => {
                let message = format!("\"{found}\" is not one of {}", listed_with_commas(words));
                error("unknown-value", message).meant(nearest(&found, words.iter().copied()))
            }
            FaultKind::MissingField(field) => error("missing-field", format!("`{field}` is missing")),
            FaultKind::Custom(message) => error("bad-value", message),
        }
    }
}

pub(super) fn unknown_field(path: &Path, found: &str, fields: &[&str]) -> Diagnostic {
    let problem =
        Diagnostic::error_at_key("unknown-field", path.key(found), format!("there is no field `{found}` here"));
    let help = suggestion(found, "the fields are", fields.iter().copied());
    problem.help(help.unwrap_or_else(|| "no fields are possible here".to_owned()))
}

fn listed_with_commas(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(_) => "true or false".into(),
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number".into(),
        Unexpected::Float(_) => "a number".into(),
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "text".into(),
        Unexpected::Unit | Unexpected::Option => "null".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a table".into(),
        other => other.to_string(),
    }
}

/// Describes a value for the error that it has the wrong type.
pub(crate) fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(truth) => Unexpected::Bool(*truth),
        Value::Number(number) if number.is_f64() => Unexpected::Float(number.as_f64().unwrap_or_default()),
        Value::Number(number) => Unexpected::Signed(number.as_i64().unwrap_or_default()),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::new(FaultKind::Custom(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::wrong_type(expected.to_string(), found(unexpected))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match unexpected {
            // Integer types themselves reject only one number: 0 in a nonzero type.
            Unexpected::Unsigned(0) | Unexpected::Signed(0) => Fault::bad_value("1 or more"),
            _ => Fault::bad_value(expected.to_string()),
        }
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Fault::bad_value(format!("{expected}, not {length} items"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(FaultKind::UnknownValue { found: variant.to_owned(), words: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Fault::new(FaultKind::MissingField(field))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Fault::new(FaultKind::Custom(format!("`{field}` is given twice, perhaps under two names")))
    }
}
