//! Failures: why a row, a call or an item has no answer, as a kind and a message.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// The reason; empty in a replay file.
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FailureKind {
    // The kinds of failed calls, as in `provider::CallErrorKind`.
    RateLimited,
    Unavailable,
    ServerError,
    Timeout,
    Unauthorized,
    Tls,
    UnknownModel,
    QuotaExhausted,
    Rejected,
    ContextTooLong,
    Refused,
    Truncated,
    Malformed,
    Template,
    When,
    Value,
    /// The labels of a distribution have too little probability, or none is known.
    OptionMass,
    Fallback,
    Missing,
    /// A program of a recursive stage exceeds a bound, or ends without an answer.
    Program,
    /// A reason without a kind, from an item in a pack or from a record of another version.
    Unnamed,
}

const NAMES: [(FailureKind, &str); 20] = [
    (FailureKind::RateLimited, "rate_limited"),
    (FailureKind::Unavailable, "unavailable"),
    (FailureKind::ServerError, "server_error"),
    (FailureKind::Timeout, "timeout"),
    (FailureKind::Unauthorized, "unauthorized"),
    (FailureKind::Tls, "tls"),
    (FailureKind::UnknownModel, "unknown_model"),
    (FailureKind::QuotaExhausted, "quota_exhausted"),
    (FailureKind::Rejected, "rejected"),
    (FailureKind::ContextTooLong, "context_too_long"),
    (FailureKind::Refused, "refused"),
    (FailureKind::Truncated, "truncated"),
    (FailureKind::Malformed, "malformed"),
    (FailureKind::Template, "template"),
    (FailureKind::When, "when"),
    (FailureKind::Value, "value"),
    (FailureKind::OptionMass, "option_mass"),
    (FailureKind::Fallback, "fallback"),
    (FailureKind::Missing, "missing"),
    (FailureKind::Program, "program"),
];

impl FailureKind {
    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Whether other calls to the same model may succeed.
    pub(crate) fn is_of_one_call(self) -> bool {
        let of_all = [
            FailureKind::Unauthorized,
            FailureKind::Tls,
            FailureKind::UnknownModel,
            FailureKind::QuotaExhausted,
            FailureKind::Missing,
        ];
        !of_all.contains(&self)
    }

    pub(crate) fn because(self, message: impl Into<String>) -> Failure {
        Failure { kind: self, message: message.into() }
    }
}

impl Failure {
    /// A text without a known kind becomes the message unchanged.
    pub(crate) fn read(text: &str) -> Failure {
        let (name, message) = text.split_once(": ").unwrap_or((text, ""));
        let known = NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| kind.because(message));
        known.filter(|failure| failure.to_string() == text).unwrap_or_else(|| FailureKind::Unnamed.because(text))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.name(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (name, "") => f.write_str(name),
            (name, message) => write!(f, "{name}: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_read_back_from_its_text() {
        for (kind, name) in NAMES {
            assert_eq!(kind.because("a: b").to_string(), format!("{name}: a: b"));
            assert_eq!(Failure::read(&format!("{name}: a: b")), kind.because("a: b"));
            assert_eq!(Failure::read(name), kind.because(""), "a replay file keeps the kind alone");
        }
        for text in ["the field `x` is missing", "quota: 3", "timeout: ", "", ": "] {
            assert_eq!(
                (Failure::read(text).kind, Failure::read(text).to_string()),
                (FailureKind::Unnamed, text.to_owned())
            );
        }
    }
    #[test]
    fn the_book_lists_the_kinds() {
        let page = include_str!("../../docs/src/problems.md");
        let listed =
            |name: &str| page.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{name}`")));
        assert_eq!(NAMES.map(|(_, name)| name).into_iter().filter(|name| !listed(name)).collect::<Vec<_>>(), [""; 0]);
    }
}
