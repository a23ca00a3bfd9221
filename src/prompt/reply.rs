//! Replies: finds the answer in a model's text.
//!
//! A reply contains a whole answer or none. Objects that contradict each other are not an answer; see `expect`. Only [`repaired`] repairs the syntax of JSON (quotes, commas, comments,
//! Python's words). It never changes the content and never adds a missing end.

use std::fmt;

use jsonrepair_rs::jsonrepair;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

const TRIES: usize = 1000;
/// The most work in failed tries, as a multiple of the reply's length.
const READINGS: usize = 4;

/// The objects in a text, at least one, none of which has a key with two different values.
pub(super) fn maps(text: &str) -> Result<Vec<Map<String, Value>>, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let (found, broken): (Vec<Distinct>, _) = scan(text);
    if let Some(key) = found.iter().find_map(|object| object.contradicted.as_ref()) {
        return Err(format!("\"{key}\" has two different values in one object"));
    }
    if found.is_empty() {
        return Err("there is no JSON object in it".to_owned());
    }
    let maps: Vec<_> = found.into_iter().map(|object| object.map).collect();
    let differs = |(key, value): &(String, Value)| maps.iter().any(|map| map.get(key).is_some_and(|of| of != value));
    match broken.into_iter().flat_map(|start| members(&text[start..])).find(differs) {
        Some((key, _)) => Err(format!("\"{key}\" has two different values, one of them in an object that is not JSON")),
        None => Ok(maps),
    }
}

/// The first members of an object that is not JSON as a whole. Left out are objects, and what only describes an answer, such
/// as `"yes" | "no"` and `"yes", ...`.
fn members(object: &str) -> Vec<(String, Value)> {
    fn next<T: serde::de::DeserializeOwned>(text: &str) -> Option<(T, &str)> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<T>();
        let value = values.next()?.ok()?;
        Some((value, text[values.byte_offset()..].trim_start()))
    }
    // A place for a value, not a value.
    let describes = |text: &str| ["...", "\u{2026}", "<"].iter().any(|mark| text.starts_with(mark));
    let ends =
        |text: &str| text.is_empty() || ["}", "]", "`", "\"", "#", "//", "/*"].iter().any(|end| text.starts_with(end));
    let (mut found, mut rest) = (Vec::new(), object.strip_prefix('{').map(str::trim_start));
    while let Some(text) = rest {
        if describes(text) {
            return Vec::new();
        }
        let Some((key, after)) = next::<String>(text) else { break };
        let Some(written) = after.strip_prefix(':').map(str::trim_start) else { break };
        if describes(written) {
            return Vec::new();
        }
        let Some((value, after)) = next::<Value>(written) else { break };
        rest = after.strip_prefix(',').map(str::trim_start);
        if !value.is_object() && (rest.is_some() || ends(after)) {
            found.push((key, value));
        }
    }
    found
}

pub(crate) fn last_object<'t, T: Deserialize<'t>>(text: &'t str) -> Option<T> {
    objects(text).pop()
}

/// The objects in a text that are not inside of others, in order.
pub(crate) fn objects<'t, T: Deserialize<'t>>(text: &'t str) -> Vec<T> {
    scan(text).0
}

/// Also the places of brackets that begin none.
fn scan<'t, T: Deserialize<'t>>(text: &'t str) -> (Vec<T>, Vec<usize>) {
    if let Ok(object) = serde_json::from_str(text) {
        return (vec![object], Vec::new());
    }
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    let mut from = 0;
    let mut work = 0;
    for _ in 0..TRIES {
        if work > READINGS * text.len() + (64 << 10) {
            break;
        }
        let Some(start) = text[from..].find('{').map(|i| from + i) else { break };
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<T>();
        from = match values.next() {
            Some(Ok(object)) => {
                found.push(object);
                start + values.byte_offset()
            }
            Some(Err(error)) => {
                work += read_until(&text[start..], &error);
                broken.push(start);
                start + 1
            }
            None => start + 1,
        };
    }
    (found, broken)
}

/// Returns `None` if the object has no end, or if a repair would change a letter, digit or backslash, or their order.
pub(crate) fn repaired(text: &str) -> Option<Map<String, Value>> {
    let found: Distinct = serde_json::from_str(&mended(text)?).ok()?;
    found.contradicted.is_none().then_some(found.map)
}

