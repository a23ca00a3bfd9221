//! JSON text: reads it without loss, and reads what many programs write though JSON has no such thing.
//!
//! - `NaN`, `Infinity` and `-Infinity` are null.
//! - A lone surrogate, half of a character in a text that was cut, is U+FFFD.
//! - Of a key that an object has twice, the last value counts.
//! - A number that 64 bits can't hold is the text of its digits.

use std::borrow::Cow;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Cell;

/// The most levels of lists and objects that are read.
const DEEPEST: usize = 64;
/// The most significant digits that a 64-bit floating point number keeps.
const DIGITS: usize = 17;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    /// Negative numbers count from the end.
    Index(i64),
}

/// A value of JSON as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) cell: Cell,
}

/// Reads the value that the steps lead to; `None` where they lead nowhere. The error is a sentence about the text.
pub(crate) fn read(text: &str, steps: &[Step]) -> Result<Option<Written>, String> {
    match walk(text, steps) {
        Err(error) => match repaired(text) {
            Some((repaired, _)) => walk(&repaired, steps),
            None => Err(error),
        },
        found => found,
    }
}

fn walk(text: &str, steps: &[Step]) -> Result<Option<Written>, String> {
    let mut here: &RawValue = serde_json::from_str(text).map_err(|error| words(&error))?;
    for step in steps {
        let next = match step {
            Step::Key(key) if here.get().starts_with('{') => {
                let members: Members<'_> = parsed(here.get())?;
                members.0.into_iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            Step::Index(index) if here.get().starts_with('[') => {
                let items: Vec<&RawValue> = parsed(here.get())?;
                place(*index, items.len()).map(|at| items[at])
            }
            _ => None,
        };
        match next {
            Some(next) => here = next,
            None => return Ok(None),
        }
    }
    Ok(Some(Written { text: here.get().to_owned(), cell: cell(here.get(), DEEPEST)? }))
}

/// The place of item `index` among `length` items.
pub(crate) fn place(index: i64, length: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add(i64::try_from(length).ok()?)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn parsed<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| words(&error))
}

fn cell(raw: &str, levels: usize) -> Result<Cell, String> {
    let deeper = || levels.checked_sub(1).ok_or_else(|| format!("it is nested deeper than {DEEPEST} levels"));
    Ok(match raw.as_bytes().first() {
        Some(b'n') => Cell::Null,
        Some(b't' | b'f') => Cell::Boolean(raw == "true"),
        Some(b'"') => Cell::Text(parsed(raw)?),
        Some(b'[') => {
            let (items, levels): (Vec<&RawValue>, _) = (parsed(raw)?, deeper()?);
            Cell::List(items.into_iter().map(|item| cell(item.get(), levels)).collect::<Result<_, _>>()?)
        }
        Some(b'{') => {
            let (members, levels): (Members<'_>, _) = (parsed(raw)?, deeper()?);
            let member = |(name, value): (Cow<'_, str>, &RawValue)| Ok((name.into_owned(), cell(value.get(), levels)?));
            Cell::Object(last_of_each(members.0).into_iter().map(member).collect::<Result<_, String>>()?)
        }
        _ => number(raw),
    })
}

/// The members without those whose key comes again.
fn last_of_each<'a>(members: Vec<(Cow<'a, str>, &'a RawValue)>) -> Vec<(Cow<'a, str>, &'a RawValue)> {
    let unique: indexmap::IndexMap<_, _> = members.into_iter().collect();
    unique.into_iter().collect()
}

/// A number as written in JSON: an integer or a floating point number if that keeps all its digits, else their text.
pub(crate) fn number(written: &str) -> Cell {
    if written.contains(['.', 'e', 'E']) || written == "-0" {
        let number = written.parse().ok().filter(|number: &f64| number.is_finite() && digits(written) <= DIGITS);
        return number.map_or_else(|| Cell::Text(written.to_owned()), Cell::Number);
    }
    written.parse().map_or_else(|_| Cell::Text(written.to_owned()), Cell::Integer)
}

/// The number of significant digits, without sign, exponent, and leading and trailing zeros.
fn digits(number: &str) -> usize {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len()
}

/// The text with null for numbers that JSON has not and U+FFFD for lone surrogates, and how many there were; `None` if
/// there was none.
pub(crate) fn repaired(text: &str) -> Option<(String, usize)> {
    let (mut out, mut changes, mut at, mut in_text) = (String::with_capacity(text.len()), 0, 0, false);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kept, length) = match c {
            '"' => {
                in_text = !in_text;
                ("\"", 1)
            }
            '\\' if in_text => match escape(rest) {
                (length, true) => (&rest[..length], length),
                (length, false) => ("\\ufffd", length),
            },
            '-' | 'N' | 'I' if !in_text => {
                match ["NaN", "-Infinity", "Infinity"].iter().find(|n| rest.starts_with(**n)) {
                    Some(name) => ("null", name.len()),
                    None => (&rest[..1], 1),
                }
            }
            c => (&rest[..c.len_utf8()], c.len_utf8()),
        };
        changes += usize::from(kept != &rest[..length]);
        out.push_str(kept);
        at += length;
    }
    (changes > 0).then_some((out, changes))
}

