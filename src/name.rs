//! Names: the checked identifiers that a spec gives to its models, providers, sources, stages and outputs.
//!
//! Depends on no other module. Code that reports an unknown name uses [`nearest`] for a suggestion.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const LONGEST: usize = 64;

/// A name from the spec: a letter or `_`, then letters, digits, `_` or `-`; at most 64 bytes.
///
/// Names end up in column names, file names and messages, so they are ASCII and never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, description = "", extend("pattern" = "^[A-Za-z_][A-Za-z0-9_-]{0,63}$"))]
pub(crate) struct Name(String);

impl Name {
    /// Checks `text` and makes it a name. The error is a sentence for the author of the spec.
    pub(crate) fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if first && rest && text.len() <= LONGEST {
            Ok(Name(text))
        } else {
            Err(format!(
                "`{text}` is not a name: a name is a letter or `_`, then letters, digits, `_` or `-`, at most {LONGEST} in all"
            ))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of a table that belongs to the stage of this name. No spec can contain it.
    pub(crate) fn part(&self, of: &str) -> Name {
        Name(format!("{}.{of}", self.0))
    }

    /// Returns the name of a model with other settings. No spec can contain it.
    pub(crate) fn variant(&self, settings: &str) -> Name {
        Name(format!("{}+{settings}", self.0))
    }

    /// Whether it is the name of a variant.
    pub(crate) fn is_variant(&self) -> bool {
        self.0.contains('+')
    }
}

/// The letters and digits of `text`, with `_` for the characters between them.
pub(crate) fn safe(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Name::new(text)
    }
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Name::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Returns the candidate that `word` was probably meant to be, if one is near (Jaro-Winkler of 0.8 or more). Ties go to
/// the smaller edit distance, then to the first candidate.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let mut best: Option<(f64, usize, &str)> = None;
    for candidate in candidates {
        if candidate == word {
            continue;
        }
        let other = candidate.to_lowercase();
        let score = strsim::jaro_winkler(&lower, &other);
        let distance = strsim::damerau_levenshtein(&lower, &other);
        let closer = best.is_none_or(|(s, d, _)| score > s + 1e-9 || (score > s - 1e-9 && distance < d));
        if score >= 0.8 && closer {
            best = Some((score, distance, candidate));
        }
    }
    best.map(|(_, _, candidate)| candidate)
}

/// Returns a help text for an unknown `word`: the nearest of the `known` ones, else a list of all after `lead`.
pub(crate) fn suggestion<'a>(word: &str, lead: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => (!known.is_empty()).then(|| format!("{lead} {}", listed(known))),
    }
}

/// Formats a list for a sentence: `` `a`, `b` and `c` ``.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|w| format!("`{w}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        for good in ["a", "tone", "gpt-4o", "_x", "A1_b-c"] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "1a", "-a", "a b", "ä", "a/b", "a.b", &"x".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nearest_finds_the_meant_word_and_nothing_far() {
        let fields = ["temperature", "prompt", "model", "max_tokens"];
        assert_eq!(nearest("temprature", fields), Some("temperature"));
        assert_eq!(nearest("promt", fields), Some("prompt"));
        assert_eq!(nearest("modle", fields), Some("model"));
        assert_eq!(nearest("Model", fields), Some("model"));
        assert_eq!(nearest("xyz", fields), None);
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