pub(crate) fn mended(text: &str) -> Option<String> {
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    let written = text.get(start..=end).filter(|written| written.len() <= LONGEST_REPAIR)?;
    let said = content(written)?;
    let mended = jsonrepair(written).ok()?;
    (content(&mended)? == said).then_some(mended)
}

/// The longest object that is repaired, in bytes.
const LONGEST_REPAIR: usize = 1 << 20;
const DEEPEST_REPAIR: usize = 64;

/// Returns letters in lower case, digits and backslashes; `None` if a bracket or quote is not closed.
fn content(text: &str) -> Option<String> {
    let mut said = String::with_capacity(text.len());
    let mut open = Vec::new();
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => match chars.next()? {
                'n' | 'r' | 't' => {}
                escaped => said.extend([c, escaped]),
            },
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, '/') if chars.next_if_eq(&'/').is_some() => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, '/') if chars.next_if_eq(&'*').is_some() => {
                while !(chars.next()? == '*' && chars.peek() == Some(&'/')) {}
                chars.next();
            }
            (None, '{' | '[') if open.len() == DEEPEST_REPAIR => return None,
            (None, '{') => open.push('}'),
            (None, '[') => open.push(']'),
            (None, '}' | ']') if open.pop() != Some(c) => return None,
            (_, c) if c.is_alphanumeric() || c == '\\' => said.extend(c.to_lowercase()),
            // In a string every character counts, except line breaks and tabs.
            (Some(_), c) if !c.is_control() => said.push(c),
            (None, '-' | '+' | '.') => said.push(c),
            _ => {}
        }
    }
    (open.is_empty() && quote.is_none()).then(|| said.replace("none", "null"))
}

fn read_until(text: &str, error: &serde_json::Error) -> usize {
    match error.line() {
        0 | 1 => error.column(),
        line => text.split_inclusive('\n').take(line).map(str::len).sum(),
    }
}

