//! The calls that explain rows. Each is kept once, and texts that calls share are kept once.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::text::{plain, size};
use crate::report::explanation::{build, cost};
use crate::store::Row;

/// The most characters of the part of a prompt that differs from other prompts, and of a reply.
const TEXT: usize = 2000;
/// The most characters of notes and of a reply that was not accepted.
const NOTE: usize = 500;
/// The most characters of a hash.
const HASH: usize = 16;

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CallTexts {
    /// The stages that wrote the table, in order.
    pub(super) stages: Vec<String>,
    pub(super) calls: Vec<CallText>,
    /// Texts of several calls: builds of models, system texts, and the first prompt of each stage.
    pub(super) texts: Vec<String>,
    #[serde(skip)]
    places: HashMap<(String, String), usize>,
    #[serde(skip)]
    bases: HashMap<(String, String), usize>,
    #[serde(skip)]
    shared: HashMap<String, usize>,
}

/// What `explain` shows of a call. Numbers are positions in the shared texts.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CallText {
    model: String,
    build: usize,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<usize>,
    prompt: SharedText,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tries: Vec<[String; 2]>,
    reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
    cost: String,
}

/// A text that begins and ends like another one: the position of that text, how many UTF-16 units of its beginning and
/// of its end are the same, and what is between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct SharedText(usize, usize, usize, String);

impl CallTexts {
    /// Adds the calls of a row. Returns their positions with the part of the reply about the row, and the bytes added.
    pub(super) fn add(&mut self, row: &Row) -> (Vec<(usize, Option<String>)>, f64) {
        let mut bytes = 0.0;
        let mut positions = Vec::new();
        for call in &row.calls {
            let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default();
            let id = (text("call_key").to_owned(), text("model").to_owned());
            let position = self.places.get(&id).copied().unwrap_or_else(|| {
                let before: usize = self.texts.iter().map(String::len).sum();
                let added = self.text(call);
                bytes += size(&added) + (self.texts.iter().map(String::len).sum::<usize>() - before) as f64;
                self.calls.push(added);
                self.places.insert(id, self.calls.len() - 1);
                self.calls.len() - 1
            });
            let item =
                call.get("item_error").and_then(Value::as_str).or(call.get("item_reply").and_then(Value::as_str));
            positions.push((position, item.map(|item| plain(item, NOTE))));
        }
        (positions, bytes)
    }

    fn text(&mut self, call: &Map<String, Value>) -> CallText {
        let text = |name: &str| call.get(name).and_then(Value::as_str);
        let tries = call.get("earlier_tries").and_then(Value::as_array).into_iter().flatten().map(|attempt| {
            [&attempt["error"], &attempt["reply"]].map(|text| plain(text.as_str().unwrap_or_default(), NOTE))
        });
        CallText {
            model: text("model").unwrap_or_default().to_owned(),
            build: self.share(build(call)),
            key: text("call_key").unwrap_or_default().chars().take(HASH).collect(),
            at: text("at").map(str::to_owned),
            system: text("system").map(|system| self.share(plain(system, TEXT))),
            prompt: self.prompt(text("model").unwrap_or_default(), text("prompt").unwrap_or_default()),
            tries: tries.collect(),
            reply: text("reply").map(|reply| plain(reply, TEXT)),
            error: text("error").map(|error| plain(error, NOTE)),
            notes: call.get("notes").filter(|notes| !notes.is_null()).map(|notes| plain(&notes.to_string(), NOTE)),
            cost: cost(call),
        }
    }

    fn share(&mut self, text: String) -> usize {
        *self.shared.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            self.texts.len() - 1
        })
    }

    /// The prompt, compared with the first one that begins in the same way.
    fn prompt(&mut self, model: &str, prompt: &str) -> SharedText {
        let start: String = prompt.chars().take(8).collect();
        let base = *self.bases.entry((model.to_owned(), start)).or_insert_with(|| {
            self.texts.push(plain(prompt, 2 * TEXT));
            self.texts.len() - 1
        });
        let (start, end, between) = between(&self.texts[base], prompt);
        SharedText(base, start, end, plain(between, TEXT))
    }
}

/// The number of UTF-16 units with which both texts begin, and end, and what `text` has between them.
fn between<'a>(base: &str, text: &'a str) -> (usize, usize, &'a str) {
    let same = |(a, b): &(char, char)| a == b;
    let start: Vec<char> = base.chars().zip(text.chars()).take_while(same).map(|(a, _)| a).collect();
    let bytes: usize = start.iter().map(|c| c.len_utf8()).sum();
    let (base, text) = (&base[bytes..], &text[bytes..]);
    let end: Vec<char> = base.chars().rev().zip(text.chars().rev()).take_while(same).map(|(a, _)| a).collect();
    let bytes: usize = end.iter().map(|c| c.len_utf8()).sum();
    let units = |chars: &[char]| chars.iter().map(|c| c.len_utf16()).sum();
    (units(&start), units(&end), &text[..text.len() - bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_put_together_again() {
        let cases = [
            ("What is it? One.", "What is it? Two."),
            ("aaa", "aaaa"),
            ("aaaa", "aaa"),
            ("same", "same"),
            ("", "new"),
            ("old", ""),
            ("a 😀 b", "a 😁 b"),
            ("平和 and", "平成 and"),
        ];
        for (base, text) in cases {
            let (start, end, middle) = between(base, text);
            let units: Vec<u16> = base.encode_utf16().collect();
            let part = |units: &[u16]| String::from_utf16(units).expect("no half of a character");
            let again = part(&units[..start]) + middle + &part(&units[units.len() - end..]);
            assert_eq!(again, text, "{base}");
        }
    }
}