/// The length of the escape that `text` begins with, and whether it is whole: not half of a pair of surrogates.
fn escape(text: &str) -> (usize, bool) {
    let unit = |text: &str| u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let second = text.chars().nth(1).map_or(0, char::len_utf8);
    match unit(text) {
        Some(0xd800..=0xdbff) => match unit(&text[6..]) {
            Some(0xdc00..=0xdfff) => (12, true),
            _ => (6, false),
        },
        Some(0xdc00..=0xdfff) => (6, false),
        Some(_) => (6, true),
        None => (1 + second, true),
    }
}

/// The message of an error without its place.
pub(crate) fn words(error: &serde_json::Error) -> String {
    error.to_string().split(" at line ").next().unwrap_or_default().to_owned()
}

/// The members of an object in their order, also those whose key comes twice.
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

/// A key, borrowed from the text when it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Vec<Step> {
        keys.iter().map(|key| key.parse().map_or_else(|_| Step::Key((*key).to_owned()), Step::Index)).collect()
    }

    fn text(json: &str, path: &[&str]) -> Option<String> {
        read(json, &keys(path)).unwrap().map(|found| found.cell.text())
    }

    #[test]
    fn steps_lead_to_values_or_nowhere() {
        let json = r#"{"user": {"a b": [1, {"x": "é\n"}]}, "k": null}"#;
        assert_eq!(text(json, &["user", "a b", "1", "x"]).as_deref(), Some("é\n"));
        assert_eq!(text(json, &["user", "a b", "-2"]).as_deref(), Some("1"));
        assert_eq!(text(json, &["k"]).as_deref(), Some(""));
        for nowhere in [&["nokey"][..], &["user", "a b", "2"], &["user", "0"], &["k", "x"], &["user", "a b", "x"]] {
            assert_eq!(text(json, nowhere), None, "{nowhere:?}");
        }
        assert_eq!(read(json, &keys(&["user", "a b"])).unwrap().unwrap().text, r#"[1, {"x": "é\n"}]"#);
        assert!(read("{\"a\": ", &[]).unwrap_err().starts_with("EOF while parsing"));
        assert!(read(&format!("{}1{}", "[".repeat(70), "]".repeat(70)), &[]).unwrap_err().contains("64 levels"));
    }

    #[test]
    fn no_number_loses_a_digit() {
        for exact in ["12345678901234567890123", "0.300000000000000000004", "1e999", "-98765432109876543210"] {
            assert_eq!(number(exact), Cell::Text(exact.to_owned()));
        }
        assert_eq!(number("-9007199254740993"), Cell::Integer(-9_007_199_254_740_993));
        assert_eq!(number("0.1"), Cell::Number(0.1));
        assert_eq!(text("[18446744073709551616]", &["0"]).as_deref(), Some("18446744073709551616"));
    }

    #[test]
    fn what_json_lacks_is_read_as_stated() {
        assert_eq!(repaired(r#"{"a": "NaN \\ud83d", "b": "\ud83d\ude00 \\", "c": -1}"#), None);
        let (made, changes) =
            repaired(r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "x\ud83dy\ude00\ud800\n"}"#).unwrap();
        assert_eq!(made, r#"{"a": null, "b": [null, null], "c": "x\ufffdy\ufffd\ufffd\n"}"#);
        assert_eq!(changes, 6);
        assert_eq!(text(r#"{"a": [NaN, "\udc00!"]}"#, &["a", "1"]).as_deref(), Some("\u{fffd}!"));
        assert_eq!(text(r#"{"a": 1, "a": 2}"#, &["a"]).as_deref(), Some("2"));
        assert_eq!(text(r#"{"a": 1, "b": 0, "a": 2}"#, &[]).as_deref(), Some(r#"{"a":2,"b":0}"#));
    }

    proptest::proptest! {
        #[test]
        fn a_repair_never_panics_and_happens_once(text in "[\\\\ud8cNaInfity\"\\-{}:,é0-9]{0,40}") {
            if let Some((made, _)) = repaired(&text) {
                proptest::prop_assert_eq!(repaired(&made), None);
            }
        }
    }
}