/// An object, and a key that comes again with another value.
#[derive(Default)]
pub(super) struct Distinct {
    pub(super) map: Map<String, Value>,
    pub(super) contradicted: Option<String>,
}

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Distinct;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Distinct, A::Error> {
                let mut found = Distinct::default();
                while let Some((key, value)) = access.next_entry::<String, Value>()? {
                    if found.map.get(&key).is_some_and(|other| *other != value) {
                        found.contradicted = Some(key.clone());
                    }
                    found.map.insert(key, value);
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::thoughts::without_thinking;

    #[test]
    fn contradictions_are_found() {
        let twice = "```json\n{\"a\": 1}\n```\n```json\n{\"a\": 1}\n```";
        assert_eq!(maps(twice).unwrap().len(), 2);
        assert_eq!(maps("[{\"a\": 1}, {\"a\": 2}]").unwrap().len(), 2);
        assert_eq!(maps("{\"a\": {\"a\": 2}}").unwrap().len(), 1, "an object inside of another");
        assert_eq!(maps("{\"a\": 1, \"a\": 1}").unwrap().len(), 1);
        assert_eq!(maps("x {\"a\": 1, \"a\": 2}").unwrap_err(), "\"a\" has two different values in one object");
        for broken in [
            "{\"a\": 1,} {\"a\": 2}",
            "{\"b\": [], \"a\": 1, x or {\"a\": 2}",
            "{\"a\":2}\nNo, {\"a\": 1",
            "{\"a\": 1 // sure\n}\n{\"a\": 2}",
            "{\"a\": 1\n\"b\": 2} {\"a\": 2}",
        ] {
            assert!(maps(broken).unwrap_err().contains("in an object that is not JSON"), "{broken}");
        }
        for same in [
            "{\"a\": 1,} {\"a\": 1}",
            "one of {\"a\": 1 | 2}: {\"a\": 2}",
            "{a: 1} {\"a\": 2}",
            "{\"a\": {\"a\": 2}",
            "{\"a\": {\"a\": 2},}",
            "{\"a\": 1 or 2} {\"a\": 2}",
            "{\"a\": 1, ...} {\"a\": 2}",
            "{\"a\": 1, \"b\": ...} {\"a\": 2}",
            "{\"a\": <a number>, \"b\": 1} {\"a\": 2}",
        ] {
            assert_eq!(maps(same).map(|maps| maps.len()), Ok(1), "{same}");
        }
        assert!(repaired("{\"a\": 1, \"a\": 2,}").is_none() && repaired("{\"a\": 1,}\n{\"a\": 2,}").is_none());
    }

    fn object(text: &str) -> Result<Map<String, Value>, String> {
        maps(text).map(|mut maps| maps.pop().unwrap())
    }

    #[test]
    fn prose_fences_and_thinking_are_left_out() {
        let cases = [
            r#"{"a":1}"#,
            "\u{feff} {\"a\":1}\n",
            "```json\n{\"a\":1}\n```",
            "Sure! Here it is:\n```\n{\"a\": 1}\n```\nTell me if you need {more}.",
            "<think>maybe {\"a\":2}?</think>{\"a\":1}",
            "{\"a\":2} was wrong </think> {\"a\":1}",
            "first {\"a\":1}, then again {\"a\":1}",
            "{not json} {\"a\":1}",
        ];
        for case in cases {
            let found = object(without_thinking(case).unwrap()).unwrap();
            assert_eq!(Value::Object(found), serde_json::json!({ "a": 1 }), "{case}");
        }
    }

    #[test]
    fn half_answers_are_no_answers() {
        for case in ["{\"a\": 1", "[1]", "null", "{", "{\"a\":", "prose { and more"] {
            assert!(object(case).is_err(), "{case}");
        }
        assert_eq!(object("").unwrap_err(), "it is empty");
    }

    #[test]
    fn deep_nesting_and_long_garbage_end_soon() {
        let deep = format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
        assert!(object(&deep).is_err());
        assert!(object(&"{".repeat(1_000_000)).is_err());
        assert!(object(&"{\"".repeat(100_000)).is_err());
        // Every start is a good one to the end.
        let opened = "{\"a\":[".repeat(50);
        for end in ["", "x", "\n\nx"] {
            assert!(object(&format!("{opened}{}{end}", "0,".repeat(50_000))).is_err());
        }
        let late = format!("{{\"a\": {} so: {{\"a\":1}}", "{\"a\": [0, x ".repeat(300));
        assert_eq!(object(&late).unwrap(), *serde_json::json!({ "a": 1 }).as_object().unwrap());
    }

    #[test]
    fn a_repair_mends_how_it_is_written_and_nothing_else() {
        let want = serde_json::json!({ "a": "it's fine", "b": [1, -2.5], "c": null, "d": true });
        let cases = [
            r#"{"a": "it's fine", "b": [1, -2.5,], "c": null, "d": true,}"#,
            r#"{"a": "it's fine", "b": [1, -2.5], "c": None, "d": True}"#,
            "Here: {\"a\": \"it's fine\", // so far, 3 of 4\n \"b\": [1, -2.5], /* 7 */ \"c\": null \"d\": true} Done.",
            "{a: \"it's fine\", b: [1 -2.5], 'c': null, d: true}",
        ];
        for case in cases {
            assert!(object(case).is_err(), "{case}");
            assert_eq!(repaired(case).map(Value::Object), Some(want.clone()), "{case}");
        }
        let broken = "{\"a\": \"two\nlines\tand \\n three\"}";
        assert_eq!(repaired(broken).unwrap()["a"], "two\nlines\tand \n three");
    }

    #[test]
    fn what_a_repair_would_have_to_guess_stays_broken() {
        let cases = [
            r#"{"a": "C:\path", "b": [1,]}"#,
            r#"{"a": 1, "b": "cut o"#,
            r#"{"a": [1, 2}"#,
            r#"{"a": {"b": 1,"#,
            "I cannot help with that.",
            "} then {",
            r#"{"a": "it said "no" to it",}"#,
            r#"{"a": 1_000,}"#,
        ];
        for case in cases {
            let mended = repaired(case);
            assert!(mended.is_none(), "{case}: {mended:?}");
        }
        let deep = format!("{}1,{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
        assert!(repaired(&deep).is_none());
    }

    proptest::proptest! {
        #[test]
        fn a_repair_never_panics_and_leaves_json_alone(
            text in r#"[{}\[\]":,'\\/*#a-cN0-9 \n.\-é]{0,60}"#,
            number in proptest::prelude::any::<i64>(),
            said in "[^\\x00-\\x1f]{0,20}",
        ) {
            let _ = repaired(&text);
            let whole = serde_json::json!({ "n": number, "t": said, "l": [null, true, { "x": [] }] });
            proptest::prop_assert_eq!(repaired(&whole.to_string()).map(Value::Object), Some(whole));
        }
    }
}
