//! The record of a finished call: its fields, its checksum and its packed form.
//!
//! [`FIELDS`] is the only list of the fields: the ledger, its salvage, the checksum, replay files and packed records follow
//! it. A new field is one line there; files that were written before it read as if it were null.

use std::fmt;
use std::str::FromStr;

use Presence::{Always, Optional, Replied};

use super::notes::Notes;
use super::value::Value;
use crate::table::Type::{self, Integer, Number, Text};

/// The hash of everything that can change an answer.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: every row of a calls table has a key.
        let mut hex = [0; 32];
        for (pair, byte) in hex.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        f.pad(str::from_utf8(&hex).expect("hexadecimal digits are UTF-8"))
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

/// One finished call.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Record {
    #[cfg_attr(test, serde(skip))]
    pub key: Key,
    /// The provider's id of the model.
    pub model: String,
    /// The raw reply of the last attempt.
    pub reply: String,
    /// Why the model stopped; empty if there was no reply at all.
    pub finish: String,
    /// Tokens of the prompts of all attempts.
    pub prompt_tokens: u64,
    /// Tokens of the replies of all attempts.
    pub completion_tokens: u64,
    /// Milliseconds from the start of the first attempt to the last reply, pauses between attempts included.
    pub latency_ms: f64,
    pub attempts: u32,
    /// The build that the reply names.
    pub build: Option<String>,
    /// `kind: message` of the last attempt, if the call failed.
    pub error: Option<String>,
    /// The earlier attempts as a JSON list of `{reply, error}`, if there were any.
    pub tries: Option<String>,
    /// The probabilities of the labels, as a JSON object of keys of objects of labels.
    pub probabilities: Option<String>,
    pub notes: Notes,
}

/// One field of a [`Record`] other than its key.
pub struct Field {
    /// The column in the ledger.
    pub name: &'static str,
    /// The column in replay files and in the calls table.
    pub column: &'static str,
    pub kind: Type,
    pub presence: Presence,
    /// Whether replay files contain it.
    pub replayed: bool,
    /// The format of the ledger that added it.
    pub since: i64,
    pub get: fn(&Record) -> Value<'_>,
    /// `None` if the value does not fit the field.
    pub set: fn(&mut Record, Value<'_>) -> Option<()>,
}

/// When a field has a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Always,
    /// If there was a reply; else it is empty in the ledger and null in replay files.
    Replied,
    Optional,
}

const fn field(
    name: &'static str,
    kind: Type,
    presence: Presence,
    get: fn(&Record) -> Value<'_>,
    set: fn(&mut Record, Value<'_>) -> Option<()>,
) -> Field {
    Field { name, column: name, kind, presence, replayed: true, since: 1, get, set }
}

/// The fields in the order of their columns. Fields that are newer than format 1 must be optional and come last.
pub static FIELDS: [Field; 12] = [
    field("model", Text, Always, |r| r.model.get(), |r, v| r.model.set(v)),
    field("reply", Text, Replied, |r| r.reply.get(), |r, v| r.reply.set(v)),
    Field { column: "finish_reason", ..field("finish", Text, Replied, |r| r.finish.get(), |r, v| r.finish.set(v)) },
    field("prompt_tokens", Integer, Always, |r| r.prompt_tokens.get(), |r, v| r.prompt_tokens.set(v)),
    field("completion_tokens", Integer, Always, |r| r.completion_tokens.get(), |r, v| r.completion_tokens.set(v)),
    Field {
        replayed: false,
        ..field("latency_ms", Number, Always, |r| r.latency_ms.get(), |r, v| r.latency_ms.set(v))
    },
    field("attempts", Integer, Always, |r| r.attempts.get(), |r, v| r.attempts.set(v)),
    field("build", Text, Optional, |r| r.build.get(), |r, v| r.build.set(v)),
    field("error", Text, Optional, |r| r.error.get(), |r, v| r.error.set(v)),
    Field { column: "earlier_tries", ..field("tries", Text, Optional, |r| r.tries.get(), |r, v| r.tries.set(v)) },
    Field {
        since: 2,
        ..field("probabilities", Text, Optional, |r| r.probabilities.get(), |r, v| r.probabilities.set(v))
    },
    Field { since: 3, ..field("notes", Text, Optional, |r| r.notes.get(), |r, v| r.notes.set(v)) },
];

/// The type of a field.
trait FieldType {
    fn get(&self) -> Value<'_>;
    fn set(&mut self, value: Value<'_>) -> Option<()>;
}

impl FieldType for String {
    fn get(&self) -> Value<'_> {
        self.as_str().into()
    }

    fn set(&mut self, value: Value<'_>) -> Option<()> {
        let Value::Text(text) = value else { return None };
        *self = text.into_owned();
        Some(())
    }
}

impl FieldType for Option<String> {
    fn get(&self) -> Value<'_> {
        self.as_deref().into()
    }

    fn set(&mut self, value: Value<'_>) -> Option<()> {
        match value {
            Value::Null => *self = None,
            value => self.insert(String::new()).set(value)?,
        }
        Some(())
    }
}

