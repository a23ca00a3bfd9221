//! The record of a finished call: its fields, its checksum and its packed form.
//!
//! [`FIELDS`] is the only list of the fields: the ledger, its salvage, the checksum, replay files and packed records
//! use it. A new field is one line there. In files written before the field was added, the field is null.

use std::fmt;
use std::str::FromStr;

use Access::{Count, Number, Optional, Reply, Small, Text};
use serde::{Deserialize, Serialize};

use crate::spec::CallTokens;
use crate::table::{Type, Value};

/// The hash of everything that can change an answer.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) [u8; 16]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for Key {
    type Err = ();

    fn from_str(hex: &str) -> Result<Self, ()> {
        let number = u128::from_str_radix(hex, 16).map_err(drop)?;
        let plain = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if plain { Ok(Key(number.to_be_bytes())) } else { Err(()) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Debug, Default)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Record {
    #[cfg_attr(test, serde(skip))]
    pub(crate) key: Key,
    pub(crate) model: String,
    /// The raw reply of the last attempt.
    pub(crate) reply: String,
    /// Why the model stopped. Empty if there was no reply.
    pub(crate) finish: String,
    /// The number of tokens in the prompts of all attempts.
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    /// Milliseconds from the start of the first attempt to the last reply, including pauses between attempts.
    pub(crate) latency_ms: f64,
    pub(crate) attempts: u32,
    pub(crate) build: Option<String>,
    /// The error of the last attempt as `kind: message`, if the call failed.
    pub(crate) error: Option<String>,
    /// The earlier attempts as a JSON list of `{reply, error, then}`. `then` is what was sent after an unusable reply:
    /// `{said, seed}`. `None` without earlier attempts.
    pub(crate) tries: Option<String>,
    /// The probabilities of the labels, as JSON: `{key: {label: probability}}`. The masses of a key follow under a second key.
    pub(crate) probabilities: Option<String>,
    pub(crate) notes: Notes,
    /// When the call ended, in milliseconds since 1970; `None` if unknown. No field of replay files, packed records or
    /// the checksum.
    #[cfg_attr(test, serde(skip))]
    pub(crate) at: Option<i64>,
}

pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) column: &'static str,
    pub(crate) replayed: bool,
    /// The first format of the ledger that has the field.
    pub(crate) since: i64,
    access: Access,
}

enum Access {
    Text(fn(&Record) -> &String, fn(&mut Record) -> &mut String),
    /// A text of the reply. In a table it is null if there was no reply.
    Reply(fn(&Record) -> &String, fn(&mut Record) -> &mut String),
    Optional(fn(&Record) -> &Option<String>, fn(&mut Record) -> &mut Option<String>),
    Notes(fn(&Record) -> &Notes, fn(&mut Record) -> &mut Notes),
    Count(fn(&Record) -> u64, fn(&mut Record) -> &mut u64),
    Small(fn(&Record) -> u32, fn(&mut Record) -> &mut u32),
    Number(fn(&Record) -> f64, fn(&mut Record) -> &mut f64),
}

const fn field(name: &'static str, access: Access) -> Field {
    Field { name, column: name, replayed: true, since: 1, access }
}

/// The fields in column order. Fields newer than format 1 must be optional and come last.
pub(crate) static FIELDS: [Field; 12] = [
    field("model", Text(|r| &r.model, |r| &mut r.model)),
    field("reply", Reply(|r| &r.reply, |r| &mut r.reply)),
    Field { column: "finish_reason", ..field("finish", Reply(|r| &r.finish, |r| &mut r.finish)) },
    field("prompt_tokens", Count(|r| r.prompt_tokens, |r| &mut r.prompt_tokens)),
    field("completion_tokens", Count(|r| r.completion_tokens, |r| &mut r.completion_tokens)),
    Field { replayed: false, ..field("latency_ms", Number(|r| r.latency_ms, |r| &mut r.latency_ms)) },
    field("attempts", Small(|r| r.attempts, |r| &mut r.attempts)),
    field("build", Optional(|r| &r.build, |r| &mut r.build)),
    field("error", Optional(|r| &r.error, |r| &mut r.error)),
    Field { column: "earlier_tries", ..field("tries", Optional(|r| &r.tries, |r| &mut r.tries)) },
    Field { since: 2, ..field("probabilities", Optional(|r| &r.probabilities, |r| &mut r.probabilities)) },
    Field { since: 3, ..field("notes", Access::Notes(|r| &r.notes, |r| &mut r.notes)) },
];

impl Field {
    pub(crate) fn kind(&self) -> Type {
        match self.access {
            Count(..) | Small(..) => Type::Integer,
            Number(..) => Type::Number,
            _ => Type::Text,
        }
    }

    pub(crate) fn is_optional(&self) -> bool {
        matches!(self.access, Optional(..) | Access::Notes(..))
    }

    pub(crate) fn needs_reply(&self) -> bool {
        matches!(self.access, Reply(..))
    }