impl FieldType for u64 {
    fn get(&self) -> Value<'_> {
        Value::Integer(*self as i64)
    }

    fn set(&mut self, value: Value<'_>) -> Option<()> {
        let Value::Integer(number) = value else { return None };
        *self = number as u64;
        Some(())
    }
}

impl FieldType for u32 {
    fn get(&self) -> Value<'_> {
        Value::Integer((*self).into())
    }

    fn set(&mut self, value: Value<'_>) -> Option<()> {
        let Value::Integer(number) = value else { return None };
        *self = u32::try_from(number).ok()?;
        Some(())
    }
}

impl FieldType for f64 {
    fn get(&self) -> Value<'_> {
        Value::Number(*self)
    }

    fn set(&mut self, value: Value<'_>) -> Option<()> {
        *self = match value {
            Value::Number(number) => number,
            // SQLite stores a whole number as an integer.
            Value::Integer(number) => number as f64,
            _ => return None,
        };
        Some(())
    }
}

impl FieldType for Notes {
    fn get(&self) -> Value<'_> {
        self.to_json().into()
    }

    fn set(&mut self, value: Value<'_>) -> Option<()> {
        let mut json = None::<String>;
        json.set(value)?;
        *self = Notes::of_json(json.as_deref());
        Some(())
    }
}

impl Record {
    /// A checksum of all fields.
    pub fn checksum(&self) -> i64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"3");
        hasher.update(&self.key.0);
        for field in FIELDS.iter().filter(|field| field.kind == Integer) {
            if let Value::Integer(number) = (field.get)(self) {
                hasher.update(&number.to_le_bytes());
            }
        }
        hasher.update(&self.latency_ms.to_bits().to_le_bytes());
        for field in FIELDS.iter().filter(|field| field.kind == Text) {
            match (field.get)(self) {
                // A record without a field of format 3 or later has the same checksum as before there was such a field.
                Value::Text(text) if field.since >= 3 => {
                    hasher.update(text.as_bytes());
                }
                Value::Text(text) => {
                    hasher.update(&(text.len() as u64).to_le_bytes());
                    hasher.update(text.as_bytes());
                }
                // No text is this long: a missing text differs from an empty one, so a failed call whose error is lost
                // does not pass for an answer.
                _ if field.since < 3 => {
                    hasher.update(&u64::MAX.to_le_bytes());
                }
                _ => {}
            }
        }
        first_bytes(&hasher)
    }

    /// Whether `sum` is the checksum of this record, by today's rule or, for an answer, by that of formats 1 and 2. A changed
    /// record could pass the older rule only by chance, at 1 in 2^64.
    pub fn fits(&self, sum: i64) -> bool {
        self.checksum() == sum || (self.error.is_none() && self.older_checksum() == sum)
    }

    /// The checksum of formats 1 and 2.
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

    /// Appends the record to `out`, for a temporary file.
    pub fn pack(&self, out: &mut Vec<u8>) {
        out.extend(self.key.0);
        FIELDS.iter().for_each(|field| pack((field.get)(self), out));
    }

    /// Reads what [`Record::pack`] appended; `None` if it is something else.
    pub fn unpack(bytes: &mut Bytes<'_>) -> Option<Self> {
        let mut record = Record { key: Key(bytes.take(16)?.try_into().ok()?), ..Record::default() };
        FIELDS.iter().try_for_each(|field| (field.set)(&mut record, bytes.value()?))?;
        Some(record)
    }
}

fn first_bytes(hasher: &blake3::Hasher) -> i64 {
    let bytes: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    i64::from_le_bytes(bytes)
}

/// Appends a value: its type in one byte, the length of a text in four, and its bytes.
pub fn pack(value: Value<'_>, out: &mut Vec<u8>) {
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

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// An unsigned number of up to 8 bytes, the highest first.
    pub fn number(&mut self, count: usize) -> Option<u64> {
        Some(self.take(count)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Reads what [`pack`] appended.
    pub fn value(&mut self) -> Option<Value<'a>> {
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
        assert!(later.iter().all(|field| field.since > 1 && field.presence == Optional && field.kind == Text));
    }

    #[test]
    fn every_field_counts_in_the_checksum_and_survives_packing() {
        let plain = Record { key: Key([1; 16]), ..Record::default() };
        for field in &FIELDS {
            let mut changed = plain.clone();
            let value = match field.kind {
                Integer => Value::Integer(7),
                Number => Value::Number(0.5),
                _ if field.name == "notes" => r#"{"repaired":true}"#.into(),
                _ => "é".into(),
            };
            (field.set)(&mut changed, value.clone()).unwrap();
            assert_eq!((field.get)(&changed), value, "{}", field.name);
            assert_ne!(changed.checksum(), plain.checksum(), "{}", field.name);
            let mut packed = Vec::new();
            changed.pack(&mut packed);
            assert_eq!(Record::unpack(&mut Bytes(&packed)), Some(changed), "{}", field.name);
            assert_eq!(Record::unpack(&mut Bytes(&packed[..packed.len() - 1])), None);
        }
        assert_eq!(plain.older_checksum(), Record { latency_ms: 1.0, ..plain.clone() }.older_checksum());
    }
}