    pub(crate) fn get<'a>(&self, record: &'a Record) -> Value<'a> {
        match self.access {
            Text(get, _) | Reply(get, _) => get(record).as_str().into(),
            Optional(get, _) => get(record).as_deref().into(),
            Access::Notes(get, _) => get(record).to_json().into(),
            Count(get, _) => Value::Integer(get(record) as i64),
            Small(get, _) => Value::Integer(get(record).into()),
            Number(get, _) => Value::Number(get(record)),
        }
    }

    /// Returns `None` if the value does not fit the field.
    pub(crate) fn set(&self, record: &mut Record, value: Value<'_>) -> Option<()> {
        match (&self.access, value) {
            (Text(_, of) | Reply(_, of), Value::Text(text)) => *of(record) = text.into_owned(),
            (Optional(_, of), Value::Text(text)) => *of(record) = Some(text.into_owned()),
            (Optional(_, of), Value::Null) => *of(record) = None,
            (Access::Notes(_, of), Value::Text(text)) => *of(record) = Notes::of_json(&text),
            (Access::Notes(_, of), Value::Null) => *of(record) = Notes::default(),
            (Count(_, of), Value::Integer(number)) => *of(record) = number as u64,
            (Small(_, of), Value::Integer(number)) => *of(record) = number.try_into().ok()?,
            (Number(_, of), Value::Number(number)) => *of(record) = number,
            // SQLite stores a whole number as an integer.
            (Number(_, of), Value::Integer(number)) => *of(record) = number as f64,
            _ => return None,
        }
        Some(())
    }
}

/// Records are equal if their fields are; the time does not count.
impl PartialEq for Record {
    fn eq(&self, other: &Record) -> bool {
        self.key == other.key && FIELDS.iter().all(|field| field.get(self) == field.get(other))
    }
}

impl Record {
    pub(crate) fn tokens(&self) -> CallTokens {
        CallTokens {
            prompt: self.prompt_tokens,
            cached: self.notes.cached_tokens.unwrap_or(0),
            cache_writes: self.notes.cache_write_tokens.unwrap_or(0),
            reply: self.completion_tokens,
        }
    }

    /// The tokens that were sent at once, and those that went in batches. If both were, the caches count to the first.
    pub(crate) fn divided_tokens(&self) -> [CallTokens; 2] {
        let (all, batch) = (self.tokens(), self.notes.batch.unwrap_or_default());
        let (prompt, reply) = (batch.prompt.min(all.prompt), batch.completion.min(all.reply));
        match (prompt, reply) == (all.prompt, all.reply) && self.notes.batch.is_some() {
            true => [CallTokens::default(), all],
            false => {
                let direct = CallTokens { prompt: all.prompt - prompt, reply: all.reply - reply, ..all };
                [direct, CallTokens { prompt, reply, ..CallTokens::default() }]
            }
        }
    }

    /// The tokens of the prompts that came from a cache or went to one.
    pub(crate) fn cache_tokens(&self) -> u64 {
        self.tokens().cached.saturating_add(self.tokens().cache_writes)
    }

    /// Returns a checksum of all fields: the key and the numbers first, then the texts with their lengths.
    pub(crate) fn checksum(&self) -> i64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"3").update(&self.key.0);
        for field in FIELDS.iter() {
            if let Value::Integer(number) = field.get(self) {
                hasher.update(&number.to_le_bytes());
            }
        }
        hasher.update(&self.latency_ms.to_le_bytes());
        for field in FIELDS.iter().filter(|field| field.kind() == Type::Text) {
            let value = field.get(self);
            let text = if let Value::Text(text) = &value { Some(text.as_bytes()) } else { None };
            // The checksum skips missing fields of format 3 or later, so that older records keep their checksums.
            if field.since < 3 {
                // A missing text hashes an impossible length: a failed call that lost its error is not an answer.
                hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            }
            hasher.update(text.unwrap_or_default());
        }
        first_bytes(&hasher)
    }

    /// Whether `sum` is the checksum of this record. An answer may also have the checksum of formats 1 and 2. An
    /// altered record passes the older rule only by chance (1 in 2^64).
    pub(crate) fn fits(&self, sum: i64) -> bool {
        self.checksum() == sum || (self.error.is_none() && self.older_checksum() == sum)
    }

    fn older_checksum(&self) -> i64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.key.0);
        for text in [&self.model, &self.reply, &self.finish] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&self.prompt_tokens.to_le_bytes());
        hasher.update(&self.completion_tokens.to_le_bytes());
        hasher.update(self.probabilities.as_deref().unwrap_or_default().as_bytes());
        first_bytes(&hasher)
    }

    pub(crate) fn pack(&self, out: &mut Vec<u8>) {
        out.extend(self.key.0);
        FIELDS.iter().for_each(|field| pack(field.get(self), out));
    }

    /// Reads what [`Record::pack`] appended. Returns `None` for other bytes.
    pub(crate) fn unpack(bytes: &mut Bytes<'_>) -> Option<Self> {
        let mut record = Record { key: Key(bytes.take(16)?.try_into().ok()?), ..Record::default() };
        FIELDS.iter().try_for_each(|field| field.set(&mut record, bytes.value()?))?;
        Some(record)
    }
}

fn first_bytes(hasher: &blake3::Hasher) -> i64 {
    let bytes: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    i64::from_le_bytes(bytes)
}

/// Appends a value: its type (one byte), the length of a text (four bytes), and its bytes.
pub(crate) fn pack(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Integer(number) => {
            out.push(1);
            out.extend(number.to_be_bytes());
        }
        Value::Number(number) => {
            out.push(2);
            out.extend(number.to_be_bytes());
        }
        Value::Boolean(truth) => out.extend([3, truth.into()]),
        Value::Text(text) => {
            out.push(4);
            out.extend((text.len() as u32).to_be_bytes());
            out.extend(text.as_bytes());
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads an unsigned big-endian number of `count` bytes, at most 8.
    pub(crate) fn number(&mut self, count: usize) -> Option<u64> {
        Some(self.take(count)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn value(&mut self) -> Option<Value<'a>> {
        Some(match self.number(1)? {
            0 => Value::Null,
            1 => Value::Integer(self.number(8)? as i64),
            2 => Value::Number(f64::from_bits(self.number(8)?)),
            3 => Value::Boolean(self.number(1)? != 0),
            4 => {
                let length = self.number(4)? as usize;
                str::from_utf8(self.take(length)?).ok()?.into()
            }
            _ => return None,
        })
    }
}

/// Special steps that were needed to obtain an answer. Stored as a JSON object in the record and in the column `notes` of the calls table. Null if all fields are defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Notes {
    /// How JSON was requested, if the server refused the form that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) structured_output: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) repaired: bool,
    /// The number of characters removed from the middle of the prompt so that it fits the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<String>,
    /// The tokens of all prompts that the server read from its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cached_tokens: Option<u64>,
    /// The tokens of all prompts that the server wrote to its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_write_tokens: Option<u64>,
    /// The role of the system text, if the server refused the one that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system_role: Option<String>,
    /// The name of the limit of the reply, if the server refused the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_limit: Option<String>,
    /// The tokens that went in batches, at the price of batches. All others were sent at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<BatchTokens>,
    /// What the model thought before its last reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning: Option<String>,
    /// The tokens of these thoughts, which those of the reply include.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_tokens: Option<u64>,
}

/// The part of a call's tokens that went in batches. The tokens of the record include it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BatchTokens {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
}

impl Notes {
    pub(crate) fn to_json(&self) -> Option<String> {
        (*self != Notes::default()).then(|| serde_json::to_string(self).unwrap_or_default())
    }

    /// The notes without what has other columns.
    pub(crate) fn steps(&self) -> Option<String> {
        let columns = Notes { reasoning: None, reasoning_tokens: None, cached_tokens: None, ..self.clone() };
        Notes { cache_write_tokens: None, ..columns }.to_json()
    }

    /// Notes how many tokens of the prompts came from a cache or went to one.
    pub(crate) fn count_cache(&mut self, tokens: CallTokens) {
        let above_zero = |tokens: u64| Some(tokens).filter(|tokens| *tokens > 0);
        (self.cached_tokens, self.cache_write_tokens) = (above_zero(tokens.cached), above_zero(tokens.cache_writes));
    }

    /// Reads [`Notes::to_json`]. Unreadable notes become the default, and the record's checksum detects the change.
    pub(crate) fn of_json(json: &str) -> Notes {
        serde_json::from_str(json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_fields_is_complete() {
        let record = serde_json::to_value(Record::default()).unwrap();
        let names: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, FIELDS.iter().map(|field| field.name).collect::<Vec<_>>());
        let (first, later) = FIELDS.split_at(FIELDS.iter().filter(|field| field.since == 1).count());
        assert!(first.iter().all(|field| field.since == 1));
        assert!(later.iter().all(|field| field.since > 1 && field.is_optional()));
    }

    #[test]
    fn every_field_counts_in_the_checksum_and_survives_packing() {
        let plain = Record { key: Key([1; 16]), ..Record::default() };
        for field in &FIELDS {
            let mut changed = plain.clone();
            let value = match field.kind() {
                Type::Integer => Value::Integer(7),
                Type::Number => Value::Number(0.5),
                _ if field.name == "notes" => r#"{"repaired":true}"#.into(),
                _ => "é".into(),
            };
            field.set(&mut changed, value.clone()).unwrap();
            assert_eq!(field.get(&changed), value, "{}", field.name);
            assert_ne!(changed.checksum(), plain.checksum(), "{}", field.name);
            let mut packed = Vec::new();
            changed.pack(&mut packed);
            assert_eq!(Record::unpack(&mut Bytes(&packed)), Some(changed), "{}", field.name);
            assert_eq!(Record::unpack(&mut Bytes(&packed[..packed.len() - 1])), None);
        }
        assert_eq!(plain.older_checksum(), Record { latency_ms: 1.0, ..plain.clone() }.older_checksum());
    }
}
